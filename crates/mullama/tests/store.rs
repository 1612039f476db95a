//! Models by name: pulled into the store, and loaded with the settings stored with them.
//!
//! Registry and store are set by environment variables, so every test runs in a separate process: the test
//! program starts itself again, as `child`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mullama::hub::{CancelToken, CreateOptions, Modelfile, Phase, PullOptions, Store};
use mullama::{
    ChatOptions, ContextParams, Error, ErrorKind, GenerateOptions, Lora, Message, Model,
    ModelParams, PlanOptions, plan,
};
use mullama_test_registry::{Content, Fault, Registry, gguf};
use mullama_testkit::gguf::File;
use mullama_testkit::{Shape, WeightType, adapter, merge, preset, write_model};

const CASE: &str = "MULLAMA_TEST_CASE";
const FOLDER: &str = "MULLAMA_TEST_FOLDER";
const QUESTION: &str = "What is the capital of France?";
const PARIS: &str = "The capital of France is Paris.";

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        [$((stringify!($name), $name as fn())),+]
    };
}

/// All cases by name.
fn cases() -> Vec<(&'static str, fn())> {
    cases![
        a_model_is_pulled_and_loaded_by_its_name,
        a_pull_is_cancelled,
        parameters_hold_where_the_caller_says_nothing,
        system_and_messages_come_first,
        the_stores_template_serves_where_the_file_has_none,
        a_template_that_cannot_be_honoured_stops_chats_only,
        a_draft_model_is_used,
        an_adapter_is_applied,
        errors_have_the_name_that_the_caller_used,
    ]
    .into()
}

#[test]
fn child() {
    if let Ok(case) = std::env::var(CASE) {
        let (_, run) = cases().into_iter().find(|(name, _)| *name == case).unwrap();
        run();
    }
}

#[test]
fn cases_run_in_separate_processes() {
    for (name, _) in cases() {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CASE, name)
            .env(FOLDER, folder.path())
            .env("MULLAMA_MODELS", folder.path().join("models"))
            .env("OLLAMA_MODELS", folder.path().join("ollama"))
            .env("HF_HUB_CACHE", folder.path().join("hf"))
            .env("LLAMA_CACHE", folder.path().join("llama"))
            .output()
            .unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "{name}\n{}{}",
            said(&output.stdout),
            said(&output.stderr)
        );
    }
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER).unwrap().into()
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/demo.gguf")
}

fn options(registry: &Registry) -> PullOptions<'static> {
    let mut options = PullOptions::default();
    options.endpoints.registry = registry.url();
    options
}

fn load(name: &str) -> Result<Model, Error> {
    Model::load(name, ModelParams::default(), ContextParams::default().with_n_threads(1))
}

/// Creates the model `mine` from a file and instructions.
fn create(from: &Path, instructions: &str) {
    let modelfile =
        Modelfile::parse(&format!("FROM {}\n{instructions}\n", from.display())).unwrap();
    let name = "mine".parse().unwrap();
    Store::open().unwrap().create(&name, &modelfile, CreateOptions::default()).unwrap();
}

fn ask(model: &Model, question: &str, options: &ChatOptions) -> String {
    model.chat(&[Message::user(question)], options).unwrap().text.clone()
}

fn a_model_is_pulled_and_loaded_by_its_name() {
    let registry = Registry::start();
    registry.add_model("library/tiny:latest", &[("model", Content::file(&demo()).unwrap())]);
    let error = load("tiny").err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("Model.pull(\"tiny:latest\")"), "{error:?}");

    let mut seen = Vec::new();
    let progress = |progress: &mullama::hub::Progress| seen.push(progress.clone());
    let pulled = Model::pull_with("tiny", options(&registry).with_progress(progress)).unwrap();
    assert_eq!(pulled.name.to_string(), "tiny:latest");
    let last = seen.last().unwrap();
    assert_eq!((last.phase, last.completed, last.fraction()), (Phase::Done, pulled.size, 1.0));
    assert_eq!(seen[0].fraction(), 0.0);

    let model = load("tiny").unwrap();
    assert_eq!(model.path(), pulled.path);
    assert_eq!(
        ask(&model, QUESTION, &GenerateOptions::default().with_temperature(0.0).into()),
        PARIS
    );
    assert_eq!(
        Model::pull_with("./x.gguf", options(&registry)).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    assert_eq!(
        Model::pull_with("a b", options(&registry)).unwrap_err().kind(),
        ErrorKind::UnknownModel
    );
}

