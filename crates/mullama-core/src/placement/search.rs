//! The search for a placement: what was asked for is checked, what was left open is chosen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::budget::{Budgets, are_shares_open};
use super::cache::Cache;
use super::dry_run::dry_run;
use super::header::{number, vocabulary};
use super::largest::{NONE, largest};
use crate::device::DeviceSet;
use crate::engine::{ContextSettings, Placement, Weights};
use crate::options::{ContextParams, GpuLayers, ModelParams};
use crate::runtime::{self, log};
use crate::{Error, ErrorKind, Result};
use mullama_base::folders::cache_dir;
use mullama_gguf::GgufHeader;

/// The smallest context that `auto` makes smaller before it leaves layers to the CPU.
const SMALLEST_CONTEXT_FOR_GPU: u32 = 4096;

/// The smallest context that is chosen without being asked for.
const SMALLEST_CONTEXT: u32 = 512;

/// Sizes of contexts that are tried are multiples of this, as the engine makes them.
const CONTEXT_STEP: u32 = 256;

/// The tensors that are tables of rows to look up, which stay in the machine's own memory.
const LOOKED_UP: [&str; 2] = ["token_embd.weight", "position_embd.weight"];

/// A planner for a model, and the settings to start from.
pub(crate) fn search_for<'a>(
    path: &'a Path,
    header: &GgufHeader,
    params: &ModelParams,
    context: &ContextParams,
    devices: &'a DeviceSet,
    budgets: Budgets,
) -> Result<(PlacementSearch<'a>, ContextSettings)> {
    let trained = number(header, params, "context_length").unwrap_or(0);
    let settings = ContextSettings::resolve(context, u32::try_from(trained).unwrap_or(u32::MAX))?;
    let all_layers = number(header, params, "block_count").unwrap_or(0).max(0) as u32 + 1;
    let is_mixture = number(header, params, "expert_count").unwrap_or(0) > 0;
    let tables = header.tensors.iter().filter(|tensor| LOOKED_UP.contains(&tensor.name.as_str()));
    // A file that was made to plan with says nothing to the user.
    let name = header.text("general.name").filter(|_| path.starts_with(cache_dir()));
    let search = PlacementSearch {
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
        last_weights: RefCell::default(),
    };
    Ok((search, settings))
}

/// Says that there is no GPU where one was asked for, and why.
fn warn_of_no_gpu(path: &Path) {
    let failed = runtime::modules().iter().filter_map(|module| {
        let reason = module.outcome.as_ref().err()?;
        Some(format!("; {}: {reason}", module.path.display()))
    });
    let reasons: String = failed.collect();
    ::log::warn!("there is no GPU that can be used: {} runs on the CPU{reasons}", path.display());
}

pub(crate) struct PlacementSearch<'a> {
    path: &'a Path,
    /// What messages call the model.
    name: String,
    pub devices: &'a DeviceSet,
    pub budgets: Budgets,
    /// Layers of the model, the output layer included.
    pub all_layers: u32,
    is_mixture: bool,
    /// Bytes of the tables in which the engine only looks rows up.
    looked_up: u64,
    /// Metadata that have the engine count the vocabulary instead of reading it, which takes most of the time
    /// that it takes to load metadata, and changes nothing of them.
    vocabulary: BTreeMap<String, Value>,
    context_is_open: bool,
    cache: Cache,
    /// The weights of the last dry run, and what they were made of: many questions in a row differ
    /// only in their contexts.
    last_weights: RefCell<Option<(String, Arc<Weights>)>>,
}

