//! Locates the build of the engine's crate, and installs its run-time files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::cpu_modules;
use crate::modules::BuiltModule;
use crate::target_os;

/// ggml's build options for x86-64 instruction sets, with rustc's names for them.
const INSTRUCTIONS: [(&str, &str); 10] = [
    ("GGML_SSE42", "sse4.2"),
    ("GGML_AVX", "avx"),
    ("GGML_AVX2", "avx2"),
    ("GGML_BMI2", "bmi2"),
    ("GGML_FMA", "fma"),
    ("GGML_F16C", "f16c"),
    ("GGML_AVX512", "avx512f"),
    ("GGML_AVX512_VBMI", "avx512vbmi"),
    ("GGML_AVX512_VNNI", "avx512vnni"),
    ("GGML_AVX512_BF16", "avx512bf16"),
];

/// The engine as built by its own crate.
pub struct Engine {
    /// llama.cpp's sources, as packaged.
    pub sources: PathBuf,
    /// The contents of CMake's cache.
    cache: String,
    /// The folder of the run-time libraries.
    libraries: PathBuf,
}

impl Engine {
    /// Locates the engine by the metadata that `llama-cpp-sys-2` passes to its direct dependents.
    pub fn locate() -> Self {
        let cmake_dir = PathBuf::from(metadata("DEP_LLAMA_GGML_CMAKE_DIR"));
        let libraries = cmake_dir.parent().expect("the CMake folder lies in the library folder");
        let out_dir = libraries.parent().expect("the library folder lies in OUT_DIR");
        let cache = out_dir.join("build/CMakeCache.txt");
        let cache_text = fs::read_to_string(&cache)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", cache.display()));
        let sources = cache_text
            .lines()
            .find_map(|line| line.strip_prefix("CMAKE_HOME_DIRECTORY:INTERNAL="))
            .unwrap_or_else(|| panic!("{} names no CMAKE_HOME_DIRECTORY", cache.display()));
        // On Windows, run-time libraries are in `bin`; elsewhere, they are next to the link-time files.
        let run_time =
            if target_os() == "windows" { out_dir.join("bin") } else { libraries.to_path_buf() };
        Engine { sources: PathBuf::from(sources), cache: cache_text, libraries: run_time }
    }

    /// Whether a CMake option was on in the engine's build.
    pub fn is_on(&self, switch: &str) -> bool {
        self.cache.contains(&format!("{switch}:BOOL=ON"))
    }

    /// Passes the instruction sets that a linked-in engine needs to the crate, so that it refuses to run on CPUs
    /// without them.
    pub fn is_in_program(&self) {
        // `-C target-cpu=native` sets this option, and rustc lists the CPU's features.
        let native = self.is_on("GGML_NATIVE");
        let features = env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
        let has = |name: &str| features.split(',').any(|feature| feature == name);
        let needed: Vec<_> = INSTRUCTIONS
            .iter()
            .filter(|(switch, name)| if native { has(name) } else { self.is_on(switch) })
            .map(|(_, name)| *name)
            .collect();
        println!("cargo:rustc-env=MULLAMA_ENGINE_INSTRUCTIONS={}", needed.join(","));
        // There is no such folder, and nothing is searched for.
        println!("cargo:rustc-env=MULLAMA_ENGINE_DIR=");
    }

