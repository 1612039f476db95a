//! Serves a folder of models on loopback until it is killed, and prints the address.
//!
//! `mullama-test-registry FOLDER [--port PORT] [--token TOKEN] [--slow BYTES]`. `Registry::add_folder` documents
//! the contents of the folder. `--slow` sends the given number of bytes of a blob per second. For example:
//!
//! ```text
//! registry/library/tiny/latest/model.gguf      mullama pull tiny         with MULLAMA_REGISTRY
//! hf/user/tiny-GGUF/tiny-Q8_0.gguf             mullama pull hf.co/user/tiny-GGUF with HF_ENDPOINT
//! files/tiny.gguf                              mullama pull http://127.0.0.1:PORT/files/tiny.gguf
//! ```

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use mullama_test_registry::{Fault, Registry};

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mullama-test-registry: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let option = |name: &str| {
        let at = args.iter().position(|arg| arg == name)?;
        args.get(at + 1)
    };
    let folder = args.first().ok_or("which folder?")?;
    let port = option("--port").map_or(Ok(0), |port| port.parse())?;
    let registry = Registry::start_at(port)?;
    registry.add_folder(Path::new(folder))?;
    if let Some(token) = option("--token") {
        registry.require_token(token);
    }
    if let Some(speed) = option("--slow") {
        registry.fault("/blobs/", u32::MAX, Fault::Slow(speed.parse()?));
    }
    println!("{}", registry.url());
    std::io::stdout().flush()?;
    loop {
        std::thread::park();
    }
}
