//! Models with a state per sequence, which cannot be truncated.

use std::thread;

use mullama::{
    ContextParams, ErrorKind, FinishReason, GenerateOptions, Model, ModelParams, Prompt,
};
use mullama_testkit::fixture;

fn load(context: ContextParams) -> Model {
    let path = fixture("recurrent");
    Model::load(path, ModelParams::default(), context.with_n_threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0).with_ignore_eos(true).with_max_tokens(24)
}

#[test]
fn concurrent_requests_match_single_ones() {
    let model = load(ContextParams::default());
    let prompts: Vec<_> = (0..12).map(|n| format!("Prompt number {n} is")).collect();
    let alone: Vec<_> = prompts
        .iter()
        .map(|prompt| model.generate(prompt.as_str(), &greedy()).unwrap().tokens)
        .collect();
    assert_ne!(alone[0], alone[1]);
    thread::scope(|scope| {
        for (prompt, alone) in prompts.iter().zip(&alone) {
            let model = &model;
            scope.spawn(move || {
                assert_eq!(model.generate(prompt.as_str(), &greedy()).unwrap().tokens, *alone);
            });
        }
    });
}

#[test]
fn conversations_resume_from_the_recurrent_state() {
    let model = load(ContextParams::default());
    let fresh = load(ContextParams::default().with_prefix_cache(0));
    let mut tokens = model.tokenize("Once upon a time there was", true, true).unwrap();
    for turn in 0..4 {
        let answer = model.generate(Prompt::from(tokens.clone()), &greedy()).unwrap();
        let expected = fresh.generate(Prompt::from(tokens.clone()), &greedy()).unwrap();
        assert_eq!(answer.tokens, expected.tokens, "turn {turn}");
        assert_eq!(expected.usage.cached_tokens, 0);
        let cached = answer.usage.cached_tokens as usize;
        // All of the previous turn except its last token, which was never computed.
        assert_eq!(cached, if turn == 0 { 0 } else { tokens.len() - 6 }, "turn {turn}");
        tokens.extend(answer.tokens);
        tokens.extend([100, 101, 102, 103, 104]);
    }
    // A prompt with only a common prefix is computed, since a state cannot be truncated.
    let other = tokens[..tokens.len() - 8].to_vec();
    let answer = model.generate(Prompt::from(other.clone()), &greedy()).unwrap();
    let expected = fresh.generate(Prompt::from(other.clone()), &greedy()).unwrap();
    assert_eq!(answer.tokens, expected.tokens);
    assert!((answer.usage.cached_tokens as usize) < other.len() - 20);
}

#[test]
fn cached_states_are_evicted_and_guesses_are_off() {
    let model = load(ContextParams::default().with_n_ctx(256).with_n_parallel(2));
    let options = greedy().with_prompt_lookup(8).with_max_tokens(100);
    thread::scope(|scope| {
        for number in 0..8 {
            let (model, options) = (&model, &options);
            scope.spawn(move || {
                let prompt = format!("one two one two {number}");
                let answer = model.generate(prompt.as_str(), options).unwrap();
                assert_eq!(answer.finish_reason, FinishReason::Length);
            });
        }
    });
    let stats = model.stats().unwrap();
    assert_eq!((stats.drafted_tokens, stats.finished), (0, 8));
}

#[test]
fn a_state_is_saved_and_restored() {
    let first = load(ContextParams::default());
    let state = first.save_state("Once upon a time").unwrap();
    let second = load(ContextParams::default());
    let count = second.load_state(&state).unwrap();
    let mut tokens = first.tokenize("Once upon a time", true, true).unwrap();
    assert_eq!(count, tokens.len());
    tokens.push(100);
    let answer = second.generate(Prompt::from(tokens.clone()), &greedy()).unwrap();
    assert_eq!(answer.usage.cached_tokens as usize, count);
    assert_eq!(answer.tokens, first.generate(Prompt::from(tokens), &greedy()).unwrap().tokens);

    let none = load(ContextParams::default().with_prefix_cache(0));
    assert_eq!(none.save_state("Once").unwrap_err().kind(), ErrorKind::Unsupported);
}
