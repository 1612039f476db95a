//! Models of the store are shown and run with their own options.

mod home;

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use home::{Home, checked, demo, wait_for};

const PARIS: &str = "The capital of France is Paris.\n";
const QUESTION: &str = "What is the capital of France?";

/// Time after which a command is taken to hang; generous, since the machine may be busy.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);

/// A home folder with the model `mine`, created from the demo model and these instructions.
fn home_with(instructions: &str) -> Home {
    let home = Home::new();
    let file = format!("FROM {}\n{instructions}\n", demo().display());
    fs::write(home.path().join("Modelfile"), file).unwrap();
    home.stdout_of(&["create", "mine"]);
    home
}

#[test]
fn parts_of_a_stored_model_are_shown() {
    let home = home_with(
        "PARAMETER temperature 0\nPARAMETER stop a\nPARAMETER stop b\nSYSTEM Be short.\n\
         LICENSE \"\"\"Do as\nyou like.\"\"\"\nMESSAGE user Hi",
    );
    assert_eq!(home.stdout_of(&["show", "mine", "--system"]), "Be short.\n");
    assert_eq!(home.stdout_of(&["show", "mine", "--license"]), "Do as\nyou like.\n");
    let parameters = home.stdout_of(&["show", "mine", "--parameters"]);
    let words: Vec<_> = parameters.split_whitespace().collect();
    assert_eq!(words, ["stop", "\"a\"", "stop", "\"b\"", "temperature", "0"]);
    let modelfile = home.stdout_of(&["show", "mine", "--modelfile"]);
    assert!(modelfile.starts_with("FROM ") && modelfile.contains("MESSAGE user Hi"), "{modelfile}");
    fs::write(home.path().join("again.txt"), modelfile).unwrap();
    assert_eq!(home.stdout_of(&["create", "again", "-f", "again.txt"]), "created again:latest\n");
    assert_eq!(home.stdout_of(&["show", "again", "--system"]), "Be short.\n");
    let summary = home.stdout_of(&["show", "mine"]);
    assert!(summary.contains("mine:latest") && summary.contains("PARAMETERS"), "{summary}");
    let json: serde_json::Value =
        serde_json::from_str(&home.stdout_of(&["show", "mine", "--json"])).unwrap();
    assert_eq!((&json["store"]["name"], &json["version"]), (&"mine:latest".into(), &3.into()));
    assert!(home.stderr_of(3, &["show", "demo", "--system"]).contains("no system message"));
    assert!(home.stdout_of(&["show", "demo", "--modelfile"]).starts_with("FROM /"));
    home.stderr_of(2, &["show", "mine", "--system", "--license"]);
}

#[test]
fn flags_override_model_parameters() {
    let home = home_with("PARAMETER temperature 0\nPARAMETER stop Paris\nPARAMETER num_ctx 128");
    assert_eq!(home.stdout_of(&["run", "mine", QUESTION]), "The capital of France is \n");
    assert_eq!(home.stdout_of(&["run", "mine", "--stop", "XYZ", QUESTION]), PARIS);
    let long = "France ".repeat(200);
    home.stderr_of(8, &["run", "mine", &long]);
    home.stdout_of(&["run", "mine", "-c", "1024", "--max-tokens", "2", &long]);
}

#[test]
fn model_messages_precede_the_prompt() {
    let home = home_with(&format!(
        "PARAMETER temperature 0\nMESSAGE user {QUESTION}\nMESSAGE assistant {}",
        PARIS.trim()
    ));
    assert_eq!(
        home.stdout_of(&["run", "mine", "And of Japan?"]),
        "The capital of Japan is Tokyo.\n"
    );
}

#[test]
fn conversations_continue_in_the_next_run() {
    let home = home_with("PARAMETER temperature 0");
    let ask = |question: &str| home.stdout_of(&["run", "mine", "--keep-context", question]);
    assert_eq!(ask(QUESTION), PARIS);
    // Without the flag, the conversation is neither used nor extended; each model has its own.
    home.stdout_of(&["run", "mine", "What is 2 + 3?"]);
    home.stdout_of(&["run", "demo", "--keep-context", "What is 2 + 3?"]);
    assert_eq!(ask("And of Japan?"), "The capital of Japan is Tokyo.\n");
    let folder = home.path().join("data/mullama/conversations");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
    for damaged in [
        "",
        "{",
        "[]",
        "null",
        "1",
        "{}",
        r#"{"messages": 1}"#,
        r#"{"messages": [1]}"#,
        r#"{"messages": [{}]}"#,
        r#"{"messages": [], "system": 1}"#,
    ] {
        for file in fs::read_dir(&folder).unwrap() {
            fs::write(file.unwrap().path(), damaged).unwrap();
        }
        let err = home.stderr_of(15, &["run", "mine", "--keep-context", "hi"]);
        assert!(err.contains("damaged") && err.contains("hint: delete the file"), "{err}");
    }
    home.stderr_of(2, &["run", "mine", "--keep-context", "--raw", "hi"]);
}

