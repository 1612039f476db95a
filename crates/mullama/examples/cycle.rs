//! Loads the demo model, generates, and drops it, the given number of times. Prints the memory and the number of open
//! files of the process, and fails if they grow with each cycle. Run alone, it detects leaks; under valgrind, also
//! memory errors.
//!
//! `cycle COUNT`

use mullama::{ContextParams, GenerateOptions, Message, Model, ModelParams, Result};
use mullama_testkit::allocated_bytes;

/// Maximum growth of allocated memory in the second half of the cycles: for a thousand cycles, 33 bytes each. (In
/// the first half, the allocator fills its lists of small blocks, which count as allocated.)
const MOST_GROWTH_KIB: u64 = 16;

/// Maximum growth of resident memory, which includes fragmentation of the allocator.
const MOST_RESIDENT_GROWTH_KIB: u64 = 4096;

fn main() -> Result<()> {
    let count: u32 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    let mut early = Held::default();
    for round in 1..=count {
        cycle()?;
        let held = Held::now();
        if round == count.div_ceil(2) {
            early = held;
        }
        if round % count.div_ceil(10) == 0 {
            println!("{round} cycles: {held:?}");
        }
    }
    let late = Held::now();
    let growth = late.allocated_kib.saturating_sub(early.allocated_kib);
    let resident_growth = late.resident_kib.saturating_sub(early.resident_kib);
    println!("growth: {growth} KiB allocated, {resident_growth} KiB resident");
    let has_grown = growth > MOST_GROWTH_KIB
        || resident_growth > MOST_RESIDENT_GROWTH_KIB
        || late.threads > early.threads
        || late.files > early.files;
    // A few cycles only fill the allocator's lists.
    if count >= 1000 && has_grown {
        std::process::exit(1);
    }
    Ok(())
}

/// Does everything once: text, chat with tools and a grammar, a cancelled stream, an error.
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

/// The resources of the process; zeros if the system does not report them.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    allocated_kib: u64,
    resident_kib: u64,
    threads: u64,
    files: u64,
}

impl Held {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        Self {
            allocated_kib: allocated_bytes() / 1024,
            resident_kib: number("VmRSS:"),
            threads: number("Threads:"),
            files: std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        }
    }
}
