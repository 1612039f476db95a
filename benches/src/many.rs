//! Measures concurrent requests, shared prefixes, conversations, guesses, grammars and fairness, each as a
//! ratio of two sides in one run.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use mullama::{ContextParams, GenerateOptions, LogitBias, Model, ModelParams};
use mullama_floor::{Timed, Token, settle};
use serde_json::json;

use crate::Result;
use crate::measure::{Side, Sides, alternate, options};
use crate::samples::median;
use crate::settings::Prompts;

/// Number of tokens of prompts and of answers in measurements of concurrent requests.
const PROMPT: usize = 128;
const ANSWER: usize = 32;
/// Number of tokens that requests share, and number of such requests.
const SHARED_TOKENS: usize = 722;
const SHARED_COUNT: usize = 8;
/// Number of tokens of a conversation before its second turn.
const CONVERSATION: usize = 2000;
/// Maximum number of guessed tokens per step.
const GUESSES: u32 = 16;
/// Number of tokens of a prompt that arrives while other requests stream.
const LONG_PROMPT: usize = 4000;

/// Measures the named parts with one model, or all of them, and prints a table.
pub fn report(name: &str, path: &str, rounds: usize, n_threads: u32, parts: &[&str]) -> Result<()> {
    println!("# Many requests, model {name}\n");
    println!("| what | against | ratio (median) | from | to | target |");
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    let bench = Bench { path, rounds, n_threads };
    let measures: [(&str, &dyn Fn() -> Result<()>); 7] = [
        ("together", &|| [4, 8].into_iter().try_for_each(|count| bench.together(count))),
        ("shared", &|| bench.shared()),
        ("turn", &|| bench.second_turn()),
        ("kept", &|| bench.cached_cells()),
        ("guesses", &|| bench.guesses()),
        ("grammar", &|| bench.grammar()),
        ("fairness", &|| bench.fairness()),
    ];
    let wanted = |part: &str| parts.is_empty() || parts.contains(&part);
    measures.iter().filter(|(part, _)| wanted(part)).try_for_each(|(_, measure)| measure())
}

struct Bench<'a> {
    path: &'a str,
    rounds: usize,
    n_threads: u32,
}

fn row(what: &str, against: &str, ratios: &[f64], target: &str) {
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    let middle = median(ratios.iter().copied());
    println!("| {what} | {against} | {middle:.3} | {least:.3} | {most:.3} | {target} |");
}

