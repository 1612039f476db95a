//! Measures the accuracy of the planner: the memory of dry runs against the memory allocated afterwards, and the
//! cost of a plan.

use std::fmt;
use std::time::Instant;

use mullama::gpu::{self, Device, DeviceKind};
use mullama::{
    ContextParams, GpuLayers, KvCacheType, Model, ModelParams, PlanOptions, PlannedDevice, Shape,
    calibrate, measure_speed, plan, rpc,
};

use crate::Result;
use crate::samples::median;

/// Shapes with each kind of layer. Weights that are all 0 take as much memory as others.
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

/// Models whose speed is predicted and measured.
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

/// Number of rounds of a calibration followed by measurements; must be odd.
const ROUNDS: usize = 5;

/// Number of measurements per model and round, of which the fastest counts, as in a calibration.
const PASSES: usize = 2;

/// Predicts the speed of models on the CPU after a calibration and measures it, both several times in turn, and
/// prints the medians.
pub fn speeds() -> Result<()> {
    let shapes: Vec<Shape> = SPEEDS.iter().map(shape_of).collect::<Result<_>>()?;
    let params = ModelParams::default().with_n_gpu_layers(0).with_use_mmap(false);
    let context = ContextParams::default().with_n_ctx(1024);
    let options = PlanOptions::default().with_model(params.clone()).with_context(context.clone());
    // For each model and round: predicted and measured speeds of decoding and prefill.
    let mut rounds = vec![Vec::new(); shapes.len()];
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        calibrate(|_, _| ())?;
        let mut fastest = vec![[0.0_f64; 2]; shapes.len()];
        for _ in 0..PASSES {
            for (fastest, shape) in fastest.iter_mut().zip(&shapes) {
                let measured = measure_speed(shape.header()?, &params, &context)?;
                fastest[0] = fastest[0].max(measured.decode_tps);
                fastest[1] = fastest[1].max(measured.prefill_tps);
            }
        }
        for ((rounds, shape), [decode, prefill]) in rounds.iter_mut().zip(&shapes).zip(fastest) {
            let predicted = plan(shape.clone(), &options)?.predicted;
            let predicted = predicted.ok_or("nothing is predicted")?;
            rounds.push([(predicted.decode_tps, decode), (predicted.prefill_tps, prefill)]);
        }
    }

    println!("\n# Predicted and measured speed on the processor\n");
    println!(
        "| model | decode predicted | measured | error | prefill predicted | measured | error |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: |");
    let mut errors = [Vec::new(), Vec::new()];
    for (rounds, (quantisation, width, _, layers, _)) in rounds.iter().zip(SPEEDS) {
        let mut cells = Vec::new();
        for (which, errors) in errors.iter_mut().enumerate() {
            let of = |value: fn((f64, f64)) -> f64| {
                median(rounds.iter().map(|round| value(round[which])))
            };
            let error = of(|(predicted, measured)| (predicted - measured) / measured);
            let (predicted, measured) = (of(|pair| pair.0), of(|pair| pair.1));
            cells.push(format!("{predicted:.1} | {measured:.1} | {:+.1} %", error * 100.0));
            errors.push(error.abs() * 100.0);
        }
        println!("| {quantisation}, {layers} x {width} | {} |", cells.join(" | "));
    }
    println!("\nMedians of {ROUNDS} rounds, each a calibration and a measurement after it.");
    for (what, errors) in ["decode", "prefill"].into_iter().zip(errors) {
        let worst = errors.iter().copied().fold(0.0, f64::max);
        println!("\n{what}: median error {:.1} %, worst {worst:.1} %.", median(errors.into_iter()));
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

/// A place for a model: this machine's CPU, some of its GPUs, or some of the workers' devices.
#[derive(Clone)]
struct Place {
    devices: Vec<String>,
    workers: Vec<String>,
}

impl Place {
    /// All places: the CPU, one and two of the GPUs, one and two of the workers' devices.
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

/// Compares a grid of settings on this machine's GPUs and those of workers (one, and two if available), and
/// prints a table. `models` are names and paths; planning the one named `cost` is timed.
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

    layers_that_fit(&shapes, &places)?;

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

/// Prints the number of layers planned for GPUs with decreasing memory, and the largest number that fits, which is
/// found by loading every number of layers with every split. Both leave the same reserve free.
fn layers_that_fit(models: &[(String, String)], places: &[Place]) -> Result<()> {
    println!("\n# Layers that fit\n");
    println!("| model | GPUs | memory of each | planned | best |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let (mut more, mut fewer) = (0, 0);
    for (name, path) in models {
        for place in places.iter().filter(|place| !place.devices.is_empty()) {
            let tried = try_every_count(path, place)?;
            let whole = tried.iter().flat_map(|(_, used)| used).copied().max().unwrap_or(0);
            for tenths in [12, 10, 8, 7, 6, 5, 4, 3] {
                let memory = whole * tenths / 10;
                // A tenth is left free: so small a GPU leaves less than the gibibyte of others.
                let usable = memory - memory / 10;
                let fits = |used: &Vec<u64>| used.iter().all(|&bytes| bytes <= usable);
                let fitting = tried.iter().filter(|(_, used)| fits(used));
                let best = fitting.map(|&(layers, _)| layers).max().unwrap_or(0);
                let planned = planned_layers(path, place, memory)?;
                more = more.max(planned.saturating_sub(best));
                fewer = fewer.max(best.saturating_sub(planned));
                let mebibytes = memory as f64 / f64::from(1 << 20);
                println!("| {name} | {place} | {mebibytes:.1} MiB | {planned} | {best} |");
            }
        }
    }
    println!("\nAt most {more} more than fit, and at most {fewer} fewer.");
    Ok(())
}

/// Options that place only whole layers, so that their number describes a placement completely.
fn of_whole_layers(place: &Place) -> (ModelParams, ContextParams) {
    let params = ModelParams::default()
        .with_rpc_servers(place.workers.clone())
        .with_devices(place.devices.clone())
        .with_cpu_moe(false)
        .with_use_mmap(false);
    (params, ContextParams::default().with_n_ctx(512).with_n_ubatch(64).with_warmup(false))
}

/// Returns the bytes on each GPU for every number of layers and every split.
fn try_every_count(path: &str, place: &Place) -> Result<Vec<(u32, Vec<u64>)>> {
    let (params, context) = of_whole_layers(place);
    let all = plan(path, &PlanOptions::default())?.n_layers;
    let mut tried = Vec::new();
    for layers in 1..=all {
        let count = params.clone().with_n_gpu_layers(GpuLayers::Count(layers));
        let alone = [count.clone().with_devices([place.devices[0].clone()])];
        let shared = (0..=layers)
            .map(|first| count.clone().with_tensor_split([first as f32, (layers - first) as f32]));
        for params in alone.into_iter().chain(shared.filter(|_| place.devices.len() == 2)) {
            let model = Model::load(path, params, context.clone())?;
            let shares = model.placement().devices.into_iter();
            let on_gpus = shares.filter(|share| place.devices.contains(&share.name));
            tried.push((layers, on_gpus.map(|share| share.total()).collect()));
        }
    }
    Ok(tried)
}

/// Returns the number of layers planned for GPUs with the given number of bytes.
fn planned_layers(path: &str, place: &Place, memory: u64) -> Result<u32> {
    let (model, context) = of_whole_layers(place);
    let options = PlanOptions::default().with_model(model).with_context(context);
    // SAFETY: no other thread of this process reads the environment.
    unsafe { std::env::set_var("MULLAMA_GPU_MEMORY", format!("{memory}B")) };
    let planned = plan(path, &options.with_alternatives(false));
    // SAFETY: as above.
    unsafe { std::env::remove_var("MULLAMA_GPU_MEMORY") };
    Ok(planned?.n_gpu_layers)
}

/// Returns all combinations of options that are compared in a place.
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
                        // The warm-up is slow on a software renderer, and is not measured.
                        .with_warmup(false);
                    // Mapped weights are not allocated.
                    let params = params.clone().with_use_mmap(false);
                    cases.push((params, context));
                }
            }
        }
    }
    cases
}

/// Returns the largest differences of weights, KV cache and compute buffers on any device, as fractions of
/// the allocated bytes.
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
