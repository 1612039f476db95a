//! Simulated devices for dry runs.

use std::collections::HashMap;
use std::sync::Arc;

use mullama_sys::backends::{self, Backend};
use mullama_sys::shim::SimulatedDevice;

use super::handle::{self, Handle};
use super::set::DeviceSet;
use crate::{Error, ErrorKind, Result};

/// A simulated GPU.
pub(crate) struct SimulatedGpu {
    /// The backend that it imitates.
    pub backend: String,
    pub description: String,
    /// Memory size in bytes, all of it free.
    pub memory: u64,
}

/// Creates a set of simulated GPUs and this machine's CPU.
pub(crate) fn simulate(gpus: &[SimulatedGpu]) -> Result<DeviceSet> {
    let mut set = DeviceSet::default();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for gpu in gpus {
        let Backend { device_prefix, simulated, .. } = backend(&gpu.backend)?;
        let index = counts.entry(&gpu.backend).or_default();
        let name = format!("{device_prefix}{index}");
        *index += 1;
        let bytes = usize::try_from(gpu.memory).unwrap_or(usize::MAX);
        let device = SimulatedDevice::new(&name, &gpu.description, bytes, bytes, *simulated)
            .map_err(|reason| Error::new(ErrorKind::Internal, reason))?;
        let handle = Handle::new(device.handle())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no simulated device"))?;
        set.gpus.push(handle);
        set.simulated.push(Arc::new(device));
    }
    set.known.clone_from(&set.gpus);
    set.known.extend(handle::processors());
    Ok(set)
}

/// Fails if there is no backend with this name that can be simulated.
pub(crate) fn check_backend(name: &str) -> Result<()> {
    backend(name).map(drop)
}

/// Finds a backend that can be simulated.
fn backend(name: &str) -> Result<&'static Backend> {
    backends::find(name).ok_or_else(|| {
        let known: Vec<_> = backends::all().iter().map(|backend| &*backend.name).collect();
        Error::option("devices", format!("there is no backend `{name}`"))
            .with_hint(format!("one of {}", known.join(", ")))
    })
}
