//! Locations of the engine and its modules, for `lib/native.ts`.
#![allow(missing_docs, reason = "`lib` documents what a program sees")]

use std::fs;
use std::path::PathBuf;

use napi_derive::napi;

use crate::arguments::Text;

/// Adds the folders of packages with GPU backends.
#[napi(catch_unwind)]
pub fn add_backend_dirs(dirs: Vec<Text>) {
    for dir in dirs {
        mullama::add_backend_dir(dir);
    }
}

/// The folder of the engine that this process uses, if it is not the addon's own.
#[napi(catch_unwind)]
pub fn engine_elsewhere(own: Text) -> Option<String> {
    let engine = mullama::engine_dir()?;
    let own = fs::canonicalize(PathBuf::from(own)).ok()?;
    (engine != own).then(|| engine.to_string_lossy().into_owned())
}
