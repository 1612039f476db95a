//! The devices of this machine: the functions of `gpu`.
#![allow(missing_docs, reason = "`lib/gpu.ts` documents what a program sees")]

use mullama::gpu::{self, Backend, Device};
use napi_derive::napi;

use crate::results::Plain;

macro_rules! functions {
    ($( $name:ident() -> $type:ty = $call:expr; )+) => {
        $(
            #[napi(namespace = "gpu", catch_unwind)]
            pub fn $name() -> $type {
                $call
            }
        )+
    };
}

functions! {
    devices() -> Plain<Vec<Device>> = Plain::new(&gpu::devices());
    backends() -> Plain<Vec<Backend>> = Plain::new(&gpu::backends());
    cuda_available() -> bool = gpu::cuda_available();
    metal_available() -> bool = gpu::metal_available();
    rocm_available() -> bool = gpu::rocm_available();
    vulkan_available() -> bool = gpu::vulkan_available();
    opencl_available() -> bool = gpu::opencl_available();
    sycl_available() -> bool = gpu::sycl_available();
    cuda_device_count() -> u32 = gpu::cuda_device_count() as u32;
    rocm_device_count() -> u32 = gpu::rocm_device_count() as u32;
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn cuda_memory_info(index: u32) -> (i64, i64) {
    let (used, total) = gpu::cuda_memory_info(index as usize);
    (used as i64, total as i64)
}
