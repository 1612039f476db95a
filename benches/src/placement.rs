//! How true the planner is: what a dry run says against what is then allocated, and what asking costs.

use std::fmt;
use std::time::Instant;

use mullama::gpu::{self, Device, DeviceKind};
use mullama::{
    ContextParams, GpuLayers, KvCacheType, Model, ModelParams, PlanOptions, PlannedDevice, Shape,
    calibrate, measure_speed, plan, rpc,
};

use crate::Result;

/// Shapes of the kinds of layers that there are. Weights that are all 0 take as much memory as others.
const SHAPES: [(&str, &str); 5] = [
    (
        "grouped queries",
        "architecture=qwen3,block_count=6,embedding_length=512,feed_forward_length=1024,\
         attention.head_count=8,attention.head_count_kv=2,attention.key_length=64,\
         attention.value_length=64,vocab_size=4096",
    ),
    (
        "sliding window",
        "architecture=gemma3,block_count=6,embedding_length=512,feed_forward_length=1024,\
         attention.head_count=4,attention.head_count_kv=2,attention.key_length=128,\
         attention.value_length=128,attention.sliding_window=256,vocab_size=4096,tied=true",
    ),
    (
        "recurrent",
        "architecture=mamba,block_count=6,embedding_length=512,feed_forward_length=0,\
         attention.head_count=0,ssm.conv_kernel=4,ssm.inner_size=1024,ssm.state_size=16,\
         ssm.time_step_rank=32,vocab_size=4096,tied=true,biases=true",
    ),
    (
        "mixture",
        "architecture=qwen3moe,block_count=6,embedding_length=512,feed_forward_length=1024,\
         expert_feed_forward_length=256,expert_count=8,expert_used_count=2,attention.head_count=8,\
         attention.head_count_kv=2,attention.key_length=64,attention.value_length=64,\
         vocab_size=4096",
    ),
    (
        "wide",
        "architecture=llama,block_count=4,embedding_length=1024,feed_forward_length=4096,\
         attention.head_count=16,attention.head_count_kv=4,vocab_size=32000",
    ),
];

/// Models of which the speed is predicted and measured.
const SPEEDS: [(&str, u32, u32, u32, u32); 8] = [
    ("Q4_K_M", 1024, 4096, 12, 32_000),
    ("Q8_0", 1024, 4096, 12, 32_000),
    ("F16", 1024, 4096, 6, 32_000),
    ("Q6_K", 1536, 4608, 10, 32_000),
    ("Q5_K_M", 1536, 4608, 10, 32_000),
    ("Q4_0", 2048, 5632, 8, 32_000),
    ("Q3_K_M", 2048, 5632, 8, 32_000),
    ("IQ4_XS", 2048, 8192, 6, 32_000),
];

/// How often each is measured.
const PASSES: usize = 3;

