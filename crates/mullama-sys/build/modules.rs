//! Backend modules that are built from the engine's own sources on request.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::Engine;
use crate::target_os;

mod toolkit;

use toolkit::Toolkit;

/// How a backend of the table `backends.json` is asked for and built.
#[derive(Deserialize)]
struct Backend {
    /// Its name, and that of the Cargo feature that asks for it.
    name: String,
    /// The environment variable with the same meaning; the names are those of the user documentation.
    variable: String,
    /// ggml's CMake target, which also names the file.
    module: String,
    /// CMake's definitions.
    cmake: BTreeMap<String, String>,
    /// More of them, with the environment variables that they come from.
    #[serde(default)]
    cmake_from: BTreeMap<String, String>,
    #[serde(default)]
    toolkit: Toolkit,
    /// Whether the module is small and needs nothing of the machine, so that every package carries it.
    #[serde(default)]
    with_the_engine: bool,
}

/// The backends that features or the environment ask for.
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

    /// Builds the module against the same sources as the engine, in a build folder of its own, so
    /// that asking for one more backend never rebuilds the engine.
    fn build(&self, engine: &Engine) -> PathBuf {
        self.toolkit.require(&self.name, &self.variable);
        let mut config = configure(engine, &self.name, &self.module);
        config.define("GGML_CPU", "OFF").define("GGML_OPENMP", "OFF");
        for (definition, value) in &self.cmake {
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

/// The build of one module of the engine, in a folder of its own.
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
        // What lies beside a module is found there, wherever that is.
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

/// The module that a build has left.
pub fn file_of(built: &Path, target: &str) -> PathBuf {
    // CMake names a loadable module `.so` on macOS too.
    let (prefix, suffix) = if target_os() == "windows" { ("", ".dll") } else { ("lib", ".so") };
    let file = built.join("build/bin").join(format!("{prefix}{target}{suffix}"));
    assert!(file.is_file(), "the build of {target} left no {}", file.display());
    file
}

/// A module that has been built.
pub struct BuiltModule {
    /// The backend's name.
    pub name: String,
    /// Whether it lies with the engine, and so in every package.
    pub with_the_engine: bool,
    /// The module's file.
    pub file: PathBuf,
}

/// Ends the build where the environment asks for a module of an engine that cannot load any.
pub fn refuse_requested() {
    if let Some(Backend { name, variable, .. }) = requested().first() {
        println!(
            "cargo::error=the {name} backend was asked for ({variable}), and an engine inside the program loads no \
             backends: turn on the feature `dynamic-backends`, or leave the variable out"
        );
        std::process::exit(1);
    }
}

/// Builds the modules that features or the environment ask for.
pub fn build_requested(engine: &Engine) -> Vec<BuiltModule> {
    let build = |backend: Backend| BuiltModule {
        file: backend.build(engine),
        name: backend.name,
        with_the_engine: backend.with_the_engine,
    };
    requested().into_iter().map(build).collect()
}