    /// Copies all run-time files to `target/<profile>/mullama-engine` (GPU backends to folders in `mullama-backends`).
    /// Shared libraries are also copied to the folders of programs, under the names that the loader searches for.
    ///
    /// The second part fixes a problem of the engine's crate: it hard-links the link-time names (`libllama.so`), which
    /// are symbolic links to missing files (`libllama.so.0`). Programs then do not start outside `cargo run`, and the
    /// crate's next build panics because a dangling link "does not exist" but cannot be created. Copying the versioned
    /// files solves both.
    ///
    /// `common` is omitted if nothing is linked against it.
    pub fn stage(&self, built_modules: &[BuiltModule], programs: &[PathBuf], without_common: bool) {
        let profile_dir = profile_dir();
        let staged = profile_dir.join("mullama-engine");
        fs::create_dir_all(&staged).expect("the target folder is writable");

        for (name, file) in self.shared_libraries() {
            for dir in
                [&staged, &profile_dir, &profile_dir.join("deps"), &profile_dir.join("examples")]
            {
                if dir.is_dir() {
                    place(&file, &dir.join(&name));
                }
            }
        }
        if without_common {
            for file in files_in(&staged).iter().filter(|file| is_common(file)) {
                fs::remove_file(file).expect("the target folder is writable");
            }
        }
        for program in programs {
            place(program, &staged.join(program.file_name().expect("a program is a file")));
        }
        for left_out in files_in(&staged).iter().filter(|file| cpu_modules::is_left_out(file)) {
            fs::remove_file(left_out).expect("the target folder is writable");
        }
        for module in cpu_modules::needed_modules(self) {
            place(&module, &staged.join(module.file_name().expect("a module is a file")));
        }
        for module in built_modules {
            // Modules that every package contains are installed with the engine. Other backends have their own packages
            // and folders.
            let dir = if module.with_the_engine {
                staged.clone()
            } else {
                profile_dir.join("mullama-backends").join(&module.name)
            };
            fs::create_dir_all(&dir).expect("the target folder is writable");
            place(&module.file, &dir.join(module.file.file_name().expect("a module is a file")));
        }
        println!("cargo:rustc-env=MULLAMA_ENGINE_DIR={}", staged.display());
        // For tests.
        println!("cargo:rustc-env=MULLAMA_ENGINE_SOURCES={}", self.sources.display());
        // Each CPU module determines at run time whether it can run.
        println!("cargo:rustc-env=MULLAMA_ENGINE_INSTRUCTIONS=");
    }

    /// The folder in which CMake built the engine.
    pub fn build_folder(&self) -> PathBuf {
        self.libraries.with_file_name("build")
    }

    /// The object files of llama.cpp's `common`; none if CMake stores them elsewhere.
    pub fn objects_of_common(&self) -> Vec<PathBuf> {
        let built = self.build_folder().join("common/CMakeFiles");
        let mut folders = vec![built];
        let mut objects = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "o") {
                    objects.push(path);
                }
            }
        }
        objects.sort();
        objects
    }

    /// The shared libraries, as pairs of the name that the loader searches for and the file.
    fn shared_libraries(&self) -> Vec<(String, PathBuf)> {
        files_in(&self.libraries)
            .into_iter()
            .filter(|path| is_shared_library(path))
            .filter_map(|path| {
                // `libllama.so -> libllama.so.0 -> libllama.so.0.6.0`: the target of the first link is the SONAME. A
                // library that is not a link (on Windows) is searched for by its own name.
                let name = match fs::read_link(&path) {
                    Ok(target) => target.file_name()?.to_owned(),
                    Err(_) => path.file_name()?.to_owned(),
                };
                Some((name.to_str()?.to_owned(), fs::canonicalize(&path).ok()?))
            })
            .collect()
    }
}

/// The ggml target that a module's file is named after.
pub fn target_of(module: &Path) -> &str {
    let stem = module.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    stem.strip_prefix("lib").unwrap_or(stem)
}

/// The modules that the engine's crate built.
pub fn own_modules() -> Vec<PathBuf> {
    files_in(Path::new(&metadata("DEP_LLAMA_BACKENDS_DIR")))
}

/// Whether a file is llama.cpp's `common` as a shared library.
fn is_common(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libllama-common."))
}

fn is_shared_library(path: &Path) -> bool {
    let shared = match &*target_os() {
        "windows" => "dll",
        "macos" => "dylib",
        _ => "so",
    };
    path.extension().is_some_and(|extension| extension == shared)
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(dir).unwrap_or_else(|error| panic!("cannot list {}: {error}", dir.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| !path.is_dir());
    files.sort();
    files
}

/// Copies to a temporary file that is then renamed, so that processes that have mapped the old file are not affected.
fn place(from: &Path, to: &Path) {
    let same = |a: fs::Metadata, b: fs::Metadata| {
        a.len() == b.len() && matches!((a.modified(), b.modified()), (Ok(a), Ok(b)) if a <= b)
    };
    if let (Ok(source), Ok(target)) = (fs::metadata(from), fs::metadata(to))
        && same(source, target)
    {
        return;
    }
    let partial = to.with_extension(format!("partial-{}", std::process::id()));
    fs::copy(from, &partial).and_then(|_| fs::rename(&partial, to)).unwrap_or_else(|error| {
        panic!("cannot place {} at {}: {error}", from.display(), to.display())
    });
}

/// `target/<profile>`: `OUT_DIR` is `target/<profile>/build/<package>/out`.
fn profile_dir() -> PathBuf {
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    out_dir.ancestors().nth(3).expect("OUT_DIR lies in target/<profile>").to_path_buf()
}

fn metadata(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: llama-cpp-sys-2 is not the version that this crate asks for")
    })
}
