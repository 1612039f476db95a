//! `plan` and its results.

use std::collections::BTreeMap;

use mullama::{Naming, PlanOptions, PlanSource};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::class::{self, class};
use crate::errors::{Result, raise};
use crate::hints::{CacheTypes, LoadOptionsDict, PlanDevices, TextsOrNone, Typed, hint};
use crate::json::{self, Json};
use crate::options;
use crate::text::Source;
use crate::wait::interruptible;

/// The source of a plan: a path, a name, or a mapping with the fields of a shape.
pub struct SourceArgument(PlanSource);

impl FromPyObject<'_, '_> for SourceArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr =
        hint("str | bytes | PathLike[str] | PathLike[bytes] | Mapping[str, object]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.cast::<PyMapping>().is_ok() {
            let fields = json::from_python(&value, "source")?;
            return PlanSource::parse(fields).map(Self).map_err(raise);
        }
        let path: Source = value.extract()?;
        Ok(Self(path.0.into()))
    }
}

#[doc = signature!("plan", "source, devices=None, *, ", plan)]
/// Plans where a model would be placed and how fast it would run, without reading its weights.
///
/// `source` is anything that `Model` accepts; the URL of a GGUF file or a Hugging Face name, of
/// which only the header is downloaded; or a mapping with the shape of a model that need not exist.
/// `devices` are names of this machine's devices, or descriptions such as `"RTX 4090"`, `"24GiB"`
/// or `{"memory": "24GiB"}`. The options are those of `mullama.options.PlanOptions`.
#[pyfunction]
#[pyo3(signature = (source, devices = None, **options: "Unpack[PlanOptions]"), text_signature = None)]
pub fn plan(
    py: Python<'_>,
    source: SourceArgument,
    devices: Option<Typed<'_, PlanDevices>>,
    options: Option<&Bound<'_, PyDict>>,
) -> Result<Plan> {
    let mut arguments = options::arguments(options)?;
    if let Some(devices) = devices {
        arguments.insert("devices".to_owned(), json::from_python(devices.as_any(), "devices")?);
    }
    let options = PlanOptions::parse(arguments, Naming::Snake)?;
    Ok(Plan(interruptible(py, move || mullama::plan(source.0, &options))??))
}

class! {
    /// A planned placement. `str(plan)` is a table with bars; `Model(source, **plan.options)` loads
    /// the model as planned.
    #[eq]
    #[pickle(Self)]
    Plan(mullama::Plan), repr(fits, n_gpu_layers, n_layers, context_size, devices, host) {
        /// The planned model.
        model: PlannedModel,
        /// Whether it fits.
        fits: bool,
        /// The reason why it does not fit, and settings that would.
        refusal: Option<String>,
        /// Number of layers on GPUs; the output layer counts as one.
        n_gpu_layers: u32,
        /// Total number of layers, including the output layer.
        n_layers: u32,
        /// Context size in tokens.
        context_size: u32,
        /// The largest context size, in tokens, with which all layers are on GPUs, if there is one.
        max_gpu_context_size: Option<u32>,
        /// The data type of keys and values, or a list of both.
        kv_cache_type: Json<CacheTypes>,
        /// Share of each GPU, if there are several.
        tensor_split: Option<Vec<f32>>,
        /// Devices of tensors by pattern, as requested.
        tensor_overrides: Json<TextsOrNone>,
        /// Number of layers, from the first on, whose experts are in system RAM.
        n_cpu_moe: u32,
        /// The GPUs with a part of the model, in the order of their layers.
        devices: Vec<PlannedDevice>,
        /// System RAM.
        host: PlannedDevice,
        /// Whether the weights in system RAM exceed the available memory, so that they are read
        /// from the file again and again.
        pages: bool,
        /// The predicted speed, if the performance of the devices is known.
        predicted: Option<Prediction>,
        /// What the predicted speed is suitable for: `chat` from 8 tokens per second on, `batch`
        /// from 2 on, else `too_slow`. None if the model does not fit or no speed is predicted.
        verdict: Option<String> = |plan| plan.verdict.map(mullama::Verdict::name),
        /// Advice on this placement, one sentence each: which GPUs are not used, whether partial
        /// offloading is worthwhile, whether a smaller quantisation is the better choice, and how
        /// much system RAM is needed in addition to the GPUs.
        advice: Vec<String>,
        /// Other settings and quantisations of the model, best first, if it does not fit on GPUs
        /// completely.
        alternatives: Vec<Alternative>,
        /// Options that load the model as planned. Described devices are not included: the model is
        /// loaded on the devices of the machine, in their order.
        options: Json<LoadOptionsDict>,
        /// The name of each layer's device, the output layer's last.
        layer_devices: Vec<String> = |plan| plan.layer_devices(),
    }
    methods {
        /// Explains the placement of each layer.
        fn explain(&self) -> String {
            self.0.explain()
        }

        fn __str__(&self) -> String {
            self.0.to_string()
        }

        fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
            class::repr_html(slf)
        }
    }
}

class! {
    /// The model of a plan.
    #[eq]
    #[pickle(Self)]
    PlannedModel(mullama::PlannedModel) {
        /// The name in the file's metadata.
        name: Option<String>,
        /// The architecture: `llama`, `qwen3`, ...
        architecture: String,
        /// Size of all tensors in bytes.
        size: u64,
    }
}

class! {
    /// The planned part of a model on one device, in bytes.
    #[eq]
    #[pickle(Self)]
    PlannedDevice(mullama::PlannedDevice), repr(name, layers, weights, kv, compute, free) {
        /// The device's name.
        name: String,
        /// What it is.
        description: String,
        /// Number of layers; the output layer counts as one.
        layers: u32,
        /// Bytes of weights.
        weights: u64,
        /// Bytes of KV cache.
        kv: u64,
        /// Bytes of compute buffers.
        compute: u64,
        /// Bytes of the draft model: its weights, KV cache and compute buffers.
        draft: u64,
        /// Bytes of the projector: its weights and compute buffers.
        projector: u64,
        /// Bytes that are free before loading.
        free: u64,
        /// Bytes that automatic placement leaves free.
        margin: u64,
    }
}

class! {
    /// The predicted speed of a plan.
    #[eq]
    #[pickle(Self)]
    Prediction(mullama::Prediction), repr(decode_tps, decode_tps_full, prefill_tps, load_seconds, bound_by) {
        /// Tokens per second for a single request, with an empty context.
        decode_tps: f64,
        /// The same with a full context.
        decode_tps_full: f64,
        /// Prompt tokens per second.
        prefill_tps: f64,
        /// Seconds to load the model from a disk.
        load_seconds: f64,
        /// The bottleneck of generation: the memory bandwidth or the compute of a device.
        bound_by: String,
        /// The source of the rates, for each device.
        sources: BTreeMap<String, String>,
    }
}

class! {
    /// An alternative way to run a model, and its effect.
    #[eq]
    #[pickle(Self)]
    Alternative(mullama::Alternative), repr(change, fits, n_gpu_layers, context_size, size, decode_tps) {
        /// The changed setting: `kv_cache_type q8_0`, `Q3_K_M`.
        change: String,
        /// Whether it fits.
        fits: bool,
        /// Number of layers on GPUs; the output layer counts as one.
        n_gpu_layers: u32,
        /// Context size in tokens.
        context_size: u32,
        /// Size of all tensors in bytes.
        size: u64,
        /// Tokens per second, if they can be predicted.
        decode_tps: Option<f64>,
        /// Options that load the model as planned; another quantisation needs its own file.
        options: Json<LoadOptionsDict>,
    }
}