#[test]
fn show_reports_whether_the_model_fits() {
    let home = home_with("PARAMETER num_ctx 512");
    let shown = home.stdout_of(&["show", "mine"]);
    let lines: Vec<_> =
        shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    for line in [
        vec!["fits", "yes"],
        vec!["context", "512"],
        vec!["quantization", "F16"],
        vec!["parameters", "1.9M"],
    ] {
        assert!(lines.contains(&line), "{line:?}\n{shown}");
    }
    assert!(shown.contains("memory of CPU"), "{shown}");
    let predicted = lines.iter().find(|line| line.first() == Some(&"predicted")).unwrap();
    assert_eq!(predicted[2..], ["tokens/s:", "comfortable", "for", "chat"], "{shown}");
    let json: serde_json::Value =
        serde_json::from_str(&home.stdout_of(&["show", "mine", "--json"])).unwrap();
    assert_eq!((&json["here"]["fits"], &json["here"]["context_size"]), (&true.into(), &512.into()));

    // A plan uses the model's options, unless others are specified.
    let words = home.stdout_of(&["plan", "mine", "--summary"]);
    assert!(words.starts_with("Fits") && words.contains("a context of 512 tokens"), "{words}");
    assert_eq!(words.lines().count(), 1);
    let words = home.stdout_of(&["plan", "mine", "--summary", "--context-size", "1024"]);
    assert!(words.contains("a context of 1024 tokens"), "{words}");
}

#[test]
fn verbose_statistics_match_ollama() {
    let home = Home::new();
    let output = home.mullama(&["run", "demo", "--temperature", "0", "--verbose", QUESTION]);
    let (out, err) = checked(&{ output }.output().unwrap(), 0);
    assert_eq!(out, PARIS);
    for line in [
        "total duration:",
        "load duration:",
        "prompt eval count:",
        "prompt eval duration:",
        "prompt eval rate:",
        "eval count:",
        "eval duration:",
        "eval rate:",
    ] {
        assert!(err.lines().any(|told| told.starts_with(line)), "{line}\n{err}");
    }
}

