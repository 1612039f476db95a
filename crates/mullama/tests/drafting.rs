//! Draft models: their guesses do not change answers, and their costs are reported.

mod demo;

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use demo::{endless, greedy};
use mullama::{
    ChatOptions, ContextParams, DraftMode, ErrorKind, FinishReason, GenerateOptions, Message,
    Model, ModelParams, PlanOptions,
};
use mullama_testkit::gguf::{File, RawTensor};
use serde_json::{Value, json};
use tempfile::TempDir;

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo")
}

/// The draft model that was trained for the demo model.
fn trained() -> String {
    models().join("draft.gguf").to_str().unwrap().to_owned()
}

/// The same with swapped tokens, so that it is nearly always wrong, but equally confident.
fn useless(folder: &TempDir) -> String {
    let mut file = File::decode(&fs::read(trained()).unwrap()).unwrap();
    let is_table = |tensor: &&RawTensor| tensor.name == "token_embd.weight";
    let offset = file.header.tensors.iter().find(is_table).unwrap().offset as usize;
    // A row for each of 1024 tokens, with 128 numbers of 16 bits.
    let table = &mut file.data[offset..offset + 1024 * 128 * 2];
    let (first, second) = table.split_at_mut(512 * 128 * 2);
    first.swap_with_slice(second);
    let path = folder.path().join("useless.gguf");
    fs::write(&path, file.encode()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn load(draft: &str, context: ContextParams) -> Model {
    let params = ModelParams::default().with_draft_model(draft);
    Model::load("demo", params, context.with_n_threads(1)).unwrap()
}

fn questions(step: usize) -> Vec<String> {
    let vectors =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/demo_greedy.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let cases = vectors["capitals"].as_array().unwrap().iter().step_by(step);
    cases.map(|case| case["question"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn drafting_does_not_change_answers() {
    let folder = tempfile::tempdir().unwrap();
    let off = |options: &GenerateOptions| options.clone().with_draft(DraftMode::Off);
    let mut rates = Vec::new();
    for draft in ["demo", &trained(), &useless(&folder)] {
        let model = load(draft, ContextParams::default().with_prefix_cache(0));
        for question in questions(12) {
            for options in [greedy().with_max_tokens(40), endless().with_max_tokens(90)] {
                let plain = model.generate(&*question, &off(&options)).unwrap();
                assert_eq!(plain.usage.drafted_tokens, 0);
                for most in [1, 4, 16] {
                    let options = options.clone().with_draft_max(most);
                    let drafted = model.generate(&*question, &options).unwrap();
                    assert_eq!(drafted.tokens, plain.tokens, "{draft}: {question} with {most}");
                    assert_eq!(drafted.finish_reason, plain.finish_reason);
                }
            }
            let message = [Message::user(&*question)];
            let options = ChatOptions::from(greedy());
            let plain = model.chat(&message, &off(&greedy()).into()).unwrap();
            assert_eq!(model.chat(&message, &options).unwrap().to_string(), plain.to_string());
        }
        let stats = model.stats().unwrap();
        assert!(stats.drafted_tokens > 0 && stats.kv_used == 0, "{draft}: {stats:?}");
        rates.push(stats.accepted_tokens as f64 / stats.drafted_tokens as f64);
    }
    // A model predicts itself, except for the last tokens of answers and for ties.
    assert!(rates[0] > 0.9 && rates[1] > 0.3 && rates[2] < 0.3, "{rates:?}");
}

#[test]
fn draft_options_apply_per_request() {
    let model = load("demo", ContextParams::default());
    let drafted = |options: GenerateOptions| {
        let answer =
            model.generate("one two one two one two", &options.with_max_tokens(60)).unwrap();
        (answer.usage.drafted_tokens, answer.usage.accepted_tokens)
    };
    let (made, right) = drafted(endless());
    assert!(made > 0 && right > 0 && right <= made);
    assert_eq!(drafted(endless().with_draft(DraftMode::Off)), (0, 0));
    assert_eq!(drafted(endless().with_draft(DraftMode::Off).with_prompt_lookup(4)), (0, 0));
    assert_eq!(drafted(endless().with_draft_max(0)), (0, 0));
    assert!(drafted(endless().with_draft(DraftMode::Model)).0 > 0);
    assert!(drafted(endless().with_draft(DraftMode::Lookup)).0 > 0);
    // With both, copied tokens are not drafted.
    let both = drafted(endless().with_prompt_lookup(4));
    assert!(both.1 > 0, "{both:?}");
    let stats = model.stats().unwrap();
    assert!(stats.drafted_tokens >= stats.accepted_tokens && stats.accepted_tokens > 0);

    let plain = demo::load(ContextParams::default());
    let error = plain.generate("Hi", &greedy().with_draft(DraftMode::Model)).unwrap_err();
    assert_eq!((error.kind(), error.get("option")), (ErrorKind::InvalidArgument, Some("draft")));
    let lookup = plain
        .generate("one two one two", &endless().with_draft(DraftMode::Lookup).with_max_tokens(40));
    assert!(lookup.unwrap().usage.drafted_tokens > 0);
    assert_eq!(plain.generate("Hi", &greedy().with_max_tokens(9)).unwrap().usage.drafted_tokens, 0);
}

#[test]
fn drafting_supports_schemas_stops_penalties_and_log_probabilities() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "maxLength": 9},
        "big": {"type": "boolean"}}, "required": ["city", "big"], "additionalProperties": false});
    for draft in ["demo", &trained()] {
        let model = load(draft, ContextParams::default().with_prefix_cache(0));
        let same = |options: GenerateOptions| {
            let prompt = "What is the capital of Peru?";
            let plain =
                model.generate(prompt, &options.clone().with_draft(DraftMode::Off)).unwrap();
            let drafted = model.generate(prompt, &options).unwrap();
            assert_eq!(drafted.tokens, plain.tokens);
            assert_eq!(drafted.text, plain.text);
            assert_eq!(drafted.stop_reason, plain.stop_reason);
            let logprobs = drafted.logprobs.as_ref().map(Vec::len);
            assert_eq!(logprobs, plain.logprobs.as_ref().map(Vec::len));
            drafted
        };
        let answer = same(greedy().with_json_schema(schema.clone()).with_max_tokens(60));
        let value: Value = serde_json::from_str(&answer.text).unwrap();
        assert!(value["big"].is_boolean(), "{value}");
        same(greedy().with_regex("[a-z ]{5,40}").with_max_tokens(50));
        let stopped = same(endless().with_stop("e c").with_max_tokens(60));
        assert!(!stopped.text.contains("e c"));
        same(endless().with_repeat_penalty(1.3).with_max_tokens(60));
        same(endless().with_logit_bias([(300, 2.0)]).with_max_tokens(60));
        let logged = same(endless().with_logprobs(2).with_max_tokens(60));
        assert_eq!(logged.logprobs.unwrap().len(), logged.tokens.len());
        // A seed determines the text, regardless of guesses; rounding rarely changes a draw.
        let alike = (0..8).filter(|&seed| {
            let options = GenerateOptions::default().with_seed(seed).with_max_tokens(20);
            let plain = options.clone().with_draft(DraftMode::Off);
            let texts =
                [options, plain].map(|options| model.generate("one two", &options).unwrap().text);
            texts[0] == texts[1]
        });
        assert!(alike.count() >= 6);
    }
}