impl Bench<'_> {
    fn load(&self, context: ContextParams) -> Result<Model> {
        let context = context.with_n_threads(self.n_threads);
        Ok(Model::load(self.path, ModelParams::default(), context)?)
    }

    fn together(&self, count: usize) -> Result<()> {
        let context = ContextParams::default().with_n_parallel(count as u32).with_prefix_cache(0);
        let mut sides = Sides::open(self.path, context, self.n_threads)?;
        let mut prompts = Prompts::new(sides.mullama.n_vocab());
        let Sides { floor, mullama } = &mut sides;
        let draw = || prompts.next(count * PROMPT);
        let times = alternate(self.rounds, draw, |side, tokens| {
            let prompts: Vec<_> = tokens.chunks(PROMPT).map(<[_]>::to_vec).collect();
            let Timed { duration, tokens } = match side {
                Side::Floor => floor.together(&prompts, ANSWER)?,
                Side::Mullama => run_concurrently(mullama, &prompts, &options(ANSWER))?,
            };
            // Tokens may differ where two are about equally likely, because the sides fill their
            // batches differently. Their number must be equal.
            Ok(Timed { duration, tokens: vec![tokens.len() as Token] })
        })?;
        let pairs = times.floor.iter().zip(&times.mullama);
        let ratios: Vec<_> = pairs.map(|(floor, mullama)| floor / mullama).collect();
        let what = format!("{count} requests together, {PROMPT} + {ANSWER} tokens");
        row(&what, "raw loop in one batch", &ratios, "≥ 0.95");
        Ok(())
    }

    fn shared(&self) -> Result<()> {
        let context = ContextParams::default().with_n_parallel(SHARED_COUNT as u32);
        let with = self.load(context.clone())?;
        let without = self.load(context.with_prefix_cache(0))?;
        let mut draws = Prompts::new(with.n_vocab());
        let mut ratios = Vec::new();
        for round in 0..self.rounds {
            let prefix = draws.next(SHARED_TOKENS);
            let prompts: Vec<_> =
                (0..SHARED_COUNT).map(|_| [prefix.clone(), draws.next(4)].concat()).collect();
            let mut times = [0.0; 2];
            for index in [round % 2, 1 - round % 2] {
                settle();
                let done = run_concurrently([&with, &without][index], &prompts, &options(ANSWER))?;
                times[index] = done.duration.as_secs_f64();
            }
            ratios.push(times[1] / times[0]);
        }
        let what = format!(
            "{SHARED_COUNT} requests at once with {SHARED_TOKENS} tokens in common, {ANSWER} new"
        );
        row(&what, "cache off", &ratios, "≥ 4.4");
        Ok(())
    }

    fn second_turn(&self) -> Result<()> {
        let model = self.load(ContextParams::default())?;
        let mut draws = Prompts::new(model.n_vocab());
        let mut ratios = Vec::new();
        for _ in 0..self.rounds {
            settle();
            let mut conversation = draws.next(CONVERSATION);
            let first = model.generate(conversation.clone(), &options(ANSWER))?;
            conversation.extend(&first.tokens);
            conversation.extend(draws.next(16));
            settle();
            let second = model.generate(conversation, &options(ANSWER))?;
            ratios.push(first.timings.first_token_ms / second.timings.first_token_ms);
        }
        let what = format!("first token of the second turn, {CONVERSATION} tokens before it");
        row(&what, "first turn", &ratios, "≥ 20");
        Ok(())
    }

    /// Returns the ratio of the tokens per second of `other` to those of `plain`, for each round.
    fn rates(&self, plain: Asked<'_>, other: Asked<'_>) -> Result<Vec<f64>> {
        let mut draws = Prompts::new(plain.0.n_vocab());
        let mut ratios = Vec::new();
        for round in 0..self.rounds {
            let prompt = draws.next(32);
            let mut rates = [0.0; 2];
            for index in [round % 2, 1 - round % 2] {
                settle();
                let (model, options) = [plain, other][index];
                let answer = model.generate(prompt.clone(), options)?;
                rates[index] = answer.timings.decode_tps;
            }
            ratios.push(rates[1] / rates[0]);
        }
        Ok(ratios)
    }

    /// Attention runs over all cells up to the last used one, including those of finished requests, of which it
    /// reads only that they are masked.
    fn cached_cells(&self) -> Result<()> {
        let full = self.load(ContextParams::default())?;
        let empty = self.load(ContextParams::default().with_prefix_cache(0))?;
        let count = full.context_size() as usize * 3 / 4;
        full.generate(Prompts::new(full.n_vocab()).next(count), &options(1))?;
        let options = options(64);
        let ratios = self.rates((&empty, &options), (&full, &options))?;
        row(&format!("tokens per second beside {count} that are kept"), "none kept", &ratios, "");
        Ok(())
    }

    /// A model with random weights repeats nothing by itself, so one token is favoured.
    fn guesses(&self) -> Result<()> {
        let model = self.load(ContextParams::default().with_prefix_cache(0))?;
        let plain = options(96).with_logit_bias(LogitBias([(300, 1e4)].into()));
        let guessing = plain.clone().with_prompt_lookup(GUESSES);
        let ratios = self.rates((&model, &plain), (&model, &guessing))?;
        let stats = model.stats()?;
        let right = stats.accepted_tokens as f64 / stats.drafted_tokens as f64 * 100.0;
        let what = format!("prompt lookup of {GUESSES}, {right:.0} % of the guesses right");
        row(&what, "without", &ratios, "≥ 1.5");
        Ok(())
    }

    fn grammar(&self) -> Result<()> {
        let model = self.load(ContextParams::default().with_prefix_cache(0))?;
        let free = GenerateOptions::default().with_ignore_eos(true).with_max_tokens(64);
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 60},
                "tags": {"type": "array", "items": {"type": "string"}},
                "count": {"type": "integer"},
            },
            "required": ["name", "tags", "count"],
        });
        let schema = GenerateOptions::default().with_json_schema(schema).with_max_tokens(64);
        let ratios = self.rates((&model, &free), (&model, &schema))?;
        row("tokens per second by a JSON schema", "free text", &ratios, "≥ 0.9");
        Ok(())
    }

    fn fairness(&self) -> Result<()> {
        let model = self.load(ContextParams::default().with_prefix_cache(0))?;
        let mut draws = Prompts::new(model.n_vocab());
        let (mut stalls, mut speeds) = (Vec::new(), Vec::new());
        for _ in 0..self.rounds.min(3) {
            let long = draws.next(LONG_PROMPT);
            settle();
            let alone = model.generate(long, &options(1))?.timings.prompt_ms;

            let endless = options(model.context_size() as usize - LONG_PROMPT - 64);
            let mut stream = model.stream(draws.next(32), &endless)?;
            stream.next_chunk().ok_or("the stream is empty")??;
            let (mut before, mut beside) = (ChunkIntervals::new(), ChunkIntervals::new());
            while before.gaps.len() < 100 {
                stream.next_chunk().ok_or("the stream ended")??;
                before.note();
            }
            let long = draws.next(LONG_PROMPT);
            let together = thread::scope(|scope| {
                let asked = scope.spawn(|| model.generate(long, &options(1)));
                beside.note();
                while !asked.is_finished() {
                    stream.next_chunk().ok_or("the stream ended")??;
                    beside.note();
                }
                let answer = asked.join().map_err(|_| "the request panicked")?;
                Ok::<_, Box<dyn std::error::Error>>(answer?.timings.prompt_ms)
            })?;
            stalls.push(beside.p99() / before.p99());
            speeds.push(alone / together);
        }
        let what = format!("time between tokens (p99) beside a prompt of {LONG_PROMPT} tokens");
        row(&what, "without it", &stalls, "≤ 4");
        row("that prompt's speed", "alone", &speeds, "≥ 0.6");
        Ok(())
    }
}

