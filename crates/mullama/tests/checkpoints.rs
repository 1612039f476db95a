//! Memory that cannot be truncated: recurrent states, hybrids with attention, sliding windows. Computed tokens are
//! reused from checkpoints, with the same results as without reuse.

use std::thread;
use std::time::Duration;

use mullama::{
    ChatOptions, Completion, ContextParams, FinishReason, GenerateOptions, Message, Model,
    ModelParams, Prompt, Token,
};
use mullama_testkit::fixture;

const SHAPES: [&str; 3] = ["recurrent", "hybrid", "windowed"];

/// Words for prompts, from the vocabulary.
const WORDS: &str = "one two three four five six seven eight nine ten eleven twelve";

fn context() -> ContextParams {
    ContextParams::default().with_n_ctx(2048).with_n_parallel(2).with_n_threads(1)
}

fn load(shape: &str, context: ContextParams) -> Model {
    Model::load(fixture(shape), ModelParams::default(), context).unwrap()
}

/// A model without a prefix cache.
fn fresh(shape: &str) -> Model {
    load(shape, context().with_prefix_cache(0))
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0).with_ignore_eos(true).with_max_tokens(16)
}

fn ask(model: &Model, messages: &[Message]) -> Completion {
    let options = ChatOptions::from(greedy());
    model.chat(messages, &options).unwrap().completion
}

