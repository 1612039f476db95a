//! Devices and backends: the functions of `mullama.gpu`.

use std::ffi::OsString;
use std::path::PathBuf;

use mullama::gpu;
use pyo3::prelude::*;

use crate::class::{Wrap as _, class};
use crate::hints::DeviceKind;
use crate::json::Json;
use crate::wait::interruptible;

class! {
    /// A device that the engine can compute on.
    #[eq_in("mullama.gpu")]
    #[pickle(Self)]
    Device(gpu::Device) {
        /// The name in the engine and in placement options: `CPU`, `CUDA0`, `Vulkan1`.
        name: String,
        /// The vendor's name of the device.
        description: String,
        /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
        backend: String,
        /// The kind of device: `cpu`, `gpu` (with dedicated memory), `igpu` (which shares system
        /// RAM) or `accelerator`.
        kind: Json<DeviceKind>,
        /// Free memory in bytes when the device was listed.
        memory_free: u64,
        /// Total memory in bytes.
        memory_total: u64,
        /// The active CPU kernels and their instruction set, or the reason why the engine's kernels
        /// are used; `None` for other devices.
        kernels: Option<String>,
    }
}

class! {
    /// A backend module that was found, and its status.
    #[eq_in("mullama.gpu")]
    #[pickle(Self)]
    Backend(gpu::Backend) {
        /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
        name: String,
        /// The module's file.
        path: OsString,
        /// Whether it is in use.
        loaded: bool,
        /// The reason why it is not in use.
        reason: Option<String>,
    }
}

/// Declares functions that call those of the core without the GIL, since drivers are slow.
macro_rules! functions {
    ($( $(#[$doc:meta])+ $name:ident($($argument:ident: $type:ty)?) -> $result:ty; )+) => { $(
        $(#[$doc])+
        #[pyfunction]
        pub fn $name(py: Python<'_> $(, $argument: $type)?) -> PyResult<$result> {
            interruptible(py, move || gpu::$name($($argument)?)).map(<$result>::wrap)
        }
    )+ };
}

functions! {
    /// The devices of this machine with their current memory; the CPU is last.
    devices() -> Vec<Device>;
    /// The backend modules that were found, in the order in which they were tried.
    backends() -> Vec<Backend>;
    /// Whether an NVIDIA GPU can be used now.
    cuda_available() -> bool;
    /// Whether Apple's Metal can be used now.
    metal_available() -> bool;
    /// Whether an AMD GPU can be used now through ROCm.
    rocm_available() -> bool;
    /// Whether a GPU can be used now through Vulkan.
    vulkan_available() -> bool;
    /// Whether a GPU can be used now through OpenCL.
    opencl_available() -> bool;
    /// Whether a GPU can be used now through SYCL.
    sycl_available() -> bool;
    /// The number of NVIDIA GPUs that can be used now.
    cuda_device_count() -> usize;
    /// The number of AMD GPUs that can be used now through ROCm.
    rocm_device_count() -> usize;
    /// Used and total memory of NVIDIA GPU `index`, in bytes; `(0, 0)` if there is no such GPU.
    cuda_memory_info(index: usize) -> (u64, u64);
}

/// Adds folders to look for backend modules in, before anything computes.
#[pyfunction(name = "_add_backend_dirs")]
#[pyo3(signature = (dirs: "Sequence[str]"))]
pub fn add_backend_dirs(dirs: Vec<PathBuf>) {
    dirs.into_iter().for_each(mullama::add_backend_dir);
}

/// The folder of the engine's libraries in this process.
#[pyfunction(name = "_engine_dir")]
pub fn engine_dir() -> Option<OsString> {
    mullama::engine_dir().map(PathBuf::into_os_string)
}