/// A model with the options of a request to it.
type Asked<'a> = (&'a Model, &'a GenerateOptions);

/// Times between chunks of a stream.
struct ChunkIntervals {
    last: Instant,
    gaps: Vec<Duration>,
}

impl ChunkIntervals {
    fn new() -> Self {
        Self { last: Instant::now(), gaps: Vec::new() }
    }

    fn note(&mut self) {
        let now = Instant::now();
        self.gaps.push(now - std::mem::replace(&mut self.last, now));
    }

    /// The 99th percentile. The first gap is left out, since it is the time until measuring began.
    fn p99(mut self) -> f64 {
        let mut gaps = self.gaps.split_off(1);
        gaps.sort_unstable();
        gaps[(gaps.len() * 99 / 100).min(gaps.len() - 1)].as_secs_f64()
    }
}

/// Starts all requests simultaneously, each on a separate thread, and waits for all answers.
fn run_concurrently(
    model: &Model,
    prompts: &[Vec<Token>],
    options: &GenerateOptions,
) -> Result<Timed> {
    let ready = Barrier::new(prompts.len() + 1);
    thread::scope(|scope| {
        let ask = |prompt: &Vec<Token>| {
            let prompt = prompt.clone();
            let ready = &ready;
            scope.spawn(move || {
                ready.wait();
                model.generate(prompt, options)
            })
        };
        let threads: Vec<_> = prompts.iter().map(ask).collect();
        ready.wait();
        let start = Instant::now();
        let mut tokens = Vec::new();
        for thread in threads {
            tokens.extend(thread.join().map_err(|_| "a request panicked")??.tokens);
        }
        Ok(Timed { duration: start.elapsed(), tokens })
    })
}
