//! A proxy between the engine and one worker. It is needed because the engine aborts the process when a worker
//! disconnects, waits forever for a silent one, and trusts every value.
//!
//! The engine connects to a relay on loopback, which forwards messages. If the worker fails, the relay stores the
//! reason and answers in its place with zeros of the right length. The running computation then completes, and its
//! caller must call [`Relay::check`] before using the result.
//!
//! Constant properties of a worker are queried on connection and answered by the relay afterwards, since the engine
//! queries them while it has locks that all workers share.

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mullama_base::{thread_error, units};

use super::protocol::{
    self, Command, Connection, ConnectionError, IO_CHUNK_BYTES, Length, REQUEST_HEADER_BYTES,
    hello_answer, silent, u32_at, u64_at, wrong_length,
};
use crate::{Error, ErrorKind, Result};

/// How long a worker may take to accept a connection and to describe its devices.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The same for a worker in use, for which earlier values are available.
const ACTIVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Maximum number of devices of a worker.
const MAX_DEVICES: u32 = 64;

/// Maximum size in bytes of a device's memory. Larger values cannot be real.
const MAX_DEVICE_MEMORY: u64 = 1 << 46;

/// Maximum alignment in bytes of a device's buffers.
const MAX_ALIGNMENT: u64 = 1 << 20;

/// Minimum size in bytes of a device's largest buffer.
const MIN_BUFFER_LIMIT: u64 = 1 << 20;

/// The connection to one worker.
pub(crate) struct Relay {
    /// The address that the engine connects to.
    pub endpoint: String,
    state: Arc<State>,
}

struct State {
    /// The worker's address as the user wrote it.
    worker: String,
    /// Maximum time without a response.
    silence_timeout: Duration,
    devices: Vec<DeviceLimits>,
    /// The most recently reported memory.
    memory: Mutex<Vec<Memory>>,
    /// The reason why the worker can no longer be used.
    failure: Mutex<Option<ConnectionError>>,
    connections: AtomicUsize,
}

/// Constant properties of a worker's device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct DeviceLimits {
    alignment: u64,
    max_size: u64,
}

/// Free and total memory of a device in bytes.
pub(crate) type Memory = (u64, u64);

impl State {
    fn fail(&self, reason: ConnectionError) {
        if self.failure().is_none() {
            log::error!("the worker at {} failed: {reason}", self.worker);
        }
        self.record_failure(reason);
    }

    fn record_failure(&self, reason: ConnectionError) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(reason);
    }

    fn failure(&self) -> Option<ConnectionError> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn alignment(&self, device: u32) -> u64 {
        self.devices.get(device as usize).map_or(1, |facts| facts.alignment)
    }

    fn set_memory(&self, memory: Vec<Memory>) {
        *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
    }
}

