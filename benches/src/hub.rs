//! Measures what a user of the command waits for: downloads, lists, and the first character of an answer.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mullama::hub::{CreateOptions, Modelfile, Store};
use mullama_test_registry::{Fault, Registry, gguf};

use crate::Result;
use crate::samples::median;

/// Number of models in the measured list.
const MODELS: usize = 500;
const QUESTION: &str = "What is the capital of France?";

/// Prints a table. `model` is the downloaded file.
pub fn report(rounds: usize, model: &str) -> Result<()> {
    let folder = Folder::new()?;
    let registry = Registry::start();
    let bytes = fs::read(model)?;
    let size = bytes.len();
    registry.add_model("library/big:latest", &[("model", bytes.clone())]);
    registry.add_file("/big.gguf", bytes);
    println!("| what | measured | at most |\n| --- | ---: | ---: |");
    downloads(&folder, &registry, size, rounds)?;
    resumption(&folder, &registry, size)?;
    list(&folder, rounds)?;
    first_character(&folder, rounds)
}

/// Compares pulls to plain downloads of the same size from the same server, in turn: with curl, and with a
/// bare loop, which is the upper bound of the speed.
fn downloads(folder: &Folder, registry: &Registry, size: usize, rounds: usize) -> Result<()> {
    let (mut loops, mut curls, mut pulls, mut memory) = (vec![], vec![], vec![], 0);
    let target = folder.path("plain");
    let url = format!("{}/big.gguf", registry.url());
    let mut bare = Command::new(env::current_exe()?);
    bare.args(["fetch", &registry.host(), "/big.gguf"]).arg(&target);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output"]).arg(&target).arg(&url);
    // The first round is a warm-up.
    for round in 0..=rounds {
        let (alone, plain) = (time_of(&mut bare, &target)?, time_of(&mut curl, &target)?);
        let (pulled, peak) = pull(folder, registry)?;
        folder.empty_store()?;
        memory = memory.max(peak);
        if round > 0 {
            loops.push(alone);
            curls.push(plain);
            pulls.push(pulled);
        }
    }
    let ratio = |others: &[Duration]| {
        let pairs = pulls.iter().zip(others);
        let ratios = pairs.map(|(pull, other)| pull.as_secs_f64() / other.as_secs_f64());
        format!("{:.2}", median(ratios))
    };
    println!("| {:.0} MB by curl | {} | |", size as f64 / 1e6, milliseconds(&curls));
    println!("| by a bare loop over the socket | {} | |", milliseconds(&loops));
    println!("| by `mullama pull`, hashed and stored | {} | |", milliseconds(&pulls));
    println!("| pull to curl | {} | 1.30 |", ratio(&curls));
    println!("| pull to the bare loop | {} | |", ratio(&loops));
    println!("| most memory of a pull | {:.1} MB | 64 MB |", memory as f64 * 1024.0 / 1e6);
    Ok(())
}

/// Returns the time of a download to this file, which is then removed.
fn time_of(download: &mut Command, target: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let status = download
        .status()
        .map_err(|error| format!("{}: {error}", download.get_program().display()))?;
    let took = begun.elapsed();
    if !status.success() {
        return Err("a plain download failed".into());
    }
    fs::remove_file(target)?;
    Ok(took)
}

/// Returns the time of a pull, and its peak resident memory in KiB.
fn pull(folder: &Folder, registry: &Registry) -> Result<(Duration, u64)> {
    let begun = Instant::now();
    let mut child = folder.pulling(registry).spawn()?;
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    let (succeeded, peak) = watch(&mut child, || peak_of(&status));
    let took = begun.elapsed();
    if succeeded { Ok((took, peak)) } else { Err("the pull failed".into()) }
}

