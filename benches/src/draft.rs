//! Compares decoding with a draft model to plain decoding, alternating in one run.

use mullama::{ContextParams, DraftMode, GenerateOptions, Model, ModelParams};
use mullama_floor::settle;

use crate::Result;
use crate::samples::median;

/// Number of tokens per answer.
const ANSWER: u32 = 96;

/// Countries in questions that the demo model was trained for; other models just continue the text.
const COUNTRIES: [&str; 6] = ["France", "Japan", "Peru", "Kenya", "Norway", "Egypt"];

/// Prints the speed-up of a model by a draft model, for several maximum numbers of drafted tokens.
pub fn report(model: &str, draft: &str, rounds: usize, n_threads: u32) -> Result<()> {
    let params = ModelParams::default().with_draft_model(draft);
    let context = ContextParams::default().with_n_threads(n_threads);
    let model = Model::load(model, params, context)?;
    println!("| sampling | `draft_max` | accepted | ratio (median) | from | to |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, temperature) in [("greedy", 0.0), ("temperature 0.8", 0.8)] {
        let base = GenerateOptions::default().with_temperature(temperature);
        let base = base.with_ignore_eos(true).with_max_tokens(ANSWER);
        for most in [1, 2, 4, 8] {
            let before = model.stats()?;
            let mut ratios = Vec::new();
            for round in 0..rounds {
                let country = COUNTRIES[round % COUNTRIES.len()];
                let prompt = format!("The capital of {country} is");
                let plain = base.clone().with_draft(DraftMode::Off);
                let sides = [plain, base.clone().with_draft_max(most)];
                let mut rates = [0.0; 2];
                for index in [round % 2, 1 - round % 2] {
                    settle();
                    rates[index] = model.generate(&*prompt, &sides[index])?.timings.decode_tps;
                }
                ratios.push(rates[1] / rates[0]);
            }
            let after = model.stats()?;
            let drafted = after.drafted_tokens - before.drafted_tokens;
            let accepted = after.accepted_tokens - before.accepted_tokens;
            let share = accepted as f64 / drafted.max(1) as f64 * 100.0;
            let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let greatest = ratios.iter().copied().fold(0.0, f64::max);
            let middle = median(ratios.iter().copied());
            println!(
                "| {name} | {most} | {share:.0} % of {drafted} | {middle:.2} | {least:.2} | {greatest:.2} |"
            );
        }
    }
    Ok(())
}
