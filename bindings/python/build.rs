//! Sets the library search path of the extension module to the folder `lib` next to it.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    pyo3_build_config::add_extension_module_link_args();
    let folder = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux") => "$ORIGIN/lib",
        Ok("macos") => "@loader_path/lib",
        _ => return,
    };
    println!("cargo:rustc-link-arg-cdylib=-Wl,-rpath,{folder}");
}
