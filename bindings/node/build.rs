//! Makes the addon find the engine's libraries beside itself, wherever it is installed.

fn main() {
    napi_build::setup();
    // A library's own link arguments do not reach the final artefact, so each sets its own.
    let origin = match std::env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("macos") => "@loader_path",
        Ok("windows") => return,
        _ => "$ORIGIN",
    };
    println!("cargo::rustc-link-arg-cdylib=-Wl,-rpath,{origin}");
}