#[test]
fn answers_follow_the_requested_format() {
    let home = Home::new();
    let schema = r#"{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false}"#;
    fs::write(home.path().join("schema.json"), schema).unwrap();
    let answer = home.stdout_of(&["run", "demo", "--format", "schema.json", QUESTION]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(answer["n"].is_u64(), "{answer}");
    // A truncated answer with a required format is a failure, but its text is printed.
    for format in [
        ["--format", "json"],
        ["--grammar", "root ::= \"{\" [a-z]{40} \"}\""],
        ["--regex", r"\{[a-z]{40}\}"],
        ["--lark", r"start: /\{[a-z]{40}\}/"],
    ] {
        let line = [&["run", "demo", "--max-tokens", "5"], &format[..], &[QUESTION]].concat();
        let (out, err) = checked(&home.mullama(&line).output().unwrap(), 2);
        assert!(out.starts_with('{'), "{out}");
        assert!(err.contains("cut off after 5 tokens") && err.contains("raise"), "{err}");
    }
    let endless = ["--grammar", "root ::= \"{\" [a-z]*"];
    let line = [&["run", "demo", "-c", "128", "--ignore-eos"], &endless[..], &[QUESTION]].concat();
    let (_, err) = checked(&home.mullama(&line).output().unwrap(), 8);
    assert!(err.contains("the context was full"), "{err}");
    let line = ["run", "demo", "-c", "128", "--ignore-eos", "--temperature", "0", QUESTION];
    let (_, err) = checked(&home.mullama(&line).output().unwrap(), 0);
    assert!(err.contains("the context is full"), "{err}");
    assert!(home.stderr_of(2, &["run", "demo", "--format", "xml", "hi"]).contains("`--format`"));
    home.stderr_of(2, &["run", "demo", "--format", "json", "--grammar", "root ::= \"a\"", "hi"]);
    assert!(
        home.stderr_of(11, &["run", "demo", "--image", "a.png", "hi"]).contains("takes text only")
    );
}

#[test]
fn prompts_need_no_quotes() {
    let home = Home::new();
    let line = "run demo --temperature 0 What is the capital of France?";
    assert_eq!(home.stdout_of(&line.split(' ').collect::<Vec<_>>()), PARIS);
}

#[test]
fn log_probabilities_are_printed_to_stderr() {
    let home = Home::new();
    let line = ["run", "demo", "--temperature", "0", "--logprobs", "2", QUESTION];
    let (out, err) = checked(&home.mullama(&line).output().unwrap(), 0);
    assert_eq!(out, PARIS);
    let mut rows = err.lines();
    assert_eq!(
        rows.next().unwrap().split_whitespace().collect::<Vec<_>>(),
        ["TOKEN", "LOGPROB", "CANDIDATES"]
    );
    let (mut text, mut count) = (String::new(), 0);
    for row in rows {
        let token: String =
            serde_json::Deserializer::from_str(row).into_iter().next().unwrap().unwrap();
        text += &token;
        count += 1;
    }
    // The end-of-text token is included.
    assert!(text.starts_with(PARIS.trim_end()) && count > 3, "{text}");
}

#[test]
fn the_version_is_printed() {
    let home = Home::new();
    assert_eq!(home.stdout_of(&["version"]), home.stdout_of(&["--version"]));
    assert!(home.stdout_of(&["version"]).starts_with("mullama "));
}

#[test]
fn prompt_cache_is_saved_to_and_read_from_a_file() {
    let home = Home::new();
    for (mode, text) in [(&[][..], QUESTION), (&["--raw"], "The capital of")] {
        let cached = |file: &str, more: &[&str]| {
            let line =
                ["run", "demo", "--temperature", "0", "-n", "8", "-v", "--prompt-cache", file];
            let line = [&line[..], mode, more, &[text]].concat();
            let (out, err) = checked(&home.mullama(&line).output().unwrap(), 0);
            (out, err.contains("prompt cached count:"))
        };
        let file = format!("cache{}.bin", mode.len());
        // The read-only mode writes nothing.
        let (first, was_cached) = cached(&file, &["--prompt-cache-ro"]);
        assert!(!was_cached && !home.path().join(&file).exists());
        assert_eq!(cached(&file, &[]), (first.clone(), false));
        assert_eq!(cached(&file, &[]), (first.clone(), true));
        let written = fs::metadata(home.path().join(&file)).unwrap().modified().unwrap();
        assert_eq!(cached(&file, &["--prompt-cache-ro"]), (first, true));
        assert_eq!(fs::metadata(home.path().join(&file)).unwrap().modified().unwrap(), written);
        fs::write(home.path().join(&file), "no state").unwrap();
        let line = ["run", "demo", "--prompt-cache", &file, text];
        home.stderr_of(2, &line);
        assert_eq!(fs::read(home.path().join(&file)).unwrap(), b"no state");
    }
}

/// Creates a pipe without a writer, a socket, a link to `/dev/zero` and a folder, each with the name of its kind.
#[cfg(unix)]
fn make_special_files(home: &Home) {
    let at = |name: &str| home.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
    assert!(made.success());
    // The file remains when the listener is dropped.
    drop(std::os::unix::net::UnixListener::bind(at("socket")).unwrap());
    std::os::unix::fs::symlink("/dev/zero", at("device")).unwrap();
    fs::create_dir(at("folder")).unwrap();
}

#[cfg(unix)]
#[test]
fn special_files_are_rejected_in_every_argument() {
    let home = Home::new();
    make_special_files(&home);
    let model = mullama_testkit::fixture("tiny");
    let model = model.to_str().unwrap();
    fs::copy(mullama_testkit::fixture("projector"), home.path().join("mmproj.gguf")).unwrap();
    for name in ["pipe", "socket", "device", "folder"] {
        for line in [
            &["run", "demo", "--lora", name, "Hi"][..],
            &["run", "demo", "--mmproj", name, "Hi"],
            &["run", model, "--mmproj", "mmproj.gguf", "--image", name, "Hi"],
            &["run", "demo", "--format", name, "Hi"],
            &["run", "demo", "--prompt-cache", name, "Hi"],
            &["plan", "demo", "--mmproj", name],
            &["plan", "demo", "--lora", name],
            &["create", "mine", "--file", name],
        ] {
            let mut command = home.mullama(line);
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let output = wait_for(child, PATIENCE).unwrap_or_else(|| panic!("{line:?} hangs"));
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.code().is_some_and(|code| code > 0), "{line:?}: {said}");
            assert!(said.contains("error: ") && said.contains(name), "{line:?}: {said}");
        }
    }
}

