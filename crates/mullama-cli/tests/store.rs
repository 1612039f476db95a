//! The commands of the store, with a registry on loopback.

mod home;

use std::fs;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use home::{Home, checked, demo, shards};
use mullama_test_registry::{Content, Fault, Registry, gguf};

/// A registry with the demo model as `tiny`, with options for deterministic answers.
fn registry() -> Registry {
    let registry = Registry::start();
    let model = Content::file(&demo()).unwrap();
    let params: Content = r#"{"temperature": 0, "num_ctx": 256}"#.into();
    let license: Content = "Do as you like.\nBut do.".into();
    registry.add_model(
        "library/tiny:latest",
        &[("model", model), ("params", params), ("license", license)],
    );
    registry
}

impl Home {
    fn with(&self, registry: &Registry, arguments: &[&str]) -> Output {
        let mut command = self.mullama(arguments);
        command.env("MULLAMA_REGISTRY", registry.url()).env("HF_ENDPOINT", registry.url());
        command.output().unwrap()
    }
}

#[test]
fn a_model_is_pulled_listed_run_copied_and_removed() {
    let (home, registry) = (Home::new(), registry());
    let (out, err) = checked(&home.with(&registry, &["pull", "tiny"]), 0);
    assert!(out.starts_with("pulled tiny:latest, "), "{out}");
    assert!(err.contains("downloading") && err.ends_with("MB\n"), "{err}");
    assert!(err.starts_with("Fits: all "), "whether it will fit is told first: {err}");

    let list = home.stdout_of(&["list"]);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["NAME", "ID", "SIZE", "MODIFIED"]);
    assert!(lines[1].starts_with("tiny:latest  ") && lines[1].ends_with(" ago"), "{list}");
    assert!(lines[2].starts_with("demo  ") && lines[2].ends_with("  built in"), "{list}");
    assert_eq!((lines.len(), home.stdout_of(&["ls"]).lines().count()), (3, 3));

    let question = "What is the capital of France?";
    assert_eq!(home.stdout_of(&["run", "tiny", question]), "The capital of France is Paris.\n");

    assert_eq!(home.stdout_of(&["cp", "tiny", "mine:v1"]), "copied tiny:latest to mine:v1\n");
    assert_eq!(home.stdout_of(&["rm", "tiny"]), "removed tiny:latest, 0 B freed\n");
    let json: serde_json::Value = serde_json::from_str(&home.stdout_of(&["ls", "--json"])).unwrap();
    assert_eq!(json["models"].as_array().unwrap().len(), 2);
    assert_eq!(json["models"][1]["source"], "built-in");
    assert_eq!(
        (&json["models"][0]["name"], &json["models"][0]["source"]),
        (&"mine:v1".into(), &"mullama".into())
    );
    assert_eq!(home.stdout_of(&["run", "mine:v1", question]), "The capital of France is Paris.\n");

    let out = checked(&home.mullama(&["rm", "none", "mine:v1"]).output().unwrap(), 3);
    assert!(out.0.starts_with("removed mine:v1, ") && out.1.contains("no model none"), "{out:?}");
    assert_eq!(home.stdout_of(&["list"]).lines().count(), 2);
}

#[test]
fn run_pulls_missing_models() {
    let (home, registry) = (Home::new(), registry());
    let question = "What is the capital of France?";
    let (_, err) = checked(&home.with(&registry, &["run", "--no-pull", "tiny", question]), 3);
    assert!(err.contains("`mullama pull tiny:latest`"), "{err}");
    assert_eq!(registry.sent("/blobs/"), 0);
    let (out, err) = checked(&home.with(&registry, &["run", "tiny", question]), 0);
    assert_eq!(out, "The capital of France is Paris.\n", "the answer alone");
    for told in [
        "tiny is not in the local store: downloading it",
        "Fits: all ",
        "downloading",
        "pulled tiny:latest, ",
    ] {
        assert!(err.contains(told), "{told}: {err}");
    }
    registry.take_requests();
    let (_, err) = checked(&home.with(&registry, &["run", "tiny", question]), 0);
    assert!(err.is_empty() && registry.take_requests().is_empty(), "{err}");

    let bytes = fs::read(demo()).unwrap();
    registry.add_repo("user/repo", &[("a-Q8_0.gguf", bytes.clone()), ("b-F16.gguf", bytes)]);
    let line = ["run", "-hf", "user/repo", "-hff", "b-F16.gguf", "--temp", "0", "-p", question];
    let (out, _) = checked(&home.with(&registry, &line), 0);
    assert_eq!(out, "The capital of France is Paris.\n");
    let (_, err) = checked(&home.with(&registry, &["run", "tiny:7b", "hi"]), 3);
    assert!(err.contains("tiny:latest"), "{err}");
    // Text that cannot be a model's name causes no request.
    registry.take_requests();
    for arguments in [["run", "./none.gguf", "hi"], ["run", "dmeo", "hi"]] {
        checked(&home.with(&registry, &arguments), 3);
    }
    assert!(registry.take_requests().is_empty());
}

