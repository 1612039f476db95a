//! Finds and loads backend modules.
//!
//! A backend (including the CPU backend) is a loadable library next to the engine. [`load`] searches for modules in the
//! following order: the folders in `MULLAMA_BACKENDS` (a path list), the folders that the program adds (backend
//! packages), the folder of the engine's own libraries, the build tree. A kind of backend found in one folder is not
//! searched for in the next, so a user's choice takes precedence. Of the CPU modules, which are built for different
//! instruction sets, the one with the highest score on this machine is loaded.
//!
//! `MULLAMA_BACKEND` (a comma-separated list such as `cuda,vulkan`) restricts the kinds. The CPU module is always
//! loaded, since the engine needs it.
//!
//! A module that needs a driver is first tried in a separate process, so that a crashing or hanging driver only results
//! in an error. Successful attempts are stored until the module, the device selection or the running system changes.
//! `MULLAMA_PROBE` is the time limit for a driver in seconds (default: 30); 0 disables the attempt.
//!
//! If the engine is linked into the program, its backends are part of it, and nothing is searched for.

use std::collections::HashSet;
use std::env;
use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;
use std::io::{self, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use libloading::Library;
use llama_cpp_sys_2::{ggml_backend_load, ggml_backend_reg_name};

use crate::backends;

mod built_in;
mod probe;

use probe::Probe;

/// Whether modules of this kind need a driver.
fn needs_driver(kind: &str) -> bool {
    kind != "cpu" && !backends::find(kind).is_some_and(|backend| backend.with_the_engine)
}

/// A module that was found, and the result of loading it.
#[derive(Debug, Clone)]
pub struct Module {
    /// The kind of backend: `cpu`, `cuda`, `vulkan`, ...
    pub kind: String,
    /// The module's file.
    pub path: PathBuf,
    /// The name under which the backend registered, or the reason why it was not loaded.
    pub outcome: Result<String, String>,
}

/// The modules to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleSet {
    /// Modules that need no driver.
    WithoutDriver,
    /// Modules that need a driver.
    WithDriver,
}

/// Finds and loads modules, in the order described in the module documentation. Modules in a folder for which `refusal`
/// returns a reason are not loaded. Results of trying drivers are stored in `cache_dir`.
///
/// # Safety
/// Loading a library runs its code, so every searched folder must be trusted. No other function of the engine may be
/// called at the same time.
pub unsafe fn load(
    package_dirs: &[PathBuf],
    which: ModuleSet,
    refusal: impl Fn(&Path) -> Option<String>,
    cache_dir: &Path,
) -> Vec<Module> {
    if !cfg!(feature = "dynamic-backends") {
        return match which {
            ModuleSet::WithoutDriver => built_in::modules(),
            ModuleSet::WithDriver => Vec::new(),
        };
    }
    let allowed = allowed_kinds();
    let is_wanted = |kind: &String| {
        allowed.as_ref().is_none_or(|set| set.contains(kind))
            && needs_driver(kind) == (which == ModuleSet::WithDriver)
    };
    let mut provided = HashSet::new();
    let mut modules = Vec::new();
    let dirs = search_path(package_dirs);
    let probe = Probe::find(&dirs, cache_dir);
    for dir in &dirs {
        let refused = refusal(dir);
        for (kind, mut paths) in modules_in(dir) {
            if provided.contains(&kind) || !is_wanted(&kind) {
                continue;
            }
            if let Some(reason) = &refused {
                let refused =
                    |path| Module { kind: kind.clone(), path, outcome: Err(reason.clone()) };
                modules.extend(paths.into_iter().map(refused));
                continue;
            }
            if kind == "cpu" {
                // SAFETY: the caller guarantees that the folder is trusted.
                let (best, broken) = unsafe { best_scoring(paths) };
                modules.extend(broken);
                paths = best.into_iter().collect();
            }
            set_cache_folder(&kind, cache_dir);
            for path in paths {
                let tried = match &probe {
                    Some(probe) if needs_driver(&kind) => probe.run_probe(&path),
                    _ => Ok(()),
                };
                // SAFETY: as above.
                let outcome = tried.and_then(|()| unsafe { load_one(&path) });
                if outcome.is_ok() {
                    provided.insert(kind.clone());
                }
                modules.push(Module { kind: kind.clone(), path, outcome });
            }
        }
    }
    modules
}

