//! What the machine has: the functions of `gpu`.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use mullama::gpu;
use napi_derive::napi;
use serde_json::Value;

use crate::results::plain;

#[napi(namespace = "gpu", catch_unwind)]
pub fn devices() -> Value {
    plain(&gpu::devices())
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn backends() -> Value {
    plain(&gpu::backends())
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn cuda_available() -> bool {
    gpu::cuda_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn metal_available() -> bool {
    gpu::metal_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn rocm_available() -> bool {
    gpu::rocm_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn vulkan_available() -> bool {
    gpu::vulkan_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn opencl_available() -> bool {
    gpu::opencl_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn sycl_available() -> bool {
    gpu::sycl_available()
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn cuda_device_count() -> u32 {
    gpu::cuda_device_count() as u32
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn rocm_device_count() -> u32 {
    gpu::rocm_device_count() as u32
}

#[napi(namespace = "gpu", catch_unwind)]
pub fn cuda_memory_info(index: u32) -> (i64, i64) {
    let (used, total) = gpu::cuda_memory_info(index as usize);
    (used as i64, total as i64)
}
