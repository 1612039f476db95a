//! The outcome of an input.

use std::collections::BTreeMap;

use mullama::{Error, ErrorKind};
use serde_json::{Value, json};

/// Source files of CPU kernels, as in the engine's messages about failed assertions.
const KERNELS: &[&str] = &[
    "ops.cpp:",
    "ggml-cpu.c:",
    "ggml-cpu.cpp:",
    "repack.cpp:",
    "vec.cpp:",
    "quants.c:",
    "sgemm.cpp:",
];

/// The outcome of an input that a target has tried.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The kind of error with which it was rejected; `None` if it was accepted.
    pub refused: Option<ErrorKind>,
    /// A result that is wrong for any input.
    pub wrong: Option<String>,
}

impl Outcome {
    /// Records the result that decides whether the input is accepted.
    pub fn decide<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        if let Err(error) = &result {
            self.refused.get_or_insert(error.kind());
        }
        self.see(what, result)
    }

    /// Checks a result. Errors are allowed, except those that indicate a defect.
    pub fn see<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        if let Err(error) = &result {
            let said = error.to_string();
            // Inputs are computed by one thread, where a failed assertion of a kernel is caught. With several
            // threads, it would end the process.
            let is_of_kernel = KERNELS.iter().any(|source| said.contains(source));
            if error.kind() == ErrorKind::Internal || said.is_empty() || is_of_kernel {
                self.wrong(format!("{what}: {error:?}"));
            }
        }
        result.ok()
    }

    /// Records a wrong result.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.get_or_insert(what.into());
    }

    pub fn to_json(&self, number: u64, peak: u64) -> Value {
        let refused = self.refused.map(ErrorKind::name);
        json!({"end": number, "refused": refused, "wrong": self.wrong, "peak": peak})
    }
}

/// Counters of the inputs of a target.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub inputs: u64,
    pub accepted: u64,
    pub refused: BTreeMap<String, u64>,
    pub deaths: u64,
    pub hangs: u64,
    pub over_memory: u64,
    pub wrong: u64,
    /// Time of the slowest input in seconds.
    pub longest: f64,
    /// Peak memory of the process over all inputs, in bytes.
    pub peak: u64,
}

impl Totals {
    pub fn failures(&self) -> u64 {
        self.deaths + self.hangs + self.over_memory + self.wrong
    }

    pub fn add(&mut self, other: &Self) {
        self.inputs += other.inputs;
        self.accepted += other.accepted;
        for (kind, count) in &other.refused {
            *self.refused.entry(kind.clone()).or_default() += count;
        }
        self.deaths += other.deaths;
        self.hangs += other.hangs;
        self.over_memory += other.over_memory;
        self.wrong += other.wrong;
        self.longest = self.longest.max(other.longest);
        self.peak = self.peak.max(other.peak);
    }

    /// A row of a table, without the kinds of errors.
    pub fn row(&self, name: &str) -> String {
        let Self { inputs, accepted, deaths, hangs, over_memory, wrong, longest, peak, .. } = self;
        let refused: u64 = self.refused.values().sum();
        let peak = peak >> 20;
        format!(
            "| {name} | {inputs} | {accepted} | {refused} | {deaths} | {hangs} | {over_memory} | {wrong} | {longest:.1} s | {peak} MiB |"
        )
    }

    pub const HEAD: &str = "\
| Target | Inputs | Accepted | Refused | Deaths | Hangs | Over memory | Wrong | Longest | Most memory |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|";
}
