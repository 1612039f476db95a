//! The engine's process-wide state: modules, log, start-up. Set up once, on first use.

pub(crate) mod log;
mod packages;
mod processors;

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use mullama_base::folders::cache_dir;
use mullama_sys as sys;
use sys::modules::{Module, Which};

use crate::{Error, ErrorKind, Result};

pub(crate) use processors::{physical_cores, usable_threads, warn_of_threads};

static PACKAGE_DIRS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The engine, started, with the modules that need no driver.
static WITHOUT_GPUS: OnceLock<Vec<Module>> = OnceLock::new();
/// The same with all modules.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();
/// Held by those who use the engine without the modules of GPUs. Loading these changes the engine's registry, which
/// nobody may look at meanwhile.
static REGISTRY: RwLock<()> = RwLock::new(());

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

/// The folder of the engine's libraries in this process, where the system tells it.
pub fn engine_dir() -> Option<PathBuf> {
    sys::modules::engine_dir()
}

/// Starts the engine with all of its modules, or gives the one that is running.
pub(crate) fn get() -> &'static Runtime {
    RUNTIME.get_or_init(|| {
        let _alone = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
        let mut modules = start().to_vec();
        modules.extend(load(Which::WithDriver));
        warn_of_what_was_named_in_vain(&modules);
        Runtime { modules }
    })
}

/// Starts the engine for what asks nothing of this machine's GPUs: drivers, which take tens to hundreds of
/// milliseconds to start, are left alone, unless something has asked for them before.
///
/// While the guard is held no module is loaded: whoever holds it must not call [`get`], which waits for it.
pub(crate) fn without_gpus() -> RwLockReadGuard<'static, ()> {
    let guard = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    start();
    guard
}

/// Every module that has been tried so far; the engine is started where it is not.
pub(crate) fn modules() -> &'static [Module] {
    RUNTIME.get().map_or_else(start, |runtime| &runtime.modules)
}

fn start() -> &'static [Module] {
    WITHOUT_GPUS.get_or_init(|| {
        log::install();
        let modules = load(Which::WithoutDriver);
        // SAFETY: once per process.
        unsafe { sys::llama_backend_init() };
        modules
    })
}

fn load(which: Which) -> Vec<Module> {
    let dirs = PACKAGE_DIRS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    // SAFETY: the first modules are loaded before anybody uses the engine, the others while nobody does, as `REGISTRY`
    // sees to; the folders are the installation's, or were named by the user.
    let modules = unsafe { sys::modules::load(&dirs, which, packages::refusal, &cache_dir()) };
    for module in &modules {
        match &module.outcome {
            Ok(name) => ::log::debug!("backend {name} loaded from {}", module.path.display()),
            Err(reason) => ::log::warn!("backend module {}: {reason}", module.path.display()),
        }
    }
    modules
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

/// As [`get`], and there is a processor to compute on.
pub(crate) fn require_cpu() -> Result<()> {
    get();
    check_cpu()
}

/// What the loaders of glibc and musl say where there is no room for a library.
const OUT_OF_SPACE: [&str; 3] =
    ["failed to map segment", "annot allocate memory", "cannot create shared object descriptor"];

/// Fails where the engine that was started has no processor to compute on.
pub(crate) fn check_cpu() -> Result<()> {
    let modules = modules();
    if modules.iter().any(|module| module.kind == "cpu" && module.outcome.is_ok()) {
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
