//! The protocol of workers, as defined in ggml-rpc.cpp: requests, their payloads and answers. All numbers are
//! little-endian.
//!
//! A request consists of a command (1 byte), the length of the payload (8 bytes), and the payload. An answer consists
//! of its length (8 bytes) and its payload. Some requests have no answer.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use mullama_base::seconds_from_env;
use mullama_sys as sys;
use socket2::{SockRef, TcpKeepalive};

/// Size in bytes of a request's header.
pub const REQUEST_HEADER_BYTES: usize = 9;

/// Size in bytes of a peer's capabilities in the hello message. All zero means TCP is the only transport.
pub const CAPABILITIES: usize = 24;

/// Size in bytes of the answer to hello: a version of three bytes, padding, capabilities.
pub const HELLO_ANSWER_BYTES: usize = 4 + CAPABILITIES;

/// Size in bytes of a tensor description (`rpc_tensor`).
pub const TENSOR_BYTES: usize = 296;

/// Size in bytes of a `SET_TENSOR` payload before the data: tensor, flag, offset.
pub const SET_TENSOR_HEADER_BYTES: usize = TENSOR_BYTES + 1 + 8;

/// Maximum number of sources of a tensor.
pub const SOURCES: usize = 10;

/// Size in bytes of the chunks in which data is read and written.
pub const IO_CHUNK_BYTES: usize = 256 * 1024;

/// How often a waiting connection calls its `stop` callback.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Idle time before the first TCP keepalive probe, and the interval between probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// How long a peer may stay silent when it is expected to send: `MULLAMA_RPC_TIMEOUT` in seconds, 30 s by default.
pub fn silence_timeout() -> Duration {
    seconds_from_env("MULLAMA_RPC_TIMEOUT").unwrap_or(Duration::from_secs(30))
}

/// The length of a payload in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Exactly(usize),
    AtLeast(usize),
}

macro_rules! commands {
    ($( $name:ident = $number:literal, $request:expr, $answer:expr; )+) => {
        /// The command of a request (`rpc_cmd`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Command {
            $( $name = $number, )+
        }

        impl Command {
            pub fn from_number(number: u8) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$name), )+
                    _ => None,
                }
            }

            /// The length of the request's payload.
            pub fn payload_length(self) -> Length {
                match self {
                    $( Self::$name => $request, )+
                }
            }

            /// The length of the answer's payload; none if there is no answer. For `GetTensor`, the last 8 bytes of the
            /// request determine it.
            pub fn answer(self) -> Option<Length> {
                match self {
                    $( Self::$name => $answer, )+
                }
            }
        }
    };
}

use Length::{AtLeast, Exactly};

commands! {
    AllocBuffer = 0, Exactly(12), Some(Exactly(16));
    GetAlignment = 1, Exactly(4), Some(Exactly(8));
    GetMaxSize = 2, Exactly(4), Some(Exactly(8));
    BufferGetBase = 3, Exactly(8), Some(Exactly(8));
    FreeBuffer = 4, Exactly(8), None;
    BufferClear = 5, Exactly(9), None;
    SetTensor = 6, AtLeast(SET_TENSOR_HEADER_BYTES), None;
    SetTensorHash = 7, Exactly(TENSOR_BYTES + 16), Some(Exactly(1));
    GetTensor = 8, Exactly(TENSOR_BYTES + 16), Some(AtLeast(0));
    CopyTensor = 9, Exactly(2 * TENSOR_BYTES), Some(Exactly(1));
    GraphCompute = 10, AtLeast(12), None;
    GetDeviceMemory = 11, Exactly(4), Some(Exactly(16));
    InitTensor = 12, Exactly(TENSOR_BYTES), None;
    GetAllocSize = 13, Exactly(4 + (1 + SOURCES) * TENSOR_BYTES), Some(Exactly(8));
    Hello = 14, Exactly(CAPABILITIES), Some(Exactly(HELLO_ANSWER_BYTES));
    DeviceCount = 15, Exactly(0), Some(Exactly(4));
    GraphRecompute = 16, Exactly(4), None;
    MemsetTensor = 17, Exactly(TENSOR_BYTES + 17), None;
}

