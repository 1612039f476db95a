//! What a predicted speed is suitable for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Tokens per second that are comfortable for chat: faster than most people read.
const MIN_CHAT_TPS: f64 = 8.0;
/// Tokens per second below which even batch work takes too long.
const MIN_BATCH_TPS: f64 = 2.0;

/// What a generation speed is suitable for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// At least 8 tokens per second.
    Chat,
    /// At least 2 tokens per second.
    Batch,
    /// Less than 2 tokens per second.
    TooSlow,
}

impl Verdict {
    /// The verdict for a speed in tokens per second.
    pub fn of(decode_tps: f64) -> Self {
        match decode_tps {
            MIN_CHAT_TPS.. => Self::Chat,
            MIN_BATCH_TPS.. => Self::Batch,
            _ => Self::TooSlow,
        }
    }

    /// Its name, as in JSON and in other languages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Batch => "batch",
            Self::TooSlow => "too_slow",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chat => f.write_str("comfortable for chat"),
            Self::Batch => f.write_str("suitable for batch work, slow for chat"),
            Self::TooSlow => f.write_str("too slow for chat and most batch work"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;
    use super::Verdict::{Batch, Chat, TooSlow};

    #[test]
    fn verdicts_depend_on_speed() {
        let of = [100.0, 8.0, 7.9, 2.0, 1.9, 0.0].map(Verdict::of);
        assert_eq!(of, [Chat, Chat, Batch, Batch, TooSlow, TooSlow]);
    }
}
