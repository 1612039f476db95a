//! Sets the addon's library search path to its own folder, wherever it is installed, and the folder
//! for its TypeScript declarations.

use std::path::Path;
use std::{env, fs};

fn main() {
    napi_build::setup();
    declare();
    // A library's own link arguments do not reach the final artefact, so each sets its own.
    let origin = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path",
        Ok("windows") => return,
        _ => "$ORIGIN",
    };
    println!("cargo::rustc-link-arg-cdylib=-Wl,-rpath,{origin}");
}

/// Makes `#[napi]` write the declarations that `generate-types.mjs` reads, to
/// `target/release/addon-types/mullama-node`.
fn declare() {
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    // From `target/release/build/mullama-node-0123456789abcdef/out`.
    let profile = Path::new(&out).ancestors().nth(3).expect("it lies four folders deep");
    let folder = profile.join("addon-types");
    fs::create_dir_all(&folder).expect("the folder of what is built can be written to");
    println!("cargo::rustc-env=NAPI_TYPE_DEF_TMP_FOLDER={}", folder.display());
}
