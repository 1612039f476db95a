//! Lets the command find the engine's libraries: in its own folder, or in the `lib` folder of its
//! archive.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    let origin = match os.as_str() {
        "windows" => return,
        "macos" => "@loader_path",
        _ => "$ORIGIN",
    };
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{origin}");
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{origin}/../lib/mullama");
}
