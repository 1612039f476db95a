//! The bare engine's behaviour for each broken file is the recorded one.

#![cfg(unix)] // Asks for the signal that ended a process.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs, thread};

use mullama_testkit::broken::{self, Broken};
use mullama_testkit::fixture;
use mullama_testkit::probe::{Stage, Verdict};

#[test]
fn engine_verdicts_match_the_records() {
    let good = fs::read(fixture("tiny")).unwrap();
    assert_eq!(verdict(&fixture("tiny")), Verdict::Accepts.to_string());

    let dir = env::temp_dir().join(format!("mullama-broken-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let variants: Vec<_> = broken::variants(&good)
        .unwrap()
        .filter(|broken| broken.engine != Verdict::ExhaustsMemory)
        .collect();
    let check = |broken: &Broken| {
        let path = dir.join(broken.name);
        fs::write(&path, &broken.bytes).unwrap();
        let (expected, found) = (broken.engine.to_string(), verdict(&path));
        (found != expected).then(|| format!("{}: {found}, not {expected}", broken.name))
    };
    let halves = variants.split_at(variants.len() / 2);
    let wrong: Vec<String> = thread::scope(|scope| {
        let first = scope.spawn(|| halves.0.iter().filter_map(check).collect::<Vec<_>>());
        let second: Vec<_> = halves.1.iter().filter_map(check).collect();
        first.join().unwrap().into_iter().chain(second).collect()
    });
    fs::remove_dir_all(&dir).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Probes a file in a separate process, which may crash.
fn verdict(path: &Path) -> String {
    let program = env!("CARGO_BIN_EXE_mullama-testkit");
    let output = Command::new(program)
        .arg("probe")
        .arg(path)
        .env("GGML_NO_BACKTRACE", "1")
        // The recorded results are those of the engine's kernels. For NaN values, ours return different ones.
        .env("MULLAMA_KERNELS", "engine")
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let last = printed.lines().last().unwrap_or_default();
    if output.status.signal().is_none() {
        return last.to_owned();
    }
    let stage = Stage::ALL.into_iter().find(|stage| stage.to_string() == last);
    Verdict::Dies(stage.expect("a stage is announced")).to_string()
}
