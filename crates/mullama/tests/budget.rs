//! Placement on GPUs with little memory. A single test in a separate process, since it sets the
//! environment. Needs two GPUs, like `devices.rs`.

use mullama::gpu::{self, DeviceKind};
use mullama::{ContextParams, ErrorKind, Model, ModelParams, Result};

/// Limits the memory of every GPU.
fn limit(mebibytes: u32) {
    // SAFETY: this process has only one test, and the engine's threads do not read the environment.
    unsafe { std::env::set_var("MULLAMA_GPU_MEMORY", format!("{mebibytes}MiB")) };
}

fn load(params: ModelParams) -> Result<Model> {
    // The warm-up does not affect the plan, and takes minutes on a software renderer.
    let context = ContextParams::default().with_n_ctx(512).with_n_threads(1).with_warmup(false);
    Model::load(mullama_testkit::fixture("large"), params, context)
}

/// Returns the largest number of bytes on any GPU.
fn most_on_a_gpu(model: &Model) -> u64 {
    let placement = model.placement();
    let shares = placement.devices.iter().filter(|share| share.name != "CPU");
    shares.map(|share| share.weights + share.kv + share.compute).max().unwrap_or(0)
}

#[test]
fn small_gpus() {
    let is_gpu = |device: &gpu::Device| matches!(device.kind, DeviceKind::Gpu | DeviceKind::Igpu);
    let count = gpu::devices().iter().filter(|device| is_gpu(device)).count();
    if count < 2 {
        mullama_testkit::skip(format!("{count} GPUs, and two are needed"));
        return;
    }
    let all = load(ModelParams::default().with_n_gpu_layers(-1)).unwrap().gpu_layers();

    // One GPU if one is enough, else both, and the rest on the CPU.
    for (mebibytes, gpus) in [(400, 1), (80, 2), (40, 2)] {
        limit(mebibytes);
        let model = load(ModelParams::default()).unwrap();
        let used = model.placement().devices.iter().filter(|share| share.name != "CPU").count();
        assert_eq!(used, gpus, "{mebibytes} MiB: {:?}", model.placement());
        assert!(most_on_a_gpu(&model) <= u64::from(mebibytes) << 20, "{:?}", model.placement());
        if mebibytes == 40 {
            assert!((1..all).contains(&model.gpu_layers()), "{} layers", model.gpu_layers());
        }
    }

    // Explicit settings are not reduced but rejected, and the suggested ones fit.
    limit(40);
    let error = load(ModelParams::default().with_n_gpu_layers(-1)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DoesNotFit);
    let context: Vec<_> = error.context().collect();
    let (_, best) = context.iter().find(|(key, _)| *key == "max_n_gpu_layers").unwrap();
    let best: i32 = best.parse().unwrap();
    let (_, devices) = context.iter().find(|(key, _)| *key == "devices").unwrap();
    assert_eq!(devices.split("; ").count(), 3, "two GPUs and the CPU: {error:?}");
    assert!(load(ModelParams::default().with_n_gpu_layers(best)).is_ok());
    let error = load(ModelParams::default().with_n_gpu_layers(best + 1)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DoesNotFit);

    limit(1);
    let model = load(ModelParams::default()).unwrap();
    assert_eq!(model.gpu_layers(), 0, "nothing fits one mebibyte");
}
