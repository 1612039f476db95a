//! What building each backend takes, and what to install where it is missing.

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::exit;

/// Ends the build with one clear error where a backend's toolkit is not there.
pub fn require(backend: &str, variable: &str) {
    if let Err(missing) = check(backend) {
        fail(&format!(
            "the {backend} backend was asked for ({variable}, or the Cargo feature `{backend}`), and \
             {missing}. {}",
            advice(backend)
        ));
    }
}

/// Runs a build; where it panics, says what it may lack, and ends.
pub fn explain_failure<T>(backend: &str, build: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|_| {
        fail(&format!(
            "the {backend} backend does not build; CMake's own words are above. {}",
            advice(backend)
        ))
    })
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}

fn check(backend: &str) -> Result<(), String> {
    let folders = |variables: &[&str], usual: &[&str]| -> Vec<PathBuf> {
        for variable in variables {
            println!("cargo:rerun-if-env-changed={variable}");
        }
        let named = variables.iter().filter_map(env::var_os).map(PathBuf::from);
        named.chain(usual.iter().map(PathBuf::from)).collect()
    };
    let program = |name: &str, roots: &[PathBuf]| {
        // Only where it matters: tools that build packages have a path of their own each.
        println!("cargo:rerun-if-env-changed=PATH");
        let path = env::var_os("PATH").unwrap_or_default();
        let file = format!("{name}{}", env::consts::EXE_SUFFIX);
        let mut dirs = roots.iter().map(|root| root.join("bin")).chain(env::split_paths(&path));
        dirs.any(|dir| dir.join(&file).is_file())
    };
    match backend {
        "cuda" => {
            let roots = folders(
                &["CUDA_PATH", "CUDA_HOME", "CUDAToolkit_ROOT"],
                &["/usr/local/cuda", "/opt/cuda"],
            );
            let named = env::var_os("CUDACXX").is_some_and(|nvcc| Path::new(&nvcc).is_file());
            need(named || program("nvcc", &roots), "NVIDIA's compiler `nvcc` was not found")
        }
        "metal" => need(
            env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos"),
            "Metal exists on macOS only",
        ),
        "rocm" => {
            let roots = folders(&["ROCM_PATH", "HIP_PATH"], &["/opt/rocm"]);
            need(program("hipcc", &roots), "AMD's compiler `hipcc` was not found")
        }
        "vulkan" => {
            let roots = folders(&["VULKAN_SDK"], &[]);
            need(program("glslc", &roots), "the shader compiler `glslc` was not found")?;
            let mut includes = folders(&["VULKAN_INCLUDE_DIR"], &[]);
            includes.extend(roots.iter().map(|root| root.join("include")));
            includes.extend(
                ["/usr/include", "/usr/local/include", "/opt/homebrew/include"].map(PathBuf::from),
            );
            let mut header = includes.iter().map(|dir| dir.join("vulkan/vulkan_core.h"));
            let text = header.find_map(|file| std::fs::read_to_string(file).ok());
            let text = text.ok_or("the Vulkan headers were not found")?;
            // In the headers from 1.3.272 on.
            need(
                text.contains("VK_EXT_layer_settings"),
                "the Vulkan headers that were found are older than 1.3.272",
            )
        }
        "opencl" => {
            let roots = folders(&["OPENCL_ROOT", "OCL_ROOT"], &["/usr", "/usr/local"]);
            let found = roots.iter().any(|root| root.join("include/CL/cl.h").is_file());
            let built_in = env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "macos");
            need(found || built_in, "the OpenCL headers (CL/cl.h) were not found")
        }
        "sycl" => {
            let roots =
                folders(&["CMPLR_ROOT", "ONEAPI_ROOT"], &["/opt/intel/oneapi/compiler/latest"]);
            need(program("icpx", &roots), "Intel's compiler `icpx` was not found")
        }
        _ => Ok(()),
    }
}

fn need(found: bool, missing: &str) -> Result<(), String> {
    if found { Ok(()) } else { Err(missing.to_owned()) }
}

/// What to install on the platform that is built on.
fn advice(backend: &str) -> &'static str {
    let os = env::consts::OS;
    match (backend, os) {
        ("cuda", "linux") => {
            "Install the CUDA Toolkit: Debian and Ubuntu `apt install nvidia-cuda-toolkit` (component \
             non-free on Debian), Fedora and newer releases from https://developer.nvidia.com/cuda-downloads; \
             where it is installed, name its folder in CUDA_PATH"
        }
        ("cuda", "windows") => {
            "Install the CUDA Toolkit from https://developer.nvidia.com/cuda-downloads; its installer sets CUDA_PATH"
        }
        ("cuda", _) => "CUDA exists on Linux and Windows only",
        ("metal", "macos") => "Install Xcode's command line tools: `xcode-select --install`",
        ("rocm", "linux") => {
            "Install ROCm: Debian and Ubuntu `apt install hipcc libhipblas-dev librocblas-dev`, Fedora `dnf \
             install rocm-hip-devel rocblas-devel hipblas-devel`, others from https://rocm.docs.amd.com; where \
             it is installed, name its folder in ROCM_PATH"
        }
        ("rocm", "windows") => "Install AMD's HIP SDK; its installer sets HIP_PATH",
        ("vulkan", "linux") => {
            "Install the Vulkan headers, loader and shader compiler: Debian and Ubuntu `apt install \
             libvulkan-dev glslc spirv-headers`, Fedora `dnf install vulkan-headers vulkan-loader-devel glslc \
             spirv-headers-devel`; headers that lie elsewhere are named in VULKAN_INCLUDE_DIR"
        }
        ("vulkan", "macos") => {
            "Install them with `brew install vulkan-headers vulkan-loader shaderc molten-vk`"
        }
        ("vulkan", _) => {
            "Install the Vulkan SDK from https://vulkan.lunarg.com; its installer sets VULKAN_SDK"
        }
        ("opencl", "linux") => {
            "Install them: Debian and Ubuntu `apt install opencl-headers ocl-icd-opencl-dev`, Fedora `dnf install \
             opencl-headers ocl-icd-devel`; where they lie elsewhere, name the folder in OPENCL_ROOT"
        }
        ("opencl", "windows") => "Install an OpenCL SDK and name its folder in OPENCL_ROOT",
        ("sycl", "linux" | "windows") => {
            "Install Intel's oneAPI Base Toolkit and run its `setvars` script first"
        }
        ("rpc", _) => "It needs nothing but a C++ compiler and CMake",
        _ => "It cannot be built on this platform",
    }
}
