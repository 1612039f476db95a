//! Numbers from environment variables.

use std::env;
use std::time::Duration;

use crate::warning::warn_once;

/// A number that is at least 0. For other values, logs a warning and returns `None`.
pub fn number_from_env(name: &str) -> Option<f64> {
    from_env(name, "a number of 0 or more", read)
}

/// A time of more than 0 seconds. For other values, logs a warning and returns `None`.
pub fn seconds_from_env(name: &str) -> Option<Duration> {
    from_env(name, "a number of seconds above 0", |text| {
        Duration::try_from_secs_f64(read(text)?).ok().filter(|time| !time.is_zero())
    })
}

fn from_env<T>(name: &str, wanted: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    let value = read(&text);
    if value.is_none() {
        warn_once(&format!("{name} is {text:?}, which is not {wanted}: the default is used"));
    }
    value
}

fn read(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_numbers_are_rejected() {
        assert_eq!(read(" 2.5 "), Some(2.5));
        assert_eq!(read("0"), Some(0.0));
        for bad in ["-1", "nan", "inf", "1s", "x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(seconds_from_env("MULLAMA_NO_SUCH_VARIABLE"), None);
    }
}
