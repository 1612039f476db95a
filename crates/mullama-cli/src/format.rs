//! Formats times and durations like Ollama's command.

use std::time::{Duration, SystemTime};

/// The time since then: `3 days ago`.
pub fn format_age(time: SystemTime) -> String {
    match time.elapsed() {
        Ok(elapsed) => format!("{} ago", format_rough(elapsed)),
        // The clock was set back.
        Err(ahead) => format!("{} from now", format_rough(ahead.duration())),
    }
}

fn format_rough(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (.., 1) => "About an hour".to_owned(),
        (.., 0..48) => format!("{hours} hours"),
        (.., 48..336) => format!("{} days", hours / 24),
        (.., 336..1440) => format!("{} weeks", hours / 24 / 7),
        (.., 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// The remaining time: `45s`, `3m05s`, `2h10m`.
pub fn format_remaining(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..360_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => "99h+".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_rounded() {
        let format_rough = |seconds| format_rough(Duration::from_secs(seconds));
        assert_eq!(format_rough(0), "Less than a second");
        assert_eq!(format_rough(59), "59 seconds");
        assert_eq!(format_rough(100), "About a minute");
        assert_eq!(format_rough(3599), "59 minutes");
        assert_eq!(format_rough(3700), "About an hour");
        assert_eq!(format_rough(3 * 86400), "3 days");
        assert_eq!(format_rough(20 * 86400), "2 weeks");
        assert_eq!(format_rough(100 * 86400), "3 months");
        assert_eq!(format_rough(800 * 86400), "2 years");
        assert!(
            format_age(SystemTime::now() - Duration::from_secs(10)).starts_with("10 seconds ago")
        );
    }

    #[test]
    fn remaining_time_has_at_most_two_units() {
        let format_remaining = |seconds| format_remaining(Duration::from_secs(seconds));
        assert_eq!(
            [format_remaining(5), format_remaining(185), format_remaining(7800)],
            ["5s", "3m05s", "2h10m"]
        );
        assert_eq!(format_remaining(u64::MAX), "99h+");
    }
}
