//! Planning one configuration of a model.

use serde_json::{Map, Value};

use super::environment::PlanEnvironment;
use super::options::PlanOptions;
use super::plan::{Plan, PlannedDevice, PlannedModel};
use super::source::{HeaderFile, PlanSource};
use super::speed;
use crate::device::Handle;
use crate::engine::{HostExperts, Placement, check_adapters};
use crate::options::{KvCacheTypes, ModelParams, OptionSet as _};
use crate::placement::{
    Budget, Budgets, PlacedDraft, PlacedProjector, PlacementDecision, PlacementRequest,
    PlacementSearch, number,
};
use crate::source::{DraftFile, preflight};
use crate::{ErrorKind, Result};
use mullama_base::units;
use mullama_gguf::GgufHeader;

/// A model to plan, with its header.
pub(super) struct PlanModel<'a> {
    file: &'a HeaderFile,
    header: GgufHeader,
    draft: Option<DraftFile>,
    projector: Option<PlacedProjector>,
}

impl<'a> PlanModel<'a> {
    pub fn read(file: &'a HeaderFile, options: &PlanOptions) -> Result<Self> {
        Self::check(file, options).map_err(|error| error.naming_file(&file.path, &file.name))
    }

    fn check(file: &'a HeaderFile, options: &PlanOptions) -> Result<Self> {
        let path = &file.path;
        let header = GgufHeader::read_split(path)?;
        preflight::check_options(&header, &options.model)?;
        preflight::check(path, &header, false, options.model.metadata_overrides.as_ref())?;
        // They take no memory worth planning, but loading refuses what is not an adapter.
        options.model.lora.as_ref().map_or(Ok(()), check_adapters)?;
        let draft =
            options.model.draft_model.as_deref().filter(|&source| source != DraftFile::NONE);
        let find = |source: &str| {
            let (draft, _) = PlanSource::from(source).find(&PlanOptions::default())?;
            DraftFile::at(&draft.path, &draft.name, path)
        };
        let draft = draft.map(find).transpose()?;
        let asked = options.model.projector.as_deref();
        let projector = PlacedProjector::find(path, None, &header, asked)?;
        Ok(Self { file, header, draft, projector: projector.and_then(Result::ok) })
    }

    pub fn file(&self) -> &HeaderFile {
        self.file
    }

    pub fn header(&self) -> &GgufHeader {
        &self.header
    }

    /// Returns a plan without alternatives. `largest_context` also computes the largest context
    /// that fits on the GPUs.
    pub fn plan(&self, options: &PlanOptions, largest_context: bool) -> Result<Plan> {
        self.plan_with_notes(options, largest_context).map(|(plan, _)| plan.rated())
    }

