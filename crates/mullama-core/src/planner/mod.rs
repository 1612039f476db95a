//! Settles where a model goes before a byte of its weights is read.
//!
//! Every number comes from a dry run: the engine's own loader, told not to allocate
//! (`llama_model_params.no_alloc`), makes model and context, and says what it would have put where.

mod alternatives;
mod budget;
mod cache;
mod calibrate;
mod hardware;
mod plan;
mod shape;
mod spec;
mod speed;
mod table;
mod units;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::demo::cache_dir;
use crate::device::DeviceSet;
use crate::engine::{ContextSettings, dry_run};
use crate::params::{ContextParams, GpuLayers, ModelParams};
use crate::placement::Placement;
use crate::weights::Weights;
use crate::{Error, ErrorKind, Result, logging, runtime};
use budget::{Budgets, are_shares_open};
use cache::Cache;
use mullama_gguf::{GgufHeader, MetadataValue};

pub use alternatives::{Alternative, Sweep};
pub use calibrate::{Calibration, Measured, calibrate, measure_speed};
pub use plan::{
    Plan, PlanFields, PlanOptions, PlanSource, PlannedDevice, PlannedModel, plan, sweep,
};
pub use shape::Shape;
pub use spec::{Bandwidth, ByteSize, DeviceList, DeviceSpec};
pub use speed::Prediction;

/// The smallest context that `auto` makes smaller before it leaves layers to the CPU.
const SMALLEST_CONTEXT_FOR_GPU: u32 = 4096;

/// The smallest context that is chosen without being asked for.
const SMALLEST_CONTEXT: u32 = 512;

/// Sizes of contexts that are tried are multiples of this, as the engine makes them.
const CONTEXT_STEP: u32 = 256;

/// The tensors that are tables of rows to look up, which stay in the machine's own memory.
const LOOKED_UP: [&str; 2] = ["token_embd.weight", "position_embd.weight"];

/// Everything that was left open, filled in.
pub(crate) struct Settled {
    pub params: ModelParams,
    pub settings: ContextSettings,
    pub devices: DeviceSet,
}

/// Fills in what was left open, and refuses what cannot fit.
pub(crate) fn settle(
    path: &Path,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
) -> Result<Settled> {
    let devices = DeviceSet::of(params)?;
    let budgets = Budgets::of(params, &devices)?;
    let (planner, settings) = header_planner(path, header, params, context, &devices, budgets)?;
    let (params, settings) = planner.settle(params, settings)?;
    Ok(Settled { params, settings, devices })
}

/// Refuses what there is no memory for now, on a model that is loaded: `what` is a context of these
/// settings, with so many bytes of outputs beside it.
pub(crate) fn check_room(
    path: &Path,
    params: &ModelParams,
    devices: &DeviceSet,
    settings: &ContextSettings,
    outputs: u64,
    what: &str,
) -> Result<()> {
    let budgets = Budgets::of(params, devices)?;
    let needed = logging::quietly(|| {
        let weights = Arc::new(Weights::pretend(path, params, devices)?);
        Ok::<_, Error>(dry_run(weights, settings, 0)?.context_alone(outputs))
    })?;
    if budgets.fit(&needed, false) {
        return Ok(());
    }
    let shortages = budgets.shortages(&needed).join("; ");
    Err(Error::new(ErrorKind::OutOfMemory, format!("there is no memory for {what}: {shortages}"))
        .with_context("devices", budgets.describe(&needed))
        .with_hint("shorter inputs, or a model loaded with a smaller `ubatch_size`, need less"))
}

/// A planner for a model, and the settings to start from.
fn header_planner<'a>(
    path: &'a Path,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
    devices: &'a DeviceSet,
    budgets: Budgets,
) -> Result<(Planner<'a>, ContextSettings)> {
    let trained = number(header, params, "context_length").unwrap_or(0);
    let settings = ContextSettings::resolve(context, u32::try_from(trained).unwrap_or(u32::MAX))?;
    let all_layers = number(header, params, "block_count").unwrap_or(0).max(0) as u32 + 1;
    let is_mixture = number(header, params, "expert_count").unwrap_or(0) > 0;
    let tables = header.tensors.iter().filter(|tensor| LOOKED_UP.contains(&tensor.name.as_str()));
    // A file that was made to plan with says nothing to the user.
    let name = header.text("general.name").filter(|_| path.starts_with(cache_dir()));
    let planner = Planner {
        path,
        name: name.map_or_else(|| path.display().to_string(), str::to_owned),
        devices,
        budgets,
        all_layers,
        is_mixture,
        looked_up: tables.map(|tensor| tensor.size).sum(),
        vocabulary: vocabulary(header),
        context_is_open: context.n_ctx.is_none(),
        cache: Cache::of(path),
        pretended: RefCell::default(),
    };
    Ok((planner, settings))
}

