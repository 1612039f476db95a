//! With little memory or few threads, calls fail with an error for that reason, and the program continues.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, ErrorKind, GenerateOptions, Message, Model,
    ModelParams, Result,
};
use mullama_testkit::limit::{Limit, limit};

/// Environment variable of the limited program: the number of threads with which it computes.
const CHILD: &str = "MULLAMA_TEST_LIMITED";

/// Makes all calls that need memory or threads. Each may fail with the appropriate error.
fn use_a_model(n_threads: u32) {
    fn check<T>(what: &str, result: Result<T>) -> Option<T> {
        let due = [ErrorKind::OutOfMemory, ErrorKind::Backend];
        match result {
            Ok(value) => {
                println!("{what}: well");
                Some(value)
            }
            Err(error) => {
                assert!(due.contains(&error.kind()), "{what}: {error:?}");
                println!("{what}: {error}");
                None
            }
        }
    }
    let context = ContextParams::default().with_n_ctx(1024).with_n_threads(n_threads);
    let model = Model::load("demo", ModelParams::default(), context);
    let Some(model) = check("load", model) else { return };
    let options = GenerateOptions::default().with_max_tokens(4);
    check("tokenize", model.tokenize("The capital of France", true, true));
    check("generate", model.generate("The capital of France", &options));
    let chat = ChatOptions::from(options);
    check("chat", model.chat(&[Message::user("What is the capital of France?")], &chat));
    check("embed", model.embed(["Paris", "Tokyo"], &EmbedOptions::default()));
    let state = check("save", model.save_state("The capital of France"));
    if let Some(state) = state {
        check("restore", model.load_state(&state));
    }
    model.close();
    println!("all");
}

#[test]
fn what_there_is_too_little_for_is_an_error() {
    if let Ok(n_threads) = std::env::var(CHILD) {
        return use_a_model(n_threads.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let try_with = |what| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["what_there_is_too_little_for_is_an_error", "--exact", "--nocapture"])
            .args(["--test-threads", "1"])
            .env(CHILD, if matches!(what, Limit::Memory(_)) { "1" } else { "2" })
            .env("XDG_CACHE_HOME", folder.path())
            .current_dir(folder.path());
        limit(&mut command, what);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(output.status.success(), "{what:?}: {}\n{}", output.status, said.concat());
        said.concat().contains("all\n")
    };
    let well: Vec<_> = (96..=800).step_by(32).map(Limit::Memory).map(try_with).collect();
    assert!(well[well.len() - 1], "{well:?}");
    for count in 2..=8 {
        try_with(Limit::Threads(count));
    }
}