    /// Like [`Self::plan`], and also returns notes for the user.
    pub fn plan_with_notes(
        &self,
        options: &PlanOptions,
        largest_context: bool,
    ) -> Result<(Plan, Vec<String>)> {
        let environment = PlanEnvironment::new(options)?;
        let PlanEnvironment { params, weights, budgets, .. } = &environment;
        let free = match &self.projector {
            Some(projector) => budgets.clone().reserve(&projector.placement),
            None => budgets.clone(),
        };
        let request =
            PlacementRequest::new(&self.header, params, weights.clone(), &options.context)?;
        let place = |file| {
            let (context, host) = (&request.asked.context, free.host.free);
            PlacedDraft::new(file, params, &weights.devices, context, host)
        };
        let (mut draft, no_draft) = match self.draft.as_ref().map(place).transpose() {
            Ok(draft) => (draft, None),
            Err(error) if error.kind() == ErrorKind::DoesNotFit => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let left = match &draft {
            Some(draft) => free.reserve(&draft.placement),
            None => free,
        };
        let search =
            PlacementSearch::new(&self.file.path, &self.file.name, &self.header, request, left);
        let (decision, refusal) = match no_draft.map_or_else(|| search.decide(), Err) {
            Ok(decision) => (decision, None),
            Err(error) if error.kind() == ErrorKind::DoesNotFit => {
                let error = draft.iter().fold(error, |error, draft| draft.explain(error));
                let explain = |error, projector: &PlacedProjector| projector.explain(error);
                let error = self.projector.iter().fold(error, explain);
                let refused = search.refused();
                let refused = refused.unwrap_or_else(|| search.request.asked.clone());
                (refused, Some(error.render(options.naming).report()))
            }
            Err(error) => return Err(error),
        };
        if let Some(draft) = &mut draft {
            draft.set_n_ctx(decision.context.n_ctx)?;
        }
        let mut placement = search.dry_run(&decision)?;
        if let Some(draft) = &draft {
            placement = placement.with_draft(&draft.placement);
        }
        if let Some(projector) = &self.projector {
            placement = placement.and(projector.placement.clone());
        }
        let placed = PlacedModel { placement: &placement, budgets, decision: &decision };
        let mut plan = describe(&search, &self.header, params, &placed, refusal);
        plan.options = loading_options(options, &plan, environment.are_local);
        plan.predicted = speed::predict(&plan, &self.header, &environment.rates);
        if largest_context {
            let trained = number(&self.header, &weights.metadata, "context_length").unwrap_or(0);
            let most = (trained as u32).max(search.request.asked.context.n_ctx);
            plan.max_gpu_context_size = search.largest_context_on_gpus(most)?;
        }
        Ok((plan, search.notes()))
    }
}

/// The placement decision and its dry run.
struct PlacedModel<'a> {
    decision: &'a PlacementDecision,
    placement: &'a Placement,
    /// Free memory before loading.
    budgets: &'a Budgets,
}

fn describe(
    search: &PlacementSearch<'_>,
    header: &GgufHeader,
    params: &ModelParams,
    placed: &PlacedModel<'_>,
    refusal: Option<String>,
) -> Plan {
    let PlacedModel { decision, placement, budgets } = placed;
    let PlacementDecision { weights, context } = decision;
    let share = |budget: &Budget| {
        let share = placement.devices.iter().find(|share| share.name == budget.name);
        let share = share.cloned().unwrap_or_default();
        PlannedDevice {
            name: budget.name.clone(),
            description: budget.device.map(Handle::description).unwrap_or_default(),
            layers: share.layers,
            weights: share.weights,
            kv: share.kv,
            compute: share.compute,
            draft: share.draft,
            projector: share.projector,
            free: budget.free,
            margin: budget.margin,
        }
    };
    let devices: Vec<_> = budgets
        .gpus
        .iter()
        .filter(|gpu| placement.devices.iter().any(|share| share.name == gpu.name))
        .map(share)
        .collect();
    let host = share(&budgets.host);
    let on_gpus = search.all_layers.saturating_sub(host.layers);
    let is_used = |gpu: &&Budget| devices.iter().any(|used| used.name == gpu.name);
    let unused = budgets.gpus.iter().filter(|gpu| !is_used(gpu));
    let advice = unused.filter_map(|gpu| {
        let reason = if refusal.is_some() {
            "with it, the model does not fit either".to_owned()
        } else if on_gpus >= search.all_layers {
            "the model fits without it".to_owned()
        } else if search.request.asked.weights.n_gpu_layers == Some(0) {
            return None;
        } else {
            format!("{} are too little for a layer", units::memory(gpu.free))
        };
        Some(format!("{} is not used: {reason}.", gpu.name))
    });
    Plan {
        advice: advice.collect(),
        model: PlannedModel {
            name: header.text("general.name").map(str::to_owned),
            architecture: header.text("general.architecture").unwrap_or_default().to_owned(),
            size: header.tensors.iter().map(|tensor| tensor.size).sum(),
        },
        fits: refusal.is_none(),
        refusal,
        n_gpu_layers: weights.n_gpu_layers.map_or(on_gpus, |layers| layers.min(search.all_layers)),
        n_layers: search.all_layers,
        context_size: context.n_ctx,
        max_gpu_context_size: None,
        kv_cache_type: KvCacheTypes { keys: context.type_k, values: context.type_v },
        n_cpu_moe: match weights.host_experts {
            HostExperts::All => search.all_layers - 1,
            HostExperts::First(layers) => layers,
        },
        tensor_split: weights.tensor_split.clone(),
        tensor_overrides: params.tensor_overrides.clone(),
        pages: host.total() > host.free,
        devices,
        host,
        predicted: None,
        verdict: None,
        alternatives: Vec::new(),
        options: Map::new(),
    }
}

