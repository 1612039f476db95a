//! Rates a plan, and advises on it by the rules of thumb of offloading guides.

use super::plan::{Alternative, Plan};
use super::table::rate;
use super::verdict::Verdict;
use mullama_base::units;

/// The share of GPU memory that rules of thumb assume to be usable.
const RULE_SHARE: f64 = 0.9;
/// The speedup from which partial offloading is considered worthwhile.
const MIN_WORTHWHILE_SPEEDUP: f64 = 1.2;

impl Plan {
    /// Adds the verdict, and advice on the placement, to a plan that lacks them.
    pub(super) fn rated(mut self) -> Self {
        let predicted = self.predicted.as_ref().filter(|_| self.fits);
        self.verdict = predicted.map(|predicted| Verdict::of(predicted.decode_tps));
        self.advice.extend(self.find_advice());
        self
    }

    fn find_advice(&self) -> Vec<String> {
        if !self.fits || self.devices.is_empty() {
            return Vec::new();
        }
        let mut advice = Vec::new();
        if self.is_partly_on_gpus() {
            advice.extend(self.gpu_advice());
            advice.extend(self.smaller_quantisation());
        }
        advice.push(self.host_memory_advice());
        advice
    }

    /// Whether the GPUs contain only a part of the model.
    fn is_partly_on_gpus(&self) -> bool {
        self.n_gpu_layers < self.n_layers || self.n_cpu_moe > 0
    }

    fn speed(&self) -> Option<f64> {
        self.predicted.as_ref().map(|predicted| predicted.decode_tps)
    }

    fn gpu_advice(&self) -> Option<String> {
        let alone = self
            .alternatives
            .iter()
            .find(|one| one.n_gpu_layers == 0 && one.size == self.model.size)?;
        let times = self.speed()? / alone.decode_tps?;
        Some(if times >= MIN_WORTHWHILE_SPEEDUP {
            format!("{times:.1} times as fast as on the processor alone.")
        } else {
            format!(
                "The GPUs add little: {} tokens/s on the processor alone.",
                rate(alone.decode_tps?)
            )
        })
    }

    /// Advice on the largest smaller quantisation that fits on the GPUs completely.
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

    fn host_memory_advice(&self) -> String {
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
    use super::*;
    use crate::ContextParams;
    use crate::planner::{DeviceSpec, PlanOptions, Shape, plan};

    #[test]
    fn partial_offload_is_compared_with_a_smaller_quantisation() {
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
        assert_eq!(whole.advice.len(), 1, "{:?}", whole.advice);
        assert!(whole.advice[0].contains("System RAM"));
        let part = with(12);
        assert!(part.fits && (1..part.n_layers).contains(&part.n_gpu_layers), "{part}");
        let advice = part.advice.join("\n");
        assert!(advice.contains("times as fast as on the processor alone"), "{advice}");
        assert!(advice.contains("fits the GPUs completely and is"), "{advice}\n{part}");
        let text = part.to_string();
        assert!(text.contains(&part.advice[0]), "{text}");
        assert_eq!(part.verdict, part.predicted.as_ref().map(|p| Verdict::of(p.decode_tps)));
    }
}
