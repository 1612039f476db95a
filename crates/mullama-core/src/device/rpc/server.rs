//! A worker, which offers devices of this machine to other machines.
//!
//! Clients communicate only with this process, which is safe Rust and validates every request ([`super::inspect`]). The
//! engine serves each connection in a separate process ([`super::process`]).

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use mullama_base::thread_error;
use mullama_sys::{modules, shim};

use super::process::{LaunchOptions, StandbyProcess};
use super::session::{self, ConnectionStatus};
use super::with_port;
use crate::device::handle;
use crate::runtime::{self, physical_cores, usable_threads, warn_of_threads};
use crate::{Error, ErrorKind, Result};

/// Maximum number of connections. Each that uses the engine has a process.
const MAX_CONNECTIONS: usize = 16;

/// How long to wait before accepting again after a temporary failure, such as a lack of file descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

/// Offers devices of this machine to other machines. Does not return unless it fails.
///
/// `devices` are names from [`crate::gpu::devices`]; by default the GPUs, or the CPU if there are
/// none. Clients are served concurrently, each by its own process (the program `mullama-worker`
/// next to the engine), so a crash ends only one connection.
///
/// **Anyone who can reach the address can use the worker and fill its memory.** Use only loopback
/// or a trusted network.
pub fn serve(address: &str, devices: Option<&[String]>, n_threads: Option<u32>) -> Result<()> {
    runtime::require_cpu()?;
    let address = with_port(address)?;
    let cannot = |error: io::Error| {
        Error::new(ErrorKind::Io, format!("cannot listen on {address}: {error}"))
            .with_context("address", &address)
            .with_source(error)
    };
    let local = handle::local();
    let mut offered = match devices {
        Some(names) => handle::find_all(&local, names)?,
        None => handle::gpus_of(&local),
    };
    if offered.is_empty() {
        offered = handle::processors_of(&local);
    }
    let requested = n_threads.unwrap_or_else(physical_cores).max(1);
    warn_of_threads(requested);
    let threads = usable_threads(requested);
    let listener = TcpListener::bind(&address).map_err(cannot)?;
    // The engine creates its threads for every computation, and aborts if it cannot.
    shim::try_threads(threads - 1)
        .map_err(|reason| thread_error(&format!("{threads} threads to compute with"), reason))?;
    let names = offered.iter().map(|device| device.name()).collect();
    let spare = StandbyProcess::new(launch_options(names, threads)?).map_err(|reason| {
        let message = format!("the engine's process for the worker at {address} failed: {reason}");
        Error::new(ErrorKind::Backend, message).with_context("address", &address)
    })?;
    let totals = offered.iter().map(|device| device.memory().1).collect();
    let server = Server { spare: Arc::new(spare), totals, connections: Mutex::default() };
    server.accept(&listener).map_err(cannot)
}

/// The parameters for starting the engine's processes.
fn launch_options(devices: Vec<String>, n_threads: u32) -> Result<LaunchOptions> {
    let missing = |what: &str| {
        Error::new(ErrorKind::Backend, format!("a worker cannot be started: {what}"))
            .with_hint("`mullama devices` lists the loaded backends; MULLAMA_BACKEND, if set, must include rpc")
    };
    let loaded = || runtime::modules().iter().filter(|module| module.outcome.is_ok());
    if !loaded().any(|module| module.kind == "rpc") {
        return Err(missing("the RPC backend is not loaded"));
    }
    let (program, engine) = modules::program("mullama-worker").ok_or_else(|| {
        missing("the program `mullama-worker` is missing from the engine's folder")
    })?;
    let modules = loaded().map(|module| module.path.clone()).collect();
    Ok(LaunchOptions { program, engine, modules, devices, n_threads })
}

struct Server {
    spare: Arc<StandbyProcess>,
    totals: Vec<u64>,
    /// Open connections, oldest first.
    connections: Mutex<Vec<Arc<ConnectionStatus>>>,
}

impl Server {
    fn accept(self, listener: &TcpListener) -> io::Result<()> {
        let server = Arc::new(self);
        loop {
            match listener.accept() {
                Ok((stream, peer)) => server.admit(stream, peer),
                Err(error) if is_transient(&error) => thread::sleep(ACCEPT_RETRY_DELAY),
                Err(error) => return Err(error),
            }
        }
    }

    /// Serves a connection on a new thread, if the limit allows it.
    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let status = Arc::<ConnectionStatus>::default();
        if !self.make_room(&status) {
            log::error!(
                "a connection from {peer} is refused: {MAX_CONNECTIONS} others use the worker"
            );
            return;
        }
        let (server, own) = (Arc::clone(self), Arc::clone(&status));
        let work = move || {
            log::info!("{peer} has connected");
            match session::serve(stream, &server.spare, server.totals.clone(), &own) {
                Ok(()) => log::info!("{peer} has closed its connection"),
                Err(reason) => log::error!("the connection of {peer} was closed: {reason}"),
            }
            server.forget(&own);
        };
        if let Err(error) = thread::Builder::new().name("mullama-worker".to_owned()).spawn(work) {
            log::error!("a connection from {peer} is refused: no thread could be started: {error}");
            self.forget(&status);
        }
    }

    /// Adds a connection. If the limit is reached, the oldest connection that does not use the engine is asked to
    /// leave. Returns false if there is none.
    fn make_room(&self, status: &Arc<ConnectionStatus>) -> bool {
        let mut connections = self.lock();
        if connections.len() >= MAX_CONNECTIONS {
            let idle = |status: &&Arc<ConnectionStatus>| {
                !status.uses_engine.load(Ordering::SeqCst)
                    && !status.is_to_leave.load(Ordering::SeqCst)
            };
            let Some(idle) = connections.iter().find(idle) else { return false };
            idle.is_to_leave.store(true, Ordering::SeqCst);
        }
        connections.push(Arc::clone(status));
        true
    }

    fn forget(&self, status: &Arc<ConnectionStatus>) {
        self.lock().retain(|other| !Arc::ptr_eq(other, status));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<ConnectionStatus>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an error concerns only one connection, or is temporary.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied};
    // These are errors of the listener itself.
    !matches!(error.kind(), InvalidInput | PermissionDenied)
}