impl Command {
    /// The length of the answer's payload, for a request that ends with these bytes.
    pub fn answer_length(self, ending: &[u8]) -> Option<u64> {
        self.answer().map(|length| match length {
            Exactly(length) => length as u64,
            AtLeast(_) => ending.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)),
        })
    }
}

/// Encodes a request.
pub fn request(command: Command, carried: &[u8]) -> Vec<u8> {
    let mut request = vec![command as u8];
    request.extend((carried.len() as u64).to_le_bytes());
    request.extend(carried);
    request
}

/// Encodes an answer.
pub fn answer(carried: &[u8]) -> Vec<u8> {
    let mut answer = (carried.len() as u64).to_le_bytes().to_vec();
    answer.extend(carried);
    answer
}

/// Encodes the answer to the hello message.
pub fn hello_answer() -> Vec<u8> {
    let mut carried = sys::shim::rpc_protocol().to_vec();
    carried.resize(HELLO_ANSWER_BYTES, 0);
    answer(&carried)
}

/// Reads 8 bytes as a number. Panics if they are out of bounds.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Reads 4 bytes as a number. Panics if they are out of bounds.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// A connection with a limit on every wait.
pub struct Connection {
    stream: TcpStream,
    /// How long the peer may stay silent; none while waiting for a computation.
    pub silence_timeout: Option<Duration>,
}

/// The reason why a connection can no longer be used.
pub type ConnectionError = String;

