//! The `mullama` program.

use std::env;
use std::process::ExitCode;

use mullama_cli::ExitOnOutOfMemory;

#[global_allocator]
static ALLOCATOR: ExitOnOutOfMemory = ExitOnOutOfMemory;

fn main() -> ExitCode {
    mullama::log_to_stderr();
    let itself: Vec<_> = env::current_exe().into_iter().map(Into::into).collect();
    ExitCode::from(mullama_cli::run(env::args_os(), &itself))
}