impl Relay {
    /// Checks that the worker responds, and starts listening for the engine.
    pub fn open(worker: &str) -> Result<Self> {
        let (devices, memory) =
            query_devices(worker, TIMEOUT).map_err(|reason| unreachable_worker(worker, reason))?;
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot listen on loopback: {error}"))
                .with_source(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let endpoint = listener.local_addr().map_err(failed)?.to_string();
        let state = Arc::new(State {
            worker: worker.to_owned(),
            silence_timeout: protocol::silence_timeout(),
            devices,
            memory: Mutex::new(memory),
            failure: Mutex::default(),
            connections: AtomicUsize::default(),
        });
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("mullama-relay".to_owned())
            .spawn(move || {
                for engine in listener.incoming().flatten() {
                    let shared = Arc::clone(&shared);
                    // If no thread can be created, the engine's connection is closed.
                    let _ = thread::Builder::new()
                        .name("mullama-relay".to_owned())
                        .spawn(move || serve(engine, &shared));
                }
            })
            .map_err(|error| thread_error("a thread", &error).with_source(error))?;
        Ok(Self { endpoint, state })
    }

    /// The worker's address as the user wrote it.
    pub fn worker(&self) -> &str {
        &self.state.worker
    }

    /// Fails if the worker has failed, in which case its results so far may be invalid.
    pub fn check(&self) -> Result<()> {
        match self.state.failure() {
            None => Ok(()),
            Some(reason) => Err(unusable(self.worker(), reason)
                .with_hint("start the worker again, and load the model again")),
        }
    }

    /// Like [`Self::check`], and also queries the worker if no connection is open. Returns false if the worker has been
    /// restarted with other devices.
    pub fn check_reachable(&self) -> Result<bool> {
        self.check()?;
        if self.is_in_use() {
            return Ok(true);
        }
        match self.query_devices(TIMEOUT) {
            Ok(_) => Ok(true),
            Err(_) if self.state.failure().is_some() => Ok(false),
            Err(reason) => Err(unreachable_worker(self.worker(), reason)),
        }
    }

    /// The memory of the worker's devices. If the worker is busy, returns the last known values; if it does not
    /// respond, returns none.
    pub fn memory(&self) -> Option<Vec<Memory>> {
        let in_use = self.is_in_use();
        let asked = self.query_devices(if in_use { ACTIVE_TIMEOUT } else { TIMEOUT });
        if self.state.failure().is_some() {
            return None;
        }
        asked.ok().or_else(|| {
            in_use.then(|| self.state.memory.lock().unwrap_or_else(PoisonError::into_inner).clone())
        })
    }

    /// Abandons the worker. Threads that wait for it continue immediately.
    pub fn abandon(&self) {
        self.state.record_failure("it was abandoned because the process is ending".to_owned());
    }

    fn is_in_use(&self) -> bool {
        self.state.connections.load(Ordering::SeqCst) > 0
    }

    /// Queries the worker's devices through a separate connection.
    fn query_devices(
        &self,
        timeout: Duration,
    ) -> std::result::Result<Vec<Memory>, ConnectionError> {
        let (devices, memory) = query_devices(self.worker(), timeout)?;
        if devices != self.state.devices {
            let reason = "it was started again, with other devices".to_owned();
            self.state.fail(reason.clone());
            return Err(reason);
        }
        self.state.set_memory(memory.clone());
        Ok(memory)
    }
}

fn unusable(worker: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Backend, format!("the worker at {worker} cannot be used: {reason}"))
        .with_context("worker", worker)
}

fn unreachable_worker(worker: &str, reason: ConnectionError) -> Error {
    unusable(worker, reason).with_hint("start one with `mullama rpc-server`")
}

/// Connects to a worker and exchanges the hello message.
fn connect(
    worker: &str,
    timeout: Duration,
    silence_timeout: Duration,
) -> std::result::Result<Connection, ConnectionError> {
    let late = || {
        let reason = silent(timeout);
        format!("{reason}; it may be serving another program")
    };
    let text = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => late(),
        _ => error.to_string(),
    };
    let until = Instant::now() + timeout;
    let addresses = worker.to_socket_addrs().map_err(text)?;
    let mut stream = Err("the name has no address".to_owned());
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        stream =
            TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))).map_err(text);
        if stream.is_ok() {
            break;
        }
    }
    let mut link = Connection::new(stream?, Some(silence_timeout)).map_err(text)?;
    link.handshake(|| (Instant::now() >= until).then(late))?;
    Ok(link)
}

/// Queries the properties and memory of a worker's devices.
fn query_devices(
    worker: &str,
    timeout: Duration,
) -> std::result::Result<(Vec<DeviceLimits>, Vec<Memory>), ConnectionError> {
    let timeout = timeout.min(protocol::silence_timeout());
    let mut link = connect(worker, timeout, timeout)?;
    let until = Instant::now() + timeout;
    let late = || (Instant::now() >= until).then(|| silent(timeout));
    let count = u32::from_le_bytes(link.ask(Command::DeviceCount, &[], late)?);
    match count {
        0 => return Err("it offers no device".to_owned()),
        1..=MAX_DEVICES => {}
        _ => return Err(format!("it says that it has {count} devices")),
    }
    let (mut devices, mut memory) = (Vec::new(), Vec::new());
    for device in 0..count {
        let device = device.to_le_bytes();
        let alignment = u64::from_le_bytes(link.ask(Command::GetAlignment, &device, late)?);
        let max_size = u64::from_le_bytes(link.ask(Command::GetMaxSize, &device, late)?);
        if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
            return Err(format!("it gives {alignment} for the alignment of buffers"));
        }
        if max_size < MIN_BUFFER_LIMIT {
            return Err(format!("it gives {max_size} bytes for the largest buffer"));
        }
        devices.push(DeviceLimits { alignment, max_size });
        memory.push(memory_of(&link.ask::<16>(Command::GetDeviceMemory, &device, late)?)?);
    }
    Ok((devices, memory))
}

