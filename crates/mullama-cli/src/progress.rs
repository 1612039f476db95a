//! Shows the progress of pulling, creating or loading a model: a bar on a terminal, else plain lines.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mullama::hub::{Phase, Progress};
use mullama_base::units;

use crate::format::format_remaining;
use crate::terminal::print_message;

/// Minimum progress between two plain lines, in percent.
const REPORT_STEP_PERCENT: u64 = 10;

/// The display on standard error.
pub enum Display {
    /// A bar on a terminal.
    Bar(ProgressBar),
    /// Plain lines: phase and percentage of the last one.
    Lines(Option<(Phase, u64)>),
}

impl Display {
    /// Creates a display that shows nothing yet.
    pub fn new() -> Self {
        if !stderr().is_terminal() {
            return Self::Lines(None);
        }
        Self::Bar(bar(1))
    }

    /// Shows this progress.
    pub fn update(&mut self, progress: &Progress) {
        match self {
            Self::Bar(bar) => show(bar, progress),
            Self::Lines(last) => {
                let percent = percent(progress);
                let step = (progress.phase, percent / REPORT_STEP_PERCENT * REPORT_STEP_PERCENT);
                let news = last.is_none_or(|last| last.0 != step.0 || last.1 < step.1);
                if news {
                    *last = Some(step);
                    print_message(line(progress));
                }
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// Creates a bar on the terminal.
fn bar(length: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{prefix} {percent:>3}% [{wide_bar}] {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    bar.with_style(style)
}

/// A bar for loading, only on a terminal and if loading takes long.
pub struct Loading {
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Loading {
    /// Minimum loading time before the bar is shown.
    const DISPLAY_DELAY: Duration = Duration::from_millis(500);
    /// Number of steps of the bar.
    const STEPS: u16 = 1000;

    /// Creates a display that shows nothing yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), bar: None }
    }

    /// Shows `fraction`, from 0 to 1.
    pub fn update(&mut self, fraction: f32) {
        if self.started.elapsed() < Self::DISPLAY_DELAY || !stderr().is_terminal() {
            return;
        }
        let steps = (fraction.clamp(0.0, 1.0) * f32::from(Self::STEPS)) as u64;
        let bar =
            self.bar.get_or_insert_with(|| bar(u64::from(Self::STEPS)).with_prefix("loading"));
        bar.set_position(steps);
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn show(bar: &ProgressBar, progress: &Progress) {
    // Each call may redraw, so only set what has changed; the message is set last.
    let phase = phase(progress.phase);
    if bar.length() != Some(progress.total.max(1)) {
        bar.set_length(progress.total.max(1));
    }
    if bar.prefix() != phase {
        bar.set_prefix(phase);
    }
    bar.update(|state| state.set_pos(progress.completed));
    bar.set_message(format_amount(progress));
}

fn line(progress: &Progress) -> String {
    if progress.total == 0 {
        return phase(progress.phase).to_owned();
    }
    format!("{} {}% {}", phase(progress.phase), percent(progress), format_amount(progress))
}

/// Formats the progress: `120 MB/1.3 GB  23 MB/s  45s`.
fn format_amount(progress: &Progress) -> String {
    if progress.total == 0 {
        return String::new();
    }
    let mut text =
        format!("{}/{}", units::decimal(progress.completed), units::decimal(progress.total));
    let moving = matches!(progress.phase, Phase::Downloading | Phase::Copying);
    if moving && progress.speed > 0 {
        let _ = write!(text, "  {}/s", units::decimal(progress.speed));
        if let Some(eta) = progress.eta {
            let _ = write!(text, "  {}", format_remaining(eta));
        }
    }
    text
}

fn percent(progress: &Progress) -> u64 {
    let share = u128::from(progress.completed) * 100;
    share.checked_div(u128::from(progress.total)).map_or(0, |share| share.min(100) as u64)
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Resolving => "resolving",
        Phase::Waiting => "waiting for another pull of the same file",
        Phase::Downloading => "downloading",
        Phase::Verifying => "verifying",
        Phase::Copying => "copying",
        Phase::Done => "done",
        _ => "working",
    }
}
