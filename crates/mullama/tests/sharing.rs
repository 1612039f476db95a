//! Common prefixes of requests are computed once, and cached for later requests.

use std::thread;
use std::time::Duration;

use mullama::{
    ChatOptions, Completion, ContextParams, ErrorKind, FinishReason, GenerateOptions, Message,
    Model, ModelParams, Token,
};

const COUNTRIES: [(&str, &str); 8] = [
    ("France", "Paris"),
    ("Japan", "Tokyo"),
    ("Italy", "Rome"),
    ("Spain", "Madrid"),
    ("Norway", "Oslo"),
    ("Egypt", "Cairo"),
    ("Kenya", "Nairobi"),
    ("Peru", "Lima"),
];

fn load(context: ContextParams) -> Model {
    Model::load("demo", ModelParams::default(), context.with_n_threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

fn ask(model: &Model, system: &str, country: &str) -> Completion {
    let question = format!("What is the capital of {country}?");
    let messages = [Message::system(system), Message::user(question)];
    model.chat(&messages, &ChatOptions::from(greedy())).unwrap().completion
}

fn assert_right(answer: &Completion, country: &str, capital: &str) {
    assert_eq!(answer.text, format!("The capital of {country} is {capital}."));
}

/// A system message of several hundred tokens, which the demo model was trained to accept.
fn long_system() -> String {
    "You are a helpful assistant. ".repeat(30).trim().to_owned()
}

#[test]
fn a_prompt_is_computed_once() {
    let model = load(ContextParams::default());
    let first = model.generate("The capital of France is", &greedy()).unwrap();
    let again = model.generate("The capital of France is", &greedy()).unwrap();
    assert_eq!(first.usage.cached_tokens, 0);
    assert_eq!(again.usage.cached_tokens, again.usage.prompt_tokens - 1);
    assert_eq!(first.tokens, again.tokens);
    let other = model.generate("The capital of Japan is", &greedy()).unwrap();
    assert!(other.usage.cached_tokens >= 2, "what both begin with");
    let stats = model.stats().unwrap();
    assert_eq!(stats.finished, 3);
    assert_eq!(
        stats.cached_tokens,
        u64::from(again.usage.cached_tokens + other.usage.cached_tokens)
    );
    assert!(stats.kv_kept > 0 && stats.kv_kept == stats.kv_used);

    let none = load(ContextParams::default().with_prefix_cache(0));
    for _ in 0..2 {
        let answer = none.generate("The capital of France is", &greedy()).unwrap();
        assert_eq!((answer.usage.cached_tokens, &answer.tokens), (0, &first.tokens));
    }
    assert_eq!(none.stats().unwrap().kv_used, 0);
}

#[test]
fn conversations_reuse_their_prefix() {
    let model = load(ContextParams::default());
    let mut messages =
        vec![Message::system(long_system()), Message::user("What is the capital of France?")];
    let options = ChatOptions::from(greedy());
    let first = model.chat(&messages, &options).unwrap();
    messages.push(first.message.clone());
    messages.push(Message::user("And of Japan?"));
    let second = model.chat(&messages, &options).unwrap();
    // All of the first turn except its last tokens.
    assert!(
        second.usage.cached_tokens + 4 >= first.usage.prompt_tokens + first.usage.completion_tokens
    );
}

#[test]
fn concurrent_requests_compute_shared_prefixes_once() {
    let model = load(ContextParams::default().with_n_parallel(8));
    let system = long_system();
    let shared = model.count_tokens(&system).unwrap() as u64;
    let answers: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = COUNTRIES
            .iter()
            .map(|(country, _)| scope.spawn(|| ask(&model, &system, country)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (answer, (country, capital)) in answers.iter().zip(COUNTRIES) {
        assert_right(answer, country, capital);
    }
    let stats = model.stats().unwrap();
    let most = shared + 8 * 40;
    assert!(
        stats.prompt_tokens < most,
        "{} tokens for {shared} shared: {stats:?}",
        stats.prompt_tokens
    );
    assert!(stats.cached_tokens >= 7 * (shared - 8), "{stats:?}");
}

#[test]
fn cached_prefixes_are_evicted_for_requests() {
    // There is room for two of these at a time.
    let model = load(ContextParams::default().with_n_ctx(512).with_n_parallel(4));
    thread::scope(|scope| {
        for worker in 0..4 {
            let model = &model;
            scope.spawn(move || {
                for round in 0..6 {
                    let (country, capital) = COUNTRIES[(worker + round) % COUNTRIES.len()];
                    let system = format!("{worker} {round} {}", "You are helpful. ".repeat(20));
                    let answer = ask(model, system.trim(), country);
                    assert!(answer.text.contains(capital) || !answer.text.is_empty());
                    assert_eq!(answer.finish_reason, FinishReason::Stop);
                }
            });
        }
    });
    let stats = model.stats().unwrap();
    assert_eq!((stats.finished, stats.running, stats.waiting), (24, 0, 0));
    assert!(stats.evicted_tokens > 0, "{stats:?}");
    assert!(stats.kv_used <= 512);
}

#[test]
fn preempted_requests_are_recomputed() {
    // All four grow until they no longer fit together.
    let model =
        load(ContextParams::default().with_n_ctx(256).with_n_parallel(4).with_prefix_cache(0));
    let options = greedy().with_ignore_eos(true).with_max_tokens(100);
    let alone: Vec<_> = COUNTRIES[..4]
        .iter()
        .map(|(country, _)| {
            model.generate(format!("The capital of {country} is"), &options).unwrap()
        })
        .collect();
    let together: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = COUNTRIES[..4]
            .iter()
            .map(|(country, _)| {
                let (model, options) = (&model, &options);
                scope.spawn(move || {
                    model.generate(format!("The capital of {country} is"), options).unwrap()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (alone, together) in alone.iter().zip(&together) {
        assert_eq!(together.tokens.len(), 100);
        assert_eq!(together.tokens[..4], alone.tokens[..4], "what the model is sure of");
    }
    assert!(model.stats().unwrap().preemptions > 0);
}

#[test]
fn requests_end_at_their_timeout() {
    let model = load(ContextParams::default().with_n_ctx(60_000));
    let options = greedy().with_ignore_eos(true).with_timeout(0.2);
    let answer = model.generate("Once upon a time", &options).unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Cancelled);
    assert!(!answer.tokens.is_empty());
    // The same during a prompt.
    let prompt = vec![5; 50_000];
    let answer = model.generate(prompt, &options.with_timeout(0.05)).unwrap();
    assert_eq!((answer.finish_reason, answer.tokens.len()), (FinishReason::Cancelled, 0));
    assert!(model.generate("x", &greedy().with_timeout(-1.0)).is_err());
    let late = greedy().with_timeout(30.0).with_max_tokens(2);
    assert_eq!(model.generate("Once", &late).unwrap().tokens.len(), 2);
    // No request remains.
    thread::sleep(Duration::from_millis(50));
    assert_eq!(model.stats().unwrap().running, 0);
}

#[test]
fn seeded_requests_use_the_prefix_cache() {
    let model = load(ContextParams::default());
    let options = GenerateOptions::default().with_seed(7).with_max_tokens(24).with_temperature(1.3);
    let first = model.generate("Once upon a time", &options).unwrap();
    assert_eq!(first.usage.cached_tokens, 0);
    for _ in 0..3 {
        let again = model.generate("Once upon a time", &options).unwrap();
        assert_eq!(again.tokens, first.tokens);
        assert_eq!(again.usage.cached_tokens, again.usage.prompt_tokens - 1);
    }
    let anew = model.generate("Once upon a time", &options.with_reproducible(true)).unwrap();
    assert_eq!((anew.tokens, anew.usage.cached_tokens), (first.tokens, 0));
}

#[test]
fn repeated_seeded_calls_are_bitwise_equal() {
    let model = load(ContextParams::default());
    let options = GenerateOptions::default()
        .with_seed(11)
        .with_temperature(0.9)
        .with_max_tokens(100)
        .with_ignore_eos(true)
        .with_logprobs(0);
    let prompts = ["town", "bridge", "old mill"].map(|word| {
        let text = format!("The {word} by the river. ").repeat(60);
        model.tokenize(&text, true, false).unwrap()
    });
    let bits = |prompt: &[Token]| {
        let answer = model.generate(prompt, &options).unwrap();
        let logprobs = answer.logprobs.unwrap();
        let bits: Vec<_> = logprobs.iter().map(|token| token.logprob.to_bits()).collect();
        ((answer.tokens, bits), answer.usage.cached_tokens)
    };
    let firsts = prompts.each_ref().map(|prompt| bits(prompt).0);
    for (round, other) in prompts.iter().chain(&prompts).enumerate() {
        // A request without a seed leaves cells anywhere.
        let between = greedy().with_max_tokens(20 + round as u32);
        model.generate(&other[..200], &between).unwrap();
        for (prompt, first) in prompts.iter().zip(&firsts) {
            let (again, cached) = bits(prompt);
            assert_eq!(again, *first, "round {round}");
            assert_eq!(cached as usize, prompt.len() - 1, "round {round}");
        }
    }
}

#[test]
fn finish_completes_queued_requests_before_closing() {
    let model = load(ContextParams::default().with_n_parallel(2));
    let options = greedy().with_ignore_eos(true).with_max_tokens(100);
    let streams: Vec<_> = (0..6).map(|_| model.stream("Hello", &options).unwrap()).collect();
    model.finish();
    assert!(model.is_closed());
    for stream in streams {
        let answer = stream.finish().unwrap();
        assert_eq!((answer.finish_reason, answer.tokens.len()), (FinishReason::Length, 100));
    }
    assert_eq!(model.generate("Hello", &options).unwrap_err().kind(), ErrorKind::Closed);
    // Repeated calls have no effect.
    model.finish();
    model.close();
}

#[test]
fn evicted_prefixes_are_restored_from_system_ram() {
    let small = ContextParams::default().with_n_ctx(256);
    let ask_all = |model: &Model| {
        // Each needs most of the cells.
        let systems = ["You are a helpful assistant. ", "You answer questions. "];
        for system in systems.iter().cycle().take(6) {
            assert_right(&ask(model, system.repeat(18).trim(), "France"), "France", "Paris");
        }
        model.stats().unwrap()
    };
    let without = ask_all(&load(small.clone().with_cache_ram(0)));
    assert_eq!(without.restored_tokens, 0);
    assert!(without.evicted_tokens > 300, "there is room for one: {without:?}");
    let with = ask_all(&load(small.with_cache_ram(64 << 20)));
    assert!(with.restored_tokens > 300, "{with:?}");
    assert_eq!(
        with.prompt_tokens + with.cached_tokens,
        without.prompt_tokens + without.cached_tokens
    );
    assert!(with.prompt_tokens + 150 < without.prompt_tokens, "{with:?} {without:?}");
}
