//! Measures this machine once: the bandwidth and compute of its CPU and GPUs, with synthetic
//! models, by the engine itself. The results are stored in the cache folder.

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::shape::Shape;
use super::spec::DeviceSpec;
use super::speed::{Attention, PREDICTED_PROMPT_TOKENS, Rates};
use crate::Result;
use crate::device::{self, DeviceSet, HOST, Handle};
use crate::engine::{ContextSettings, WeightSettings, Weights};
use crate::options::{ContextParams, ModelParams};
use crate::runtime::{self, log as logging, physical_cores};
use mullama_base::folders::cache_dir;
use mullama_base::{read_file, units, write_atomically};
use mullama_gguf::GgufHeader;

/// Quantisations that consist mainly of a single tensor type, from small to large.
const TYPES: [&str; 17] = [
    "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XXS", "IQ3_S", "Q3_K_S", "IQ4_XS", "IQ4_NL", "Q4_0",
    "Q4_1", "Q4_K_S", "Q5_0", "Q5_1", "Q5_K_S", "Q6_K", "Q8_0", "F16",
];

/// Number of passes over all measurements. The fastest counts, since shared machines slow down for several seconds now
/// and then.
const PASS_COUNT: usize = 2;

/// Number of bytes read to measure system RAM.
const SAMPLE_BYTES: usize = 256 << 20;

/// Maximum size in bytes of a calibration file.
const MAX_FILE_SIZE: u64 = 1 << 20;

/// The measured performance of this machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Bytes per second that all threads together read from system RAM.
    pub host_bandwidth: f64,
    /// Rates by device identity (see `identity`).
    #[serde(default)]
    rates: BTreeMap<String, Rates>,
}

impl Calibration {
    /// Bytes of weights per second that each device reads when generating one token at a time, by tensor type.
    pub fn devices(&self) -> impl Iterator<Item = (&str, &BTreeMap<String, f64>)> {
        self.rates.iter().map(|(device, rates)| (device.as_str(), &rates.read))
    }

    fn file() -> PathBuf {
        cache_dir().join("calibration.json")
    }

    /// Reads the stored calibration, if there is one.
    pub(super) fn load() -> Option<Self> {
        serde_json::from_slice(&read_file(&Self::file(), MAX_FILE_SIZE).ok()?).ok()
    }

    fn save(&self) {
        let file = Self::file();
        let written = fs::create_dir_all(cache_dir())
            .and_then(|()| write_atomically(&file, &serde_json::to_vec_pretty(self)?));
        if let Err(error) = written {
            log::warn!("cannot store the measurements in {}: {error}", file.display());
        }
    }

    /// The rates of the CPU: from the calibration, otherwise derived from the bandwidth of system RAM alone, which is
    /// measured now and stored.
    pub(super) fn of_host() -> Rates {
        let mut known = Self::load().unwrap_or_default();
        if let Some(rates) = processor().and_then(|cpu| known.rates.get(&identity(cpu))) {
            return rates.clone();
        }
        if known.host_bandwidth <= 0.0 {
            known.host_bandwidth = read_bandwidth();
            known.save();
        }
        let source = format!(
            "main memory measured here at {:.1} GB/s; `mullama plan --calibrate` measures more",
            known.host_bandwidth / 1e9
        );
        // Most CPUs compute about eight operations in the time that reading a byte takes.
        Rates::uniform(known.host_bandwidth, known.host_bandwidth * 8.0, None, source)
    }

    /// The rates of a GPU of this machine: from the calibration, otherwise from the published figures for its name.
    pub(super) fn of_gpu(gpu: Handle) -> Option<Rates> {
        let known = Self::load().unwrap_or_default();
        if let Some(rates) = known.rates.get(&identity(gpu)) {
            return Some(rates.clone());
        }
        let (_, total) = gpu.memory();
        let name = gpu.description();
        let size = (total as f64 / f64::from(1 << 30)).round();
        let spec = DeviceSpec::preset(&name)
            .or_else(|_| DeviceSpec::preset(&format!("{name} {size}GB")))
            .ok()?;
        Rates::of_spec(&spec.with_backend(gpu.backend()))
    }
}

