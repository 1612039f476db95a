//! One connection to a worker: each request is looked at, and passed on to the engine's process of the connection.
//!
//! What a program asks before it uses a worker (who it is, what it has) is answered without a process of its own.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::inspect::Inspector;
use super::process::{Process, Spare};
use super::protocol::{
    self, Broken, Command, HEAD, Link, PIECE, SET_TENSOR_HEAD, go_on, hello_answer, u64_at,
    wrong_length,
};

/// How long a connection may take for the first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);

/// What others may know of a connection, and ask of it.
#[derive(Default)]
pub struct Standing {
    /// Whether it uses the engine; else it holds nothing.
    pub uses_engine: AtomicBool,
    /// Set by whoever needs its place.
    pub is_to_leave: AtomicBool,
}

impl Standing {
    /// Why the connection has to give its place up, if it has to.
    fn leave(&self) -> Option<Broken> {
        let is_to_leave = self.is_to_leave.load(Ordering::SeqCst);
        is_to_leave.then(|| "it was closed to make room for another connection".to_owned())
    }
}

/// Why a connection ends.
enum End {
    /// The program closed it.
    Closed,
    /// What went wrong.
    Failed(Broken),
}

/// Serves one connection until it ends.
pub fn serve(
    stream: TcpStream,
    spare: &Arc<Spare>,
    totals: Vec<u64>,
    standing: &Standing,
) -> Result<(), Broken> {
    let client = Link::new(stream, Some(protocol::silence())).map_err(|error| error.to_string())?;
    let inspector = Inspector::new(totals);
    let mut session =
        Session { client, spare, standing, inspector, process: None, piece: vec![0; PIECE] };
    let end = session.greet().and_then(|()| {
        loop {
            if let Err(end) = session.pass_message() {
                break Err(end);
            }
        }
    });
    match end {
        Err(End::Failed(reason)) => Err(reason),
        Ok(()) | Err(End::Closed) => Ok(()),
    }
}

struct Session<'a> {
    client: Link,
    spare: &'a Arc<Spare>,
    standing: &'a Standing,
    inspector: Inspector,
    /// None until there is something that only a process of the connection's own can do.
    process: Option<Process>,
    piece: Vec<u8>,
}

fn failed(what: &str) -> impl Fn(Broken) -> End {
    move |reason| End::Failed(format!("{what}: {reason}"))
}

