//! What became of an input.

use std::collections::BTreeMap;

use mullama::{Error, ErrorKind};
use serde_json::{Value, json};

/// Sources of the processor's kernels, as the engine names them where an assertion fails.
const KERNELS: &[&str] = &[
    "ops.cpp:",
    "ggml-cpu.c:",
    "ggml-cpu.cpp:",
    "repack.cpp:",
    "vec.cpp:",
    "quants.c:",
    "sgemm.cpp:",
];

/// What a target says of an input.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What it was refused for; none where it was accepted.
    pub refused: Option<ErrorKind>,
    /// Something that must not be, whatever the input.
    pub wrong: Option<String>,
}

impl Outcome {
    /// Takes note of what an input is accepted or refused by.
    pub fn decide<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        if let Err(error) = &result {
            self.refused.get_or_insert(error.kind());
        }
        self.see(what, result)
    }

    /// Looks at a result. Errors are due, but for those that tell of a defect.
    pub fn see<T>(&mut self, what: &str, result: Result<T, Error>) -> Option<T> {
        if let Err(error) = &result {
            let said = error.to_string();
            // Inputs are computed by one thread, where a kernel's failed assertion is caught. It ends a process where
            // there are more.
            let is_of_kernel = KERNELS.iter().any(|source| said.contains(source));
            if error.kind() == ErrorKind::Internal || said.is_empty() || is_of_kernel {
                self.wrong(format!("{what}: {error:?}"));
            }
        }
        result.ok()
    }

    /// Notes what must not be.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.get_or_insert(what.into());
    }

    pub fn to_json(&self, number: u64, peak: u64) -> Value {
        let refused = self.refused.map(ErrorKind::name);
        json!({"end": number, "refused": refused, "wrong": self.wrong, "peak": peak})
    }
}

/// Inputs of a target, counted.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    pub inputs: u64,
    pub accepted: u64,
    pub refused: BTreeMap<String, u64>,
    pub deaths: u64,
    pub hangs: u64,
    pub over_memory: u64,
    pub wrong: u64,
    /// Seconds of the input that took longest.
    pub longest: f64,
    /// Bytes of the process at the input that took most memory.
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

    /// As a row of a table, without what it was refused for.
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
