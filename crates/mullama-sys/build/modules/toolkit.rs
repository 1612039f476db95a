//! The requirements for building a backend, and what to install if they are missing.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::exit;

use serde::Deserialize;

use crate::target_os;

/// The folders of headers that package managers install.
const INCLUDES: [&str; 3] = ["/usr/include", "/usr/local/include", "/opt/homebrew/include"];

/// Requirements in addition to a C++ compiler and CMake.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Toolkit {
    /// The only operating system on which the backend exists.
    only_on: Option<RequiredSystem>,
    /// Environment variables that name the toolkit's folder.
    folders_from: Vec<String>,
    /// The usual folders of the toolkit.
    folders: Vec<PathBuf>,
    program: Option<Program>,
    header: Option<Header>,
    /// Installation instructions by host operating system.
    install: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequiredSystem {
    os: String,
    missing: String,
}

/// A required program in the toolkit's `bin` or on the path.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Program {
    name: String,
    /// An environment variable that names the program itself.
    path_from: Option<String>,
    missing: String,
}

/// A required header in the toolkit's `include` or in a system folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    /// An environment variable that names its folder.
    folder_from: Option<String>,
    /// The operating system that includes it.
    part_of: Option<String>,
    missing: String,
    /// A text that sufficiently new versions of the header contain.
    contains: Option<String>,
    too_old: Option<String>,
}

impl Toolkit {
    /// Fails the build with a single clear error if the toolkit of a backend is missing.
    pub fn require(&self, backend: &str, variable: &str) {
        if let Err(missing) = self.check() {
            fail(&format!(
                "the {backend} backend was asked for ({variable}, or the Cargo feature `{backend}`), and \
                 {missing}. {}",
                self.advice()
            ));
        }
    }

    /// Runs a build. If it panics, prints what may be missing and exits.
    pub fn explain_failure<T>(&self, backend: &str, build: impl FnOnce() -> T) -> T {
        catch_unwind(AssertUnwindSafe(build)).unwrap_or_else(|_| {
            fail(&format!(
                "the {backend} backend does not build; CMake's own words are above. {}",
                self.advice()
            ))
        })
    }

    /// Fails with the missing requirement.
    fn check(&self) -> Result<(), &str> {
        if let Some(only) = &self.only_on
            && only.os != target_os()
        {
            return Err(&only.missing);
        }
        let named = self.folders_from.iter().filter_map(|variable| path_from(variable));
        let roots: Vec<_> = named.chain(self.folders.iter().cloned()).collect();
        if let Some(program) = &self.program
            && !program.is_there(&roots)
        {
            return Err(&program.missing);
        }
        self.header.as_ref().map_or(Ok(()), |header| header.check(&roots))
    }

    fn advice(&self) -> &str {
        match self.install.get(env::consts::OS) {
            Some(advice) => advice,
            None if self.install.is_empty() => "It needs nothing but a C++ compiler and CMake",
            None => "It cannot be built on this platform",
        }
    }
}

impl Program {
    fn is_there(&self, roots: &[PathBuf]) -> bool {
        if self.path_from.as_deref().and_then(path_from).is_some_and(|path| path.is_file()) {
            return true;
        }
        // Only registered if needed, since some tools that build packages change it for every build.
        println!("cargo:rerun-if-env-changed=PATH");
        let path = env::var_os("PATH").unwrap_or_default();
        let file = format!("{}{}", self.name, env::consts::EXE_SUFFIX);
        let mut dirs = roots.iter().map(|root| root.join("bin")).chain(env::split_paths(&path));
        dirs.any(|dir| dir.join(&file).is_file())
    }
}

impl Header {
    fn check(&self, roots: &[PathBuf]) -> Result<(), &str> {
        if self.part_of.as_ref().is_some_and(|os| *os == target_os()) {
            return Ok(());
        }
        let named = self.folder_from.as_deref().and_then(path_from);
        let includes = named
            .into_iter()
            .chain(roots.iter().map(|root| root.join("include")))
            .chain(INCLUDES.map(PathBuf::from));
        let text = includes.map(|dir| dir.join(&self.name)).find_map(|file| fs::read(file).ok());
        let text = text.ok_or(&*self.missing)?;
        match &self.contains {
            Some(needed) if !String::from_utf8_lossy(&text).contains(needed) => {
                Err(self.too_old.as_ref().unwrap_or(&self.missing))
            }
            _ => Ok(()),
        }
    }
}

/// The path in an environment variable, which is also registered with Cargo.
fn path_from(variable: &str) -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed={variable}");
    env::var_os(variable).map(PathBuf::from)
}

fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(1);
}
