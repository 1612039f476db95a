//! Predicts the speed of a plan from the bytes that each device reads and the operations that it computes per token,
//! and from the rates of the device.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::hardware;
use super::plan::{Plan, PlannedDevice, Prediction};
use super::spec::DeviceSpec;
use crate::device::HOST;
use mullama_gguf::{GgufHeader, TensorInfo};

/// Prompt length, in tokens, for which prompt rates are measured and predicted.
pub(super) const PREDICTED_PROMPT_TOKENS: u32 = 512;

/// Assumed read speed of the disk in bytes per second when a model is loaded: an SSD on four lanes of `PCIe` 3.0
/// transfers at most 3.5 GB/s, and file reads reach about half of that.
const DISK_BANDWIDTH: f64 = 1.8e9;

/// Assumed share of the peak bandwidth of system RAM that all threads together reach, if the bandwidth is described
/// instead of measured: sustained reads usually reach 70 to 90 % (`data/system-memory.json`).
const HOST_SHARE: f64 = 0.8;

/// Overhead of a GPU per layer and token in seconds, in addition to reading the weights. On an RTX 4090, a model of 22
/// layers and 636 MiB generates 762 tokens per second (<https://github.com/geerlingguy/ai-benchmarks/issues/43>); that
/// is 0.37 ms per token more than reading its weights takes.
const GPU_LAYER_SECONDS: f64 = 0.37e-3 / 22.0;

/// Latency of passing activations to the next device in seconds, in addition to the transfer itself: a copy and a wait.
const DEVICE_HOP_SECONDS: f64 = 20e-6;

/// The performance of a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rates {
    /// Bytes of weights read per second when generating one token at a time, by tensor type; `""` is the rate of types
    /// that are not listed.
    pub read: BTreeMap<String, f64>,
    /// Operations on weights per second when processing many tokens at once, likewise by tensor type.
    pub compute: BTreeMap<String, f64>,
    /// Bytes of KV cache read per second when generating, if memory bandwidth limits attention.
    pub attend_bytes: Option<f64>,
    /// Attention operations per second when generating, if compute limits attention.
    pub attend_operations: Option<f64>,
    /// Attention operations per second when processing many tokens at once.
    pub attend_prompt: f64,
    /// Seconds per layer and step, in addition to the weights.
    pub per_layer: f64,
    /// Seconds per step, in addition to the layers.
    pub per_step: f64,
    /// Bytes per second between the device and system RAM.
    pub link: Option<f64>,
    /// A description of the source of these rates.
    pub source: String,
}

impl Rates {
    fn of(map: &BTreeMap<String, f64>, ty: &str) -> f64 {
        map.get(ty).or_else(|| map.get("")).copied().unwrap_or(f64::INFINITY)
    }

    /// The same rates for all tensor types.
    pub fn uniform(bandwidth: f64, compute: f64, link: Option<f64>, source: String) -> Self {
        Self {
            read: [(String::new(), bandwidth)].into(),
            compute: [(String::new(), compute)].into(),
            attend_bytes: Some(bandwidth),
            attend_operations: None,
            attend_prompt: compute,
            per_layer: 0.0,
            per_step: 0.0,
            link,
            source,
        }
    }

    /// The rates of a described device: its published figures, times the shares of them that its backend reaches. None
    /// if its bandwidth or its backend's shares are unknown.
    pub fn of_spec(spec: &DeviceSpec) -> Option<Self> {
        let (read, compute) = reached_shares(&spec.backend)?;
        let source = spec.source.as_deref().unwrap_or("as described");
        let source = format!(
            "{source}, of which {} reaches {:.0} % reading and {:.0} % computing",
            spec.backend,
            read * 100.0,
            compute * 100.0
        );
        let bandwidth = spec.bandwidth?;
        // If compute is not described, assume 80 operations per byte of bandwidth, as most cards have.
        let operations = spec.compute.unwrap_or(bandwidth * 80.0);
        let rates = Self::uniform(bandwidth * read, operations * compute, spec.link, source);
        Some(Self { per_layer: GPU_LAYER_SECONDS, ..rates })
    }

    /// The rates of this machine's CPU with described instead of measured system RAM.
    pub fn of_host(mut self, bandwidth: f64) -> Self {
        let measured = self.read.values().copied().fold(0.0, f64::max);
        let factor = bandwidth * HOST_SHARE / measured;
        for rate in self.read.values_mut() {
            *rate *= factor;
        }
        self.attend_bytes = self.attend_bytes.map(|rate| rate * factor);
        self.source = format!(
            "main memory as described, of which {:.0} % is taken to be reached; this machine's processor",
            HOST_SHARE * 100.0
        );
        self
    }
}

