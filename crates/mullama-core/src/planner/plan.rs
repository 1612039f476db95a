//! What would be put where, on hardware that is here or only described.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::RwLockReadGuard;

use serde::Serialize;
use serde_json::{Map, Value};

use super::alternatives::{self, Alternative, Sweep};
use super::budget::Budgets;
use super::calibrate::Calibration;
use super::shape::Shape;
use super::spec::{Bandwidth, ByteSize, DeviceList, DeviceSpec, Devices, simulate};
use super::speed::{self, Prediction, Rates};
use super::{Planner, header_planner, number};
use crate::demo::cache_dir;
use crate::device::{DeviceSet, HOST, Handle};
use crate::engine::ContextSettings;
use crate::options::{OptionSet as _, options};
use crate::params::{ContextParams, GpuLayers, KvCacheTypes, ModelParams, TensorOverrides};
use crate::source::Found;
use crate::{Error, ErrorKind, Naming, Result, parse_options, preflight, runtime};
use mullama_gguf::GgufHeader;

options! {
    /// What a plan takes beside the options of loading.
    pub struct PlanFields {
        /// The GPUs to plan for: names of this machine's devices; or descriptions, such as `RTX 4090`,
        /// `2x RTX 3060 12GB`, `M4 Max 64GB`, `24GiB`, or an object with `memory` or `name`, and
        /// `backend`, `bandwidth`, `compute`, `link`, `count`. Default: those of this machine.
        devices <- DeviceList,
        /// The machine's own memory, as a size with its unit (`64GiB`) or in bytes. Default: what is free
        /// here; of a described device that shares it, what the device leaves.
        host_memory <- ByteSize,
        /// The bandwidth of the machine's own memory, such as `80GB/s` or `2x DDR5-5600`.
        /// Default: measured here.
        host_bandwidth <- Bandwidth,
        /// Whether other settings and quantisations are planned too where the model does not fit GPUs as
        /// a whole. Default: true.
        alternatives: bool,
    }
}

/// What to plan with.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PlanOptions {
    /// Placement options; what is left open is chosen as it is when a model is loaded.
    pub model: ModelParams,
    /// Context options, likewise.
    pub context: ContextParams,
    /// The hardware.
    pub hardware: PlanFields,
}

impl PlanOptions {
    /// Options by name, as a program in another language gives them.
    pub fn parse(arguments: Map<String, Value>, naming: Naming) -> Result<Self> {
        let mut options = Self::default();
        // `devices` of a plan may be described, those of loading are here: the first takes it.
        parse_options(
            &mut [&mut options.hardware, &mut options.model, &mut options.context],
            arguments,
            naming,
        )?;
        Ok(options)
    }

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
    pub fn with_devices(mut self, devices: impl Into<DeviceList>) -> Self {
        self.hardware.devices = Some(devices.into());
        self
    }

    /// Sets whether other settings and quantisations are planned too.
    #[must_use]
    pub fn with_alternatives(mut self, wanted: bool) -> Self {
        self.hardware.alternatives = Some(wanted);
        self
    }

    /// Sets the bytes of the machine's own memory.
    #[must_use]
    pub fn with_host_memory(mut self, bytes: u64) -> Self {
        self.hardware.host_memory = Some(ByteSize(bytes));
        self
    }
}

/// What would be put where. `Display` gives it as a table with bars.
#[derive(Debug, Clone, Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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

/// What to plan: a model, or the shape of one.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanSource {
    /// What [`crate::Model::load`] takes.
    Model(PathBuf),
    /// A model that need not exist.
    Shape(Shape),
}

impl PlanSource {
    /// A source as a program in another language gives it: text, or an object with the fields of a
    /// [`Shape`].
    pub fn parse(value: Value) -> Result<Self> {
        match value {
            Value::String(text) => Ok(Self::Model(text.into())),
            Value::Object(fields) => Shape::new(&fields).map(Self::Shape),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "what to plan is a path, a name or a shape",
            )),
        }
    }

    /// The file with the header, and the options with what a model of the store brings.
    fn find(&self, options: &PlanOptions) -> Result<(PathBuf, PlanOptions)> {
        let mut options = options.clone();
        let header = match self {
            Self::Model(source) => match Found::find(source) {
                Ok(found) => {
                    found.fill_options(&mut options.model, &mut options.context)?;
                    found.path
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    remote_header(source).unwrap_or(Err(error))?
                }
                Err(error) => return Err(error),
            },
            Self::Shape(shape) => shape.file()?,
        };
        Ok((header, options))
    }
}

/// The header of a model that is somewhere else, where the source can be such a one.
fn remote_header(source: &Path) -> Option<Result<PathBuf>> {
    let source = mullama_hub::Source::parse(source.to_str()?).ok()?;
    if matches!(source, mullama_hub::Source::Path(_)) {
        return None;
    }
    let folder = cache_dir().join("remote-headers");
    let options = mullama_hub::PullOptions::default();
    Some(mullama_hub::fetch_header(&source, &folder, &options))
}

