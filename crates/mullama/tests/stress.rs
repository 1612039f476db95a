//! Two hundred concurrent requests of every kind, with KV cache cells for a few of them.

use std::path::PathBuf;
use std::time::Duration;
use std::{env, fs, process, thread};

use mullama::{
    ChatOptions, Completion, ContextParams, ErrorKind, FinishReason, GenerateOptions, Lora,
    Message, Model, ModelParams,
};
use mullama_testkit::gguf::File;
use mullama_testkit::{adapter, allocated_bytes};
use serde_json::json;

const REQUESTS: usize = 200;
const COUNTRIES: [&str; 10] =
    ["France", "Japan", "Italy", "Spain", "Norway", "Egypt", "Kenya", "Peru", "Chile", "Cuba"];

/// A request and its expected end.
#[derive(Debug)]
enum Request {
    /// The answer must be the same as when computed alone.
    Same { messages: Vec<Message>, options: Box<ChatOptions> },
    /// The text must follow a grammar.
    Json { prompt: String, options: GenerateOptions },
    /// The stream is dropped after some chunks.
    Dropped { prompt: String, options: GenerateOptions, pieces: usize },
    /// The request is cancelled from another thread.
    Cancelled { prompt: String, options: GenerateOptions, after: Duration },
    /// The request is invalid.
    Wrong { prompt: String, options: GenerateOptions, kind: ErrorKind },
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

/// Adapters for the demo model.
fn adapters() -> Vec<Lora> {
    let base = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/demo/demo.gguf");
    let base = File::decode(&fs::read(base).unwrap()).unwrap();
    let path = |seed: u64| -> PathBuf {
        let name = format!("mullama-stress-{}-{seed}.gguf", process::id());
        let path = env::temp_dir().join(name);
        fs::write(&path, adapter(&base, 0.01, seed).encode()).unwrap();
        path
    };
    vec![Lora::default(), [(path(1), 1.0)].into(), [(path(2), 1.0)].into()]
}

/// The requests of a run, in an irregular order.
fn requests(adapters: &[Lora]) -> Vec<Request> {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
        "required": ["city", "big"],
    });
    let request = |index: usize| {
        // A full cycle through all combinations, in an irregular order.
        let draw = index * 7919 % REQUESTS;
        let country = COUNTRIES[draw % COUNTRIES.len()];
        let adapter = adapters[draw / 3 % adapters.len()].clone();
        let filler = "You are a helpful assistant. ".repeat(draw % 13);
        let prompt = format!("{filler}The capital of {country} is");
        match index % 10 {
            0..5 => {
                let mut messages =
                    vec![Message::user(format!("What is the capital of {country}?"))];
                if draw.is_multiple_of(2) {
                    let system = "You are a helpful assistant. ".repeat(1 + draw % 9);
                    messages.insert(0, Message::system(system.trim()));
                }
                let options = greedy().with_lora(adapter);
                let options = match draw % 5 {
                    0 => options.with_stop(" is"),
                    1 => options.with_prompt_lookup(4),
                    2 => options.with_max_tokens(3),
                    _ => options,
                };
                Request::Same { messages, options: Box::new(options.into()) }
            }
            5 => Request::Json {
                prompt,
                options: GenerateOptions::default()
                    .with_json_schema(schema.clone())
                    .with_seed(draw as u32)
                    .with_lora(adapter),
            },
            6 => Request::Dropped {
                prompt,
                options: greedy().with_ignore_eos(true),
                pieces: draw % 4,
            },
            7 => Request::Cancelled {
                prompt,
                options: greedy().with_ignore_eos(true).with_lora(adapter),
                after: Duration::from_millis(draw as u64 / 4),
            },
            8 => Request::Wrong {
                prompt,
                options: greedy().with_grammar("root ::= missing"),
                kind: ErrorKind::InvalidGrammar,
            },
            _ => Request::Wrong {
                prompt: "a b c d ".repeat(400),
                options: greedy(),
                kind: ErrorKind::ContextOverflow,
            },
        }
    };
    (0..REQUESTS).map(request).collect()
}

fn answer(model: &Model, messages: &[Message], options: &ChatOptions) -> Completion {
    model.chat(messages, options).unwrap().completion
}

