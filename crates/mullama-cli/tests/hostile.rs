//! Untrusted text in files, names and responses of servers cannot control the terminal.

mod home;

use std::fs;
use std::process::{Output, Stdio};

use home::{Home, demo};
use mullama_test_registry::{Content, Registry};
use mullama_testkit::gguf::{File, Value};

/// Escape sequences (a colour, the clipboard, the title), a bell, an overwritten line, and characters that change the
/// direction of text.
const HOSTILE: &str = "x\x1b[31m\x1b]52;c;ZXZpbA==\x07\u{9b}2J\rgood\u{202e}lave\u{2066}";

fn is_harmless(arguments: &[&str], output: &Output) {
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        let steers = |c: char| {
            (c.is_control() && c != '\n')
                || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        };
        assert!(!text.contains(steers), "{arguments:?}: {text:?}");
    }
}

/// The demo model with such text in its metadata.
fn hostile_model() -> Vec<u8> {
    let mut file = File::decode(&fs::read(demo()).unwrap()).unwrap();
    let template = format!("{{{{ raise_exception('{HOSTILE}') }}}}");
    for (key, text) in [
        ("general.name", HOSTILE),
        ("general.license", HOSTILE),
        ("tokenizer.chat_template", &template),
        (HOSTILE, HOSTILE),
    ] {
        file.header.set(key, Value::string(text));
    }
    file.encode()
}

#[test]
fn text_from_a_model_is_escaped() {
    let home = Home::new();
    let model = hostile_model();
    fs::write(home.path().join("h.gguf"), &model).unwrap();
    let modelfile = format!(
        "FROM ./h.gguf\nSYSTEM \"\"\"{HOSTILE}\"\"\"\nLICENSE \"\"\"{HOSTILE}\"\"\"\nMESSAGE user {HOSTILE}\n\
         PARAMETER stop \"{HOSTILE}\""
    );
    fs::write(home.path().join("Modelfile"), modelfile.replace('\r', "")).unwrap();
    // The hint for a misspelt file names a file with such a name.
    let named =
        if cfg!(unix) { format!("model-{HOSTILE}.gguf") } else { "model-x.gguf".to_owned() };
    fs::write(home.path().join(&named), &model).unwrap();
    fs::write(home.path().join("other").with_extension("gguf"), HOSTILE).unwrap();
    let missing = named.replace("model", "modle");
    home.stdout_of(&["create", "mine"]);
    let worker = format!("{HOSTILE}:50052");
    let commands: &[&[&str]] = &[
        &["list"],
        &["list", "--json"],
        &["show", "h.gguf"],
        &["show", "h.gguf", "--template"],
        &["show", "h.gguf", "--license"],
        &["show", "h.gguf", "--tensors"],
        &["show", "h.gguf", "--json"],
        &["show", "h.gguf", "--modelfile"],
        &["show", &named, "--modelfile"],
        &["show", "mine"],
        &["show", "mine", "--system"],
        &["show", "mine", "--license"],
        &["show", "mine", "--parameters"],
        &["show", "mine", "--modelfile"],
        &["show", "mine", "--json"],
        &["plan", "h.gguf"],
        &["plan", "h.gguf", "--explain"],
        &["plan", "h.gguf", "--summary"],
        &["plan", "h.gguf", "--json"],
        &["plan", &named, "--explain"],
        &["run", "h.gguf", "Hi"],
        &["run", "mine", "Hi", "--verbose"],
        &["run", &named, "Hi"],
        &["run", "other.gguf", "Hi"],
        &["run", &missing, "Hi"],
        &["show", &missing],
        &["cp", "mine", "other"],
        &["rm", "other", "mine"],
        &["run", HOSTILE, "Hi"],
        &["plan", "demo", "--device", HOSTILE],
        &["plan", "demo", "--rpc", HOSTILE],
        &["run", "demo", "--rpc", HOSTILE, "Hi"],
        &["devices", "--rpc", HOSTILE],
        &["devices", "--rpc", &worker, "--json"],
        &["run", "demo", "--temperature", HOSTILE, "Hi"],
        &["run", "demo", HOSTILE, HOSTILE],
        &[HOSTILE],
    ];
    for arguments in commands {
        let output = home.mullama(arguments).env("MULLAMA_LOG", "trace").output().unwrap();
        is_harmless(arguments, &output);
    }
}

