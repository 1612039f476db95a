//! `plan`, and what it gives.

use mullama::{Naming, PlanOptions, PlanSource};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyMapping};

use crate::errors::{Result, raise};
use crate::json;
use crate::options;
use crate::results::repr;

/// What to plan: a `str`, an `os.PathLike`, or a mapping with the fields of a shape.
pub struct SourceArgument(PlanSource);

impl FromPyObject<'_, '_> for SourceArgument {
    type Error = PyErr;

    fn extract(value: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        if value.cast::<PyMapping>().is_ok() {
            let fields = json::from_python(&value, "source")?;
            return PlanSource::parse(fields).map(Self).map_err(raise);
        }
        let path: crate::text::Source = value.extract()?;
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
#[pyo3(signature = (source, devices = None, **options))]
pub fn plan(
    py: Python<'_>,
    source: SourceArgument,
    devices: Option<Bound<'_, PyAny>>,
    options: Option<&Bound<'_, PyDict>>,
) -> Result<Plan> {
    let mut arguments = options::arguments(options)?;
    if let Some(devices) = devices {
        arguments.insert("devices".to_owned(), json::from_python(&devices, "devices")?);
    }
    let options = PlanOptions::parse(arguments, Naming::Snake)?;
    Ok(Plan(py.detach(|| mullama::plan(source.0, &options))?))
}

/// What would be put where. `str(plan)` is a table with bars; `Model(source, **plan.options)` loads the
/// model so.
#[pyclass(frozen, module = "mullama")]
pub struct Plan(mullama::Plan);

#[pymethods]
impl Plan {
    /// What is planned.
    #[getter]
    fn model(&self) -> PlannedModel {
        PlannedModel(self.0.model.clone())
    }

    /// Whether it fits.
    #[getter]
    fn fits(&self) -> bool {
        self.0.fits
    }

    /// Why it does not, and what would.
    #[getter]
    fn refusal(&self) -> Option<&str> {
        self.0.refusal.as_deref()
    }

    /// Layers on GPUs; the output layer counts.
    #[getter]
    fn n_gpu_layers(&self) -> u32 {
        self.0.n_gpu_layers
    }

    /// Layers in all, the output layer included.
    #[getter]
    fn n_layers(&self) -> u32 {
        self.0.n_layers
    }

    /// Tokens of context.
    #[getter]
    fn context_size(&self) -> u32 {
        self.0.context_size
    }

    /// The most tokens of context with which every layer is on GPUs, if there is one.
    #[getter]
    fn max_gpu_context_size(&self) -> Option<u32> {
        self.0.max_gpu_context_size
    }

    /// The number format of keys and values, or of both as a list.
    #[getter]
    fn kv_cache_type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.kv_cache_type)
    }

    /// Share of each GPU, where there are several.
    #[getter]
    fn tensor_split(&self) -> Option<Vec<f32>> {
        self.0.tensor_split.clone()
    }

    /// Devices of tensors by pattern, as they were asked for.
    #[getter]
    fn tensor_overrides<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.tensor_overrides)
    }

    /// Of how many layers, from the first on, the experts stay in the machine's own memory.
    #[getter]
    fn n_cpu_moe(&self) -> u32 {
        self.0.n_cpu_moe
    }

    /// The GPUs that hold a part, in the order of their layers.
    #[getter]
    fn devices(&self) -> Vec<PlannedDevice> {
        self.0.devices.iter().cloned().map(PlannedDevice).collect()
    }

    /// The machine's own memory.
    #[getter]
    fn host(&self) -> PlannedDevice {
        PlannedDevice(self.0.host.clone())
    }

    /// Whether more weights stay in the machine's own memory than there is room for, so that they are
    /// read from the file again and again.
    #[getter]
    fn pages(&self) -> bool {
        self.0.pages
    }

    /// How fast it would be, where what the devices can do is known.
    #[getter]
    fn predicted(&self) -> Option<Prediction> {
        self.0.predicted.clone().map(Prediction)
    }

    /// Other settings and other quantisations of the model, the best first, where it does not go onto
    /// GPUs as a whole.
    #[getter]
    fn alternatives(&self) -> Vec<Alternative> {
        self.0.alternatives.iter().cloned().map(Alternative).collect()
    }

    /// Options that load the model so. Described devices are not among them: the model is loaded on
    /// those that are there, in their order.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.options)
    }

    /// The name of the device that each layer would be on, the output layer's last.
    #[getter]
    fn layer_devices(&self) -> Vec<&str> {
        self.0.layer_devices()
    }

    /// Why each layer is where it is.
    fn explain(&self) -> String {
        self.0.explain()
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["fits", "n_gpu_layers", "n_layers", "context_size", "devices", "host"])
    }
}

