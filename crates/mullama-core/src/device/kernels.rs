//! The kernels that compute on the processor: mullama's or the engine's.

use std::env;
use std::sync::Once;

use mullama_sys::kernels::Kernels;

use crate::options::CpuKernels;
use crate::{Error, Result};

/// Describes the kernels that models use unless an option says otherwise.
pub(super) fn describe() -> String {
    match Kernels::find() {
        Some(kernels) if kernels.chosen() => {
            format!("mullama's, with {}", kernels.instruction_set())
        }
        Some(_) => "the engine's: by MULLAMA_KERNELS".to_owned(),
        None => format!("the engine's: {}", unavailable_reason()),
    }
}

/// Returns an error if mullama's kernels are requested, but not available.
pub(crate) fn check(chosen: Option<CpuKernels>) -> Result<()> {
    warn_about_environment();
    if chosen == Some(CpuKernels::Own) && Kernels::find().is_none() {
        return Err(Error::option(
            "cpu_kernels",
            format!("`own` is not available: {}", unavailable_reason()),
        ));
    }
    Ok(())
}

/// Logs a warning, once, if the environment variable has a value without meaning.
fn warn_about_environment() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let value = env::var("MULLAMA_KERNELS").unwrap_or_default();
        if !matches!(&*value, "" | "own" | "engine") {
            log::warn!(
                "MULLAMA_KERNELS is {value:?}, neither `own` nor `engine`: it has no effect"
            );
        }
    });
}

/// Calls the engine with the chosen kernels. Without a choice, or with `auto`, `MULLAMA_KERNELS` decides.
pub(crate) fn with<T>(chosen: Option<CpuKernels>, call: impl FnOnce() -> T) -> T {
    let own = match chosen {
        None | Some(CpuKernels::Auto) => return call(),
        Some(CpuKernels::Own) => true,
        Some(CpuKernels::Engine) => false,
    };
    let Some(kernels) = Kernels::find() else { return call() };
    kernels.choose(Some(own));
    let result = call();
    kernels.choose(None);
    result
}

fn unavailable_reason() -> &'static str {
    if !cfg!(feature = "dynamic-backends") {
        "the engine is a part of the program"
    } else if !cfg!(target_arch = "x86_64") {
        "mullama's are for x86-64"
    } else {
        "mullama's need AVX2, which the processor or its module lacks"
    }
}
