//! How true the planner is: what a dry run says against what is then allocated, and what asking costs.

use std::time::Instant;

use mullama::gpu::{self, DeviceKind};
use mullama::{
    ContextParams, GpuLayers, KvCacheType, Model, ModelParams, PlanOptions, PlannedDevice, plan,
};

use crate::Result;

/// Compares over a grid, on this machine's GPUs (one, and two where there are), and prints a table.
/// `models` are names and paths; the one named `cost` is planned and timed.
pub fn report(models: &[(String, String)]) -> Result<()> {
    let gpus: Vec<_> = gpu::devices()
        .into_iter()
        .filter(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu))
        .map(|device| device.name)
        .collect();
    println!("# The planner against the engine\n");
    println!("GPUs: {}\n", if gpus.is_empty() { "none".to_owned() } else { gpus.join(", ") });
    let mut configurations = vec![Vec::new()];
    configurations.extend((1..=gpus.len().min(2)).map(|count| gpus[..count].to_vec()));

    println!("| model | GPUs | cases | weights | KV | compute |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut worst_of_all: f64 = 0.0;
    for (name, path) in models.iter().filter(|(name, _)| name != "cost") {
        for devices in &configurations {
            let mut worst = [0.0_f64; 3];
            let cases = grid(devices);
            for (params, context) in &cases {
                let differences = compare(path, params, context)?;
                for (worst, difference) in worst.iter_mut().zip(differences) {
                    *worst = worst.max(difference);
                }
            }
            let shown = worst.map(|share| format!("{:.3} %", share * 100.0));
            println!("| {name} | {} | {} | {} |", devices.len(), cases.len(), shown.join(" | "));
            worst_of_all = worst.into_iter().fold(worst_of_all, f64::max);
        }
    }
    println!(
        "\nThe largest difference of any device and category from what was allocated, over every"
    );
    println!(
        "number of layers tried, contexts of 512 to 32,768 tokens, KV types f16 and q8_0, physical"
    );
    println!("batches of 64 and 512. Largest of all: {:.3} %.", worst_of_all * 100.0);

    for (_, path) in models.iter().filter(|(name, _)| name == "cost") {
        let time = || {
            let start = Instant::now();
            plan(path, &PlanOptions::default()).map(|_| start.elapsed().as_secs_f64() * 1e3)
        };
        let (first, again) = (time()?, time()?);
        println!("\nPlanning the 1B shape: {first:.1} ms, again {again:.2} ms.");
    }
    Ok(())
}

/// Every combination that is compared on these devices.
fn grid(devices: &[String]) -> Vec<(ModelParams, ContextParams)> {
    let layers: &[u32] = if devices.is_empty() { &[0] } else { &[1, 3, 999] };
    let mut cases = Vec::new();
    for &layers in layers {
        for n_ctx in [512, 4096, 32_768] {
            for ty in [KvCacheType::F16, KvCacheType::Q8_0] {
                for n_ubatch in [64, 512] {
                    let mut params =
                        ModelParams::default().with_n_gpu_layers(GpuLayers::Count(layers));
                    if !devices.is_empty() {
                        params = params
                            .with_devices(devices)
                            .with_tensor_split(vec![1.0; devices.len()]);
                    }
                    let context = ContextParams::default()
                        .with_n_ctx(n_ctx)
                        .with_kv_cache_type(ty)
                        .with_n_ubatch(n_ubatch)
                        // What is computed first takes a software renderer long, and is not measured.
                        .with_warmup(false);
                    // What is mapped is not allocated.
                    let params = params.clone().with_use_mmap(false);
                    cases.push((params, context));
                }
            }
        }
    }
    cases
}

/// The largest differences of weights, KV cache and compute buffers on any device, as shares of what was
/// allocated.
fn compare(path: &str, params: &ModelParams, context: &ContextParams) -> Result<[f64; 3]> {
    let options = PlanOptions::default().with_model(params.clone()).with_context(context.clone());
    let planned = plan(path, &options)?;
    let model = Model::load(path, params.clone(), context.clone())?;
    let nothing = PlannedDevice::default();
    let mut differences = [0.0_f64; 3];
    for share in &model.placement().devices {
        let mut devices = planned.devices.iter().chain([&planned.host]);
        let planned = devices.find(|device| device.name == share.name).unwrap_or(&nothing);
        let pairs = [
            (planned.weights, share.weights),
            (planned.kv, share.kv),
            (planned.compute, share.compute),
        ];
        for (difference, (planned, allocated)) in differences.iter_mut().zip(pairs) {
            let share = planned.abs_diff(allocated) as f64 / (allocated.max(1)) as f64;
            *difference = difference.max(share);
        }
    }
    Ok(differences)
}
