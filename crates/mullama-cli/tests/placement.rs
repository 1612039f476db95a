//! Placement from the command line.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Output, Stdio};

fn mullama(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mullama"))
        .args(arguments)
        .env("MULLAMA_BACKEND", "cpu,rpc")
        .env("MULLAMA_LOG", "debug")
        .output()
        .unwrap()
}

fn error(arguments: &[&str]) -> String {
    let output = mullama(arguments);
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_log_says_how_many_layers_are_on_gpus() {
    let output = mullama(&["run", "demo", "-ngl", "0", "--temperature", "0", "Hello"]);
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("offloaded 0/9 layers to GPU"), "{log}");
}

#[test]
fn invalid_placement_flags_are_named() {
    let run = |flags: &[&str]| error(&[&["run", "demo"], flags, &["Hello"]].concat());
    assert!(run(&["--device", "CUDA7"]).contains("there is no device CUDA7; the devices are CPU"));
    assert!(run(&["-ot", "(=CPU"]).contains("`(`"));
    assert!(run(&["-ot", "ffn"]).contains("PATTERN=DEVICE"));
    assert!(run(&["-ot", "ffn.*=CUDA7"]).contains("CUDA7"));
    assert!(run(&["-ts", "1,-1"]).contains("--tensor-split"));
    assert!(run(&["--rpc", "127.0.0.1:9"]).contains("127.0.0.1:9 cannot be used"));
    assert!(error(&["devices", "--rpc", "nowhere:x"]).contains("is not an address"));
    let log = mullama(&["run", "demo", "-ngl", "all", "--temperature", "0", "Hello"]).stderr;
    let log = String::from_utf8_lossy(&log);
    assert!(log.contains("there is no GPU that can be used: demo runs on the CPU"), "{log}");
    for name in ["CPU", "cpu", "Cpu", "none"] {
        let ok = mullama(&["run", "demo", "--device", name, "--temperature", "0", "Hello"]);
        let log = String::from_utf8_lossy(&ok.stderr);
        assert!(ok.status.success() && log.contains("offloaded 0/9 layers to GPU"), "{log}");
    }
    let ok =
        mullama(&["run", "demo", "-ot", "ffn_.*=CPU,attn_.*=CPU", "--temperature", "0", "Hello"]);
    assert!(ok.status.success(), "{}", String::from_utf8_lossy(&ok.stderr));
}

#[test]
fn rpc_server_warns_if_other_machines_can_connect() {
    let mut worker = Command::new(env!("CARGO_BIN_EXE_mullama"))
        .args(["rpc-server", "--host", "0.0.0.0", "--port", "27977", "--device", "CPU"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(worker.stderr.take().unwrap()).read_line(&mut line).unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(line.starts_with("warning: ") && line.contains("no authentication"), "{line}");
    let refused = error(&["rpc-server", "--device", "CUDA7"]);
    assert!(refused.contains("there is no device CUDA7"), "{refused}");
}