/// Names our folder to a backend whose own cache of compiled kernels is shared by all users of the machine, unless the
/// user names one.
fn set_cache_folder(kind: &str, cache_dir: &Path) {
    let variable = backends::find(kind).and_then(|backend| backend.cache_variable.as_deref());
    if let Some(variable) = variable.filter(|variable| env::var_os(variable).is_none()) {
        // SAFETY: the C library serialises changes of the environment; a thread that reads it at this moment without
        // the library's lock is the risk that every program takes which changes its environment. This is done once,
        // before the module is loaded.
        unsafe { env::set_var(variable, cache_dir.join(kind)) };
    }
}

/// The folders that [`load`] searches, in order, without duplicates.
pub fn search_path(package_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let named = env::var_os("MULLAMA_BACKENDS").unwrap_or_default();
    let mut seen = HashSet::new();
    env::split_paths(&named)
        .filter(|dir| !dir.as_os_str().is_empty())
        .chain(package_dirs.iter().cloned())
        .chain(engine_dir())
        .chain(build_tree(engine_dir().as_deref()))
        .filter(|dir| dir.is_dir())
        .filter(|dir| seen.insert(fs::canonicalize(dir).unwrap_or_else(|_| dir.clone())))
        .collect()
}

/// The folders in the build tree for the engine and the requested backends. Only used by an engine that runs from
/// there: an installed one must not use the tree that it was built in.
fn build_tree(engine_in_use: Option<&Path>) -> Vec<PathBuf> {
    let engine = PathBuf::from(env!("MULLAMA_ENGINE_DIR"));
    let profile = engine.parent().and_then(|profile| fs::canonicalize(profile).ok());
    let (Some(profile), Some(in_use)) = (profile, engine_in_use) else { return Vec::new() };
    if !in_use.starts_with(profile) {
        return Vec::new();
    }
    let backends = engine.with_file_name("mullama-backends");
    let mut dirs: Vec<_> =
        fs::read_dir(backends).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    dirs.sort();
    dirs.insert(0, engine);
    dirs
}

/// The kinds that `MULLAMA_BACKEND` allows, plus `cpu`. None if all kinds are allowed.
pub fn allowed_kinds() -> Option<HashSet<String>> {
    let list = env::var("MULLAMA_BACKEND").ok().filter(|list| !list.trim().is_empty())?;
    let kinds = list.split(',').map(|kind| kind.trim().to_lowercase());
    Some(kinds.chain(["cpu".to_owned()]).collect())
}

/// The folder of the engine's libraries in this process.
#[cfg(unix)]
pub fn engine_dir() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;

    #[repr(C)]
    struct DlInfo {
        file_name: *const c_char,
        base: *mut std::ffi::c_void,
        symbol_name: *const c_char,
        symbol: *mut std::ffi::c_void,
    }
    unsafe extern "C" {
        fn dladdr(address: *const std::ffi::c_void, info: *mut DlInfo) -> c_int;
    }
    // SAFETY: `DlInfo` has the layout of `Dl_info`; the address is that of an engine function. The name is valid while
    // the library is loaded, which is as long as the process runs.
    let name = unsafe {
        let mut info: DlInfo = std::mem::zeroed();
        if dladdr(ggml_backend_load as *const std::ffi::c_void, &raw mut info) == 0 {
            return None;
        }
        CStr::from_ptr(info.file_name)
    };
    let path = fs::canonicalize(std::ffi::OsStr::from_bytes(name.to_bytes())).ok()?;
    path.parent().map(Path::to_path_buf)
}

/// The folder of the engine's libraries in this process.
#[cfg(windows)]
pub fn engine_dir() -> Option<PathBuf> {
    use std::ffi::{OsString, c_void};
    use std::os::windows::ffi::OsStringExt as _;

    const FROM_ADDRESS: u32 = 4;
    const UNCHANGED_REFCOUNT: u32 = 2;
    #[link(name = "kernel32")]
    unsafe extern "system" {
        fn GetModuleHandleExW(flags: u32, address: *const c_void, module: *mut *mut c_void) -> i32;
        fn GetModuleFileNameW(module: *mut c_void, name: *mut u16, size: u32) -> u32;
    }
    let mut module = std::ptr::null_mut();
    let mut name = vec![0; 32_768];
    // SAFETY: the address is that of an engine function, which is never unloaded; the buffer has the given length, the
    // maximum length of a path.
    let length = unsafe {
        let flags = FROM_ADDRESS | UNCHANGED_REFCOUNT;
        let address = ggml_backend_load as *const c_void;
        if GetModuleHandleExW(flags, address, &raw mut module) == 0 {
            return None;
        }
        GetModuleFileNameW(module, name.as_mut_ptr(), name.len() as u32)
    };
    let path = PathBuf::from(OsString::from_wide(&name[..length as usize]));
    path.parent().map(Path::to_path_buf)
}

