//! Workers: devices of other machines, reached by the engine's RPC backend.
//!
//! A worker belongs to the models that name it; nothing else is ever put on it. The protocol has no
//! authentication and no encryption: it is for networks that are trusted.

mod relay;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::net::{IpAddr, TcpListener, ToSocketAddrs as _};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use mullama_base::no_thread;
use mullama_sys as sys;
use sys::shim::{self, AddServer, StartServer};

use super::handle::{self, Handle};
use crate::runtime::{self, log as logging};
use crate::{Error, ErrorKind, Result};
use relay::Relay;

/// The port that a worker listens on where none is named; it is llama.cpp's.
pub const DEFAULT_PORT: u16 = 50052;

/// A worker that is in use.
pub(crate) struct Worker {
    relay: Relay,
    pub devices: Vec<Handle>,
}

impl Worker {
    /// Fails where the worker has gone away: then nothing that it computed is true.
    pub fn check(&self) -> Result<()> {
        self.relay.check()
    }
}

/// Workers by their addresses. They stay: the engine never forgets a worker that it has seen.
static WORKERS: Mutex<Option<HashMap<String, Arc<Worker>>>> = Mutex::new(None);

/// Makes the devices of a worker known, so that [`crate::gpu::devices`] lists them; gives their names. A
/// model is put on them only where its options name the worker.
///
/// Fails within 5 seconds where nobody answers at `address`, which is `host:port`.
pub fn connect(address: &str) -> Result<Vec<String>> {
    Ok(worker(address)?.devices.iter().map(|device| device.name()).collect())
}

/// The worker at an address, which is asked whether it is there.
pub(crate) fn worker(address: &str) -> Result<Arc<Worker>> {
    runtime::get();
    let address = with_port(address)?;
    let mut workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = workers.get_or_insert_default();
    if let Some(worker) = workers.get(&address)
        && worker.check().is_ok()
    {
        worker.relay.reach()?;
        return Ok(Arc::clone(worker));
    }
    // One that has failed leaves its place to a new one, with devices of its own.
    let add = entry_point::<AddServer>(c"ggml_backend_rpc_add_server")?;
    let relay = Relay::open(&address)?;
    let endpoint = CString::new(relay.endpoint.as_str()).unwrap_or_default();
    let (registration, _) = logging::capture(|| {
        // SAFETY: the RPC module's own function.
        unsafe { shim::rpc_add_server(add, &endpoint) }
    });
    relay.check()?;
    let registration = registration.map_err(|reason| {
        let message = format!("cannot connect to the worker at {address}: {reason}");
        Error::new(ErrorKind::Backend, message).with_context("worker", &address)
    })?;
    if registration.is_null() {
        let message = format!("the worker at {address} offers no device");
        return Err(Error::new(ErrorKind::Backend, message).with_context("worker", address));
    }
    // SAFETY: registrations and their devices live as long as the process; indices below the count.
    let devices = unsafe {
        let count = sys::ggml_backend_reg_dev_count(registration);
        (0..count).filter_map(|i| Handle::new(sys::ggml_backend_reg_dev_get(registration, i)))
    };
    let worker = Arc::new(Worker { devices: devices.collect(), relay });
    workers.insert(address, Arc::clone(&worker));
    Ok(worker)
}

/// The devices of workers that are in use and well.
pub(crate) fn devices() -> Vec<(Handle, String)> {
    let workers = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    let workers = workers.iter().flat_map(HashMap::values).filter(|worker| worker.check().is_ok());
    let named = |worker: &Arc<Worker>| {
        let address = worker.relay.worker.clone();
        worker.devices.iter().map(move |&device| (device, address.clone())).collect::<Vec<_>>()
    };
    let mut devices: Vec<_> = workers.flat_map(named).collect();
    devices.sort_by_key(|(device, _)| device.name());
    devices
}

