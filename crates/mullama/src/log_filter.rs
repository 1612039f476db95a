//! The log filter from the environment.

use std::env;
use std::str::FromStr as _;

use log::LevelFilter;

const VARIABLE: &str = "MULLAMA_LOG";

/// Errors and mullama's own warnings.
const DEFAULT: &str = "warn,mullama::engine=error";

/// A filter in `env_logger`'s notation.
#[derive(Debug, PartialEq)]
pub(crate) struct LogFilter {
    pub directives: String,
    /// Why the environment variable is ignored.
    pub problem: Option<String>,
}

impl LogFilter {
    pub fn from_env() -> Self {
        Self::of(&env::var_os(VARIABLE).unwrap_or_default().to_string_lossy())
    }

    fn of(text: &str) -> Self {
        let text = text.trim();
        if text.is_empty() {
            return Self { directives: DEFAULT.to_owned(), problem: None };
        }
        if text.split(',').all(is_directive) {
            return Self { directives: text.to_owned(), problem: None };
        }
        let problem = format!(
            "{VARIABLE} is {text:?}, which is not a log level: use off, error, warn, info, debug or trace; the default is used"
        );
        Self { directives: DEFAULT.to_owned(), problem: Some(problem) }
    }
}

/// Whether `text` is a level, or a target with a level.
fn is_directive(text: &str) -> bool {
    let level = text.split_once('=').map_or(text, |(_, level)| level);
    LevelFilter::from_str(level.trim()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_parsed_and_invalid_ones_reported() {
        for text in ["debug", " Trace ", "off", "warn,mullama::engine=debug"] {
            let expected = LogFilter { directives: text.trim().to_owned(), problem: None };
            assert_eq!(LogFilter::of(text), expected);
        }
        assert_eq!(LogFilter::of(""), LogFilter { directives: DEFAULT.to_owned(), problem: None });
        for text in ["lots", "2", "warn,mullama::engine=much"] {
            let LogFilter { directives, problem } = LogFilter::of(text);
            assert_eq!(directives, DEFAULT);
            let problem = problem.unwrap();
            assert!(problem.contains(text) && problem.contains("debug or trace"), "{problem}");
        }
    }
}
