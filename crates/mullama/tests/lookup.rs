//! Prompt lookup: guesses must not change the text.

use std::fs;
use std::path::Path;

use mullama::{
    ChatOptions, ContextParams, FinishReason, GenerateOptions, Message, Model, ModelParams,
};
use serde_json::Value;

fn load(context: ContextParams) -> Model {
    Model::load("demo", ModelParams::default(), context.with_n_threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

#[test]
fn lookup_guesses_do_not_change_answers() {
    let model = load(ContextParams::default().with_prefix_cache(0));
    let vectors =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/demo_greedy.json");
    let vectors: Value = serde_json::from_str(&fs::read_to_string(vectors).unwrap()).unwrap();
    let cases = vectors["capitals"].as_array().unwrap().iter().step_by(8);
    let prompts: Vec<_> = cases.map(|case| case["question"].as_str().unwrap()).collect();
    assert!(prompts.len() > 10);
    for prompt in prompts {
        for options in [greedy().with_max_tokens(48), greedy().with_max_tokens(7)] {
            let plain = model.generate(prompt, &options).unwrap();
            for most in [1, 3, 16] {
                let guessed =
                    model.generate(prompt, &options.clone().with_prompt_lookup(most)).unwrap();
                assert_eq!(guessed.tokens, plain.tokens, "{prompt:?} with {most}");
                assert_eq!(guessed.text, plain.text);
                assert_eq!(guessed.finish_reason, plain.finish_reason);
            }
        }
    }
    let stats = model.stats().unwrap();
    assert!(stats.accepted_tokens > 0 && stats.accepted_tokens < stats.drafted_tokens, "{stats:?}");
    assert_eq!(stats.kv_used, 0, "wrong guesses leave nothing behind");
}

#[test]
fn repetitive_texts_take_fewer_steps() {
    let model = load(ContextParams::default());
    let options = greedy().with_ignore_eos(true).with_max_tokens(200);
    let prompt = "The capital of France is Paris. ".repeat(6);
    let plain = model.generate(prompt.as_str(), &options).unwrap();
    let before = model.stats().unwrap();
    let guessed =
        model.generate(prompt.as_str(), &options.with_prompt_lookup(8).with_logprobs(0)).unwrap();
    let after = model.stats().unwrap();
    assert_eq!(guessed.tokens, plain.tokens);
    assert_eq!(guessed.logprobs.unwrap().len(), guessed.tokens.len());
    let (steps, accepted) =
        (after.steps - before.steps, after.accepted_tokens - before.accepted_tokens);
    assert_eq!(steps + accepted, 200, "each step gives one token, and one for each right guess");
    assert!(steps < 150, "{steps} steps for 200 tokens");
}

#[test]
fn lookup_guesses_support_grammars_stops_and_draws() {
    let model = load(ContextParams::default().with_prefix_cache(0));
    let grammar =
        greedy().with_grammar(r#"root ::= "one" (" two" " one"){5,9}"#).with_max_tokens(60);
    let stop = greedy().with_stop("two one two").with_max_tokens(60).with_ignore_eos(true);
    let penalised = greedy().with_repeat_penalty(1.3).with_max_tokens(60);
    let both = |options: GenerateOptions| {
        let plain = model.generate("one two one two", &options).unwrap();
        let guessed = model.generate("one two one two", &options.with_prompt_lookup(6)).unwrap();
        (plain.tokens, guessed.tokens)
    };
    for options in [grammar, stop, penalised] {
        let (plain, guessed) = both(options);
        assert_eq!(guessed, plain);
    }
    // Rounding depends on the number of tokens, which rarely changes a draw, provided that guesses consume no
    // random numbers.
    let drawn = GenerateOptions::default().with_max_tokens(20).with_ignore_eos(true);
    let draws: Vec<_> = (0..8).map(|seed| both(drawn.clone().with_seed(seed))).collect();
    let alike = draws.iter().filter(|(plain, guessed)| plain == guessed).count();
    assert!(alike >= 6, "{alike} of 8: {draws:?}");
    assert!(draws.windows(2).any(|pair| pair[0].0 != pair[1].0), "they are draws");
}

#[test]
fn lookup_guesses_yield_when_cells_run_out() {
    let model = load(ContextParams::default().with_n_ctx(256).with_n_batch(8));
    let options = greedy().with_ignore_eos(true).with_prompt_lookup(32);
    let answer = model.generate("one two one two", &options).unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Length);
    let (prompt, completion) = (answer.usage.prompt_tokens, answer.usage.completion_tokens);
    assert_eq!(prompt + completion, 257, "the last token needs no cell");
    let chat = ChatOptions::from(greedy().with_prompt_lookup(4));
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = || {
            model.chat(&[Message::user("What is the capital of Peru?")], &chat).unwrap().to_string()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|text| text == "The capital of Peru is Lima."), "{answers:?}");
}
