//! Compares our kernels with the engine's and with double precision, in the best module for this machine
//! (`tests/kernels/compare.cpp`). `tests/kernels.sh` does so for every instruction set.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "dynamic-backends"))]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

const ENGINE: &str = env!("MULLAMA_ENGINE_DIR");

/// Compiles a program of `tests/kernels`.
fn compile(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let status = Command::new(compiler)
        .args(["-std=c++17", "-O2", "-pthread", "-o"])
        .arg(&program)
        .arg(format!("{}/tests/kernels/{name}.cpp", env!("CARGO_MANIFEST_DIR")))
        .args(["-I", concat!(env!("MULLAMA_ENGINE_SOURCES"), "/ggml/include")])
        .args(["libggml.so.0", "libggml-base.so.0"].map(|library| format!("{ENGINE}/{library}")))
        .arg(format!("-Wl,-rpath,{ENGINE}"))
        .status()
        .expect("the compiler that built the engine runs");
    assert!(status.success(), "{name}.cpp does not compile");
    program
}

#[test]
fn kernels_are_as_accurate_as_the_engine() {
    let output = Command::new(compile("compare")).args([ENGINE, "6"]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "some results are worse than the engine's");
    let has_avx2 = std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma")
        && std::arch::is_x86_feature_detected!("f16c");
    assert_eq!(text.contains("random shapes"), has_avx2, "kernels are there where AVX2 is");
}
