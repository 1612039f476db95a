//! Alternatives to a plan: other settings of the same model and other quantisations of it, planned in the same way.

use super::model::PlanModel;
use super::options::PlanOptions;
use super::plan::{Alternative, Plan};
use super::shape::{file_type, requantized};
use super::source::HeaderFile;
use crate::options::{GpuLayers, KvCacheType, KvCacheTypes};
use crate::{ErrorKind, Result};
use mullama_gguf::GgufHeader;

/// The quantisations that are considered, from large to small.
const QUANTISATIONS: [&str; 9] =
    ["F16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K", "IQ2_XXS"];

/// Number of quantisations above and below the model's own that are tried.
const NEIGHBOURS: usize = 2;

impl Alternative {
    fn of(change: String, plan: &Plan) -> Self {
        Self {
            change,
            fits: plan.fits,
            n_gpu_layers: plan.n_gpu_layers,
            context_size: plan.context_size,
            size: plan.model.size,
            decode_tps: plan.predicted.as_ref().map(|predicted| predicted.decode_tps),
            options: plan.options.clone(),
        }
    }
}

/// The settings to try instead, with a name for each change.
fn settings(plan: &Plan, options: &PlanOptions) -> Vec<(String, PlanOptions)> {
    let mut changes = Vec::new();
    let mut change = |what: String, with: &dyn Fn(&mut PlanOptions)| {
        let mut other = options.clone();
        with(&mut other);
        changes.push((what, other));
    };
    if !plan.fits {
        if options.model.n_gpu_layers.is_some() || options.model.tensor_split.is_some() {
            change("n_gpu_layers auto".to_owned(), &|other| {
                other.model.n_gpu_layers = None;
                other.model.tensor_split = None;
                other.model.tensor_overrides = None;
            });
        }
        if options.context.n_ctx.is_some() {
            change("context_size auto".to_owned(), &|other| other.context.n_ctx = None);
        }
    }
    if plan.fits && plan.n_gpu_layers > 0 {
        // Shows whether partial offloading is worth it.
        change("n_gpu_layers 0".to_owned(), &|other| {
            other.model.n_gpu_layers = Some(GpuLayers::Count(0));
            other.model.tensor_split = None;
        });
    }
    if plan.kv_cache_type == KvCacheTypes::default() {
        change("kv_cache_type q8_0".to_owned(), &|other| {
            other.context.kv_cache_type = Some(KvCacheType::Q8_0.into());
        });
    }
    if plan.context_size > 4096 {
        let half = (plan.context_size / 2).next_multiple_of(256);
        change(format!("context_size {half}"), &|other| other.context.n_ctx = Some(half));
    }
    if options.context.n_ubatch.is_none_or(|size| size > 128) {
        change("ubatch_size 128".to_owned(), &|other| other.context.n_ubatch = Some(128));
    }
    changes
}

/// Other plans of a model, best first: those that fit, then by speed, then by the number of layers on GPUs.
pub(super) fn find(
    model: &PlanModel<'_>,
    plan: &Plan,
    options: &PlanOptions,
) -> Result<Vec<Alternative>> {
    let mut found = Vec::new();
    for (what, other) in settings(plan, options) {
        let other = match model.plan(&other, false) {
            Ok(other) => other,
            Err(error) if error.kind() == ErrorKind::InvalidArgument => continue,
            Err(error) => return Err(error),
        };
        // Skip changes without effect.
        if other.n_gpu_layers != plan.n_gpu_layers || other.fits != plan.fits {
            found.push(Alternative::of(what, &other));
        }
    }
    for name in next_quantisations(model.header()) {
        if let Some(other) = requantised_plan(model, name, options)? {
            found.push(Alternative::of(name.to_owned(), &other));
        }
    }
    let speed = |one: &Alternative| one.decode_tps.unwrap_or(0.0);
    found.sort_by(|a, b| {
        (b.fits.cmp(&a.fits))
            .then(speed(b).total_cmp(&speed(a)))
            .then(b.n_gpu_layers.cmp(&a.n_gpu_layers))
    });
    Ok(found)
}

/// The plan of a model in another quantisation. Returns none if the engine cannot quantise the model to it.
pub(super) fn requantised_plan(
    model: &PlanModel<'_>,
    quantisation: &str,
    options: &PlanOptions,
) -> Result<Option<Plan>> {
    let HeaderFile { path, name } = model.file();
    let path = match requantized(path, model.header(), file_type(quantisation)?) {
        Ok(path) => path,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
        Err(error) => return Err(error),
    };
    let file = HeaderFile { path, name: format!("{name} in {quantisation}") };
    PlanModel::read(&file, options)?.plan(options, false).map(Some)
}

/// The considered quantisations nearest to the model's own.
pub(super) fn next_quantisations(header: &GgufHeader) -> Vec<&'static str> {
    let Some(own) = header.quantisation() else { return Vec::new() };
    let bits = |name: &str| {
        let digits: String = name.chars().filter(char::is_ascii_digit).take(2).collect();
        let first = &digits[..digits.len().min(if name.contains("16") { 2 } else { 1 })];
        first.parse::<u32>().unwrap_or(32)
    };
    let smaller = QUANTISATIONS.iter().filter(|name| bits(name) < bits(own)).take(NEIGHBOURS);
    let larger: Vec<_> = QUANTISATIONS.iter().filter(|name| bits(name) > bits(own)).collect();
    let larger = larger.into_iter().rev().take(NEIGHBOURS);
    larger.chain(smaller).copied().collect()
}