#[cfg(unix)]
#[test]
fn names_of_pipes_and_sockets_are_not_looked_up() {
    let home = Home::new();
    make_special_files(&home);
    for name in ["pipe", "socket", "device"] {
        for command in [
            &["run", name, "Hi"][..],
            &["show", name],
            &["plan", name],
            &["run", "demo", "--draft-model", name, "Hi"],
        ] {
            let refusal = home.stderr_of(4, command);
            assert!(refusal.contains(&format!("{name} is a pipe or a device")), "{refusal}");
            assert!(!refusal.contains("downloading"), "{refusal}");
        }
    }
}

#[test]
fn long_values_are_not_repeated_in_full() {
    let home = Home::new();
    let long = "x".repeat(100_000);
    let flag = format!("--{long}");
    for arguments in [
        &["run", "demo", "--split-mode", &long, "Hi"][..],
        &["run", "demo", "--temperature", &long, "Hi"],
        &["run", "demo", &flag, "Hi"],
        &[&long],
        &["run", &format!("{long}.gguf"), "Hi"],
    ] {
        let output = home.mullama(arguments).output().unwrap();
        let refusal = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert!(refusal.contains("xxx") && refusal.contains("bytes left out"), "{refusal}");
        assert!(refusal.len() < 10_000, "{}", refusal.len());
    }
}