fn memory_of(answer: &[u8]) -> std::result::Result<Memory, ConnectionError> {
    let (free, total) = (u64_at(answer, 0), u64_at(answer, 8));
    if free > total || total > MAX_DEVICE_MEMORY {
        return Err(format!("it says that {free} of {total} bytes of memory are free"));
    }
    Ok((free, total))
}

/// Forwards the messages of one connection of the engine until it closes.
fn serve(engine: TcpStream, state: &State) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    let _ = engine.set_nodelay(true);
    let mut passage = Forwarder {
        engine,
        worker: None,
        state,
        buffers: HashMap::new(),
        piece: vec![0; IO_CHUNK_BYTES],
    };
    while passage.forward_message().is_ok() {}
    state.connections.fetch_sub(1, Ordering::SeqCst);
}

struct Forwarder<'a> {
    engine: TcpStream,
    /// Connected when the first request is forwarded; none after a failure.
    worker: Option<Connection>,
    state: &'a State,
    /// Size and alignment in bytes of the worker's buffers, by handle.
    buffers: HashMap<u64, (u64, u64)>,
    piece: Vec<u8>,
}

/// The first bytes of a request's payload: all that checking its answer requires.
type RequestPrefix = [u8; 12];

impl Forwarder<'_> {
    /// Forwards one request and its answer. Fails only if the engine has closed the connection.
    fn forward_message(&mut self) -> io::Result<()> {
        let mut head = [0; REQUEST_HEADER_BYTES];
        self.engine.read_exact(&mut head)?;
        let length = u64_at(&head, 1);
        let command = Command::from_number(head[0]).ok_or(io::ErrorKind::InvalidData)?;
        if let Some(answer) = self.local_answer(command, length)? {
            return self.engine.write_all(&protocol::answer(&answer));
        }
        self.connect();
        let (mut beginning, mut ending) = (RequestPrefix::default(), [0; 8]);
        let mut left = length;
        // Send the header together with the first data, which saves a packet for short requests.
        let mut filled = REQUEST_HEADER_BYTES;
        self.piece[..filled].copy_from_slice(&head);
        loop {
            let count = left.min((IO_CHUNK_BYTES - filled) as u64) as usize;
            let place = filled..filled + count;
            self.engine.read_exact(&mut self.piece[place.clone()])?;
            if left == length {
                let known = count.min(beginning.len());
                beginning[..known].copy_from_slice(&self.piece[place.clone()][..known]);
            }
            left -= count as u64;
            if left == 0 && count >= ending.len() {
                ending.copy_from_slice(&self.piece[place.end - 8..place.end]);
            }
            self.forward(place.end);
            if left == 0 {
                break;
            }
            filled = 0;
        }
        match command.answer_length(&ending) {
            Some(length) => self.forward_answer(command, length, &beginning),
            None => Ok(()),
        }
    }

    /// Returns the answer to a request that the relay can answer itself, after reading its payload.
    fn local_answer(&mut self, command: Command, length: u64) -> io::Result<Option<Vec<u8>>> {
        let is_own = matches!(
            command,
            Command::Hello | Command::DeviceCount | Command::GetAlignment | Command::GetMaxSize
        );
        let Length::Exactly(expected) = command.payload_length() else { return Ok(None) };
        if !is_own || length != expected as u64 {
            return Ok(None);
        }
        let mut carried = vec![0; expected];
        self.engine.read_exact(&mut carried)?;
        let devices = &self.state.devices;
        let facts = || devices.get(u32_at(&carried, 0) as usize).unwrap_or(&devices[0]);
        Ok(Some(match command {
            Command::DeviceCount => (devices.len() as u32).to_le_bytes().to_vec(),
            Command::GetAlignment => facts().alignment.to_le_bytes().to_vec(),
            Command::GetMaxSize => facts().max_size.to_le_bytes().to_vec(),
            _ => hello_answer()[8..].to_vec(),
        }))
    }

    /// Connects to the worker if necessary, unless it has failed.
    fn connect(&mut self) {
        let state = self.state;
        if state.failure().is_some() {
            self.worker = None;
        } else if self.worker.is_none() {
            let timeout = TIMEOUT.min(state.silence_timeout);
            match connect(&state.worker, timeout, state.silence_timeout) {
                Ok(link) => self.worker = Some(link),
                Err(reason) => state.fail(reason),
            }
        }
    }

    fn forward(&mut self, filled: usize) {
        if let Some(worker) = &mut self.worker
            && let Err(reason) = worker.write(&self.piece[..filled], || self.state.failure())
        {
            self.fail(reason);
        }
    }

    /// Forwards an answer: its length, then the payload.
    fn forward_answer(
        &mut self,
        command: Command,
        length: u64,
        asked: &RequestPrefix,
    ) -> io::Result<()> {
        let mut announced = [0; 8];
        self.receive(&mut announced);
        if self.worker.is_some() && u64_at(&announced, 0) != length {
            self.fail(wrong_length());
        }
        let mut piece = std::mem::take(&mut self.piece);
        piece[..8].copy_from_slice(&length.to_le_bytes());
        let (mut left, mut filled) = (length, 8);
        let passed = loop {
            let count = left.min((IO_CHUNK_BYTES - filled) as u64) as usize;
            let place = &mut piece[filled..filled + count];
            self.receive(place);
            if self.worker.is_some()
                && let Err(reason) = self.check_answer(command, asked, place)
            {
                self.fail(reason);
            }
            if self.worker.is_none() {
                place.fill(0);
                placeholder_answer(command, place);
            }
            let passed = self.engine.write_all(&piece[..filled + count]);
            left -= count as u64;
            filled = 0;
            if passed.is_err() || left == 0 {
                break passed;
            }
        };
        self.piece = piece;
        passed
    }

    fn receive(&mut self, piece: &mut [u8]) {
        if let Some(worker) = &mut self.worker
            && let Err(reason) = worker.read(piece, || self.state.failure())
        {
            self.fail(reason);
        }
    }

    /// Checks that the values in an answer are plausible.
    fn check_answer(
        &mut self,
        command: Command,
        asked: &RequestPrefix,
        answer: &[u8],
    ) -> std::result::Result<(), ConnectionError> {
        match command {
            Command::AllocBuffer => {
                let (device, wanted) = (u32_at(asked, 0), u64_at(asked, 4));
                let (buffer, size) = (u64_at(answer, 0), u64_at(answer, 8));
                if buffer != 0 {
                    if !(wanted..=MAX_DEVICE_MEMORY).contains(&size) {
                        return Err(format!(
                            "it gave a buffer of {size} bytes for one of {wanted}"
                        ));
                    }
                    self.buffers.insert(buffer, (size, self.state.alignment(device)));
                }
            }
            Command::BufferGetBase => {
                let base = u64_at(answer, 0);
                let (size, alignment) =
                    self.buffers.get(&u64_at(asked, 0)).copied().unwrap_or((0, 1));
                let end = base.checked_add(size).filter(|end| i64::try_from(*end).is_ok());
                if base == 0 || !base.is_multiple_of(alignment) || end.is_none() {
                    return Err(format!("it says that a buffer of {size} bytes is at {base:#x}"));
                }
            }
            Command::GetAllocSize => {
                let size = u64_at(answer, 0);
                if size > MAX_DEVICE_MEMORY {
                    return Err(format!("it says that a tensor takes {}", units::memory(size)));
                }
            }
            Command::GetDeviceMemory => _ = memory_of(answer)?,
            Command::SetTensorHash | Command::CopyTensor if answer[0] > 1 => {
                return Err(format!("it answered {} for yes or no", answer[0]));
            }
            _ => {}
        }
        Ok(())
    }

    fn fail(&mut self, reason: ConnectionError) {
        self.state.fail(reason);
        self.worker = None;
    }
}