/// The setting that a sweep varies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Number of layers on GPUs.
    Layers,
    /// Context size.
    Context,
    /// Data type of the KV cache.
    Kv,
    /// Quantisation.
    Quant,
}

/// Plans a model for every value of one setting. Returns the values with their plans.
pub(super) fn sweep(
    model: &PlanModel<'_>,
    options: &PlanOptions,
    what: Sweep,
) -> Result<Vec<(String, Plan)>> {
    /// Maximum number of steps of a sweep over layers.
    const MAX_STEPS: u32 = 40;
    let mut plans = Vec::new();
    let mut add = |setting: String, options: PlanOptions| -> Result<()> {
        plans.push((setting, model.plan(&options, false)?));
        Ok(())
    };
    match what {
        Sweep::Layers => {
            let all = model.plan(options, false)?.n_layers;
            for layers in (0..all).step_by(all.div_ceil(MAX_STEPS) as usize).chain([all]) {
                let model = options.model.clone().with_n_gpu_layers(layers as i32);
                add(layers.to_string(), options.clone().with_model(model))?;
            }
        }
        Sweep::Context => {
            let trained = model.header().architecture_number("context_length").unwrap_or(8192);
            let most = u32::try_from(trained).unwrap_or(u32::MAX);
            let sizes = std::iter::successors(Some(512_u32), |size| size.checked_mul(2));
            for size in sizes.take_while(|size| *size < most).chain([most]) {
                let context = options.context.clone().with_n_ctx(size);
                add(size.to_string(), options.clone().with_context(context))?;
            }
        }
        Sweep::Kv => {
            for ty in KvCacheType::ALL {
                let context = options.context.clone().with_kv_cache_type(ty);
                add(ty.to_string(), options.clone().with_context(context))?;
            }
        }
        Sweep::Quant => {
            for name in QUANTISATIONS {
                if let Some(plan) = requantised_plan(model, name, options)? {
                    plans.push((name.to_owned(), plan));
                }
            }
        }
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use mullama_gguf::MetadataValue;

    use super::*;
    use crate::planner::DeviceSpec;

    #[test]
    fn the_nearest_quantisations_are_offered() {
        let header = |number: i64| GgufHeader {
            metadata: vec![("general.file_type".to_owned(), MetadataValue::Int(number))],
            ..GgufHeader::default()
        };
        assert_eq!(next_quantisations(&header(15)), ["Q5_K_M", "Q6_K", "Q3_K_M", "Q2_K"]);
        assert_eq!(next_quantisations(&header(1)), ["Q8_0", "Q6_K"]);
        assert!(next_quantisations(&header(9999)).is_empty());
    }

    fn fixture(name: &str) -> HeaderFile {
        HeaderFile { path: mullama_testkit::fixture(name), name: name.to_owned() }
    }

    #[test]
    fn plans_that_do_not_fit_offer_fitting_alternatives() {
        let file = fixture("large");
        let model = PlanModel::read(&file, &PlanOptions::default()).unwrap();
        let options = PlanOptions::default()
            .with_devices([DeviceSpec::new(40 << 20)])
            .with_model(crate::ModelParams::default().with_n_gpu_layers(-1));
        let plan = model.plan(&options, false).unwrap();
        assert!(!plan.fits);
        let found = find(&model, &plan, &options).unwrap();
        let auto = found.iter().find(|one| one.change == "n_gpu_layers auto").unwrap();
        assert!(auto.fits && auto.n_gpu_layers < plan.n_layers, "{auto:?}");
        let smaller = found.iter().find(|one| one.change == "Q8_0").unwrap();
        assert!(smaller.size < plan.model.size);
        assert!(
            found.iter().skip_while(|one| one.fits).all(|one| !one.fits),
            "those that fit first"
        );
    }

    #[test]
    fn sweeps_cover_the_whole_range() {
        let file = fixture("small");
        let model = PlanModel::read(&file, &PlanOptions::default()).unwrap();
        let options = PlanOptions::default().with_devices([DeviceSpec::new(12 << 20)]);
        let layers = sweep(&model, &options, Sweep::Layers).unwrap();
        assert_eq!(layers.len(), 10);
        assert!(layers[0].1.fits && !layers[9].1.fits);
        let sizes = |sweep: &[(String, Plan)]| -> Vec<u64> {
            sweep.iter().map(|(_, plan)| plan.all_devices().map(|device| device.kv).sum()).collect()
        };
        let context = sizes(&sweep(&model, &options, Sweep::Context).unwrap());
        assert!(context.is_sorted() && context.len() == 4, "{context:?}");
        let kv = sizes(&sweep(&model, &options, Sweep::Kv).unwrap());
        assert!(kv.len() == 9 && kv[0] == 2 * kv[1], "{kv:?}");
        let quants = sweep(&model, &options, Sweep::Quant).unwrap();
        assert!(quants.is_sorted_by(|(_, a), (_, b)| a.model.size > b.model.size));
    }
}
