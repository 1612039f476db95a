//! Loads the demo model, generates, and drops it, as often as it is told; prints the resident memory
//! on the way, and fails where it grew. Run by itself it shows growth, under valgrind errors.
//!
//! `cycle COUNT`

use mullama::{ContextParams, GenerateOptions, Message, Model, ModelParams, Result};

/// What allocators may still come to keep after a tenth of the cycles. A cycle allocates a thousand
/// times as much: a leak of a part of it shows.
const MOST_GROWTH_KIB: u64 = 1024;

fn main() -> Result<()> {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut early = 0;
    for round in 1..=count {
        cycle()?;
        // By then every allocator has what it keeps.
        if round == count.div_ceil(10) {
            early = resident_kib();
        }
        if round % count.div_ceil(10) == 0 {
            println!("{round} cycles: {} KiB resident", resident_kib());
        }
    }
    let growth = resident_kib().saturating_sub(early);
    println!("growth: {growth} KiB");
    // A few rounds only fill the allocators.
    if count >= 100 && growth > MOST_GROWTH_KIB {
        std::process::exit(1);
    }
    Ok(())
}

/// Everything once: text, chat with tools and a grammar, a cancelled stream, an error.
fn cycle() -> Result<()> {
    let context = ContextParams::default().with_n_ctx(512).with_n_threads(1);
    let model = Model::load("demo", ModelParams::default(), context)?;
    let options = GenerateOptions::default().with_max_tokens(8).with_seed(1);
    model.generate("The capital of France is", &options.clone().with_logprobs(2))?;
    model.generate("Yes or no?", &options.clone().with_grammar("root ::= \"yes\" | \"no\""))?;
    model.chat(&[Message::user("What is the capital of Italy?")], &options.clone().into())?;
    let mut stream = model.stream("Hello", &options.clone().with_ignore_eos(true))?;
    stream.next_chunk();
    drop(stream);
    assert!(model.generate("Hello", &options.with_grammar("root ::= missing")).is_err());
    Ok(())
}

/// Kibibytes of resident memory, 0 where the system does not say.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
