//! Measured values: printed as a line of JSON for `report.py`, and as a readable line.

use serde::Serialize;

/// The values of both sides of a measurement.
#[derive(Serialize)]
pub struct Samples<'a> {
    pub what: &'a str,
    pub language: &'static str,
    pub model: &'a str,
    /// Number of tokens per value; 0 if the values are not times.
    pub tokens: usize,
    /// The values of each round, in seconds or KiB.
    pub floor: Vec<f64>,
    /// The same for mullama, of the same rounds.
    pub mullama: Vec<f64>,
    /// Number of rounds that other programs disturbed.
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

/// The median: the middle value, or the mean of the two middle ones.
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
