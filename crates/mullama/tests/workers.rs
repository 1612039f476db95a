//! Placement on workers, which run as processes of this machine.

mod worker;

use std::net::{Ipv4Addr, TcpListener};

use mullama::gpu::{self, DeviceKind};
use mullama::{
    ContextParams, ErrorKind, GenerateOptions, GpuLayers, Model, ModelParams, SplitMode, rpc,
};
use worker::{Worker, all, assert_answers, load, lock_turn};

/// Number of layers on each of the workers' devices, sorted by name.
fn remote_layers(model: &Model) -> Vec<u32> {
    let placement = model.placement();
    let shares = placement.devices.iter().filter(|share| share.name.starts_with("RPC"));
    shares.map(|share| share.layers).collect()
}

#[test]
fn layers_are_split_over_two_workers() {
    let _turn = lock_turn();
    let (one, two) = (Worker::start(), Worker::start());
    let names = [rpc::connect(&one.address).unwrap(), rpc::connect(&two.address).unwrap()].concat();
    assert_eq!(names.len(), 2);
    let listed = gpu::devices();
    for name in &names {
        let device = listed.iter().find(|device| device.name == *name).unwrap();
        assert_eq!((device.backend.as_str(), device.kind), ("rpc", DeviceKind::Gpu));
        assert!(device.memory_total > 0);
    }
    let both = || ModelParams::default().with_devices(names.clone());
    for layers in [1, 5, 9] {
        let params = both().with_n_gpu_layers(GpuLayers::Count(layers));
        let model = load(&[&one, &two], params.with_tensor_split([1.0, 1.0])).unwrap();
        assert_eq!(model.gpu_layers(), layers);
        assert_eq!(remote_layers(&model).iter().sum::<u32>(), layers);
        assert_answers(&model, &format!("{layers} layers on two workers"));
    }
    let params = both().with_n_gpu_layers(-1).with_tensor_split([3.0, 1.0]);
    let model = load(&[&one, &two], params).unwrap();
    assert_eq!(remote_layers(&model), [7, 2]);
    assert_answers(&model, "3 to 1");
    for share in &model.placement().devices[..2] {
        assert!(share.weights > 0 && share.kv > 0 && share.compute > 0, "{share:?}");
    }
    drop(model);
    let params = both().with_n_gpu_layers(-1).with_split_mode(SplitMode::None).with_main_gpu(1);
    let model = load(&[&one, &two], params).unwrap();
    assert_eq!(remote_layers(&model), [9]);
    assert_answers(&model, "one of two workers");
    drop(model);
    let error = load(&[&one], both().with_n_gpu_layers(-1)).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "a device of a worker that is not named");
}

#[test]
fn worker_and_local_gpu_are_used_together() {
    let _turn = lock_turn();
    let local = gpu::devices()
        .into_iter()
        .find(|device| device.kind == DeviceKind::Gpu && device.backend != "rpc");
    let Some(local) = local else {
        mullama_testkit::skip("no GPU");
        return;
    };
    let worker = Worker::start();
    let remote = rpc::connect(&worker.address).unwrap().remove(0);
    let devices = [remote, local.name.clone()];
    let params = ModelParams::default().with_devices(devices).with_n_gpu_layers(-1);
    let model = load(&[&worker], params.with_tensor_split([1.0, 1.0])).unwrap();
    assert_eq!(remote_layers(&model), [5]);
    assert!(model.placement().devices.iter().any(|it| it.name == local.name && it.layers == 4));
    assert_answers(&model, "a worker and a GPU");
}

#[test]
fn models_without_rpc_servers_use_no_worker() {
    let _turn = lock_turn();
    let worker = Worker::start();
    let with = load(&[&worker], ModelParams::default().with_n_gpu_layers(-1)).unwrap();
    assert_answers(&with, "a worker");
    let without = load(&[], ModelParams::default()).unwrap();
    assert!(remote_layers(&without).is_empty());
    assert_answers(&without, "no worker");
}

#[test]
fn lost_workers_are_errors_and_can_be_replaced() {
    let _turn = lock_turn();
    let mut worker = Worker::start();
    let other = load(&[], ModelParams::default()).unwrap();
    let model = load(&[&worker], all()).unwrap();
    let endless = GenerateOptions::default().with_ignore_eos(true);
    let mut stream = model.stream("Once upon a time", &endless).unwrap();
    stream.next_chunk().unwrap().unwrap();
    worker.kill();
    let error = loop {
        match stream.next_chunk().expect("an error before the end") {
            Ok(chunk) => assert!(chunk.completion.is_none(), "it went on to its end"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
    assert!(error.to_string().contains(&worker.address));
    let again = model.generate("Once", &endless).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Backend);
    assert!(gpu::devices().iter().all(|device| !device.description.contains(&worker.address)));
    let error = load(&[&worker], all()).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert_answers(&other, "a model that has nothing to do with it");

    // The failed model still exists.
    let replaced = Worker::start_at(&worker.address);
    let anew = load(&[&replaced], all()).unwrap();
    assert_answers(&anew, "the worker that was started again");
    drop(model);
    assert_answers(&anew, "after the model that failed has gone");
}

#[test]
fn addresses_without_a_worker_are_errors() {
    let _turn = lock_turn();
    let refused = |address: String| {
        let params = ModelParams::default().with_rpc_servers([address]);
        Model::load("demo", params, ContextParams::default()).map(drop).unwrap_err()
    };
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let error = refused(unused.to_string());
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(error.hint().is_some_and(|hint| hint.contains("rpc-server")));
    // A server that accepts connections and stays silent.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let error = refused(silent.local_addr().unwrap().to_string());
    assert_eq!(error.kind(), ErrorKind::Backend);
    assert!(error.to_string().contains("within 5 s"), "{error}");
    for bad in ["", "host:port", "[::1]:50052", "host:99999"] {
        assert_eq!(refused(bad.to_owned()).kind(), ErrorKind::InvalidArgument, "{bad:?}");
    }
}