fn processor() -> Option<Handle> {
    device::processors().first().copied()
}

/// Identifies a device in its current configuration.
fn identity(device: Handle) -> String {
    if device.name() == HOST {
        format!("{} {} cores", device.description(), physical_cores())
    } else {
        format!("{} {}", device.backend(), device.identity())
    }
}

/// Measures the bandwidth of system RAM, in bytes per second, with one thread per core.
fn read_bandwidth() -> f64 {
    let threads = physical_cores() as usize;
    let words = SAMPLE_BYTES / size_of::<u64>() / threads;
    let rates: Vec<f64> = thread::scope(|scope| {
        let read = || {
            let memory = allocate_words(words);
            let start = Instant::now();
            let mut sum = 0_u64;
            for _ in 0..2 {
                sum = sum.wrapping_add(memory.iter().fold(0, |sum, word| sum ^ *word));
                black_box(sum);
            }
            (2 * memory.len() * size_of::<u64>()) as f64 / start.elapsed().as_secs_f64()
        };
        // If not all threads can be created, sum up those that were.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, read).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let own = read();
        others.into_iter().filter_map(|thread| thread.join().ok()).chain([own]).collect()
    });
    rates.iter().sum()
}

/// Allocates `count` words, or half of that, a quarter and so on if memory is insufficient.
fn allocate_words(mut count: usize) -> Vec<u64> {
    let mut memory = Vec::new();
    while memory.try_reserve_exact(count).is_err() {
        count /= 2;
    }
    memory.extend(0..count as u64);
    memory
}

/// A synthetic model to measure with, most of whose weights have one type.
struct Probe {
    quantization: &'static str,
    width: u32,
    inner: u32,
    layers: u32,
}

impl Probe {
    fn shape(&self) -> Result<Shape> {
        let Self { quantization, width, inner, layers } = self;
        let heads = (width / 64).max(1);
        let text = format!(
            "architecture=llama,block_count={layers},embedding_length={width},\
             feed_forward_length={inner},attention.head_count={heads},\
             attention.head_count_kv={},vocab_size=512,context_length=8192,\
             quantization={quantization}",
            (heads / 4).max(1)
        );
        text.parse()
    }
}

/// Seconds per token.
struct Steps {
    /// A generated token, with an empty context.
    token: f64,
    /// A prompt token.
    prompt: f64,
    /// The same after previous tokens, if requested.
    deep: Option<SecondsAtDepth>,
}

impl Steps {
    /// The faster of two measurements.
    fn min_of_each(self, other: Self) -> Self {
        Self {
            token: self.token.min(other.token),
            prompt: self.prompt.min(other.prompt),
            deep: self.deep.zip(other.deep).map(|(deep, other)| SecondsAtDepth {
                depth: deep.depth,
                token: deep.token.min(other.token),
                prompt: deep.prompt.min(other.prompt),
            }),
        }
    }
}

/// Seconds per generated token and per prompt token after `depth` previous tokens.
struct SecondsAtDepth {
    depth: u32,
    token: f64,
    prompt: f64,
}

/// Length of the measured prompt in tokens. On a CPU, a shorter prompt reaches the same rate.
fn prompt_of(gpu: Option<Handle>) -> u32 {
    if gpu.is_some() { PREDICTED_PROMPT_TOKENS } else { PREDICTED_PROMPT_TOKENS / 4 }
}

/// Measures a synthetic model on a GPU, or on the CPU if `gpu` is none.
fn measure(probe: &Probe, gpu: Option<Handle>, depth: u32) -> Result<(Steps, GgufHeader)> {
    let path = probe.shape()?.file()?;
    let mut params = ModelParams::default().with_use_mmap(false).with_n_gpu_layers(0);
    if let Some(gpu) = gpu {
        params = params.with_n_gpu_layers(-1).with_devices([gpu.name()]);
    }
    let tokens = prompt_of(gpu);
    let context = ContextParams::default()
        .with_n_ctx(depth + tokens + 64)
        .with_n_ubatch(tokens)
        .with_n_parallel(1);
    let mut bench = load_bench(&path, &params, &context)?;
    let each = f64::from(tokens);
    let prompt = bench.prompt(tokens, 0)? / each;
    let token = bench.token(0)?;
    let deep = if depth > 0 {
        let prompt = bench.prompt(tokens, depth)? / each;
        Some(SecondsAtDepth { depth, prompt, token: bench.token(depth)? })
    } else {
        None
    };
    Ok((Steps { token, prompt, deep }, GgufHeader::read(&path)?))
}

