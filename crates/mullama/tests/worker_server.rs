//! The server side of workers: arbitrary requests, and other clients at the same time.

mod worker;

use std::collections::HashMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use mullama::{ErrorKind, GenerateOptions, Model};
use worker::{
    ANSWERED_COMMANDS, Proxy, TIMEOUT, Worker, all, assert_answers, load, load_at, lock_turn,
    read_answer, unused_address,
};

const TENSOR: usize = 296;

/// A request and its answer.
#[derive(Clone)]
struct Exchange {
    request: Vec<u8>,
    answer: Option<Vec<u8>>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}

/// Records the requests of a program that loads the demo model on a worker, uses it and closes it.
fn record(worker: &Worker) -> Vec<Exchange> {
    let connections = Arc::<Mutex<HashMap<usize, Vec<Exchange>>>>::default();
    let recorded = Arc::clone(&connections);
    let proxy = Proxy::start(&worker.address, move |number, request, answer| {
        let exchange =
            Exchange { request: request.to_owned(), answer: answer.map(|answer| answer.clone()) };
        recorded.lock().unwrap().entry(number).or_default().push(exchange);
    });
    let model = load_at(&[&proxy.address], all()).unwrap();
    let options = GenerateOptions::default().with_temperature(0.0).with_max_tokens(3);
    model.generate("Once upon a time", &options).unwrap();
    model.close();
    // The proxy records an answer after forwarding it, which may be after the model was closed.
    let deadline = Instant::now() + TIMEOUT;
    let longest = loop {
        let longest = longest_of(&connections.lock().unwrap());
        let has = |command: u8| longest.iter().any(|exchange| exchange.request[0] == command);
        if [0, 3, 4, 6, 8, 10].into_iter().all(has) {
            break longest;
        }
        assert!(Instant::now() < deadline, "a session is missing something");
        thread::sleep(Duration::from_millis(10));
    };
    // The first message must be the greeting.
    assert_eq!(longest[0].request[0], 14);
    longest
}

fn longest_of(connections: &HashMap<usize, Vec<Exchange>>) -> Vec<Exchange> {
    connections.values().max_by_key(|exchanges| exchanges.len()).cloned().unwrap_or_default()
}

/// Replays a recorded session on a new connection.
struct Replay {
    stream: TcpStream,
    /// Recorded buffers: their current handles, their recorded addresses, and their current addresses.
    buffers: HashMap<u64, (u64, u64, u64)>,
}

