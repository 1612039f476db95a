//! Handles of the engine's devices.

use std::ffi::CStr;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use mullama_sys as sys;

use crate::{Error, ErrorKind, Result, runtime};

/// The name of system RAM in placements and tensor overrides.
pub(crate) const HOST: &str = "CPU";

/// A device of the engine. Valid for the lifetime of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(NonNull<sys::ggml_backend_device>);

// SAFETY: devices are created once and only read afterwards.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// Hashes the name, which is stable across processes.
impl Hash for Handle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl Handle {
    pub fn new(device: sys::ggml_backend_dev_t) -> Option<Self> {
        NonNull::new(device).map(Self)
    }

    pub fn as_ptr(self) -> sys::ggml_backend_dev_t {
        self.0.as_ptr()
    }

    pub fn name(self) -> String {
        // SAFETY: a device and its strings are valid for the lifetime of the process (here and below).
        unsafe { CStr::from_ptr(sys::ggml_backend_dev_name(self.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }

    pub fn description(self) -> String {
        // SAFETY: as above.
        unsafe { CStr::from_ptr(sys::ggml_backend_dev_description(self.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }

    /// The backend, by the name in [`crate::gpu::Device`].
    pub fn backend(self) -> String {
        // SAFETY: as above.
        let name = unsafe {
            let registration = sys::ggml_backend_dev_backend_reg(self.as_ptr());
            CStr::from_ptr(sys::ggml_backend_reg_name(registration)).to_string_lossy().into_owned()
        };
        sys::backends::name_of(&name)
    }

    pub fn kind(self) -> sys::ggml_backend_dev_type {
        // SAFETY: as above.
        unsafe { sys::ggml_backend_dev_type(self.as_ptr()) }
    }

    /// Free and total memory in bytes.
    pub fn memory(self) -> (u64, u64) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: as above.
        unsafe { sys::ggml_backend_dev_memory(self.as_ptr(), &raw mut free, &raw mut total) };
        (free as u64, total as u64)
    }

    /// Whether its backend can split the rows of a matrix over several of its devices (split mode `row`).
    pub fn can_split_rows(self) -> bool {
        let function = c"ggml_backend_split_buffer_type";
        // SAFETY: as above; the name is terminated by NUL.
        unsafe {
            let registration = sys::ggml_backend_dev_backend_reg(self.as_ptr());
            !sys::ggml_backend_reg_get_proc_address(registration, function.as_ptr()).is_null()
        }
    }

    /// Distinguishes devices with the same name: description and memory size.
    pub fn identity(self) -> String {
        format!("{} {}", self.description(), self.memory().1)
    }

    /// The device's backend, and the hardware id that the backend reports, if any.
    fn hardware(self) -> (sys::ggml_backend_reg_t, Option<String>) {
        // SAFETY: as above; `props` is filled by the call, and its strings are valid as long as the device.
        unsafe {
            let mut props = std::mem::zeroed::<sys::ggml_backend_dev_props>();
            sys::ggml_backend_dev_get_props(self.as_ptr(), &raw mut props);
            let id = (!props.device_id.is_null())
                .then(|| CStr::from_ptr(props.device_id).to_string_lossy().into_owned());
            (sys::ggml_backend_dev_backend_reg(self.as_ptr()), id)
        }
    }
}

/// The devices of this machine.
pub(crate) fn local() -> Vec<Handle> {
    runtime::get();
    registered()
}

/// The CPU devices of this machine. Does not load GPU modules.
pub(crate) fn processors() -> Vec<Handle> {
    runtime::modules();
    processors_of(&registered())
}

/// All devices that the engine has registered, except processors that OpenCL offers as GPUs. The engine must have been
/// started.
fn registered() -> Vec<Handle> {
    // SAFETY: the registry does not change while the engine is in use (see `runtime`); indices are below the count.
    let mut devices: Vec<_> = unsafe {
        let count = sys::ggml_backend_dev_count();
        (0..count).filter_map(|index| Handle::new(sys::ggml_backend_dev_get(index))).collect()
    };
    let processors: Vec<_> = processors_of(&devices).into_iter().map(Handle::description).collect();
    devices.retain(|device| {
        let is_processor =
            device.backend() == "opencl" && is_one_of(&device.description(), &processors);
        if is_processor {
            log::debug!("{} is the processor, not a GPU: not used", device.name());
        }
        !is_processor
    });
    devices
}

/// Whether a description is one of those of the processors, up to spaces. Intel's OpenCL runtime for processors
/// reports the processor by its own name, and the engine takes every OpenCL device for a GPU.
fn is_one_of(description: &str, processors: &[String]) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    processors.iter().any(|processor| words(processor) == words(description))
}

/// Selects the GPUs among devices, with llama.cpp's rules: hardware that two backends expose is used through the first
/// one, and GPUs that share system RAM are only used if there are no others.
pub(crate) fn gpus_of(devices: &[Handle]) -> Vec<Handle> {
    let mut gpus: Vec<Handle> = Vec::new();
    for kind in [sys::GGML_BACKEND_DEVICE_TYPE_GPU, sys::GGML_BACKEND_DEVICE_TYPE_IGPU] {
        if !gpus.is_empty() {
            break;
        }
        for device in devices.iter().filter(|device| device.kind() == kind) {
            let (backend, id) = device.hardware();
            let is_known = id.is_some()
                && gpus.iter().map(|gpu| gpu.hardware()).any(|(b, i)| b != backend && i == id);
            if !is_known {
                gpus.push(*device);
            }
        }
    }
    gpus
}

/// Selects the CPU devices among devices.
pub(crate) fn processors_of(devices: &[Handle]) -> Vec<Handle> {
    let is_cpu = |device: &&Handle| device.kind() == sys::GGML_BACKEND_DEVICE_TYPE_CPU;
    devices.iter().filter(is_cpu).copied().collect()
}

/// Finds a device by name, ignoring case. The error lists the known names.
pub(crate) fn find(devices: &[Handle], wanted: &str) -> Result<Handle> {
    let mut named = devices.iter().copied();
    named.find(|device| device.name().eq_ignore_ascii_case(wanted)).ok_or_else(|| {
        let known: Vec<_> = devices.iter().map(|device| device.name()).collect();
        Error::new(
            ErrorKind::InvalidArgument,
            format!("there is no device {wanted}; the devices are {}", known.join(", ")),
        )
        .with_context("device", wanted)
    })
}

/// The name that stands for no device, as in llama.cpp.
pub(crate) const NO_DEVICE: &str = "none";

/// Finds several devices by name. [`NO_DEVICE`] alone is an empty list.
pub(crate) fn find_all(devices: &[Handle], names: &[String]) -> Result<Vec<Handle>> {
    if matches!(names, [name] if name == NO_DEVICE) {
        return Ok(Vec::new());
    }
    let find = |name: &String| find(devices, name).map_err(|error| Error::option("devices", error));
    names.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opencl_device_with_the_processors_name_is_the_processor() {
        let processors = ["Intel(R) Xeon(R) CPU E5-2680  v4 @ 2.40GHz".to_owned()];
        assert!(is_one_of("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz ", &processors));
        assert!(!is_one_of("Intel(R) Arc(TM) A770 Graphics", &processors));
        assert!(!is_one_of("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", &[]));
    }
}
