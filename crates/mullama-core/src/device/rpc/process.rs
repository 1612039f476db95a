//! The engine's server for one connection: a separate process, so that a crash ends only one connection.
//!
//! It is the program `mullama-worker` (`shim/worker.cpp` of mullama-sys), installed next to the engine. It listens on
//! loopback and serves one connection at a time. This process connects immediately, so that no other client is served.
//! It exits when its standard input is closed, which happens when this process ends.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command as Program, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::protocol::{Command, Connection, ConnectionError};

/// How long the process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval between connection attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// How long to wait for a process to exit after its connection broke.
const EXIT_TIMEOUT: Duration = Duration::from_millis(300);

/// Number of attempts to start a process, in case another program takes its port.
const MAX_START_ATTEMPTS: usize = 3;

/// Number of stderr lines of the process that are stored.
const MAX_LOG_LINES: usize = 8;

/// Maximum length of a stderr line in bytes.
const MAX_LOG_LINE_BYTES: u64 = 1 << 10;

/// The parameters for starting a process.
pub struct LaunchOptions {
    pub program: PathBuf,
    /// The library that backend modules are linked against.
    pub engine: PathBuf,
    pub modules: Vec<PathBuf>,
    /// Names of the devices to offer.
    pub devices: Vec<String>,
    pub n_threads: u32,
}

/// The engine's server for one connection. Dropping it kills the process.
pub struct Process {
    child: Child,
    pub link: Connection,
    reader: Option<JoinHandle<()>>,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts the server and waits until it responds.
    pub fn start(launch_options: &LaunchOptions) -> Result<Self, ConnectionError> {
        let mut failure = ConnectionError::new();
        for _ in 0..MAX_START_ATTEMPTS {
            match Self::try_to_start(launch_options) {
                Ok(process) => return Ok(process),
                Err(reason) => failure = reason,
            }
        }
        Err(failure)
    }

    fn try_to_start(launch_options: &LaunchOptions) -> Result<Self, ConnectionError> {
        let text = |error: std::io::Error| error.to_string();
        // Choose a free port.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .map_err(text)?;
        let mut child = Program::new(&launch_options.program)
            .arg(address.to_string())
            .arg(launch_options.n_threads.to_string())
            .arg(launch_options.devices.join(","))
            .arg(&launch_options.engine)
            .args(&launch_options.modules)
            // On a crash, the engine would start a debugger to print a backtrace.
            .env("GGML_NO_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("its process does not start: {error}"))?;
        let said = Arc::<Mutex<VecDeque<String>>>::default();
        let (stderr, heard) = (child.stderr.take(), Arc::clone(&said));
        let reader = thread::Builder::new()
            .name("mullama-worker".to_owned())
            .spawn(move || stderr.into_iter().for_each(|stderr| listen(stderr, &heard)));
        let reader = match reader {
            Ok(reader) => reader,
            Err(error) => {
                end(&mut child);
                return Err(format!(
                    "no thread could be started: {error} (the limit of processes and threads is `ulimit -u`, or a container's pids limit)"
                ));
            }
        };
        match connect(address, &mut child) {
            Ok(link) => Ok(Self { child, link, reader: Some(reader), said }),
            Err(reason) => {
                end(&mut child);
                let _ = reader.join();
                Err(with_log_lines(reason, &said))
            }
        }
    }

    /// Returns the reason if the server can no longer be used.
    pub fn ended(&mut self) -> Option<ConnectionError> {
        let is_running = matches!(self.child.try_wait(), Ok(None));
        (!is_running || self.link.is_closed()).then(|| self.exit_reason())
    }

    /// Returns the reason why the server's connection broke.
    pub fn exit_reason(&mut self) -> ConnectionError {
        // A crashing process exits shortly after its connection closes.
        let until = Instant::now() + EXIT_TIMEOUT;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => {
                    let _ = self.reader.take().map(JoinHandle::join);
                    let ended = format!("the engine's process ended ({status})");
                    return with_log_lines(ended, &self.said);
                }
                Ok(None) if Instant::now() < until => thread::sleep(POLL_INTERVAL),
                _ => return with_log_lines("the engine refused a request".to_owned(), &self.said),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        end(&mut self.child);
        let _ = self.reader.take().map(JoinHandle::join);
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Stores the last lines of stderr.
fn listen(stderr: impl Read, heard: &Mutex<VecDeque<String>>) {
    let mut stderr = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match stderr.by_ref().take(MAX_LOG_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(count) if count > 0 => {}
            _ => return,
        }
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if line.is_empty() {
            continue;
        }
        log::debug!("the engine's process: {line}");
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.push_back(line);
        if heard.len() > MAX_LOG_LINES {
            heard.pop_front();
        }
    }
}

fn with_log_lines(reason: ConnectionError, said: &Mutex<VecDeque<String>>) -> ConnectionError {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    match said.back() {
        Some(line) => format!("{reason}: {line}"),
        None => reason,
    }
}

/// Connects to the server as soon as it is listening.
fn connect(address: SocketAddr, child: &mut Child) -> Result<Connection, ConnectionError> {
    let until = Instant::now() + START_TIMEOUT;
    let stream = loop {
        if let Ok(stream) = TcpStream::connect(address) {
            break stream;
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("its process ended ({status})"));
        }
        if Instant::now() >= until {
            return Err(format!("its process did not listen within {} s", START_TIMEOUT.as_secs()));
        }
        thread::sleep(POLL_INTERVAL);
    };
    // Computations take any amount of time; callers check whether to continue waiting.
    let mut link = Connection::new(stream, None).map_err(|error| error.to_string())?;
    link.handshake(|| (Instant::now() >= until).then(|| "its process does not answer".to_owned()))?;
    // If it could not bind the port, it has exited by now, and the connection is to another program.
    match child.try_wait() {
        Ok(None) => Ok(link),
        _ => Err("its process ended".to_owned()),
    }
}

/// Starts a process in advance, so that new connections need not wait for it. Requests that any process can answer are
/// sent to this one.
pub struct StandbyProcess {
    launch_options: LaunchOptions,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Option<Process>,
    is_starting: bool,
}

impl StandbyProcess {
    /// Starts the first process.
    pub fn new(launch_options: LaunchOptions) -> Result<Self, ConnectionError> {
        let ready = Some(Process::start(&launch_options)?);
        let state = Mutex::new(State { ready, is_starting: false });
        Ok(Self { launch_options, state, changed: Condvar::new() })
    }

