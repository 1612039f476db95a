//! Stands between the engine and one worker, because the engine ends the process when a worker goes
//! away.
//!
//! The engine connects to a relay on loopback, which passes messages on. Where the worker fails, the
//! relay remembers why and answers in its place, with zeros of the right length: the computation under
//! way comes to its end, and whoever started it asks [`Relay::check`] before using what it gave.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mullama_base::no_thread;
use mullama_sys as sys;
use socket2::{SockRef, TcpKeepalive};

use crate::{Error, ErrorKind, Result};

/// How long a worker may take to accept a connection, and to answer the first message.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may be silent before it is looked after, and between looks.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// What is read and written at once.
const BUFFER_SIZE: usize = 256 * 1024;

/// The commands that the relay has to tell apart (`rpc_cmd` in ggml-rpc.cpp).
mod command {
    pub const ALLOC_BUFFER: u8 = 0;
    pub const GET_ALIGNMENT: u8 = 1;
    pub const GET_MAX_SIZE: u8 = 2;
    pub const BUFFER_GET_BASE: u8 = 3;
    pub const SET_TENSOR_HASH: u8 = 7;
    pub const GET_TENSOR: u8 = 8;
    pub const COPY_TENSOR: u8 = 9;
    pub const GET_DEVICE_MEMORY: u8 = 11;
    pub const GET_ALLOC_SIZE: u8 = 13;
    pub const HELLO: u8 = 14;
    pub const DEVICE_COUNT: u8 = 15;
}

/// Bytes of a peer's capabilities in the first message. All zero: no transport but TCP.
const CAPABILITIES: usize = 24;

/// Bytes of the answer to the first message: a version of three numbers, padding, capabilities.
const HELLO_ANSWER: usize = 4 + CAPABILITIES;

/// The way to one worker.
pub(crate) struct Relay {
    /// The worker's address, as the user wrote it.
    pub worker: String,
    /// Where the engine connects.
    pub endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Why the worker can no longer be used.
    failure: Mutex<Option<String>>,
    connections: AtomicUsize,
}

impl State {
    fn fail(&self, reason: impl std::fmt::Display) {
        let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert_with(|| reason.to_string());
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Relay {
    /// Makes sure of the worker, and starts to listen for the engine.
    pub fn open(worker: &str) -> Result<Self> {
        drop(reach(worker)?);
        let failed = |error: io::Error| {
            Error::new(ErrorKind::Io, format!("cannot listen on loopback: {error}"))
                .with_source(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        let endpoint = listener.local_addr().map_err(failed)?.to_string();
        let state = Arc::<State>::default();
        let (address, shared) = (worker.to_owned(), Arc::clone(&state));
        thread::Builder::new()
            .name("mullama-relay".to_owned())
            .spawn(move || {
                for engine in listener.incoming().flatten() {
                    let (address, shared) = (address.clone(), Arc::clone(&shared));
                    // Where there is no thread to be had, the engine's connection closes.
                    let _ = thread::Builder::new()
                        .name("mullama-relay".to_owned())
                        .spawn(move || serve(engine, &address, &shared));
                }
            })
            .map_err(|error| no_thread("a thread", &error).with_source(error))?;
        Ok(Self { worker: worker.to_owned(), endpoint, state })
    }

    /// Whether everything that came from the worker so far is true.
    pub fn check(&self) -> Result<()> {
        match self.state.failure() {
            None => Ok(()),
            Some(reason) => Err(unusable(&self.worker, reason)
                .with_hint("start the worker again, and load the model again")),
        }
    }

    /// As [`Self::check`], and asks the worker, unless a connection to it is open.
    pub fn reach(&self) -> Result<()> {
        self.check()?;
        if self.state.connections.load(Ordering::SeqCst) == 0 {
            drop(reach(&self.worker)?);
        }
        Ok(())
    }
}

fn unusable(worker: &str, reason: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Backend, format!("the worker at {worker} cannot be used: {reason}"))
        .with_context("worker", worker)
}

/// Connects to a worker and exchanges the first message.
fn reach(worker: &str) -> Result<TcpStream> {
    connect(worker)
        .map_err(|reason| unusable(worker, reason).with_hint("start one with `mullama rpc-server`"))
}

fn connect(worker: &str) -> std::result::Result<TcpStream, String> {
    let text = |error: io::Error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer within {} s; it may be serving another program", TIMEOUT.as_secs())
        }
        _ => error.to_string(),
    };
    let addresses = worker.to_socket_addrs().map_err(text)?;
    let mut stream = Err("the name has no address".to_owned());
    for address in addresses {
        stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(text);
        if stream.is_ok() {
            break;
        }
    }
    let mut stream = stream?;
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL).with_interval(KEEPALIVE_INTERVAL);
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| stream.set_read_timeout(Some(TIMEOUT)))
        .and_then(|()| SockRef::from(&stream).set_tcp_keepalive(&keepalive));
    prepared.map_err(text)?;

    let mut hello = vec![command::HELLO];
    hello.extend((CAPABILITIES as u64).to_le_bytes());
    hello.extend([0; CAPABILITIES]);
    stream.write_all(&hello).map_err(text)?;
    let mut answer = [0; 8 + HELLO_ANSWER];
    stream.read_exact(&mut answer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is no worker: it closed the connection".to_owned(),
        _ => text(error),
    })?;
    let (length, answer) = answer.split_at(8);
    if length != (HELLO_ANSWER as u64).to_le_bytes() {
        return Err("it is no worker, or one of another version".to_owned());
    }
    let [major, minor, patch] = sys::shim::rpc_protocol();
    if answer[0] != major || answer[1] > minor {
        return Err(format!(
            "it speaks version {}.{}.{} of the protocol, and this engine {major}.{minor}.{patch}",
            answer[0], answer[1], answer[2]
        ));
    }
    // A computation takes as long as it takes.
    stream.set_read_timeout(None).map_err(text)?;
    Ok(stream)
}

