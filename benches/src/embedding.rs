//! Measures the embedding of many texts, compared to the raw loop and to one text per call.

use std::time::Instant;

use mullama::{ContextParams, EmbedOptions, ModelParams};
use mullama_floor::{Embedder, Token, others, settle, undisturbed};

use crate::Result;
use crate::samples::Samples;
use crate::settings::{BATCH, Model, Prompts};

/// Lengths of the texts in tokens, used in rotation.
const LENGTHS: [usize; 8] = [5, 40, 12, 90, 7, 24, 60, 18];

/// Measures one model and prints the samples.
pub fn run(model: &Model, n_threads: u32) -> Result<()> {
    let context = ContextParams::default().with_n_threads(n_threads);
    let mullama = mullama::Model::load(&model.path, ModelParams::default(), context)?;
    let mut floor = Embedder::open(mullama.path(), BATCH.1, n_threads)?;
    let mut prompts = Prompts::new(mullama.n_vocab());
    let options = EmbedOptions::default().with_pooling(mullama::Pooling::Mean);
    let mut texts = || -> Vec<Vec<Token>> {
        let tokens = model.sizes.prefill * 4;
        let count = LENGTHS.len() * tokens.div_ceil(LENGTHS.iter().sum());
        (0..count).map(|text| prompts.next(LENGTHS[text % LENGTHS.len()])).collect()
    };

    let (mut raw, mut alone, mut batched) = (Vec::new(), Vec::new(), Vec::new());
    let (mut disturbed, mut warm, mut tokens) = (0, false, 0);
    while batched.len() < model.sizes.rounds.div_ceil(3) {
        let texts = texts();
        tokens = texts.iter().map(Vec::len).sum();
        let (start, before) = (Instant::now(), others());
        let (floor_time, expected) = timed(|| Ok(floor.embed(&texts)?))?;
        let (batched_time, vectors) = timed(|| Ok(mullama.embed(&texts, &options)?))?;
        let (alone_time, ()) = timed(|| {
            texts.iter().try_for_each(|text| {
                mullama.embed(mullama::Prompt::from(text.clone()), &options)?;
                Ok(())
            })
        })?;
        let apart = vectors.as_slice().iter().zip(&expected).map(|(ours, raw)| (ours - raw).abs());
        if apart.fold(0.0, f32::max) > 0.01 {
            return Err("floor and mullama did not compute the same".into());
        }
        // The first round is a warm-up.
        if !std::mem::replace(&mut warm, true) {
            continue;
        }
        disturbed += usize::from(!undisturbed(others() - before, start.elapsed().as_secs_f64()));
        raw.push(floor_time);
        alone.push(alone_time);
        batched.push(batched_time);
    }
    for (what, floor) in [("embed", raw), ("embed in batches", alone)] {
        let (language, model, mullama) = ("Rust", model.name.as_str(), batched.clone());
        Samples { what, language, model, tokens, floor, mullama, disturbed }.print();
    }
    Ok(())
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    settle();
    let start = Instant::now();
    let result = work()?;
    Ok((start.elapsed().as_secs_f64(), result))
}
