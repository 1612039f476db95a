//! Conversations in a pseudo-terminal.
#![cfg(unix)]

mod home;

use std::fs;

use home::{Home, demo};
use mullama_test_registry::{Fault, Registry, gguf};
use mullama_testkit::gguf::{File, Value};
use rexpect::session::{PtySession, spawn_command};

/// Timeout in milliseconds; generous, since the machine may be busy.
const TIMEOUT: u64 = 60_000;

fn converse(home: &Home, arguments: &[&str]) -> PtySession {
    let mut command = home.mullama(arguments);
    command.env("TERM", "xterm");
    // The session provides a terminal.
    command.stdin(std::process::Stdio::inherit());
    let mut session = spawn_command(command, Some(TIMEOUT)).unwrap();
    session.exp_string(">>> ").unwrap();
    session
}

/// Types a line, and waits for this text and the next prompt.
fn expect(session: &mut PtySession, line: &str, text: &str) {
    session.send_line(line).unwrap();
    let seen = session.exp_string(text);
    assert!(seen.is_ok(), "{line}: {seen:?}");
    session.exp_string(">>> ").unwrap();
}

fn end(session: &mut PtySession, line: &str) {
    session.send_line(line).unwrap();
    session.exp_eof().unwrap();
    // The type is not exported by the crate: `Exited(Pid(1), 0)`.
    let status = format!("{:?}", session.process_mut().wait().unwrap());
    assert!(status.starts_with("Exited") && status.ends_with(", 0)"), "{status}");
}

#[test]
fn session_remembers_earlier_questions() {
    let home = Home::new();
    let mut session = converse(&home, &["run", "demo", "--temperature", "0"]);
    expect(&mut session, "What is the capital of France?", "The capital of France is Paris.");
    expect(&mut session, "And of Japan?", "The capital of Japan is Tokyo.");
    end(&mut session, "/bye");
    let history = fs::read_to_string(home.path().join("data/mullama/history")).unwrap();
    assert!(history.contains("And of Japan?"), "{history}");
}

#[test]
fn pasted_lines_are_all_answered() {
    let home = Home::new();
    let mut session = converse(&home, &["run", "demo", "--temperature", "0"]);
    let questions = ["France", "Japan", "Italy"].map(|c| format!("What is the capital of {c}?\n"));
    session.send(&questions.concat()).unwrap();
    session.flush().unwrap();
    for answer in ["is Paris.", "is Tokyo.", "is Rome."] {
        session.exp_string(answer).unwrap();
    }
    session.exp_string(">>> ").unwrap();
    end(&mut session, "/bye");
}

