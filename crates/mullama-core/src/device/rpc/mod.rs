//! Workers: devices of other machines, used through the engine's RPC backend.
//!
//! A worker is used only by models that name it. The protocol has no authentication and no encryption, so it is only
//! for trusted networks.

mod inspect;
mod process;
mod protocol;
mod relay;
mod server;
mod session;

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::net::{IpAddr, ToSocketAddrs as _};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use mullama_sys as sys;
use sys::shim::{self, AddServer};

use super::handle::Handle;
use crate::runtime::{self, log as logging};
use crate::{Error, ErrorKind, Result};
use relay::{Memory, Relay};
pub use server::serve;

/// The default port of a worker, the same as in llama.cpp.
pub const DEFAULT_PORT: u16 = 50052;

/// A connected worker.
pub(crate) struct Worker {
    relay: Relay,
    pub devices: Vec<Handle>,
}

impl Worker {
    /// Fails if the worker has failed, in which case its results are invalid.
    pub fn check(&self) -> Result<()> {
        self.relay.check()
    }
}

/// The entry for a worker at an address.
#[derive(Default)]
struct WorkerSlot {
    /// Locked while connecting, so that only threads that want the same worker wait.
    connecting: Mutex<()>,
    worker: Mutex<Option<Arc<Worker>>>,
}

impl WorkerSlot {
    fn worker(&self) -> Option<Arc<Worker>> {
        self.worker.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Workers by address. Entries are never removed, since the engine never releases a worker.
static WORKERS: Mutex<Option<HashMap<String, Arc<WorkerSlot>>>> = Mutex::new(None);

/// All workers that have been connected.
fn workers() -> Vec<Arc<Worker>> {
    let places = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
    places.iter().flat_map(HashMap::values).filter_map(|place| place.worker()).collect()
}

/// Connects to a worker, so that [`crate::gpu::devices`] lists its devices, and returns their names. Models use them
/// only if their options name the worker.
///
/// Fails within a few seconds if nothing responds at `address`, which is `host:port`.
pub fn connect(address: &str) -> Result<Vec<String>> {
    Ok(worker(address)?.devices.iter().map(|device| device.name()).collect())
}

/// Returns the worker at an address. Connects to it, or checks that it still responds.
pub(crate) fn worker(address: &str) -> Result<Arc<Worker>> {
    runtime::get();
    let address = with_port(address)?;
    let place = {
        let mut places = WORKERS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(places.get_or_insert_default().entry(address.clone()).or_default())
    };
    let _alone = place.connecting.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(worker) = place.worker()
        && worker.check().is_ok()
        && worker.relay.check_reachable()?
    {
        return Ok(worker);
    }
    // A failed worker is replaced by a new one with its own devices.
    let worker = Arc::new(open(&address)?);
    *place.worker.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&worker));
    Ok(worker)
}

fn open(address: &str) -> Result<Worker> {
    let add = entry_point::<AddServer>(c"ggml_backend_rpc_add_server")?;
    let relay = Relay::open(address)?;
    let endpoint = CString::new(relay.endpoint.as_str()).unwrap_or_default();
    let (registration, _) = logging::capture(|| {
        // SAFETY: a function of the RPC module.
        unsafe { shim::rpc_add_server(add, &endpoint) }
    });
    relay.check()?;
    let registration = registration.map_err(|reason| {
        let message = format!("cannot connect to the worker at {address}: {reason}");
        Error::new(ErrorKind::Backend, message).with_context("worker", address)
    })?;
    if registration.is_null() {
        let message = format!("the worker at {address} offers no device");
        return Err(Error::new(ErrorKind::Backend, message).with_context("worker", address));
    }
    // SAFETY: registrations and their devices are valid for the lifetime of the process; indices are below the count.
    let devices = unsafe {
        let count = sys::ggml_backend_reg_dev_count(registration);
        (0..count).filter_map(|i| Handle::new(sys::ggml_backend_reg_dev_get(registration, i)))
    };
    Ok(Worker { devices: devices.collect(), relay })
}

/// The devices of working workers, with their memory and the worker's address.
pub(crate) fn devices() -> Vec<(Handle, Memory, String)> {
    let of_worker = |worker: Arc<Worker>| {
        let memory = worker.check().ok().and_then(|()| worker.relay.memory()).unwrap_or_default();
        let address = worker.relay.worker().to_owned();
        let devices = worker.devices.iter().zip(memory);
        devices.map(|(device, memory)| (*device, memory, address.clone())).collect::<Vec<_>>()
    };
    let mut devices: Vec<_> = workers().into_iter().flat_map(of_worker).collect();
    devices.sort_by_key(|(device, ..)| device.name());
    devices
}

/// Abandons all workers because the process is exiting, so that computations that wait for them end.
pub(crate) fn abandon() {
    for worker in workers() {
        worker.relay.abandon();
    }
}

/// Whether an address is only reachable from this machine.
pub fn is_loopback(address: &str) -> bool {
    let addresses = with_port(address).ok().and_then(|address| address.to_socket_addrs().ok());
    addresses.is_some_and(|mut all| all.all(|address| IpAddr::is_loopback(&address.ip())))
}

/// Returns a function of the RPC module. Fails if the module is not loaded.
fn entry_point<F: Copy>(name: &CStr) -> Result<F> {
    const { assert!(size_of::<F>() == size_of::<*mut std::ffi::c_void>()) }
    // SAFETY: the names are NUL-terminated; null results are checked.
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
            .with_hint("`mullama devices` lists the loaded backends; MULLAMA_BACKEND, if set, must include rpc"));
    }
    // SAFETY: callers pass the type of the function in ggml-rpc.h.
    Ok(unsafe { std::mem::transmute_copy::<*mut std::ffi::c_void, F>(&address) })
}

/// Validates an address, and adds the default port if there is none.
fn with_port(address: &str) -> Result<String> {
    let problem = |what: &str| {
        Error::new(ErrorKind::InvalidArgument, format!("`{address}` is not an address: {what}"))
            .with_hint(format!("write HOST:PORT; the usual port is {DEFAULT_PORT}"))
            .with_context("address", address)
    };
    let (host, port) = match address.split_once(':') {
        None => (address, DEFAULT_PORT),
        // The engine treats everything after the first colon as the port.
        Some((_, port)) if port.contains(':') => {
            return Err(problem("IPv6 addresses are not supported"));
        }
        Some((host, port)) => {
            (host, port.parse().map_err(|_| problem("the port is not a number up to 65535"))?)
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