/// The model of a plan.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct PlannedModel(mullama::PlannedModel);

#[pymethods]
impl PlannedModel {
    /// The name that the file gives itself.
    #[getter]
    fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// The architecture: `llama`, `qwen3`, ...
    #[getter]
    fn architecture(&self) -> &str {
        &self.0.architecture
    }

    /// Bytes of all tensors.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "architecture", "size"])
    }
}

/// What a device would hold, in bytes.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct PlannedDevice(mullama::PlannedDevice);

#[pymethods]
impl PlannedDevice {
    /// The device's name.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is.
    #[getter]
    fn description(&self) -> &str {
        &self.0.description
    }

    /// Layers; the output layer counts as one.
    #[getter]
    fn layers(&self) -> u32 {
        self.0.layers
    }

    /// Bytes of weights.
    #[getter]
    fn weights(&self) -> u64 {
        self.0.weights
    }

    /// Bytes of KV cache.
    #[getter]
    fn kv(&self) -> u64 {
        self.0.kv
    }

    /// Bytes of buffers to compute in.
    #[getter]
    fn compute(&self) -> u64 {
        self.0.compute
    }

    /// Bytes that are free before.
    #[getter]
    fn free(&self) -> u64 {
        self.0.free
    }

    /// Bytes that are left free where the placement is chosen.
    #[getter]
    fn margin(&self) -> u64 {
        self.0.margin
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["name", "layers", "weights", "kv", "compute", "free"])
    }
}

/// How fast a plan would be.
#[pyclass(frozen, eq, module = "mullama")]
#[derive(PartialEq)]
pub struct Prediction(mullama::Prediction);

#[pymethods]
impl Prediction {
    /// Tokens a second, one answer at a time, with an empty context.
    #[getter]
    fn decode_tps(&self) -> f64 {
        self.0.decode_tps
    }

    /// The same with a full context.
    #[getter]
    fn decode_tps_full(&self) -> f64 {
        self.0.decode_tps_full
    }

    /// Tokens of a prompt a second.
    #[getter]
    fn prefill_tps(&self) -> f64 {
        self.0.prefill_tps
    }

    /// Seconds to load the model from a disk.
    #[getter]
    fn load_seconds(&self) -> f64 {
        self.0.load_seconds
    }

    /// What takes most of the time of a token: the memory or the computation of a device.
    #[getter]
    fn bound_by(&self) -> &str {
        &self.0.bound_by
    }

    /// Where the rates come from, for each device.
    #[getter]
    fn sources<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.sources)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["decode_tps", "decode_tps_full", "prefill_tps", "load_seconds", "bound_by"])
    }
}

/// Another way to run a model, and what it would come to.
#[pyclass(frozen, module = "mullama")]
pub struct Alternative(mullama::Alternative);

#[pymethods]
impl Alternative {
    /// What is done otherwise, in words: `kv_cache_type q8_0`, `Q3_K_M`.
    #[getter]
    fn change(&self) -> &str {
        &self.0.change
    }

    /// Whether it fits.
    #[getter]
    fn fits(&self) -> bool {
        self.0.fits
    }

    /// Layers on GPUs; the output layer counts.
    #[getter]
    fn n_gpu_layers(&self) -> u32 {
        self.0.n_gpu_layers
    }

    /// Tokens of context.
    #[getter]
    fn context_size(&self) -> u32 {
        self.0.context_size
    }

    /// Bytes of all tensors.
    #[getter]
    fn size(&self) -> u64 {
        self.0.size
    }

    /// Tokens a second, where they can be predicted.
    #[getter]
    fn decode_tps(&self) -> Option<f64> {
        self.0.decode_tps
    }

    /// Options that load the model so; for another quantisation, its own file.
    #[getter]
    fn options<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        json::to_python(py, &self.0.options)
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        repr(slf, &["change", "fits", "n_gpu_layers", "context_size", "size", "decode_tps"])
    }
}
