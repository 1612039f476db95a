//! Backend modules that cannot be used: each is listed with a reason, and the CPU still works.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of modules, deleted at the end of the test.
struct Modules(PathBuf);

impl Modules {
    fn new(name: &str) -> Self {
        let dir =
            std::env::temp_dir().join(format!("mullama-modules-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    /// Compiles a module of this kind. Returns false if no compiler is available.
    fn compile(&self, kind: &str, source: &str) -> bool {
        let file = self.0.join(format!("{kind}.c"));
        fs::write(&file, source).unwrap();
        let module = self.0.join(format!("libggml-{kind}.so"));
        let compiled =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(module).arg(file).status();
        compiled.is_ok_and(|status| status.success())
    }

    fn mullama(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mullama"))
            .args(arguments)
            .env("MULLAMA_BACKENDS", &self.0)
            .env("MULLAMA_PROBE", "2")
            .env("XDG_CACHE_HOME", self.0.join("cache"))
            .output()
            .unwrap()
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn modules_that_cannot_be_used_are_listed_with_the_reason() {
    let modules = Modules::new("bad");
    let registration = |version: &str| {
        format!(
            "struct registration {{ int api_version; void * rest[8]; }};\n\
             static struct registration it = {{ {version}, {{ 0 }} }};\n\
             void * ggml_backend_init(void) {{ return &it; }}\n"
        )
    };
    let sources = [
        ("crashing", "#include <stdlib.h>\nvoid * ggml_backend_init(void) { abort(); }".to_owned()),
        (
            "faulty",
            "void * ggml_backend_init(void) { *(volatile int *)8 = 1; return 0; }".to_owned(),
        ),
        (
            "hanging",
            "#include <unistd.h>\nvoid * ggml_backend_init(void) { for (;;) pause(); }".to_owned(),
        ),
        ("other", registration("9999")),
        ("driverless", "void * ggml_backend_init(void) { return 0; }".to_owned()),
        ("empty", "int nothing;".to_owned()),
        (
            "unlinked",
            "extern int no_such_driver(void);\n\
            void * ggml_backend_init(void) { return (void *)(long)no_such_driver(); }"
                .to_owned(),
        ),
    ];
    for (kind, source) in &sources {
        if !modules.compile(kind, source) {
            mullama_testkit::skip("no C compiler");
            return;
        }
    }
    fs::write(modules.0.join("libggml-text.so"), "this is no library").unwrap();

    let listed = modules.mullama(&["devices", "--json"]);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let reason = |kind: &str| {
        let backends = listed["backends"].as_array().unwrap();
        let backend = backends.iter().find(|backend| backend["name"] == kind);
        let backend = backend.unwrap_or_else(|| panic!("{kind} is not listed: {listed:#}"));
        assert_eq!(backend["loaded"], false, "{kind}");
        assert!(Path::new(backend["path"].as_str().unwrap()).starts_with(&modules.0));
        backend["reason"].as_str().unwrap().to_owned()
    };
    assert!(reason("crashing").contains("crashed"), "{}", reason("crashing"));
    assert!(reason("faulty").contains("crashed"), "{}", reason("faulty"));
    assert!(reason("hanging").contains("did not answer within 2 s"), "{}", reason("hanging"));
    assert!(reason("other").contains("another engine"), "{}", reason("other"));
    assert!(
        reason("driverless").contains("does not run on this machine"),
        "{}",
        reason("driverless")
    );
    assert!(reason("empty").contains("no ggml_backend_init"), "{}", reason("empty"));
    assert!(reason("unlinked").contains("no_such_driver"), "{}", reason("unlinked"));
    assert!(reason("text").contains("libggml-text.so"), "{}", reason("text"));
    assert!(listed["devices"].as_array().unwrap().iter().any(|device| device["name"] == "CPU"));

    let table = text(&modules.mullama(&["devices"]).stdout);
    assert!(table.contains("Not loaded:") && table.contains("crashed"), "{table}");

    let answer =
        modules.mullama(&["run", "demo", "--temperature", "0", "What is the capital of France?"]);
    let said = text(&answer.stderr);
    assert_eq!(text(&answer.stdout), "The capital of France is Paris.\n", "{said}");
}

#[test]
fn cpu_kernels_are_listed_and_can_be_disabled() {
    let mullama = |kernels: Option<&str>, arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mullama"));
        command.args(arguments).env_remove("MULLAMA_KERNELS");
        if let Some(kernels) = kernels {
            command.env("MULLAMA_KERNELS", kernels);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    if std::arch::is_x86_feature_detected!("avx2") {
        let usual = mullama(None, &["devices"]);
        assert!(usual.contains("\nKernels of CPU: mullama's, with AVX"), "{usual}");
        let switched = mullama(Some("engine"), &["devices"]);
        assert!(
            switched.contains("Kernels of CPU: the engine's: by MULLAMA_KERNELS"),
            "{switched}"
        );
    }
    for kernels in ["own", "engine"] {
        let answer = mullama(
            Some(kernels),
            &["run", "demo", "--temperature", "0", "What is the capital of France?"],
        );
        assert_eq!(answer, "The capital of France is Paris.\n", "{kernels}");
    }
    let answer = |kernels: Option<&str>, option: &[&str]| {
        let prompt = ["--temperature", "0", "What is the capital of France?"];
        mullama(kernels, &[&["run", "demo"], option, &prompt].concat())
    };
    for option in [&["--cpu-kernels", "engine"][..], &["--no-repack"]] {
        assert_eq!(answer(None, option), "The capital of France is Paris.\n", "{option:?}");
    }
}

#[test]
fn modules_can_be_left_out() {
    let modules = Modules::new("filtered");
    fs::write(modules.0.join("libggml-text.so"), "this is no library").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mullama"))
        .args(["devices", "--json"])
        .env("MULLAMA_BACKENDS", &modules.0)
        .env("MULLAMA_BACKEND", "cpu")
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let backends = listed["backends"].as_array().unwrap();
    assert!(backends.iter().all(|backend| backend["name"] == "cpu"), "{listed:#}");
}

#[test]
fn plans_for_described_devices_load_no_gpu_modules() {
    let modules = Modules::new("described");
    fs::write(modules.0.join("libggml-text.so"), "this is no library").unwrap();
    let complaint = |devices: &[&str]| {
        let output = modules.mullama(&[&["plan", "demo"], devices].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stderr)
    };
    assert!(complaint(&[]).contains("libggml-text.so"), "this machine's devices are asked for");
    let compared = complaint(&["--compare", "24GiB", "CPU"]);
    assert!(compared.contains("libggml-text.so"), "one of them may be here");
    assert_eq!(complaint(&["--compare", "24GiB", "RTX 4090 + 24GiB"]), "");
    assert_eq!(complaint(&["--device", "24GiB", "--device", "2x RTX 4090"]), "");
    for flag in ["--tensors", "--template"] {
        let shown = modules.mullama(&["show", "demo", flag]);
        assert!(shown.status.success());
        assert_eq!(text(&shown.stderr), "", "a header is read without the engine");
    }
}