/// Counts how often each token is drawn as the fourth token after the prompt.
fn counts(model: &Model, options: &GenerateOptions, draws: usize) -> Vec<f64> {
    let mut counts = vec![0.0; model.n_vocab() as usize];
    let requests = 8;
    thread::scope(|scope| {
        let draw = || {
            let tokens = (0..draws / requests).map(|_| {
                let answer = model.generate("The capital of", options).unwrap();
                answer.tokens[3]
            });
            tokens.collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..requests).map(|_| scope.spawn(draw)).collect();
        for token in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
            counts[token as usize] += 1.0;
        }
    });
    counts
}

#[test]
fn draws_have_the_same_distribution_with_and_without_drafts() {
    const DRAWS: usize = 1600;
    let folder = tempfile::tempdir().unwrap();
    let options = GenerateOptions::default()
        .with_temperature(1.0)
        .with_top_k(4)
        .with_ignore_eos(true)
        .with_max_tokens(6);
    for draft in [trained(), useless(&folder)] {
        let model = load(&draft, ContextParams::default().with_n_parallel(8));
        let plain = counts(&model, &options.clone().with_draft(DraftMode::Off), DRAWS);
        let before = model.stats().unwrap().drafted_tokens;
        let drafted = counts(&model, &options, DRAWS);
        let made = model.stats().unwrap().drafted_tokens - before;
        assert!(made > 0, "{draft}");
        // Chi-squared test for two samples of one distribution: over the common tokens, with the others combined.
        let is_common = |index: &usize| plain[*index] + drafted[*index] >= 20.0;
        let all = 0..plain.len();
        let (common, rare): (Vec<_>, Vec<_>) = all.partition(is_common);
        let sum = |counts: &[f64]| rare.iter().map(|&index| counts[index]).sum::<f64>();
        let mut pairs: Vec<_> = common.iter().map(|&i| (plain[i], drafted[i])).collect();
        pairs.push((sum(&plain), sum(&drafted)));
        let terms =
            pairs.iter().filter(|(a, b)| a + b > 0.0).map(|(a, b)| (a - b).powi(2) / (a + b));
        let (freedom, far) = (pairs.len() as f64 - 1.0, terms.sum::<f64>());
        // Exceeded less than once in a hundred thousand times (Wilson and Hilferty).
        let limit =
            freedom * (1.0 - 2.0 / (9.0 * freedom) + 4.3 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
        assert!(freedom > 5.0 && far < limit, "{draft}: {far} with {freedom}, {pairs:?}");
    }
}

#[test]
fn concurrent_drafted_requests_match_single_ones() {
    let draft = trained();
    let model = load(&draft, ContextParams::default().with_n_ctx(1024).with_n_parallel(6));
    let questions = questions(5);
    let options = |index: usize| match index % 4 {
        0 => greedy().with_draft(DraftMode::Off),
        1 => greedy().with_prompt_lookup(4),
        2 => greedy().with_draft_max(3),
        _ => greedy(),
    };
    let ask = |model: &Model, index: usize| {
        let messages = [Message::user(&*questions[index])];
        model.chat(&messages, &options(index).into()).unwrap().to_string()
    };
    let alone = demo::load(ContextParams::default().with_prefix_cache(0));
    let expected: Vec<_> = (0..questions.len())
        .map(|index| {
            let messages = [Message::user(&*questions[index])];
            alone.chat(&messages, &greedy().into()).unwrap().to_string()
        })
        .collect();
    for _ in 0..2 {
        let answers: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..questions.len())
                .map(|index| {
                    let ask = &ask;
                    let model = &model;
                    scope.spawn(move || {
                        // Some are abandoned before their end.
                        if index % 5 == 0 {
                            let messages = [Message::user("Tell me a story about mullama.")];
                            let mut stream =
                                model.stream_chat(&messages, &endless().into()).unwrap();
                            stream.next();
                        }
                        ask(model, index)
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(answers, expected);
    }
    let stats = model.stats().unwrap();
    assert!(stats.accepted_tokens > 0, "{stats:?}");
}

#[test]
fn conversations_and_full_contexts_are_drafted() {
    let model = load("demo", ContextParams::default().with_n_ctx(256).with_n_batch(8));
    let answer = model.generate("one two one two", &endless()).unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Length);
    let (prompt, completion) = (answer.usage.prompt_tokens, answer.usage.completion_tokens);
    assert_eq!(prompt + completion, 257, "the last token needs no cell");
    assert!(answer.usage.accepted_tokens > 0);
    let answers: Vec<_> = thread::scope(|scope| {
        let ask = || {
            let messages = [Message::user("What is the capital of Peru?")];
            model.chat(&messages, &greedy().into()).unwrap().to_string()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|text| text == "The capital of Peru is Lima."), "{answers:?}");

    let model = load(&trained(), ContextParams::default());
    let mut messages = Vec::new();
    for country in ["Peru", "Japan", "Kenya"] {
        messages.push(Message::user(format!("What is the capital of {country}?")));
        let plain = ChatOptions::from(greedy().with_draft(DraftMode::Off));
        let expected = model.chat(&messages, &plain).unwrap();
        let answer = model.chat(&messages, &greedy().into()).unwrap();
        assert_eq!(answer.to_string(), expected.to_string());
        messages.push(Message::assistant(answer.to_string()));
    }
}

#[test]
fn unsuitable_draft_models_are_rejected_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |params: ModelParams| {
        let error = Model::load("demo", params, ContextParams::default().with_n_threads(1));
        error.map(drop).unwrap_err()
    };
    let with = |draft: &str| ModelParams::default().with_draft_model(draft);
    let other = mullama_testkit::fixture("small");
    let error = refused(with(other.to_str().unwrap()));
    assert_eq!(
        (error.kind(), error.get("option")),
        (ErrorKind::InvalidArgument, Some("draft_model"))
    );
    assert!(error.to_string().contains("another vocabulary"), "{error}");

    let error = refused(with("/nowhere/draft.gguf"));
    assert_eq!((error.kind(), error.get("option")), (ErrorKind::NotFound, Some("draft_model")));
    let text = folder.path().join("text.gguf");
    fs::write(&text, "no model").unwrap();
    assert_eq!(refused(with(text.to_str().unwrap())).kind(), ErrorKind::InvalidModel);
    fs::write(&text, &fs::read(trained()).unwrap()[..500_000]).unwrap();
    assert_eq!(refused(with(text.to_str().unwrap())).kind(), ErrorKind::InvalidModel);
    let error = refused(with(&trained()).with_draft_devices(["G9".to_owned()]));
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");

    let recurrent = mullama_testkit::fixture("recurrent");
    let params = with(recurrent.to_str().unwrap());
    let error = Model::load(&recurrent, params, ContextParams::default().with_n_threads(1));
    assert_eq!(error.map(drop).unwrap_err().kind(), ErrorKind::Unsupported);

    let none = Model::load("demo", with("none"), ContextParams::default().with_n_threads(1));
    assert_eq!(none.unwrap().placement().devices[0].draft, 0);
    let vocabulary = with("demo").with_vocab_only(true);
    assert!(Model::load("demo", vocabulary, ContextParams::default()).is_ok());
}

#[test]
fn draft_model_memory_is_planned_and_reported() {
    let context = ContextParams::default().with_n_ctx(1024).with_n_threads(1);
    let params = ModelParams::default().with_draft_model(trained());
    let model = Model::load("demo", params.clone(), context.clone()).unwrap();
    let host = model.placement().devices.pop().unwrap();
    let alone = Model::load("demo", ModelParams::default(), context.clone()).unwrap();
    let plain = alone.placement().devices.pop().unwrap();
    assert_eq!((host.weights, host.kv), (plain.weights, plain.kv));
    // Two layers with two heads of 64 numbers, for keys and values, of 16 bits.
    assert!(host.draft > 1_100_000 + 1024 * 2 * 2 * 128 * 2, "{host:?}");
    assert_eq!(host.total(), plain.total() + host.draft);

    let options = PlanOptions::default().with_model(params.clone()).with_context(context.clone());
    let plan = mullama::plan("demo", &options.clone().with_devices([])).unwrap();
    // A plan does not include the copies of weights that the kernels repack.
    let packed = host.draft - plan.host.draft;
    assert!(packed < 1_200_000, "{:?} {host:?}", plan.host);
    assert!(plan.to_string().contains("DRAFT MODEL"), "{plan}");
    let on_gpu =
        mullama::plan("demo", &options.clone().with_devices([mullama::DeviceSpec::new(24 << 30)]))
            .unwrap();
    let both = &on_gpu.devices[0];
    assert!(on_gpu.fits && both.draft > 1_000_000 && both.layers == 9, "{on_gpu}");
    // A draft model that is requested on a GPU and does not fit makes the plan fail.
    let asked = options.clone().with_model(params.with_draft_gpu_layers(-1));
    let small = mullama::plan("demo", &asked.with_devices([mullama::DeviceSpec::new(2 << 20)]));
    let refusal = small.unwrap().refusal.unwrap();
    assert!(refusal.contains("draft.gguf") && refusal.contains("draft_gpu_layers"), "{refusal}");
    // The model alone would fit, but not both.
    let model_alone = both.total() - both.draft;
    let size = (model_alone + both.draft / 2) * 10 / 9;
    let tight = mullama::plan("demo", &options.with_devices([mullama::DeviceSpec::new(size)]));
    let tight = tight.unwrap();
    assert!(tight.n_gpu_layers < 9 && tight.devices[0].draft > 0, "{tight}");
}
