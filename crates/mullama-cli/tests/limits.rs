//! If memory or threads are limited, a command ends with a specific exit status.
#![cfg(unix)]

mod home;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use home::{Home, checked, demo, wait_for};
use mullama::ErrorKind;
use mullama_test_registry::{Content, Registry};
use mullama_testkit::gguf::{File, Value};
use mullama_testkit::limit::{Limit, limit};

/// Range of address space in MiB: with the minimum, a program cannot load its libraries; with the maximum, everything
/// works.
const MEMORY: [u64; 2] = [32, 704];

/// Generous, since the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A home folder that the user with limited threads can access.
fn open_home() -> Home {
    let home = Home::new();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    home
}

/// The output of a command under a limit; `None` for a server, which is ended after `patience`.
fn run(mut command: Command, what: Limit, patience: Duration) -> Option<Output> {
    limit(&mut command, what);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    match child {
        Ok(child) => wait_for(child, patience),
        // The limit prevents creation of the process.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => None,
        Err(error) => panic!("{what:?}: {error}"),
    }
}

/// Whether the command succeeded; otherwise it must have failed with one of the expected errors.
fn is_well(output: &Output, what: Limit) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{what:?}: {}\n{said}", output.status));
    // A program that cannot load its libraries fails with a message of the loader.
    let is_unloaded = code == 127 && said.contains("shared libraries");
    let kinds = [ErrorKind::OutOfMemory, ErrorKind::Backend];
    let is_refused = kinds.iter().any(|kind| i32::from(kind.exit_status()) == code);
    assert!(code == 0 || is_refused || is_unloaded, "{what:?}: {code}\n{said}");
    assert!(
        code == 0 || said.contains("memory") || said.contains("start") || is_unloaded,
        "{said}"
    );
    code == 0
}

#[test]
fn run_succeeds_or_fails_cleanly_with_limited_resources() {
    let home = open_home();
    let ask = |what| {
        let command = home.mullama(&["run", "demo", "What is the capital of France?"]);
        run(command, what, TIMEOUT).is_some_and(|output| is_well(&output, what))
    };
    let well: Vec<_> = (MEMORY[0]..=MEMORY[1]).step_by(16).map(Limit::Memory).map(ask).collect();
    // Only Linux limits address space.
    assert!(!well[0] || cfg!(not(target_os = "linux")), "{well:?}");
    assert!(well[well.len() - 1], "{well:?}");
    for count in 1..=8 {
        ask(Limit::Threads(count));
    }
}

#[test]
fn pull_succeeds_or_fails_cleanly_with_limited_resources() {
    let registry = Registry::start();
    registry.add_model("library/tiny:latest", &[("model", Content::file(&demo()).unwrap())]);
    let pull = |what| {
        let home = open_home();
        let mut command = home.mullama(&["pull", "tiny"]);
        command.env("MULLAMA_REGISTRY", registry.url());
        run(command, what, TIMEOUT).is_some_and(|output| is_well(&output, what))
    };
    let well: Vec<_> = (MEMORY[0]..160).step_by(4).map(Limit::Memory).map(pull).collect();
    assert!(well[well.len() - 1], "{well:?}");
    for count in 1..=8 {
        pull(Limit::Threads(count));
    }
}

#[test]
fn a_worker_without_threads_does_not_start() {
    let home = open_home();
    let serve = |what| {
        let command = home.mullama(&["rpc-server", "--port", "50063", "--threads", "2"]);
        run(command, what, Duration::from_secs(3)).map(|output| is_well(&output, what))
    };
    assert_ne!(serve(Limit::Threads(1)), Some(true));
    for mebibytes in [32, 36, 40, 44] {
        assert_ne!(serve(Limit::Memory(mebibytes)), Some(true));
    }
}

/// A plan for a context of 2^31 - 1 tokens, of an option or of the file, does not allocate what it counts.
#[test]
fn a_plan_of_enormous_numbers_takes_little_memory() {
    let home = open_home();
    let mut file = File::decode(&fs::read(demo()).unwrap()).unwrap();
    file.header.set("llama.context_length", Value::u32(i32::MAX as u32));
    fs::write(home.path().join("long.gguf"), file.encode()).unwrap();
    let [_, most] = MEMORY;
    for arguments in [&["plan", "long.gguf", "-c", "0"][..], &["plan", "demo", "-c", "2147483647"]]
    {
        let output = run(home.mullama(arguments), Limit::Memory(most), TIMEOUT).unwrap();
        let (plan, _) = checked(&output, ErrorKind::DoesNotFit.exit_status().into());
        assert!(plan.contains("oes not fit"), "{plan}");
    }
}
