//! Measures a pull against a plain download of the same file from the same server, and a list.
//!
//! `cargo run --release -p mullama-hub --example download_ratio [MiB] [RUNS]` starts a server in a
//! process of its own, and prints the times, their ratio, and the memory that this process needed.

use std::error::Error;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mullama_hub::{Name, PullOptions, Source, Store, pull};
use mullama_test_registry::{Registry, gguf};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| args.get(i).map_or(Ok(default), |text| text.parse::<usize>());
    if args.first().is_some_and(|first| first == "--serve") {
        return serve(number(1, 200)?);
    }
    let (size, runs) = (number(0, 200)?, number(1, 7)?);
    let mut server = Command::new(std::env::current_exe()?)
        .args(["--serve", &size.to_string()])
        .stdout(Stdio::piped())
        .spawn()?;
    let result = measure(server.stdout.take(), runs);
    server.kill()?;
    result?;
    list(500)
}

/// Serves one model of this many MiB; prints the address and the path of its weights.
fn serve(size: usize) -> Result<(), Box<dyn Error>> {
    let registry = Registry::start();
    let weights = gguf(&[], size << 20);
    let digest = mullama_test_registry::digest(&weights);
    registry.add_model("library/m:latest", &[("model", weights)]);
    println!("{} /v2/library/m/blobs/{digest}", registry.host());
    loop {
        std::thread::park();
    }
}

fn measure(server: Option<impl io::Read>, runs: usize) -> Result<(), Box<dyn Error>> {
    let mut line = String::new();
    BufReader::new(server.ok_or("no output")?).read_line(&mut line)?;
    let (host, path) = line.trim().split_once(' ').ok_or("no address")?;
    let source = Source::Name(format!("{host}/library/m").parse()?);
    let folder = tempfile::tempdir()?;
    let (mut plain, mut pulls) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let file = folder.path().join("plain");
        let start = Instant::now();
        download(host, path, &file)?;
        plain.push(start.elapsed());
        std::fs::remove_file(file)?;

        let store = Store::at(folder.path().join(run.to_string()));
        let start = Instant::now();
        pull(&store, &source, PullOptions::default())?;
        pulls.push(start.elapsed());
        std::fs::remove_dir_all(store.root())?;
    }
    let (plain, pulls) = (median(plain), median(pulls));
    println!("plain download  {plain:>8.1?}");
    println!("pull            {pulls:>8.1?}");
    println!("ratio           {:>8.2}", pulls.as_secs_f64() / plain.as_secs_f64());
    if let Some(peak) = peak_memory() {
        println!("peak memory     {peak:>8} KiB");
    }
    Ok(())
}

/// What a program without any care does: one request, each piece written as it comes.
fn download(host: &str, path: &str, file: &Path) -> io::Result<()> {
    let mut stream = TcpStream::connect(host)?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")?;
    let mut reader = BufReader::with_capacity(128 << 10, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    io::copy(&mut reader.take(length), &mut File::create(file)?).map(|_| ())
}

/// The time to list so many models.
fn list(count: usize) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let store = Store::at(folder.path());
    let registry = Registry::start();
    let host = registry.host();
    let layer = |kind| (kind, vec![b'x'; 100]);
    registry.add_model(
        "library/m:latest",
        &[("model", gguf(&[], 10)), layer("template"), layer("system"), layer("license")],
    );
    let first: Name = format!("{host}/library/m").parse()?;
    pull(&store, &Source::Name(first.clone()), PullOptions::default())?;
    for i in 1..count {
        store.copy(&first, &format!("library/m{i}").parse()?)?;
    }
    let times = (0..9)
        .map(|_| {
            let start = Instant::now();
            store.list().map(|list| assert_eq!(list.len(), count)).map(|()| start.elapsed())
        })
        .collect::<Result<_, _>>()?;
    println!("list of {count}     {:>8.1?}", median(times));
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The most memory that this process has had, in KiB; Linux tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}
