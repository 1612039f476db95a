//! Invalid input causes an error of the right kind that names the input, and affects neither the
//! process nor its other models.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, ErrorKind, FlashAttention, GenerateOptions,
    LogitBias, Message, Model, ModelParams, PlanOptions, Result, plan,
};
use mullama_testkit::architecture::ARCHITECTURES;
use mullama_testkit::broken;
use mullama_testkit::gguf::{File, TensorType, Value};
use mullama_testkit::probe::Verdict;
use mullama_testkit::tokenizer::Tokenizer;
use serde_json::json;

static DEMO: LazyLock<Model> = LazyLock::new(|| load("demo").expect("the demo model loads"));

fn load(source: impl AsRef<Path>) -> Result<Model> {
    let context = ContextParams::default().with_n_ctx(256).with_n_threads(1);
    Model::load(source, ModelParams::default(), context)
}

/// A folder of a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mullama-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the kind of the error for a file. The message must name the file.
fn refusal(path: &Path) -> ErrorKind {
    let error = load(path).map(drop).expect_err("the file is refused");
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error:?} does not name {name}");
    error.kind()
}

#[test]
fn paths_without_a_model_are_errors() {
    let scratch = Scratch::new("paths");
    assert_eq!(refusal(&scratch.0.join("missing.gguf")), ErrorKind::NotFound);
    assert_eq!(refusal(&scratch.0), ErrorKind::InvalidModel);
    assert_eq!(refusal(&scratch.file("empty.gguf", b"")), ErrorKind::InvalidModel);
    let text = scratch.file("text.gguf", b"This is not a model.\n");
    assert_eq!(refusal(&text), ErrorKind::InvalidModel);
    assert_eq!(refusal(&text.join("below.gguf")), ErrorKind::NotFound);
    assert_eq!(load("no-such-model").map(drop).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn truncated_models_are_rejected() {
    let scratch = Scratch::new("truncated");
    let whole = fs::read(DEMO.path()).unwrap();
    // Every length at the beginning, then increasing steps, then the last byte.
    let lengths = (1..400).chain((1..400).map(|i| 400 + i * 97)).chain((0..40).map(|i| i * 95_003));
    let mut count = 0;
    for length in lengths.chain([whole.len() - 1]).filter(|&length| length < whole.len()) {
        let path = scratch.file("cut.gguf", &whole[..length]);
        let expected = if length == 0 { "is empty" } else { "" };
        let error = load(&path).map(drop).expect_err("a file that was cut is refused");
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "cut at {length}: {error:?}");
        assert!(error.to_string().contains("cut.gguf") && error.to_string().contains(expected));
        count += 1;
    }
    println!("{count} truncations refused");
}

/// Does everything with a file that can be done with a model; returns the first error.
fn use_in_every_way(path: &Path) -> Result<()> {
    let planned = plan(path, &PlanOptions::default());
    let model = load(path)?;
    let outcomes = [
        planned.map(drop),
        // A model without a tokenizer accepts tokens, which must not crash a broken one either.
        model.generate(vec![1, 2, 3], &GenerateOptions::default().with_max_tokens(2)).map(drop),
        model.tokenize("abc \u{e9}A<|im_end|>\n", true, true).map(drop),
        model.apply_chat_template(&[Message::user("abc")], &ChatOptions::default(), true).map(drop),
        model
            .chat(&[Message::user("abc")], &GenerateOptions::default().with_max_tokens(2).into())
            .map(drop),
        model.embed("abc", &EmbedOptions::default()).map(drop),
        model.generate("abc", &GenerateOptions::default().with_max_tokens(2)).map(drop),
    ];
    outcomes.into_iter().collect()
}

#[test]
fn broken_models_are_rejected_or_work() {
    let scratch = Scratch::new("broken");
    let good = fs::read(mullama_testkit::fixture("tiny")).unwrap();
    let mut wordless = Vec::new();
    let (mut refused, mut accepted) = (0, 0);
    for defect in broken::variants(&good).unwrap() {
        let path = scratch.file(&format!("{}.gguf", defect.name), &defect.bytes);
        match use_in_every_way(&path) {
            Ok(()) => {
                // Only files that the engine accepts may load.
                assert!(
                    matches!(defect.engine, Verdict::Accepts),
                    "{} was accepted, and the engine alone says {:?}",
                    defect.name,
                    defect.engine
                );
                accepted += 1;
            }
            Err(error) => {
                let kinds = [
                    ErrorKind::InvalidModel,
                    ErrorKind::InvalidArgument,
                    ErrorKind::Unsupported,
                    ErrorKind::Backend,
                    ErrorKind::OutOfMemory,
                    ErrorKind::Template,
                ];
                assert!(kinds.contains(&error.kind()), "{}: {error:?}", defect.name);
                let text = error.to_string().to_lowercase();
                if !defect.expect.iter().any(|word| text.contains(word)) {
                    wordless.push(format!("{}: {error}", defect.name));
                }
                refused += 1;
            }
        }
    }
    println!("{refused} refused, {accepted} accepted; without the expected words:");
    println!("{}", wordless.join("\n"));
    assert!(refused > 100);
    assert!(wordless.len() <= 6, "messages should say what is wrong");
    let answer = DEMO.chat(&[Message::user("Hello!")], &GenerateOptions::default().into());
    assert!(answer.is_ok(), "another model in the process goes on: {answer:?}");
}

#[test]
fn a_vocabulary_only() {
    let path = mullama_testkit::fixture("vocab");
    let error = load(&path).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.hint().is_some_and(|hint| hint.contains("vocab_only")), "{error:?}");

    let params = ModelParams::default().with_vocab_only(true);
    let model = Model::load(&path, params, ContextParams::default()).unwrap();
    let tokens = model.tokenize("Hello", false, false).unwrap();
    assert_eq!(model.detokenize(&tokens, false).unwrap(), "Hello");
    let error = model.generate("Hello", &GenerateOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn a_prompt_longer_than_the_context() {
    let model = load("demo").unwrap();
    let prompt = vec![5; model.context_size() as usize + 1];
    let error = model.generate(prompt, &GenerateOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    assert!(error.to_string().contains("257") && error.to_string().contains("256"), "{error}");
}

#[test]
fn invalid_tokens_and_texts_are_rejected() {
    let kind = |result: Result<mullama::Completion>| result.unwrap_err().kind();
    let default = GenerateOptions::default;
    for bad in [-1, i32::MIN, DEMO.n_vocab() as i32, i32::MAX] {
        assert_eq!(kind(DEMO.generate(vec![bad], &default())), ErrorKind::InvalidArgument);
        assert_eq!(DEMO.detokenize(&[bad], false).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let biased = default().with_logit_bias(LogitBias::from([(bad, 1.0)]));
        assert_eq!(kind(DEMO.generate("x", &biased)), ErrorKind::InvalidArgument);
    }
    let error = DEMO.generate("nul\0here", &default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("NUL") && error.to_string().contains('3'), "{error}");
    assert_eq!(kind(DEMO.generate(Vec::new(), &default())), ErrorKind::InvalidArgument);
    let nul = [Message::user("nul\0here")];
    let error = DEMO.chat(&nul, &default().into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
}

#[test]
fn options_out_of_range() {
    let refused = |params: ModelParams, context: ContextParams| {
        let error = Model::load("demo", params, context).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        error.to_string()
    };
    let model = ModelParams::default;
    let context = ContextParams::default;
    assert!(refused(model(), context().with_n_ctx(u32::MAX)).contains("`context_size`"));
    assert!(refused(model(), context().with_n_batch(0)).contains("`batch_size`"));
    let batches = context().with_n_batch(64).with_n_ubatch(128);
    assert!(refused(model(), batches).contains("`ubatch_size`"));
    assert!(refused(model(), context().with_n_threads(100_000)).contains("`n_threads`"));
    assert!(refused(model(), context().with_n_parallel(0)).contains("`n_parallel`"));
    let quantised = context()
        .with_flash_attention(FlashAttention::Off)
        .with_kv_cache_type(mullama::KvCacheType::Q8_0);
    assert!(refused(model(), quantised).contains("`kv_cache_type`"));
    assert!(refused(model().with_tensor_split([0.0]), context()).contains("`tensor_split`"));
    let typo = [("llama.context_lenght".to_owned(), 512.into())];
    let unknown = refused(model().with_metadata_overrides(typo), context());
    assert!(unknown.contains("llama.context_lenght"), "{unknown}");
    let key = [("x".repeat(200), 1.into())];
    assert!(refused(model().with_metadata_overrides(key), context()).contains("metadata"));
    let options = GenerateOptions::default;
    for bad in [options().with_top_p(2.0), options().with_stop(""), options().with_seed(u32::MAX)] {
        let error = DEMO.generate("x", &bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    }
}

#[test]
fn a_broken_template_is_refused_at_loading_or_when_it_is_used() {
    let load = |template: &str| {
        let params = ModelParams::default().with_chat_template(template);
        Model::load("demo", params, ContextParams::default().with_n_threads(1))
    };
    for template in ["{{", "{% if %}", "{% for m in messages %}{{ m.content }}", "{{ 1 + }}"] {
        let error = load(template).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Template, "{template}");
        assert!(error.to_string().starts_with("the chat template is invalid: "), "{error}");
    }
    for template in ["{{ messages[0].nothing.at.all }}", "{{ raise_exception('no') }}"] {
        let model = load(template).unwrap();
        let error = model.chat(&[Message::user("Hi")], &GenerateOptions::default().into());
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Template, "{template}");
        assert!(model.generate("Hi", &GenerateOptions::default().with_max_tokens(1)).is_ok());
    }
}

#[test]
fn penalties_look_back_no_further_than_the_context() {
    let options = GenerateOptions::default().with_max_tokens(4).with_temperature(0.0);
    let options = options.with_repeat_penalty(1.1).with_dry_multiplier(0.5);
    let far = |last: i32| {
        let options = options.clone().with_repeat_last_n(last).with_dry_penalty_last_n(last);
        DEMO.generate("Hello", &options).unwrap().text
    };
    // Two lists of 2^31 numbers would be 16 GiB.
    assert_eq!(far(i32::MAX), far(-1));
}

#[test]
fn template_names_and_paths_are_rejected() {
    for template in ["llama3", "templates/chat.jinja", ""] {
        let params = ModelParams::default().with_chat_template(template);
        let error = Model::load("demo", params, ContextParams::default()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("`chat_template`"), "{error}");
    }
}

#[test]
fn a_tokenizer_that_does_not_fit_its_vocabulary_is_an_error() {
    let params = ModelParams::default()
        .with_vocab_only(true)
        .with_metadata_overrides([("tokenizer.ggml.model".to_owned(), "rwkv".into())]);
    let model = Model::load("demo", params, ContextParams::default()).unwrap();
    // The engine would loop forever.
    let kinds: Vec<_> = ["hello", "\u{e9}", "~~"]
        .map(|text| model.tokenize(text, false, false).map_err(|error| error.kind()).err())
        .into();
    assert!(
        kinds.iter().all(|kind| matches!(kind, None | Some(ErrorKind::InvalidModel))),
        "{kinds:?}"
    );
    assert!(kinds.iter().any(Option::is_some), "{kinds:?}");
}

#[test]
fn metadata_overrides_of_another_type_are_rejected() {
    let load = |key: &str, value: serde_json::Value| {
        let params = ModelParams::default().with_metadata_overrides([(key.to_owned(), value)]);
        Model::load("demo", params, ContextParams::default().with_n_threads(1)).map(drop)
    };
    for (key, value, problem) in [
        ("llama.context_length", "x".into(), "expected an integer"),
        ("llama.context_length", 2.5.into(), "expected an integer"),
        ("llama.context_length", (-1).into(), "is -1"),
        ("general.name", 5.into(), "expected a text"),
        ("llama.rope.freq_base", "x".into(), "expected a number"),
        ("tokenizer.ggml.add_bos_token", 1.into(), "expected true or false"),
        ("tokenizer.ggml.bos_token_id", 1_000_000.into(), "the vocabulary has 1024 tokens"),
        ("tokenizer.ggml.tokens", "a".into(), "a list"),
        // The file does not have this key, and the engine says what it expects.
        ("llama.expert_count", "x".into(), "`llama.expert_count`, expected int but got str"),
    ] {
        let error = load(key, value).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}: {error}");
        assert_eq!(error.get("option"), Some("metadata_overrides"));
        let said = error.to_string();
        assert!(said.contains(key) && said.contains(problem), "{said}");
    }
    // An integer is a number too.
    load("llama.rope.freq_base", 10_000.into()).unwrap();
    load("llama.rope.scaling.factor", 2.into()).unwrap();
}

#[test]
fn a_context_that_is_far_too_large_is_refused_at_once() {
    for n_ctx in [100_000_000, i32::MAX as u32] {
        let context = ContextParams::default().with_n_ctx(n_ctx);
        let error = Model::load("demo", ModelParams::default(), context).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DoesNotFit, "{error}");
    }
}

/// Files with one entry or tensor changed, whose use ends a process that has only the engine.
#[test]
fn malicious_model_files_are_rejected() {
    let scratch = Scratch::new("harm");
    let _ = DEMO.path();
    let good = File::decode(&fs::read(mullama_testkit::fixture("small")).unwrap()).unwrap();
    // Types that only the engine's activations have.
    for ty in [TensorType::Q8_1, TensorType::Q8_K] {
        for name in ["token_embd.weight", "blk.0.ffn_up.weight", "output.weight"] {
            let mut file = good.clone();
            let tensor = file.header.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap();
            tensor.ty = ty.number();
            let size = file.header.lay_out().unwrap();
            file.data = vec![0; size as usize];
            let path = scratch.file("type.gguf", &file.encode());
            assert_eq!(refusal(&path), ErrorKind::InvalidModel, "{ty} {name}");
            let error = plan(&path, &PlanOptions::default()).map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{ty} {name}: {error}");
        }
    }
    let with = |key: &str, value| {
        let mut file = File::decode(&fs::read(DEMO.path()).unwrap()).unwrap();
        file.header.set(key, value);
        scratch.file("changed.gguf", &file.encode())
    };
    // A tokenizer that loops without end over the bytes that the vocabulary lacks.
    let error = use_in_every_way(&with("tokenizer.ggml.model", Value::string("rwkv"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error}");
    let template = Value::string("{{ messages[0].content }}\n{{ 1 % 0 }}");
    let error = use_in_every_way(&with("tokenizer.chat_template", template)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Template, "{error}");
    assert!(error.to_string().contains("line 2"), "{error}");
    // An embedding length without the tensors for it.
    for length in [1_000_000, i32::MAX as u32, u32::MAX] {
        let path = with("llama.embedding_length", Value::u32(length));
        let error = load(&path).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{length}: {error}");
        let error = plan(&path, &PlanOptions::default()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{length}: {error}");
    }
    // A context of this length is planned and does not fit, or a shorter one is.
    let path = with("llama.context_length", Value::u32(i32::MAX as u32));
    plan(&path, &PlanOptions::default()).unwrap();
    for source in [path.as_path(), Path::new("demo")] {
        let context = ContextParams::default().with_n_ctx(i32::MAX as u32);
        let planned = plan(source, &PlanOptions::default().with_context(context)).unwrap();
        assert!(!planned.fits, "{planned:?}");
    }
}

/// Character maps of `SentencePiece` that are cut or whose numbers point past their end.
#[test]
fn damaged_character_maps_are_errors() {
    const KEY: &str = "tokenizer.ggml.precompiled_charsmap";
    /// Type of the elements, and their number.
    const ARRAY_HEADER: usize = 12;
    let scratch = Scratch::new("character-maps");
    let bytes = fs::read(mullama_testkit::fixture("vocab-unigram")).unwrap();
    let good = File::decode(&bytes).unwrap();
    let (_, value) =
        Tokenizer::Unigram.metadata(300).into_iter().find(|(key, _)| key == KEY).unwrap();
    let map = &value.bytes[ARRAY_HEADER..];
    let tokens_with = |map: Option<&[u8]>| -> Result<Vec<_>> {
        let mut file = good.clone();
        if let Some(map) = map {
            let mut value = value.clone();
            value.bytes.truncate(ARRAY_HEADER - 8);
            value.bytes.extend((map.len() as u64).to_le_bytes());
            value.bytes.extend(map);
            file.header.set(KEY, value);
        }
        let path = scratch.file("map.gguf", &file.encode());
        let params = ModelParams::default().with_vocab_only(true);
        let model = Model::load(path, params, ContextParams::default())?;
        // `A` is in the map, with which it becomes `a`; the others follow nodes that it lacks.
        ["A", "aA bA", "\u{e9}\u{1f600}", "AAAA"]
            .into_iter()
            .try_fold(Vec::new(), |tokens, text| {
                Ok([tokens, model.tokenize(text, false, false)?].concat())
            })
    };
    let with = |map: &[u8]| tokens_with(Some(map));
    let whole = with(map).unwrap();
    assert_ne!(tokens_with(None).unwrap(), whole, "the map is used");
    let trie = u32::from_le_bytes(*map.first_chunk().unwrap()) as usize;
    let cuts =
        [0, 1, 2, 3, 4, 5, 7, 8, 100, 265, trie - 1, trie, trie + 1, trie + 3, trie + 4, trie + 5];
    for length in cuts {
        assert!(length < map.len());
        let error = with(&map[..length]).map(drop).expect_err(&length.to_string());
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "cut at {length}: {error}");
    }
    let number_at = |at: usize, number: u32| {
        let mut map = map.to_vec();
        map[at..at + 4].copy_from_slice(&number.to_le_bytes());
        map
    };
    let letter = 4 * (1 + usize::from(b'A'));
    for (at, number) in [
        (0, u32::MAX),
        (0, map.len() as u32),
        (0, map.len() as u32 - 3),
        (0, 3),
        (letter, u32::MAX),
        (letter, u32::from(b'A') | 1 << 8 | 0x1f_ffff << 10),
        (4 * (1 + (usize::from(b'A') ^ 1)), 0x7fff_ffff),
    ] {
        match with(&number_at(at, number)) {
            Ok(tokens) => assert_ne!(tokens, whole, "{number:#x} at {at} changes nothing"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::InvalidModel, "{number:#x} at {at}: {error}");
            }
        }
    }
}

/// Bounds that contradict each other, and chains of references of any length.
#[test]
fn contradictory_bounds_are_rejected() {
    let options = || GenerateOptions::default().with_max_tokens(40).with_temperature(0.0);
    for grammar in
        [r#"root ::= "a"{5,2}"#, r#"root ::= ("a" | "b"){2,1} "c""#, "root ::= [a-z]{3,0}"]
    {
        let error = DEMO.generate("x", &options().with_grammar(grammar)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{grammar}: {error}");
    }
    let refused = |schema: serde_json::Value| {
        let error = DEMO.generate("x", &options().with_json_schema(schema)).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{error}");
        error.to_string()
    };
    for (said, schema) in [
        ("minItems", json!({"type": "array", "minItems": 5, "maxItems": 2})),
        ("minLength", json!({"type": "string", "minLength": 5, "maxLength": 2})),
        ("minProperties", json!({"type": "object", "minProperties": 5, "maxProperties": 2})),
        (
            "minContains",
            json!({"type": "array", "contains": {"const": 1}, "minContains": 5, "maxContains": 2}),
        ),
        ("inimum", json!({"type": "integer", "minimum": 5, "maximum": 2})),
        ("10", json!({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 10})),
        ("inimum", json!({"type": "number", "exclusiveMinimum": 9, "exclusiveMaximum": 9})),
    ] {
        let error = refused(schema.clone());
        assert!(error.contains(said), "{schema}: {error}");
        // The same where a property has it.
        let error = refused(json!({"properties": {"a": schema}, "required": ["a"]}));
        assert!(error.contains(said), "{schema}: {error}");
    }
    let chain: serde_json::Map<_, _> = (0..4000)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/n{}", n + 1)});
            (
                format!("n{n}"),
                json!({"type": "object", "properties": {"a": next}, "required": ["a"]}),
            )
        })
        .chain([("n4000".to_owned(), json!({"type": "null"}))])
        .collect();
    let schema = json!({"$ref": "#/$defs/n0", "$defs": chain});
    match DEMO.generate("x", &options().with_json_schema(schema)) {
        Ok(answer) => assert!(answer.text.starts_with('{'), "{answer}"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains("nested too deeply"), "{error}");
        }
    }
}

/// Creates a small model of another architecture with a changed metadata entry.
fn architecture(name: &str, key: &str, value: Option<Value>) -> Vec<u8> {
    let found = ARCHITECTURES.iter().find(|architecture| architecture.name == name).unwrap();
    let mut file = found.model().unwrap();
    file.header.remove(key);
    if let Some(value) = value {
        file.header.set(key, value);
    }
    file.encode()
}

#[test]
fn zero_divisors_in_metadata_are_rejected() {
    let scratch = Scratch::new("divisors");
    // The engine can create models only after it was started.
    let _ = DEMO.path();
    let zero = || Some(Value::u32(0));
    let long = || Some(Value::strings(["a".repeat(100_000)]));
    for (name, key, value) in [
        ("llama", "llama.rope.dimension_count", zero()),
        ("plamo3", "plamo3.rope.dimension_count", zero()),
        ("plamo3", "plamo3.rope.dimension_count", Some(Value::u32(64))),
        ("qwen3next", "qwen3next.full_attention_interval", zero()),
        ("mamba2", "mamba2.ssm.group_count", zero()),
        ("mamba2", "mamba2.ssm.time_step_rank", zero()),
        ("rwkv7", "rwkv7.wkv.head_size", zero()),
        ("ernie4_5-moe", "ernie4_5-moe.interleave_moe_layer_step", zero()),
        ("olmo2", "olmo2.attention.head_count", zero()),
        ("olmo2", "olmo2.attention.head_count", None),
        ("deepseek", "deepseek.embedding_length_out", Some(Value::u32(1 << 29))),
        ("qwen2", "tokenizer.ggml.tokens", long()),
        ("nemotron", "tokenizer.ggml.tokens", long()),
        ("rwkv7", "rwkv7.token_shift_count", Some(Value::u32(1 << 20))),
        ("rwkv7", "rwkv7.wkv.head_size", Some(Value::u32(1 << 23))),
        ("rwkv7", "rwkv7.wkv.head_size", Some(Value::u32(16))),
        ("rwkv7", "rwkv7.wkv.head_size", Some(Value::u32(32))),
        ("rwkv7", "tokenizer.ggml.tokens", Some(Value::strings(["a", "\\x0aa"]))),
    ] {
        let path = scratch.file("model.gguf", &architecture(name, key, value));
        let error = load(&path).map(drop).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{key}: {error}");
        let error = plan(&path, &PlanOptions::default()).expect_err(key);
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{key}: {error}");
    }
    // The same with values of options.
    for (key, value) in [("llama.rope.dimension_count", 0), ("llama.attention.head_count", 0)] {
        let params =
            ModelParams::default().with_metadata_overrides([(key.to_owned(), value.into())]);
        let error = Model::load("demo", params, ContextParams::default()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{key}: {error}");
    }
}

#[test]
fn layers_without_required_tensors_are_rejected() {
    let scratch = Scratch::new("layers");
    let _ = DEMO.path();
    for (name, missing) in [
        ("phi3", "blk.1.attn_k.weight"),
        ("falcon-h1", "blk.0.ssm_conv1d.bias"),
        ("qwen3next", "blk.0.attn_gate.weight"),
    ] {
        let found = ARCHITECTURES.iter().find(|architecture| architecture.name == name).unwrap();
        let mut file = found.model().unwrap();
        let path = scratch.file("sound.gguf", &file.encode());
        load(&path).map_or_else(|error| panic!("{name}: {error}"), drop);
        file.header.tensors.retain(|tensor| tensor.name != missing);
        let size = file.header.lay_out().unwrap();
        file.data.resize(size as usize, 0);
        let path = scratch.file("model.gguf", &file.encode());
        let error = load(&path).map(drop).expect_err(name);
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{name}: {error}");
        assert!(error.to_string().contains("lacks"), "{name}: {error}");
    }
}

#[test]
fn guides_ignore_overlong_tokens() {
    let scratch = Scratch::new("long-token");
    let _ = DEMO.path();
    let found = ARCHITECTURES.iter().find(|architecture| architecture.name == "phi3").unwrap();
    let mut file = found.model().unwrap();
    let key = "tokenizer.ggml.tokens";
    let known = file.header.metadata.iter().find(|(other, _)| other == key).unwrap();
    let mut tokens: Vec<_> = known.1.texts().into_iter().map(<[u8]>::to_vec).collect();
    tokens[400] = vec![b'a'; 3000];
    file.header.set(key, Value::strings(tokens));
    let model = load(scratch.file("model.gguf", &file.encode())).unwrap();
    let options = GenerateOptions::default().with_max_tokens(4).with_regex("t[0-9]+");
    model.generate("t1", &options).unwrap();
}

#[test]
fn ambiguous_grammars_terminate() {
    let options = |grammar: &str| {
        GenerateOptions::default().with_max_tokens(12).with_temperature(0.0).with_grammar(grammar)
    };
    let plain = DEMO.generate("x", &options("root ::= [a-z]+")).unwrap();
    for ambiguous in ["root ::= ([a-z]+)+", "root ::= word+\nword ::= [a-z] [a-z]* | [a-z]+"] {
        assert_eq!(
            DEMO.generate("x", &options(ambiguous)).unwrap().text,
            plain.text,
            "{ambiguous}"
        );
    }
    let alternatives = vec![r#""a" "a""#; 50_000].join(" | ");
    let branches: Vec<_> =
        (0..40).map(|rule| format!("r{rule} ::= r{0} \"a\" | r{0} \"b\"\n", rule + 1)).collect();
    let branches = branches.concat();
    for grammar in [
        format!("root ::= [a-z]{}", "+".repeat(8)),
        format!("root ::= [a-z]{}", "+".repeat(3000)),
        format!("root ::= {}[a-z]+{}", "(".repeat(100), ")+".repeat(100)),
        format!("root ::= {alternatives}"),
        format!("root ::= r0\n{branches}r40 ::= \"a\""),
        "root ::= root \"a\" | \"b\"".to_owned(),
        "root ::= e root \"a\" | \"b\"\ne ::= f\nf ::= \"\" | \"c\"".to_owned(),
        format!("root ::= {}", r#""a"{2000} "#.repeat(1000)),
    ] {
        match DEMO.generate("x", &options(&grammar)) {
            Ok(_) => {}
            Err(error) => {
                let start: String = grammar.chars().take(60).collect();
                assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{start}: {error}");
            }
        }
    }
}

#[test]
fn schema_numbers_are_enforced_or_rejected() {
    let generate = |schema: serde_json::Value| {
        let options = GenerateOptions::default().with_max_tokens(30).with_temperature(0.0);
        DEMO.generate("x", &options.with_json_schema(schema))
    };
    for schema in [
        json!({"enum": [i64::MIN + 1]}),
        json!({"enum": [288_230_376_151_711_746_i64, -2]}),
        json!({"const": {"a": [u64::MAX]}}),
        json!({"const": 9_007_199_254_740_993_i64}),
        json!({"type": "integer", "minimum": 9_007_199_254_740_993_i64}),
        json!({"type": "integer", "minimum": u64::MAX}),
        json!({"type": "integer", "maximum": i64::MIN}),
        json!({"type": "number", "multipleOf": 8_388_607}),
        json!({"type": "number", "multipleOf": 0.123_456_7}),
    ] {
        let error = generate(schema.clone()).map(drop).expect_err(&schema.to_string());
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{schema}: {error}");
        assert!(error.to_string().contains('#'), "it names the place: {error}");
    }
    for schema in [
        json!({"type": "integer", "minimum": i64::MIN, "maximum": 3}),
        json!({"type": "integer", "minimum": 0, "maximum": u64::MAX}),
        json!({"type": "integer", "minimum": 1, "maximum": 99, "multipleOf": 3}),
    ] {
        let answer = generate(schema.clone()).unwrap_or_else(|error| panic!("{schema}: {error}"));
        if answer.finish_reason == mullama::FinishReason::Stop {
            let number: f64 = answer.text.trim().parse().unwrap();
            assert!(schema["maximum"].as_f64().is_some_and(|most| number <= most), "{number}");
        }
    }
}

#[test]
fn forbidding_every_token_is_an_error() {
    let all = (0..DEMO.n_vocab() as i32).map(|token| (token, f32::NEG_INFINITY));
    let all = LogitBias(all.collect());
    for options in [GenerateOptions::default(), GenerateOptions::default().with_temperature(0.0)] {
        let options = options.with_logit_bias(all.clone()).with_max_tokens(2);
        let error = DEMO.generate("x", &options).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("forbids every token"), "{error}");
    }
}