impl Connection {
    pub fn new(stream: TcpStream, silence_timeout: Option<Duration>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(POLL_INTERVAL))?;
        stream.set_write_timeout(Some(POLL_INTERVAL))?;
        let keepalive =
            TcpKeepalive::new().with_time(KEEPALIVE_INTERVAL).with_interval(KEEPALIVE_INTERVAL);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Self { stream, silence_timeout })
    }

    /// Fills the buffer with data from the peer. `stop` is called regularly, and ends the wait by returning a reason.
    pub fn read(
        &mut self,
        piece: &mut [u8],
        stop: impl FnMut() -> Option<ConnectionError>,
    ) -> Result<(), ConnectionError> {
        let mut stream = &self.stream;
        each_part(piece.len(), self.silence_timeout, stop, |done| stream.read(&mut piece[done..]))
    }

    /// Sends the buffer. `stop` works as in [`Self::read`].
    pub fn write(
        &mut self,
        piece: &[u8],
        stop: impl FnMut() -> Option<ConnectionError>,
    ) -> Result<(), ConnectionError> {
        let mut stream = &self.stream;
        each_part(piece.len(), self.silence_timeout, stop, |done| stream.write(&piece[done..]))
    }

    /// Sends a request and returns the payload of its answer, whose length must be the command's.
    pub fn ask<const N: usize>(
        &mut self,
        command: Command,
        carried: &[u8],
        mut stop: impl FnMut() -> Option<ConnectionError>,
    ) -> Result<[u8; N], ConnectionError> {
        debug_assert_eq!(command.answer(), Some(Exactly(N)));
        self.write(&request(command, carried), &mut stop)?;
        let mut length = [0; 8];
        self.read(&mut length, &mut stop)?;
        if u64::from_le_bytes(length) != N as u64 {
            return Err(wrong_length());
        }
        let mut answer = [0; N];
        self.read(&mut answer, &mut stop)?;
        Ok(answer)
    }

    /// Exchanges the hello message and checks the version.
    pub fn handshake(
        &mut self,
        stop: impl FnMut() -> Option<ConnectionError>,
    ) -> Result<(), ConnectionError> {
        let answer: [u8; HELLO_ANSWER_BYTES] =
            self.ask(Command::Hello, &[0; CAPABILITIES], stop).map_err(|reason| {
                if reason == wrong_length() {
                    "it is not a worker, or one of another version".to_owned()
                } else if reason == closed() {
                    "it is not a worker: it closed the connection".to_owned()
                } else {
                    reason
                }
            })?;
        let [major, minor, patch] = sys::shim::rpc_protocol();
        if answer[0] != major || answer[1] > minor {
            return Err(format!(
                "it speaks version {}.{}.{} of the protocol, and this engine {major}.{minor}.{patch}",
                answer[0], answer[1], answer[2]
            ));
        }
        Ok(())
    }

    /// Whether the peer has closed the connection and all of its data has been read.
    pub fn is_closed(&self) -> bool {
        let ended = self.stream.set_nonblocking(true).and_then(|()| self.stream.peek(&mut [0]));
        let _ = self.stream.set_nonblocking(false);
        match ended {
            Ok(count) => count == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// A `stop` callback that never stops.
pub fn never_stop() -> Option<ConnectionError> {
    None
}

fn each_part(
    length: usize,
    silence_timeout: Option<Duration>,
    mut stop: impl FnMut() -> Option<ConnectionError>,
    mut transfer: impl FnMut(usize) -> io::Result<usize>,
) -> Result<(), ConnectionError> {
    let mut since = Instant::now();
    let mut looked_around = since;
    let mut done = 0;
    while done < length {
        let transferred = transfer(done);
        let now = Instant::now();
        match transferred {
            Ok(0) => return Err(closed()),
            Ok(count) => {
                done += count;
                since = now;
            }
            Err(error) if is_retryable(&error) => {
                if let Some(silence_timeout) =
                    silence_timeout.filter(|silence_timeout| now - since >= *silence_timeout)
                {
                    return Err(silent(silence_timeout));
                }
            }
            Err(error) => return Err(error.to_string()),
        }
        // Also call it if single bytes arrive now and then.
        if now - looked_around >= POLL_INTERVAL {
            looked_around = now;
            if let Some(reason) = stop() {
                return Err(reason);
            }
        }
    }
    Ok(())
}

fn is_retryable(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn closed() -> ConnectionError {
    "it closed the connection".to_owned()
}

/// The error for an answer whose length is not that of the command.
pub fn wrong_length() -> ConnectionError {
    "it gave an answer of a wrong length".to_owned()
}

/// The error for a peer that does not respond in time.
pub fn silent(silence_timeout: Duration) -> ConnectionError {
    format!("no answer within {} s", silence_timeout.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    #[test]
    fn rpc_protocol_version_matches_the_engine() {
        // If the engine's version changes, commands and answers may differ: review this file and its users.
        assert_eq!(sys::shim::rpc_protocol(), [7, 0, 0]);
    }

    #[test]
    fn default_silence_timeout_is_30_seconds() {
        assert!(std::env::var_os("MULLAMA_RPC_TIMEOUT").is_none(), "the tests leave it alone");
        assert_eq!(silence_timeout(), Duration::from_secs(30));
    }

    fn pair(silence_timeout: Duration) -> (Connection, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Connection::new(stream, Some(silence_timeout)).unwrap(), listener.accept().unwrap().0)
    }

    #[test]
    fn silent_peers_time_out() {
        let (mut link, mut peer) = pair(Duration::from_millis(300));
        assert!(!link.is_closed());
        assert!(link.read(&mut [0; 3], never_stop).unwrap_err().contains("within 0.3 s"));
        // Nor for one that does not read.
        assert!(link.write(&vec![0; 64 << 20], never_stop).unwrap_err().contains("within 0.3 s"));
        let mut asked = 0;
        link.silence_timeout = None;
        let stop = || {
            asked += 1;
            (asked == 3).then(|| "stopped".to_owned())
        };
        assert_eq!(link.read(&mut [0; 3], stop).unwrap_err(), "stopped");
        // A byte now and then counts as activity.
        link.silence_timeout = Some(Duration::from_millis(300));
        let slow = thread::spawn(move || {
            for byte in 0..5 {
                thread::sleep(Duration::from_millis(150));
                peer.write_all(&[byte]).unwrap();
            }
        });
        let mut all = [0; 5];
        link.read(&mut all, never_stop).unwrap();
        assert_eq!(all, [0, 1, 2, 3, 4]);
        slow.join().unwrap();
        assert!(link.is_closed());
        assert_eq!(link.read(&mut [0], never_stop).unwrap_err(), closed());
    }
}
