//! Devices and backends: the functions of `mullama.gpu`.

use std::ffi::OsString;
use std::path::PathBuf;

use mullama::gpu;
use pyo3::prelude::*;

use crate::class::{Wrap as _, class};
use crate::hints::DeviceKind;
use crate::json::Json;

class! {
    /// A device that the engine can compute on.
    #[pyclass(module = "mullama.gpu")]
    #[pickle(Self)]
    Device(gpu::Device) {
        /// The engine's name: `CPU`, `CUDA0`, `Vulkan1`. Placement options name devices by it.
        name: String,
        /// The maker's name of the device.
        description: String,
        /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
        backend: String,
        /// What the device is: `cpu`, `gpu` (with memory of its own), `igpu` (which shares the
        /// machine's) or `accelerator`.
        kind: Json<DeviceKind>,
        /// Bytes of memory that were free when the device was listed.
        memory_free: u64,
        /// Bytes of memory in all.
        memory_total: u64,
        /// Whose kernels compute on the processor, and with which instructions, or why the engine's
        /// own do; `None` for other devices.
        kernels: Option<String>,
    }
}

class! {
    /// A backend module that was found, and what became of it.
    #[pyclass(module = "mullama.gpu")]
    #[pickle(Self)]
    Backend(gpu::Backend) {
        /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
        name: String,
        /// The module's file.
        path: OsString,
        /// Whether it is in use.
        loaded: bool,
        /// Why it is not in use.
        reason: Option<String>,
    }
}

/// Declares functions that ask the core's of the same name; drivers take their time.
macro_rules! functions {
    ($( $(#[$doc:meta])+ $name:ident($($argument:ident: $type:ty)?) -> $result:ty; )+) => { $(
        $(#[$doc])+
        #[pyfunction]
        pub fn $name(py: Python<'_> $(, $argument: $type)?) -> $result {
            <$result>::wrap(py.detach(|| gpu::$name($($argument)?)))
        }
    )+ };
}

functions! {
    /// The devices of this machine, with their memory as it is now; the processor comes last.
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
    /// How many NVIDIA GPUs can be used now.
    cuda_device_count() -> usize;
    /// How many AMD GPUs can be used now through ROCm.
    rocm_device_count() -> usize;
    /// Bytes in use and in all on NVIDIA GPU `index`; `(0, 0)` where there is no such GPU.
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
