//! Measures the resident memory of the floor and of mullama, each in a separate process.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use mullama::{ContextParams, ModelParams};
use mullama_floor::{Floor, Settings};

use crate::Result;
use crate::measure::options;
use crate::samples::Samples;
use crate::settings::{BATCH, Model, Prompts, threads};

/// Number of prompt tokens and of generated tokens: enough to use every buffer.
const TOKENS: (usize, usize) = (64, 16);

/// Runs both sides and prints their resident memory.
pub fn compare(model: &Model) -> Result<()> {
    let file = mullama::resolve(&model.path)?;
    // Weights are memory-mapped: read the file first, so that the order has no effect.
    fs::read(&file)?;
    // The floor opens the file, mullama the name that a user passes.
    let file = file.to_str().ok_or("the path is not valid UTF-8")?;
    let floor = measure("floor", file)?;
    let mullama = measure("mullama", &model.path)?;
    let (floor, mullama) = (vec![floor], vec![mullama]);
    let (what, language, model) = ("memory", "Rust", model.name.as_str());
    Samples { what, language, model, tokens: 0, floor, mullama, disturbed: 0 }.print();
    Ok(())
}

fn measure(side: &str, path: &str) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.args(["rss", side, path]).stderr(Stdio::inherit()).output()?;
    let text = String::from_utf8(output.stdout)?;
    text.trim().parse().map_err(|_| format!("`rss {side} {path}` said: {text}").into())
}

/// Generates with the floor and prints the resident memory.
pub fn rss_floor(path: &str) -> Result<()> {
    // Makes mullama load the engine's modules.
    mullama::gpu::devices();
    let header = mullama::GgufHeader::read(Path::new(path))?;
    let trained = header.architecture_number("context_length").ok_or("no context length")?;
    // The value that mullama would choose.
    let n_ctx = trained.min(8192) as u32;
    let (n_batch, n_ubatch) = BATCH;
    let settings = Settings { n_ctx, n_batch, n_ubatch, n_threads: threads() };
    let mut floor = Floor::open(Path::new(path), settings)?;
    floor.decode(&Prompts::new(256).next(TOKENS.0), TOKENS.1)?;
    print_resident()
}

/// Generates with mullama and prints the resident memory.
pub fn rss_mullama(path: &str) -> Result<()> {
    let context = ContextParams::default().with_n_threads(threads());
    let model = mullama::Model::load(path, ModelParams::default(), context)?;
    model.generate(Prompts::new(256).next(TOKENS.0), &options(TOKENS.1))?;
    print_resident()
}

/// Prints the resident memory of this process in KiB, and its parts on standard error.
fn print_resident() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let kib = |name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let total = kib("VmRSS:").ok_or("the system does not say what is resident")?;
    let (own, files) = (kib("RssAnon:").unwrap_or(0), kib("RssFile:").unwrap_or(0));
    eprintln!("resident: {total} KiB, {own} of its own, {files} of files");
    println!("{total}");
    Ok(())
}