#[test]
fn an_interrupt_stops_the_answer_and_not_the_program() {
    let home = Home::new();
    let arguments = ["run", "demo", "--temperature", "0", "--ignore-eos", "-c", "2048"];
    let mut session = converse(&home, &arguments);
    session.send_line("What is the capital of France?").unwrap();
    session.exp_string("Paris").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("(stopped)").unwrap();
    session.exp_string(">>> ").unwrap();
    // Neither the conversation nor the program ends.
    expect(&mut session, "/clear", "");
    session.send_line("What is the capital of Japan?").unwrap();
    session.exp_string("Tokyo").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("(stopped)").unwrap();
    session.exp_string(">>> ").unwrap();
    // Also at the prompt.
    session.send("half a li").unwrap();
    session.flush().unwrap();
    session.exp_string("half a li").unwrap();
    session.send_control('c').unwrap();
    session.exp_string("/bye or Ctrl-D ends").unwrap();
    session.exp_string(">>> ").unwrap();
    end(&mut session, "/bye");
    let mut session = converse(&home, &["run", "demo"]);
    session.send_control('d').unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn settings_are_changed_shown_and_saved() {
    let home = Home::new();
    let mut session = converse(&home, &["run", "demo"]);
    expect(&mut session, "/?", "/set parameter NAME VALUE");
    expect(&mut session, "/sbow", "there is no command /sbow; did you mean /show?");
    session.send("/set par\t").unwrap();
    session.flush().unwrap();
    session.exp_string("/set parameter ").unwrap();
    expect(&mut session, "top_k 5", "");
    expect(&mut session, "/show parameters", "top_k                   5");
    expect(&mut session, "/set parameter temperature 0", "");
    expect(&mut session, "/set parameter stop Paris", "");
    expect(&mut session, "/set parameter tempurature 0", "did you mean temperature?");
    expect(&mut session, "What is the capital of France?", "The capital of France is \r\n");
    expect(&mut session, "/set parameter stop XYZ", "");
    expect(&mut session, "What is the capital of France?", "The capital of France is Paris.");
    expect(&mut session, "/set parameter num_ctx 300", "");
    expect(&mut session, "/show parameters", "context_size            300");
    expect(&mut session, "/set system Be short.", "");
    expect(&mut session, "/show system", "\r\nBe short.");
    expect(&mut session, "/show info", "Mullama Demo");
    expect(&mut session, "/show template", "{%");
    expect(&mut session, "/show modelfile", "MESSAGE user What is the capital of France?");
    expect(&mut session, "/save mine", "saved as mine:latest");
    expect(&mut session, "/save ./mine.txt", "saved as ./mine.txt");
    expect(&mut session, "/clear", "");
    expect(&mut session, "/load ./mine.txt", "now using");
    expect(&mut session, "/show system", "\r\nBe short.");
    expect(&mut session, "And of Italy?", "The capital of Italy is Rome.");
    fs::write(home.path().join("broken.gguf"), "no model").unwrap();
    expect(&mut session, "/load ./broken.gguf", "is not a GGUF file");
    expect(&mut session, "/set parameter num_gpu -5", "error: ");
    expect(&mut session, "/set parameter num_predict 2", "");
    expect(&mut session, "/set parameter num_predict -1", "");
    expect(&mut session, "And of Japan?", "The capital of Japan is Tokyo.");
    expect(&mut session, "/load none", "no model none:latest in the store");
    session.send_line("\"\"\"What is the capital").unwrap();
    session.exp_string("... ").unwrap();
    expect(&mut session, "of Spain?\"\"\"", "Madrid");
    end(&mut session, "/bye");
    let list = home.stdout_of(&["list"]);
    assert!(list.contains("mine:latest"), "{list}");
    assert_eq!(home.stdout_of(&["show", "mine", "--system"]), "Be short.\n");
    assert_eq!(
        home.stdout_of(&["run", "mine", "And of Italy?"]),
        "The capital of Italy is Rome.\n"
    );
}

#[test]
fn full_context_hints_at_num_ctx_and_clear() {
    let home = Home::new();
    let mut session = converse(&home, &["run", "demo", "--temperature", "0", "-c", "256"]);
    let long = "the ".repeat(300);
    // The conversation is empty, so the hint does not mention `/clear`.
    session.send_line(&long).unwrap();
    let (_, seen) = session.exp_regex("hint: [^\r]*num_ctx 512[^\r]*").unwrap();
    assert!(!seen.contains("/clear"), "{seen}");
    session.exp_string(">>> ").unwrap();
    expect(&mut session, "What is the capital of France?", "Paris");
    expect(
        &mut session,
        &long,
        "hint: /clear starts a new conversation, /set parameter num_ctx 512 loads the model with a larger context",
    );
    expect(&mut session, "/set parameter num_ctx 512", "");
    expect(&mut session, "What is the capital of Japan?", "Tokyo");
    end(&mut session, "/bye");
}

#[test]
fn a_conversation_continues_beyond_the_context() {
    let home = Home::new();
    for (overflow, note) in
        [("truncate", "older messages were left out"), ("compact", "were replaced by a summary")]
    {
        let options = ["--temperature", "0", "-c", "256", "--max-tokens", "24"];
        let arguments = [&["run", "demo", "--overflow", overflow][..], &options].concat();
        let mut session = converse(&home, &arguments);
        // About twice as many tokens as the context has.
        let mut is_noted = false;
        for _ in 0..14 {
            session.send_line("What is the capital of France?").unwrap();
            let (seen, _) = session.exp_regex(">>> ").unwrap();
            assert!(!seen.contains("error"), "{seen}");
            is_noted |= seen.contains(note);
        }
        assert!(is_noted, "{overflow}");
        end(&mut session, "/bye");
    }
}

#[test]
fn a_pull_shows_a_bar_and_can_be_interrupted() {
    let (home, registry) = (Home::new(), Registry::start());
    registry.add_model("library/big:latest", &[("model", gguf(&[], 16 << 20))]);
    registry.fault("/blobs/", u32::MAX, Fault::Slow(1 << 20));
    let pull = || {
        let mut command = home.mullama(&["pull", "big"]);
        command.env("MULLAMA_REGISTRY", registry.url()).env("TERM", "xterm").env("NO_COLOR", "1");
        command.stdin(std::process::Stdio::inherit());
        spawn_command(command, Some(TIMEOUT)).unwrap()
    };
    let mut session = pull();
    let (_, seen) =
        session.exp_regex("downloading +[0-9]+% \\[[^\r]*/16 MB  [0-9.]+ [KM]B/s").unwrap();
    assert!(!seen.contains("\x1b[3"), "{seen:?} has colours");
    session.send_control('c').unwrap();
    session.exp_string("interrupted; `mullama pull big` resumes the download").unwrap();
    session.exp_eof().unwrap();
    registry.clear_faults();
    let mut session = pull();
    session.exp_string("pulled big:latest, 16 MB").unwrap();
    session.exp_eof().unwrap();
}

#[test]
fn colours_of_the_help_can_be_switched_off() {
    let home = Home::new();
    for (variable, coloured) in [("NOT_NO_COLOR", true), ("NO_COLOR", false)] {
        let mut command = home.mullama(&["help"]);
        command.env_remove("NO_COLOR").env("TERM", "xterm-256color").env(variable, "1");
        let mut session = spawn_command(command, Some(TIMEOUT)).unwrap();
        let help = session.exp_eof().unwrap();
        assert_eq!(help.contains("\x1b["), coloured, "{help:?}");
    }
}

#[test]
fn image_command_applies_to_the_next_message() {
    let home = Home::new();
    for (name, preset) in [("tiny.gguf", "tiny"), ("mmproj-tiny.gguf", "projector")] {
        fs::copy(mullama_testkit::fixture(preset), home.path().join(name)).unwrap();
    }
    let cat = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/docs/cat.png");
    fs::copy(cat, home.path().join("a cat.png")).unwrap();
    let arguments = ["run", "./tiny.gguf", "--max-tokens", "2", "--threads", "1", "--verbose"];
    let mut session = converse(&home, &arguments);
    expect(&mut session, "/image none.png", "none.png");
    expect(&mut session, "/image", "/image FILE");
    expect(&mut session, "/image a cat.png", "");
    expect(&mut session, "Hm?", "prompt image count:   16 token(s)");
    expect(&mut session, "Hm? './a cat.png'", "added the picture ./a cat.png");
    end(&mut session, "/bye");
}

#[test]
fn text_of_models_is_escaped_in_conversations() {
    const SEQUENCE: &str = "x\u{1b}]52;c;ZXZpbA==\u{7}\u{1b}[31m";
    const SHOWN: &str = "x\\u001b]52;c;ZXZpbA==\\u0007\\u001b[31m";
    let home = Home::new();
    let mut file = File::decode(&fs::read(demo()).unwrap()).unwrap();
    for key in ["general.name", "general.license"] {
        file.header.set(key, Value::string(SEQUENCE));
    }
    let template = format!("{{# {SEQUENCE} #}}{{{{ messages[0].content }}}}");
    file.header.set("tokenizer.chat_template", Value::string(template));
    fs::write(home.path().join("m.gguf"), file.encode()).unwrap();
    let modelfile = format!(
        "FROM ./m.gguf\nSYSTEM \"\"\"{SEQUENCE}\"\"\"\nLICENSE \"\"\"{SEQUENCE}\"\"\"\n\
         PARAMETER stop \"{SEQUENCE}\"\nMESSAGE user {SEQUENCE}"
    );
    fs::write(home.path().join("Modelfile"), modelfile).unwrap();
    home.stdout_of(&["create", "mine"]);
    let mut session = converse(&home, &["run", "mine"]);
    for line in [
        "/show info",
        "/show system",
        "/show parameters",
        "/show template",
        "/show license",
        "/show modelfile",
    ] {
        session.send_line(line).unwrap();
        let before = session.exp_string(SHOWN).unwrap_or_else(|error| panic!("{line}: {error}"));
        let after = session.exp_string(">>> ").unwrap();
        for seen in [before, after] {
            assert!(!seen.contains("\u{1b}]52") && !seen.contains('\u{7}'), "{line}: {seen:?}");
        }
    }
    fs::write(home.path().join("bad.txt"), format!("FROM ./m.gguf\n{SEQUENCE} 1\n")).unwrap();
    session.send_line("/load ./bad.txt").unwrap();
    let before = session.exp_string("there is no instruction").unwrap();
    let after = session.exp_string(">>> ").unwrap();
    for seen in [before, after] {
        assert!(!seen.contains("\u{1b}]52") && !seen.contains('\u{7}'), "{seen:?}");
    }
    end(&mut session, "/bye");
}
