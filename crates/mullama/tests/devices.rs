//! Placement on GPUs. Needs two GPUs, for example a software renderer that appears twice:
//! `GGML_VK_VISIBLE_DEVICES=0,0` with Mesa's lavapipe and the Vulkan module. Without them, each test
//! is reported as skipped.

use std::sync::{LazyLock, Mutex};

use mullama::gpu::{self, DeviceKind};
use mullama::{
    ContextParams, ErrorKind, GenerateOptions, GpuLayers, KvCacheType, Message, Model, ModelParams,
    Naming, PlanOptions, Result, SplitMode, parse_options, plan,
};

/// The names of the GPUs.
static GPUS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let gpus = gpu::devices()
        .into_iter()
        .filter(|device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu));
    gpus.map(|device| device.name).collect()
});

/// Runs one test at a time, because the software renderer compiles shaders for every model.
static TURN: Mutex<()> = Mutex::new(());

macro_rules! two_gpus_or_skip {
    () => {
        if GPUS.len() < 2 {
            mullama_testkit::skip(format!("{} GPUs, and two are needed", GPUS.len()));
            return;
        }
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    };
}

/// Small batches, because a software renderer is slow with long parts of a prompt.
fn base() -> ContextParams {
    ContextParams::default().with_n_ctx(512).with_n_ubatch(64).with_n_threads(1)
}

fn load(params: ModelParams) -> Result<Model> {
    Model::load("demo", params, base())
}

fn params() -> ModelParams {
    ModelParams::default()
}

/// Checks answers of the demo model, which are the same on all devices.
fn assert_answers(model: &Model, what: &str) {
    let options = GenerateOptions::default().with_temperature(0.0);
    for (country, capital) in [("France", "Paris"), ("Japan", "Tokyo")] {
        let question = Message::user(format!("What is the capital of {country}?"));
        let answer = model.chat(&[question], &options.clone().into()).unwrap();
        assert_eq!(answer.text, format!("The capital of {country} is {capital}."), "{what}");
    }
}

/// Number of layers on each of the GPUs, and on the CPU.
fn layers(model: &Model) -> Vec<u32> {
    let on = |name: &str| {
        let placement = model.placement();
        let share = placement.devices.iter().find(|share| share.name == name);
        share.map_or(0, |share| share.layers)
    };
    GPUS.iter().map(String::as_str).chain(["CPU"]).map(on).collect()
}

#[test]
fn every_layer_count_loads_and_answers() {
    two_gpus_or_skip!();
    let all = load(params().with_n_gpu_layers(0)).unwrap().n_layers() + 1;
    for count in 0..=all {
        let model = load(params().with_n_gpu_layers(GpuLayers::Count(count))).unwrap();
        assert_eq!(model.gpu_layers(), count);
        let layers = layers(&model);
        assert_eq!(layers.iter().sum::<u32>(), all);
        assert_eq!(layers[GPUS.len()], all - count);
        assert_answers(&model, &format!("{count} layers"));
    }
    let model = load(params().with_n_gpu_layers(999)).unwrap();
    assert_eq!(model.gpu_layers(), all, "more than there are is all");
}

#[test]
fn tensor_split_distributes_layers() {
    two_gpus_or_skip!();
    for (shares, expected) in [([1.0, 1.0], [5, 4]), ([3.0, 1.0], [7, 2]), ([0.0, 1.0], [0, 9])] {
        let model = load(params().with_n_gpu_layers(-1).with_tensor_split(shares)).unwrap();
        assert_eq!(layers(&model)[..2], expected, "{shares:?}");
        assert_eq!(model.gpu_layers(), 9);
        assert_answers(&model, &format!("{shares:?}"));
    }
}

#[test]
fn one_gpu_can_be_selected() {
    two_gpus_or_skip!();
    let second = params().with_split_mode(SplitMode::None).with_main_gpu(1).with_n_gpu_layers(-1);
    let by_name = params().with_devices([GPUS[1].clone()]).with_n_gpu_layers(-1);
    for params in [second, by_name] {
        let model = load(params).unwrap();
        assert_eq!(layers(&model)[..2], [0, 9]);
        assert_answers(&model, "the second GPU");
    }
    // By default, a model that fits on one GPU is placed on one.
    let model = load(params()).unwrap();
    assert_eq!(layers(&model)[..2].iter().filter(|&&count| count == 9).count(), 1);
    assert_answers(&model, "auto");
}

#[test]
fn tensor_overrides_and_kv_offload_are_applied() {
    two_gpus_or_skip!();
    let one = || params().with_devices([GPUS[0].clone()]).with_n_gpu_layers(-1);
    let weights = |model: &Model, device: &str| {
        let placement = model.placement();
        let share = placement.devices.iter().find(|share| share.name == device);
        share.map_or((0, 0), |share| (share.weights, share.kv))
    };
    let plain = load(one()).unwrap();
    let overrides = [("ffn_.*".to_owned(), "CPU".to_owned())];
    let moved = load(one().with_tensor_overrides(overrides)).unwrap();
    assert!(weights(&moved, &GPUS[0]).0 < weights(&plain, &GPUS[0]).0);
    assert!(weights(&moved, "CPU").0 > weights(&plain, "CPU").0);
    assert_answers(&moved, "feed-forward tensors on the CPU");

    assert!(weights(&plain, &GPUS[0]).1 > 0);
    let context = base().with_offload_kqv(false);
    let model = Model::load("demo", one(), context).unwrap();
    assert_eq!(weights(&model, &GPUS[0]).1, 0);
    assert!(weights(&model, "CPU").1 > 0);
    assert_answers(&model, "KV cache on the CPU");

    let context = base().with_kv_cache_type(KvCacheType::Q8_0);
    let model = Model::load("demo", one(), context).unwrap();
    assert!(weights(&model, &GPUS[0]).1 < weights(&plain, &GPUS[0]).1);
    assert_answers(&model, "q8_0 cells");
}