/// The file name of the library that modules are linked against.
const ENGINE: &str = if cfg!(windows) {
    "ggml-base.dll"
} else if cfg!(target_os = "macos") {
    "libggml-base.0.dylib"
} else {
    "libggml-base.so.0"
};

/// Finds a program that is installed with the engine. Returns its path, and that of the library that modules are linked
/// against.
pub fn program(name: &str) -> Option<(PathBuf, PathBuf)> {
    program_in(&search_path(&[]), name)
}

/// The same, from the first of the given folders that contains both.
fn program_in(dirs: &[PathBuf], name: &str) -> Option<(PathBuf, PathBuf)> {
    let name = format!("{name}{}", env::consts::EXE_SUFFIX);
    let both = |dir: &PathBuf| (dir.join(&name), dir.join(ENGINE));
    dirs.iter().map(both).find(|(program, engine)| program.is_file() && engine.is_file())
}

/// The modules of one folder, by kind, sorted by name.
fn modules_in(dir: &Path) -> Vec<(String, Vec<PathBuf>)> {
    let mut by_kind = std::collections::BTreeMap::<String, Vec<PathBuf>>::new();
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if let Some(kind) = module_kind(&path) {
            by_kind.entry(kind).or_default().push(path);
        }
    }
    by_kind.into_iter().collect()
}

/// The kind of a module from its file name: `libggml-vulkan.so` is `vulkan`, `libggml-cpu-haswell.so` is `cpu`.
/// `libggml-base.so` is not a module but a part of the engine.
fn module_kind(path: &Path) -> Option<String> {
    // Modules also have the extension `.so` on macOS. Versioned names (`libggml-base.so.0`) are not modules.
    let extension = path.extension()?.to_str()?;
    if !matches!(extension, "so" | "dll" | "dylib") {
        return None;
    }
    let stem = path.file_stem()?.to_str()?;
    let module = stem.strip_prefix("lib").unwrap_or(stem);
    if let Some(backend) = backends::all().iter().find(|backend| backend.module == module) {
        return Some(backend.name.clone());
    }
    let kind = module.strip_prefix("ggml-")?.split('-').next()?;
    (kind != "base").then(|| kind.to_owned())
}

/// Returns the module with the highest score on this machine, and the modules that cannot be queried. Modules with
/// score 0 cannot run on it.
///
/// # Safety
/// As for [`load`].
unsafe fn best_scoring(paths: Vec<PathBuf>) -> (Option<PathBuf>, Vec<Module>) {
    let (mut scored, mut broken) = (Vec::new(), Vec::new());
    for path in paths {
        // SAFETY: ggml's modules export `int ggml_backend_score(void)`; the library stays loaded during the call.
        let score = unsafe { open(&path) }.and_then(|library| unsafe {
            let score = library.get::<extern "C" fn() -> c_int>(b"ggml_backend_score");
            score
                .map(|score| score())
                .map_err(|_| "it does not state which backend it is for".to_owned())
        });
        match score {
            Ok(score) if score > 0 => scored.push((score, path)),
            Ok(_) => {}
            Err(reason) => {
                broken.push(Module { kind: "cpu".to_owned(), path, outcome: Err(reason) });
            }
        }
    }
    (scored.into_iter().max_by_key(|(score, _)| *score).map(|(_, path)| path), broken)
}

/// Opens a library. The error is the reason why it cannot be opened.
///
/// # Safety
/// As for [`load`].
unsafe fn open(path: &Path) -> Result<Library, String> {
    check_whole(path)?;
    // SAFETY: the caller guarantees that the file is trusted.
    unsafe { Library::new(path) }.map_err(|error| {
        // The message of the system's loader is the source of libloading's error.
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })
}

/// Fails if the file is cut short.
fn check_whole(path: &Path) -> Result<(), String> {
    if cut_short(path).unwrap_or(false) {
        return Err("the file is incomplete; reinstall it".to_owned());
    }
    Ok(())
}

/// Whether an ELF library is shorter than its segments require. The loader would map the missing part, and the process
/// would be killed when it is accessed.
fn cut_short(path: &Path) -> io::Result<bool> {
    // `Elf64_Ehdr` and `Elf64_Phdr` of elf.h, for little-endian machines.
    const HEADER: usize = 64;
    const SEGMENT: usize = 56;
    let mut file = fs::File::open(path)?;
    let mut header = [0; HEADER];
    file.read_exact(&mut header)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(false);
    }
    let number = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
    };
    let count = usize::from(u16::from_le_bytes([header[56], header[57]]));
    let mut segments = vec![0; count * SEGMENT];
    file.seek(io::SeekFrom::Start(number(&header, 32)))?;
    if file.read_exact(&mut segments).is_err() {
        return Ok(true);
    }
    let ends = segments
        .chunks_exact(SEGMENT)
        .map(|segment| number(segment, 8).saturating_add(number(segment, 32)));
    Ok(ends.max().unwrap_or(0) > file.metadata()?.len())
}

