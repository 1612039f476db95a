//! Serves one connection to a worker: validates each request and forwards it to the connection's engine process.
//!
//! Queries that clients send before they use a worker (version, devices) are answered without a separate process.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::inspect::Inspector;
use super::process::{Process, StandbyProcess};
use super::protocol::{
    self, Command, Connection, ConnectionError, IO_CHUNK_BYTES, REQUEST_HEADER_BYTES,
    SET_TENSOR_HEADER_BYTES, hello_answer, never_stop, u64_at, wrong_length,
};

/// How long a client may take to send the first message.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of a connection that the server reads and sets.
#[derive(Default)]
pub struct ConnectionStatus {
    /// Whether it uses the engine. If not, it has no memory on the devices.
    pub uses_engine: AtomicBool,
    /// Set to ask the connection to close, to make room for another.
    pub is_to_leave: AtomicBool,
}

impl ConnectionStatus {
    /// The reason if the connection was asked to close.
    fn leave(&self) -> Option<ConnectionError> {
        let is_to_leave = self.is_to_leave.load(Ordering::SeqCst);
        is_to_leave.then(|| "it was closed to make room for another connection".to_owned())
    }
}

/// The reason for the end of a connection.
enum SessionEnd {
    /// The client closed it.
    Closed,
    /// An error occurred.
    Failed(ConnectionError),
}

/// Serves one connection until it ends.
pub fn serve(
    stream: TcpStream,
    spare: &Arc<StandbyProcess>,
    totals: Vec<u64>,
    status: &ConnectionStatus,
) -> Result<(), ConnectionError> {
    let client = Connection::new(stream, Some(protocol::silence_timeout()))
        .map_err(|error| error.to_string())?;
    let inspector = Inspector::new(totals);
    let mut session =
        Session { client, spare, status, inspector, process: None, piece: vec![0; IO_CHUNK_BYTES] };
    let end = session.handshake().and_then(|()| {
        loop {
            if let Err(end) = session.forward_message() {
                break Err(end);
            }
        }
    });
    match end {
        Err(SessionEnd::Failed(reason)) => Err(reason),
        Ok(()) | Err(SessionEnd::Closed) => Ok(()),
    }
}

struct Session<'a> {
    client: Connection,
    spare: &'a Arc<StandbyProcess>,
    status: &'a ConnectionStatus,
    inspector: Inspector,
    /// None until a request needs a separate process.
    process: Option<Process>,
    piece: Vec<u8>,
}

fn failed(what: &str) -> impl Fn(ConnectionError) -> SessionEnd {
    move |reason| SessionEnd::Failed(format!("{what}: {reason}"))
}