/// A number of the model's architecture, as the file has it or the caller overrides it.
pub(crate) fn number(header: &GgufHeader, params: &ModelParams, key: &str) -> Option<i64> {
    let overrides = params.metadata_overrides.as_ref();
    let overridden = overrides.and_then(|overrides| {
        overrides.get(&format!("{}.{key}", header.text("general.architecture")?))?.as_i64()
    });
    overridden.or_else(|| header.architecture_number(key))
}

/// What the metadata would say of a vocabulary that is as large as the file's and has no words.
fn vocabulary(header: &GgufHeader) -> BTreeMap<String, Value> {
    let architecture = header.text("general.architecture");
    let (Some(architecture), Some(&MetadataValue::Array { length })) =
        (architecture, header.get("tokenizer.ggml.tokens"))
    else {
        return BTreeMap::new();
    };
    [
        ("tokenizer.ggml.model".to_owned(), Value::from("none")),
        (format!("{architecture}.vocab_size"), Value::from(length)),
    ]
    .into()
}

/// Says that there is no GPU where one was asked for, and why.
fn warn_of_no_gpu(path: &Path) {
    let failed = runtime::modules().iter().filter_map(|module| {
        let reason = module.outcome.as_ref().err()?;
        Some(format!("; {}: {reason}", module.path.display()))
    });
    let reasons: String = failed.collect();
    log::warn!("there is no GPU that can be used: {} runs on the CPU{reasons}", path.display());
}

struct Planner<'a> {
    path: &'a Path,
    /// What messages call the model.
    name: String,
    devices: &'a DeviceSet,
    budgets: Budgets,
    /// Layers of the model, the output layer included.
    all_layers: u32,
    is_mixture: bool,
    /// Bytes of the tables in which the engine only looks rows up.
    looked_up: u64,
    /// Metadata that have the engine count the vocabulary instead of reading it, which takes most of the time
    /// that it takes to pretend weights, and changes nothing of them.
    vocabulary: BTreeMap<String, Value>,
    context_is_open: bool,
    cache: Cache,
    /// The weights that were pretended last, and what they were made of: many questions in a row differ
    /// only in their contexts.
    pretended: RefCell<Option<(String, Arc<Weights>)>>,
}