/// # Safety
/// As for [`load`].
unsafe fn load_one(path: &Path) -> Result<String, String> {
    // Opened here first, because the engine only logs the reason for a failure.
    // SAFETY: the caller guarantees that the file is trusted.
    let library = unsafe { open(path) }?;
    // SAFETY: the symbol is looked up but not called.
    if unsafe { library.get::<extern "C" fn()>(b"ggml_backend_init") }.is_err() {
        return Err("not a backend module: it has no ggml_backend_init".to_owned());
    }
    let name = path.to_str().and_then(|text| CString::new(text).ok());
    let name = name.ok_or_else(|| "the path is not valid UTF-8".to_owned())?;
    // SAFETY: a NUL-terminated path; the result is null or a registration that lives as long as the process.
    let registration = unsafe { ggml_backend_load(name.as_ptr()) };
    if registration.is_null() {
        return Err(
            "it does not run on this machine (there is no driver, or no device, that it can use), \
                    or was built for another engine"
                .to_owned(),
        );
    }
    // SAFETY: as above; the name is a static string of the module.
    let registered: &CStr = unsafe { CStr::from_ptr(ggml_backend_reg_name(registration)) };
    Ok(registered.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Truncates a library of this process at several lengths: each file is rejected without being loaded.
    #[cfg(target_os = "linux")]
    #[test]
    fn truncated_libraries_are_detected() {
        let whole = engine_dir().unwrap().join("libggml-base.so.0");
        assert!(!cut_short(&whole).unwrap());
        let bytes = fs::read(whole).unwrap();
        let cut = env::temp_dir().join(format!("mullama-cut-{}.so", std::process::id()));
        for length in [64, 500, bytes.len() / 3, bytes.len() / 2] {
            fs::write(&cut, &bytes[..length]).unwrap();
            assert!(cut_short(&cut).unwrap(), "{length}");
            // SAFETY: the file is rejected before it is loaded.
            let error = unsafe { load_one(&cut) }.unwrap_err();
            assert!(error.contains("incomplete"), "{error}");
            // Nor is it tried in another process, where it would look like a driver that crashes.
            let error = Probe::for_tests().run_probe(&cut).unwrap_err();
            assert!(error.contains("incomplete"), "{error}");
        }
        fs::write(&cut, b"no library").unwrap();
        assert!(cut_short(&cut).is_err(), "that is for the loader to say");
        fs::remove_file(&cut).unwrap();
    }

    #[test]
    fn compiled_kernels_are_cached_in_our_folder() {
        let variable = "GGML_OPENCL_KERNEL_CACHE_DIR";
        let value = || env::var_os(variable);
        let before = value();
        // SAFETY: no other test reads or writes this variable.
        unsafe { env::remove_var(variable) };
        for kind in ["cpu", "vulkan"] {
            set_cache_folder(kind, Path::new("/cache"));
            assert_eq!(value(), None, "{kind}");
        }
        set_cache_folder("opencl", Path::new("/cache"));
        assert_eq!(value(), Some(Path::new("/cache").join("opencl").into()));
        set_cache_folder("opencl", Path::new("/other"));
        assert_eq!(value(), Some(Path::new("/cache").join("opencl").into()), "it was named");
        // SAFETY: as above.
        unsafe {
            match before {
                Some(before) => env::set_var(variable, before),
                None => env::remove_var(variable),
            }
        }
    }

    #[test]
    fn module_kinds_are_read_from_file_names() {
        let kind = |name: &str| module_kind(Path::new(name));
        assert_eq!(kind("libggml-cpu-haswell.so").as_deref(), Some("cpu"));
        assert_eq!(kind("/opt/x/libggml-vulkan.so").as_deref(), Some("vulkan"));
        assert_eq!(kind("ggml-cuda.dll").as_deref(), Some("cuda"));
        assert_eq!(kind("libggml-hip.so").as_deref(), Some("rocm"));
        assert_eq!(kind("libggml-base.so"), None);
        assert_eq!(kind("libggml-base.so.0"), None);
        assert_eq!(kind("libllama.so"), None);
        assert_eq!(kind("libggml.so"), None);
    }
}