impl From<Shape> for PlanSource {
    fn from(shape: Shape) -> Self {
        Self::Shape(shape)
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for PlanSource {
    fn from(source: &T) -> Self {
        Self::Model(source.as_ref().into())
    }
}

impl From<String> for PlanSource {
    fn from(source: String) -> Self {
        Self::Model(source.into())
    }
}

impl From<PathBuf> for PlanSource {
    fn from(source: PathBuf) -> Self {
        Self::Model(source)
    }
}

/// Starts what a plan needs of the engine. Drivers are left alone where the devices are described.
fn start(options: &PlanOptions) -> Result<Option<RwLockReadGuard<'static, ()>>> {
    if are_described(options) {
        let guard = runtime::without_gpus();
        runtime::check_cpu()?;
        return Ok(Some(guard));
    }
    runtime::require_cpu()?;
    Ok(None)
}

fn are_described(options: &PlanOptions) -> bool {
    options.hardware.devices.as_ref().is_some_and(DeviceList::are_described)
}

/// Plans where a model would go, without reading its weights: a file of which only the beginning is
/// there will do, if it is as long as the whole, and so will the [`Shape`] of a model that does not exist.
///
/// Every number of bytes comes from a dry run of the engine's own loader.
pub fn plan(source: impl Into<PlanSource>, options: &PlanOptions) -> Result<Plan> {
    let _engine = start(options)?;
    let (header, options) = source.into().find(options)?;
    Subject::read(&header)?.plan(&options)
}

/// Plans of a model for every value of one setting, with the values.
pub fn sweep(
    source: impl Into<PlanSource>,
    options: &PlanOptions,
    what: Sweep,
) -> Result<Vec<(String, Plan)>> {
    let _engine = start(options)?;
    let (header, options) = source.into().find(options)?;
    alternatives::sweep(&Subject::read(&header)?, &options, what)
}

/// A model to plan, of which the header is known.
pub(super) struct Subject<'a> {
    path: &'a Path,
    header: GgufHeader,
}

impl<'a> Subject<'a> {
    pub fn read(path: &'a Path) -> Result<Self> {
        let header = GgufHeader::read_split(path)?;
        preflight::check(path, &header, false)?;
        Ok(Self { path, header })
    }

    pub fn path(&self) -> &Path {
        self.path
    }

    pub fn header(&self) -> &GgufHeader {
        &self.header
    }

    /// A plan, with its alternatives.
    fn plan(&self, options: &PlanOptions) -> Result<Plan> {
        let scene = Scene::set(options)?;
        let (planner, settings) = self.planner(&scene, options)?;
        let mut plan = self.plan_with(&planner, &settings, &scene, options)?;
        if options.hardware.alternatives.unwrap_or(true) {
            let trained = number(&self.header, &scene.params, "context_length").unwrap_or(0);
            plan.max_gpu_context_size =
                planner.largest_context_on_gpus(&scene.params, &settings, trained as u32)?;
            let is_whole = plan.fits && plan.n_gpu_layers >= plan.n_layers && plan.n_cpu_moe == 0;
            if !is_whole {
                plan.alternatives = alternatives::find(self, &plan, options)?;
            }
        }
        Ok(plan)
    }

    /// A plan alone.
    pub fn plan_once(&self, options: &PlanOptions) -> Result<Plan> {
        let scene = Scene::set(options)?;
        let (planner, settings) = self.planner(&scene, options)?;
        self.plan_with(&planner, &settings, &scene, options)
    }

    fn planner<'s>(
        &'s self,
        scene: &'s Scene,
        options: &PlanOptions,
    ) -> Result<(Planner<'s>, ContextSettings)> {
        let Scene { params, devices, budgets, .. } = scene;
        let context = &options.context;
        header_planner(self.path, &self.header, params, context, devices, budgets.clone())
    }

    fn plan_with(
        &self,
        planner: &Planner<'_>,
        settings: &ContextSettings,
        scene: &Scene,
        options: &PlanOptions,
    ) -> Result<Plan> {
        let (params, settings, refusal) = match planner.settle(&scene.params, settings.clone()) {
            Ok((params, settings)) => (params, settings, None),
            Err(error) if error.kind() == ErrorKind::DoesNotFit => {
                (scene.params.clone(), settings.clone(), Some(error.report()))
            }
            Err(error) => return Err(error),
        };
        let mut plan = describe(planner, &self.header, params, &settings, refusal)?;
        plan.options = loading_options(options, &plan, scene.are_here);
        plan.predicted = speed::predict(&plan, &self.header, &scene.rates);
        Ok(plan)
    }
}

/// The hardware that is planned for.
struct Scene {
    /// The options, which name the devices.
    params: ModelParams,
    devices: DeviceSet,
    budgets: Budgets,
    /// Whether the devices are this machine's.
    are_here: bool,
    /// What the devices do in a second, where it is known.
    rates: BTreeMap<String, Rates>,
}

