//! The log filter from the environment.

use std::env;
use std::str::FromStr as _;

use log::LevelFilter;

const VARIABLE: &str = "MULLAMA_LOG";

/// Errors and mullama's own warnings.
const DEFAULT: &str = "mullama=warn,mullama::engine=error";

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
            let directives: Vec<_> = text.split(',').map(of_mullama).collect();
            return Self { directives: directives.join(","), problem: None };
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

/// A level without a target is that of mullama. Libraries for HTTP log URLs and headers, which may have secrets.
fn of_mullama(directive: &str) -> String {
    let directive = directive.trim();
    if directive.contains('=') { directive.to_owned() } else { format!("mullama={directive}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_levels_are_parsed_and_invalid_ones_reported() {
        for (text, directives) in [
            ("debug", "mullama=debug"),
            (" Trace ", "mullama=Trace"),
            ("off", "mullama=off"),
            ("warn,mullama::engine=debug", "mullama=warn,mullama::engine=debug"),
            ("ureq=debug", "ureq=debug"),
        ] {
            let expected = LogFilter { directives: directives.to_owned(), problem: None };
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
