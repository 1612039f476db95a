//! The engine's process-wide state: modules, log, start-up. Set up once, on first use.

pub(crate) mod log;
mod packages;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use mullama_sys as sys;
use sys::modules::Module;

use crate::{Error, ErrorKind, Result};
use mullama_base::folders::cache_dir;

static PACKAGE_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static LEAVE_GPUS_OUT: AtomicBool = AtomicBool::new(false);
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The engine, started.
pub(crate) struct Runtime {
    /// Every backend module that was tried.
    pub modules: Vec<Module>,
}

/// Adds a folder to look for backend modules in: what the packages of languages do with those of the GPU
/// packages that they find.
///
/// Has an effect only before the engine is used for the first time.
pub fn add_backend_dir(dir: impl Into<PathBuf>) {
    PACKAGE_DIRS.lock().unwrap_or_else(PoisonError::into_inner).push(dir.into());
}

/// Leaves out the backends that need a driver: for programs that ask nothing of this machine's GPUs, since drivers
/// take tens to hundreds of milliseconds to start.
///
/// Has an effect only before the engine is used for the first time.
pub fn leave_gpus_out() {
    LEAVE_GPUS_OUT.store(true, Ordering::Relaxed);
}

/// The folder of the engine's libraries in this process, where the system tells it.
pub fn engine_dir() -> Option<PathBuf> {
    sys::modules::engine_dir()
}

/// Starts the engine, or gives the one that is running.
pub(crate) fn get() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        log::install();
        let mut dirs = packages::handed_on();
        dirs.extend(PACKAGE_DIRS.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned());
        let with_drivers = !LEAVE_GPUS_OUT.load(Ordering::Relaxed);
        // SAFETY: the `OnceLock` keeps other users of the engine out until this has run; the
        // folders are the installation's, or were named by the user.
        let modules =
            unsafe { sys::modules::load(&dirs, with_drivers, packages::refusal, &cache_dir()) };
        for module in &modules {
            match &module.outcome {
                Ok(name) => ::log::debug!("backend {name} loaded from {}", module.path.display()),
                Err(reason) => {
                    ::log::warn!("backend module {}: {reason}", module.path.display());
                }
            }
        }
        if with_drivers {
            warn_of_what_was_named_in_vain(&modules);
        }
        // SAFETY: once per process.
        unsafe { sys::llama_backend_init() };
        Runtime { modules }
    })
}

/// Folders and kinds of backends that a user named, and that are not there.
fn warn_of_what_was_named_in_vain(modules: &[Module]) {
    let named = std::env::var_os("MULLAMA_BACKENDS").unwrap_or_default();
    for dir in std::env::split_paths(&named).filter(|dir| !dir.as_os_str().is_empty()) {
        let real = std::fs::canonicalize(&dir).ok();
        let is_parent = |module: &Module| {
            module.path.parent().and_then(|parent| std::fs::canonicalize(parent).ok()) == real
        };
        if real.is_none() || !modules.iter().any(is_parent) {
            ::log::warn!("MULLAMA_BACKENDS names {}, where no module is used from", dir.display());
        }
    }
    for kind in sys::modules::allowed_kinds().into_iter().flatten() {
        if !modules.iter().any(|module| module.kind == kind) {
            ::log::warn!("MULLAMA_BACKEND names {kind}, of which there is no module");
        }
    }
}

/// As [`get`], and there is a processor to compute on.
pub(crate) fn require_cpu() -> Result<&'static Runtime> {
    let runtime = get();
    if runtime.modules.iter().any(|module| module.kind == "cpu" && module.outcome.is_ok()) {
        return Ok(runtime);
    }
    let failed = runtime.modules.iter().find(|module| module.kind == "cpu");
    if let Some(Err(reason)) = failed.map(|module| &module.outcome) {
        return Err(Error::new(ErrorKind::Backend, format!("the engine cannot compute: {reason}"))
            .with_hint("a build with the feature `dynamic-backends` runs on every processor"));
    }
    let searched: Vec<_> =
        sys::modules::search_path(&[]).iter().map(|dir| dir.display().to_string()).collect();
    Err(Error::new(
        ErrorKind::Backend,
        format!("no CPU module of the engine could be loaded; looked in {}", searched.join(", ")),
    )
    .with_hint("reinstall mullama, or name the folder with libggml-cpu-* in MULLAMA_BACKENDS"))
}
