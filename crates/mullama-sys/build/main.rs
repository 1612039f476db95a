//! Builds what the engine's crate does not: the C++ shim, backend modules, and a folder with everything that a program
//! needs at run time.

mod cpu_modules;
mod engine;
mod modules;
mod phrases;
mod tables;

use std::env;
use std::path::PathBuf;

use engine::Engine;

fn main() {
    let engine = Engine::locate();
    phrases::check(&engine);
    tables::write(&engine);
    build_shim(&engine);
    build_media(&engine);
    if !cfg!(feature = "dynamic-backends") {
        modules::refuse_requested();
        engine.is_in_program();
        return;
    }
    let is_common_inside = link_common(&engine);
    let programs = ["probe", "worker"].map(|name| build_program(&engine, name));
    let modules = modules::build_requested(&engine);
    engine.stage(&modules, &programs, is_common_inside);
}

/// The target operating system.
fn target_os() -> String {
    env::var("CARGO_CFG_TARGET_OS").expect("cargo sets it for build scripts")
}

/// Builds a program for operations that may crash: trying a module before it is loaded, or serving devices to other
/// machines.
fn build_program(engine: &Engine, name: &str) -> PathBuf {
    let suffix = if target_os() == "windows" { ".exe" } else { "" };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"))
        .join(format!("mullama-{name}{suffix}"));
    let compiler = cc::Build::new().cpp(true).std("c++17").warnings(false).get_compiler();
    let mut command = compiler.to_command();
    for dir in ["ggml/include", "ggml/src"] {
        command.arg("-I").arg(engine.sources.join(dir));
    }
    command.arg(format!("shim/{name}.cpp"));
    if compiler.is_like_msvc() {
        command.arg(format!("/Fe:{}", out.display())).current_dir(env::current_dir().unwrap());
    } else {
        command.arg("-o").arg(&out);
        if target_os() == "linux" {
            command.args(["-ldl", "-pthread"]);
        }
    }
    let status = command.status().expect("the compiler that built the engine runs");
    assert!(status.success(), "the program mullama-{name} does not compile");
    out
}

/// Compiles the shim, which exports C++-only parts of llama.cpp with C linkage.
fn build_shim(engine: &Engine) {
    println!("cargo:rerun-if-changed=shim");
    check_template_layout(engine);
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files([
            "shim/mullama_shim.cpp",
            "shim/grammar.cpp",
            "shim/simulated.cpp",
            "shim/header.cpp",
            "shim/kernels.cpp",
            "shim/template.cpp",
            "shim/media.cpp",
        ])
        .includes(
            ["common", "include", "ggml/include", "ggml/src", "src", "tools/mtmd", "vendor"]
                .map(|dir| engine.sources.join(dir)),
        )
        // The warnings are from llama.cpp's headers.
        .warnings(false)
        .compile("mullama_shim");
}

/// Compiles the library for pictures and sound, without the parts that read files, since safe code does that. Its own
/// code is not performance-critical, so it is optimised for size.
fn build_media(engine: &Engine) {
    let folder = engine.sources.join("tools/mtmd");
    let models = std::fs::read_dir(folder.join("models"))
        .unwrap_or_else(|error| panic!("cannot list the models of mtmd: {error}"))
        .map(|entry| entry.expect("a folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cpp"));
    let own = ["mtmd.cpp", "mtmd-audio.cpp", "mtmd-image.cpp", "clip.cpp"];
    let mut files: Vec<PathBuf> =
        own.map(|file| folder.join(file)).into_iter().chain(models).collect();
    files.sort();
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(files)
        .include(&folder)
        .includes(["include", "ggml/include", "vendor"].map(|dir| engine.sources.join(dir)))
        .flag_if_supported("-ffunction-sections")
        .flag_if_supported("-fdata-sections")
        .opt_level_str("s")
        .warnings(false)
        .compile("mullama_media");
}

/// Links the parts of llama.cpp's `common` that the shim uses into dependents of this crate, in place of the shared
/// library, which mostly consists of code for llama.cpp's own programs: command lines, downloads, drafts. Returns
/// false, for using the shared library, if its objects are not found, or on systems other than Linux.
fn link_common(engine: &Engine) -> bool {
    let objects = engine.objects_of_common();
    if target_os() != "linux" || objects.is_empty() {
        return false;
    }
    cc::Build::new().cpp(true).objects(objects).compile("mullama_common");
    true
}

/// Checks that a private definition of llama.cpp equals its copy in the shim, which is needed to create templates.
fn check_template_layout(engine: &Engine) {
    let squeezed = |path: PathBuf| -> String {
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        code.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
    };
    let shim = squeezed(PathBuf::from("shim/mullama_shim.cpp"));
    let start = shim.find("struct common_chat_templates {").expect("the shim has the definition");
    let end = shim[start..].find("};").expect("it ends") + start;
    assert!(
        squeezed(engine.sources.join("common/chat.cpp")).contains(&shim[start..end]),
        "llama.cpp has changed `common_chat_templates`: repeat it in shim/mullama_shim.cpp"
    );
}
