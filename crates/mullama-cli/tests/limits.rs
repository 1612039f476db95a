//! Where the system gives little memory or few threads, a command ends with a status of its own.
#![cfg(unix)]

mod home;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use home::{Home, demo};
use mullama::ErrorKind;
use mullama_test_registry::{Content, Registry};
use mullama_testkit::limit::{Limit, limit};

/// Mebibytes of address space: of some a program cannot even load its libraries, of some everything goes well.
const MEMORY: [u64; 2] = [32, 704];

/// A machine that does other things beside takes its time.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home that whoever has few threads may use, too.
fn open_home() -> Home {
    let home = Home::new();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
    home
}

/// The output of a command within a limit; none where it serves for ever, and was ended.
fn run(mut command: Command, what: Limit, patience: Duration) -> Option<Output> {
    limit(&mut command, what);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child: Child = match child {
        Ok(child) => child,
        // It is refused the process that it would be.
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return None,
        Err(error) => panic!("{what:?}: {error}"),
    };
    let until = Instant::now() + patience;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().unwrap())
}

/// Whether it went well; else it must have been refused as is due.
fn is_well(output: &Output, what: Limit) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    let code = code.unwrap_or_else(|| panic!("{what:?}: {}\n{said}", output.status));
    // A program that has no room for its libraries says so itself.
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
fn a_model_is_run_or_refused() {
    let home = open_home();
    let ask = |what| {
        let command = home.mullama(&["run", "demo", "What is the capital of France?"]);
        run(command, what, PATIENCE).is_some_and(|output| is_well(&output, what))
    };
    let well: Vec<_> = (MEMORY[0]..=MEMORY[1]).step_by(16).map(Limit::Memory).map(ask).collect();
    // Elsewhere than on Linux address space has no limit.
    assert!(!well[0] || cfg!(not(target_os = "linux")), "{well:?}");
    assert!(well[well.len() - 1], "{well:?}");
    for count in 1..=8 {
        ask(Limit::Threads(count));
    }
}

#[test]
fn a_model_is_pulled_or_refused() {
    let registry = Registry::start();
    registry.add_model("library/tiny:latest", &[("model", Content::file(&demo()).unwrap())]);
    let pull = |what| {
        let home = open_home();
        let mut command = home.mullama(&["pull", "tiny"]);
        command.env("MULLAMA_REGISTRY", registry.url());
        run(command, what, PATIENCE).is_some_and(|output| is_well(&output, what))
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