#[test]
fn experts_can_be_placed_on_the_cpu() {
    two_gpus_or_skip!();
    let path = mullama_testkit::fixture("moe");
    let load = |params: ModelParams| {
        let params = params.with_devices([GPUS[0].clone()]).with_n_gpu_layers(-1);
        Model::load(&path, params, base()).unwrap()
    };
    let on_gpu = |model: &Model| model.placement().devices[0].weights;
    let (none, some, all) =
        (load(params()), load(params().with_n_cpu_moe(2)), load(params().with_cpu_moe(true)));
    assert!(on_gpu(&none) > on_gpu(&some) && on_gpu(&some) > on_gpu(&all));
    let options = GenerateOptions::default().with_max_tokens(4);
    assert_eq!(all.generate("abc", &options).unwrap().tokens.len(), 4);
}

/// Collects the engine's log.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Returns the sizes of a kind of buffer in the engine's log, in hundredths of a MiB, by the name of the buffer.
fn logged_sizes(kind: &str) -> Vec<(String, u64)> {
    let lines = LOG.0.lock().unwrap();
    let read = |line: &String| {
        // "load_tensors:      Vulkan0 model buffer size =     1.57 MiB"
        let (before, size) = line.split_once(&format!(" {kind} buffer size = "))?;
        let (_, name) = before.split_once(": ")?;
        let size = size.trim().strip_suffix(" MiB")?.replace('.', "");
        Some((name.trim().to_owned(), size.parse().ok()?))
    };
    lines.iter().filter_map(read).collect()
}

#[test]
fn placement_matches_the_engine_log() {
    two_gpus_or_skip!();
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Debug);
    // The dry run is cached from here on, so the second load does not log it.
    drop(load(params().with_n_gpu_layers(5).with_tensor_split([1.0, 1.0])).unwrap());
    LOG.0.lock().unwrap().clear();
    let model = load(params().with_n_gpu_layers(5).with_tensor_split([1.0, 1.0])).unwrap();
    log::set_max_level(log::LevelFilter::Off);
    let hundredths = |bytes: u64| (bytes as f64 / 1024.0 / 1024.0 * 100.0).round() as u64;
    for gpu in GPUS.iter() {
        let placement = model.placement();
        let share = placement.devices.iter().find(|share| share.name == *gpu).unwrap();
        for (kind, bytes) in
            [("model", share.weights), ("KV", share.kv), ("compute", share.compute)]
        {
            let told: u64 =
                logged_sizes(kind).iter().filter(|(name, _)| name == gpu).map(|it| it.1).sum();
            assert_eq!(told, hundredths(bytes), "{kind} on {gpu}: {:?}", logged_sizes(kind));
        }
    }
    let lines = LOG.0.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains("offloaded 5/9 layers to GPU")), "{lines:#?}");
}

#[test]
fn plan_matches_the_loaded_placement() {
    two_gpus_or_skip!();
    for split in [None, Some([2.0, 1.0])] {
        let mut wanted = params().with_n_gpu_layers(-1);
        wanted.tensor_split = split.map(Vec::from);
        let options = PlanOptions::default().with_model(wanted).with_context(base());
        let plan = plan("demo", &options).unwrap();
        let (mut params, mut context) = (params(), ContextParams::default());
        parse_options(&mut [&mut params, &mut context], plan.options.clone(), Naming::Snake)
            .unwrap();
        let model = Model::load("demo", params.with_use_mmap(false), context).unwrap();
        assert_eq!(model.gpu_layers(), plan.n_gpu_layers);
        for planned in plan.devices.iter().chain([&plan.host]) {
            let devices = &model.placement().devices;
            let share = devices.iter().find(|share| share.name == planned.name).unwrap();
            assert_eq!((share.layers, share.kv), (planned.layers, planned.kv), "{}", share.name);
            // The CPU's buffers include padding to align their start.
            let aligning = if share.name == "CPU" { 32 } else { 0 };
            assert!(share.weights.abs_diff(planned.weights) <= aligning, "{share:?}, {planned:?}");
            let difference = share.compute.abs_diff(planned.compute);
            assert!(difference * 20 <= share.compute, "{share:?} and {planned:?}");
        }
        assert_answers(&model, "as planned");
    }
}

#[test]
fn supported_split_modes_load_and_answer() {
    two_gpus_or_skip!();
    for mode in [SplitMode::None, SplitMode::Layer, SplitMode::Row, SplitMode::Tensor] {
        let params = params().with_n_gpu_layers(-1).with_split_mode(mode);
        match load(params) {
            Ok(model) => {
                assert_eq!(model.gpu_layers(), 9, "{mode:?}");
                assert_answers(&model, &format!("{mode:?}"));
            }
            Err(error) => {
                assert!(matches!(mode, SplitMode::Row | SplitMode::Tensor), "{mode:?}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{mode:?}: {error:?}");
                mullama_testkit::skip(format!("{mode:?}: {error}"));
            }
        }
    }
}

#[test]
fn unsatisfiable_placements_are_rejected() {
    two_gpus_or_skip!();
    let refused = |params: ModelParams| {
        let error = load(params).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        error.to_string()
    };
    assert!(refused(params().with_tensor_split([1.0; 9])).contains("2 GPUs"));
    assert!(refused(params().with_main_gpu(7)).contains("no GPU 7"));
    let unknown = refused(params().with_devices(["CUDA7".to_owned()]));
    assert!(unknown.contains(&GPUS[0]), "the error lists the known devices: {unknown}");
}