/// The shares of the published bandwidth and compute of a card that a backend reaches: the medians of the measurements
/// in `data/efficiency.json`.
fn reached_shares(backend: &str) -> Option<(f64, f64)> {
    let of = |share: fn(&Measured) -> Option<f64>| {
        let measured = measured().iter().filter(|one| one.backend == backend);
        let mut shares: Vec<f64> = measured.filter_map(share).collect();
        shares.sort_by(f64::total_cmp);
        let middle = shares.len().checked_sub(1)? / 2;
        Some(shares[middle].midpoint(shares[shares.len() / 2]))
    };
    Some((of(Measured::read)?, of(Measured::computed)?))
}

#[derive(Debug, Deserialize)]
struct Measured {
    backend: String,
    card: String,
    parameters: f64,
    bytes: f64,
    decode_tps: Option<f64>,
    prefill_tps: Option<f64>,
}

impl Measured {
    /// The reached share of the card's bandwidth.
    fn read(&self) -> Option<f64> {
        let (card, _) = hardware::find(&self.card).ok()?;
        Some(self.decode_tps? * self.bytes / card.bandwidth())
    }

    /// The reached share of the card's compute.
    fn computed(&self) -> Option<f64> {
        let (card, _) = hardware::find(&self.card).ok()?;
        Some(self.prefill_tps? * self.parameters * 2.0 / card.compute())
    }
}

fn measured() -> &'static [Measured] {
    #[derive(Deserialize)]
    struct File {
        measured: Vec<Measured>,
    }
    static MEASURED: OnceLock<Vec<Measured>> = OnceLock::new();
    MEASURED.get_or_init(|| {
        let file: File = serde_json::from_str(include_str!("../../data/efficiency.json"))
            .expect("the file is checked by a test");
        file.measured
    })
}

/// The work of one device per token.
#[derive(Debug, Default, Clone)]
struct DeviceWork {
    /// Bytes and operations by tensor type.
    weights: BTreeMap<String, Traffic>,
    layers: f64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Traffic {
    /// Bytes that are read per generated token; of the experts of a mixture, only the used share.
    read: f64,
    /// Bytes that are read for a long prompt, which uses all experts.
    whole: f64,
    /// Operations per token of a long prompt.
    operations: f64,
}

impl DeviceWork {
    /// Adds a tensor, `share` of which is used per token. A tensor outside the blocks (`of_block` is false) is used
    /// only for the last token of a prompt, the one whose logits are requested.
    fn add(&mut self, tensor: &TensorInfo, share: f64, of_block: bool) {
        let numbers = tensor.shape.iter().product::<u64>() as f64;
        let flow = self.weights.entry(tensor.ty.to_string()).or_default();
        flow.read += tensor.size as f64 * share;
        flow.whole += tensor.size as f64;
        if tensor.shape.len() > 1 {
            let tokens = if of_block { 1.0 } else { 1.0 / f64::from(PREDICTED_PROMPT_TOKENS) };
            flow.operations += 2.0 * numbers * share * tokens;
        }
    }

