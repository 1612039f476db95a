//! Devices and backends: the functions of `mullama.gpu`.

use mullama::gpu;
use pyo3::prelude::*;

use crate::json;
use crate::results::repr;

/// A device that the engine can compute on.
#[pyclass(frozen, module = "mullama.gpu")]
pub struct Device(gpu::Device);

#[pymethods]
impl Device {
    /// The engine's name: `CPU`, `CUDA0`, `Vulkan1`. Placement options name devices by it.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The maker's name of the device.
    #[getter]
    fn description(&self) -> &str {
        &self.0.description
    }

    /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
    #[getter]
    fn backend(&self) -> &str {
        &self.0.backend
    }

    /// What the device is: `cpu`, `gpu` (with memory of its own), `igpu` (which shares the
    /// machine's) or `accelerator`.
    #[getter]
    fn kind<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.kind)
    }

    /// Bytes of memory that were free when the device was listed.
    #[getter]
    fn memory_free(&self) -> u64 {
        self.0.memory_free
    }

    /// Bytes of memory in all.
    #[getter]
    fn memory_total(&self) -> u64 {
        self.0.memory_total
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let attributes = ["name", "description", "backend", "kind", "memory_free", "memory_total"];
        repr(slf, &attributes)
    }
}

/// A backend module that was found, and what became of it.
#[pyclass(frozen, module = "mullama.gpu")]
pub struct Backend(gpu::Backend);

#[pymethods]
impl Backend {
    /// The backend: `cpu`, `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl`, `rpc`.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The module's file.
    #[getter]
    fn path(&self) -> &std::ffi::OsStr {
        self.0.path.as_os_str()
    }

    /// Whether it is in use.
    #[getter]
    fn loaded(&self) -> bool {
        self.0.loaded
    }

    /// Why it is not.
    #[getter]
    fn reason(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "path", "loaded", "reason"])
    }
}

/// The devices of this machine, with their memory as it is now; the processor comes last.
#[pyfunction]
pub fn devices(py: Python<'_>) -> Vec<Device> {
    py.detach(gpu::devices).into_iter().map(Device).collect()
}

/// The backend modules that were found, in the order in which they were tried.
#[pyfunction]
pub fn backends(py: Python<'_>) -> Vec<Backend> {
    py.detach(gpu::backends).into_iter().map(Backend).collect()
}

/// Adds folders to look for backend modules in, before anything computes.
#[pyfunction(name = "_add_backend_dirs")]
pub fn add_backend_dirs(dirs: Vec<std::path::PathBuf>) {
    dirs.into_iter().for_each(mullama::add_backend_dir);
}

/// The folder of the engine's libraries in this process.
#[pyfunction(name = "_engine_dir")]
pub fn engine_dir() -> Option<std::ffi::OsString> {
    mullama::engine_dir().map(std::path::PathBuf::into_os_string)
}

/// Whether an NVIDIA GPU can be used now.
#[pyfunction]
pub fn cuda_available(py: Python<'_>) -> bool {
    py.detach(gpu::cuda_available)
}

/// Whether Apple's Metal can be used now.
#[pyfunction]
pub fn metal_available(py: Python<'_>) -> bool {
    py.detach(gpu::metal_available)
}

/// Whether an AMD GPU can be used now through ROCm.
#[pyfunction]
pub fn rocm_available(py: Python<'_>) -> bool {
    py.detach(gpu::rocm_available)
}

/// Whether a GPU can be used now through Vulkan.
#[pyfunction]
pub fn vulkan_available(py: Python<'_>) -> bool {
    py.detach(gpu::vulkan_available)
}

/// Whether a GPU can be used now through OpenCL.
#[pyfunction]
pub fn opencl_available(py: Python<'_>) -> bool {
    py.detach(gpu::opencl_available)
}

/// Whether a GPU can be used now through SYCL.
#[pyfunction]
pub fn sycl_available(py: Python<'_>) -> bool {
    py.detach(gpu::sycl_available)
}

/// How many NVIDIA GPUs can be used now.
#[pyfunction]
pub fn cuda_device_count(py: Python<'_>) -> usize {
    py.detach(gpu::cuda_device_count)
}

/// How many AMD GPUs can be used now through ROCm.
#[pyfunction]
pub fn rocm_device_count(py: Python<'_>) -> usize {
    py.detach(gpu::rocm_device_count)
}

/// Bytes in use and in all on NVIDIA GPU `index`; `(0, 0)` where there is no such GPU.
#[pyfunction]
pub fn cuda_memory_info(py: Python<'_>, index: usize) -> (u64, u64) {
    py.detach(|| gpu::cuda_memory_info(index))
}