/// Passes on one connection of the engine, until it closes.
fn serve(engine: TcpStream, address: &str, state: &State) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    // The engine expects nothing of a connection before the first message, so that a worker that is
    // gone by now is one that fails.
    let worker = if state.failure().is_some() { None } else { worker_or_failure(address, state) };
    let _ = engine.set_nodelay(true);
    let mut passage = Passage { engine, worker, state, piece: vec![0; BUFFER_SIZE] };
    while passage.pass_message().is_ok() {}
    if let Some(worker) = passage.worker {
        let _ = worker.shutdown(Shutdown::Both);
    }
    state.connections.fetch_sub(1, Ordering::SeqCst);
}

fn worker_or_failure(address: &str, state: &State) -> Option<TcpStream> {
    connect(address).map_err(|reason| state.fail(reason)).ok()
}

struct Passage<'a> {
    engine: TcpStream,
    /// None once it has failed.
    worker: Option<TcpStream>,
    state: &'a State,
    piece: Vec<u8>,
}

impl Passage<'_> {
    /// One request and its answer. Fails only where the engine has closed the connection.
    fn pass_message(&mut self) -> io::Result<()> {
        // A request: the command, the length of its data, the data.
        let mut head = [0; 9];
        self.engine.read_exact(&mut head)?;
        let (command, length) = (head[0], u64_of(&head[1..]));
        let is_hello = command == command::HELLO;
        let mut ending = [0; 8];
        let mut left = length;
        // Head and data go together where they are short: one packet less on the way.
        let mut filled = head.len();
        self.piece[..filled].copy_from_slice(&head);
        loop {
            let count = left.min((BUFFER_SIZE - filled) as u64) as usize;
            self.engine.read_exact(&mut self.piece[filled..filled + count])?;
            left -= count as u64;
            filled += count;
            if left == 0 && length >= 8 {
                ending.copy_from_slice(&self.piece[filled - 8..filled]);
            }
            // The first message was exchanged when the connection was made.
            if !is_hello {
                self.send_on(filled);
            }
            if left == 0 {
                break;
            }
            filled = 0;
        }
        if is_hello {
            let mut answer = (HELLO_ANSWER as u64).to_le_bytes().to_vec();
            answer.extend(sys::shim::rpc_protocol());
            answer.resize(8 + HELLO_ANSWER, 0);
            return self.engine.write_all(&answer);
        }
        match answer_length(command, u64_of(&ending)) {
            Some(length) => self.pass_answer(command, length),
            None => Ok(()),
        }
    }

    fn send_on(&mut self, filled: usize) {
        if let Some(worker) = &mut self.worker
            && let Err(error) = worker.write_all(&self.piece[..filled])
        {
            self.fail(&error);
        }
    }

    /// An answer: its length, and so many bytes.
    fn pass_answer(&mut self, command: u8, length: u64) -> io::Result<()> {
        let mut announced = [0; 8];
        if let Some(worker) = &mut self.worker {
            match worker.read_exact(&mut announced) {
                Ok(()) if u64_of(&announced) == length => {}
                Ok(()) => self.fail(&"it gave an answer of a wrong length"),
                Err(error) => self.fail(&error),
            }
        }
        self.piece[..8].copy_from_slice(&length.to_le_bytes());
        let (mut left, mut filled) = (length, 8);
        let truthful = self.worker.is_some();
        loop {
            let count = left.min((BUFFER_SIZE - filled) as u64) as usize;
            let place = filled..filled + count;
            if let Some(worker) = &mut self.worker
                && let Err(error) = worker.read_exact(&mut self.piece[place.clone()])
            {
                self.fail(&error);
            }
            if self.worker.is_none() {
                self.piece[place.clone()].fill(0);
                if !truthful {
                    stand_in(command, &mut self.piece[place]);
                }
            }
            self.engine.write_all(&self.piece[..filled + count])?;
            left -= count as u64;
            filled = 0;
            if left == 0 {
                break;
            }
        }
        Ok(())
    }

    fn fail(&mut self, reason: &dyn std::fmt::Display) {
        let gone = matches!(reason.to_string().as_str(), "failed to fill whole buffer");
        let reason = if gone { "it closed the connection".to_owned() } else { reason.to_string() };
        log::error!("a worker failed: {reason}");
        self.state.fail(reason);
        self.worker = None;
    }
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