/// Kills a pull halfway and resumes it.
fn resumption(folder: &Folder, registry: &Registry, size: usize) -> Result<()> {
    registry.take_requests();
    registry.fault("/blobs/", u32::MAX, Fault::Slow(10 << 20));
    let mut child = folder.pulling(registry).spawn()?;
    while registry.sent("/blobs/") < size as u64 / 2 {
        if child.try_wait()?.is_some() {
            return Err("the pull ended before it was killed".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill()?;
    child.wait()?;
    registry.clear_faults();
    std::thread::sleep(Duration::from_millis(500));
    pull(folder, registry)?;
    folder.empty_store()?;
    let again = registry.sent("/blobs/").saturating_sub(size as u64);
    println!(
        "| fetched again after a kill in the middle | {:.1} MB | 8.4 MB, a part |",
        again as f64 / 1e6
    );
    Ok(())
}

fn list(folder: &Folder, rounds: usize) -> Result<()> {
    let store = Store::at(folder.path("models"));
    for i in 0..MODELS {
        let weights = folder.path("weights.gguf");
        fs::write(&weights, gguf(&[("general.name", &i.to_string())], 1000))?;
        let text =
            format!("FROM {}\nSYSTEM You are number {i}.\nPARAMETER seed {i}", weights.display());
        let name = format!("user/model-{i}:latest").parse()?;
        store.create(&name, &Modelfile::parse(&text)?, CreateOptions::default())?;
    }
    let mut times = Vec::new();
    for _ in 0..=rounds {
        let begun = Instant::now();
        let output = folder.mullama(&["list"]).output()?;
        times.push(begun.elapsed());
        if output.stdout.lines().count() != MODELS + 1 {
            return Err("the list is not complete".into());
        }
    }
    println!("| `mullama list` with {MODELS} models | {} | 50 ms |", milliseconds(&times[1..]));
    Ok(())
}

fn first_character(folder: &Folder, rounds: usize) -> Result<()> {
    let mut times = Vec::new();
    for _ in 0..=rounds {
        let begun = Instant::now();
        let mut command = folder.mullama(&["run", "demo", "--temperature", "0", QUESTION]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut out = child.stdout.take().ok_or("no standard output")?;
        out.read_exact(&mut [0])?;
        times.push(begun.elapsed());
        std::io::copy(&mut out, &mut std::io::sink())?;
        child.wait()?;
    }
    let time = milliseconds(&times[1..]);
    println!("| `mullama run demo` to the first character | {time} | 120 ms |");
    Ok(())
}

/// A plain download, which only writes the received bytes to a file.
pub fn fetch(host: &str, path: &str, target: &str) -> Result<()> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(128 << 10, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse()?;
            }
            _ if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut file = File::create(target)?;
    let mut left: usize = length;
    while left > 0 {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Err("the connection was closed".into());
        }
        let count = bytes.len().min(left);
        file.write_all(&bytes[..count])?;
        reader.consume(count);
        left -= count;
    }
    Ok(())
}

/// Returns whether a process succeeded, and the maximum value that `look` returned while it ran.
fn watch(child: &mut Child, look: impl Fn() -> u64) -> (bool, u64) {
    let mut most = 0;
    loop {
        most = most.max(look());
        match child.try_wait() {
            Ok(Some(status)) => return (status.success(), most),
            Ok(None) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => return (false, most),
        }
    }
}

/// Returns the peak resident memory in KiB; 0 if it is unknown.
fn peak_of(status: &Path) -> u64 {
    let text = fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn milliseconds(times: &[Duration]) -> String {
    format!("{:.0} ms", median(times.iter().map(Duration::as_secs_f64)) * 1e3)
}

/// A user's folders, which are removed after the measurement.
struct Folder(PathBuf);

impl Folder {
    /// Creates the folders next to the program: a file system in memory would favour the plain download.
    fn new() -> Result<Self> {
        let beside =
            env::current_exe()?.with_file_name(format!("bench-hub-{}", std::process::id()));
        fs::create_dir_all(&beside)?;
        Ok(Self(beside))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn empty_store(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.path("models"))?)
    }

    fn pulling(&self, registry: &Registry) -> Command {
        let mut command = self.mullama(&["pull", "big"]);
        command.env("MULLAMA_REGISTRY", registry.url());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// The command with only these folders in its environment.
    fn mullama(&self, arguments: &[&str]) -> Command {
        let program = self.0.with_file_name(format!("mullama{}", env::consts::EXE_SUFFIX));
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        let variables = [
            "MULLAMA_MODELS",
            "XDG_CACHE_HOME",
            "XDG_DATA_HOME",
            "OLLAMA_MODELS",
            "HF_HUB_CACHE",
            "LLAMA_CACHE",
        ];
        let folders = ["models", "cache", "data", "ollama", "hf", "llama"];
        for (variable, folder) in variables.iter().zip(folders) {
            command.env(variable, self.path(folder));
        }
        command
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