/// Offers devices of this machine to other machines, for as long as the process runs; returns only
/// where that cannot be.
///
/// `devices` are names as [`crate::gpu::devices`] has them; by default the GPUs, and where there is none
/// the processor. One program is served at a time, others wait.
///
/// **Whoever can reach the address can use and crash the worker, and read what is computed on it.** Keep
/// to loopback or a network that is trusted.
pub fn serve(address: &str, devices: Option<&[String]>, n_threads: Option<u32>) -> Result<()> {
    runtime::require_cpu()?;
    let start = entry_point::<StartServer>(c"ggml_backend_rpc_start_server")?;
    let address = with_port(address)?;
    let cannot = |reason: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Io, format!("cannot listen on {address}: {reason}"))
            .with_context("address", &address)
    };
    let local = handle::local();
    let mut offered = match devices {
        Some(names) => handle::find_all(&local, names)?,
        None => handle::gpus_of(&local),
    };
    if offered.is_empty() {
        offered = handle::processors_of(&local);
    }
    let mut devices: Vec<_> = offered.iter().map(|device| device.as_ptr()).collect();
    let threads = n_threads.unwrap_or_else(handle::physical_cores);
    let threads = threads.clamp(1, handle::logical_cores());
    let endpoint = CString::new(address.as_str()).unwrap_or_default();
    // The engine would only print that it cannot.
    drop(TcpListener::bind(&address).map_err(|error| cannot(&error).with_source(error))?);
    // It starts its threads anew for every computation, and would end the process where it gets none.
    shim::try_threads(threads - 1)
        .map_err(|reason| no_thread(&format!("{threads} threads to compute with"), reason))?;
    // SAFETY: the RPC module's own function, and devices of the engine.
    match unsafe { shim::rpc_start_server(start, &endpoint, threads, &mut devices) } {
        Ok(()) => Err(cannot(&"the engine ended its server")),
        Err(reason) => {
            Err(Error::new(ErrorKind::Backend, format!("the worker at {address} failed: {reason}"))
                .with_context("address", &address))
        }
    }
}

/// Whether an address can be reached from this machine alone.
pub fn is_loopback(address: &str) -> bool {
    let addresses = with_port(address).ok().and_then(|address| address.to_socket_addrs().ok());
    addresses.is_some_and(|mut all| all.all(|address| IpAddr::is_loopback(&address.ip())))
}

/// A function of the RPC module, which must be loaded.
fn entry_point<F: Copy>(name: &CStr) -> Result<F> {
    const { assert!(size_of::<F>() == size_of::<*mut std::ffi::c_void>()) }
    // SAFETY: NUL-terminated names; null where there is no such thing, which is looked at.
    let address = unsafe {
        let registration = sys::ggml_backend_reg_by_name(c"RPC".as_ptr());
        if registration.is_null() {
            ptr::null_mut()
        } else {
            sys::ggml_backend_reg_get_proc_address(registration, name.as_ptr())
        }
    };
    if address.is_null() {
        return Err(Error::new(ErrorKind::Backend, "the RPC backend is not loaded")
            .with_hint("`mullama devices` lists what is; MULLAMA_BACKEND must not leave out rpc"));
    }
    // SAFETY: the callers name the type that ggml-rpc.h gives the function.
    Ok(unsafe { std::mem::transmute_copy::<*mut std::ffi::c_void, F>(&address) })
}

/// Checks an address, and adds the port where there is none.
fn with_port(address: &str) -> Result<String> {
    let problem = |what: &str| {
        Error::new(ErrorKind::InvalidArgument, format!("`{address}` is no address: {what}"))
            .with_hint(format!("write HOST:PORT; the usual port is {DEFAULT_PORT}"))
            .with_context("address", address)
    };
    let (host, port) = match address.split_once(':') {
        None => (address, DEFAULT_PORT),
        // The engine takes what follows the first colon for the port.
        Some((_, port)) if port.contains(':') => {
            return Err(problem("IPv6 addresses are not supported"));
        }
        Some((host, port)) => {
            (host, port.parse().map_err(|_| problem("the port is no number up to 65535"))?)
        }
    };
    if host.is_empty() || host.contains(['/', '\0']) || host.contains(char::is_whitespace) {
        return Err(problem("the host is missing or not a name"));
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(with_port("box").unwrap(), "box:50052");
        assert_eq!(with_port("10.0.0.7:9").unwrap(), "10.0.0.7:9");
        for bad in ["", ":5", "box:", "box:x", "box:70000", "::1", "[::1]:5", "a b:5", "http://a:5"]
        {
            let error = with_port(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert!(is_loopback("127.0.0.1:5") && !is_loopback("0.0.0.0:5"));
    }
}