#[test]
fn idle_standard_input_does_not_block() {
    let home = Home::new();
    let start = |arguments: &[&str]| {
        let mut command = home.mullama(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let arguments = ["run", "demo", "--temperature", "0", QUESTION];
    let mut child = start(&arguments);
    // Standard input stays open until the answer is complete.
    let input = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(input);
    let (out, err) = checked(&output, 0);
    assert_eq!(out, PARIS);
    assert!(err.contains("nothing arrives on standard input"), "{err}");

    // Text that has started to arrive is read to its end, and becomes part of the prompt.
    let mut child =
        start(&["run", "demo", "--temperature", "0", "--max-tokens", "1", "-c", "256", "a"]);
    let mut input = child.stdin.take().unwrap();
    let words = "France ".repeat(150);
    for _ in 0..2 {
        input.write_all(words.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    drop(input);
    checked(&child.wait_with_output().unwrap(), 8);
    // Without a prompt, the text is required, so the command waits for it.
    let mut child = start(&arguments[..4]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    child.stdin.take().unwrap().write_all(QUESTION.as_bytes()).unwrap();
    assert_eq!(checked(&child.wait_with_output().unwrap(), 0).0, PARIS);
}

#[test]
fn tilde_expands_to_the_home_folder() {
    let home = Home::new();
    fs::create_dir(home.path().join("models")).unwrap();
    fs::copy(demo(), home.path().join("models/m.gguf")).unwrap();
    fs::write(home.path().join("Modelfile"), "FROM ~/models/m.gguf\n").unwrap();
    fs::write(home.path().join("schema.json"), "{\"const\": 1}").unwrap();
    let ask = ["run", "~/models/m.gguf", "--temperature", "0", QUESTION];
    assert_eq!(home.stdout_of(&ask), PARIS);
    assert_eq!(home.stdout_of(&[&ask[..], &["--format", "~/schema.json"]].concat()), "1\n");
    assert!(home.stdout_of(&["plan", "~/models/m.gguf", "--summary"]).starts_with("Fits"));
    assert_eq!(home.stdout_of(&["create", "mine", "-f", "~/Modelfile"]), "created mine:latest\n");
    let missing = home.stderr_of(3, &[&ask[..], &["--lora=~/none.gguf"]].concat());
    assert!(missing.contains(home.path().to_str().unwrap()), "{missing}");
}

#[test]
fn thread_count_is_limited_to_processors() {
    let home = home_with("PARAMETER temperature 0\nPARAMETER num_thread 100000");
    let warned = |arguments: &[&str]| {
        let (out, err) = checked(&home.mullama(arguments).output().unwrap(), 0);
        assert_eq!(out, PARIS);
        err
    };
    let err = warned(&["run", "mine", QUESTION]);
    assert!(err.contains("threads were requested"), "{err}");
    // The caller's own replace the model's.
    let err = warned(&["run", "mine", "-t", "512", QUESTION]);
    assert!(err.contains("512 threads were requested"), "{err}");
    assert_eq!(err.matches("threads were requested").count(), 1, "{err}");
    assert!(
        !warned(&["run", "demo", "-t", "1", "--temperature", "0", QUESTION]).contains("thread")
    );
}

#[cfg(unix)]
#[test]
fn endless_standard_input_is_rejected() {
    let home = Home::new();
    for arguments in [
        ["run", "demo", "-v"].as_slice(),
        &["run", "demo", "-f", "-"],
        &["create", "mine", "-f", "-"],
    ] {
        let mut command = home.mullama(arguments);
        command.stdin(fs::File::open("/dev/zero").unwrap());
        let (_, err) = checked(&command.output().unwrap(), 2);
        assert!(err.contains("longer than"), "{err}");
    }
}

#[test]
fn images_are_attached_to_the_prompt() {
    let home = Home::new();
    let files = [("tiny.gguf", "tiny"), ("mmproj-tiny.gguf", "projector")];
    for (name, preset) in files {
        fs::copy(mullama_testkit::fixture(preset), home.path().join(name)).unwrap();
    }
    let cat = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/docs/cat.png");
    let ask = |model: &str, flags: &[&str]| {
        let usual = [
            "run",
            model,
            "--temperature",
            "0",
            "--max-tokens",
            "8",
            "--threads",
            "1",
            "-p",
            "Hm?",
        ];
        home.mullama(&[&usual[..], flags].concat()).output().unwrap()
    };
    let blind = checked(&ask("./tiny.gguf", &[]), 0).0;
    let seen = checked(&ask("./tiny.gguf", &["--image", cat]), 0).0;
    assert_ne!(seen, blind);
    let twice = checked(&ask("./tiny.gguf", &["--image", cat, "--image", cat]), 0).0;
    assert_ne!(twice, seen);
    let named = ["--mmproj", "mmproj-tiny.gguf", "--image", cat];
    assert_eq!(checked(&ask("./tiny.gguf", &named), 0).0, seen);
    // As a terminal writes the path of a file that is dropped into it.
    fs::copy(cat, home.path().join("a cat.png")).unwrap();
    for path in [cat, "'./a cat.png'", "./a\\ cat.png"] {
        let prompt = format!("Hm? {path}");
        let line = ["run", "./tiny.gguf", "--temperature", "0", "--threads", "1", &prompt];
        let dropped = home.mullama(&line).args(["--max-tokens", "8"]).output().unwrap();
        let (out, err) = checked(&dropped, 0);
        assert_eq!(out, seen, "{prompt}");
        assert!(err.contains("added the picture"), "{err}");
    }
    // A model of the store brings its own.
    fs::write(home.path().join("Modelfile"), "FROM ./tiny.gguf\nFROM ./mmproj-tiny.gguf\n")
        .unwrap();
    home.stdout_of(&["create", "seeing"]);
    assert_eq!(checked(&ask("seeing", &["--image", cat]), 0).0, seen);

    let refused = |code, flags: &[&str]| checked(&ask("./tiny.gguf", flags), code).1;
    assert!(refused(11, &["--no-mmproj", "--image", cat]).contains("takes text only"));
    assert!(refused(3, &["--image", "none.png"]).contains("none.png"));
    assert!(refused(2, &["--image", "tiny.gguf"]).contains("not an image in a supported format"));
    assert!(refused(3, &["--projector", "none.gguf"]).contains("none.gguf"));
}

#[test]
fn the_prompt_comes_from_a_file_or_from_standard_input() {
    let home = Home::new();
    fs::write(home.path().join("prompt.txt"), format!("{QUESTION}\n")).unwrap();
    let run = |file: &str, input: Stdio| {
        let mut command = home.mullama(&["run", "demo", "--temperature", "0", "-f", file]);
        checked(&command.stdin(input).output().unwrap(), 0).0
    };
    assert_eq!(run("prompt.txt", Stdio::null()), PARIS);
    let names: &[_] = if cfg!(unix) { &["-", "/dev/stdin"] } else { &["-"] };
    for name in names {
        let file = fs::File::open(home.path().join("prompt.txt")).unwrap();
        assert_eq!(run(name, file.into()), PARIS, "the text is used once: {name}");
    }
    let mut command = home.mullama(&["run", "demo", "--temperature", "0", "-f", "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(QUESTION.as_bytes()).unwrap();
    assert_eq!(checked(&child.wait_with_output().unwrap(), 0).0, PARIS);
}

/// As `-f <(command)` in a shell.
#[cfg(unix)]
#[test]
fn the_prompt_comes_from_a_pipe() {
    let home = Home::new();
    let pipe = home.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn(move || fs::write(pipe, QUESTION).unwrap());
    assert_eq!(home.stdout_of(&["run", "demo", "--temperature", "0", "-f", "pipe"]), PARIS);
    writer.join().unwrap();
}
