//! Workers that are silent or send nonsense: calls do not wait for them, and they do not crash processes.

mod worker;

use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mullama::{ErrorKind, GenerateOptions, Model};
use worker::{Proxy, TIMEOUT, Worker, all, assert_answers, load, load_at, lock_turn, test_process};

/// Environment variables with the scene that this program runs, and with the address and the
/// process of its worker.
const SCENARIO: &str = "MULLAMA_TEST_SCENE";
const WORKER_ADDRESS: &str = "MULLAMA_TEST_AT";
const PROCESS: &str = "MULLAMA_TEST_PROCESS";

/// Not a test: the entry point of the processes that may hang.
#[test]
fn scene() {
    let Ok(scene) = std::env::var(SCENARIO) else { return };
    let address = std::env::var(WORKER_ADDRESS).unwrap();
    #[cfg(unix)]
    match scene.as_str() {
        "calls" => unix::calls(&address),
        "close" => unix::close(&address),
        "exit" => unix::exit(&address),
        "limit" => unix::limit(&address),
        "load" => unix::load(&address),
        "network" => unix::network(&address),
        other => panic!("{other}"),
    }
    println!("played {scene}");
}

/// Runs a scene with its own worker, with a timeout of `silence` seconds for the worker. A scene that hangs fails.
#[cfg(unix)]
fn run_scenario(scene: &str, silence: &str) {
    let _turn = lock_turn();
    let worker = Worker::start();
    let mut process = test_process("scene")
        .env(SCENARIO, scene)
        .env(WORKER_ADDRESS, &worker.address)
        .env(PROCESS, worker.process.id().to_string())
        .env("MULLAMA_RPC_TIMEOUT", silence)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > until {
            process.kill().unwrap();
            process.wait().unwrap();
            panic!("{scene}: it hangs");
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut said = String::new();
    process.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.success() && said.contains(&format!("played {scene}")), "{scene}: {said}");
}

/// Longer than the timeout of the tests: a call that ends did not wait for the worker.
#[cfg(unix)]
const ENDLESS_SECONDS: &str = "3600";

#[cfg(unix)]
#[test]
fn calls_time_out_with_silent_workers() {
    run_scenario("calls", ENDLESS_SECONDS);
}

#[cfg(unix)]
#[test]
fn models_close_with_silent_workers() {
    run_scenario("close", ENDLESS_SECONDS);
}

#[cfg(unix)]
#[test]
fn processes_exit_with_silent_workers() {
    run_scenario("exit", ENDLESS_SECONDS);
}

#[cfg(unix)]
#[test]
fn silence_timeout_applies_to_calls_and_loading() {
    run_scenario("limit", "5");
    run_scenario("load", "5");
}

/// The worker and its connections are alive, but nothing arrives.
#[cfg(unix)]
#[test]
fn silence_timeout_applies_to_lost_packets() {
    run_scenario("network", "5");
}

#[cfg(unix)]
mod unix {
    use mullama::{EmbedOptions, FinishReason, Message, Result, Stream, gpu, rpc};

    use super::*;

    fn silence() {
        let process = std::env::var(PROCESS).unwrap().parse().unwrap();
        worker::send_signal(process, "STOP");
    }

    fn endless() -> GenerateOptions {
        GenerateOptions::default().with_ignore_eos(true)
    }

    /// Starts an answer and then stops its worker.
    fn begun(model: &Model) -> (Stream, String) {
        let mut stream = model.stream("Once upon a time", &endless()).unwrap();
        let first = stream.next_chunk().unwrap().unwrap().text;
        silence();
        (stream, first)
    }