impl PlacementSearch<'_> {
    pub fn decide(
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
    pub fn largest_context_on_gpus(
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
    pub fn dry_run(&self, params: &ModelParams, settings: &ContextSettings) -> Result<Placement> {
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
            log::as_trace(|| dry_run(self.weights_of(made_of, params)?, settings, looked_up))?;
        self.cache.put(&question, &placement);
        Ok(placement)
    }

    /// Weights of which only the metadata are loaded: those of the last question, where it was about the same.
    fn weights_of(&self, made_of: String, params: &ModelParams) -> Result<Arc<Weights>> {
        let mut last = self.last_weights.borrow_mut();
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
        let weights = Arc::new(Weights::load_metadata_only(self.path, &params, self.devices)?);
        *last = Some((made_of, Arc::clone(&weights)));
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{SimulatedGpu, simulate};

    /// Everything about a model on so many devices of so many bytes, to try placements with.
    fn on_devices<T>(
        model: &str,
        sizes: &[u64],
        body: impl FnOnce(&PlacementSearch<'_>, &ModelParams, ContextSettings) -> T,
    ) -> T {
        let path = mullama_testkit::fixture(model);
        let header = GgufHeader::read(&path).unwrap();
        let gpu = |memory: &u64| SimulatedGpu {
            backend: "cuda".to_owned(),
            description: "a GPU".to_owned(),
            memory: *memory,
        };
        let devices = simulate(&sizes.iter().map(gpu).collect::<Vec<_>>()).unwrap();
        let params = ModelParams::default();
        let budgets = Budgets::of(&params, &devices).unwrap();
        let context = ContextParams::default().with_n_ctx(1024).with_n_ubatch(128);
        let (search, settings) =
            search_for(&path, &header, &params, &context, &devices, budgets).unwrap();
        body(&search, &params, settings)
    }

    /// The most layers that fit, found by trying every number of layers with every way to share them.
    fn best_by_trying(
        search: &PlacementSearch<'_>,
        params: &ModelParams,
        settings: &ContextSettings,
    ) -> u32 {
        let fits = |layers: u32| {
            let some = params.clone().with_n_gpu_layers(GpuLayers::Count(layers));
            if search.budgets.gpus.len() == 1 {
                return search.fits(&some, settings).unwrap();
            }
            (0..=layers).any(|first| {
                let split = [first as f32, (layers - first) as f32];
                layers == 0
                    || search.fits(&some.clone().with_tensor_split(split), settings).unwrap()
            })
        };
        (0..=search.all_layers).rev().find(|&layers| fits(layers)).unwrap_or(0)
    }

    #[test]
    fn auto_fits_and_is_at_most_one_layer_below_the_best() {
        println!("model   devices (MiB)      auto  best");
        for (model, sizes) in
            [("small", [64_u64, 24, 16, 12, 8, 2]), ("large", [400, 120, 60, 40, 20, 4])]
        {
            for size in sizes {
                for sizes in [vec![size << 20], vec![size << 20, (size << 20) * 2 / 3]] {
                    let (auto, best) = on_devices(model, &sizes, |search, params, settings| {
                        let (placed, chosen) = search.decide(params, settings.clone()).unwrap();
                        assert_eq!(chosen.n_ctx, settings.n_ctx, "the context was asked for");
                        let placement = search.dry_run(&placed, &chosen).unwrap();
                        assert!(search.budgets.fit(&placement, true), "{placement:?}");
                        let auto: u32 = placement
                            .devices
                            .iter()
                            .filter(|share| share.name != crate::device::HOST)
                            .map(|share| share.layers)
                            .sum();
                        (auto, best_by_trying(search, params, &settings))
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
            on_devices("moe", &[1 << 30], |search, _, settings| {
                search.dry_run(&params, &settings).unwrap().devices[0].total()
            })
        };
        let all = ModelParams::default().with_n_gpu_layers(-1);
        let (whole, without) = (needed(all.clone()), needed(all.with_cpu_moe(true)));
        assert!(without < whole);
        // Room for something between, with the tenth that is kept free.
        let size = u64::midpoint(whole, without) * 10 / 9;
        on_devices("moe", &[size], |search, params, settings| {
            let (placed, _) = search.decide(params, settings).unwrap();
            assert_eq!(placed.n_gpu_layers, Some(GpuLayers::All));
            assert!(placed.n_cpu_moe.is_some_and(|count| (1..=4).contains(&count)), "{placed:?}");
        });
    }
}
