//! The search for a placement: checks explicitly requested settings and chooses those that are open.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::budget::{Budget, Budgets};
use super::cache::{Cache, hash_of};
use super::decision::PlacementDecision;
use super::dry_run::dry_run;
use super::header::{number, vocabulary};
use super::largest::{NONE, largest};
use super::request::PlacementRequest;
use crate::engine::{HostExperts, Placement, WeightSettings, Weights};
use crate::runtime::{self, log};
use crate::{Error, ErrorKind, Result};
use mullama_base::Text;
use mullama_gguf::{GgufHeader, TensorInfo};

/// The context size in tokens below which `auto` moves layers to the CPU instead of reducing the context further.
const SMALLEST_CONTEXT_FOR_GPU: u32 = 4096;

/// The smallest context size in tokens that is chosen automatically.
const SMALLEST_CONTEXT: u32 = 512;

/// Context sizes are multiples of this, since the engine rounds them up to one.
const CONTEXT_STEP: u32 = 256;

/// Lookup tables, which stay in system RAM.
const LOOKUP_TENSORS: [&str; 2] = ["token_embd.weight", "position_embd.weight"];

/// The message that GPU layers were requested but no GPU is available. The reasons why backend modules failed were logged
/// when they were loaded.
fn no_gpu(model: &str) -> String {
    let failed = runtime::modules().iter().filter(|module| module.outcome.is_err());
    let failed: Vec<_> = failed.map(|module| module.kind.as_str()).collect();
    let note = match failed.as_slice() {
        [] => String::new(),
        failed => format!("; backend modules that failed: {}", failed.join(", ")),
    };
    format!("there is no GPU that can be used: {model} runs on the CPU{note}")
}

/// The search for the placement of one model.
pub(crate) struct PlacementSearch<'a> {
    path: &'a Path,
    /// The name of the model in messages.
    name: &'a str,
    pub request: PlacementRequest,
    pub budgets: Budgets,
    /// Number of layers, including the output layer.
    pub all_layers: u32,
    is_mixture: bool,
    /// Size in bytes of the lookup tables, of which the engine only reads single rows.
    lookup_table_bytes: u64,
    /// Metadata overrides that make the engine count the vocabulary instead of reading it. Reading it takes most of the
    /// time of loading metadata, and does not affect the placement.
    vocabulary: BTreeMap<String, Value>,
    cache: Cache,
    /// The weights of the last dry run, with the hash of their settings: consecutive dry runs often differ only in
    /// their contexts.
    last_weights: RefCell<Option<(u64, Arc<Weights>)>>,
    /// Notes for the user about deviations from the requested settings.
    notes: RefCell<Vec<String>>,
    /// The candidate of the last refusal.
    refused: RefCell<Option<PlacementDecision>>,
}

impl<'a> PlacementSearch<'a> {
    pub fn new(
        path: &'a Path,
        name: &'a str,
        header: &GgufHeader,
        request: PlacementRequest,
        budgets: Budgets,
    ) -> Self {
        let metadata = &request.asked.weights.metadata;
        let all_layers = number(header, metadata, "block_count").unwrap_or(0).max(0) as u32 + 1;
        let is_mixture = number(header, metadata, "expert_count").unwrap_or(0) > 0;
        let is_table = |tensor: &&TensorInfo| LOOKUP_TENSORS.contains(&tensor.name.as_str());
        let tables = header.tensors.iter().filter(is_table);
        Self {
            path,
            name,
            request,
            budgets,
            all_layers,
            is_mixture,
            lookup_table_bytes: tables.map(|tensor| tensor.size).sum(),
            vocabulary: vocabulary(header),
            cache: Cache::of(path),
            last_weights: RefCell::default(),
            notes: RefCell::default(),
            refused: RefCell::default(),
        }
    }

    /// Returns the requested settings, with open ones chosen.
    pub fn decide(&self) -> Result<PlacementDecision> {
        let PlacementRequest { asked, are_layers_open, is_main_gpu_first, split_note, .. } =
            &self.request;
        self.notes.borrow_mut().extend(split_note.clone());
        if self.budgets.gpus.is_empty() || asked.weights.n_gpu_layers == Some(0) {
            if !are_layers_open && asked.weights.n_gpu_layers != Some(0) {
                self.notes.borrow_mut().push(no_gpu(self.name));
            }
            return self.check(asked.clone().with_layers(Some(0)), false);
        }
        if *are_layers_open {
            return self.automatic();
        }
        if *is_main_gpu_first
            && let Some(whole) = self.on_fewest_gpus(asked, asked.weights.n_gpu_layers)?
        {
            return Ok(whole);
        }
        match self.check(asked.clone(), true) {
            Err(error) if error.kind() == ErrorKind::DoesNotFit && self.exceeds_model_layers() => {
                let fitting = self.automatic()?;
                self.notes
                    .borrow_mut()
                    .push(format!("{error}; placing as many layers on GPUs as fit"));
                Ok(fitting)
            }
            checked => checked,
        }
    }

