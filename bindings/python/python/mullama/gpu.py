"""The devices of this machine, their memory, and the backends that use them.

*Available* means that a device can be used now, not just that a backend was built.
"""

from mullama._native import (
    Backend,
    Device,
    backends,
    cuda_available,
    cuda_device_count,
    cuda_memory_info,
    devices,
    metal_available,
    opencl_available,
    rocm_available,
    rocm_device_count,
    sycl_available,
    vulkan_available,
)

__all__ = [
    "Backend",
    "Device",
    "backends",
    "cuda_available",
    "cuda_device_count",
    "cuda_memory_info",
    "devices",
    "metal_available",
    "opencl_available",
    "rocm_available",
    "rocm_device_count",
    "sycl_available",
    "vulkan_available",
]
