//! Backend modules: where they lie and how they are loaded.
//!
//! A backend (the CPU's too) is a loadable library beside the engine. [`load`] looks for modules,
//! in this order, in the folders of `MULLAMA_BACKENDS` (a path list), in the folders that the
//! program names (backend packages), in the folder of the engine's own libraries, and in the build
//! tree. A kind of backend that one folder provides is not looked for in the next, so that a
//! user's choice always comes first. Of the CPU's modules, each built for another instruction set,
//! the one that scores highest on this machine is taken.
//!
//! `MULLAMA_BACKEND` (a comma-separated list such as `cuda,vulkan`) restricts the kinds; the CPU
//! is always loaded, since the engine cannot run without it.
//!
//! A module that needs a driver is first tried in a process of its own, so that a driver which crashes or
//! hangs is a reason in the list and nothing worse. What went well is remembered until the module, the
//! choice of devices or the running system changes. `MULLAMA_PROBE` is the number of seconds that a driver
//! may take (30); 0 leaves the trial out.
//!
//! An engine that is a part of the program has its backends in it, and nothing is looked for.

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

/// Whether a kind of module needs more than the engine.
fn needs_driver(kind: &str) -> bool {
    kind != "cpu" && !backends::find(kind).is_some_and(|backend| backend.with_the_engine)
}

/// One module that was found, and what became of it.
#[derive(Debug, Clone)]
pub struct Module {
    /// The kind of backend: `cpu`, `cuda`, `vulkan`, ...
    pub kind: String,
    /// The file.
    pub path: PathBuf,
    /// The name under which the backend registered, or the reason why it did not.
    pub outcome: Result<String, String>,
}

/// Which modules to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that need nothing but the engine.
    WithoutDriver,
    /// Those that need a driver.
    WithDriver,
}

/// Finds and loads modules; see the module's documentation for the order. Those of a folder for which `refusal`
/// has a reason are not loaded. What it finds out is kept in `cache_dir`.
///
/// # Safety
/// Loading a library runs its code: every folder that is searched must be trusted. Must not run at
/// the same time as another call to the engine.
pub unsafe fn load(
    package_dirs: &[PathBuf],
    which: Which,
    refusal: impl Fn(&Path) -> Option<String>,
    cache_dir: &Path,
) -> Vec<Module> {
    if !cfg!(feature = "dynamic-backends") {
        return match which {
            Which::WithoutDriver => built_in::modules(),
            Which::WithDriver => Vec::new(),
        };
    }
    let allowed = allowed_kinds();
    let is_wanted = |kind: &String| {
        allowed.as_ref().is_none_or(|set| set.contains(kind))
            && needs_driver(kind) == (which == Which::WithDriver)
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
                // SAFETY: the caller vouches for the folder.
                let (best, broken) = unsafe { best_scoring(paths) };
                modules.extend(broken);
                paths = best.into_iter().collect();
            }
            for path in paths {
                let tried = match &probe {
                    Some(probe) if needs_driver(&kind) => probe.try_out(&path),
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

/// The folders that [`load`] looks in, in order, without repetition.
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

/// Where the build of this crate put the engine, and the backends that it was asked for. Only for an
/// engine that runs from there: one that has been installed does not look into the tree that it once
/// came from.
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

/// The kinds that `MULLAMA_BACKEND` allows, the CPU among them; `None` where any may be loaded.
pub fn allowed_kinds() -> Option<HashSet<String>> {
    let list = env::var("MULLAMA_BACKEND").ok().filter(|list| !list.trim().is_empty())?;
    let kinds = list.split(',').map(|kind| kind.trim().to_lowercase());
    Some(kinds.chain(["cpu".to_owned()]).collect())
}

/// The folder of the engine's own libraries in this process.
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
    // SAFETY: `DlInfo` is POSIX's `Dl_info`; the address is that of a function of the engine, and
    // the name stays valid while the library is loaded, which it is for good.
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

/// The folder of the engine's own libraries in this process.
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
    // SAFETY: the address is that of a function of the engine, which stays loaded; the buffer is as long as
    // is said, which is the longest that a path can be.
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

/// The file name of the library that modules are linked to.
const ENGINE: &str = if cfg!(windows) {
    "ggml-base.dll"
} else if cfg!(target_os = "macos") {
    "libggml-base.0.dylib"
} else {
    "libggml-base.so.0"
};

/// A program that lies with the engine, and the library of the engine that modules are linked to.
pub fn program(name: &str) -> Option<(PathBuf, PathBuf)> {
    program_in(&search_path(&[]), name)
}

/// The same, from the first of these folders that has both.
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

/// `libggml-vulkan.so` is a module of kind `vulkan`, `libggml-cpu-haswell.so` one of kind `cpu`;
/// `libggml-base.so` is a part of the engine.
fn module_kind(path: &Path) -> Option<String> {
    // A module is called `.so` on macOS too; versioned names (`libggml-base.so.0`) are no modules.
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

/// The module that reports the highest score on this machine, of those that do not score 0, which cannot run
/// on it; and those that cannot be asked.
///
/// # Safety
/// As for [`load`].
unsafe fn best_scoring(paths: Vec<PathBuf>) -> (Option<PathBuf>, Vec<Module>) {
    let (mut scored, mut broken) = (Vec::new(), Vec::new());
    for path in paths {
        // SAFETY: ggml's modules export `int ggml_backend_score(void)`; the library stays loaded for the
        // duration of the call.
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

/// Opens a library, or says why it cannot be.
///
/// # Safety
/// As for [`load`].
unsafe fn open(path: &Path) -> Result<Library, String> {
    if cut_short(path).unwrap_or(false) {
        return Err("the file is incomplete; reinstall it".to_owned());
    }
    // SAFETY: the caller vouches for the file.
    unsafe { Library::new(path) }.map_err(|error| {
        // What the loader says is below libloading's own words.
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })
}

/// Whether a library in the ELF format has less than its segments take: the loader maps what is not there, and
/// the process ends when that is touched.
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
    // Opened here first because the engine reports a failure to its log only.
    // SAFETY: the caller vouches for the file.
    let library = unsafe { open(path) }?;
    // SAFETY: only the address is looked at.
    if unsafe { library.get::<extern "C" fn()>(b"ggml_backend_init") }.is_err() {
        return Err("not a backend module: it has no ggml_backend_init".to_owned());
    }
    let name = path.to_str().and_then(|text| CString::new(text).ok());
    let name = name.ok_or_else(|| "the path is not valid UTF-8".to_owned())?;
    // SAFETY: a NUL-terminated path; what comes back is null or a registration that lives for good.
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

    /// A library of this process, cut at many places: each is told, and nothing is loaded.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_library_that_is_cut_short_is_told() {
        let whole = engine_dir().unwrap().join("libggml-base.so.0");
        assert!(!cut_short(&whole).unwrap());
        let bytes = fs::read(whole).unwrap();
        let cut = env::temp_dir().join(format!("mullama-cut-{}.so", std::process::id()));
        for length in [64, 500, bytes.len() / 3, bytes.len() / 2] {
            fs::write(&cut, &bytes[..length]).unwrap();
            assert!(cut_short(&cut).unwrap(), "{length}");
            // SAFETY: it is refused.
            let error = unsafe { load_one(&cut) }.unwrap_err();
            assert!(error.contains("incomplete"), "{error}");
        }
        fs::write(&cut, b"no library").unwrap();
        assert!(cut_short(&cut).is_err(), "that is for the loader to say");
        fs::remove_file(&cut).unwrap();
    }

    #[test]
    fn kinds_are_read_from_file_names() {
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
