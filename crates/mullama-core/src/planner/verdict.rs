//! What a plan is good for, in words, by the thresholds and rules of thumb of offloading guides.

use std::fmt;

use serde::Serialize;

use super::plan::{Alternative, Plan};
use super::table::rate;
use mullama_base::units;

/// Tokens a second from which a chat is comfortable: faster than most people read.
const CHAT: f64 = 8.0;
/// Tokens a second below which even work that nobody waits for takes too long.
const BATCH: f64 = 2.0;
/// The share of the memory of GPUs that rules of thumb count with.
const RULE_SHARE: f64 = 0.9;
/// GPUs that hold a part of a model are worth it where they make it so many times as fast.
const WORTH: f64 = 1.2;

/// What a speed is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// At least 8 tokens a second.
    Chat,
    /// At least 2 tokens a second.
    Batch,
    /// Less.
    TooSlow,
}

impl Verdict {
    /// Of so many tokens a second.
    pub fn of(decode_tps: f64) -> Self {
        match decode_tps {
            CHAT.. => Self::Chat,
            BATCH.. => Self::Batch,
            _ => Self::TooSlow,
        }
    }

    /// In a word or two, for tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Batch => "batch",
            Self::TooSlow => "too slow",
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

impl Plan {
    /// What the predicted speed is good for; none where the model does not fit, or no speed is predicted.
    pub fn verdict(&self) -> Option<Verdict> {
        let predicted = self.predicted.as_ref().filter(|_| self.fits)?;
        Some(Verdict::of(predicted.decode_tps))
    }

    /// What speaks for and against this placement, a sentence each: whether GPUs that hold a part of the model
    /// are worth it, whether a smaller quantisation is the better choice, and how much system RAM it takes beside
    /// the GPUs.
    pub fn advice(&self) -> Vec<String> {
        if !self.fits || self.devices.is_empty() {
            return Vec::new();
        }
        let mut advice = Vec::new();
        if self.is_in_part() {
            advice.extend(self.worth_of_gpus());
            advice.extend(self.smaller_quantisation());
        }
        advice.push(self.ram_beside_gpus());
        advice
    }

    /// Whether GPUs hold a part of the model and not the whole.
    fn is_in_part(&self) -> bool {
        self.n_gpu_layers < self.n_layers || self.n_cpu_moe > 0
    }

    fn speed(&self) -> Option<f64> {
        self.predicted.as_ref().map(|predicted| predicted.decode_tps)
    }

    fn worth_of_gpus(&self) -> Option<String> {
        let alone = self
            .alternatives
            .iter()
            .find(|one| one.n_gpu_layers == 0 && one.size == self.model.size)?;
        let times = self.speed()? / alone.decode_tps?;
        Some(if times >= WORTH {
            format!("{times:.1} times as fast as on the processor alone.")
        } else {
            format!(
                "The GPUs add little: {} tokens/s on the processor alone.",
                rate(alone.decode_tps?)
            )
        })
    }

    /// The largest of the smaller quantisations that goes onto the GPUs as a whole.
    fn smaller_quantisation(&self) -> Option<String> {
        let is_whole = |one: &&Alternative| {
            one.fits
                && one.size < self.model.size
                && one.n_gpu_layers >= self.n_layers
                && !one.options.contains_key("n_cpu_moe")
        };
        let one = self.alternatives.iter().filter(is_whole).max_by_key(|one| one.size)?;
        let times = one.decode_tps? / self.speed()?;
        (times > 1.0).then(|| {
            format!(
                "{} fits the GPUs completely and is {times:.1} times as fast: preferable, unless you need the quality \
                 of this quantisation.",
                one.change
            )
        })
    }

    fn ram_beside_gpus(&self) -> String {
        let vram: u64 = self.devices.iter().map(|gpu| gpu.free).sum();
        let rule = (self.model.size as f64 - RULE_SHARE * vram as f64).max(0.0);
        format!(
            "System RAM in addition to the GPUs: {} (rule of thumb, size - 0.9 x VRAM: {}).",
            units::memory(self.host.total()),
            units::memory(rule as u64)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Batch, Chat, TooSlow};
    use super::*;
    use crate::ContextParams;
    use crate::planner::{DeviceSpec, PlanOptions, Shape, plan};

    #[test]
    fn speeds_are_good_for_something() {
        let of = [100.0, 8.0, 7.9, 2.0, 1.9, 0.0].map(Verdict::of);
        assert_eq!(of, [Chat, Chat, Batch, Batch, TooSlow, TooSlow]);
    }

    #[test]
    fn a_part_on_gpus_is_held_against_the_whole_of_a_smaller_one() {
        let shape: Shape =
            "architecture=llama,block_count=40,embedding_length=5120,feed_forward_length=13824,\
                            attention.head_count=40,vocab_size=32000,quantization=Q8_0"
                .parse()
                .unwrap();
        let with = |gib: u64| {
            let device = DeviceSpec { bandwidth: Some(1e12), ..DeviceSpec::new(gib << 30) };
            let options = PlanOptions::default()
                .with_devices([device])
                .with_host_memory(64 << 30)
                .with_context(ContextParams::default().with_n_ctx(1024));
            plan(shape.clone(), &options).unwrap()
        };
        let whole = with(24);
        assert_eq!(whole.n_gpu_layers, whole.n_layers);
        assert_eq!(whole.advice().len(), 1, "{:?}", whole.advice());
        assert!(whole.advice()[0].contains("System RAM"));
        let part = with(12);
        assert!(part.fits && (1..part.n_layers).contains(&part.n_gpu_layers), "{part}");
        let advice = part.advice().join("\n");
        assert!(advice.contains("times as fast as on the processor alone"), "{advice}");
        assert!(advice.contains("fits the GPUs completely and is"), "{advice}\n{part}");
        let text = part.to_string();
        assert!(text.contains(&part.advice()[0]), "{text}");
        assert_eq!(part.verdict(), part.predicted.as_ref().map(|p| Verdict::of(p.decode_tps)));
    }
}