    /// A share of this work.
    fn part(&self, share: f64) -> Self {
        let mut part = self.clone();
        part.layers *= share;
        for flow in part.weights.values_mut() {
            for amount in [&mut flow.read, &mut flow.whole, &mut flow.operations] {
                *amount *= share;
            }
        }
        part
    }
}

/// The index of the block that a tensor belongs to, parsed from its name.
fn block_index(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The work of each device, by device name. If GPUs share layers, their parts count one after the other: how much of
/// the time they compute at once is not measured.
fn work(plan: &Plan, header: &GgufHeader) -> BTreeMap<String, DeviceWork> {
    let layers = plan.layer_devices();
    let mut by_device: BTreeMap<String, DeviceWork> = BTreeMap::new();
    for device in &layers {
        by_device.entry((*device).to_owned()).or_default().layers += 1.0;
    }
    let number = |key: &str| header.architecture_number(key).filter(|number| *number > 0);
    let used = number("expert_used_count").unwrap_or(1) as f64;
    let share_of_experts = (used / number("expert_count").unwrap_or(1) as f64).min(1.0);
    let overrides = plan.tensor_overrides.iter().flat_map(|overrides| &overrides.0);
    let overrides: Vec<_> = overrides
        .filter_map(|(pattern, device)| Some((CString::new(pattern.as_str()).ok()?, device)))
        .collect();
    let is_tied = !header.tensors.iter().any(|tensor| tensor.name == "output.weight");
    let output = layers.last().copied().unwrap_or(HOST);
    for tensor in &header.tensors {
        let block = block_index(&tensor.name);
        // Only one row of an embedding is read per token. If it is also the output matrix (tied), it is read
        // completely.
        if tensor.name.contains("token_embd") && !(is_tied && tensor.name == "token_embd.weight") {
            continue;
        }
        let is_expert = tensor.name.contains("_exps");
        let overridden = CString::new(tensor.name.as_str()).ok().and_then(|name| {
            let matches = |(pattern, _): &&(CString, &String)| {
                mullama_sys::shim::pattern_matches(pattern, &name).unwrap_or(false)
            };
            overrides.iter().find(matches).map(|(_, device)| device.as_str())
        });
        let on_host = is_expert && block.is_some_and(|block| block < plan.n_cpu_moe as usize);
        let device = match (overridden, block) {
            (Some(device), _) => device,
            _ if on_host => HOST,
            (None, Some(block)) => layers.get(block).copied().unwrap_or(output),
            (None, None) => output,
        };
        let share = if is_expert { share_of_experts } else { 1.0 };
        by_device.entry(device.to_owned()).or_default().add(tensor, share, block.is_some());
    }
    if plan.shares_layers()
        && let Some(work) = by_device.remove(&plan.devices[0].name)
    {
        let all: u64 = plan.devices.iter().map(|gpu| gpu.weights).sum();
        let part = |gpu: &PlannedDevice| work.part(gpu.weights as f64 / all.max(1) as f64);
        by_device.extend(plan.devices.iter().map(|gpu| (gpu.name.clone(), part(gpu))));
    }
    by_device
}

/// Operations per token, per token before it, and per layer.
pub(super) struct Attention {
    /// Operations for a token and each token before it, in one layer.
    pub operations: f64,
}

impl Attention {
    pub fn of(header: &GgufHeader) -> Self {
        let number = |key: &str| header.architecture_number(key).map(|number| number as f64);
        let width = number("embedding_length").unwrap_or(0.0);
        let heads = number("attention.head_count");
        let head = number("attention.key_length");
        // The products of queries and keys, and of weights and values: a multiplication and an addition each.
        let all = heads.and_then(|heads| Some(heads * head?)).unwrap_or(width);
        Self { operations: 4.0 * all }
    }
}

/// Seconds of a step with the bottleneck that each part is attributed to.
#[derive(Default)]
struct Seconds(Vec<(f64, String)>);

impl Seconds {
    fn add(&mut self, seconds: f64, on: String) {
        self.0.push((seconds, on));
    }

    fn sum(&self) -> f64 {
        self.0.iter().map(|(seconds, _)| seconds).sum()
    }

    /// The bottleneck with the most time.
    fn bound_by(&self) -> String {
        let most = self.0.iter().max_by(|(a, _), (b, _)| a.total_cmp(b));
        most.map(|(_, on)| on.clone()).unwrap_or_default()
    }
}

/// Predicts the speed of a plan from the rates of its devices. Returns none if the rates of a device in use are
/// unknown.
pub(super) fn predict(
    plan: &Plan,
    header: &GgufHeader,
    rates: &BTreeMap<String, Rates>,
) -> Option<Prediction> {
    let work = work(plan, header);
    let work: Vec<(&String, &DeviceWork, &Rates)> = work
        .iter()
        .filter(|(_, work)| !work.weights.is_empty())
        .map(|(name, work)| Some((name, work, rates.get(name)?)))
        .collect::<Option<_>>()?;
    let attention = Attention::of(header);
    let first_gpu = plan.devices.first().and_then(|gpu| rates.get(&gpu.name));
    let (mut token, mut prompt) = (Seconds::default(), Seconds::default());
    let (mut depth, mut per_step) = (0.0, 0.0_f64);
    for (name, work, rates) in &work {
        work.decode(&mut token, name, rates);
        depth += work.attention_seconds(plan, name, rates, &attention);
        work.prefill(&mut prompt, name, rates, first_gpu.filter(|_| *name == HOST), &attention);
        per_step = per_step.max(rates.per_step);
    }
    token.add(per_step, "the work of a step outside the layers".to_owned());
    prompt.add(per_step / f64::from(PREDICTED_PROMPT_TOKENS), String::new());
    let width = header.architecture_number("embedding_length").unwrap_or(0) as f64 * 4.0;
    let mut hops = plan.layer_devices().windows(2).filter(|pair| pair[0] != pair[1]).count() as f64;
    if plan.shares_layers() {
        // The GPUs add up their results after the attention and after the feed-forward network of each layer.
        hops += 2.0 * f64::from(plan.n_gpu_layers);
    }
    let slowest = work.iter().filter_map(|(_, _, rates)| rates.link).fold(f64::INFINITY, f64::min);
    token.add(hops * (DEVICE_HOP_SECONDS + width / slowest), "the way between devices".to_owned());
    prompt.add(
        hops * (DEVICE_HOP_SECONDS / f64::from(PREDICTED_PROMPT_TOKENS) + width / slowest),
        String::new(),
    );

    let uploads = plan
        .devices
        .iter()
        .filter_map(|gpu| Some(gpu.weights as f64 / rates.get(&gpu.name)?.link?));
    Some(Prediction {
        decode_tps: 1.0 / token.sum(),
        decode_tps_full: 1.0 / (token.sum() + depth),
        prefill_tps: 1.0 / prompt.sum(),
        load_seconds: (plan.model.size as f64 / DISK_BANDWIDTH).max(uploads.sum()),
        bound_by: token.bound_by(),
        sources: work
            .iter()
            .map(|(name, _, rates)| ((*name).clone(), rates.source.clone()))
            .collect(),
    })
}

impl DeviceWork {
    /// Adds the time of one token with an empty context.
    fn decode(&self, seconds: &mut Seconds, name: &str, rates: &Rates) {
        let flows = || self.weights.iter();
        let read: f64 = flows().map(|(ty, flow)| flow.read / Rates::of(&rates.read, ty)).sum();
        let bytes: f64 = flows().map(|(_, flow)| flow.read).sum();
        // If other types are read much faster, memory bandwidth is not the bottleneck.
        let fastest = rates.read.values().copied().fold(0.0, f64::max);
        let bound = if bytes / read < 0.6 * fastest { "computation" } else { "memory" };
        seconds.add(read, format!("the {bound} of {name}"));
        seconds.add(self.layers * rates.per_layer, format!("starting computations on {name}"));
    }

    /// Returns the seconds that a full context adds to a token.
    fn attention_seconds(
        &self,
        plan: &Plan,
        name: &str,
        rates: &Rates,
        attention: &Attention,
    ) -> f64 {
        let held = plan.all_devices().find(|device| device.name == name);
        let bytes = held.map_or(0, |device| device.kv) as f64;
        if bytes == 0.0 {
            return 0.0;
        }
        let operations = attention.operations * self.layers * f64::from(plan.context_size);
        let by_bytes = rates.attend_bytes.map_or(0.0, |rate| bytes / rate);
        let by_operations = rates.attend_operations.map_or(0.0, |rate| operations / rate);
        by_bytes.max(by_operations)
    }

    /// Adds the time of one token of a long prompt, computed on the device itself or, if `helper` is present, on a GPU
    /// to which the weights are copied.
    fn prefill(
        &self,
        seconds: &mut Seconds,
        name: &str,
        rates: &Rates,
        helper: Option<&Rates>,
        attention: &Attention,
    ) {
        let helper = helper.and_then(|helper| Some((helper, helper.link?)));
        let computing = helper.map_or(rates, |(helper, _)| helper);
        let flows = || self.weights.iter();
        let computed: f64 =
            flows().map(|(ty, flow)| flow.operations / Rates::of(&computing.compute, ty)).sum();
        let tokens = f64::from(PREDICTED_PROMPT_TOKENS);
        let fetched = helper.map_or(0.0, |(_, link)| {
            flows().map(|(_, flow)| flow.whole).sum::<f64>() / link / tokens
        });
        seconds.add(computed, format!("the computation of {name}"));
        seconds.add(fetched, format!("the link to {name}"));
        let before = tokens / 2.0;
        let attended = attention.operations * self.layers * before;
        seconds.add(attended / rates.attend_prompt, format!("the computation of {name}"));
        seconds.add(self.layers * rates.per_layer / tokens, String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_efficiencies_are_plausible() {
        assert!(measured().len() > 8);
        for one in measured() {
            for share in [one.read(), one.computed()].into_iter().flatten() {
                assert!((0.15..1.3).contains(&share), "{}: {share}", one.card);
            }
            assert!(one.read().is_some() || one.computed().is_some(), "{} is unknown", one.card);
        }
        for backend in ["cuda", "rocm", "vulkan", "sycl", "metal"] {
            let (read, compute) = reached_shares(backend).unwrap();
            assert!((0.4..0.9).contains(&read) && (0.2..1.3).contains(&compute), "{backend}");
        }
        assert_eq!(reached_shares("abacus"), None);
    }

    #[test]
    fn block_numbers_are_read_from_tensor_names() {
        assert_eq!(block_index("blk.12.attn_q.weight"), Some(12));
        assert_eq!(block_index("output.weight"), None);
    }
}