#[test]
fn json_output_contains_unescaped_metadata() {
    let home = Home::new();
    fs::write(home.path().join("h.gguf"), hostile_model()).unwrap();
    let shown: serde_json::Value =
        serde_json::from_str(&home.stdout_of(&["show", "h.gguf", "--json"])).unwrap();
    let pairs = shown["metadata"].as_array().unwrap();
    assert!(pairs.contains(&serde_json::json!(["general.name", HOSTILE])), "{shown}");
}

#[test]
fn text_from_a_server_is_escaped() {
    let (home, registry) = (Home::new(), Registry::start());
    let license: Content = HOSTILE.into();
    let model = Content::file(&demo()).unwrap();
    registry.add_model("library/tiny:latest", &[("model", model), ("license", license)]);
    for arguments in [&["pull", "tiny"][..], &["pull", "none"], &["show", "tiny", "--license"]] {
        let mut command = home.mullama(arguments);
        command.env("MULLAMA_REGISTRY", registry.url()).stdin(Stdio::null());
        is_harmless(arguments, &command.output().unwrap());
    }
}

#[test]
fn words_of_a_modelfile_are_escaped() {
    let home = Home::new();
    let word = HOSTILE.replace('\r', "");
    let folder = if cfg!(unix) { word.clone() } else { "x".to_owned() };
    fs::create_dir(home.path().join(&folder)).unwrap();
    for line in [
        word.clone(),
        format!("FROM {word}"),
        format!("FROM ./{word}.gguf"),
        format!("FROM ./{folder}"),
        format!("FROM http://{word}/x"),
        format!("FROM demo\n{word} 1"),
        format!("FROM demo\nPARAMETER {word} 1"),
        format!("FROM demo\nPARAMETER temperature {word}"),
        format!("FROM demo\nPARAMETER num_ctx {word}"),
        format!("FROM demo\nADAPTER ./{word}"),
        format!("FROM demo\nDRAFT {word}"),
        format!("FROM demo\nMESSAGE {word} x"),
        format!("FROM demo\nTEMPLATE {{{{ {word} }}}}"),
    ] {
        fs::write(home.path().join("Modelfile"), &line).unwrap();
        let arguments = ["create", "mine"];
        let output = home.mullama(&arguments).env("MULLAMA_LOG", "trace").output().unwrap();
        is_harmless(&[&line], &output);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{line:?} is accepted");
        let is_shown = ["\\u001b", "\\u{1b}"].iter().any(|shown| said.contains(shown));
        assert!(is_shown, "{line:?} is not shown: {said}");
    }
    // These are accepted, and may be warned of.
    for instruction in ["REQUIRES", "RENDERER", "PARSER"] {
        let line = format!("FROM demo\n{instruction} {word}");
        fs::write(home.path().join("Modelfile"), &line).unwrap();
        is_harmless(&[&line], &home.mullama(&["create", "mine"]).output().unwrap());
    }
    for arguments in [&["create", HOSTILE][..], &["create", "mine", "-f", HOSTILE]] {
        is_harmless(arguments, &home.mullama(arguments).output().unwrap());
    }
}

#[test]
fn text_from_the_environment_is_escaped() {
    let home = Home::new();
    for name in
        ["MULLAMA_RPC_SERVERS", "MULLAMA_BACKEND", "MULLAMA_LOG", "MULLAMA_REGISTRY", "HF_ENDPOINT"]
    {
        for arguments in
            [&["devices"][..], &["run", "demo", "Hi"], &["pull", "none"], &["pull", "hf.co/u/r"]]
        {
            is_harmless(arguments, &home.mullama(arguments).env(name, HOSTILE).output().unwrap());
        }
    }
}