/// Returns a text with the given number of words, different for each seed.
fn text(seed: usize, words: usize) -> String {
    let all: Vec<_> = WORDS.split(' ').collect();
    let word = |index: usize| all[(index * (seed + 1) + index / 7 + seed) % all.len()];
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

#[test]
fn conversations_resume_from_the_last_message() {
    for shape in SHAPES {
        let (model, fresh) = (load(shape, context()), fresh(shape));
        let mut messages = vec![Message::system(text(0, 60)), Message::user(text(1, 60))];
        let first = ask(&model, &messages);
        assert_eq!(first.usage.cached_tokens, 0, "{shape}");
        // The answer in the history differs from the model's, so only the prompt is the same.
        messages.extend([Message::assistant("It is so."), Message::user(text(2, 10))]);
        let second = ask(&model, &messages);
        assert_eq!(second.tokens, ask(&fresh, &messages).tokens, "{shape}");
        let lost = first.usage.prompt_tokens - second.usage.cached_tokens;
        assert!(lost < 16, "{shape}: all but the header of the answer: {lost}");
        // The last message differs.
        messages.pop();
        messages.push(Message::user(text(3, 10)));
        let third = ask(&model, &messages);
        assert_eq!(third.tokens, ask(&fresh, &messages).tokens, "{shape}");
        assert!(third.usage.cached_tokens >= second.usage.cached_tokens, "{shape}");
        // The same request again.
        let fourth = ask(&model, &messages);
        assert_eq!(fourth.tokens, third.tokens, "{shape}");
        assert!(fourth.usage.prompt_tokens - fourth.usage.cached_tokens < 16, "{shape}");
        assert!(ask(&fresh, &messages).usage.cached_tokens == 0, "{shape}");
    }
}

#[test]
fn long_texts_have_intermediate_checkpoints() {
    for shape in SHAPES {
        let model = load(shape, context().with_checkpoint_every(128));
        let fresh = fresh(shape);
        let tokens = model.tokenize(&text(0, 500), false, false).unwrap();
        assert!(tokens.len() > 700);
        let run = |model: &Model, tokens: &[Token]| {
            model.generate(Prompt::from(tokens.to_vec()), &greedy()).unwrap()
        };
        run(&model, &tokens);
        for (place, least) in [(650, 500), (300, 150), (100, 0)] {
            let mut other = tokens[..place].to_vec();
            other.extend(&tokens[..40]);
            let answer = run(&model, &other);
            assert_eq!(answer.tokens, run(&fresh, &other).tokens, "{shape} at {place}");
            let cached = answer.usage.cached_tokens;
            assert!((least..=place as u32).contains(&cached), "{shape} at {place}: {cached}");
        }
        let without = load(shape, context().with_checkpoint_every(0));
        run(&without, &tokens);
        let mut other = tokens[..650].to_vec();
        other.extend(&tokens[..40]);
        assert_eq!(run(&without, &other).usage.cached_tokens, 0, "{shape}");
    }
}

#[test]
fn shared_prefixes_are_computed_once() {
    for shape in SHAPES {
        let model = load(shape, context().with_n_parallel(8));
        let fresh = fresh(shape);
        let system = Message::system(text(0, 200));
        let prompts: Vec<_> =
            (1..9).map(|seed| [system.clone(), Message::user(text(seed, 8))]).collect();
        thread::scope(|scope| {
            for prompt in &prompts {
                let (model, fresh) = (&model, &fresh);
                scope.spawn(move || {
                    let answer = ask(model, prompt);
                    assert_eq!(answer.tokens, ask(fresh, prompt).tokens, "{shape}");
                });
            }
        });
        let stats = model.stats().unwrap();
        let shared = 7 * 200;
        assert!(stats.cached_tokens >= shared, "{shape}: {stats:?}");
    }
}

#[test]
fn evicted_prompts_are_restored_correctly() {
    for shape in SHAPES {
        let (model, fresh) = (load(shape, context()), fresh(shape));
        let prompt =
            |seed: usize| [Message::system(text(seed, 120)), Message::user(text(seed + 1, 20))];
        // More prompts than sequences.
        for round in 0..2 {
            for seed in 0..8 {
                let answer = ask(&model, &prompt(seed));
                assert_eq!(answer.tokens, ask(&fresh, &prompt(seed)).tokens, "{shape}");
                let computed = answer.usage.prompt_tokens - answer.usage.cached_tokens;
                assert_eq!(round == 1, computed < 16, "{shape}, {round}: {computed}");
            }
        }
        // With little memory, little is cached; with none, nothing.
        for cache_ram in [0_u64, 1 << 20] {
            let small = load(shape, context().with_cache_ram(cache_ram));
            for seed in (0..4).chain(0..4) {
                let answer = ask(&small, &prompt(seed));
                assert_eq!(answer.tokens, ask(&fresh, &prompt(seed)).tokens, "{shape}");
            }
        }
    }
}

#[test]
fn cancelled_requests_leave_no_stale_state() {
    for shape in SHAPES {
        let model = load(shape, context().with_n_ubatch(32));
        let fresh = fresh(shape);
        let messages = [Message::system(text(0, 400)), Message::user(text(1, 100))];
        let expected = ask(&fresh, &messages);
        for wait in [0, 1, 2, 5, 10, 20, 40] {
            let options = ChatOptions::from(greedy().with_max_tokens(300));
            let stream = model.stream_chat(&messages, &options).unwrap();
            thread::sleep(Duration::from_millis(wait));
            drop(stream);
            assert_eq!(ask(&model, &messages).tokens, expected.tokens, "{shape} after {wait} ms");
        }
    }
}

#[test]
fn sliding_windows_save_memory_and_support_guesses() {
    let kv =
        |model: &Model| -> u64 { model.placement().devices.iter().map(|device| device.kv).sum() };
    let (short, full) =
        (load("windowed", context()), load("windowed", context().with_swa_full(true)));
    assert!(kv(&short) * 2 < kv(&full), "{} of {}", kv(&short), kv(&full));
    // Five of six layers have cells for 4 windows and one computation.
    let (cells, all) = (64 * 4 + 512, 2048);
    assert_eq!(kv(&short) * 6 * all, kv(&full) * (5 * cells + all));
    // Rejected guesses are removed from windows, too.
    let prompt = format!("{0} {0} {0}", text(0, 60));
    let plain = short.generate(prompt.as_str(), &greedy().with_max_tokens(200)).unwrap();
    let options = greedy().with_max_tokens(200).with_prompt_lookup(8);
    for model in [&short, &full] {
        let guessed = model.generate(prompt.as_str(), &options).unwrap();
        assert_eq!(guessed.tokens, plain.tokens);
        assert_eq!(guessed.finish_reason, FinishReason::Length);
        assert!(model.stats().unwrap().drafted_tokens > 0);
    }
    // With a full cache, a prefix of any length can be shared.
    let tokens = full.tokenize(&text(5, 100), false, false).unwrap();
    full.generate(Prompt::from(tokens.clone()), &greedy()).unwrap();
    let answer = full.generate(Prompt::from(tokens[..90].to_vec()), &greedy()).unwrap();
    assert_eq!(answer.usage.cached_tokens, 89);
}

#[test]
fn concurrent_conversations_match_single_ones() {
    for shape in SHAPES {
        let model = load(shape, context().with_n_ctx(700).with_checkpoint_every(64));
        let fresh = fresh(shape);
        thread::scope(|scope| {
            for worker in 0..4_usize {
                let (model, fresh) = (&model, &fresh);
                scope.spawn(move || {
                    let mut messages = vec![Message::system(text(worker % 2, 40))];
                    for turn in 0..5 {
                        messages.push(Message::user(text(worker + turn, 12)));
                        let answer = ask(model, &messages);
                        assert_eq!(answer.tokens, ask(fresh, &messages).tokens, "{shape}");
                        messages.push(Message::assistant(text(turn, 5)));
                    }
                });
            }
        });
        let stats = model.stats().unwrap();
        assert_eq!((stats.running, stats.finished), (0, 20), "{shape}");
        assert!(stats.cached_tokens > stats.prompt_tokens, "{shape}: {stats:?}");
    }
}
