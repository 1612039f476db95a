//! The processor module for AMX, compiled anew where the compiler's header breaks it.
//!
//! In GCC 12's `amxtileintrin.h` `_tile_loadconfig` says that the instruction reads 8 bytes, and it reads 64: the
//! compiler leaves out the stores of all others, no tile is configured, and the first computation with quantised
//! weights ends the process with SIGILL. The engine's crate lets nobody hand flags to its build, so the one module
//! that uses AMX is built again, with `shim/amx_tile.h` before everything else.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, own_modules, target_of};
use crate::modules::{configure, file_of};

/// ggml's target of the module.
const TARGET: &str = "ggml-cpu-sapphirerapids";

/// The module, where the engine's own must not be used.
pub fn rebuild_if_broken(engine: &Engine) -> Option<PathBuf> {
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux")
        || !own_modules().iter().any(|module| target_of(module) == TARGET)
        || !header_is_broken()
    {
        return None;
    }
    let header = Path::new(&env::var_os("CARGO_MANIFEST_DIR")?).join("shim/amx_tile.h");
    let mut config = configure(engine, "amx", TARGET);
    config
        .define("GGML_CPU_ALL_VARIANTS", "ON")
        .define("GGML_OPENMP", if engine.is_on("GGML_OPENMP") { "ON" } else { "OFF" })
        .cxxflag("-include")
        .cxxflag(header.to_str().expect("the package's folder is UTF-8"));
    Some(file_of(&config.build(), TARGET))
}

/// Whether the compiler's own header has the fault.
fn header_is_broken() -> bool {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("amx.cpp");
    fs::write(&out, "#include <immintrin.h>\n").expect("OUT_DIR is writable");
    let compiler = cc::Build::new().cpp(true).std("c++17").warnings(false).get_compiler();
    let preprocessed = compiler.to_command().arg("-E").arg("-mamx-tile").arg(&out).output();
    preprocessed.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout);
        let squeezed: String = text.split_whitespace().collect();
        squeezed.contains(r#"__asm__volatile("ldtilecfg\t%X0"::"m"(*((constvoid**)__config)))"#)
    })
}
