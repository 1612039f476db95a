//! The modules of the processor: which of the engine's are taken along, and those that get kernels of our own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, own_modules, target_of};
use crate::modules::{configure, file_of};
use crate::target_os;

/// Modules that have AVX-512 VBMI and else what another one has: cannonlake and skylakex, icelake and cascadelake, zen4
/// and cooperlake. No kernel of ggml's or of ours uses its instructions, so the other one does as well.
const LEFT_OUT: [&str; 3] = ["ggml-cpu-cannonlake", "ggml-cpu-icelake", "ggml-cpu-zen4"];

/// Modules that have the instructions which our kernels ask for (`kernels/instruction_set.h`): AVX2 and more.
const WITH_KERNELS: [&str; 6] = [
    "ggml-cpu-haswell",
    "ggml-cpu-skylakex",
    "ggml-cpu-cascadelake",
    "ggml-cpu-cooperlake",
    "ggml-cpu-alderlake",
    AMX,
];

/// The one that has AMX.
const AMX: &str = "ggml-cpu-sapphirerapids";

/// The macro that the compiler sets where VBMI may be used.
const VBMI: &str = "__AVX512VBMI__";

/// Where ggml tells whether it was compiled with VBMI, which is no use of it.
const TELLS: &str = "ggml-cpu.c";

/// The modules that a program has a use for: those of the engine's crate, and in the place of some our own builds.
pub fn useful(engine: &Engine) -> Vec<PathBuf> {
    let kernels = engine.sources.join("ggml/src/ggml-cpu");
    if let Some(source) = first_use_of_vbmi(&kernels) {
        panic!(
            "{} of ggml uses AVX-512 VBMI: take its modules along (build/cpu_modules.rs)",
            source.display()
        );
    }
    let mut modules = own_modules();
    modules.retain(|module| !is_left_out(module));
    let built = build_with_kernels(engine, &modules);
    modules.retain(|module| built.iter().all(|built| built.file_name() != module.file_name()));
    modules.extend(built);
    modules
}

/// Whether this is the file of a module that is not taken along.
pub fn is_left_out(module: &Path) -> bool {
    LEFT_OUT.contains(&target_of(module))
}

/// Builds modules that hold the engine's kernels and ours (`kernels/`), out of what the engine's build compiled and our
/// own source. Which of the two computes is chosen at run time.
fn build_with_kernels(engine: &Engine, modules: &[PathBuf]) -> Vec<PathBuf> {
    println!("cargo:rerun-if-changed=kernels");
    let targets: Vec<_> = modules
        .iter()
        .map(|module| target_of(module))
        .filter(|target| WITH_KERNELS.contains(target))
        .collect();
    // Microsoft's compiler has not been tried on the kernels: there the engine's own modules do.
    if targets.is_empty() || env::var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("msvc") {
        return Vec::new();
    }
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut config = configure(engine, "cpu", "mullama-cpu-modules");
    config
        .define("GGML_CPU_ALL_VARIANTS", "ON")
        .define("GGML_OPENMP", if engine.is_on("GGML_OPENMP") { "ON" } else { "OFF" })
        .define("CMAKE_PROJECT_ggml_INCLUDE", package.join("kernels/kernels.cmake"))
        .define("MULLAMA_ENGINE_BUILD", engine.build_folder())
        .define("MULLAMA_CPU_MODULES", targets.join(";"))
        .define("MULLAMA_COMPILED_ANEW", if amx_header_is_broken() { AMX } else { "" })
        .define("MULLAMA_AMX_HEADER", package.join("shim/amx_tile.h"));
    let built = config.build();
    targets.iter().map(|target| file_of(&built, target)).collect()
}

/// Whether the compiler's own header breaks the module that uses AMX. In GCC 12's `amxtileintrin.h` `_tile_loadconfig`
/// says that the instruction reads 8 bytes, and it reads 64: the compiler leaves out the stores of all others, no tile is
/// configured, and the first computation with quantised weights ends the process with SIGILL. The engine's crate lets
/// nobody hand flags to its build, so that module is compiled as a whole, with `shim/amx_tile.h` before everything else.
fn amx_header_is_broken() -> bool {
    if target_os() != "linux" {
        return false;
    }
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

/// A source below this folder that has code for VBMI.
fn first_use_of_vbmi(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("cannot list {}: {error}", folder.display()));
    entries.flatten().map(|entry| entry.path()).find_map(|path| {
        if path.is_dir() {
            return first_use_of_vbmi(&path);
        }
        let is_source = path
            .extension()
            .is_some_and(|extension| ["c", "cpp", "h"].iter().any(|e| extension == *e));
        let uses = is_source
            && !path.ends_with(TELLS)
            && fs::read_to_string(&path).is_ok_and(|text| text.contains(VBMI));
        uses.then_some(path)
    })
}
