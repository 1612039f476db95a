//! The engine's devices.

use std::ffi::CStr;
use std::hash::{Hash, Hasher};
use std::ptr::NonNull;

use mullama_sys as sys;

use crate::{Error, ErrorKind, Result, runtime};

/// The name of the machine's own memory in a placement, and in tensor overrides.
pub(crate) const HOST: &str = "CPU";

/// A device of the engine. It lives as long as the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle(NonNull<sys::ggml_backend_device>);

// SAFETY: devices are made once and only read from then on.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// By the name, which is the same in another process.
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
        // SAFETY: a device's strings live as long as it does, which is for good (here and below).
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

    /// The backend, as [`crate::gpu::Device`] names it.
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

    /// Bytes that are free, and bytes in all.
    pub fn memory(self) -> (u64, u64) {
        let (mut free, mut total) = (0, 0);
        // SAFETY: as above.
        unsafe { sys::ggml_backend_dev_memory(self.as_ptr(), &raw mut free, &raw mut total) };
        (free as u64, total as u64)
    }

    /// What tells the device from others of its name: description and size.
    pub fn identity(self) -> String {
        format!("{} {}", self.description(), self.memory().1)
    }

    /// The backend that the device belongs to, and the name of the hardware there, where it has one.
    fn hardware(self) -> (sys::ggml_backend_reg_t, Option<String>) {
        // SAFETY: as above; `props` is filled by the call, and its strings live as long as the device.
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

/// The processors of this machine, which are there without the modules of GPUs.
pub(crate) fn processors() -> Vec<Handle> {
    runtime::modules();
    processors_of(&registered())
}

/// Everything that the engine has registered. The engine must have been started.
fn registered() -> Vec<Handle> {
    // SAFETY: the registry does not change while someone uses the engine (`runtime`); indices are below the
    // count.
    unsafe {
        let count = sys::ggml_backend_dev_count();
        (0..count).filter_map(|index| Handle::new(sys::ggml_backend_dev_get(index))).collect()
    }
}

/// The GPUs among these, as llama.cpp chooses them: hardware that two backends show is used by the
/// first, and GPUs that share the machine's memory only where there are no others.
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

/// The processors among these.
pub(crate) fn processors_of(devices: &[Handle]) -> Vec<Handle> {
    let is_cpu = |device: &&Handle| device.kind() == sys::GGML_BACKEND_DEVICE_TYPE_CPU;
    devices.iter().filter(is_cpu).copied().collect()
}

/// The device of this name, in whatever case; the error lists the names that there are.
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

/// The devices of these names.
pub(crate) fn find_all(devices: &[Handle], names: &[String]) -> Result<Vec<Handle>> {
    let find = |name: &String| find(devices, name).map_err(|error| Error::option("devices", error));
    names.iter().map(find).collect()
}