/// Whether the model is sure of every token, so that rounding does not change the answer.
fn is_sure(model: &Model, messages: &[Message], options: &ChatOptions) -> bool {
    let mut options = options.clone();
    options.generate = options.generate.with_logprobs(2);
    let answer = answer(model, messages, &options);
    answer.logprobs.unwrap().iter().all(|token| token.top[0].logprob - token.top[1].logprob > 0.1)
}

/// Runs a request. Returns whether its answer was compared with the one computed alone.
fn run(model: &Model, request: &Request, alone: Option<&Completion>) -> bool {
    match request {
        Request::Same { messages, options } => {
            let answer = answer(model, messages, options);
            let Some(alone) = alone else { return false };
            assert_eq!(answer.tokens, alone.tokens, "{messages:?}");
            assert_eq!((&answer.text, answer.finish_reason), (&alone.text, alone.finish_reason));
            return true;
        }
        Request::Json { prompt, options } => {
            let answer = model.generate(prompt.as_str(), options).unwrap();
            assert_eq!(answer.finish_reason, FinishReason::Stop);
            let value: serde_json::Value = serde_json::from_str(&answer.text).unwrap();
            assert!(value["city"].is_string() && value["big"].is_boolean(), "{value}");
        }
        Request::Dropped { prompt, options, pieces } => {
            let mut stream = model.stream(prompt.as_str(), options).unwrap();
            for _ in 0..*pieces {
                stream.next_chunk().unwrap().unwrap();
            }
        }
        Request::Cancelled { prompt, options, after } => {
            let stream = model.stream(prompt.as_str(), options).unwrap();
            let cancel = stream.cancel_token();
            let canceller = thread::spawn({
                let after = *after;
                move || {
                    thread::sleep(after);
                    cancel.cancel();
                }
            });
            let answer = stream.finish().unwrap();
            canceller.join().unwrap();
            let ended = [FinishReason::Cancelled, FinishReason::Length];
            assert!(ended.contains(&answer.finish_reason), "{:?}", answer.finish_reason);
        }
        Request::Wrong { prompt, options, kind } => {
            let error = model.generate(prompt.as_str(), options).unwrap_err();
            assert_eq!(error.kind(), *kind, "{error}");
        }
    }
    false
}

#[test]
fn two_hundred_requests_over_a_small_cache() {
    let requests = requests(&adapters());
    let context = ContextParams::default().with_n_threads(1).with_cache_ram(0);
    let alone = Model::load("demo", ModelParams::default(), context.clone()).unwrap();
    let expected: Vec<_> = requests
        .iter()
        .map(|request| match request {
            Request::Same { messages, options } => {
                is_sure(&alone, messages, options).then(|| answer(&alone, messages, options))
            }
            _ => None,
        })
        .collect();
    drop(alone);

    let context = context.with_n_ctx(256).with_n_parallel(6);
    let model = Model::load("demo", ModelParams::default(), context).unwrap();
    let mut held = Vec::new();
    for _ in 0..3 {
        let before = model.stats().unwrap();
        let compared: usize = thread::scope(|scope| {
            let threads: Vec<_> = requests
                .iter()
                .zip(&expected)
                .map(|(request, alone)| scope.spawn(|| run(&model, request, alone.as_ref())))
                .collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert!(compared >= 80, "of 100, {compared} are sure enough to compare");
        // A dropped stream ends with the engine's next step.
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        let stats = loop {
            let stats = model.stats().unwrap();
            if stats.running + stats.waiting == 0 || std::time::Instant::now() > deadline {
                break stats;
            }
            thread::sleep(Duration::from_millis(5));
        };
        assert_eq!((stats.running, stats.waiting), (0, 0));
        // Invalid requests never reached the engine.
        let served = REQUESTS - REQUESTS / 5;
        assert_eq!(stats.finished - before.finished, served as u64);
        assert_eq!(stats.kv_used, stats.kv_kept, "only what is kept for later is left");
        assert!(stats.preemptions > 0 && stats.evicted_tokens > 0, "cells were short: {stats:?}");
        held.push(allocated_bytes());
    }
    let growth = held[2].saturating_sub(held[1]);
    assert!(growth < 256 << 10, "a run left {growth} bytes behind: {held:?}");
}
