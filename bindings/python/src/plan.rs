//! `plan`, and what it gives.

use std::collections::BTreeMap;

use mullama::{Naming, PlanOptions, PlanSource};
use pyo3::inspect::PyStaticExpr;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::class::class;
use crate::errors::{Result, raise};
use crate::hints::{CacheTypes, Dict, PlanDevices, TextsOrNone, Typed, hint};
use crate::json::{self, Json};
use crate::options;
use crate::text::Source;

/// What to plan: a path or a name, or a mapping with the fields of a shape.
pub struct SourceArgument(PlanSource);

impl FromPyObject<'_, '_> for SourceArgument {
    type Error = PyErr;

    const INPUT_TYPE: PyStaticExpr =
        hint("str | bytes | PathLike[str] | PathLike[bytes] | Mapping[str, Any]");

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.cast::<PyMapping>().is_ok() {
            let fields = json::from_python(&value, "source")?;
            return PlanSource::parse(fields).map(Self).map_err(raise);
        }
        let path: Source = value.extract()?;
        Ok(Self(path.0.into()))
    }
}

/// Plans where a model would go, and how fast it would be, without reading its weights.
///
/// `source` is what `Model` takes; the address of a GGUF file or a name of Hugging Face, of which the
/// header alone is fetched; or a mapping with the shape of a model that need not exist. `devices` are
/// names of this machine's, or descriptions such as `"RTX 4090"`, `"24GiB"` or `{"memory": "24GiB"}`.
/// The options are those of `mullama.options.PlanOptions`.
#[pyfunction]
#[pyo3(signature = (source, devices = None, **options: "Unpack[PlanOptions]"))]
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
    Ok(Plan(py.detach(|| mullama::plan(source.0, &options))?))
}

class! {
    /// What would be put where. `str(plan)` is a table with bars; `Model(source, **plan.options)` loads the
    /// model so.
    #[pyclass(module = "mullama")]
    #[pickle(Self)]
    Plan(mullama::Plan), repr(fits, n_gpu_layers, n_layers, context_size, devices, host) {
        /// What is planned.
        model: PlannedModel,
        /// Whether it fits.
        fits: bool,
        /// Why it does not fit, and what would.
        refusal: Option<String>,
        /// Layers on GPUs; the output layer counts.
        n_gpu_layers: u32,
        /// Layers in all, the output layer included.
        n_layers: u32,
        /// Tokens of context.
        context_size: u32,
        /// The most tokens of context with which every layer is on GPUs, if there is one.
        max_gpu_context_size: Option<u32>,
        /// The number format of keys and values, or of both as a list.
        kv_cache_type: Json<CacheTypes>,
        /// Share of each GPU, where there are several.
        tensor_split: Option<Vec<f32>>,
        /// Devices of tensors by pattern, as they were asked for.
        tensor_overrides: Json<TextsOrNone>,
        /// Of how many layers, from the first on, the experts stay in the machine's own memory.
        n_cpu_moe: u32,
        /// The GPUs that hold a part, in the order of their layers.
        devices: Vec<PlannedDevice>,
        /// The machine's own memory.
        host: PlannedDevice,
        /// Whether more weights stay in the machine's own memory than there is room for, so that they are
        /// read from the file again and again.
        pages: bool,
        /// How fast it would be, where what the devices can do is known.
        predicted: Option<Prediction>,
        /// Other settings and other quantisations of the model, the best first, where it does not go onto
        /// GPUs as a whole.
        alternatives: Vec<Alternative>,
        /// Options that load the model so. Described devices are not among them: the model is loaded on
        /// those that are there, in their order.
        options: Json<Dict>,
        /// The name of the device that each layer would be on, the output layer's last.
        layer_devices: Vec<String> = |plan| plan.layer_devices(),
    }
    methods {
        /// Why each layer is where it is.
        fn explain(&self) -> String {
            self.0.explain()
        }

        fn __str__(&self) -> String {
            self.0.to_string()
        }
    }
}

class! {
    /// The model of a plan.
    #[eq]
    #[pickle(Self)]
    PlannedModel(mullama::PlannedModel) {
        /// The name that the file gives itself.
        name: Option<String>,
        /// The architecture: `llama`, `qwen3`, ...
        architecture: String,
        /// Bytes of all tensors.
        size: u64,
    }
}

class! {
    /// What a device would hold, in bytes.
    #[eq]
    #[pickle(Self)]
    PlannedDevice(mullama::PlannedDevice), repr(name, layers, weights, kv, compute, free) {
        /// The device's name.
        name: String,
        /// What it is.
        description: String,
        /// Layers; the output layer counts as one.
        layers: u32,
        /// Bytes of weights.
        weights: u64,
        /// Bytes of KV cache.
        kv: u64,
        /// Bytes of buffers to compute in.
        compute: u64,
        /// Bytes that are free before.
        free: u64,
        /// Bytes that are left free where the placement is chosen.
        margin: u64,
    }
}

class! {
    /// How fast a plan would be.
    #[eq]
    #[pickle(Self)]
    Prediction(mullama::Prediction), repr(decode_tps, decode_tps_full, prefill_tps, load_seconds, bound_by) {
        /// Tokens a second, one answer at a time, with an empty context.
        decode_tps: f64,
        /// The same with a full context.
        decode_tps_full: f64,
        /// Tokens of a prompt a second.
        prefill_tps: f64,
        /// Seconds to load the model from a disk.
        load_seconds: f64,
        /// What takes most of the time of a token: the memory or the computation of a device.
        bound_by: String,
        /// Where the rates come from, for each device.
        sources: BTreeMap<String, String>,
    }
}

class! {
    /// Another way to run a model, and what it would come to.
    #[pyclass(module = "mullama")]
    #[pickle(Self)]
    Alternative(mullama::Alternative), repr(change, fits, n_gpu_layers, context_size, size, decode_tps) {
        /// What is done otherwise, in words: `kv_cache_type q8_0`, `Q3_K_M`.
        change: String,
        /// Whether it fits.
        fits: bool,
        /// Layers on GPUs; the output layer counts.
        n_gpu_layers: u32,
        /// Tokens of context.
        context_size: u32,
        /// Bytes of all tensors.
        size: u64,
        /// Tokens a second, where they can be predicted.
        decode_tps: Option<f64>,
        /// Options that load the model so; for another quantisation, its own file.
        options: Json<Dict>,
    }
}