    pub fn calls(address: &str) {
        let model = load_at(&[address], all()).unwrap();
        let (mut stream, mut text) = begun(&model);
        let short = endless().with_timeout(1.0);
        // A request that waits behind it.
        let late = model.generate("Once", &short).unwrap();
        assert_eq!(late.finish_reason, FinishReason::Cancelled);
        assert_eq!((late.text.as_str(), late.usage.completion_tokens), ("", 0));
        assert!(late.usage.prompt_tokens > 0);
        let late = model.chat(&[Message::user("Hello")], &short.clone().into()).unwrap();
        assert_eq!(late.completion.finish_reason, FinishReason::Cancelled);
        let late = futures_executor::block_on(model.generate_async("Once", &short)).unwrap();
        assert_eq!(late.finish_reason, FinishReason::Cancelled);
        let embed = EmbedOptions::default().with_timeout(1.0);
        let late = model.embed("Once", &embed).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::Cancelled);
        // The running one returns its partial answer.
        stream.cancel();
        let completion = loop {
            let chunk = stream.next_chunk().unwrap().unwrap();
            text.push_str(&chunk.text);
            if let Some(completion) = chunk.completion {
                break completion;
            }
        };
        assert_eq!(completion.finish_reason, FinishReason::Cancelled);
        assert_eq!(completion.text, text);
        assert!(!text.is_empty());
        assert!(completion.usage.completion_tokens > 0);
        assert!(stream.next_chunk().is_none());
        let device = gpu::devices().into_iter().find(|device| device.backend == "rpc").unwrap();
        assert!(device.memory_total > 0 && device.memory_free <= device.memory_total);
        // Other calls do not hang behind it.
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let silent = silent.local_addr().unwrap().to_string();
        let waiting = thread::spawn(move || rpc::connect(&silent).unwrap_err());
        assert_answers(&load_at(&[], all()).unwrap(), "a model without a worker");
        gpu::devices();
        assert_eq!(waiting.join().unwrap().kind(), ErrorKind::Backend);
    }

    pub fn close(address: &str) {
        let model = load_at(&[address], all()).unwrap();
        let other = load_at(&[address], all()).unwrap();
        let waiting = model.clone();
        let (stream, _) = begun(&model);
        model.close();
        assert_eq!(waiting.generate("Once", &endless()).unwrap_err().kind(), ErrorKind::Closed);
        // A model whose worker another model waits for.
        drop(other);
        // A stream that is read further does not wait either.
        stream.for_each(drop);
    }

    pub fn exit(address: &str) {
        let model = load_at(&[address], all()).unwrap();
        let (stream, _) = begun(&model);
        thread::spawn(move || stream.for_each(drop));
        // Nothing is freed before the process exits.
        std::mem::forget(model);
    }

    pub fn limit(address: &str) {
        let model = load_at(&[address], all()).unwrap();
        let (mut stream, _) = begun(&model);
        let error = loop {
            match stream.next_chunk().expect("an error before the end") {
                Ok(chunk) => assert!(chunk.completion.is_none(), "it went on to its end"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
        assert!(error.to_string().contains("within 5 s"), "{error}");
        assert!(gpu::devices().iter().all(|device| device.backend != "rpc"));
        model.close();
        let error = load_at(&[address], all()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend);
    }

    pub fn network(address: &str) {
        let is_broken = Arc::new(AtomicBool::new(false));
        let network = Proxy::start(address, {
            let is_broken = Arc::clone(&is_broken);
            move |_, _, _| {
                while is_broken.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(10));
                }
            }
        });
        let model = load_at(&[&network.address], all()).unwrap();
        let mut stream = model.stream("Once upon a time", &endless()).unwrap();
        stream.next_chunk().unwrap().unwrap();
        is_broken.store(true, Ordering::SeqCst);
        let late = model.generate("Once", &endless().with_timeout(1.0)).unwrap();
        assert_eq!(late.finish_reason, FinishReason::Cancelled);
        let error = stream.find_map(Result::err).expect("an error before the end");
        assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
        assert!(error.to_string().contains("within 5 s"), "{error}");
        model.close();
        let error = load_at(&[&network.address], all()).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
        is_broken.store(false, Ordering::SeqCst);
        assert_answers(&load_at(&[&network.address], all()).unwrap(), "the network is back");
    }

    pub fn load(address: &str) {
        let context = mullama::ContextParams::default().with_n_ctx(512).with_n_threads(1);
        let params = all().with_rpc_servers([address.to_owned()]);
        let mut is_silent = false;
        let loaded = Model::load_with_progress("demo", params, context, |progress| {
            if progress > 0.3 && !std::mem::replace(&mut is_silent, true) {
                silence();
            }
            true
        });
        let error = loaded.map(drop).unwrap_err();
        assert!(is_silent);
        assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
        assert!(error.to_string().contains(address), "{error}");
    }
}