/// The options as requested, with automatically chosen values filled in.
fn loading_options(options: &PlanOptions, plan: &Plan, are_local: bool) -> Map<String, Value> {
    let mut given: Map<_, _> =
        options.model.given().into_iter().chain(options.context.given()).collect();
    let mut set = |name: &str, value: Value| given.insert(name.to_owned(), value);
    set("n_gpu_layers", plan.n_gpu_layers.into());
    set("context_size", plan.context_size.into());
    if plan.n_cpu_moe > 0 && options.model.cpu_moe != Some(true) {
        set("n_cpu_moe", plan.n_cpu_moe.into());
    }
    let is_named = are_local && plan.n_gpu_layers > 0;
    if let Some(split) = &plan.tensor_split {
        // The plan's GPUs begin with the main GPU; those of the machine have an order of their own.
        let main = options.model.main_gpu.filter(|_| !is_named).unwrap_or(0) as usize;
        let mut split = split.clone();
        split.resize(split.len().max(main + 1), 0.0);
        split[..=main].rotate_left(1);
        set("tensor_split", split.into_iter().map(Value::from).collect());
    }
    if is_named {
        if options.model.main_gpu.is_some() {
            set("main_gpu", 0.into());
        }
        let names = plan.devices.iter().map(|device| Value::from(device.name.as_str()));
        set("devices", names.collect());
    }
    given
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ContextParams;
    use crate::planner::{DeviceSpec, plan};

    #[test]
    fn gpu_options_use_the_order_of_devices() {
        let path = mullama_testkit::fixture("small");
        let all = |bytes: u64, params: ModelParams| {
            let device = || DeviceSpec::new(bytes);
            let options = PlanOptions::default()
                .with_devices([device(), device(), device()])
                .with_context(ContextParams::default().with_n_ctx(512).with_n_ubatch(64))
                .with_model(params.with_n_gpu_layers(-1).with_main_gpu(2));
            plan(&path, &options).unwrap()
        };
        let names =
            |plan: &Plan| plan.devices.iter().map(|gpu| gpu.name.clone()).collect::<Vec<_>>();
        let one = all(1 << 30, ModelParams::default());
        assert_eq!(names(&one), ["CUDA2"]);
        assert_eq!(one.options.get("tensor_split"), None);
        assert_eq!(one.options["main_gpu"], 2);

        let shares = all(1 << 30, ModelParams::default().with_tensor_split([3.0, 1.0, 2.0]));
        assert_eq!(names(&shares), ["CUDA2", "CUDA0", "CUDA1"]);
        assert_eq!(shares.tensor_split, Some(vec![2.0, 3.0, 1.0]));
        assert_eq!(shares.options["tensor_split"], serde_json::json!([3.0, 1.0, 2.0]));

        // What does not fit on the main GPU goes to the next.
        let two = all(one.devices[0].total() * 8 / 10, ModelParams::default());
        assert_eq!(names(&two), ["CUDA2", "CUDA0"], "{two}");
        assert!(two.devices[0].layers > two.devices[1].layers, "{two}");
        let planned = two.tensor_split.clone().unwrap();
        assert_eq!(two.options["tensor_split"], serde_json::json!([planned[1], 0.0, planned[0]]));
    }
}