impl Replay {
    fn start(worker: &Worker) -> Self {
        let stream = TcpStream::connect(&worker.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Self { stream, buffers: HashMap::new() }
    }

    /// Replaces the handles and addresses of buffers in a recorded request by the current ones.
    fn translate(&self, request: &[u8]) -> Vec<u8> {
        let mut request = request.to_owned();
        let buffer_of = |handle: u64| self.buffers.get(&handle).copied();
        if matches!(request[0], 3..=5)
            && let Some((handle, ..)) = buffer_of(u64_at(&request, 9))
        {
            put(&mut request, 9, handle);
        }
        for tensor in tensors_in(&request) {
            if let Some((handle, was, is)) = buffer_of(u64_at(&request, tensor + 12)) {
                put(&mut request, tensor + 12, handle);
                let data = u64_at(&request, tensor + 220);
                put(&mut request, tensor + 220, data.wrapping_sub(was).wrapping_add(is));
            }
        }
        request
    }

    /// Sends a request and returns the answer, which is empty if the request has none. `None` if the worker has closed
    /// the connection.
    fn say(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        self.stream.write_all(request).ok()?;
        if ANSWERED_COMMANDS.contains(&request[0]) {
            read_answer(&self.stream)
        } else {
            Some(Vec::new())
        }
    }

    /// Repeats a recorded request. Returns whether the answer is the same; `None` if the worker has closed the
    /// connection.
    fn repeat(&mut self, exchange: &Exchange) -> Option<bool> {
        let answer = self.say(&self.translate(&exchange.request))?;
        let Some(recorded) = &exchange.answer else { return Some(true) };
        match exchange.request[0] {
            0 => {
                let (was, is) = (u64_at(recorded, 8), u64_at(&answer, 8));
                self.buffers.insert(was, (is, 0, 0));
                Some(u64_at(recorded, 16) == u64_at(&answer, 16))
            }
            3 => {
                let buffer = self.buffers.get_mut(&u64_at(&exchange.request, 9)).unwrap();
                (buffer.1, buffer.2) = (u64_at(recorded, 8), u64_at(&answer, 8));
                Some(true)
            }
            // The free memory changes.
            11 => Some(true),
            _ => Some(*recorded == answer),
        }
    }
}

/// Returns the offsets of the tensors in a request.
fn tensors_in(request: &[u8]) -> Vec<usize> {
    let row = |first: usize, count: usize| (0..count).map(|index| first + index * TENSOR).collect();
    match request[0] {
        6..=8 | 12 | 17 => row(9, 1),
        9 => row(9, 2),
        13 => row(9 + 4, 11),
        10 => {
            let nodes = u32::from_le_bytes(request[13..17].try_into().unwrap()) as usize;
            let first = 17 + 8 * nodes + 4;
            row(first, (request.len() - first) / TENSOR)
        }
        _ => Vec::new(),
    }
}

/// Checks that a worker still computes the same results.
fn assert_repeats(worker: &Worker, session: &[Exchange], what: &str) {
    let mut replay = Replay::start(worker);
    for (index, exchange) in session.iter().enumerate() {
        let command = exchange.request[0];
        let same = replay.repeat(exchange);
        assert_eq!(same, Some(true), "{what}: request {index}, command {command}");
    }
}

/// Pseudo-random numbers that are the same in every run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// Changes a request to one that no program sends.
fn corrupt(request: &mut Vec<u8>, numbers: &mut Rng) {
    const ODD_VALUES: [u64; 12] = [
        0,
        1,
        2,
        43,
        0x7f,
        0xffff_ffff,
        0x8000_0000,
        0x7fff_ffff,
        u64::MAX,
        1 << 63,
        (1 << 63) - 1,
        1 << 32,
    ];
    // Fields of a tensor: offset and size in bytes.
    const FIELDS: [(usize, usize); 20] = [
        (0, 8),
        (8, 4),
        (12, 8),
        (20, 4),
        (24, 4),
        (28, 4),
        (32, 4),
        (36, 4),
        (40, 4),
        (44, 4),
        (48, 4),
        (52, 4),
        (56, 4),
        (60, 4),
        (120, 4),
        (124, 8),
        (132, 8),
        (204, 8),
        (212, 8),
        (220, 8),
    ];
    let tensors = tensors_in(request);
    match numbers.below(12) {
        0..=7 if !tensors.is_empty() => {
            let tensor = numbers.of(&tensors);
            let (field, width) = numbers.of(&FIELDS);
            let at = tensor + field;
            let other = numbers.of(&tensors) + field;
            let number = match numbers.below(4) {
                // Another tensor's value, a value near the original, a small one, an odd one.
                0 => u64_at(request, other),
                1 => u64_at(request, at).wrapping_add(numbers.of(&[1, 8, 4096, u64::MAX])),
                2 => numbers.next() % 128,
                _ => numbers.of(&ODD_VALUES),
            };
            request[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        8 => {
            let length = u64_at(request, 1);
            let length = numbers.of(&[0, length + 1, length.wrapping_sub(1), 1 << 40, u64::MAX]);
            put(request, 1, length);
        }
        9 => request[0] = numbers.next() as u8 % 24,
        10 => {
            let length = 9 + numbers.below(request.len() - 8);
            request.truncate(length);
            put(request, 1, length as u64 - 9);
        }
        _ => {
            for _ in 0..=numbers.below(3) {
                let at = numbers.below(request.len());
                request[at] = numbers.next() as u8;
            }
        }
    }
}

/// Starts a worker with a log file.
fn worker_that_is_heard(name: &str) -> (Worker, std::path::PathBuf) {
    let log = std::env::temp_dir().join(format!("mullama-{name}-{}.log", std::process::id()));
    let file = fs::File::create(&log).unwrap();
    (Worker::start_as(&unused_address(), |command| _ = command.stderr(file)), log)
}

/// Whatever a program sends, other programs are still served correctly.
#[test]
fn malformed_requests_do_not_affect_other_programs() {
    const COUNT: u64 = 420;
    let _turn = lock_turn();
    let (mut worker, log) = worker_that_is_heard("requests");
    let session = record(&worker);
    assert_repeats(&worker, &session, "at first");
    let beside = load(&[&worker], all()).unwrap();
    let mut commands: Vec<u8> = session.iter().map(|exchange| exchange.request[0]).collect();
    commands.sort_unstable();
    commands.dedup();
    let mut closed = 0;
    for seed in 1..=COUNT {
        let mut numbers = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // More of those that describe tensors, which have the most possible errors.
        let describing = [6, 8, 10, 10, 10, 13].into_iter().filter(|it| commands.contains(it));
        let describing: Vec<_> = describing.collect();
        let command = numbers.of(if seed % 4 == 0 { &commands } else { &describing });
        let places: Vec<usize> =
            (0..session.len()).filter(|&place| session[place].request[0] == command).collect();
        let place = numbers.of(&places);
        let mut replay = Replay::start(&worker);
        for exchange in &session[..place] {
            assert_eq!(replay.repeat(exchange), Some(true), "seed {seed}");
        }
        let mut request = replay.translate(&session[place].request);
        corrupt(&mut request, &mut numbers);
        // Do not wait long for the answer to a truncated request.
        replay.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut goes_on = replay.say(&request).is_some();
        for exchange in session[place..].iter().take(20) {
            goes_on = goes_on && replay.repeat(exchange).is_some();
        }
        closed += u64::from(!goes_on);
        drop(replay);
        assert!(worker.process.try_wait().unwrap().is_none(), "seed {seed}: the worker has ended");
        assert_answers(&beside, &format!("seed {seed}"));
        if seed % 30 == 0 {
            assert_repeats(&worker, &session, &format!("seed {seed}"));
        }
    }
    let log = fs::read_to_string(log).unwrap();
    let count = |what: &str| log.lines().filter(|line| line.contains(what)).count();
    println!(
        "of {COUNT} requests, {closed} closed their connections: {} were refused, over {} the engine's process \
         ended",
        count("a request was refused"),
        count("the engine's process ended"),
    );
    assert!(count("a request was refused") > 0, "{log}");
}

/// Opens more silent connections than the maximum number of connections.
#[test]
fn silent_connections_do_not_block_others() {
    let _turn = lock_turn();
    let worker = Worker::start();
    let silent: Vec<_> = (0..40).map(|_| TcpStream::connect(&worker.address).unwrap()).collect();
    let model = load(&[&worker], all()).unwrap();
    assert_answers(&model, "beside silent connections");
    // The worker must have closed each of them.
    for mut stream in silent {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    }
    // A connection that has sent a greeting, and one that has begun a request.
    let greeting = [&[14_u8][..], &24_u64.to_le_bytes(), &[0; 24]].concat();
    let mut greeted = TcpStream::connect(&worker.address).unwrap();
    greeted.write_all(&greeting).unwrap();
    let mut begun = TcpStream::connect(&worker.address).unwrap();
    begun.write_all(&[&greeting[..], &[6], &(1_u64 << 62).to_le_bytes()].concat()).unwrap();
    assert_answers(&load(&[&worker], all()).unwrap(), "beside two that go no further");
    // As many connections as allowed, each with an incomplete request.
    let _begun: Vec<_> = (0..40)
        .map(|_| {
            let mut begun = TcpStream::connect(&worker.address).unwrap();
            let request = [&greeting[..], &[1], &4_u64.to_le_bytes(), &[0; 3]].concat();
            begun.write_all(&request).unwrap();
            begun
        })
        .collect();
    assert_answers(&load(&[&worker], all()).unwrap(), "beside many that go no further");
    assert_answers(&model, "the first");
}

#[test]
fn two_programs_are_served_at_once() {
    let _turn = lock_turn();
    let worker = Worker::start();
    // Each has its own connection: a direct one, and one through a proxy.
    let proxy = Proxy::start(&worker.address, |_, _, _| {});
    let (one, two) = (load(&[&worker], all()).unwrap(), load_at(&[&proxy.address], all()).unwrap());
    thread::scope(|scope| {
        for (model, name) in [(&one, "one"), (&two, "two")] {
            scope.spawn(move || (0..5).for_each(|_| assert_answers(model, name)));
        }
    });
}

#[cfg(target_os = "linux")]
mod processes {
    use super::*;
    use crate::worker::send_signal;

    /// Returns the engine's processes of a worker.
    fn of(worker: &Worker) -> Vec<u32> {
        let parent = worker.process.id().to_string();
        let is_child = |id: &u32| {
            let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let (name, rest) = stat.rsplit_once(')').unwrap_or_default();
            let mut rest = rest.split_whitespace();
            let is_running = rest.next() != Some("Z");
            is_running && name.contains("mullama-worker") && rest.next() == Some(&parent)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(is_child).collect()
    }

    fn is_running(id: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    }

    /// Waits until a worker has the given number of engine processes, and returns them.
    fn settled(worker: &Worker, count: usize) -> Vec<u32> {
        let mut known = (Vec::new(), Instant::now());
        wait_until("those that serve, and one ahead", || {
            let now = of(worker);
            if now != known.0 {
                known = (now, Instant::now());
            }
            known.0.len() == count && known.1.elapsed() > Duration::from_millis(500)
        });
        known.0
    }

    fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + TIMEOUT;
        while !is_so() {
            assert!(Instant::now() < until, "{what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn fails(model: &Model) -> bool {
        let options = GenerateOptions::default().with_max_tokens(4);
        match model.generate("Once upon a time", &options) {
            Ok(_) => false,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Backend, "{error:?}");
                true
            }
        }
    }

    #[test]
    fn a_crash_ends_one_connection() {
        let _turn = lock_turn();
        let (worker, log) = worker_that_is_heard("crash");
        let proxy = Proxy::start(&worker.address, |_, _, _| {});
        let one = load(&[&worker], all()).unwrap();
        let two = load_at(&[&proxy.address], all()).unwrap();
        // One for each connection, and one in reserve.
        let mut failed = 0;
        for process in settled(&worker, 3) {
            send_signal(process, "SEGV");
            wait_until("it ends", || !is_running(process));
            let failures = [&one, &two].into_iter().filter(|model| fails(model)).count();
            assert!(failures <= failed + 1, "a crash ended more than one connection");
            failed = failures;
        }
        assert_eq!(failed, 2);
        assert_answers(&load(&[&worker], all()).unwrap(), "a new connection");
        let log = fs::read_to_string(log).unwrap();
        assert!(log.contains("was closed: the engine's process ended (signal: 11"), "{log}");
    }

    #[test]
    fn engine_processes_end_with_their_connection() {
        let _turn = lock_turn();
        let mut worker = Worker::start();
        let model = load(&[&worker], all()).unwrap();
        settled(&worker, 2);
        model.close();
        drop(model);
        settled(&worker, 1);
        let _model = load(&[&worker], all()).unwrap();
        let processes = settled(&worker, 2);
        worker.kill();
        wait_until("they end when the worker is killed", || {
            !processes.iter().any(|&process| is_running(process))
        });
    }

    /// If no process can be started, a connection is rejected, and others are still served.
    #[test]
    fn failed_process_starts_reject_one_connection() {
        use mullama_testkit::limit::{Limit, limit};
        let _turn = lock_turn();
        let mut last = Vec::new();
        for threads in (4..=24).step_by(2) {
            let mut worker = None;
            let started = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                Worker::start_as(&unused_address(), |command| {
                    limit(command, Limit::Threads(threads));
                })
            }));
            if let Ok(started) = started {
                worker = Some(started);
            }
            let Some(mut worker) = worker else {
                last.push((threads, 0));
                continue;
            };
            let proxies: Vec<_> =
                (0..4).map(|_| Proxy::start(&worker.address, |_, _, _| {})).collect();
            let loaded: Vec<_> =
                proxies.iter().filter_map(|proxy| load_at(&[&proxy.address], all()).ok()).collect();
            for model in &loaded {
                assert_answers(model, "one that was served");
            }
            assert!(worker.process.try_wait().unwrap().is_none(), "the worker has ended");
            last.push((threads, loaded.len()));
        }
        println!("threads, and programs that were served: {last:?}");
        assert!(last.iter().any(|(_, served)| *served > 0), "{last:?}");
        assert!(last.iter().any(|(_, served)| *served < 4), "{last:?}");
    }
}