impl Planner<'_> {
    fn settle(
        &self,
        params: &ModelParams,
        settings: ContextSettings,
    ) -> Result<(ModelParams, ContextSettings)> {
        let layers = params.n_gpu_layers.unwrap_or_default();
        if self.budgets.gpus.is_empty() || layers == GpuLayers::Count(0) {
            if !matches!(layers, GpuLayers::Auto | GpuLayers::Count(0)) {
                warn_of_no_gpu(self.path);
            }
            let params = params.clone().with_n_gpu_layers(0);
            let settings = self.check(&params, settings, None)?;
            return Ok((params, settings));
        }
        match layers {
            GpuLayers::Auto => self.automatic(params, settings),
            asked => {
                let settings = self.check(params, settings, Some(asked))?;
                Ok((params.clone(), settings))
            }
        }
    }

    /// What is needed must be free: by the layers that were asked for on GPUs, or by all on the processor. An open
    /// context is made smaller for it.
    fn check(
        &self,
        params: &ModelParams,
        settings: ContextSettings,
        asked: Option<GpuLayers>,
    ) -> Result<ContextSettings> {
        if self.budgets.fit(&self.dry_run(params, &settings)?, false) {
            return Ok(settings);
        }
        if self.context_is_open
            && let Some(smaller) = self.largest_context(params, &settings, 0, false)?
            && smaller.n_ctx >= SMALLEST_CONTEXT
        {
            return Ok(smaller);
        }
        Err(self.refusal(params, &settings, asked)?)
    }

    /// Says what is short of room, and what would fit.
    fn refusal(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        asked: Option<GpuLayers>,
    ) -> Result<Error> {
        let needed = self.dry_run(params, settings)?;
        let name = &self.name;
        let mut offers = Vec::new();
        let mut error = if let Some(asked) = asked {
            let most = match asked {
                GpuLayers::Count(layers) => layers.min(self.all_layers),
                _ => self.all_layers,
            };
            let with = |layers| params.clone().with_n_gpu_layers(GpuLayers::Count(layers));
            let best = largest(NONE, most, |layers| self.room(&with(layers), settings, false))?;
            offers.push(format!("n_gpu_layers={best} fits"));
            let all = self.all_layers;
            Error::new(
                ErrorKind::DoesNotFit,
                format!("{name} with {most} of {all} layers on GPUs and a context of {} does not fit: {}",
                    settings.n_ctx, self.budgets.shortages(&needed).join("; ")),
            )
            .with_context("max_n_gpu_layers", best)
        } else {
            Error::new(
                ErrorKind::DoesNotFit,
                format!(
                    "{name} with a context of {} does not fit: {}",
                    settings.n_ctx,
                    self.budgets.shortages(&needed).join("; ")
                ),
            )
        };
        if let Some(smaller) = self.largest_context(params, settings, 0, false)? {
            offers.push(format!("context_size={} fits", smaller.n_ctx));
            error = error.with_context("max_context_size", smaller.n_ctx);
        }
        error = error.with_context("path", self.path.display());
        if offers.is_empty() {
            offers.push("use a smaller model or quantisation".to_owned());
        }
        Ok(error
            .with_context("devices", self.budgets.describe(&needed))
            .with_hint(offers.join("; ")))
    }

    /// The best placement that fits: on the fewest GPUs that hold everything; else the experts of a
    /// mixture to the CPU; else as many layers as fit.
    fn automatic(
        &self,
        params: &ModelParams,
        settings: ContextSettings,
    ) -> Result<(ModelParams, ContextSettings)> {
        let most = self.budgets.gpus.len();
        let fewest = if are_shares_open(params) { 1 } else { most };
        for devices in fewest..=most {
            let whole = self.spread(params, &settings, devices, GpuLayers::All)?;
            if self.fits(&whole, &settings)? {
                return Ok((whole, settings));
            }
        }
        if self.context_is_open && settings.n_ctx > SMALLEST_CONTEXT_FOR_GPU {
            let mut smaller = settings.clone();
            smaller.n_ctx = SMALLEST_CONTEXT_FOR_GPU;
            for devices in fewest..=most {
                let whole = self.spread(params, &smaller, devices, GpuLayers::All)?;
                if self.fits(&whole, &smaller)? {
                    let largest = self.largest_context(&whole, &settings, smaller.n_ctx, true)?;
                    return Ok((whole, largest.unwrap_or(smaller)));
                }
            }
        }

        let experts_are_open = params.cpu_moe.is_none() && params.n_cpu_moe.is_none();
        let mut params = params.clone();
        if self.is_mixture && experts_are_open {
            let blocks = self.all_layers - 1;
            let kept = |count: u32| {
                let params = params.clone().with_n_cpu_moe(blocks - count);
                self.spread(&params, &settings, most, GpuLayers::All)
            };
            if self.fits(&kept(0)?, &settings)? {
                let count =
                    largest(NONE, blocks, |count| self.room_for_more(&kept(count)?, &settings))?;
                return Ok((kept(count)?, settings));
            }
            params.cpu_moe = Some(true);
        }
        self.as_many_as_fit(&params, settings)
    }

    /// As many layers on all GPUs as there is room for.
    fn as_many_as_fit(
        &self,
        params: &ModelParams,
        settings: ContextSettings,
    ) -> Result<(ModelParams, ContextSettings)> {
        let devices = self.budgets.gpus.len();
        let room = |layers| {
            let some = self.spread(params, &settings, devices, GpuLayers::Count(layers))?;
            self.room_for_more(&some, &settings)
        };
        let layers = largest(NONE, self.all_layers, room)?;
        if layers == 0 {
            let params = params.clone().with_n_gpu_layers(0);
            let settings = self.check(&params, settings, None)?;
            return Ok((params, settings));
        }
        let some = self.spread(params, &settings, devices, GpuLayers::Count(layers))?;
        Ok((some, settings))
    }

    /// So many layers on the first `devices` GPUs: where the shares are ours to choose, as many on each
    /// as it holds, and the rest on the next.
    fn spread(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        devices: usize,
        layers: GpuLayers,
    ) -> Result<ModelParams> {
        let params = params.clone().with_n_gpu_layers(layers);
        if !are_shares_open(&params) {
            return Ok(params);
        }
        let names: Vec<_> =
            self.budgets.gpus[..devices].iter().map(|gpu| gpu.name.clone()).collect();
        let params = params.with_devices(names);
        if devices == 1 {
            return Ok(params);
        }
        let mut left = match layers {
            GpuLayers::Count(layers) => layers.min(self.all_layers),
            _ => self.all_layers,
        };
        let mut counts: Vec<f32> = Vec::with_capacity(devices);
        for device in 0..devices - 1 {
            let with = |count: u32| {
                let mut counts = counts.clone();
                counts.push(count as f32);
                counts.push((left - count) as f32);
                counts.resize(devices, 0.0);
                params.clone().with_tensor_split(counts)
            };
            let room = |count| {
                // The engine takes no shares that are all zero: this is not asked where no layers are left.
                let placed = self.dry_run(&with(count), settings)?;
                Ok(self.budgets.room_on_gpu(device, &placed))
            };
            let count = largest(NONE, left, room)?;
            counts.push(count as f32);
            left -= count;
        }
        counts.push(left as f32);
        if counts.iter().all(|&count| count == 0.0) {
            return Ok(params);
        }
        Ok(params.with_tensor_split(counts))
    }

    fn fits(&self, params: &ModelParams, settings: &ContextSettings) -> Result<bool> {
        Ok(self.room(params, settings, true)? >= 0.0)
    }

    /// As [`Self::room`], where the GPUs are filled one after the other: if all have room for their parts,
    /// the last one says for how much more.
    fn room_for_more(&self, params: &ModelParams, settings: &ContextSettings) -> Result<f64> {
        let placed = self.dry_run(params, settings)?;
        let room = self.budgets.room(&placed, true);
        let last = self.budgets.gpus.len() - 1;
        Ok(if room < 0.0 { room } else { self.budgets.room_on_gpu(last, &placed) })
    }

    /// What a placement leaves of the device that it leaves the least of ([`Budgets::room`]).
    fn room(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        keep_margin: bool,
    ) -> Result<f64> {
        Ok(self.budgets.room(&self.dry_run(params, settings)?, keep_margin))
    }

    /// The settings with the largest context that fits and is no larger than theirs, looked for from a smaller
    /// one on.
    fn largest_context(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        from: u32,
        keep_margin: bool,
    ) -> Result<Option<ContextSettings>> {
        let with = |steps: u32| {
            let n_ctx = (steps.max(1) * CONTEXT_STEP).min(settings.n_ctx);
            ContextSettings { n_ctx, ..settings.clone() }
        };
        let room = |steps| self.room(params, &with(steps), keep_margin);
        let most = settings.n_ctx.div_ceil(CONTEXT_STEP);
        for from in [from / CONTEXT_STEP, 0] {
            let left = room(from)?;
            if left >= 0.0 {
                return Ok(Some(with(largest((from, left), most, room)?)));
            }
        }
        Ok(None)
    }

    /// The most tokens of context, up to so many, with which every layer is on GPUs, shared by their free
    /// memory; none where there is no such context.
    fn largest_context_on_gpus(
        &self,
        params: &ModelParams,
        settings: &ContextSettings,
        most: u32,
    ) -> Result<Option<u32>> {
        if self.budgets.gpus.is_empty() || most <= settings.n_ctx.min(CONTEXT_STEP) {
            return Ok(None);
        }
        // Where all layers were asked for, that has been planned already.
        let whole = match params.n_gpu_layers {
            Some(GpuLayers::Count(layers)) if layers >= self.all_layers => params.clone(),
            _ => params.clone().with_n_gpu_layers(GpuLayers::All),
        };
        let longest = ContextSettings { n_ctx: most, ..settings.clone() };
        let largest = self.largest_context(&whole, &longest, settings.n_ctx.min(most), true)?;
        Ok(largest.map(|settings| settings.n_ctx))
    }

    /// What would be where. Asked the same again, it answers from memory.
    fn dry_run(&self, params: &ModelParams, settings: &ContextSettings) -> Result<Placement> {
        // Without shares of their own, devices get theirs by their free memory.
        let by_memory = params.tensor_split.is_none();
        let gpus: Vec<_> = self
            .budgets
            .gpus
            .iter()
            .filter(|gpu| params.devices.as_ref().is_none_or(|names| names.contains(&gpu.name)))
            .collect();
        let gpus: Vec<_> = gpus
            .iter()
            .map(|gpu| {
                let free = if by_memory && gpus.len() > 1 { gpu.free >> 26 } else { 0 };
                format!("{} {} {free}", gpu.name, gpu.identity)
            })
            .collect();
        let made_of = format!("{gpus:?} {params:?}");
        let question = format!("{made_of} {settings:?}");
        if let Some(placement) = self.cache.get(&question) {
            return Ok(placement);
        }
        // A table may be the output's matrix too, which is on a GPU unless it was put elsewhere.
        let looked_up = if params.tensor_overrides.is_none() { self.looked_up } else { 0 };
        let placement =
            logging::quietly(|| dry_run(self.pretend(made_of, params)?, settings, looked_up))?;
        self.cache.put(&question, &placement);
        Ok(placement)
    }

    /// Weights that are only pretended: those of the last question, where it was about the same.
    fn pretend(&self, made_of: String, params: &ModelParams) -> Result<Arc<Weights>> {
        let mut last = self.pretended.borrow_mut();
        if let Some((of, weights)) = &*last
            && *of == made_of
        {
            return Ok(Arc::clone(weights));
        }
        // The old ones are freed first.
        *last = None;
        let mut params = params.clone();
        let mut metadata = self.vocabulary.clone();
        metadata.extend(params.metadata_overrides.take().unwrap_or_default());
        let params = params.with_metadata_overrides(metadata);
        let weights = Arc::new(Weights::pretend(self.path, &params, self.devices)?);
        *last = Some((made_of, Arc::clone(&weights)));
        Ok(weights)
    }
}

