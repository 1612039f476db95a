#![doc = include_str!("../README.md")]
// One of the README's examples is a build script, which is a complete program.
#![allow(clippy::needless_doctest_main)]

pub use mullama_core::*;
/// Model names, the local store and registries.
pub use mullama_hub as hub;

mod log_filter;

/// Writes the log to standard error, at the level in `MULLAMA_LOG`: `off`, `error`, `warn`, `info`,
/// `debug` (what the engine reports about models and devices) or `trace`.
///
/// For programs without a logger; if one is installed, this has no effect. Without the variable,
/// and with a value that is not a level, errors and mullama's own warnings are written.
pub fn log_to_stderr() {
    let filter = log_filter::LogFilter::from_env();
    let done = env_logger::Builder::new()
        .parse_filters(&filter.directives)
        .format(|out, record| {
            use std::io::Write as _;
            let (level, text) = (record.level().as_str().to_lowercase(), record.args().to_string());
            writeln!(out, "mullama: {level}: {}", mullama_base::printable(&text))
        })
        .try_init();
    if let (Ok(()), Some(problem)) = (done, filter.problem) {
        log::warn!("{problem}");
    }
}
