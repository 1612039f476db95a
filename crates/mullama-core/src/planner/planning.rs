//! The public functions [`plan`] and [`sweep`].

use std::sync::RwLockReadGuard;

use super::alternatives::{self, Sweep};
use super::model::PlanModel;
use super::options::PlanOptions;
use super::plan::Plan;
use super::source::PlanSource;
use crate::{Result, runtime};

/// Starts the parts of the engine that a plan needs. If the devices are described, GPU backends are not loaded.
fn start(options: &PlanOptions) -> Result<Option<RwLockReadGuard<'static, ()>>> {
    if options.are_devices_described() {
        let guard = runtime::without_gpus();
        runtime::check_cpu()?;
        return Ok(Some(guard));
    }
    runtime::require_cpu()?;
    Ok(None)
}

/// Plans where a model would be placed, without reading its weights. The source may be a partially downloaded file with
/// the length of the complete file, or the [`Shape`] of a model that does not exist.
///
/// All sizes come from dry runs of the engine's own loader.
///
/// [`Shape`]: crate::Shape
pub fn plan(source: impl Into<PlanSource>, options: &PlanOptions) -> Result<Plan> {
    let _engine = start(options)?;
    let (file, options) = source.into().find(options)?;
    let model = PlanModel::read(&file, &options)?;
    let with_alternatives = options.hardware.settled_alternatives();
    let (mut plan, notes) = model.plan_with_notes(&options, with_alternatives)?;
    for note in notes {
        log::warn!("{note}");
    }
    let is_whole = plan.fits && plan.n_gpu_layers >= plan.n_layers && plan.n_cpu_moe == 0;
    if with_alternatives && !is_whole {
        plan.alternatives = alternatives::find(&model, &plan, &options)?;
    }
    Ok(plan.rated())
}

/// Plans a model for every value of one setting. Returns the values with their plans.
pub fn sweep(
    source: impl Into<PlanSource>,
    options: &PlanOptions,
    what: Sweep,
) -> Result<Vec<(String, Plan)>> {
    let _engine = start(options)?;
    let (file, options) = source.into().find(options)?;
    alternatives::sweep(&PlanModel::read(&file, &options)?, &options, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ContextParams;

    #[test]
    fn only_default_context_sizes_are_reduced_to_fit() {
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