fn a_pull_is_cancelled() {
    let registry = Registry::start();
    registry.add_model("library/big:latest", &[("model", gguf(&[], 16 << 20))]);
    registry.fault("/blobs/", u32::MAX, Fault::Slow(1 << 20));
    let cancel = CancelToken::new();
    let progress = |progress: &mullama::hub::Progress| {
        if progress.phase == Phase::Downloading {
            cancel.cancel();
        }
    };
    let options = options(&registry).with_cancel(&cancel).with_progress(progress);
    let error = Model::pull_with("big", options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert_eq!(load("big").err().unwrap().kind(), ErrorKind::NotFound);
}

fn parameters_hold_where_the_caller_says_nothing() {
    create(
        &demo(),
        "PARAMETER temperature 0\nPARAMETER stop Paris\nPARAMETER num_ctx 300\nPARAMETER num_predict 9\n\
         PARAMETER seed 7\nPARAMETER num_keep 4",
    );
    let model = load("mine").unwrap();
    assert_eq!(model.context_size(), 512, "300 cells, as the engine rounds them");
    assert_eq!(model.default_options().unwrap()["temperature"], 0.0);
    let nothing = ChatOptions::default();
    assert_eq!(ask(&model, QUESTION, &nothing), "The capital of France is ");
    let other = GenerateOptions::default().with_stop("XYZ");
    let answer = model.chat(&[Message::user(QUESTION)], &other.clone().into()).unwrap();
    assert!(answer.tokens.len() <= 9);
    assert_eq!(ask(&model, QUESTION, &other.with_max_tokens(50).into()), PARIS);

    let wider = ContextParams::default().with_n_ctx(1024);
    let model = Model::load("mine", ModelParams::default(), wider).unwrap();
    assert_eq!(model.context_size(), 1024);
    // Loaded by path, it has only the settings of the file.
    let model = load(model.path().to_str().unwrap()).unwrap();
    assert_ne!(model.default_options().unwrap()["temperature"], 0.0);
}

fn system_and_messages_come_first() {
    create(
        &demo(),
        &format!("SYSTEM Be short.\nMESSAGE user {QUESTION}\nMESSAGE assistant {PARIS}"),
    );
    let model = load("mine").unwrap();
    let greedy: ChatOptions = GenerateOptions::default().with_temperature(0.0).into();
    assert_eq!(ask(&model, "And of Japan?", &greedy), "The capital of Japan is Tokyo.");
    let prompt = |messages: &[Message]| model.apply_chat_template(messages, &greedy, true).unwrap();
    let own = [Message::system("Be long."), Message::user("Hi")];
    assert!(prompt(&own[1..]).contains("Be short.") && prompt(&own[1..]).contains(PARIS));
    assert!(!prompt(&own).contains("Be short.") && prompt(&own).contains("Be long."));
    let streamed: String = model
        .stream_chat(&[Message::user("And of Japan?")], &greedy)
        .unwrap()
        .map(|chunk| chunk.unwrap().text)
        .collect();
    assert_eq!(streamed, "The capital of Japan is Tokyo.");
}

/// A copy of the demo model's file without its chat template.
fn without_template() -> PathBuf {
    let mut bytes = fs::read(demo()).unwrap();
    let key = b"tokenizer.chat_template";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap();
    // Another key of the same length, which is never read.
    bytes[at..at + key.len()].copy_from_slice(b"tokenizer.Chat_template");
    let path = folder().join("plain.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

fn the_stores_template_serves_where_the_file_has_none() {
    let plain = without_template();
    let error =
        load(plain.to_str().unwrap()).unwrap().chat(&[Message::user("x")], &ChatOptions::default());
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Template);
    create(
        &plain,
        "TEMPLATE \"\"\"{{ if .System }}[{{ .System }}]{{ end }}<{{ .Prompt }}>{{ .Response }}\"\"\"",
    );
    let model = load("mine").unwrap();
    assert!(model.capabilities().chat);
    let messages = [Message::system("S"), Message::user("U")];
    let prompt = model.apply_chat_template(&messages, &ChatOptions::default(), true).unwrap();
    assert_eq!(prompt, "[S]<U>");
    // The file's template takes precedence over the store's, and the caller's over both.
    create(&demo(), "TEMPLATE \"\"\"<{{ .Prompt }}>\"\"\"");
    let prompt =
        load("mine").unwrap().apply_chat_template(&messages, &ChatOptions::default(), true);
    assert!(!prompt.unwrap().contains("<U>"));
    let params = ModelParams::default()
        .with_chat_template("{% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}");
    let model = Model::load("mine", params, ContextParams::default()).unwrap();
    let prompt = model.apply_chat_template(&messages, &ChatOptions::default(), true).unwrap();
    assert_eq!(prompt, "system=S;user=U;");
}

fn a_template_that_cannot_be_honoured_stops_chats_only() {
    let registry = Registry::start();
    let weights = Content::file(&without_template()).unwrap();
    let template: Content = "{{ nosuch .Prompt }}".into();
    registry.add_model("library/odd:latest", &[("model", weights), ("template", template)]);
    Model::pull_with("odd", options(&registry)).unwrap();
    let model = load("odd").unwrap();
    assert!(!model.capabilities().chat);
    let error = model.chat(&[Message::user("x")], &ChatOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("nosuch"), "{error:?}");
    model.generate("x", &GenerateOptions::default().with_max_tokens(1)).unwrap();
}

fn a_draft_model_is_used() {
    let draft = demo().with_file_name("draft.gguf");
    create(&demo(), &format!("DRAFT {}\nPARAMETER draft_num_predict 2", draft.display()));
    let model = load("mine").unwrap();
    assert!(model.placement().devices.last().unwrap().draft > 1_000_000);
    let greedy = GenerateOptions::default().with_temperature(0.0);
    let text = ask(&model, "What is the capital of Peru?", &greedy.into());
    assert_eq!(text, "The capital of Peru is Lima.");
    let params = ModelParams::default().with_draft_model("none");
    let plain = Model::load("mine", params, ContextParams::default().with_n_threads(1)).unwrap();
    assert_eq!(plain.placement().devices.last().unwrap().draft, 0);
    let named = ModelParams::default().with_draft_model("mine");
    let error = Model::load("nothing", named, ContextParams::default()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

fn an_adapter_is_applied() {
    let path = |name: &str| folder().join(name);
    let shape = Shape { n_vocab: 300, ..preset("tiny").unwrap().shape };
    write_model(&path("base.gguf"), &shape, WeightType::F32, 1).unwrap();
    let base = File::decode(&fs::read(path("base.gguf")).unwrap()).unwrap();
    let trained = adapter(&base, 0.5, 1);
    fs::write(path("adapter.gguf"), trained.encode()).unwrap();
    fs::write(path("merged.gguf"), merge(&base, &trained, 1.0).unwrap().encode()).unwrap();
    create(&path("base.gguf"), &format!("ADAPTER {}", path("adapter.gguf").display()));
    let greedy =
        GenerateOptions::default().with_temperature(0.0).with_max_tokens(24).with_ignore_eos(true);
    let tokens = |source: &str, options: &GenerateOptions| {
        load(source).unwrap().generate("The quick", options).unwrap().tokens
    };
    let merged = tokens(path("merged.gguf").to_str().unwrap(), &greedy);
    let plain = tokens(path("base.gguf").to_str().unwrap(), &greedy);
    assert_ne!(plain, merged);
    assert_eq!(tokens("mine", &greedy), merged);
    assert_eq!(tokens("mine", &greedy.clone().with_lora(Lora::default())), plain);
    let none = ModelParams::default().with_lora(Lora::default());
    let model = Model::load("mine", none, ContextParams::default()).unwrap();
    assert_eq!(model.generate("The quick", &greedy).unwrap().tokens, plain);
}

fn errors_have_the_name_that_the_caller_used() {
    let large = || ContextParams::default().with_n_ctx(1_000_000_000).with_n_threads(1);
    create(&demo(), "");
    for (name, shown) in [("mine", "mine:latest"), ("demo", "demo")] {
        let params = ModelParams::default().with_n_gpu_layers(0);
        let error = Model::load(name, params.clone(), large()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DoesNotFit);
        let expected = format!("{shown} with a context of 1000000000 does not fit: ");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(error.get("path").unwrap().starts_with('/'), "programs get the path: {error:?}");
        let options = PlanOptions::default().with_model(params).with_context(large());
        let refusal = plan(name, &options).unwrap().refusal.unwrap();
        assert!(refusal.starts_with(&expected), "{refusal}");
    }
    // A damaged file, and a damaged file that belongs to the model.
    let stored = Store::open().unwrap().find(&"mine".parse().unwrap()).unwrap();
    let size = fs::metadata(&stored.path).unwrap().len();
    let damage = |path: &Path, size: u64| {
        fs::write(path, "no model").unwrap();
        fs::File::options().write(true).open(path).unwrap().set_len(size).unwrap();
    };
    damage(&stored.path, size);
    let error = load("mine").map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.to_string().contains("mine:latest"), "{error}");
    assert!(!error.report().contains("sha256"), "{error:?}");

    fs::copy(demo(), &stored.path).unwrap();
    let draft = demo().with_file_name("draft.gguf");
    create(&demo(), &format!("DRAFT {}", draft.display()));
    let stored = Store::open().unwrap().find(&"mine".parse().unwrap()).unwrap();
    damage(&stored.draft.unwrap(), fs::metadata(draft).unwrap().len());
    let error = load("mine").map(drop).unwrap_err();
    assert!(error.to_string().contains("the draft model of mine:latest"), "{error}");
    assert!(!error.report().contains("sha256"), "{error:?}");
}