/// Loads a model for measuring.
fn load_bench(path: &Path, params: &ModelParams, context: &ContextParams) -> Result<Bench> {
    let weights = WeightSettings::resolve(params, &DeviceSet::of(params)?)?;
    let weights = Weights::load(path, &weights, &mut |_| true)?;
    Bench::new(Arc::new(weights), &ContextSettings::resolve(context, PREDICTED_PROMPT_TOKENS * 2)?)
}

/// Bytes and operations per token of a model's weights, by tensor type. The embedding is excluded.
fn weight_traffic(header: &GgufHeader) -> BTreeMap<&'static str, (f64, f64)> {
    let mut flows: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for tensor in header.tensors.iter().filter(|tensor| tensor.name != "token_embd.weight") {
        let numbers = tensor.shape.iter().product::<u64>() as f64;
        let flow = flows.entry(tensor.ty.name()).or_default();
        flow.0 += tensor.size as f64;
        flow.1 += if tensor.shape.len() > 1 { 2.0 * numbers } else { 0.0 };
    }
    flows
}

/// Measures the CPU and every GPU, and stores the results for future plans. It takes about a
/// minute; the machine should be idle.
///
/// `progress` receives a description of the current measurement, and the progress from 0 to 1.
pub fn calibrate(mut progress: impl FnMut(&str, f32)) -> Result<Calibration> {
    runtime::require_cpu()?;
    let mut known = Calibration::load().unwrap_or_default();
    let gpus = device::gpus_of(&device::local());
    let all: Vec<Option<Handle>> =
        std::iter::once(None).chain(gpus.into_iter().map(Some)).collect();
    progress("memory", 0.0);
    known.host_bandwidth = read_bandwidth();
    for (index, gpu) in all.iter().enumerate() {
        let Some(device) = gpu.or_else(processor) else { continue };
        let share = 1.0 / all.len() as f32;
        let mut on_progress = |what: &str, done: f32| {
            progress(&format!("{}: {what}", device.name()), share * (index as f32 + done));
        };
        let rates = logging::log_as_trace(|| rates_of(*gpu, &mut on_progress))?;
        known.rates.insert(identity(device), rates);
    }
    progress("", 1.0);
    known.save();
    Ok(known)
}

/// Measured tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Measured {
    /// Of a single request, with an empty context.
    pub decode_tps: f64,
    /// Of a prompt of 512 tokens.
    pub prefill_tps: f64,
}

/// Loads a model and measures the rates that [`Prediction`](super::Prediction) predicts. The fastest of several steps
/// counts.
pub fn measure_speed(
    path: impl AsRef<Path>,
    params: &ModelParams,
    context: &ContextParams,
) -> Result<Measured> {
    runtime::require_cpu()?;
    let mut bench = load_bench(path.as_ref(), params, context)?;
    Ok(Measured {
        decode_tps: 1.0 / bench.token(0)?,
        prefill_tps: f64::from(PREDICTED_PROMPT_TOKENS)
            / bench.prompt(PREDICTED_PROMPT_TOKENS, 0)?,
    })
}