    /// Returns a process for a connection, and starts the next one in the background.
    pub fn take(self: &Arc<Self>) -> Result<Process, ConnectionError> {
        let mut ready = self.wait_for_ready().ready.take();
        // Discard the process if it has exited in the meantime.
        if ready.as_mut().is_some_and(|process| process.ended().is_some()) {
            ready = None;
        }
        let process = match ready {
            Some(process) => process,
            None => Process::start(&self.launch_options)?,
        };
        self.start_standby();
        Ok(process)
    }

    /// Sends a request to the spare process, which serves no connection.
    pub fn ask<const N: usize>(
        self: &Arc<Self>,
        command: Command,
        carried: &[u8],
    ) -> Result<[u8; N], ConnectionError> {
        let until = Instant::now() + START_TIMEOUT;
        let late = || (Instant::now() >= until).then(|| "its process does not answer".to_owned());
        for _ in 0..2 {
            let mut state = self.wait_for_ready();
            let process = match state.ready.take() {
                Some(process) => process,
                None => Process::start(&self.launch_options)?,
            };
            let process = state.ready.insert(process);
            match process.link.ask(command, carried, late) {
                Ok(answer) => return Ok(answer),
                Err(_) => state.ready = None,
            }
        }
        Err("the engine's process ended".to_owned())
    }

    /// Starts a spare process in the background if there is none.
    fn start_standby(self: &Arc<Self>) {
        let mut state = self.lock();
        if state.ready.is_some() || state.is_starting {
            return;
        }
        state.is_starting = true;
        let spare = Arc::clone(self);
        let started = thread::Builder::new().name("mullama-worker".to_owned()).spawn(move || {
            let process = Process::start(&spare.launch_options);
            if let Err(reason) = &process {
                log::error!("no process can be started for the next connection: {reason}");
            }
            let mut state = spare.lock();
            state.is_starting = false;
            state.ready = process.ok();
            drop(state);
            spare.changed.notify_all();
        });
        // If no thread can be created, the next connection starts its process itself.
        state.is_starting = started.is_ok();
    }

    /// Locks the state, after waiting for a process that is being started.
    fn wait_for_ready(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        let starting = |state: &mut State| state.ready.is_none() && state.is_starting;
        self.changed.wait_while(state, starting).unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
