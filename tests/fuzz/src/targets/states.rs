//! Damaged states with correct digests, which anyone can compute. Other prompts must be answered as before.

use std::path::Path;

use mullama::hub::Digest;
use mullama::{ContextParams, GenerateOptions, KvCacheType, Model, ModelParams, write_state};
use mullama_testkit::fixture;

use super::brief;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// The range of the digest; the digested data follow.
const DIGEST: std::ops::Range<usize> = 8..40;
/// The offset of the number of tokens.
const COUNT: usize = 72;

struct Subject {
    model: Model,
    states: Vec<Vec<u8>>,
    expected: String,
}

impl Subject {
    fn new(name: &str, context: ContextParams) -> Self {
        let context = context.with_n_ctx(256).with_n_threads(1).with_n_parallel(2);
        let model =
            Model::load(fixture(name), ModelParams::default(), context).expect("it is sound");
        let prompts = ["hello", "hello world, this is a somewhat longer text", "a b c d e f g h"];
        let states =
            prompts.map(|prompt| model.save_state(prompt).expect("it can be saved")).into();
        let expected = answer(&model);
        Self { model, states, expected }
    }
}

/// The answer to a prompt that no state contains.
fn answer(model: &Model) -> String {
    let options = GenerateOptions::default().with_max_tokens(6).with_temperature(0.0);
    model
        .generate("Zebra 42", &options)
        .map_or_else(|error| error.to_string(), |answer| answer.text)
}

pub fn start(_: &Path) -> Fuzz {
    let narrow = ContextParams::default().with_kv_cache_type(KvCacheType::Q8_0);
    let subjects = [
        Subject::new("tiny", ContextParams::default()),
        Subject::new("recurrent", ContextParams::default()),
        Subject::new("hybrid", ContextParams::default()),
        Subject::new("windowed", ContextParams::default()),
        Subject::new("moe", narrow),
    ];
    Box::new(move |input| {
        let rng = &mut input.rng;
        let subject = &subjects[rng.usize(..subjects.len())];
        let mut state = subject.states[rng.usize(..subject.states.len())].clone();
        for _ in 0..rng.usize(1..4) {
            match rng.u8(..6) {
                // The numbers before the cells, and those in the header of the cells.
                0..=2 if state.len() > COUNT + 200 => {
                    let mut head = state[COUNT..COUNT + 200].to_vec();
                    mutate::bytes(&mut head, &subject.states, rng);
                    drop(state.splice(COUNT..COUNT + 200, head));
                }
                _ => mutate::bytes(&mut state, &subject.states, rng),
            }
        }
        if rng.u8(..10) > 0 && state.len() > DIGEST.end {
            let digest = Digest::of(&state[DIGEST.end..]);
            state[DIGEST].copy_from_slice(digest.as_bytes());
        }
        let path = input.save("state", &state);
        input.save("model.txt", subject.model.description());
        let mut outcome = Outcome::default();
        let model = &subject.model;
        if outcome.decide("state", model.load_state(&state)).is_some() {
            outcome.see(
                "generate",
                model.generate("hello world, this is a somewhat longer text, and more", &brief()),
            );
        }
        outcome.see("file", model.load_state_file(&path));
        if let Some(state) = outcome.see("save", model.save_state("hello")) {
            outcome.see("write", write_state(path.with_extension("saved"), &state));
        }
        let answer = answer(model);
        if answer != subject.expected {
            outcome.wrong(format!("{answer:?}, where {:?} was answered before", subject.expected));
        }
        outcome
    })
}
