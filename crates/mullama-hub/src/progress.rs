//! Progress of pulls and other long operations.

use std::time::{Duration, Instant};

use serde::Serialize;

/// The current activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// Requesting the model's list of files from the registry.
    Resolving,
    /// Waiting for another pull, in this or another process, that is downloading the same file.
    Waiting,
    /// Downloading, and hashing received data.
    Downloading,
    /// Hashing the remaining data.
    Verifying,
    /// Copying files into the store.
    Copying,
    /// Everything is in the store.
    Done,
}

impl Phase {
    /// The name in lower case, for example `downloading`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Resolving => "resolving",
            Self::Waiting => "waiting",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Copying => "copying",
            Self::Done => "done",
        }
    }
}

/// The progress of pulling or creating a model.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The current activity.
    pub phase: Phase,
    /// Bytes downloaded so far, including earlier runs.
    pub completed: u64,
    /// Total bytes of all files; 0 while unknown.
    pub total: u64,
    /// Current bytes per second; 0 while unknown.
    pub speed: u64,
    /// Estimated remaining time at the current speed.
    pub eta: Option<Duration>,
}

impl Progress {
    /// The completed fraction, from 0 to 1; 0 while unknown.
    pub fn fraction(&self) -> f64 {
        match (self.phase, self.total) {
            (Phase::Done, _) => 1.0,
            (_, 0) => 0.0,
            (_, total) => (self.completed as f64 / total as f64).min(1.0),
        }
    }
}

/// A callback for progress reports.
pub type Sink<'a> = Box<dyn FnMut(&Progress) + 'a>;

/// Minimum interval between two reports.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// Time constant of the moving average of the speed, in seconds.
const SMOOTHING_SECONDS: f64 = 3.0;

/// Computes speed and remaining time, and limits the rate of reports.
pub(crate) struct Meter<'a> {
    sink: Option<Sink<'a>>,
    last: Option<(Instant, Phase)>,
    /// Time and byte count of the last measurement.
    sample: Option<(Instant, u64)>,
    speed: f64,
    pub total: u64,
    /// Total size of the completed files, in bytes.
    pub base: u64,
}

impl<'a> Meter<'a> {
    pub fn new(sink: Option<Sink<'a>>) -> Self {
        Self { sink, last: None, sample: None, speed: 0.0, total: 0, base: 0 }
    }

    /// Restarts the measurement of the speed. The next byte count may include data of an earlier
    /// run.
    pub fn restart(&mut self) {
        self.sample = None;
    }

    /// Reports the given number of bytes of the current file, unless the last report is too recent.
    pub fn report(&mut self, phase: Phase, completed: u64) {
        let now = Instant::now();
        if let Some((time, before)) = self.last
            && before == phase
            && now - time < INTERVAL
        {
            return;
        }
        self.last = Some((now, phase));
        let completed = self.base + completed;
        if phase == Phase::Downloading || phase == Phase::Copying {
            if let Some((time, bytes)) = self.sample {
                let seconds = (now - time).as_secs_f64().max(1e-3);
                let speed = completed.saturating_sub(bytes) as f64 / seconds;
                let weight =
                    if self.speed > 0.0 { 1.0 - (-seconds / SMOOTHING_SECONDS).exp() } else { 1.0 };
                self.speed += weight * (speed - self.speed);
            }
            self.sample = Some((now, completed));
        }
        let left = self.total.saturating_sub(completed) as f64;
        let eta = (self.speed >= 1.0 && self.total > 0)
            .then(|| Duration::try_from_secs_f64(left / self.speed).ok())
            .flatten();
        let progress =
            Progress { phase, completed, total: self.total, speed: self.speed as u64, eta };
        if let Some(sink) = &mut self.sink {
            sink(&progress);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_have_the_speed_and_the_time_left() {
        let mut seen = Vec::new();
        let mut meter = Meter::new(Some(Box::new(|now: &Progress| seen.push(now.clone()))));
        meter.total = 1_000_000;
        meter.base = 1000;
        meter.report(Phase::Downloading, 0);
        meter.report(Phase::Downloading, 10); // too soon
        std::thread::sleep(INTERVAL);
        meter.report(Phase::Downloading, 100_000);
        meter.report(Phase::Done, 999_000);
        drop(meter);
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].completed, 1000);
        assert_eq!((seen[0].speed, seen[0].eta), (0, None));
        assert!(seen[1].speed > 100_000 && seen[1].speed < 1_000_001, "{:?}", seen[1]);
        assert!(seen[1].eta.unwrap() > Duration::from_millis(500));
        assert_eq!(seen[2].completed, 1_000_000);
    }
}
