//! Builds requested backend modules from the engine's sources.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::Engine;
use crate::target_os;

mod toolkit;

use toolkit::Toolkit;

/// An entry of the table `backends.json`: how to request and build a backend.
#[derive(Deserialize)]
struct Backend {
    /// The backend's name, which is also the name of the Cargo feature that requests it.
    name: String,
    /// The environment variable that requests it, as in the user documentation.
    variable: String,
    /// ggml's CMake target, which is also the name of the file.
    module: String,
    /// CMake definitions.
    cmake: BTreeMap<String, String>,
    /// More CMake definitions, by the operating system or processor that the module is built for.
    #[serde(default)]
    cmake_on: BTreeMap<String, BTreeMap<String, String>>,
    /// More CMake definitions, by the environment variables that they are read from.
    #[serde(default)]
    cmake_from: BTreeMap<String, String>,
    #[serde(default)]
    toolkit: Toolkit,
    /// Whether the module is small and has no requirements, so that every package contains it.
    #[serde(default)]
    with_the_engine: bool,
}

/// The backends that features or the environment request.
fn requested() -> Vec<Backend> {
    println!("cargo:rerun-if-changed=backends.json");
    let table = serde_json::from_str::<Vec<Backend>>(include_str!("../backends.json"));
    let mut backends = table.unwrap_or_else(|error| panic!("backends.json: {error}"));
    backends.retain(Backend::is_requested);
    backends
}

impl Backend {
    fn is_requested(&self) -> bool {
        println!("cargo:rerun-if-env-changed={}", self.variable);
        let by_feature = env::var_os(format!("CARGO_FEATURE_{}", self.name.to_uppercase()));
        let by_variable = env::var(&self.variable).unwrap_or_default();
        by_feature.is_some() || !matches!(by_variable.as_str(), "" | "0" | "off" | "OFF")
    }

    /// The definitions for the target of the build.
    fn cmake_for_target(&self) -> impl Iterator<Item = (&String, &String)> {
        let architecture = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets it");
        [target_os(), architecture]
            .into_iter()
            .filter_map(|name| self.cmake_on.get(&name))
            .flatten()
    }

    /// Builds the module from the same sources as the engine, in its own build folder, so that requesting another
    /// backend never rebuilds the engine.
    fn build(&self, engine: &Engine) -> PathBuf {
        self.toolkit.require(&self.name, &self.variable);
        let mut config = configure(engine, &self.name, &self.module);
        config.define("GGML_CPU", "OFF").define("GGML_OPENMP", "OFF");
        for (definition, value) in self.cmake.iter().chain(self.cmake_for_target()) {
            config.define(definition, value);
        }
        for (definition, variable) in &self.cmake_from {
            println!("cargo:rerun-if-env-changed={variable}");
            if let Ok(value) = env::var(variable) {
                config.define(definition, value);
            }
        }
        let built = self.toolkit.explain_failure(&self.name, || config.build());
        file_of(&built, &self.module)
    }
}

/// Configures the build of one module of the engine, in its own folder.
pub fn configure(engine: &Engine, name: &str, target: &str) -> cmake::Config {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let out = out.join(format!("module-{name}"));
    std::fs::create_dir_all(&out).expect("OUT_DIR is writable");
    let mut config = cmake::Config::new(&engine.sources);
    config
        .out_dir(&out)
        .profile("Release")
        .define("BUILD_SHARED_LIBS", "ON")
        .define("GGML_BACKEND_DL", "ON")
        .define("GGML_NATIVE", "OFF")
        // A module finds libraries in its own folder, wherever that is.
        .define("CMAKE_BUILD_WITH_INSTALL_RPATH", "ON")
        .define(
            "CMAKE_INSTALL_RPATH",
            if target_os() == "macos" { "@loader_path" } else { "$ORIGIN" },
        )
        .build_target(target);
    for part in ["COMMON", "TESTS", "TOOLS", "EXAMPLES", "SERVER", "APP"] {
        config.define(format!("LLAMA_BUILD_{part}"), "OFF");
    }
    config
}

/// The module file that a build created.
pub fn file_of(built: &Path, target: &str) -> PathBuf {
    // CMake names a loadable module `.so` on macOS too.
    let (prefix, suffix) = if target_os() == "windows" { ("", ".dll") } else { ("lib", ".so") };
    let file = built.join("build/bin").join(format!("{prefix}{target}{suffix}"));
    assert!(file.is_file(), "the build of {target} left no {}", file.display());
    file
}

/// A module that was built.
pub struct BuiltModule {
    /// The backend's name.
    pub name: String,
    /// Whether it is installed with the engine, and thus in every package.
    pub with_the_engine: bool,
    /// The module's file.
    pub file: PathBuf,
}

/// Fails the build if the environment requests a module, but the engine cannot load modules.
pub fn refuse_requested() {
    if let Some(Backend { name, variable, .. }) = requested().first() {
        println!(
            "cargo::error=the {name} backend was asked for ({variable}), and an engine inside the program loads no \
             backends: turn on the feature `dynamic-backends`, or leave the variable out"
        );
        std::process::exit(1);
    }
}

/// Builds the modules that features or the environment request.
pub fn build_requested(engine: &Engine) -> Vec<BuiltModule> {
    let build = |backend: Backend| BuiltModule {
        file: backend.build(engine),
        name: backend.name,
        with_the_engine: backend.with_the_engine,
    };
    requested().into_iter().map(build).collect()
}
