//! Adds to the engine what its own crate leaves out: the C++ shim, backend modules, and one folder
//! that holds everything a program needs at run time.

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

/// The system that is built for, which need not be the one that is built on.
fn target_os() -> String {
    env::var("CARGO_CFG_TARGET_OS").expect("cargo sets it for build scripts")
}

/// A program of its own, for what may crash: one tries a module before it is loaded, another serves devices to other
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

/// The shim gives C linkage to the parts of llama.cpp that have only C++ interfaces.
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
        // The headers are llama.cpp's: their warnings are not ours to mend.
        .warnings(false)
        .compile("mullama_shim");
}

/// The library for pictures and sound, without what reads files of them: that is done in safe code. Nobody waits for
/// its own instructions, so it is optimised for size.
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

/// Links what the shim uses of llama.cpp's `common` into whoever uses this crate, in place of the shared library,
/// most of which is of llama.cpp's own programs: command lines, downloads, drafts. Where its objects are not found,
/// or elsewhere than on Linux, the shared library is used.
fn link_common(engine: &Engine) -> bool {
    let objects = engine.objects_of_common();
    if target_os() != "linux" || objects.is_empty() {
        return false;
    }
    cc::Build::new().cpp(true).objects(objects).compile("mullama_common");
    true
}

/// The shim repeats one definition that llama.cpp keeps to itself, to make templates of its own: it has to be
/// the same.
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
