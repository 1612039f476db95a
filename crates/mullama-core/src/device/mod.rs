//! The devices that the engine can compute on: those of this machine, those of workers, and simulated ones.

pub(crate) mod cuda;
pub mod gpu;
mod handle;
pub(crate) mod kernels;
pub mod rpc;
mod set;
mod simulated;

pub(crate) use handle::{HOST, Handle, NO_DEVICE, find, gpus_of, local, processors};
pub(crate) use set::DeviceSet;
pub(crate) use simulated::{SimulatedGpu, check_backend, simulate};
