//! The devices of this machine, their memory, and the backends that drive them.
//!
//! *Available* means that there is a usable device, not only that a backend was compiled.

use mullama_sys as sys;
use serde::{Deserialize, Serialize};

use super::handle::{Handle, local};
use super::{kernels, rpc};
use crate::runtime;

/// The type of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DeviceKind {
    /// The CPU, with system RAM.
    Cpu,
    /// A GPU with its own memory.
    Gpu,
    /// A GPU that shares system RAM.
    Igpu,
    /// Another accelerator.
    Accelerator,
}

/// A device that the engine can compute on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// The name in the engine and in placement options: `CPU`, `CUDA0`, `Vulkan1`.
    pub name: String,
    /// The vendor's name of the device.
    pub description: String,
    /// The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`.
    pub backend: String,
    /// What the device is.
    pub kind: DeviceKind,
    /// Bytes of memory that are free now.
    pub memory_free: u64,
    /// Total memory in bytes.
    pub memory_total: u64,
    /// The active CPU kernels and their instruction set, or the reason why the engine's kernels are
    /// used; absent for other devices.
    pub kernels: Option<String>,
}

/// A backend module that was found, and its status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The backend, as `MULLAMA_BACKEND` names it: `cpu`, `cuda`, `vulkan`.
    pub name: String,
    /// The module's file.
    pub path: std::path::PathBuf,
    /// Whether it is in use.
    pub loaded: bool,
    /// The reason why it is not.
    pub reason: Option<String>,
}

/// The devices of this machine with their current memory; the CPU is last.
pub fn devices() -> Vec<Device> {
    let of_machine = |device: Handle| describe(device, device.memory());
    let mut devices: Vec<_> = local().into_iter().map(of_machine).collect();
    for (device, memory, worker) in rpc::devices() {
        let description = format!("worker at {worker}");
        devices.push(Device { description, ..describe(device, memory) });
    }
    devices.sort_by_key(|device| device.kind == DeviceKind::Cpu);
    devices
}

/// The backend modules that were found, in the order in which they were tried.
pub fn backends() -> Vec<Backend> {
    let modules = &runtime::get().modules;
    let backend = |module: &sys::modules::Module| Backend {
        name: module.kind.clone(),
        path: module.path.clone(),
        loaded: module.outcome.is_ok(),
        reason: module.outcome.clone().err(),
    };
    modules.iter().map(backend).collect()
}

fn describe(device: Handle, memory: (u64, u64)) -> Device {
    let kind = match device.kind() {
        sys::GGML_BACKEND_DEVICE_TYPE_CPU => DeviceKind::Cpu,
        sys::GGML_BACKEND_DEVICE_TYPE_GPU => DeviceKind::Gpu,
        sys::GGML_BACKEND_DEVICE_TYPE_IGPU => DeviceKind::Igpu,
        _ => DeviceKind::Accelerator,
    };
    // The engine reports all memory of the CPU as free.
    let (memory_free, memory_total) = if kind == DeviceKind::Cpu { host_memory() } else { memory };
    let (description, backend) = (device.description(), device.backend());
    let kernels = (kind == DeviceKind::Cpu && backend == "cpu").then(kernels::describe);
    Device { name: device.name(), description, backend, kind, memory_free, memory_total, kernels }
}

/// Available and total system RAM in bytes, limited to those of the container.
pub(crate) fn host_memory() -> (u64, u64) {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let (free, total) = (system.available_memory(), system.total_memory());
    match system.cgroup_limits() {
        Some(limits) if limits.total_memory < total => {
            (free.min(limits.free_memory), limits.total_memory)
        }
        _ => (free, total),
    }
}

fn count(backend: &str) -> usize {
    devices().iter().filter(|device| device.backend == backend).count()
}

/// Used and total memory in bytes of the device with this index in a backend; `(0, 0)` if there is no such device.
fn memory_info(backend: &str, index: usize) -> (u64, u64) {
    devices()
        .iter()
        .filter(|device| device.backend == backend)
        .nth(index)
        .map_or((0, 0), |device| (device.memory_total - device.memory_free, device.memory_total))
}

/// Whether an NVIDIA GPU can be used now.
pub fn cuda_available() -> bool {
    count("cuda") > 0
}

/// Whether Apple's Metal can be used now.
pub fn metal_available() -> bool {
    count("metal") > 0
}

/// Whether an AMD GPU can be used now through ROCm.
pub fn rocm_available() -> bool {
    count("rocm") > 0
}

/// Whether a GPU can be used now through Vulkan.
pub fn vulkan_available() -> bool {
    count("vulkan") > 0
}

/// Whether a GPU can be used now through OpenCL.
pub fn opencl_available() -> bool {
    count("opencl") > 0
}

/// Whether a GPU can be used now through SYCL.
pub fn sycl_available() -> bool {
    count("sycl") > 0
}

/// The number of NVIDIA GPUs that can be used now.
pub fn cuda_device_count() -> usize {
    count("cuda")
}

/// The number of AMD GPUs that can be used now through ROCm.
pub fn rocm_device_count() -> usize {
    count("rocm")
}

/// Used and total memory of NVIDIA GPU `index`, in bytes; `(0, 0)` if there is no such GPU.
pub fn cuda_memory_info(index: usize) -> (u64, u64) {
    memory_info("cuda", index)
}
