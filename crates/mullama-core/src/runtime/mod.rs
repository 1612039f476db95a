//! The engine's process-wide state: modules, logging, startup. Initialised once, on first use.

pub(crate) mod log;
mod packages;
mod processors;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use mullama_base::folders::cache_dir;
use mullama_sys as sys;
use sys::modules::{Module, ModuleSet};

use crate::{Error, ErrorKind, Result};

pub(crate) use processors::{physical_cores, usable_threads, warn_of_threads};

static PACKAGE_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The modules that need no driver. Initialising it starts the engine.
static WITHOUT_GPUS: OnceLock<Vec<Module>> = OnceLock::new();
/// The engine with all modules.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
/// Locked for reading while the engine is used without the GPU modules. Loading those changes the engine's registry,
/// which must not be read meanwhile.
static REGISTRY: RwLock<()> = RwLock::new(());

/// The running engine.
pub(crate) struct Runtime {
    /// All backend modules that were tried, including those that failed to load.
    pub modules: Vec<Module>,
}

/// Adds a folder to search for backend modules. The Python and Node.js packages use it for installed GPU packages.
///
/// Has an effect only before the engine is used for the first time.
pub fn add_backend_dir(dir: impl Into<PathBuf>) {
    PACKAGE_DIRS.lock().unwrap_or_else(PoisonError::into_inner).push(dir.into());
}

/// The folder of the engine's libraries in this process, if the system can determine it.
pub fn engine_dir() -> Option<PathBuf> {
    sys::modules::engine_dir()
}

/// Returns the engine with all modules. Starts it if necessary.
pub(crate) fn get() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        let _alone = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
        let mut modules = start().to_vec();
        modules.extend(load(ModuleSet::WithDriver));
        warn_of_missing_backends(&modules);
        Runtime { modules }
    })
}

/// Starts the engine without GPU modules, unless they are loaded already: starting their drivers takes tens to hundreds
/// of milliseconds.
///
/// While the guard exists, no module is loaded. Its owner must not call [`get`], which would deadlock.
pub(crate) fn without_gpus() -> RwLockReadGuard<'static, ()> {
    let guard = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    start();
    guard
}

/// All modules that were tried so far. Starts the engine if necessary.
pub(crate) fn modules() -> &'static [Module] {
    RUNTIME.get().map_or_else(start, |runtime| &runtime.modules)
}

/// Whether the module of a backend is loaded.
pub(crate) fn is_loaded(kind: &str) -> bool {
    modules().iter().any(|module| module.kind == kind && module.outcome.is_ok())
}

fn start() -> &'static [Module] {
    WITHOUT_GPUS.get_or_init(|| {
        log::install();
        let modules = load(ModuleSet::WithoutDriver);
        // SAFETY: called once per process.
        unsafe { sys::llama_backend_init() };
        modules
    })
}

fn load(which: ModuleSet) -> Vec<Module> {
    let dirs = PACKAGE_DIRS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // SAFETY: the first modules are loaded before the engine is used, the others while it is not, ensured by
    // `REGISTRY`. The folders belong to the installation or were named by the user.
    let modules = unsafe { sys::modules::load(&dirs, which, packages::refusal, &cache_dir()) };
    for module in &modules {
        match &module.outcome {
            Ok(name) => ::log::debug!("backend {name} loaded from {}", module.path.display()),
            Err(reason) => ::log::warn!("backend module {}: {reason}", module.path.display()),
        }
    }
    modules
}

/// Warns about folders and backend kinds in environment variables for which there is no module.
fn warn_of_missing_backends(modules: &[Module]) {
    let named = std::env::var_os("MULLAMA_BACKENDS").unwrap_or_default();
    for dir in std::env::split_paths(&named).filter(|dir| !dir.as_os_str().is_empty()) {
        let real = std::fs::canonicalize(&dir).ok();
        let is_parent = |module: &Module| {
            module.path.parent().and_then(|parent| std::fs::canonicalize(parent).ok()) == real
        };
        if real.is_none() || !modules.iter().any(is_parent) {
            ::log::warn!(
                "MULLAMA_BACKENDS names {}, but no backend module was loaded from there",
                dir.display()
            );
        }
    }
    for kind in sys::modules::allowed_kinds().into_iter().flatten() {
        if !modules.iter().any(|module| module.kind == kind) {
            ::log::warn!("MULLAMA_BACKEND names {kind}, but there is no such backend module");
        }
    }
}

/// Like [`get`]; fails if there is no CPU module.
pub(crate) fn require_cpu() -> Result<()> {
    get();
    check_cpu()
}

/// Error messages of the loaders of glibc and musl when there is no memory for a library.
const OUT_OF_SPACE: [&str; 3] =
    ["failed to map segment", "annot allocate memory", "cannot create shared object descriptor"];

/// Fails if the engine has no CPU module to compute with.
pub(crate) fn check_cpu() -> Result<()> {
    let modules = modules();
    if is_loaded("cpu") {
        return Ok(());
    }
    let failed = || modules.iter().filter(|module| module.kind == "cpu");
    let reasons = || failed().filter_map(|module| module.outcome.as_ref().err());
    if let Some(reason) = reasons().find(|it| OUT_OF_SPACE.iter().any(|phrase| it.contains(phrase)))
    {
        let message = format!("there is no memory for the engine's CPU module: {reason}");
        return Err(Error::new(ErrorKind::OutOfMemory, message).with_hint(
            "the address space of the process is limited (`ulimit -v`): raise the limit",
        ));
    }
    if let Some(reason) = reasons().next() {
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
