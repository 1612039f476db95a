//! What would be put where, on hardware that is here or only described.

use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use mullama_sys::shim::{SimulatedDevice, SimulatedProfile};
use serde::Serialize;

use super::budget::{Budgets, parse_size};
use super::{Planner, header_planner};
use crate::device::{self, DeviceSet, HOST, Handle};
use crate::gguf::GgufHeader;
use crate::params::{ContextParams, GpuLayers, ModelParams};
use crate::source::resolve;
use crate::{Error, ErrorKind, Result, preflight, runtime};

/// What to plan with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Placement options; what is left open is chosen as it is when a model is loaded.
    pub model: ModelParams,
    /// Context options, likewise.
    pub context: ContextParams,
    /// The GPUs. Default: those of this machine.
    pub devices: Option<Vec<DeviceSpec>>,
    /// Bytes of the machine's own memory. Default: what is free here.
    pub host_memory: Option<u64>,
}

impl PlanOptions {
    /// Sets the placement options.
    #[must_use]
    pub fn with_model(mut self, model: ModelParams) -> Self {
        self.model = model;
        self
    }

    /// Sets the context options.
    #[must_use]
    pub fn with_context(mut self, context: ContextParams) -> Self {
        self.context = context;
        self
    }

    /// Sets the GPUs to plan for.
    #[must_use]
    pub fn with_devices(mut self, devices: impl Into<Vec<DeviceSpec>>) -> Self {
        self.devices = Some(devices.into());
        self
    }

    /// Sets the bytes of the machine's own memory.
    #[must_use]
    pub fn with_host_memory(mut self, bytes: u64) -> Self {
        self.host_memory = Some(bytes);
        self
    }
}

/// A GPU that need not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceSpec {
    /// Bytes of its memory, all of them free.
    pub memory: u64,
    /// The backend that it is used by: `cuda`, `metal`, `rocm`, `vulkan`, `opencl`, `sycl` or `rpc`.
    /// Backends align and pad differently, and not all can compute while data is on its way.
    pub backend: String,
}

impl DeviceSpec {
    /// A GPU with so many bytes of memory, used by CUDA.
    pub fn new(memory: u64) -> Self {
        Self { memory, backend: "cuda".to_owned() }
    }

    /// Sets the backend.
    #[must_use]
    pub fn with_backend(mut self, backend: impl Into<String>) -> Self {
        self.backend = backend.into();
        self
    }
}

impl FromStr for DeviceSpec {
    type Err = Error;

    /// Reads a size with its unit, such as `24GiB`.
    fn from_str(text: &str) -> Result<Self> {
        parse_size(text).map(Self::new).ok_or_else(|| {
            Error::option("devices", format!("`{text}` is no size"))
                .with_hint("write a number with its unit, such as 24GiB")
        })
    }
}

/// What would be put where.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Plan {
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
    /// Share of each GPU that is used, where there are several.
    pub tensor_split: Option<Vec<f32>>,
    /// Of how many layers, from the first on, the experts stay in the machine's own memory.
    pub n_cpu_moe: u32,
    /// The GPUs that hold a part.
    pub devices: Vec<PlannedDevice>,
    /// The machine's own memory.
    pub host: PlannedDevice,
}

/// What a device would hold, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PlannedDevice {
    /// The device's name.
    pub name: String,
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
}

/// Plans where a model would go, without reading its weights: a file of which only the beginning is
/// there will do, if it is as long as the whole.
///
/// `source` is what [`crate::Model::load`] takes. Every number comes from a dry run of the engine's own
/// loader.
pub fn plan(source: impl AsRef<Path>, options: &PlanOptions) -> Result<Plan> {
    let path = resolve(source)?;
    let header = GgufHeader::read(&path)?;
    preflight::check(&path, &header, false)?;
    runtime::require_cpu()?;
    let devices = match &options.devices {
        None => DeviceSet::of(&options.model)?,
        Some(specs) => simulate(specs)?,
    };
    let mut budgets = Budgets::of(&options.model, &devices)?;
    if let Some(bytes) = options.host_memory {
        budgets.host.free = bytes;
    }
    let (planner, settings) =
        header_planner(&path, &header, &options.model, &options.context, &devices, budgets)?;
    let (params, settings, refusal) = match planner.settle(&options.model, settings.clone()) {
        Ok((params, settings)) => (params, settings, None),
        Err(error) if error.kind() == ErrorKind::DoesNotFit => {
            (options.model.clone(), settings, Some(error.report()))
        }
        Err(error) => return Err(error),
    };
    describe(&planner, params, &settings, refusal)
}

