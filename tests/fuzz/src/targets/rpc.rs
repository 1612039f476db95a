//! Requests of clients to a worker (`mullama rpc-server`), and answers of workers to a client: damaged recorded
//! sessions. The worker must serve others afterwards; the client must get an answer or an error.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, thread};

use fastrand::Rng;
use mullama::{ContextParams, Error, ErrorKind, Model, ModelParams, rpc};

use super::brief;
use crate::input::Input;
use crate::memory;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Number of bytes before the payload: in a request, the command and the payload's length; in an answer, the length.
const REQUEST: usize = 9;
const ANSWER: usize = 8;
/// Maximum size of a recorded frame in bytes.
const MAX_FRAME_BYTES: usize = 256 << 10;
/// Maximum wait for an answer that was received when the session was recorded.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// Maximum time of a worker for a correct client, next to a damaged one.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum memory of a worker in bytes for a damaged client.
const MAX_MEMORY: u64 = 2_000_000_000;

/// A request of a session, and its answer.
#[derive(Clone)]
struct Exchange {
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// A worker in a separate process, started by a shell that ends it when this process ends for any reason.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let free =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a port of loopback");
        let process = Command::new("sh")
            .args(["-c", "\"$@\" & cat; kill $!; wait", "sh"])
            .arg(env::current_exe().expect("this program has a path"))
            .args(["serve", &address.to_string()])
            .env("MULLAMA_BACKEND", "rpc")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("a shell starts");
        let server = Self { process, address: address.to_string() };
        let begun = Instant::now();
        while TcpStream::connect(&server.address).is_err() && begun.elapsed() < SERVICE_TIMEOUT {
            thread::sleep(Duration::from_millis(20));
        }
        server
    }

    /// Checks that it still listens, answers the greeting as before, and has not grown too large.
    fn check(&self, greeting: &Exchange) -> Result<(), String> {
        let resident = memory::resident_with_children(self.process.id());
        if resident > MAX_MEMORY {
            return Err(format!("the worker takes {resident} bytes"));
        }
        let greeted = TcpStream::connect(&self.address).and_then(|mut stream| {
            stream.set_read_timeout(Some(SERVICE_TIMEOUT))?;
            stream.write_all(&greeting.request)?;
            let mut answer = vec![0; greeting.answer.len()];
            stream.read_exact(&mut answer)
        });
        greeted.map_err(|error| format!("the worker does not greet: {error}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Runs a worker with the CPU.
pub fn serve(address: &str) -> ExitCode {
    mullama::log_to_stderr();
    let Err(error) = rpc::serve(address, None, Some(1)) else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    ExitCode::FAILURE
}

/// A relay between a client and a worker.
struct Relay {
    address: String,
    /// The recorded exchanges of each connection.
    sessions: Arc<Mutex<Vec<Vec<Exchange>>>>,
    /// The seed with which answers are damaged; 0: they are not damaged, and sessions are recorded.
    seed: Arc<AtomicU64>,
}

impl Relay {
    fn start(worker: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port of loopback");
        let address = listener.local_addr().expect("it has an address").to_string();
        let (sessions, seed) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicU64>::default());
        let (kept, seeded) = (Arc::clone(&sessions), Arc::clone(&seed));
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&worker) else { continue };
                let index = {
                    let mut sessions = locked(&kept);
                    sessions.push(Vec::new());
                    sessions.len() - 1
                };
                let (kept, seed) = (Arc::clone(&kept), seeded.load(Ordering::Relaxed));
                thread::spawn(move || pass(&client, &server, index, &kept, seed));
            }
        });
        Self { address, sessions, seed }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forwards bytes in both directions until one ends, and records the exchanges.
fn pass(
    client: &TcpStream,
    server: &TcpStream,
    index: usize,
    sessions: &Mutex<Vec<Vec<Exchange>>>,
    seed: u64,
) {
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut from, mut to) = (client, server);
            while let Some(request) = frame(&mut from, REQUEST) {
                if seed == 0 && request.len() <= MAX_FRAME_BYTES {
                    let exchange = Exchange { request: request.clone(), answer: Vec::new() };
                    locked(sessions)[index].push(exchange);
                }
                if to.write_all(&request).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(Shutdown::Both);
        });
        let (mut from, mut to) = (server, client);
        let mut rng = Rng::with_seed(seed);
        while let Some(mut answer) = frame(&mut from, ANSWER) {
            if seed == 0 {
                // An answer belongs to the last request, since clients wait for it.
                if let Some(last) = locked(sessions)[index].last_mut() {
                    last.answer.clone_from(&answer);
                }
            } else if rng.u8(..12) == 0 {
                mutate::bytes(&mut answer, &[], &mut rng);
            }
            if to.write_all(&answer).is_err() {
                break;
            }
            if seed != 0 && rng.u8(..60) == 0 {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    });
}

/// Reads a frame with its head, whose last eight bytes are the length of the rest.
fn frame(from: &mut impl Read, head: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; head];
    from.read_exact(&mut bytes).ok()?;
    let length = u64::from_le_bytes(bytes[head - 8..].try_into().ok()?);
    let wanted = usize::try_from(length).ok().filter(|length| *length <= 1 << 30)?;
    bytes.resize(head + wanted, 0);
    from.read_exact(&mut bytes[head..]).ok()?;
    Some(bytes)
}

