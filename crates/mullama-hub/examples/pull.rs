//! Pulls a model: `cargo run -p mullama-hub --example pull NAME`.

use std::process::ExitCode;

use mullama_hub::{PullOptions, Result, Source, Store, StoredModel, pull};

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match run(&name) {
        Ok(model) => {
            println!("{} is at {}", model.name, model.path.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}

fn run(name: &str) -> Result<StoredModel> {
    let options = PullOptions::default().with_progress(|progress| eprintln!("{progress:?}"));
    pull(&Store::open()?, &Source::parse(name)?, options)
}
