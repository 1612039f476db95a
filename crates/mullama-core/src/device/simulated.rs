//! Devices that are not there, for dry runs.

use std::collections::HashMap;
use std::sync::Arc;

use mullama_sys::shim::{SimulatedDevice, SimulatedProfile};

use super::handle::{self, Handle};
use super::set::DeviceSet;
use crate::{Error, ErrorKind, Result};

/// The backends that a device can be described as used by, with what their devices are called.
const BACKENDS: [(&str, &str); 7] = [
    ("cuda", "CUDA"),
    ("metal", "MTL"),
    ("rocm", "ROCm"),
    ("vulkan", "Vulkan"),
    ("opencl", "GPUOpenCL"),
    ("sycl", "SYCL"),
    ("rpc", "RPC"),
];

/// A GPU that is not there.
pub(crate) struct SimulatedGpu {
    /// One of the backends that a device can be described as used by.
    pub backend: String,
    pub description: String,
    /// Bytes, all of them free.
    pub memory: u64,
}

/// GPUs that are not there, with this machine's processor.
pub(crate) fn simulate(gpus: &[SimulatedGpu]) -> Result<DeviceSet> {
    let mut set = DeviceSet::default();
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for gpu in gpus {
        let profile = profile(&gpu.backend)?;
        let prefix = BACKENDS.iter().find(|(backend, _)| *backend == gpu.backend);
        let index = counts.entry(&gpu.backend).or_default();
        let name = format!("{}{index}", prefix.map_or("GPU", |(_, prefix)| prefix));
        *index += 1;
        let bytes = usize::try_from(gpu.memory).unwrap_or(usize::MAX);
        let device = SimulatedDevice::new(&name, &gpu.description, bytes, bytes, profile)
            .map_err(|reason| Error::new(ErrorKind::Internal, reason))?;
        let handle = Handle::new(device.handle())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no simulated device"))?;
        set.gpus.push(handle);
        set.simulated.push(Arc::new(device));
    }
    set.known.clone_from(&set.gpus);
    set.known.extend(handle::processors_of(&handle::local()));
    Ok(set)
}

/// Fails for a backend that no device can be described as used by.
pub(crate) fn check_backend(name: &str) -> Result<()> {
    profile(name).map(drop)
}

/// What the backends' sources (`ggml-*/`, their `get_alignment`, `get_alloc_size` and `get_props`) say.
fn profile(backend: &str) -> Result<SimulatedProfile> {
    let like = |alignment, row_padding, is_async, host_buffer| SimulatedProfile {
        alignment,
        row_padding,
        is_async,
        host_buffer,
        buffer_from_host_ptr: false,
        events: is_async,
    };
    Ok(match backend {
        "cuda" | "rocm" | "sycl" => like(128, 512, true, true),
        "vulkan" => like(64, 0, true, true),
        "metal" => SimulatedProfile { buffer_from_host_ptr: true, ..like(32, 0, true, false) },
        "opencl" => like(128, 0, false, false),
        "rpc" => like(64, 0, true, false),
        _ => {
            let problem = format!("there is no backend `{backend}`");
            let known: Vec<_> = BACKENDS.iter().map(|(backend, _)| *backend).collect();
            return Err(
                Error::option("devices", problem).with_hint(format!("one of {}", known.join(", ")))
            );
        }
    })
}
