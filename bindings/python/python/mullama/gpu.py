"""What the machine has: devices, their memory, and the backends that reach them.

*Available* means that there is a device which can be used now, not that a backend was compiled.
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
