//! What was measured: a line of JSON for `report.py`, and a line for people.

use serde::Serialize;

/// Both sides of one measurement.
#[derive(Serialize)]
pub struct Samples<'a> {
    pub what: &'a str,
    pub language: &'static str,
    pub model: &'a str,
    /// Tokens that each of the times stands for; 0 where they are no times.
    pub tokens: usize,
    /// Seconds of each round, or KiB.
    pub floor: Vec<f64>,
    /// As `floor`, of the same rounds.
    pub mullama: Vec<f64>,
    /// Rounds during which other programs ran.
    pub disturbed: usize,
}

impl Samples<'_> {
    /// Writes both lines.
    pub fn print(&self) {
        println!("{}", serde_json::to_string(self).expect("numbers and texts are JSON"));
        let Self { what, language, model, tokens, floor, mullama, disturbed } = self;
        let pairs = || floor.iter().zip(mullama);
        if *tokens == 0 {
            let ratio = median(pairs().map(|(floor, mullama)| mullama / floor));
            let (floor, mullama) = (median(floor.iter().copied()), median(mullama.iter().copied()));
            eprintln!(
                "{language} {model} {what}: floor {floor:.0}, mullama {mullama:.0} ({ratio:.3})"
            );
            return;
        }
        let rate = |times: &[f64]| median(times.iter().map(|time| *tokens as f64 / time));
        let ratio = median(pairs().map(|(floor, mullama)| floor / mullama));
        let (floor, mullama) = (rate(floor), rate(mullama));
        eprintln!(
            "{language} {model} {what}: floor {floor:.1} t/s, mullama {mullama:.1} t/s ({ratio:.3}), \
             {disturbed} disturbed"
        );
    }
}

/// The middle of the values, or the mean of the two in the middle.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        _ if values.is_empty() => f64::NAN,
        1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}