impl Session<'_> {
    /// Reads the hello message, with a time limit.
    fn handshake(&mut self) -> Result<(), SessionEnd> {
        let until = Instant::now() + HANDSHAKE_TIMEOUT;
        let status = self.status;
        let late = || {
            let late = Instant::now() >= until;
            let late = late.then(|| "there was no first message".to_owned());
            late.or_else(|| status.leave())
        };
        let mut first = [0; REQUEST_HEADER_BYTES + protocol::CAPABILITIES];
        if let Err(reason) = self.client.read(&mut first[..1], late) {
            // A client that connects and disconnects without sending anything is not an error.
            let is_closed = self.client.is_closed();
            return Err(if is_closed { SessionEnd::Closed } else { SessionEnd::Failed(reason) });
        }
        self.client.read(&mut first[1..], late).map_err(SessionEnd::Failed)?;
        let length = u64_at(&first, 1);
        if first[0] != Command::Hello as u8 || length != protocol::CAPABILITIES as u64 {
            return Err(SessionEnd::Failed("it does not begin as the protocol does".to_owned()));
        }
        self.answer(&hello_answer())
    }

    /// Processes one request and its answer.
    fn forward_message(&mut self) -> Result<(), SessionEnd> {
        let mut head = [0; REQUEST_HEADER_BYTES];
        self.wait_for(&mut head[..1])?;
        let status = self.status;
        let stop = || status.leave();
        self.client.read(&mut head[1..], stop).map_err(SessionEnd::Failed)?;
        let refuse = |reason| SessionEnd::Failed(format!("a request was refused: {reason}"));
        let command = Command::from_number(head[0])
            .ok_or_else(|| refuse(format!("there is no command {}", head[0])))?;
        let length = u64_at(&head, 1);
        self.inspector.check_length(command, length).map_err(refuse)?;
        // Memory is allocated for received data only, not for the announced length.
        let looked_at = match command {
            Command::SetTensor => SET_TENSOR_HEADER_BYTES,
            _ => length as usize,
        };
        let mut carried = Vec::new();
        while carried.len() < looked_at {
            let start = carried.len();
            carried.resize(looked_at.min(start + IO_CHUNK_BYTES), 0);
            self.client.read(&mut carried[start..], stop).map_err(SessionEnd::Failed)?;
        }
        self.inspector.check(command, &mut carried, length).map_err(refuse)?;
        if let Some(answer) = self.shared_answer(command, &carried)? {
            return self.answer(&protocol::answer(&answer));
        }
        self.start_process()?;
        let mut request = head.to_vec();
        request.extend(&carried);
        self.forward(&request)?;
        let mut left = length - looked_at as u64;
        while left > 0 {
            let count = left.min(IO_CHUNK_BYTES as u64) as usize;
            let mut piece = std::mem::take(&mut self.piece);
            let passed = self.client.read(&mut piece[..count], stop).map_err(SessionEnd::Failed);
            let passed = passed.and_then(|()| self.forward(&piece[..count]));
            self.piece = piece;
            passed?;
            left -= count as u64;
        }
        match command.answer_length(&carried) {
            Some(length) => self.forward_answer(command, &carried, length),
            None => Ok(()),
        }
    }

    /// Waits for the next request, without a time limit.
    fn wait_for(&mut self, first: &mut [u8]) -> Result<(), SessionEnd> {
        let (process, status) = (&mut self.process, self.status);
        let silence_timeout = self.client.silence_timeout.take();
        let stop = || status.leave().or_else(|| process.as_mut().and_then(Process::ended));
        let heard = self.client.read(first, stop);
        self.client.silence_timeout = silence_timeout;
        heard.map_err(|reason| {
            if self.client.is_closed() { SessionEnd::Closed } else { SessionEnd::Failed(reason) }
        })
    }

    /// Returns the answer to requests that are the same for all connections.
    fn shared_answer(
        &mut self,
        command: Command,
        carried: &[u8],
    ) -> Result<Option<Vec<u8>>, SessionEnd> {
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

    fn start_process(&mut self) -> Result<(), SessionEnd> {
        if self.process.is_none() {
            self.process =
                Some(self.spare.take().map_err(failed("no process could be started for it"))?);
            self.status.uses_engine.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Communicates with the engine's process. Stops if the client disconnects.
    fn with_process<T>(
        &mut self,
        work: impl FnOnce(
            &mut Connection,
            &mut dyn FnMut() -> Option<ConnectionError>,
        ) -> Result<T, ConnectionError>,
    ) -> Result<T, SessionEnd> {
        let Some(process) = &mut self.process else {
            return Err(SessionEnd::Failed("the engine has no process for it".to_owned()));
        };
        let (client, mut is_gone) = (&self.client, false);
        let mut stop = || {
            is_gone = client.is_closed();
            is_gone.then(ConnectionError::new)
        };
        let done = work(&mut process.link, &mut stop);
        done.map_err(|_| {
            if is_gone { SessionEnd::Closed } else { SessionEnd::Failed(process.exit_reason()) }
        })
    }

    fn forward(&mut self, piece: &[u8]) -> Result<(), SessionEnd> {
        self.with_process(|engine, stop| engine.write(piece, stop))
    }

    fn receive(&mut self, piece: &mut [u8]) -> Result<(), SessionEnd> {
        self.with_process(|engine, stop| engine.read(piece, stop))
    }

    /// Forwards an answer: its length, then the payload.
    fn forward_answer(
        &mut self,
        command: Command,
        asked: &[u8],
        length: u64,
    ) -> Result<(), SessionEnd> {
        let mut announced = [0; 8];
        self.receive(&mut announced)?;
        if u64_at(&announced, 0) != length {
            return Err(failed("the engine's process")(wrong_length()));
        }
        self.answer(&announced)?;
        let mut left = length;
        while left > 0 {
            let count = left.min(IO_CHUNK_BYTES as u64) as usize;
            let mut piece = std::mem::take(&mut self.piece);
            let passed = self
                .receive(&mut piece[..count])
                .and_then(|()| match command {
                    Command::AllocBuffer => self.register_buffer(asked, &piece[..count]),
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
    fn register_buffer(&mut self, asked: &[u8], answer: &[u8]) -> Result<(), SessionEnd> {
        let (handle, size) = (u64_at(answer, 0), u64_at(answer, 8));
        if handle == 0 {
            return Ok(());
        }
        let base: [u8; 8] = self.with_process(|engine, stop| {
            engine.ask(Command::BufferGetBase, &handle.to_le_bytes(), stop)
        })?;
        let base = u64::from_le_bytes(base);
        self.inspector.register_buffer(asked, handle, base, size).map_err(SessionEnd::Failed)
    }

    fn answer(&mut self, piece: &[u8]) -> Result<(), SessionEnd> {
        self.client.write(piece, never_stop).map_err(SessionEnd::Failed)
    }
}