#[test]
fn missing_names_get_suggestions() {
    let (home, registry) = (Home::new(), registry());
    let (_, err) = checked(&home.with(&registry, &["pull", "tiny:7b"]), 3);
    assert!(err.contains("hint: ") && err.contains("tiny:7b"), "{err}");
    checked(&home.with(&registry, &["pull", "tiny"]), 0);
    let (_, err) = checked(&home.with(&registry, &["pull", "tinny"]), 3);
    assert!(err.contains("tiny:latest"), "{err}");
    let err = home.stderr_of(3, &["run", "tinny", "hi", "--no-pull"]);
    assert!(err.contains("did you mean tiny:latest?") && err.contains("mullama pull"), "{err}");
    let err = home.stderr_of(2, &["pul", "tiny"]);
    assert!(err.contains("`mullama pull`"), "{err}");
    let err = home.stderr_of(2, &["rnu", "tiny"]);
    assert!(err.contains("`mullama run`"), "{err}");
    let err = home.stderr_of(2, &["tiny:latest", "hi"]);
    assert!(err.contains("`mullama run tiny:latest`"), "{err}");
    let err = home.stderr_of(3, &["run", "dmeo", "hi"]);
    assert!(err.contains("did you mean demo"), "{err}");
    let err = home.stderr_of(2, &["pull", "demo"]);
    assert!(err.contains("built in"), "{err}");
    let err = home.stderr_of(3, &["rm", "tinny"]);
    assert!(err.contains("did you mean tiny:latest?") && !err.contains("pull"), "{err}");
    let err = home.stderr_of(3, &["rm", "something-else"]);
    assert!(err.contains("`mullama list`") && !err.contains("pull"), "{err}");
    let err = home.stderr_of(2, &["rm", "./tiny.gguf"]);
    assert!(err.contains("is a path"), "{err}");
}

#[test]
fn models_of_other_programs_have_a_source() {
    let (home, registry) = (Home::new(), registry());
    registry.add_model("library/other:1b", &[("model", gguf(&[], 1000))]);
    let mut theirs = home.mullama(&["pull", "other:1b"]);
    theirs.env("MULLAMA_REGISTRY", registry.url());
    theirs.env("MULLAMA_MODELS", home.path().join("ollama"));
    checked(&theirs.output().unwrap(), 0);
    checked(&home.with(&registry, &["pull", "tiny"]), 0);
    let list = home.stdout_of(&["list"]);
    assert!(list.lines().next().unwrap().ends_with("  SOURCE"), "{list}");
    assert!(list.lines().any(|line| line.starts_with("other:1b ") && line.ends_with("  ollama")));
    assert!(home.stderr_of(11, &["rm", "other:1b"]).contains("does not change"));
    assert_eq!(home.stdout_of(&["ls", "TIN"]).lines().count(), 2);
}