/// Predicts the speed of models on the processor after a calibration, measures it, and prints both.
pub fn speeds() -> Result<()> {
    calibrate(|_, _| ())?;
    println!("\n# Predicted and measured speed on the processor\n");
    println!(
        "| model | decode predicted | measured | error | prefill predicted | measured | error |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let shapes: Vec<Shape> = SPEEDS.iter().map(shape_of).collect::<Result<_>>()?;
    let params = ModelParams::default().with_n_gpu_layers(0).with_use_mmap(false);
    let context = ContextParams::default().with_n_ctx(1024);
    // The fastest of several passes, as in a calibration.
    let mut fastest = vec![[0.0_f64; 2]; shapes.len()];
    for _ in 0..PASSES {
        for (fastest, shape) in fastest.iter_mut().zip(&shapes) {
            let measured = measure_speed(shape.header()?, &params, &context)?;
            let both = [measured.decode_tps, measured.prefill_tps];
            *fastest = [fastest[0].max(both[0]), fastest[1].max(both[1])];
        }
    }
    let options = PlanOptions::default().with_model(params).with_context(context);
    let mut errors = [Vec::new(), Vec::new()];
    for ((measured, shape), (quantisation, width, _, layers, _)) in
        fastest.into_iter().zip(shapes).zip(SPEEDS)
    {
        let predicted = plan(shape, &options)?.predicted.ok_or("nothing is predicted")?;
        let mut cells = Vec::new();
        let pairs = [predicted.decode_tps, predicted.prefill_tps].into_iter().zip(measured);
        for (errors, (predicted, measured)) in errors.iter_mut().zip(pairs) {
            let error = (predicted - measured) / measured;
            cells.push(format!("{predicted:.1} | {measured:.1} | {:+.1} %", error * 100.0));
            errors.push(error.abs() * 100.0);
        }
        println!("| {quantisation}, {layers} x {width} | {} |", cells.join(" | "));
    }
    for (what, mut errors) in ["decode", "prefill"].into_iter().zip(errors) {
        errors.sort_by(f64::total_cmp);
        let (median, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
        println!("\n{what}: median error {median:.1} %, worst {worst:.1} %.");
    }
    Ok(())
}

fn shape_of(
    (quantisation, width, inner, layers, vocabulary): &(&str, u32, u32, u32, u32),
) -> Result<Shape> {
    let text = format!(
        "architecture=llama,block_count={layers},embedding_length={width},\
         feed_forward_length={inner},attention.head_count={},attention.head_count_kv={},\
         vocab_size={vocabulary},context_length=2048,quantization={quantisation}",
        width / 64,
        width / 256,
    );
    Ok(text.parse()?)
}

/// Where a model is put: this machine's processor, some of its GPUs, or some of the workers' devices.
#[derive(Clone)]
struct Place {
    devices: Vec<String>,
    workers: Vec<String>,
}

impl Place {
    /// The processor; one and two of the GPUs; one and two of the workers' devices.
    fn all(workers: &[String]) -> Result<Vec<Self>> {
        let mut remote = Vec::new();
        for worker in workers {
            remote.extend(rpc::connect(worker)?);
        }
        let is_gpu = |device: &Device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu);
        let local = gpu::devices().into_iter().filter(is_gpu).map(|device| device.name);
        let local: Vec<_> = local.filter(|name| !remote.contains(name)).collect();
        let some = |devices: &[String], workers: &[String]| {
            let place =
                |count| Self { devices: devices[..count].to_vec(), workers: workers.to_vec() };
            (1..=devices.len().min(2)).map(place).collect::<Vec<_>>()
        };
        let processor = Self { devices: Vec::new(), workers: Vec::new() };
        Ok([vec![processor], some(&local, &[]), some(&remote, workers)].concat())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.devices.is_empty() { "none" } else { "" })?;
        f.write_str(&self.devices.join(", "))
    }
}

/// Compares over a grid, on this machine's GPUs and those of workers (one, and two where there are), and
/// prints a table. `models` are names and paths; the one named `cost` is planned and timed.
pub fn report(models: &[(String, String)], workers: &[String]) -> Result<()> {
    println!("# The planner against the engine\n");
    let places = Place::all(workers)?;
    println!("| model | GPUs | cases | weights | KV | compute |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    let mut worst_of_all: f64 = 0.0;
    let shapes = SHAPES.iter().map(|(name, shape)| {
        let path = shape.parse::<Shape>()?.header()?;
        Ok(((*name).to_owned(), path.to_string_lossy().into_owned()))
    });
    let shapes = shapes.collect::<Result<Vec<_>>>()?;
    let models = [models, &shapes].concat();
    for (name, path) in models.iter().filter(|(name, _)| name != "cost") {
        for place in &places {
            let mut worst = [0.0_f64; 3];
            let cases = grid(place);
            for (params, context) in &cases {
                let differences = compare(path, params, context)?;
                for (worst, difference) in worst.iter_mut().zip(differences) {
                    *worst = worst.max(difference);
                }
            }
            let shown = worst.map(|share| format!("{:.3} %", share * 100.0));
            println!("| {name} | {place} | {} | {} |", cases.len(), shown.join(" | "));
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

/// Every combination that is compared in this place.
fn grid(place: &Place) -> Vec<(ModelParams, ContextParams)> {
    let devices = &place.devices;
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
                            .with_devices(devices.clone())
                            .with_tensor_split(vec![1.0; devices.len()])
                            .with_rpc_servers(place.workers.clone());
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
