//! A plan: what would be put where, and how fast that would be.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::device::HOST;
use crate::options::{KvCacheTypes, TensorOverrides};

/// What would be put where. `Display` gives it as a table with bars.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// What is planned.
    pub model: PlannedModel,
    /// Whether it fits.
    pub fits: bool,
    /// Why it does not, and what would.
    pub refusal: Option<String>,
    /// Layers on GPUs; the output layer counts.
    pub n_gpu_layers: u32,
    /// Layers in all, the output layer included.
    pub n_layers: u32,
    /// Tokens of context.
    pub context_size: u32,
    /// The most tokens of context, of those that the model was trained with, with which every layer is on
    /// GPUs. None where there is no such context, and where no alternatives are asked for.
    pub max_gpu_context_size: Option<u32>,
    /// The number formats of keys and values.
    pub kv_cache_type: KvCacheTypes,
    /// Share of each GPU, where there are several.
    pub tensor_split: Option<Vec<f32>>,
    /// Devices of tensors by pattern, as they were asked for.
    pub tensor_overrides: Option<TensorOverrides>,
    /// Of how many layers, from the first on, the experts stay in the machine's own memory.
    pub n_cpu_moe: u32,
    /// The GPUs that hold a part, in the order of their layers.
    pub devices: Vec<PlannedDevice>,
    /// The machine's own memory.
    pub host: PlannedDevice,
    /// Whether more weights stay in the machine's own memory than there is room for, so that they are
    /// read from the file again and again.
    pub pages: bool,
    /// How fast it would be, where what the devices can do is known.
    pub predicted: Option<Prediction>,
    /// Other settings and other quantisations of the model, the best first, where it does not go onto
    /// GPUs as a whole.
    pub alternatives: Vec<Alternative>,
    /// Options that load the model so. Described devices are not among them: the model is loaded on
    /// those that are there, in their order.
    pub options: Map<String, Value>,
}

/// The model of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedModel {
    /// The name that the file gives itself.
    pub name: Option<String>,
    /// The architecture: `llama`, `qwen3`, ...
    pub architecture: String,
    /// Bytes of all tensors.
    pub size: u64,
}

/// What a device would hold, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PlannedDevice {
    /// The device's name.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Layers; the output layer counts as one.
    pub layers: u32,
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of KV cache.
    pub kv: u64,
    /// Bytes of buffers to compute in.
    pub compute: u64,
    /// Bytes that are free before.
    pub free: u64,
    /// Bytes that are left free where the placement is chosen.
    pub margin: u64,
}

impl PlannedDevice {
    /// Bytes that it would hold.
    pub fn total(&self) -> u64 {
        self.weights + self.kv + self.compute
    }
}

/// How fast a plan would be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prediction {
    /// Tokens a second, one answer at a time, with an empty context.
    pub decode_tps: f64,
    /// The same with a full context.
    pub decode_tps_full: f64,
    /// Tokens of a prompt a second.
    pub prefill_tps: f64,
    /// Seconds to load the model from a disk.
    pub load_seconds: f64,
    /// What takes most of the time of a token: the memory or the computation of a device.
    pub bound_by: String,
    /// Where the rates come from, for each device.
    pub sources: BTreeMap<String, String>,
}

/// Another way to run a model, and what it would come to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alternative {
    /// What is done otherwise, in words: `kv_cache_type q8_0`, `Q3_K_M`.
    pub change: String,
    /// Whether it fits.
    pub fits: bool,
    /// Layers on GPUs; the output layer counts.
    pub n_gpu_layers: u32,
    /// Tokens of context.
    pub context_size: u32,
    /// Bytes of all tensors.
    pub size: u64,
    /// Tokens a second, where they can be predicted.
    pub decode_tps: Option<f64>,
    /// Options that load the model so; for another quantisation, its own file.
    pub options: Map<String, Value>,
}

impl Plan {
    /// The devices that hold a part, this machine's memory last.
    pub fn all_devices(&self) -> impl Iterator<Item = &PlannedDevice> {
        self.devices.iter().chain([&self.host])
    }

    /// The name of the device that each layer would be on, the output layer's last: first those in the
    /// machine's own memory, then those of the GPUs in their order.
    pub fn layer_devices(&self) -> Vec<&str> {
        let host = self.n_layers.saturating_sub(self.devices.iter().map(|gpu| gpu.layers).sum());
        let on = |name, count: u32| std::iter::repeat_n(name, count as usize);
        let gpus = self.devices.iter().flat_map(|gpu| on(gpu.name.as_str(), gpu.layers));
        on(HOST, host).chain(gpus).collect()
    }
}
