//! Measures decoding and prefill, alternating between the floor and mullama.

use std::path::Path;
use std::time::Instant;

use mullama::{ContextParams, GenerateOptions, ModelParams};
use mullama_floor::{Floor, Settings, Timed, Token, others, settle, undisturbed};

use crate::Result;
use crate::samples::Samples;
use crate::settings::{BATCH, Model, Prompts};

/// The floor and mullama with the same model and settings.
pub struct Sides {
    pub floor: Floor,
    pub mullama: mullama::Model,
}

/// Measures one model and prints the samples.
pub fn run(model: &Model, n_threads: u32) -> Result<()> {
    let mut sides =
        Sides::open(&model.path, ContextParams::default().with_prefix_cache(0), n_threads)?;
    let mut prompts = Prompts::new(sides.mullama.n_vocab());
    let (sizes, rounds) = (model.sizes, model.sizes.rounds);

    let samples = |what, tokens, Times { floor, mullama, disturbed }| {
        let (language, model) = ("Rust", model.name.as_str());
        Samples { what, language, model, tokens, floor, mullama, disturbed }.print();
    };

    let prompt = sides.streaming_prompt(&mut prompts, model.prompt)?;
    let times = alternate(
        rounds,
        || prompt.clone(),
        |side, prompt| match side {
            Side::Floor => Ok(sides.floor.decode(prompt, sizes.decode)?),
            Side::Mullama => sides.stream(prompt, sizes.decode),
        },
    )?;
    samples("decode", sizes.decode - 1, times);

    let times = alternate(
        rounds,
        || prompts.next(sizes.prefill),
        |side, prompt| match side {
            Side::Floor => Ok(sides.floor.prefill(prompt)?),
            Side::Mullama => sides.generate(prompt),
        },
    )?;
    samples("prefill", sizes.prefill, times);
    Ok(())
}

#[derive(Clone, Copy, PartialEq)]
pub enum Side {
    Floor,
    Mullama,
}

/// Seconds of each round.
#[derive(Default)]
pub struct Times {
    pub floor: Vec<f64>,
    pub mullama: Vec<f64>,
    pub disturbed: usize,
}

/// Measures both sides in each round, in alternating order. They must generate the same tokens. A
/// round that other programs disturb is repeated, as long as there are fewer repetitions than rounds.
pub fn alternate(
    rounds: usize,
    mut prompt: impl FnMut() -> Vec<Token>,
    mut measure: impl FnMut(Side, &[Token]) -> Result<Timed>,
) -> Result<Times> {
    let mut times = Times::default();
    let (mut repeats, mut warm) = (rounds, false);
    while times.floor.len() < rounds {
        let prompt = prompt();
        let mut order = [Side::Floor, Side::Mullama];
        if times.floor.len() % 2 == 1 {
            order.reverse();
        }
        let (start, before) = (Instant::now(), others());
        let mut round = Vec::new();
        for side in order {
            settle();
            round.push(measure(side, &prompt)?);
        }
        let calm = undisturbed(others() - before, start.elapsed().as_secs_f64());
        if round[0].tokens != round[1].tokens {
            return Err("floor and mullama did not generate the same".into());
        }
        // The first round is a warm-up.
        if !std::mem::replace(&mut warm, true) {
            continue;
        }
        if !calm && repeats > 0 {
            repeats -= 1;
            continue;
        }
        if order[0] == Side::Mullama {
            round.reverse();
        }
        times.disturbed += usize::from(!calm);
        times.floor.push(round[0].duration.as_secs_f64());
        times.mullama.push(round[1].duration.as_secs_f64());
    }
    Ok(times)
}

impl Sides {
    pub fn open(path: &str, context: ContextParams, n_threads: u32) -> Result<Self> {
        let context = context.with_n_threads(n_threads);
        let mullama = mullama::Model::load(path, ModelParams::default(), context)?;
        let (n_batch, n_ubatch) = BATCH;
        let settings = Settings { n_ctx: mullama.context_size(), n_batch, n_ubatch, n_threads };
        let floor = Floor::open(Path::new(mullama.path()), settings)?;
        Ok(Self { floor, mullama })
    }

    /// Returns a prompt after which the first token has text: mullama's first chunk is then the first
    /// token, at which both sides start measuring.
    fn streaming_prompt(&mut self, prompts: &mut Prompts, length: usize) -> Result<Vec<Token>> {
        for _ in 0..100 {
            let prompt = prompts.next(length);
            let first = self.floor.prefill(&prompt)?.tokens;
            let text = self.mullama.detokenize(&first, true)?;
            if !text.is_empty() && !text.contains(char::REPLACEMENT_CHARACTER) {
                return Ok(prompt);
            }
        }
        Err("the model begins no text".into())
    }

    /// Streams an answer. Measures from its first chunk to its end.
    fn stream(&self, prompt: &[Token], n_new: usize) -> Result<Timed> {
        let mut stream = self.mullama.stream(prompt.to_vec(), &options(n_new))?;
        stream.next_chunk().ok_or("the stream is empty")??;
        let start = Instant::now();
        for chunk in &mut stream {
            chunk?;
        }
        let duration = start.elapsed();
        let tokens = stream.completion().ok_or("the stream has no completion")?.tokens.clone();
        Ok(Timed { duration, tokens })
    }

    /// Generates one token. Measures all of it.
    fn generate(&self, prompt: &[Token]) -> Result<Timed> {
        let (prompt, options) = (prompt.to_vec(), options(1));
        let start = Instant::now();
        let completion = self.mullama.generate(prompt, &options)?;
        Ok(Timed { duration: start.elapsed(), tokens: completion.tokens })
    }
}

/// Greedy sampling that ignores end tokens.
pub fn options(n_new: usize) -> GenerateOptions {
    GenerateOptions::default()
        .with_temperature(0.0)
        .with_ignore_eos(true)
        .with_max_tokens(n_new as u32)
}
