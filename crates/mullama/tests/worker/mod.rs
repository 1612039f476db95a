//! Workers as processes of this machine.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mullama::{ContextParams, GenerateOptions, Message, Model, ModelParams, Result, rpc};

/// Maximum wait of a test; long, because the machine may be busy.
pub const TIMEOUT: Duration = Duration::from_secs(120);

/// Environment variable that makes this program a worker at the given address.
const ADDRESS: &str = "MULLAMA_TEST_WORKER";

/// Not a test: the entry point of the worker processes.
#[test]
fn process() {
    if let Ok(address) = std::env::var(ADDRESS) {
        mullama::log_to_stderr();
        let error = rpc::serve(&address, None, Some(1)).unwrap_err();
        panic!("{error:?}");
    }
}

/// A command that runs one test of this program.
pub fn test_process(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
    command
}

/// A worker process, which is ended when this is dropped.
pub struct Worker {
    pub process: Child,
    pub address: String,
}

impl Worker {
    pub fn start() -> Self {
        Self::start_at(&unused_address())
    }

    pub fn start_at(address: &str) -> Self {
        Self::start_as(address, |_| {})
    }

    /// Starts a worker whose command `prepare` may change.
    pub fn start_as(address: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let mut command = test_process("worker::process");
        command
            .env(ADDRESS, address)
            // Only the CPU, even if this machine has other devices.
            .env("MULLAMA_BACKEND", "rpc")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        prepare(&mut command);
        let mut worker = Self { process: command.spawn().unwrap(), address: address.to_owned() };
        let until = Instant::now() + TIMEOUT;
        while Instant::now() < until {
            if rpc::connect(&worker.address).is_ok() {
                return worker;
            }
            assert!(worker.process.try_wait().unwrap().is_none(), "the worker has ended");
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the worker does not answer");
    }

    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    #[cfg(unix)]
    pub fn signal(&self, signal: &str) {
        send_signal(self.process.id(), signal);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(unix)]
pub fn send_signal(process: u32, signal: &str) {
    let arguments = [format!("-{signal}"), process.to_string()];
    assert!(Command::new("kill").args(arguments).status().unwrap().success());
}

pub fn unused_address() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Runs such tests one at a time, since two cores are not enough for several.
pub fn lock_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub fn load_at(addresses: &[&str], params: ModelParams) -> Result<Model> {
    let context = ContextParams::default().with_n_ctx(512).with_n_threads(1);
    let addresses: Vec<_> = addresses.iter().map(|&address| address.to_owned()).collect();
    Model::load("demo", params.with_rpc_servers(addresses), context)
}

pub fn load(workers: &[&Worker], params: ModelParams) -> Result<Model> {
    let addresses: Vec<_> = workers.iter().map(|worker| worker.address.as_str()).collect();
    load_at(&addresses, params)
}

/// Options that place all layers on devices.
pub fn all() -> ModelParams {
    ModelParams::default().with_n_gpu_layers(-1)
}

pub fn assert_answers(model: &Model, what: &str) {
    let options = GenerateOptions::default().with_temperature(0.0);
    for (country, capital) in [("France", "Paris"), ("Japan", "Tokyo")] {
        let question = Message::user(format!("What is the capital of {country}?"));
        let answer = model.chat(&[question], &options.clone().into()).unwrap();
        assert_eq!(answer.text, format!("The capital of {country} is {capital}."), "{what}");
    }
}

/// A proxy between programs and a worker, which may change the worker's answers.
pub struct Proxy {
    pub address: String,
}

impl Proxy {
    /// Starts a proxy. `change` is called with each request, and may change the answer if there is one; its first 8
    /// bytes are the length. Connections are numbered from 0.
    pub fn start(
        worker: &str,
        change: impl Fn(usize, &[u8], Option<&mut Vec<u8>>) + Clone + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let worker = worker.to_owned();
        thread::spawn(move || {
            for (number, client) in listener.incoming().enumerate() {
                let (client, change) = (client.unwrap(), change.clone());
                let worker = TcpStream::connect(&worker).unwrap();
                thread::spawn(move || {
                    pass_on(&client, &worker, |request, answer| change(number, request, answer));
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = worker.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address }
    }
}

/// Numbers of the commands that have an answer.
pub const ANSWERED_COMMANDS: [u8; 11] = [0, 1, 2, 3, 7, 8, 9, 11, 13, 14, 15];

fn pass_on(
    mut client: &TcpStream,
    mut worker: &TcpStream,
    change: impl Fn(&[u8], Option<&mut Vec<u8>>),
) -> Option<()> {
    loop {
        let mut request = vec![0; 9];
        client.read_exact(&mut request).ok()?;
        let length = u64::from_le_bytes(request[1..].try_into().unwrap());
        request.resize(9 + length as usize, 0);
        client.read_exact(&mut request[9..]).ok()?;
        worker.write_all(&request).ok()?;
        if !ANSWERED_COMMANDS.contains(&request[0]) {
            change(&request, None);
            continue;
        }
        let mut answer = read_answer(worker)?;
        change(&request, Some(&mut answer));
        client.write_all(&answer).ok()?;
    }
}

/// Reads an answer, including its length.
pub fn read_answer(mut worker: &TcpStream) -> Option<Vec<u8>> {
    let mut answer = vec![0; 8];
    worker.read_exact(&mut answer).ok()?;
    let length = u64::from_le_bytes(answer[..].try_into().unwrap());
    answer.resize(8 + length as usize, 0);
    worker.read_exact(&mut answer[8..]).ok()?;
    Some(answer)
}