fn describe(
    planner: &Planner<'_>,
    params: ModelParams,
    settings: &crate::engine::ContextSettings,
    refusal: Option<String>,
) -> Result<Plan> {
    let placement = planner.dry_run(&params, settings)?;
    let share = |budget: &super::budget::Budget| {
        let share = placement.devices.iter().find(|share| share.name == budget.name);
        let share = share.cloned().unwrap_or_default();
        PlannedDevice {
            name: budget.name.clone(),
            layers: share.layers,
            weights: share.weights,
            kv: share.kv,
            compute: share.compute,
            free: budget.free,
        }
    };
    let devices: Vec<_> = planner
        .budgets
        .gpus
        .iter()
        .filter(|gpu| placement.devices.iter().any(|share| share.name == gpu.name))
        .map(share)
        .collect();
    let on_gpus = devices.iter().map(|device| device.layers).sum();
    Ok(Plan {
        fits: refusal.is_none(),
        refusal,
        n_gpu_layers: match params.n_gpu_layers {
            Some(GpuLayers::Count(layers)) => layers.min(planner.all_layers),
            _ => on_gpus,
        },
        n_layers: planner.all_layers,
        context_size: settings.n_ctx,
        n_cpu_moe: match params.cpu_moe {
            Some(true) => planner.all_layers - 1,
            _ => params.n_cpu_moe.unwrap_or(0),
        },
        tensor_split: params.tensor_split,
        devices,
        host: share(&planner.budgets.host),
    })
}

/// Devices as they are described, with this machine's processor.
pub(super) fn simulate(specs: &[DeviceSpec]) -> Result<DeviceSet> {
    let mut set = DeviceSet::default();
    for (index, spec) in specs.iter().enumerate() {
        let name = format!("{}{index}", spec.backend.to_uppercase());
        let bytes = usize::try_from(spec.memory).unwrap_or(usize::MAX);
        let description = format!("simulated {}", spec.backend);
        let device =
            SimulatedDevice::new(&name, &description, bytes, bytes, profile(&spec.backend)?)
                .map_err(|reason| Error::new(ErrorKind::Internal, reason))?;
        let handle = Handle::new(device.handle())
            .ok_or_else(|| Error::new(ErrorKind::Internal, "there is no simulated device"))?;
        set.gpus.push(handle);
        set.simulated.push(Arc::new(device));
    }
    set.known.clone_from(&set.gpus);
    set.known.extend(device::processors_of(&device::local()));
    debug_assert!(specs.iter().all(|spec| spec.backend != HOST));
    Ok(set)
}

/// What the backends' sources (`ggml-*/`, their `get_alignment`, `get_alloc_size` and `get_props`) say.
fn profile(backend: &str) -> Result<SimulatedProfile> {
    let like = |alignment, row_padding, is_async, host_buffer| SimulatedProfile {
        alignment,
        row_padding,
        is_async,
        host_buffer,
        buffer_from_host_ptr: false,
        events: is_async,
    };
    Ok(match backend {
        "cuda" | "rocm" | "sycl" => like(128, 512, true, true),
        "vulkan" => like(64, 0, true, true),
        "metal" => SimulatedProfile { buffer_from_host_ptr: true, ..like(32, 0, true, false) },
        "opencl" => like(128, 0, false, false),
        "rpc" => like(64, 0, true, false),
        _ => {
            let problem = format!("there is no backend `{backend}`");
            return Err(Error::option("devices", problem)
                .with_hint("one of cuda, metal, rocm, vulkan, opencl, sycl, rpc"));
        }
    })
}