/// Ctrl-C during a pull; the next pull downloads the rest.
#[cfg(unix)]
#[test]
fn interrupted_pulls_resume() {
    let (home, registry) = (Home::new(), Registry::start());
    let size = 24 << 20;
    registry.add_model("library/big:latest", &[("model", gguf(&[], size))]);
    registry.fault("/blobs/", u32::MAX, Fault::Slow(1 << 20));
    let mut command = home.mullama(&["pull", "big"]);
    command.env("MULLAMA_REGISTRY", registry.url()).stderr(Stdio::piped()).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    let begun = Instant::now();
    while registry.sent("/blobs/") == 0 && held(&home) < 1 << 20 {
        assert!(begun.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let (_, err) = checked(&child.wait_with_output().unwrap(), 130);
    assert!(err.contains("interrupted; `mullama pull big` resumes the download"), "{err}");
    assert_eq!(home.stdout_of(&["list"]).lines().count(), 2);

    registry.clear_faults();
    std::thread::sleep(Duration::from_millis(200));
    registry.take_requests();
    let (out, _) = checked(&home.with(&registry, &["pull", "big"]), 0);
    assert!(out.starts_with("pulled big:latest"), "{out}");
    let fetched = registry.sent("/blobs/");
    assert!(fetched < size as u64, "fetched {fetched} of {size} again");
}

/// Disk space in bytes that partial downloads occupy.
#[cfg(unix)]
fn held(home: &Home) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(files) = fs::read_dir(home.path().join("models/downloads")) else { return 0 };
    files.flatten().filter_map(|file| file.metadata().ok()).map(|data| data.blocks() * 512).sum()
}

#[test]
fn a_model_is_made_from_a_modelfile() {
    let home = Home::new();
    let file = format!("FROM {}\nPARAMETER temperature 0\nSYSTEM Be short.\n", demo().display());
    fs::write(home.path().join("Modelfile"), &file).unwrap();
    assert_eq!(home.stdout_of(&["create", "short"]), "created short:latest\n");
    assert_eq!(
        home.stdout_of(&["run", "short", "What is the capital of France?"]),
        "The capital of France is Paris.\n"
    );
    let err = home.stderr_of(3, &["create", "short", "-f", "none"]);
    assert!(err.contains("cannot read the Modelfile none"), "{err}");
    fs::write(home.path().join("bad"), "FORM x").unwrap();
    let err = home.stderr_of(2, &["create", "short", "-f", "bad"]);
    assert!(err.contains("line 1") && err.contains("did you mean FROM?"), "{err}");
}

#[test]
fn create_reports_a_template_without_effect() {
    let home = Home::new();
    fs::write(home.path().join("Modelfile"), "FROM demo\nTEMPLATE {{ .Prompt }}\n").unwrap();
    let err = home.stderr_of(0, &["create", "mine"]);
    assert!(err.contains("note: TEMPLATE has no effect"), "{err}");
    fs::write(home.path().join("Modelfile"), "FROM demo\n").unwrap();
    let err = home.stderr_of(0, &["create", "mine"]);
    assert!(!err.contains("note:"), "{err}");
}

#[test]
fn create_rejects_invalid_parameters() {
    let home = Home::new();
    for parameter in [
        "num_batch 2147483647",
        "num_gpu -99",
        "mirostat 9",
        "top_p 5.0",
        "repeat_last_n -5",
        "num_ctx 4294967296",
    ] {
        let file = format!("FROM demo\nPARAMETER {parameter}\n");
        fs::write(home.path().join("Modelfile"), file).unwrap();
        let err = home.stderr_of(2, &["create", "mine"]);
        assert!(err.contains(&format!("PARAMETER {parameter}: ")), "{err}");
    }
    // Values that mean the default, and more processors than there are here.
    let file = "FROM demo\nPARAMETER num_gpu -1\nPARAMETER seed -1\nPARAMETER num_ctx 0\nPARAMETER num_thread 96\n";
    fs::write(home.path().join("Modelfile"), file).unwrap();
    assert_eq!(home.stdout_of(&["create", "mine"]), "created mine:latest\n");
}

#[test]
fn modelfiles_written_by_powershell_are_read() {
    let home = Home::new();
    let text = "FROM demo\r\nPARAMETER temperature 0\r\n";
    let utf16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for bytes in [utf16, format!("\u{feff}{text}").into_bytes()] {
        fs::write(home.path().join("Modelfile"), bytes).unwrap();
        assert_eq!(home.stdout_of(&["create", "mine"]), "created mine:latest\n");
    }
    fs::write(home.path().join("Modelfile"), b"FROM demo\nSYSTEM Gr\xfc\xdfe").unwrap();
    let err = home.stderr_of(2, &["create", "mine"]);
    assert!(err.contains("hint: save it in UTF-8"), "{err}");
    let err = home.stderr_of(2, &["create", "mine", "-f", "models"]);
    assert!(err.contains("not a regular file"), "{err}");
}

#[test]
fn built_in_model_name_is_reserved() {
    let home = Home::new();
    fs::write(home.path().join("Modelfile"), "FROM demo\nPARAMETER temperature 0").unwrap();
    for demo in ["demo", "demo:latest", "Demo"] {
        for refused in [&["create", demo][..], &["cp", "demo", demo], &["rm", demo]] {
            let err = home.stderr_of(2, refused);
            assert!(err.contains("demo is the built-in model"), "{refused:?}: {err}");
        }
        let err = home.stderr_of(2, &["pull", demo]);
        assert!(err.contains("demo is built in: there is nothing to download"), "{err}");
        assert!(home.stdout_of(&["show", demo]).contains("1.9M"));
    }
    assert_eq!(home.stdout_of(&["create", "made"]), "created made:latest\n");
    assert_eq!(home.stdout_of(&["cp", "demo", "mine"]), "copied demo:latest to mine:latest\n");
    // A file with this name in the working folder is not the built-in model.
    fs::write(home.path().join("demo"), "no model").unwrap();
    assert_eq!(home.stdout_of(&["cp", "demo", "mine"]), "copied demo:latest to mine:latest\n");
    for name in ["made", "mine"] {
        let question = "What is the capital of France?";
        let answer = home.stdout_of(&["run", name, "--temperature", "0", question]);
        assert_eq!(answer, "The capital of France is Paris.\n");
    }
    assert_eq!(home.stdout_of(&["list"]).lines().count(), 4);
    home.stdout_of(&["rm", "made", "mine"]);
}

#[test]
fn a_split_model_is_shown_as_a_whole() {
    let home = Home::new();
    let [first, second] = shards();
    fs::write(home.path().join("a-00001-of-00002.gguf"), &first).unwrap();
    fs::write(home.path().join("a-00002-of-00002.gguf"), &second).unwrap();
    fs::write(home.path().join("whole.gguf"), home::large()).unwrap();
    fs::write(home.path().join("Modelfile"), "FROM a-00001-of-00002.gguf").unwrap();
    home.stdout_of(&["create", "split"]);
    let fact = |model: &str, name: &str| {
        let shown = home.stdout_of(&["show", model]);
        let line = shown.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        line.unwrap_or_else(|| panic!("{name} in {shown}")).to_owned()
    };
    for split in ["split", "a-00001-of-00002.gguf"] {
        for name in ["parameters", "tensors", "layers"] {
            assert_eq!(fact(split, name), fact("whole.gguf", name), "{name} of {split}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&home.stdout_of(&["show", split, "--json"])).unwrap();
        assert_eq!(json["file_size"], first.len() + second.len());
        let tensors = home.stdout_of(&["show", split, "--tensors"]);
        assert_eq!(
            tensors.lines().count(),
            home.stdout_of(&["show", "whole.gguf", "--tensors"]).lines().count()
        );
    }
}

/// The plan before a pull contacts the same server.
#[test]
fn silent_servers_get_few_requests() {
    let (home, registry) = (Home::new(), registry());
    registry.fault("/manifests/", u32::MAX, Fault::Stall(Duration::from_secs(60)));
    let mut command = home.mullama(&["pull", "tiny"]);
    command.env("MULLAMA_REGISTRY", registry.url()).env("MULLAMA_PULL_TIMEOUT", "1");
    checked(&command.output().unwrap(), 14);
    let asked = registry.take_requests().len();
    assert!((2..=6).contains(&asked), "{asked}");
}

#[test]
fn plain_http_to_other_hosts_needs_insecure() {
    let (home, registry) = (Home::new(), Registry::start());
    registry.add_file("/model.gguf", gguf(&[], 1000));
    let name = "http://models.invalid/model.gguf";
    let pull = |arguments: &[&str]| {
        home.mullama(arguments).env("http_proxy", registry.url()).output().unwrap()
    };
    let (_, err) = checked(&pull(&["pull", name]), 14);
    assert!(err.contains("--insecure"), "{err}");
    checked(&pull(&["pull", "--insecure", name]), 0);
}

#[test]
fn shells_get_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = home.stdout_of(&["completions", shell]);
        assert!(script.contains("mullama") && script.contains("rpc-server"), "{shell}");
    }
    assert!(home.stderr_of(2, &["completions", "tcsh"]).contains("bash"));
}

#[test]
fn every_command_has_an_example() {
    let home = Home::new();
    let help = home.stdout_of(&["help"]);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next());
    let mut count = 0;
    for name in names.filter(|name| *name != "help") {
        let help = home.stdout_of(&["help", name]);
        assert!(help.contains("Example") && help.contains(&format!("  mullama {name}")), "{help}");
        count += 1;
    }
    assert!(count > 9, "{help}");
}

#[test]
fn help_lists_exit_codes() {
    let help = Home::new().stdout_of(&["help"]);
    assert!(help.contains("   3  NotFound"), "{help}");
    assert!(!help.contains('\x1b'), "{help}");
}
