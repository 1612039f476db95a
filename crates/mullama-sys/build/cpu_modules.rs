//! Which of the engine's CPU modules are taken along.

use std::fs;
use std::path::{Path, PathBuf};

use crate::engine::{Engine, own_modules, target_of};

/// Modules that have AVX-512 VBMI and else what another one has: cannonlake and skylakex, icelake and cascadelake, zen4
/// and cooperlake. No kernel of ggml's uses its instructions, so the other one does as well.
const LEFT_OUT: [&str; 3] = ["ggml-cpu-cannonlake", "ggml-cpu-icelake", "ggml-cpu-zen4"];

/// The macro that the compiler sets where VBMI may be used.
const VBMI: &str = "__AVX512VBMI__";

/// Where ggml tells whether it was compiled with VBMI, which is no use of it.
const TELLS: &str = "ggml-cpu.c";

/// The modules that the engine's crate built, and that a program has a use for.
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
    modules
}

/// Whether this is the file of a module that is not taken along.
pub fn is_left_out(module: &Path) -> bool {
    LEFT_OUT.contains(&target_of(module))
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