/// What is known of none: that it leaves everything.
const NONE: (u32, f64) = (0, 1.0);

/// The largest number up to `most` with which there is room; the room falls with the number, and `held` is one
/// with which there is some, and how much. It falls evenly, or nearly so, and is looked for where it would end if
/// it did; where that leads nowhere, halfway.
fn largest(mut held: (u32, f64), most: u32, room: impl Fn(u32) -> Result<f64>) -> Result<u32> {
    /// Tries in a row that leave more than half of what there was to look through.
    const SLOW: u32 = 2;
    if most <= held.0 {
        return Ok(most);
    }
    let mut beyond = (most, room(most)?);
    if beyond.1 >= 0.0 {
        return Ok(most);
    }
    let mut slow = 0;
    while beyond.0 - held.0 > 1 {
        let between = beyond.0 - held.0;
        let share = if slow < SLOW { held.1 / (held.1 - beyond.1) } else { 0.5 };
        let middle = held.0 + ((f64::from(between) * share) as u32).clamp(1, between - 1);
        match room(middle)? {
            left if left >= 0.0 => held = (middle, left),
            short => beyond = (middle, short),
        }
        slow = if (beyond.0 - held.0) * 2 <= between { 0 } else { slow + 1 };
    }
    Ok(held.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_with_room_is_found_in_few_tries() {
        let tries = |most: u32, room: &dyn Fn(u32) -> f64| {
            let asked = RefCell::new(Vec::new());
            let found = largest((0, room(0)), most, |n| {
                asked.borrow_mut().push(n);
                Ok(room(n))
            });
            (found.unwrap(), asked.into_inner().len())
        };
        for limit in 0..=200 {
            // Evenly, by leaps, and slowly first: none is asked much more often than by halving.
            let even = tries(200, &|n| 1.0 - f64::from(n) / (f64::from(limit) + 0.5));
            assert!(even.0 == limit && even.1 <= 3, "{limit}: {even:?}");
            let leap = tries(200, &|n| if n <= limit { 0.01 } else { -1.0 });
            assert!(leap.0 == limit && leap.1 <= 24, "{limit}: {leap:?}");
            let curved = tries(200, &|n| 1.0 - (f64::from(n) / (f64::from(limit) + 0.5)).powi(4));
            assert!(curved.0 == limit && curved.1 <= 24, "{limit}: {curved:?}");
        }
        assert_eq!(tries(0, &|_| -1.0).0, 0);
    }

    /// Everything about a model on so many devices of so many bytes, to try placements with.
    fn on_devices<T>(
        model: &str,
        sizes: &[u64],
        body: impl FnOnce(&Planner<'_>, &ModelParams, ContextSettings) -> T,
    ) -> T {
        let path = mullama_testkit::fixture(model);
        let header = GgufHeader::read(&path).unwrap();
        let specs: Vec<_> = sizes.iter().map(|&size| DeviceSpec::new(size)).collect();
        let devices = spec::simulate(&specs).unwrap();
        let params = ModelParams::default();
        let budgets = Budgets::of(&params, &devices).unwrap();
        let context = ContextParams::default().with_n_ctx(1024).with_n_ubatch(128);
        let (planner, settings) =
            header_planner(&path, &header, &params, &context, &devices, budgets).unwrap();
        body(&planner, &params, settings)
    }

    /// The most layers that fit, found by trying every number of layers with every way to share them.
    fn best_by_trying(
        planner: &Planner<'_>,
        params: &ModelParams,
        settings: &ContextSettings,
    ) -> u32 {
        let fits = |layers: u32| {
            let some = params.clone().with_n_gpu_layers(GpuLayers::Count(layers));
            if planner.budgets.gpus.len() == 1 {
                return planner.fits(&some, settings).unwrap();
            }
            (0..=layers).any(|first| {
                let split = [first as f32, (layers - first) as f32];
                layers == 0
                    || planner.fits(&some.clone().with_tensor_split(split), settings).unwrap()
            })
        };
        (0..=planner.all_layers).rev().find(|&layers| fits(layers)).unwrap_or(0)
    }

    #[test]
    fn auto_fits_and_is_at_most_one_layer_below_the_best() {
        println!("model   devices (MiB)      auto  best");
        for (model, sizes) in
            [("small", [64_u64, 24, 16, 12, 8, 2]), ("large", [400, 120, 60, 40, 20, 4])]
        {
            for size in sizes {
                for sizes in [vec![size << 20], vec![size << 20, (size << 20) * 2 / 3]] {
                    let (auto, best) = on_devices(model, &sizes, |planner, params, settings| {
                        let (placed, chosen) = planner.settle(params, settings.clone()).unwrap();
                        assert_eq!(chosen.n_ctx, settings.n_ctx, "the context was asked for");
                        let placement = planner.dry_run(&placed, &chosen).unwrap();
                        assert!(planner.budgets.fit(&placement, true), "{placement:?}");
                        let auto: u32 = placement
                            .devices
                            .iter()
                            .filter(|share| share.name != crate::device::HOST)
                            .map(|share| share.layers)
                            .sum();
                        (auto, best_by_trying(planner, params, &settings))
                    });
                    let shown: Vec<_> = sizes.iter().map(|size| (size >> 20).to_string()).collect();
                    println!("{model:<7} {:<18} {auto:>4}  {best:>4}", shown.join(" + "));
                    assert!(auto + 1 >= best, "{model} on {sizes:?}: {auto}, and {best} fit");
                    assert!(auto <= best);
                }
            }
        }
    }

    #[test]
    fn experts_go_to_the_cpu_before_whole_layers() {
        let needed = |params: ModelParams| {
            on_devices("moe", &[1 << 30], |planner, _, settings| {
                planner.dry_run(&params, &settings).unwrap().devices[0].total()
            })
        };
        let all = ModelParams::default().with_n_gpu_layers(-1);
        let (whole, without) = (needed(all.clone()), needed(all.with_cpu_moe(true)));
        assert!(without < whole);
        // Room for something between, with the tenth that is kept free.
        let size = u64::midpoint(whole, without) * 10 / 9;
        on_devices("moe", &[size], |planner, params, settings| {
            let (placed, _) = planner.settle(params, settings).unwrap();
            assert_eq!(placed.n_gpu_layers, Some(GpuLayers::All));
            assert!(placed.n_cpu_moe.is_some_and(|count| (1..=4).contains(&count)), "{placed:?}");
        });
    }

    #[test]
    fn an_open_context_is_made_smaller_and_one_that_was_asked_for_is_not() {
        let plan_with = |context: ContextParams, host: u64| {
            let options = PlanOptions::default()
                .with_context(context)
                .with_devices([])
                .with_host_memory(host);
            plan(mullama_testkit::fixture("small"), &options).unwrap()
        };
        let open = plan_with(ContextParams::default(), 1 << 40);
        assert_eq!((open.fits, open.context_size), (true, 4096));
        let host = open.host.compute + open.host.kv / 2;
        let small = plan_with(ContextParams::default(), host);
        assert!(small.fits && (512..4096).contains(&small.context_size), "{small:?}");
        let asked = plan_with(ContextParams::default().with_n_ctx(4096), host);
        assert!(!asked.fits);
        let refusal = asked.refusal.unwrap();
        assert!(refusal.contains("CPU needs") && refusal.contains("context_size="), "{refusal}");
    }
}