/// Checks that a model loads and answers, or that an error names the worker, and that the process still works.
/// Returns whether it answered.
fn assert_survives(address: &str, what: &str) -> bool {
    let used = load_at(&[address], all()).and_then(|model| {
        let options = GenerateOptions::default().with_max_tokens(4).with_timeout(60.0);
        model.generate("Once upon a time", &options)
    });
    match used {
        Ok(_) => true,
        Err(error) => {
            // Not a worker at all, or one with too small buffers.
            let kinds = [ErrorKind::Backend, ErrorKind::DoesNotFit, ErrorKind::OutOfMemory];
            assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
            false
        }
    }
}

#[test]
fn invalid_worker_answers_are_errors() {
    let _turn = lock_turn();
    let worker = Worker::start();
    let beside = load(&[&worker], all()).unwrap();
    let cases: [(&str, u8, &[u64]); 19] = [
        ("no device", 15, &[4]),
        ("2^31 devices", 15, &[4, 1 << 31]),
        ("a length of 2^62", 15, &[1 << 62]),
        ("an alignment of 0", 1, &[8, 0]),
        ("an alignment of 3", 1, &[8, 3]),
        ("an alignment of 2^63", 1, &[8, 1 << 63]),
        ("a largest buffer of 0", 2, &[8, 0]),
        ("more free than there is", 11, &[16, 2, 1]),
        ("2^64 bytes", 11, &[16, u64::MAX, u64::MAX]),
        ("a buffer of 0 bytes", 0, &[16, 1, 0]),
        ("a buffer of 2^64 bytes", 0, &[16, 1, u64::MAX]),
        ("no buffer", 0, &[16, 0, 0]),
        ("a buffer at 0", 3, &[8, 0]),
        ("a buffer at an odd place", 3, &[8, 0x10_0001]),
        ("a buffer at the end of memory", 3, &[8, u64::MAX - 4095]),
        ("a tensor of 2^64 bytes", 13, &[8, u64::MAX]),
        ("a tensor of 2^45 bytes", 13, &[8, 1 << 45]),
        ("a length of 2^62", 8, &[1 << 62]),
        ("a length of 0", 8, &[0]),
    ];
    for (what, changed, numbers) in cases {
        let numbers: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let meddler = Proxy::start(&worker.address, move |_, request, answer| {
            if request[0] == changed
                && let Some(answer) = answer
            {
                // The number has four bytes: its lower half.
                let length = if changed == 15 { numbers.len().min(12) } else { numbers.len() };
                answer.resize(length.max(12), 0);
                answer.truncate(length);
                answer.copy_from_slice(&numbers[..length]);
            }
        });
        let survived = assert_survives(&meddler.address, what);
        // Not all of these are requested here.
        assert!(!survived || changed == 13, "{what}: nobody noticed");
        assert_answers(&beside, what);
    }
}

#[test]
fn results_that_do_not_arrive_are_errors() {
    const GET_TENSOR: u8 = 8;
    let _turn = lock_turn();
    let worker = Worker::start();
    for lost in 1..=4 {
        let count = Arc::new(AtomicU64::new(0));
        let network = Proxy::start(&worker.address, move |_, request, answer| {
            if request[0] == GET_TENSOR && answer.is_some() {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                assert!(number != lost, "a connection is closed");
            }
        });
        let answer = load_at(&[&network.address], all()).and_then(|model| {
            let options = GenerateOptions::default().with_max_tokens(8).with_temperature(0.0);
            model.generate("The capital of France is", &options)
        });
        let error = answer.map(|answer| answer.text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend, "{lost}: {error:?}");
        assert!(error.to_string().contains(&network.address), "{lost}: {error}");
    }
}

/// Answers of all kinds with random changes, which are the same in every run.
#[test]
fn random_worker_answers_do_not_crash() {
    let _turn = lock_turn();
    let worker = Worker::start();
    let beside = load(&[&worker], all()).unwrap();
    let mut refused = 0;
    for seed in 1..=60_u64 {
        let state = Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let meddler = Proxy::start(&worker.address, move |_, _, answer| {
            let Some(answer) = answer else { return };
            let next = || {
                let mut number = state.load(Ordering::SeqCst);
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                state.store(number, Ordering::SeqCst);
                number
            };
            if next() % 16 == 0 {
                let at = next() as usize % answer.len();
                answer[at] = [0, 1, 0x7f, 0x80, 0xff, next() as u8][next() as usize % 6];
            }
        });
        refused += usize::from(!assert_survives(&meddler.address, &format!("seed {seed}")));
    }
    println!("{refused} of 60 were refused");
    assert!(refused > 0);
    assert_answers(&beside, "after all of them");
}