fn rates_of(gpu: Option<Handle>, on_progress: &mut dyn FnMut(&str, f32)) -> Result<Rates> {
    let mut rates =
        Rates { source: "measured here".to_owned(), link: gpu.map(|_| 12e9), ..Rates::default() };
    // A model with almost no weights: its time is the overhead per layer and per step.
    let thin = |layers| Probe { quantization: "F16", width: 64, inner: 64, layers };
    let (few, _) = measure(&thin(4), gpu, 0)?;
    let (many, _) = measure(&thin(36), gpu, 0)?;
    rates.per_layer = ((many.token - few.token) / 32.0).max(0.0);
    rates.per_step = (few.token - 4.0 * rates.per_layer).max(0.0);

    let mut measured: BTreeMap<usize, (Steps, GgufHeader)> = BTreeMap::new();
    for pass in 0..PASS_COUNT {
        for (index, quantization) in TYPES.iter().rev().enumerate() {
            let done = pass * TYPES.len() + index;
            on_progress(quantization, done as f32 / (PASS_COUNT * TYPES.len()) as f32);
            let depth = if index == 0 { 2048 } else { 0 };
            let probe = Probe { quantization, width: 1024, inner: 4096, layers: 8 };
            match measure(&probe, gpu, depth) {
                Ok((steps, header)) => {
                    let steps = match measured.remove(&index) {
                        Some((before, _)) => before.min_of_each(steps),
                        None => steps,
                    };
                    measured.insert(index, (steps, header));
                }
                // A backend may not support every type.
                Err(error) => log::info!("{quantization} cannot be measured: {error}"),
            }
        }
    }
    for (steps, header) in measured.values() {
        add_type(&mut rates, header, steps, f64::from(prompt_of(gpu)));
    }
    let middle = |map: &BTreeMap<String, f64>| {
        let mut all: Vec<f64> = map.values().copied().collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(1e9)
    };
    let (read, compute) = (middle(&rates.read), middle(&rates.compute));
    rates.read.insert(String::new(), read);
    rates.compute.insert(String::new(), compute);
    Ok(rates)
}

/// Derives the rates of the probe's main type from its measured times.
fn add_type(rates: &mut Rates, header: &GgufHeader, steps: &Steps, tokens: f64) {
    let flows = weight_traffic(header);
    let Some((ty, (bytes, operations))) =
        flows.iter().max_by(|(_, a), (_, b)| a.1.total_cmp(&b.1)).map(|(ty, flow)| (*ty, *flow))
    else {
        return;
    };
    let layers = header.architecture_number("block_count").unwrap_or(0) as f64;
    let overhead = rates.per_step + layers * rates.per_layer;
    let attended = Attention::of(header).operations * layers;
    if let Some(deep) = &steps.deep {
        let rate = |more: f64| attended * f64::from(deep.depth) / more.max(1e-9);
        rates.attend_operations = Some(rate(deep.token - steps.token));
        rates.attend_prompt = rate(deep.prompt - steps.prompt);
    }
    // Subtract the time of the other types, where their rates are known.
    let others = |of: fn(&Rates, &str, &(f64, f64)) -> f64| -> f64 {
        flows.iter().filter(|(other, _)| **other != ty).map(|(ty, flow)| of(rates, ty, flow)).sum()
    };
    let reading = others(|rates, ty, flow| rates.read.get(ty).map_or(0.0, |rate| flow.0 / rate));
    let computing =
        others(|rates, ty, flow| rates.compute.get(ty).map_or(0.0, |rate| flow.1 / rate));
    let token = (steps.token - overhead - reading).max(steps.token / 10.0);
    let attending = attended * tokens / 2.0 / rates.attend_prompt;
    let prompt =
        (steps.prompt - overhead / tokens - computing - attending).max(steps.prompt / 10.0);
    rates.read.insert(ty.to_owned(), bytes / token);
    rates.compute.insert(ty.to_owned(), operations / prompt);
}

/// Formats the measured rates.
impl std::fmt::Display for Calibration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "main memory: {}/s", units::memory(self.host_bandwidth as u64))?;
        for (device, rates) in &self.rates {
            writeln!(
                f,
                "{device}: {:.1} us a layer, {:.1} us a step",
                rates.per_layer * 1e6,
                rates.per_step * 1e6
            )?;
            for (ty, read) in rates.read.iter().filter(|(ty, _)| !ty.is_empty()) {
                let compute = rates.compute.get(ty).copied().unwrap_or_default();
                writeln!(
                    f,
                    "  {ty:<8} {:>7.2} GB/s reading  {:>8.1} GFLOPS computing",
                    read / 1e9,
                    compute / 1e9
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::shape::file_type;

    #[test]
    fn calibration_types_exist() {
        for name in TYPES {
            file_type(name).unwrap();
        }
    }

    #[test]
    fn memory_bandwidth_is_measured() {
        let rate = read_bandwidth();
        assert!((1e8..1e13).contains(&rate), "{rate}");
    }
}
