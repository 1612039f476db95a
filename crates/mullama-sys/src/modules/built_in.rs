//! The backends of an engine that is linked into the program.

use std::env;
use std::ffi::CStr;

use llama_cpp_sys_2::{
    ggml_backend_reg_count, ggml_backend_reg_get, ggml_backend_reg_name, ggml_backend_unload,
};

use super::{Module, allowed_kinds};
use crate::backends;

/// The x86-64 instruction sets that the engine was compiled for, by rustc's names.
const COMPILED_FOR: &str = env!("MULLAMA_ENGINE_INSTRUCTIONS");

/// Returns the backends that the engine registered at startup. If the CPU lacks an instruction set, returns only the
/// CPU backend with an error.
pub(super) fn modules() -> Vec<Module> {
    let module = |kind: String, outcome| Module {
        kind,
        path: env::current_exe().unwrap_or_default(),
        outcome,
    };
    // Checked before the first call to the engine, which might use these instructions.
    let missing: Vec<_> =
        COMPILED_FOR.split(',').filter(|name| !name.is_empty() && !runs(name)).collect();
    if !missing.is_empty() {
        let reason = format!(
            "this build is for processors with {}, which this one lacks",
            missing.join(", ").to_uppercase()
        );
        return vec![module("cpu".to_owned(), Err(reason))];
    }
    let allowed = allowed_kinds();
    let mut modules = Vec::new();
    // SAFETY: the registry is filled once and lives as long as the process. Indices are below its count and descend, so
    // that unloading a backend does not move those still to be visited. Names are static.
    unsafe {
        for index in (0..ggml_backend_reg_count()).rev() {
            let registration = ggml_backend_reg_get(index);
            let name = CStr::from_ptr(ggml_backend_reg_name(registration)).to_string_lossy();
            let kind = backends::name_of(&name);
            if allowed.as_ref().is_some_and(|kinds| !kinds.contains(&kind)) {
                ggml_backend_unload(registration);
            } else {
                modules.push(module(kind, Ok(name.into_owned())));
            }
        }
    }
    modules.reverse();
    modules
}

/// Whether this machine's CPU has an instruction set. Those not listed here are always available.
#[cfg(target_arch = "x86_64")]
fn runs(name: &str) -> bool {
    match name {
        "sse4.2" => is_x86_feature_detected!("sse4.2"),
        "avx" => is_x86_feature_detected!("avx"),
        "avx2" => is_x86_feature_detected!("avx2"),
        "bmi2" => is_x86_feature_detected!("bmi2"),
        "fma" => is_x86_feature_detected!("fma"),
        "f16c" => is_x86_feature_detected!("f16c"),
        "avx512f" => is_x86_feature_detected!("avx512f"),
        "avx512vbmi" => is_x86_feature_detected!("avx512vbmi"),
        "avx512vnni" => is_x86_feature_detected!("avx512vnni"),
        "avx512bf16" => is_x86_feature_detected!("avx512bf16"),
        _ => true,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn runs(_: &str) -> bool {
    true
}