impl Scene {
    fn set(options: &PlanOptions) -> Result<Self> {
        let PlanOptions { model, hardware, .. } = options;
        let mut params = model.clone();
        let here =
            if are_described(options) { DeviceSet::default() } else { DeviceSet::of(model)? };
        let listed = hardware.devices.as_ref().map(|list| list.resolve(&here)).transpose()?;
        let (devices, specs) = match listed {
            None => (here, None),
            Some(Devices::Here(names)) => {
                params.devices = Some(names);
                (here, None)
            }
            Some(Devices::Described(specs)) => {
                let devices = simulate(&specs)?;
                // In the order in which they are described.
                params.devices = Some(devices.gpus.iter().map(|gpu| gpu.name()).collect());
                (devices, Some(specs))
            }
        };
        let mut budgets = Budgets::of(&params, &devices)?;
        let shared = specs.iter().flatten().find_map(left_of_shared_memory);
        if let Some(bytes) = hardware.host_memory.map(|size| size.0).or(shared) {
            budgets.host.free = bytes;
        }
        let host = Calibration::of_host();
        let shared = specs.iter().flatten().find(|spec| spec.shared_memory.is_some());
        let bandwidth = shared.and_then(|spec| spec.bandwidth);
        let host = match hardware.host_bandwidth.map(|rate| rate.0).or(bandwidth) {
            Some(bandwidth) => host.of_host(bandwidth),
            None => host,
        };
        let mut rates: BTreeMap<_, _> = [(HOST.to_owned(), host)].into();
        for (index, gpu) in devices.gpus.iter().enumerate() {
            let known = match &specs {
                Some(specs) => Rates::of_spec(&specs[index]),
                None => Calibration::of_gpu(*gpu),
            };
            rates.extend(known.map(|known| (gpu.name(), known)));
        }
        Ok(Self { params, devices, budgets, are_here: specs.is_none(), rates })
    }
}

/// What a device leaves of the memory that it shares with the processor.
fn left_of_shared_memory(spec: &DeviceSpec) -> Option<u64> {
    spec.shared_memory.map(|shared| shared.saturating_sub(spec.memory))
}

fn describe(
    planner: &Planner<'_>,
    header: &GgufHeader,
    params: ModelParams,
    settings: &ContextSettings,
    refusal: Option<String>,
) -> Result<Plan> {
    let placement = planner.dry_run(&params, settings)?;
    let share = |budget: &super::budget::Budget| {
        let share = placement.devices.iter().find(|share| share.name == budget.name);
        let share = share.cloned().unwrap_or_default();
        let mut known = planner.devices.known.iter();
        let device = known.find(|device| device.name() == budget.name);
        PlannedDevice {
            name: budget.name.clone(),
            description: device.copied().map(Handle::description).unwrap_or_default(),
            layers: share.layers,
            weights: share.weights,
            kv: share.kv,
            compute: share.compute,
            free: budget.free,
            margin: budget.margin,
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
    let host = share(&planner.budgets.host);
    Ok(Plan {
        model: PlannedModel {
            name: header.text("general.name").map(str::to_owned),
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            size: header.tensors.iter().map(|tensor| tensor.size).sum(),
        },
        fits: refusal.is_none(),
        refusal,
        n_gpu_layers: match params.n_gpu_layers {
            Some(GpuLayers::Count(layers)) => layers.min(planner.all_layers),
            _ => on_gpus,
        },
        n_layers: planner.all_layers,
        context_size: settings.n_ctx,
        max_gpu_context_size: None,
        kv_cache_type: KvCacheTypes { keys: settings.type_k, values: settings.type_v },
        n_cpu_moe: match params.cpu_moe {
            Some(true) => planner.all_layers - 1,
            _ => params.n_cpu_moe.unwrap_or(0),
        },
        tensor_split: params.tensor_split,
        tensor_overrides: params.tensor_overrides,
        pages: host.total() > host.free,
        devices,
        host,
        predicted: None,
        alternatives: Vec::new(),
        options: Map::new(),
    })
}

/// What was asked for, with what was left open filled in.
fn loading_options(options: &PlanOptions, plan: &Plan, are_here: bool) -> Map<String, Value> {
    let mut given: Map<_, _> =
        options.model.given().into_iter().chain(options.context.given()).collect();
    let mut set = |name: &str, value: Value| given.insert(name.to_owned(), value);
    set("n_gpu_layers", plan.n_gpu_layers.into());
    set("context_size", plan.context_size.into());
    if plan.n_cpu_moe > 0 && options.model.cpu_moe != Some(true) {
        set("n_cpu_moe", plan.n_cpu_moe.into());
    }
    if let Some(split) = &plan.tensor_split {
        set("tensor_split", split.iter().map(|share| Value::from(*share)).collect());
    }
    if are_here && plan.n_gpu_layers > 0 {
        let names = plan.devices.iter().map(|device| Value::from(device.name.as_str()));
        set("devices", names.collect());
    }
    given
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
