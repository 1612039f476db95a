//! Adds to the engine what its own crate leaves out: the C++ shim, backend modules, and one folder
//! that holds everything a program needs at run time.

mod engine;
mod modules;

use engine::Engine;

fn main() {
    let engine = Engine::locate();
    build_shim(&engine);
    let modules = modules::build_requested(&engine);
    engine.stage(&modules);
}

/// The shim gives C linkage to the parts of llama.cpp that have only C++ interfaces.
fn build_shim(engine: &Engine) {
    println!("cargo:rerun-if-changed=shim");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("shim/mullama_shim.cpp")
        .includes(
            ["common", "include", "ggml/include", "src", "vendor"]
                .map(|dir| engine.sources.join(dir)),
        )
        // The headers are llama.cpp's: their warnings are not ours to mend.
        .warnings(false)
        .compile("mullama_shim");
}