/// Loads the demo model on a worker and generates with it.
fn use_worker(address: &str, context: ContextParams) -> Result<(), Error> {
    let devices = rpc::connect(address)?;
    let params = ModelParams::default().with_rpc_servers([address.to_owned()]);
    let params = params.with_devices(devices).with_n_gpu_layers(-1);
    let model = Model::load("demo", params, context.with_n_ctx(64).with_n_threads(1))?;
    let answer = model.generate("Hello", &brief());
    model.close();
    answer.map(drop)
}

pub fn start(_: &Path) -> Fuzz {
    let mut server = Server::start();
    let relay = Relay::start(server.address.clone());
    use_worker(&relay.address, ContextParams::default()).expect("a sound worker is of use");
    let sessions: Vec<_> =
        locked(&relay.sessions).iter().filter(|session| !session.is_empty()).cloned().collect();
    let greeting = sessions[0][0].clone();
    // The engine of a process never forgets a worker, so one relay is reused.
    Box::new(move |input| {
        let mut outcome = Outcome::default();
        if input.rng.u8(..4) == 0 {
            relay.seed.store(input.rng.u64(1..), Ordering::Relaxed);
            outcome.decide("client", use_worker(&relay.address, ContextParams::default()));
            relay.seed.store(0, Ordering::Relaxed);
        } else {
            attack(&server, &sessions, input, &mut outcome);
        }
        if let Err(problem) = server.check(&greeting) {
            outcome.wrong(problem);
            server = Server::start();
        }
        outcome
    })
}

/// Sends a recorded session, partly damaged.
fn attack(server: &Server, sessions: &[Vec<Exchange>], input: &mut Input, outcome: &mut Outcome) {
    let rng = &mut input.rng;
    let session = &sessions[rng.usize(..sessions.len())];
    let count = rng.usize(1..=session.len().min(400));
    let first = if rng.bool() { 0 } else { rng.usize(..=(session.len() - count)) };
    let damaged = rng.usize(..count);
    let mut said = Vec::new();
    let Ok(mut stream) = TcpStream::connect(&server.address) else {
        return outcome.wrong("nobody listens");
    };
    let _ = stream.set_read_timeout(Some(ANSWER_TIMEOUT));
    let _ = stream.set_write_timeout(Some(SERVICE_TIMEOUT));
    // Addresses in the worker's memory: recorded and current values.
    let mut places: Vec<([u8; 8], [u8; 8])> = Vec::new();
    let greeting = session.first().filter(|_| first > 0);
    for (index, exchange) in greeting.into_iter().chain(&session[first..first + count]).enumerate()
    {
        let mut request = exchange.request.clone();
        replace(&mut request, &places);
        if index >= damaged && (index == damaged || rng.u8(..8) == 0) {
            damage(&mut request, session, rng);
        }
        said.extend_from_slice(&request);
        if stream.write_all(&request).is_err() {
            break;
        }
        if !exchange.answer.is_empty() {
            let mut answer = vec![0; exchange.answer.len()];
            if stream.read_exact(&mut answer).is_err() {
                if index < damaged {
                    break;
                }
                continue;
            }
            note_places(&exchange.answer, &answer, &mut places);
        }
    }
    input.save("session.bin", said);
    outcome.refused = Some(ErrorKind::Backend);
}

/// Records changed numbers, which are addresses in memory.
fn note_places(old: &[u8], new: &[u8], places: &mut Vec<([u8; 8], [u8; 8])>) {
    for (old, new) in old[ANSWER..].chunks_exact(8).zip(new[ANSWER..].chunks_exact(8)) {
        if let (Ok(old), Ok(new)) = (<[u8; 8]>::try_from(old), <[u8; 8]>::try_from(new))
            && old != new
        {
            places.retain(|(known, _)| *known != old);
            places.push((old, new));
        }
    }
}

fn replace(request: &mut [u8], places: &[([u8; 8], [u8; 8])]) {
    // Weights contain no addresses.
    let end = request.len().min(64 << 10);
    let mut at = REQUEST;
    while at + 8 <= end {
        match places.iter().find(|(old, _)| request[at..at + 8] == *old) {
            Some((_, new)) => {
                request[at..at + 8].copy_from_slice(new);
                at += 8;
            }
            None => at += 1,
        }
    }
}

fn damage(request: &mut Vec<u8>, session: &[Exchange], rng: &mut Rng) {
    match rng.u8(..8) {
        0 => request[0] = rng.u8(..24),
        1 => request[1..REQUEST].copy_from_slice(&mutate::limit(rng).to_le_bytes()),
        2 => request.clone_from(&session[rng.usize(..session.len())].request),
        _ => {
            // The payload, with its new length.
            let mut payload = request[REQUEST..].to_vec();
            mutate::bytes(&mut payload, &[], rng);
            request.truncate(REQUEST);
            request[1..].copy_from_slice(&(payload.len() as u64).to_le_bytes());
            request.extend(payload);
        }
    }
}