/// How long the answer to a command is; `None` where there is none. What a tensor's data is asked for
/// with ends in their length.
fn answer_length(command: u8, ending: u64) -> Option<u64> {
    match command {
        command::ALLOC_BUFFER | command::GET_DEVICE_MEMORY => Some(16),
        command::GET_ALIGNMENT
        | command::GET_MAX_SIZE
        | command::BUFFER_GET_BASE
        | command::GET_ALLOC_SIZE => Some(8),
        command::SET_TENSOR_HASH | command::COPY_TENSOR => Some(1),
        command::DEVICE_COUNT => Some(4),
        command::GET_TENSOR => Some(ending),
        _ => None,
    }
}

/// What the engine takes for an answer, where zeros will not do. (Zero bytes of memory, or a buffer at
/// address zero, are failures that it copes with.)
fn stand_in(command: u8, answer: &mut [u8]) {
    let number: u64 = match command {
        command::GET_ALIGNMENT => 64,
        command::GET_MAX_SIZE => u64::MAX,
        command::BUFFER_GET_BASE => 4096,
        // The worker is said to have these weights: they need not be sent.
        command::SET_TENSOR_HASH => 1,
        _ => return,
    };
    let length = answer.len().min(8);
    answer[..length].copy_from_slice(&number.to_le_bytes()[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_the_one_that_is_written_down_here() {
        // An engine with another version may have other commands and answers: look at all above.
        assert_eq!(sys::shim::rpc_protocol(), [7, 0, 0]);
    }

    /// A worker that says what it is told to, once, and goes.
    fn pretend(answer: Vec<u8>) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut hello = [0; 9 + CAPABILITIES];
            let _ = stream.read_exact(&mut hello);
            let _ = stream.write_all(&answer);
        });
        address
    }

    fn hello(version: [u8; 3]) -> Vec<u8> {
        let mut answer = (HELLO_ANSWER as u64).to_le_bytes().to_vec();
        answer.extend(version);
        answer.resize(8 + HELLO_ANSWER, 0);
        answer
    }

    #[test]
    fn workers_that_cannot_be_used_are_told_apart() {
        let refused = |address: &str| {
            let error = Relay::open(address).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
            error.to_string()
        };
        assert!(refused(&pretend(hello([6, 0, 0]))).contains("version 6.0.0"));
        assert!(refused(&pretend(hello([7, 1, 0]))).contains("version 7.1.0"));
        assert!(
            refused(&pretend(b"HTTP/1.1 400 Bad Request\r\n\r\n0123456789".to_vec()))
                .contains("no worker")
        );
        assert!(refused(&pretend(Vec::new())).contains("closed the connection"));
        let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        assert!(refused(&unused.to_string()).contains("refused"));
        assert!(Relay::open(&pretend(hello([7, 0, 0]))).is_ok());
    }

    #[test]
    fn a_worker_that_goes_is_stood_in_for() {
        let relay = Relay::open(&pretend(hello([7, 0, 0]))).unwrap();
        // The pretended worker answers no second connection.
        let mut engine = TcpStream::connect(&relay.endpoint).unwrap();
        let mut ask = |command: u8, data: &[u8], length: usize| {
            let mut request = vec![command];
            request.extend((data.len() as u64).to_le_bytes());
            request.extend(data);
            engine.write_all(&request).unwrap();
            let mut answer = vec![0; 8 + length];
            engine.read_exact(&mut answer).unwrap();
            assert_eq!(u64_of(&answer[..8]), length as u64);
            answer.split_off(8)
        };
        assert_eq!(ask(command::HELLO, &[0; CAPABILITIES], HELLO_ANSWER)[..3], [7, 0, 0]);
        assert_eq!(ask(command::GET_ALIGNMENT, &[0; 4], 8), 64_u64.to_le_bytes());
        assert_eq!(ask(command::ALLOC_BUFFER, &[0; 12], 16), [0; 16]);
        let large = (BUFFER_SIZE as u64 * 2 + 3).to_le_bytes();
        assert_eq!(
            ask(command::GET_TENSOR, &large, BUFFER_SIZE * 2 + 3),
            vec![0; BUFFER_SIZE * 2 + 3]
        );
        let error = relay.check().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend);
        assert!(error.hint().is_some_and(|hint| hint.contains("load the model again")));
    }
}