impl Session<'_> {
    /// Takes the first message, which comes soon or never.
    fn greet(&mut self) -> Result<(), End> {
        let until = Instant::now() + FIRST_MESSAGE;
        let standing = self.standing;
        let late = || {
            let late = Instant::now() >= until;
            let late = late.then(|| "there was no first message".to_owned());
            late.or_else(|| standing.leave())
        };
        let mut first = [0; HEAD + protocol::CAPABILITIES];
        if let Err(reason) = self.client.read(&mut first[..1], late) {
            // Whoever only looks whether somebody listens is no news.
            let is_closed = self.client.is_closed();
            return Err(if is_closed { End::Closed } else { End::Failed(reason) });
        }
        self.client.read(&mut first[1..], late).map_err(End::Failed)?;
        let length = u64_at(&first, 1);
        if first[0] != Command::Hello as u8 || length != protocol::CAPABILITIES as u64 {
            return Err(End::Failed("it does not begin as the protocol does".to_owned()));
        }
        self.answer(&hello_answer())
    }

    /// One request and its answer.
    fn pass_message(&mut self) -> Result<(), End> {
        let mut head = [0; HEAD];
        self.wait_for(&mut head[..1])?;
        let standing = self.standing;
        let stop = || standing.leave();
        self.client.read(&mut head[1..], stop).map_err(End::Failed)?;
        let refuse = |reason| End::Failed(format!("a request was refused: {reason}"));
        let command = Command::from_number(head[0])
            .ok_or_else(|| refuse(format!("there is no command {}", head[0])))?;
        let length = u64_at(&head, 1);
        self.inspector.check_length(command, length).map_err(refuse)?;
        // Memory is taken for what has come, not for what was announced.
        let looked_at = match command {
            Command::SetTensor => SET_TENSOR_HEAD,
            _ => length as usize,
        };
        let mut carried = Vec::new();
        while carried.len() < looked_at {
            let start = carried.len();
            carried.resize(looked_at.min(start + PIECE), 0);
            self.client.read(&mut carried[start..], stop).map_err(End::Failed)?;
        }
        self.inspector.check(command, &mut carried, length).map_err(refuse)?;
        if let Some(answer) = self.common_answer(command, &carried)? {
            return self.answer(&protocol::answer(&answer));
        }
        self.start_process()?;
        let mut request = head.to_vec();
        request.extend(&carried);
        self.send_on(&request)?;
        let mut left = length - looked_at as u64;
        while left > 0 {
            let count = left.min(PIECE as u64) as usize;
            let mut piece = std::mem::take(&mut self.piece);
            let passed = self.client.read(&mut piece[..count], stop).map_err(End::Failed);
            let passed = passed.and_then(|()| self.send_on(&piece[..count]));
            self.piece = piece;
            passed?;
            left -= count as u64;
        }
        match command.answer_length(&carried) {
            Some(length) => self.pass_answer(command, &carried, length),
            None => Ok(()),
        }
    }

    /// Waits for a request, which may never come.
    fn wait_for(&mut self, first: &mut [u8]) -> Result<(), End> {
        let (process, standing) = (&mut self.process, self.standing);
        let silence = self.client.silence.take();
        let stop = || standing.leave().or_else(|| process.as_mut().and_then(Process::ended));
        let heard = self.client.read(first, stop);
        self.client.silence = silence;
        heard.map_err(
            |reason| {
                if self.client.is_closed() { End::Closed } else { End::Failed(reason) }
            },
        )
    }

    /// The answer to what is the same for all connections.
    fn common_answer(&mut self, command: Command, carried: &[u8]) -> Result<Option<Vec<u8>>, End> {
        let spare = self.spare;
        let answer = match command {
            Command::DeviceCount => spare.ask::<4>(command, carried).map(|it| it.to_vec()),
            Command::GetAlignment | Command::GetMaxSize => {
                spare.ask::<8>(command, carried).map(|it| it.to_vec())
            }
            Command::GetDeviceMemory => spare.ask::<16>(command, carried).map(|it| it.to_vec()),
            _ => return Ok(None),
        };
        answer.map(Some).map_err(failed("the engine cannot be asked"))
    }

    fn start_process(&mut self) -> Result<(), End> {
        if self.process.is_none() {
            self.process =
                Some(self.spare.take().map_err(failed("no process could be started for it"))?);
            self.standing.uses_engine.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Does something with the engine's process, for as long as the program is there.
    fn with_process<T>(
        &mut self,
        work: impl FnOnce(&mut Link, &mut dyn FnMut() -> Option<Broken>) -> Result<T, Broken>,
    ) -> Result<T, End> {
        let Some(process) = &mut self.process else {
            return Err(End::Failed("the engine has no process for it".to_owned()));
        };
        let (client, mut is_gone) = (&self.client, false);
        let mut stop = || {
            is_gone = client.is_closed();
            is_gone.then(Broken::new)
        };
        let done = work(&mut process.link, &mut stop);
        done.map_err(|_| if is_gone { End::Closed } else { End::Failed(process.last_words()) })
    }

    fn send_on(&mut self, piece: &[u8]) -> Result<(), End> {
        self.with_process(|engine, stop| engine.write(piece, stop))
    }

    fn receive(&mut self, piece: &mut [u8]) -> Result<(), End> {
        self.with_process(|engine, stop| engine.read(piece, stop))
    }

    /// An answer: its length, and so many bytes.
    fn pass_answer(&mut self, command: Command, asked: &[u8], length: u64) -> Result<(), End> {
        let mut announced = [0; 8];
        self.receive(&mut announced)?;
        if u64_at(&announced, 0) != length {
            return Err(failed("the engine's process")(wrong_length()));
        }
        self.answer(&announced)?;
        let mut left = length;
        while left > 0 {
            let count = left.min(PIECE as u64) as usize;
            let mut piece = std::mem::take(&mut self.piece);
            let passed = self
                .receive(&mut piece[..count])
                .and_then(|()| match command {
                    Command::AllocBuffer => self.note_buffer(asked, &piece[..count]),
                    _ => Ok(()),
                })
                .and_then(|()| self.answer(&piece[..count]));
            self.piece = piece;
            passed?;
            left -= count as u64;
        }
        Ok(())
    }

    /// Finds out where a buffer is that the engine has made.
    fn note_buffer(&mut self, asked: &[u8], answer: &[u8]) -> Result<(), End> {
        let (handle, size) = (u64_at(answer, 0), u64_at(answer, 8));
        if handle == 0 {
            return Ok(());
        }
        let base: [u8; 8] = self.with_process(|engine, stop| {
            engine.ask(Command::BufferGetBase, &handle.to_le_bytes(), stop)
        })?;
        let base = u64::from_le_bytes(base);
        self.inspector.note_buffer(asked, handle, base, size).map_err(End::Failed)
    }

    fn answer(&mut self, piece: &[u8]) -> Result<(), End> {
        self.client.write(piece, go_on).map_err(End::Failed)
    }
}
