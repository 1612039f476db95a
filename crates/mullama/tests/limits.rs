//! With little memory or few threads, calls fail with an error for that reason, and the program continues.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
#[cfg(target_os = "linux")]
use std::thread;
#[cfg(target_os = "linux")]
use std::time::{Duration, Instant};

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
fn insufficient_memory_and_threads_are_errors() {
    if let Ok(n_threads) = std::env::var(CHILD) {
        return use_a_model(n_threads.parse().unwrap());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let try_with = |what| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["insufficient_memory_and_threads_are_errors", "--exact", "--nocapture"])
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

/// Templates that would take gigabytes, or compute on after their request has ended.
#[cfg(target_os = "linux")]
#[test]
fn templates_leak_neither_memory_nor_threads() {
    const NAME: &str = "templates_leak_neither_memory_nor_threads";
    const TEMPLATES: [&str; 14] = [
        "{{ ([s]*99999)|join('') }}",
        "{{ ''.join([s]*99999) }}",
        "{{ [s]*99999 }}",
        "{{ '' ~ [s]*99999 }}",
        "{{ ([s]*99999)|string|upper }}",
        "{{ '%s'|format([s]*99999) }}",
        "{% set x %}{{ [s]*99999 }}{% endset %}{{ x }}",
        "{{ ([s]*99999)|replace('y', 'z') }}",
        "{{ ([[1]*1000]*1000)|sum(start=[]) }}",
        "{{ ([[1]*90000]*3000)|sum(start=[]) }}",
        "{{ ([s]*99999)|unique|list|length }}",
        "{% set ns = namespace(t=s) %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t }}",
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ s }}{% endfor %}{% endfor %}",
        "{% set ns = namespace(l=[1]) %}{% for i in range(90000) %}{% set ns.l = ns.l * 1 %}{% endfor %}",
    ];
    /// The peak above what the model itself takes: some 64 bytes for each unit of fuel.
    const MOST_MEBIBYTES: u64 = 768;

    if std::env::var_os(CHILD).is_none() {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture", "--test-threads", "1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        println!("{}", said.concat());
        assert!(output.status.success() && said.concat().contains("all\n"), "{}", output.status);
        return;
    }
    let peak = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
    };
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let load = |template: &str| {
        let source = format!(
            "{{% if messages[-1].content == 'go' %}}{{% set s = 'x' * 1000000 %}}{template}{{% endif %}}x"
        );
        let context = ContextParams::default().with_n_ctx(256).with_n_threads(1);
        Model::load("demo", ModelParams::default().with_chat_template(source), context).unwrap()
    };
    let options = GenerateOptions::default().with_max_tokens(1).with_timeout(0.2);
    let ask =
        |model: &Model, text: &str| model.chat(&[Message::user(text)], &options.clone().into());
    // What lives as long as the process is started by the first model.
    let first = load("");
    ask(&first, "x").unwrap();
    first.close();
    drop(first);
    let (memory, count) = (peak(), threads());
    for template in TEMPLATES {
        let model = load(template);
        for _ in 0..3 {
            let error = ask(&model, "go").map(drop).expect_err(template);
            let kinds = [ErrorKind::Template, ErrorKind::Cancelled];
            assert!(kinds.contains(&error.kind()), "{template}: {error:?}");
        }
        model.close();
        drop(model);
        println!("{} MiB, {} threads: {template}", peak() - memory, threads());
    }
    let until = Instant::now() + Duration::from_secs(60);
    while threads() > count {
        assert!(Instant::now() < until, "{} threads were {count}", threads());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(peak() - memory < MOST_MEBIBYTES, "{} MiB", peak() - memory);
    println!("all");
}
