//! The CPU modules: which of the engine's are used, and which are built with our kernels.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, own_modules, target_of};
use crate::modules::{configure, file_of};
use crate::target_os;

/// Modules whose difference from another one is hardly used: AVX-512 VBMI in cannonlake (otherwise skylakex), icelake
/// (cascadelake) and zen4 (cooperlake), which no kernel uses; AVX-512 BF16 in cooperlake (otherwise cascadelake), which
/// only ggml's products with BF16 weights use, and ours replace these.
const LEFT_OUT: [&str; 4] =
    ["ggml-cpu-cannonlake", "ggml-cpu-icelake", "ggml-cpu-zen4", "ggml-cpu-cooperlake"];

/// Modules with the instruction sets that our kernels require (`kernels/instruction_set.h`): AVX2 and newer.
const WITH_KERNELS: [&str; 5] =
    ["ggml-cpu-haswell", "ggml-cpu-skylakex", "ggml-cpu-cascadelake", "ggml-cpu-alderlake", AMX];

/// The module with AMX.
const AMX: &str = "ggml-cpu-sapphirerapids";

/// The macro that the compiler defines if VBMI is enabled.
const VBMI: &str = "__AVX512VBMI__";

/// The file in which ggml reports whether it was compiled with VBMI, which is not a use of it.
const VBMI_DETECTION_FILE: &str = "ggml-cpu.c";

/// The modules that programs need: those of the engine's crate, some of them replaced by our own builds.
pub fn needed_modules(engine: &Engine) -> Vec<PathBuf> {
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

/// Whether a file is a redundant module.
pub fn is_left_out(module: &Path) -> bool {
    LEFT_OUT.contains(&target_of(module))
}

/// Builds modules with both the engine's kernels and ours (`kernels/`), from the object files of the engine's build and
/// our source. The kernels are selected at run time.
fn build_with_kernels(engine: &Engine, modules: &[PathBuf]) -> Vec<PathBuf> {
    println!("cargo:rerun-if-changed=kernels");
    let targets: Vec<_> = modules
        .iter()
        .map(|module| target_of(module))
        .filter(|target| WITH_KERNELS.contains(target))
        .collect();
    // The kernels have not been tested with Microsoft's compiler; with it, the engine's own modules are used.
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

/// Whether the compiler's header breaks the module that uses AMX. In GCC 12's `amxtileintrin.h`, `_tile_loadconfig`
/// declares that the instruction reads 8 bytes, but it reads 64. The compiler therefore removes the stores of the
/// others, no tile is configured, and the first computation with quantised weights ends the process with SIGILL. The
/// engine's crate does not accept compiler flags, so that module is compiled completely, with `shim/amx_tile.h`
/// included first.
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

/// Finds a source file below this folder that contains code for VBMI.
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
            && !path.ends_with(VBMI_DETECTION_FILE)
            && fs::read_to_string(&path).is_ok_and(|text| text.contains(VBMI));
        uses.then_some(path)
    })
}