/// Fills in a substitute answer for a failed worker, where zeros are not valid. (The engine handles zero bytes of
/// memory, and a buffer at address zero, as failures.)
fn placeholder_answer(command: Command, answer: &mut [u8]) {
    let number: u64 = match command {
        Command::BufferGetBase => MAX_ALIGNMENT,
        // Claims that the worker has these weights, so that the engine does not send them.
        Command::SetTensorHash => 1,
        _ => return,
    };
    let length = answer.len().min(8);
    answer[..length].copy_from_slice(&number.to_le_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::rpc::protocol::{CAPABILITIES, HELLO_ANSWER_BYTES, request};

    /// Returns the payload of a fake worker's answer to a request; none closes the connection.
    type Answers = fn(Command, &[u8]) -> Option<Vec<u8>>;

    /// Starts a fake worker with the given answers.
    fn fake_worker(answers: Answers) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                thread::spawn(move || {
                    let mut head = [0; REQUEST_HEADER_BYTES];
                    while stream.read_exact(&mut head).is_ok() {
                        let mut carried = vec![0; u64_at(&head, 1) as usize];
                        stream.read_exact(&mut carried).unwrap();
                        let command = Command::from_number(head[0]).unwrap();
                        let Some(answer) = answers(command, &carried) else { return };
                        let _ = stream.write_all(&protocol::answer(&answer));
                    }
                });
            }
        });
        address
    }

    fn hello(version: [u8; 3]) -> Vec<u8> {
        let mut answer = version.to_vec();
        answer.resize(HELLO_ANSWER_BYTES, 0);
        answer
    }

    /// The answers of a valid worker with one device, without buffers.
    fn healthy_answers(command: Command, _: &[u8]) -> Option<Vec<u8>> {
        Some(match command {
            Command::Hello => hello([7, 0, 0]),
            Command::DeviceCount => 1_u32.to_le_bytes().to_vec(),
            Command::GetAlignment => 64_u64.to_le_bytes().to_vec(),
            Command::GetMaxSize => u64::MAX.to_le_bytes().to_vec(),
            Command::GetDeviceMemory => [1_u64 << 30, 1 << 31].map(u64::to_le_bytes).concat(),
            _ => return None,
        })
    }

    #[test]
    fn unusable_workers_report_the_reason() {
        #[allow(clippy::unnecessary_wraps, reason = "what is answered")]
        fn numbers(numbers: &[u64]) -> Option<Vec<u8>> {
            Some(numbers.iter().flat_map(|number| number.to_le_bytes()).collect())
        }
        let refused = |address: &str, why: &str| {
            let error = Relay::open(address).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
            assert!(error.to_string().contains(address), "{error}");
            assert!(error.to_string().contains(why), "{why}: {error}");
        };
        let cases: [(&str, Answers); 17] = [
            ("version 6.0.0", |_, _| Some(hello([6, 0, 0]))),
            ("version 7.1.0", |_, _| Some(hello([7, 1, 0]))),
            ("not a worker", |_, _| Some(b"HTTP/1.1 404 Not Found\r\n\r\n".to_vec())),
            ("closed the connection", |_, _| None),
            ("no device", |command, carried| match command {
                Command::DeviceCount => Some(vec![0; 4]),
                _ => healthy_answers(command, carried),
            }),
            ("2147483648 devices", |command, carried| match command {
                Command::DeviceCount => Some((1_u32 << 31).to_le_bytes().to_vec()),
                _ => healthy_answers(command, carried),
            }),
            ("wrong length", |command, carried| match command {
                Command::DeviceCount => numbers(&[1]),
                _ => healthy_answers(command, carried),
            }),
            ("gives 0 for the alignment", |command, carried| match command {
                Command::GetAlignment => numbers(&[0]),
                _ => healthy_answers(command, carried),
            }),
            ("gives 48 for the alignment", |command, carried| match command {
                Command::GetAlignment => numbers(&[48]),
                _ => healthy_answers(command, carried),
            }),
            ("for the alignment", |command, carried| match command {
                Command::GetAlignment => numbers(&[1 << 63]),
                _ => healthy_answers(command, carried),
            }),
            ("wrong length", |command, carried| match command {
                Command::GetAlignment => numbers(&[64, 64]),
                _ => healthy_answers(command, carried),
            }),
            ("gives 0 bytes", |command, carried| match command {
                Command::GetMaxSize => numbers(&[0]),
                _ => healthy_answers(command, carried),
            }),
            ("wrong length", |command, carried| match command {
                Command::GetMaxSize => Some(Vec::new()),
                _ => healthy_answers(command, carried),
            }),
            ("are free", |command, carried| match command {
                Command::GetDeviceMemory => numbers(&[2, 1]),
                _ => healthy_answers(command, carried),
            }),
            ("are free", |command, carried| match command {
                Command::GetDeviceMemory => numbers(&[1, u64::MAX]),
                _ => healthy_answers(command, carried),
            }),
            ("wrong length", |command, carried| match command {
                Command::GetDeviceMemory => numbers(&[1]),
                _ => healthy_answers(command, carried),
            }),
            ("closed the connection", |command, carried| match command {
                Command::GetDeviceMemory => None,
                _ => healthy_answers(command, carried),
            }),
        ];
        for (why, answers) in cases {
            refused(&fake_worker(answers), why);
        }
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        refused(&unused.to_string(), "refused");
        let relay = Relay::open(&fake_worker(healthy_answers)).unwrap();
        assert_eq!(relay.memory(), Some(vec![(1 << 30, 1 << 31)]));
        assert!(relay.check_reachable().unwrap());
    }

    /// Sends a request like the engine and returns the payload of the answer.
    fn ask(engine: &mut TcpStream, command: Command, carried: &[u8], length: usize) -> Vec<u8> {
        engine.write_all(&request(command, carried)).unwrap();
        let mut answer = vec![0; 8 + length];
        engine.read_exact(&mut answer).unwrap();
        assert_eq!(u64_at(&answer, 0), length as u64);
        answer.split_off(8)
    }

    #[test]
    fn relay_answers_for_lost_workers() {
        // The fake worker has no buffers.
        let relay = Relay::open(&fake_worker(healthy_answers)).unwrap();
        let mut engine = TcpStream::connect(&relay.endpoint).unwrap();
        let greeted = ask(&mut engine, Command::Hello, &[0; CAPABILITIES], HELLO_ANSWER_BYTES);
        assert_eq!(greeted[..3], [7, 0, 0]);
        let alignment = ask(&mut engine, Command::GetAlignment, &[0; 4], 8);
        assert_eq!(alignment, 64_u64.to_le_bytes());
        assert!(relay.check().is_ok());
        assert_eq!(ask(&mut engine, Command::AllocBuffer, &[0; 12], 16), [0; 16]);
        let error = relay.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert!(error.hint().is_some_and(|hint| hint.contains("load the model again")));
        let length = IO_CHUNK_BYTES * 2 + 3;
        let mut wanted = [0; protocol::TENSOR_BYTES + 16];
        wanted[protocol::TENSOR_BYTES + 8..].copy_from_slice(&(length as u64).to_le_bytes());
        let data = ask(&mut engine, Command::GetTensor, &wanted, length);
        assert_eq!(data, vec![0; length]);
        assert_eq!(relay.memory(), None);
    }

    /// Invalid values never reach the engine.
    #[test]
    fn invalid_worker_numbers_are_failures() {
        #[allow(clippy::unnecessary_wraps, reason = "what is answered")]
        fn buffer(size: u64) -> Option<Vec<u8>> {
            Some([1_u64, size].map(u64::to_le_bytes).concat())
        }
        #[allow(clippy::unnecessary_wraps, reason = "what is answered")]
        fn base(base: u64) -> Option<Vec<u8>> {
            Some(base.to_le_bytes().to_vec())
        }
        let cases: [(&str, Answers); 8] = [
            ("buffer of 99 bytes", |command, carried| match command {
                Command::AllocBuffer => buffer(99),
                _ => healthy_answers(command, carried),
            }),
            ("a buffer of", |command, carried| match command {
                Command::AllocBuffer => buffer(u64::MAX),
                _ => healthy_answers(command, carried),
            }),
            ("wrong length", |command, carried| match command {
                Command::AllocBuffer => Some(vec![0; 1 << 20]),
                _ => healthy_answers(command, carried),
            }),
            ("is at 0x0", |command, carried| match command {
                Command::AllocBuffer => buffer(100),
                Command::BufferGetBase => base(0),
                _ => healthy_answers(command, carried),
            }),
            ("is at 0x21", |command, carried| match command {
                Command::AllocBuffer => buffer(100),
                Command::BufferGetBase => base(0x21),
                _ => healthy_answers(command, carried),
            }),
            ("is at 0xffffffffffffffc0", |command, carried| match command {
                Command::AllocBuffer => buffer(100),
                Command::BufferGetBase => base(0_u64.wrapping_sub(64)),
                _ => healthy_answers(command, carried),
            }),
            ("that a tensor takes", |command, carried| match command {
                Command::AllocBuffer => buffer(100),
                Command::BufferGetBase => base(64),
                Command::GetAllocSize => Some(u64::MAX.to_le_bytes().to_vec()),
                _ => healthy_answers(command, carried),
            }),
            ("yes or no", |command, carried| match command {
                Command::AllocBuffer => buffer(100),
                Command::BufferGetBase => base(64),
                Command::GetAllocSize => Some(100_u64.to_le_bytes().to_vec()),
                Command::CopyTensor => Some(vec![7]),
                _ => healthy_answers(command, carried),
            }),
        ];
        for (why, answers) in cases {
            let relay = Relay::open(&fake_worker(answers)).unwrap();
            let mut engine = TcpStream::connect(&relay.endpoint).unwrap();
            let wanted = [&0_u32.to_le_bytes()[..], &100_u64.to_le_bytes()].concat();
            ask(&mut engine, Command::AllocBuffer, &wanted, 16);
            let base = ask(&mut engine, Command::BufferGetBase, &1_u64.to_le_bytes(), 8);
            assert_eq!(u64_at(&base, 0) % 64, 0, "{why}");
            assert_ne!(u64_at(&base, 0), 0, "{why}");
            let Length::Exactly(length) = Command::GetAllocSize.payload_length() else {
                unreachable!()
            };
            let size = ask(&mut engine, Command::GetAllocSize, &vec![0; length], 8);
            assert!(u64_at(&size, 0) <= 100, "{why}");
            let copied = ask(&mut engine, Command::CopyTensor, &[0; 2 * protocol::TENSOR_BYTES], 1);
            assert!(copied[0] <= 1, "{why}");
            let error = relay.check().expect_err(why).to_string();
            assert!(error.contains(why), "{why}: {error}");
        }
    }

    #[test]
    fn abandoned_workers_do_not_block_the_engine() {
        /// A worker that stops responding when a buffer is allocated.
        fn silent(command: Command, carried: &[u8]) -> Option<Vec<u8>> {
            if command == Command::AllocBuffer {
                thread::sleep(Duration::from_secs(3600));
            }
            healthy_answers(command, carried)
        }
        let relay = Relay::open(&fake_worker(silent)).unwrap();
        let mut engine = TcpStream::connect(&relay.endpoint).unwrap();
        thread::scope(|scope| {
            let asked = scope.spawn(|| ask(&mut engine, Command::AllocBuffer, &[0; 12], 16));
            while !relay.is_in_use() {
                thread::yield_now();
            }
            relay.abandon();
            assert_eq!(asked.join().unwrap(), [0; 16]);
        });
        assert!(relay.check().is_err());
    }

    #[test]
    fn workers_with_changed_devices_are_unusable() {
        static DEVICES: AtomicUsize = AtomicUsize::new(1);
        let relay = Relay::open(&fake_worker(|command, carried| match command {
            Command::DeviceCount => {
                Some((DEVICES.load(Ordering::SeqCst) as u32).to_le_bytes().to_vec())
            }
            _ => healthy_answers(command, carried),
        }))
        .unwrap();
        assert!(relay.check_reachable().unwrap());
        DEVICES.store(2, Ordering::SeqCst);
        assert!(!relay.check_reachable().unwrap());
        assert!(relay.check().is_err());
    }
}
