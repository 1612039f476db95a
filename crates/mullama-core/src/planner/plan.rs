//! The result of planning: the placement of each part, and the predicted speed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::verdict::Verdict;
use crate::device::HOST;
use crate::options::{KvCacheTypes, TensorOverrides};

/// A planned placement. `Display` formats it as a table with bars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// The planned model.
    pub model: PlannedModel,
    /// Whether it fits.
    pub fits: bool,
    /// The reason why it does not, and settings that would.
    pub refusal: Option<String>,
    /// Number of layers on GPUs; the output layer counts as one.
    pub n_gpu_layers: u32,
    /// Total number of layers, including the output layer.
    pub n_layers: u32,
    /// Context size in tokens.
    pub context_size: u32,
    /// The largest context size, in tokens, with which all layers are on GPUs, up to the larger of
    /// the training context and the requested one. None if there is no such size, or if no
    /// alternatives were requested.
    pub max_gpu_context_size: Option<u32>,
    /// The data types of keys and values.
    pub kv_cache_type: KvCacheTypes,
    /// Share of each GPU, if there are several.
    pub tensor_split: Option<Vec<f32>>,
    /// Devices of tensors by pattern, as requested.
    pub tensor_overrides: Option<TensorOverrides>,
    /// Number of layers, from the first on, whose experts are in system RAM.
    pub n_cpu_moe: u32,
    /// The GPUs with a part of the model, in the order of their layers.
    pub devices: Vec<PlannedDevice>,
    /// System RAM.
    pub host: PlannedDevice,
    /// Whether the weights in system RAM exceed the available memory, so that they are read from
    /// the file again and again.
    pub pages: bool,
    /// The predicted speed, if the performance of the devices is known.
    pub predicted: Option<Prediction>,
    /// What the predicted speed is suitable for: `chat` from 8 tokens per second on, `batch` from 2
    /// on, else `too_slow`. None if the model does not fit or no speed is predicted.
    pub verdict: Option<Verdict>,
    /// Advice on this placement, one sentence each: which GPUs are not used, whether partial
    /// offloading is worthwhile, whether a smaller quantisation is the better choice, and how much
    /// system RAM is needed in addition to the GPUs.
    pub advice: Vec<String>,
    /// Other settings and quantisations of the model, best first, if it does not fit on GPUs
    /// completely.
    pub alternatives: Vec<Alternative>,
    /// Options that load the model as planned. Described devices are not included: the model is
    /// loaded on the devices of the machine, in their order.
    pub options: Map<String, Value>,
}

/// The model of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedModel {
    /// The name in the file's metadata.
    pub name: Option<String>,
    /// The architecture: `llama`, `qwen3`, ...
    pub architecture: String,
    /// Size of all tensors in bytes.
    pub size: u64,
}

/// The planned part of a model on one device, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedDevice {
    /// The device's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Number of layers; the output layer counts as one.
    pub layers: u32,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of KV cache.
    pub kv: u64,
    /// Bytes of compute buffers.
    pub compute: u64,
    /// Bytes of the draft model: its weights, KV cache and compute buffers.
    pub draft: u64,
    /// Bytes of the projector: its weights and compute buffers.
    pub projector: u64,
    /// Bytes that are free before loading.
    pub free: u64,
    /// Bytes that automatic placement leaves free.
    pub margin: u64,
}

impl PlannedDevice {
    /// Total number of bytes that it would use.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.compute + self.draft + self.projector
    }
}

/// The predicted speed of a plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// Tokens per second for a single request, with an empty context.
    pub decode_tps: f64,
    /// The same with a full context.
    pub decode_tps_full: f64,
    /// Prompt tokens per second.
    pub prefill_tps: f64,
    /// Seconds to load the model from a disk.
    pub load_seconds: f64,
    /// The bottleneck of generation: the memory bandwidth or the compute of a device.
    pub bound_by: String,
    /// The source of the rates, for each device.
    pub sources: BTreeMap<String, String>,
}

/// An alternative way to run a model, and its effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alternative {
    /// The changed setting: `kv_cache_type q8_0`, `Q3_K_M`.
    pub change: String,
    /// Whether it fits.
    pub fits: bool,
    /// Number of layers on GPUs; the output layer counts as one.
    pub n_gpu_layers: u32,
    /// Context size in tokens.
    pub context_size: u32,
    /// Size of all tensors in bytes.
    pub size: u64,
    /// Tokens per second, if they can be predicted.
    pub decode_tps: Option<f64>,
    /// Options that load the model as planned; another quantisation needs its own file.
    pub options: Map<String, Value>,
}

impl Plan {
    /// The devices with a part of the model; system RAM is last.
    pub fn all_devices(&self) -> impl Iterator<Item = &PlannedDevice> {
        self.devices.iter().chain([&self.host])
    }

    /// The name of each layer's device, the output layer's last: first the layers in system RAM,
    /// then those of the GPUs in their order. In split mode `tensor`, each of these is on all GPUs,
    /// and the first one is named.
    pub fn layer_devices(&self) -> Vec<&str> {
        let count = if self.shares_layers() { 1 } else { self.devices.len() };
        let gpus = &self.devices[..count];
        let host = self.n_layers.saturating_sub(gpus.iter().map(|gpu| gpu.layers).sum());
        let on = |name, count: u32| std::iter::repeat_n(name, count as usize);
        let gpus = gpus.iter().flat_map(|gpu| on(gpu.name.as_str(), gpu.layers));
        on(HOST, host).chain(gpus).collect()
    }

    /// Whether several GPUs have a part of each of their layers, as in split mode `tensor`.
    pub(super) fn shares_layers(&self) -> bool {
        let layers: u32 = self.all_devices().map(|device| device.layers).sum();
        self.devices.len() > 1 && layers > self.n_layers
    }
}
