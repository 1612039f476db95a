//! Backend modules that are built from the engine's own sources on request.

use std::env;
use std::path::PathBuf;

use crate::engine::Engine;

mod toolkit;

/// How one backend is asked for and built.
struct Module {
    /// Cargo feature of this crate.
    feature: &'static str,
    /// Environment variable with the same meaning; the names are those of the user documentation.
    variable: &'static str,
    /// ggml's CMake switch.
    switch: &'static str,
    /// ggml's CMake target, which also names the file.
    target: &'static str,
}

/// CMake definitions from the environment.
trait DefineFromEnv {
    fn define_from_env(&mut self, definition: &str, variable: &str) -> &mut Self;
}

impl DefineFromEnv for cmake::Config {
    fn define_from_env(&mut self, definition: &str, variable: &str) -> &mut Self {
        println!("cargo:rerun-if-env-changed={variable}");
        if let Ok(value) = env::var(variable) {
            self.define(definition, value);
        }
        self
    }
}

const MODULES: [Module; 7] = [
    module("cuda", "LLAMA_CUDA", "GGML_CUDA", "ggml-cuda"),
    module("metal", "LLAMA_METAL", "GGML_METAL", "ggml-metal"),
    module("rocm", "LLAMA_HIPBLAS", "GGML_HIP", "ggml-hip"),
    // CLBlast left llama.cpp; its OpenCL backend took over.
    module("opencl", "LLAMA_CLBLAST", "GGML_OPENCL", "ggml-opencl"),
    module("vulkan", "LLAMA_VULKAN", "GGML_VULKAN", "ggml-vulkan"),
    module("sycl", "LLAMA_SYCL", "GGML_SYCL", "ggml-sycl"),
    module("rpc", "LLAMA_RPC", "GGML_RPC", "ggml-rpc"),
];

const fn module(
    feature: &'static str,
    variable: &'static str,
    switch: &'static str,
    target: &'static str,
) -> Module {
    Module { feature, variable, switch, target }
}

impl Module {
    fn requested(&self) -> bool {
        println!("cargo:rerun-if-env-changed={}", self.variable);
        let by_feature = env::var_os(format!("CARGO_FEATURE_{}", self.feature.to_uppercase()));
        let by_variable = env::var(self.variable).unwrap_or_default();
        by_feature.is_some() || !matches!(by_variable.as_str(), "" | "0" | "off" | "OFF")
    }

    /// Builds the module against the same sources as the engine, in a build folder of its own, so
    /// that asking for one more backend never rebuilds the engine.
    fn build(&self, engine: &Engine) -> PathBuf {
        toolkit::require(self.feature, self.variable);
        let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
            .join(format!("module-{}", self.feature));
        std::fs::create_dir_all(&out).expect("OUT_DIR is writable");
        let mut config = cmake::Config::new(&engine.sources);
        config
            .out_dir(&out)
            .profile("Release")
            .define("BUILD_SHARED_LIBS", "ON")
            .define("GGML_BACKEND_DL", "ON")
            .define("GGML_NATIVE", "OFF")
            .define("GGML_CPU", "OFF")
            .define("GGML_OPENMP", "OFF")
            // What a package brings along beside a module is found there, wherever that is.
            .define("CMAKE_BUILD_WITH_INSTALL_RPATH", "ON")
            .define(
                "CMAKE_INSTALL_RPATH",
                if cfg!(target_os = "macos") { "@loader_path" } else { "$ORIGIN" },
            )
            .define(self.switch, "ON")
            // Several GPUs are fed one after the other; NCCL would be one more library to ship.
            .define("GGML_CUDA_NCCL", "OFF")
            // Which GPUs the code is for; CMake's choice is all that the toolkit knows.
            .define_from_env("CMAKE_CUDA_ARCHITECTURES", "CUDAARCHS")
            .define_from_env("GPU_TARGETS", "AMDGPU_TARGETS")
            // Headers newer than the system's: Debian 12's are too old for the Vulkan backend.
            .define_from_env("Vulkan_INCLUDE_DIR", "VULKAN_INCLUDE_DIR")
            .build_target(self.target);
        for part in ["COMMON", "TESTS", "TOOLS", "EXAMPLES", "SERVER", "APP"] {
            config.define(format!("LLAMA_BUILD_{part}"), "OFF");
        }
        let built = toolkit::explain_failure(self.feature, || config.build());
        let built = built.join("build/bin").join(format!(
            "{}{}{}",
            env::consts::DLL_PREFIX,
            self.target,
            // CMake names a loadable module `.so` on macOS too.
            if cfg!(windows) { ".dll" } else { ".so" }
        ));
        assert!(built.is_file(), "the build of {} left no {}", self.target, built.display());
        built
    }
}

/// A module that has been built.
pub struct BuiltModule {
    /// The backend's name, that of the feature.
    pub name: &'static str,
    /// Whether it is small and needs nothing of the machine, so that every package carries it.
    pub in_every_package: bool,
    /// The module's file.
    pub file: PathBuf,
}

/// Ends the build where the environment asks for a module of an engine that cannot load any.
pub fn refuse_requested() {
    if let Some(module) = MODULES.iter().find(|module| module.requested()) {
        println!(
            "cargo::error=the {} backend was asked for ({}), and an engine inside the program loads no \
             backends: turn on the feature `dynamic-backends`, or leave the variable out",
            module.feature, module.variable
        );
        std::process::exit(1);
    }
}

/// Builds the modules that features or the environment ask for.
pub fn build_requested(engine: &Engine) -> Vec<BuiltModule> {
    let build = |module: &Module| BuiltModule {
        name: module.feature,
        in_every_package: module.feature == "rpc",
        file: module.build(engine),
    };
    MODULES.iter().filter(|module| module.requested()).map(build).collect()
}
