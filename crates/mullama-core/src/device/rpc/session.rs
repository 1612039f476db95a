//! Serves one connection to a worker: validates each request and forwards it to the connection's engine process.
//!
//! Queries that clients send before they use a worker (version, devices) are answered without a separate process.

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

/// How long a client may take to send the first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);

/// The state of a connection that the server reads and sets.
#[derive(Default)]
pub struct Standing {
    /// Whether it uses the engine. If not, it has no memory on the devices.
    pub uses_engine: AtomicBool,
    /// Set to ask the connection to close, to make room for another.
    pub is_to_leave: AtomicBool,
}

impl Standing {
    /// The reason if the connection was asked to close.
    fn leave(&self) -> Option<Broken> {
        let is_to_leave = self.is_to_leave.load(Ordering::SeqCst);
        is_to_leave.then(|| "it was closed to make room for another connection".to_owned())
    }
}

/// The reason for the end of a connection.
enum End {
    /// The client closed it.
    Closed,
    /// An error occurred.
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
    /// None until a request needs a separate process.
    process: Option<Process>,
    piece: Vec<u8>,
}

fn failed(what: &str) -> impl Fn(Broken) -> End {
    move |reason| End::Failed(format!("{what}: {reason}"))
}

impl Session<'_> {
    /// Reads the hello message, with a time limit.
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
            // A client that connects and disconnects without sending anything is not an error.
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

    /// Processes one request and its answer.
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
        // Memory is allocated for received data only, not for the announced length.
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

    /// Waits for the next request, without a time limit.
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

    /// Returns the answer to requests that are the same for all connections.
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

    /// Communicates with the engine's process. Stops if the client disconnects.
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

    /// Forwards an answer: its length, then the payload.
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

    /// Queries the address of a new buffer.
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