    /// Notes for the user about deviations from the requested settings.
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }

    /// The settings that [`Self::decide`] refused.
    pub fn refused(&self) -> Option<PlacementDecision> {
        self.refused.borrow().clone()
    }

    /// Whether more layers are requested than the model has. As in llama.cpp, this means as many as fit, so a lack of
    /// memory is not an error. In contrast, -1 and the exact number require all layers.
    fn exceeds_model_layers(&self) -> bool {
        self.request.asked.weights.n_gpu_layers.is_some_and(|layers| layers > self.all_layers)
    }

    /// Checks that the memory that the candidate needs is free: with the requested layers on GPUs, or with all layers
    /// on the CPU. An open context is reduced if necessary.
    fn check(&self, candidate: PlacementDecision, on_gpus: bool) -> Result<PlacementDecision> {
        if self.budgets.fit(&self.dry_run(&candidate)?, false) {
            return Ok(candidate);
        }
        if self.request.is_context_open
            && let Some(smaller) = self.largest_context(&candidate, 0, false)?
            && smaller.context.n_ctx >= SMALLEST_CONTEXT
        {
            return Ok(smaller);
        }
        Err(self.refusal(&candidate, on_gpus)?)
    }

    /// The error for a candidate that does not fit: which devices lack memory, and which settings would fit.
    fn refusal(&self, candidate: &PlacementDecision, on_gpus: bool) -> Result<Error> {
        let needed = self.dry_run(candidate)?;
        let offer = |name, value: u32| Text::name(name).and(format!("={value} fits"));
        let mut offers = Vec::new();
        let mut context = Vec::new();
        let mut asked = format!("a context of {}", candidate.context.n_ctx);
        if on_gpus {
            let all = self.all_layers;
            let most = candidate.weights.n_gpu_layers.map_or(all, |layers| layers.min(all));
            let with = |layers| candidate.clone().with_layers(Some(layers));
            let best = largest(NONE, most, |layers| self.room(&with(layers), false))?;
            offers.push(offer("n_gpu_layers", best));
            context.push(("max_n_gpu_layers", best));
            asked = format!("{most} of {all} layers on GPUs and {asked}");
        }
        let smaller = self.largest_context(candidate, 0, false)?;
        let mut largest_n_ctx = smaller.map(|smaller| smaller.context.n_ctx);
        if self.request.are_layers_open {
            // The refused candidate is on the CPU; a larger context may fit on GPUs.
            let on_gpus = self.largest_context_on_gpus(candidate.context.n_ctx)?;
            largest_n_ctx = largest_n_ctx.max(on_gpus);
        }
        if let Some(n_ctx) = largest_n_ctx {
            offers.push(offer("context_size", n_ctx));
            context.push(("max_context_size", n_ctx));
        }
        let hint = offers.into_iter().reduce(|all, one| all.and("; ").and(one));
        *self.refused.borrow_mut() = Some(candidate.clone());
        let shortages = self.budgets.shortages(&needed).join("; ");
        let message = format!("{} with {asked} does not fit: {shortages}", self.name);
        let error = context
            .into_iter()
            .fold(Error::new(ErrorKind::DoesNotFit, message), |error, (key, value)| {
                error.with_context(key, value)
            });
        Ok(error
            .with_context("path", self.path.display())
            .with_context("devices", self.budgets.describe(&needed))
            .with_hint(hint.unwrap_or_else(|| "use a smaller model or quantisation".into())))
    }

    /// The best placement that fits: all layers on as few GPUs as possible; otherwise, with the experts of some layers
    /// of a mixture on the CPU; otherwise, as many layers as fit.
    fn automatic(&self) -> Result<PlacementDecision> {
        let PlacementRequest { asked, are_experts_open, is_context_open, .. } = &self.request;
        if let Some(whole) = self.on_fewest_gpus(asked, None)? {
            return Ok(whole);
        }
        if *is_context_open && asked.context.n_ctx > SMALLEST_CONTEXT_FOR_GPU {
            let smaller = asked.clone().with_n_ctx(SMALLEST_CONTEXT_FOR_GPU);
            if let Some(whole) = self.on_fewest_gpus(&smaller, None)? {
                let longest = whole.clone().with_n_ctx(asked.context.n_ctx);
                let largest = self.largest_context(&longest, SMALLEST_CONTEXT_FOR_GPU, true)?;
                return Ok(largest.unwrap_or(whole));
            }
        }

        let mut candidate = asked.clone();
        if self.is_mixture && *are_experts_open {
            let most = self.budgets.gpus.len();
            let blocks = self.all_layers - 1;
            let kept = |count: u32| {
                let experts = HostExperts::First(blocks - count);
                self.distribute_layers(&asked.clone().with_host_experts(experts), most, None)
            };
            if self.fits(&kept(0)?)? {
                let count = largest(NONE, blocks, |count| self.room_for_more(&kept(count)?))?;
                return kept(count);
            }
            candidate = candidate.with_host_experts(HostExperts::All);
        }
        self.most_layers_that_fit(&candidate)
    }

    /// Places the given number of layers (none means all) on as few GPUs as possible, which are filled in order. Returns
    /// none if not even all GPUs have room for them.
    fn on_fewest_gpus(
        &self,
        candidate: &PlacementDecision,
        layers: Option<u32>,
    ) -> Result<Option<PlacementDecision>> {
        let most = self.budgets.gpus.len();
        let fewest = if self.request.is_split_automatic { 1 } else { most };
        for devices in fewest..=most {
            let placed = self.distribute_layers(candidate, devices, layers)?;
            if self.fits(&placed)? {
                return Ok(Some(placed));
            }
        }
        Ok(None)
    }

    /// Places as many layers on the GPUs as fit.
    fn most_layers_that_fit(&self, candidate: &PlacementDecision) -> Result<PlacementDecision> {
        let devices = self.budgets.gpus.len();
        let room = |layers| {
            self.room_for_more(&self.distribute_layers(candidate, devices, Some(layers))?)
        };
        match largest(NONE, self.all_layers, room)? {
            0 => self.check(candidate.clone().with_layers(Some(0)), false),
            layers => self.distribute_layers(candidate, devices, Some(layers)),
        }
    }

    /// Places the given number of layers (none means all) on the first `devices` GPUs. If the shares are open, each GPU
    /// receives as many layers as fit, in order, and the last one receives the rest.
    fn distribute_layers(
        &self,
        candidate: &PlacementDecision,
        devices: usize,
        layers: Option<u32>,
    ) -> Result<PlacementDecision> {
        let mut candidate = candidate.clone().with_layers(layers);
        if !self.request.is_split_automatic {
            return Ok(candidate);
        }
        let gpus = &self.budgets.gpus[..devices];
        candidate.weights.gpus = gpus.iter().filter_map(|gpu| gpu.device).collect();
        if devices == 1 {
            return Ok(candidate);
        }
        let mut left = layers.map_or(self.all_layers, |layers| layers.min(self.all_layers));
        let mut counts: Vec<f32> = Vec::with_capacity(devices);
        for device in 0..devices - 1 {
            let with = |count: u32| {
                let mut counts = counts.clone();
                counts.push(count as f32);
                counts.push((left - count) as f32);
                counts.resize(devices, 0.0);
                candidate.clone().with_split(counts)
            };
            let room = |count| {
                // The engine does not accept shares that are all zero. They do not occur: `room` is not called if no
                // layers are left.
                Ok(self.budgets.room_on_gpu(device, &self.dry_run(&with(count))?))
            };
            let count = largest(NONE, left, room)?;
            counts.push(count as f32);
            left -= count;
        }
        counts.push(left as f32);
        if counts.iter().all(|&count| count == 0.0) {
            return Ok(candidate);
        }
        Ok(candidate.with_split(counts))
    }

    fn fits(&self, candidate: &PlacementDecision) -> Result<bool> {
        Ok(self.room(candidate, true)? >= 0.0)
    }

    /// Like [`Self::room`], for GPUs that are filled one after the other: if all parts fit, returns the remaining room
    /// of the last GPU.
    fn room_for_more(&self, candidate: &PlacementDecision) -> Result<f64> {
        let placed = self.dry_run(candidate)?;
        let room = self.budgets.room(&placed, true);
        let last = self.budgets.gpus.len() - 1;
        Ok(if room < 0.0 { room } else { self.budgets.room_on_gpu(last, &placed) })
    }

    /// The remaining room of the device with the least room ([`Budgets::room`]).
    fn room(&self, candidate: &PlacementDecision, keep_margin: bool) -> Result<f64> {
        Ok(self.budgets.room(&self.dry_run(candidate)?, keep_margin))
    }

    /// Returns the candidate with the largest context that fits, at most its own. The search starts at a context of
    /// `from` tokens. Returns none if not even the smallest context fits.
    fn largest_context(
        &self,
        candidate: &PlacementDecision,
        from: u32,
        keep_margin: bool,
    ) -> Result<Option<PlacementDecision>> {
        let longest = candidate.context.n_ctx;
        let with =
            |steps: u32| candidate.clone().with_n_ctx((steps.max(1) * CONTEXT_STEP).min(longest));
        let room = |steps| self.room(&with(steps), keep_margin);
        let most = longest.div_ceil(CONTEXT_STEP);
        for from in [from / CONTEXT_STEP, 0] {
            let left = room(from)?;
            if left >= 0.0 {
                return Ok(Some(with(largest((from, left), most, room)?)));
            }
        }
        Ok(None)
    }

    /// The largest context size up to a limit with which all layers are on GPUs, split by their
    /// free memory; none if there is no such size.
    pub fn largest_context_on_gpus(&self, most: u32) -> Result<Option<u32>> {
        let asked = &self.request.asked;
        let least = asked.context.n_ctx;
        if self.budgets.gpus.is_empty() || most <= least.min(CONTEXT_STEP) {
            return Ok(None);
        }
        // If all layers were requested, a dry run with this setting is already cached.
        let layers = asked.weights.n_gpu_layers.filter(|&layers| layers >= self.all_layers);
        let longest = asked.clone().with_layers(layers).with_n_ctx(most);
        let largest = self.largest_context(&longest, least.min(most), true)?;
        Ok(largest.map(|decision| decision.context.n_ctx))
    }

    /// Returns the memory that each device would need. Results are cached.
    pub fn dry_run(&self, candidate: &PlacementDecision) -> Result<Placement> {
        let weights = &candidate.weights;
        // Without explicit shares, layers are split by the free memory of the devices.
        let by_memory = weights.tensor_split.is_none() && weights.gpus.len() > 1;
        let is_used = |gpu: &&Budget| gpu.device.is_some_and(|it| weights.gpus.contains(&it));
        let gpus: Vec<_> = self
            .budgets
            .gpus
            .iter()
            .filter(is_used)
            .map(|gpu| (&gpu.identity, if by_memory { gpu.free >> 26 } else { 0 }))
            .collect();
        let made_of = hash_of(&(weights, gpus));
        let question = hash_of(&(made_of, &candidate.context));
        if let Some(placement) = self.cache.get(question) {
            return Ok(placement);
        }
        // A table may also be the output matrix, which is on a GPU unless it is overridden.
        let lookup_table_bytes = if weights.has_overrides() { 0 } else { self.lookup_table_bytes };
        let placement = log::log_as_trace(|| {
            dry_run(self.weights_of(made_of, weights)?, &candidate.context, lookup_table_bytes)
        })?;
        self.cache.put(question, &placement);
        Ok(placement)
    }

    /// Returns weights with metadata only. Those of the last dry run are reused if their settings are the same.
    fn weights_of(&self, made_of: u64, settings: &WeightSettings) -> Result<Arc<Weights>> {
        let mut last = self.last_weights.borrow_mut();
        if let Some((of, weights)) = &*last
            && *of == made_of
        {
            return Ok(Arc::clone(weights));
        }
        // Free the old ones first.
        *last = None;
        let mut settings = settings.clone();
        for (key, value) in &self.vocabulary {
            settings.metadata.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let weights = Arc::new(Weights::load_metadata_only(self.path, &settings)?);
        *last = Some((made_of, Arc::clone(&weights)));
        Ok(weights)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{SimulatedGpu, simulate};
    use crate::options::{ContextParams, ModelParams};
    use crate::placement::is_device_order_automatic;

    /// Runs a test on a search for a model on simulated devices of the given sizes in bytes.
    fn on_devices<T>(
        model: &str,
        sizes: &[u64],
        body: impl FnOnce(&mut PlacementSearch<'_>) -> T,
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
        let weights = WeightSettings::resolve(&params, &devices).unwrap();
        let budgets = Budgets::of(&weights, is_device_order_automatic(&params)).unwrap();
        let context = ContextParams::default().with_n_ctx(1024).with_n_ubatch(128);
        let request = PlacementRequest::new(&header, &params, weights, &context).unwrap();
        body(&mut PlacementSearch::new(&path, model, &header, request, budgets))
    }

    /// Number of layers that fit, found by brute force over all numbers of layers and all ways to split them.
    fn best_by_trying(search: &PlacementSearch<'_>) -> u32 {
        let fits = |layers: u32| {
            let some = search.request.asked.clone().with_layers(Some(layers));
            if search.budgets.gpus.len() == 1 {
                return search.fits(&some).unwrap();
            }
            (0..=layers).any(|first| {
                let split = vec![first as f32, (layers - first) as f32];
                layers == 0 || search.fits(&some.clone().with_split(split)).unwrap()
            })
        };
        (0..=search.all_layers).rev().find(|&layers| fits(layers)).unwrap_or(0)
    }

    #[test]
    fn auto_fits_within_one_layer_of_the_optimum() {
        println!("model   devices (MiB)      auto  best");
        for (model, sizes) in
            [("small", [64_u64, 24, 16, 12, 8, 2]), ("large", [400, 120, 60, 40, 20, 4])]
        {
            for size in sizes {
                for sizes in [vec![size << 20], vec![size << 20, (size << 20) * 2 / 3]] {
                    let (auto, best) = on_devices(model, &sizes, |search| {
                        let decision = search.decide().unwrap();
                        let n_ctx = search.request.asked.context.n_ctx;
                        assert_eq!(decision.context.n_ctx, n_ctx, "the context was asked for");
                        let placement = search.dry_run(&decision).unwrap();
                        assert!(search.budgets.fit(&placement, true), "{placement:?}");
                        let auto: u32 = placement
                            .devices
                            .iter()
                            .filter(|share| share.name != crate::device::HOST)
                            .map(|share| share.layers)
                            .sum();
                        (auto, best_by_trying(search))
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
    fn excess_layer_counts_offload_what_fits() {
        let asked = |search: &mut PlacementSearch<'_>, layers: Option<u32>| {
            search.request.are_layers_open = false;
            search.request.asked.weights.n_gpu_layers = layers;
            search.decide()
        };
        let whole = on_devices("small", &[1 << 30], |search| {
            let decision = asked(search, Some(999)).unwrap();
            assert_eq!(decision.weights.n_gpu_layers, Some(999));
            search.dry_run(&decision).unwrap().devices[0].total()
        });
        on_devices("small", &[whole / 2], |search| {
            search.request.is_context_open = false;
            let all = search.all_layers;
            for exact in [None, Some(all)] {
                let error = asked(search, exact).map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DoesNotFit, "{exact:?}");
            }
            assert!(search.notes().is_empty());
            let fitting = asked(search, Some(all + 1)).unwrap();
            let [note] = &search.notes()[..] else { panic!("{:?}", search.notes()) };
            assert!(note.contains("as many layers on GPUs as fit"), "{note}");
            let layers = fitting.weights.n_gpu_layers.unwrap();
            assert!((1..all).contains(&layers), "{layers} of {all}");
            assert!(search.budgets.fit(&search.dry_run(&fitting).unwrap(), true));
        });
    }

    #[test]
    fn experts_move_to_the_cpu_before_whole_layers() {
        let needed = |experts: HostExperts| {
            on_devices("moe", &[1 << 30], |search| {
                let all = search.request.asked.clone().with_host_experts(experts);
                search.dry_run(&all).unwrap().devices[0].total()
            })
        };
        let (whole, without) = (needed(HostExperts::First(0)), needed(HostExperts::All));
        assert!(without < whole);
        // A size between the two, plus the tenth that stays free.
        let size = u64::midpoint(whole, without) * 10 / 9;
        on_devices("moe", &[size], |search| {
            let weights = search.decide().unwrap().weights;
            assert_eq!(weights.n_gpu_layers, None);
            let HostExperts::First(count) = weights.host_experts else { panic!("all experts") };
            assert!((1..=4).contains(&count), "{count}");
        });
    }
}
