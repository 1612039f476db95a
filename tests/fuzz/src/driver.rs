//! Starts workers, watches them, and counts the outcomes of their inputs.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{env, process, thread};

use serde_json::Value;

use crate::memory;
use crate::outcome::Totals;
use crate::targets::{TARGETS, Target};
use crate::worker::{FOLDER, INPUT};

/// Maximum time for an input.
pub const MAX_TIME: Duration = Duration::from_secs(20);
/// Maximum memory for an input in bytes.
pub const MAX_MEMORY: u64 = 2_000_000_000;
/// Number of inputs after which a worker is replaced, which bounds memory that a process never frees.
const INPUTS_OF_WORKER: u64 = 2000;
/// Interval between checks of a worker.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Number of bytes that are reported from the end of a worker's standard error.
const MAX_STDERR_BYTES: usize = 4000;

/// The inputs to try.
pub struct Plan {
    /// The targets; all if empty.
    pub targets: Vec<&'static Target>,
    /// The total time.
    pub time: Option<Duration>,
    /// Number of inputs per target.
    pub inputs: Option<u64>,
    /// Number of the first input.
    pub first: u64,
    /// Number of concurrent workers.
    pub jobs: u64,
}

impl Default for Plan {
    fn default() -> Self {
        let jobs = thread::available_parallelism().map_or(1, |count| count.get() as u64);
        Self { targets: Vec::new(), time: None, inputs: None, first: 0, jobs }
    }
}

/// Tries inputs of the targets, one target after the other, and prints the outcomes.
pub fn run(plan: &Plan) -> ExitCode {
    let all: Vec<_> = TARGETS.iter().collect();
    let targets = if plan.targets.is_empty() { &all } else { &plan.targets };
    let time = match (plan.time, plan.inputs) {
        (None, None) => Some(Duration::from_secs(60)),
        (time, _) => time,
    };
    let weights: u32 = targets.iter().map(|target| target.weight).sum();
    let (start, mut sum) = (Instant::now(), Totals::default());
    println!("{}", Totals::HEAD);
    for target in targets {
        let until = time.map(|time| Instant::now() + time * target.weight / weights);
        let totals = thread::scope(|scope| {
            let work = |job| {
                let count =
                    plan.inputs.map_or(u64::MAX, |count| (count + plan.jobs - 1 - job) / plan.jobs);
                scope.spawn(move || {
                    Job::new(target, job).run(plan.first + job, plan.jobs, count, until)
                })
            };
            let jobs: Vec<_> = (0..plan.jobs).map(work).collect();
            let mut totals = Totals::default();
            for job in jobs {
                totals.add(&job.join().expect("a job does not panic"));
            }
            totals
        });
        println!("{}", totals.row(target.name));
        println!("    refused: {:?}", totals.refused);
        sum.add(&totals);
        let _ = fs::remove_dir_all(Job::new(target, 0).folder.parent().expect("it has one"));
    }
    println!("{}", sum.row("all"));
    println!(
        "{} inputs in {:.0} s, from number {} on",
        sum.inputs,
        start.elapsed().as_secs_f64(),
        plan.first
    );
    exit_code(&sum)
}

/// Tries one input and prints the outcome.
pub fn one(target: &'static Target, number: u64) -> ExitCode {
    let job = Job::new(target, 0);
    let totals = job.run(number, 1, 1, None);
    println!("{}\n{}", Totals::HEAD, totals.row(target.name));
    println!("refused: {:?}", totals.refused);
    println!("the input: {}", job.folder.join(INPUT).display());
    print!("{}", fs::read_to_string(job.words()).unwrap_or_default());
    exit_code(&totals)
}

fn exit_code(totals: &Totals) -> ExitCode {
    let failures = totals.failures();
    if failures == 0 {
        return ExitCode::SUCCESS;
    }
    println!("{failures} inputs failed: see {}", folder().join("failures").display());
    ExitCode::FAILURE
}

/// The folder `fuzz` in cargo's target folder, which contains this program.
fn folder() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let built_in = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    built_in.unwrap_or(Path::new("target")).join("fuzz")
}

/// Runs workers, one after the other.
struct Job {
    target: &'static Target,
    folder: PathBuf,
    /// The last input that exceeded the time limit. It is tried once more: other programs may have used the processors.
    slow: Cell<Option<u64>>,
}

/// A running worker.
struct Worker {
    process: Child,
    lines: Receiver<Value>,
}

impl Job {
    fn new(target: &'static Target, job: u64) -> Self {
        let work = folder().join(format!("work-{}", process::id()));
        let folder = work.join(format!("{}-{job}", target.name));
        Self { target, folder, slow: Cell::new(None) }
    }

    /// The file with a worker's standard error.
    fn words(&self) -> PathBuf {
        self.folder.join("stderr.txt")
    }

    /// Tries `count` inputs, at intervals of `step`, until the time is over.
    fn run(&self, first: u64, step: u64, count: u64, until: Option<Instant>) -> Totals {
        let _ = fs::remove_dir_all(&self.folder);
        fs::create_dir_all(&self.folder).expect("a folder to work in");
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        let (mut totals, mut done) = (Totals::default(), 0);
        while done < count && !is_over() {
            let next = first + done * step;
            let worker = self.start(next, step, (count - done).min(INPUTS_OF_WORKER));
            let tried = self.watch(worker, next, &mut totals, &is_over);
            if tried == 0 && !is_over() && self.slow.get() != Some(next) {
                totals.deaths += 1;
                self.keep(next, "the worker ended before its first input");
                break;
            }
            done += tried;
        }
        totals
    }

    fn start(&self, first: u64, step: u64, count: u64) -> Worker {
        let words = File::create(self.words()).expect("a file for what a worker says");
        let numbers = [first, step, count].map(|number| number.to_string());
        let mut process = Command::new(env::current_exe().expect("this program has a path"))
            .args(["worker", self.target.name])
            .args(numbers)
            .env(FOLDER, &self.folder)
            // The user's files are neither read nor written.
            .env("HOME", &self.folder)
            .env("XDG_CACHE_HOME", self.folder.join("cache"))
            .env("XDG_DATA_HOME", self.folder.join("data"))
            .env("MULLAMA_MODELS", self.folder.join("store"))
            // No network requests.
            .env("MULLAMA_REGISTRY", "http://127.0.0.1:1")
            .env("HF_ENDPOINT", "http://127.0.0.1:1")
            // The timeout for a silent worker is less than the time limit of an input.
            .env("MULLAMA_RPC_TIMEOUT", "5")
            // A debugger would exceed the time limit of an input.
            .env("GGML_NO_BACKTRACE", "1")
            .env("MULLAMA_LOG", env::var("MULLAMA_LOG").unwrap_or_else(|_| "off".to_owned()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(words)
            .spawn()
            .expect("a worker starts");
        let output = process.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Other output is ignored.
                if let Ok(line @ Value::Object(_)) = serde_json::from_str(&line)
                    && sender.send(line).is_err()
                {
                    return;
                }
            }
        });
        Worker { process, lines }
    }

    /// Watches a worker until it ends. Returns the number of started inputs, or of finished ones if the time is over.
    fn watch(
        &self,
        mut worker: Worker,
        first: u64,
        totals: &mut Totals,
        is_over: &dyn Fn() -> bool,
    ) -> u64 {
        let (mut tried, mut current) = (0, None::<(u64, Instant)>);
        let mut last = first;
        let ended = loop {
            match worker.lines.recv_timeout(POLL_INTERVAL) {
                Ok(line) => {
                    if let Some(number) = line["begin"].as_u64() {
                        current = Some((number, Instant::now()));
                        last = number;
                    } else if let Some((number, began)) = current.take() {
                        tried += 1;
                        self.count(number, began.elapsed(), &line, totals);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break None,
            }
            if let Some((number, began)) = current {
                if began.elapsed() > MAX_TIME {
                    if self.slow.replace(Some(number)) != Some(number) {
                        let _ = worker.process.kill();
                        let _ = worker.process.wait();
                        return tried;
                    }
                    break Some("a hang");
                }
                if memory::resident(worker.process.id()) > MAX_MEMORY {
                    break Some("too much memory");
                }
            }
            if is_over() {
                let _ = worker.process.kill();
                let _ = worker.process.wait();
                return tried;
            }
        };
        if ended.is_some() {
            let _ = worker.process.kill();
        }
        let status = worker.process.wait();
        let took = current.map_or(Duration::ZERO, |(_, began)| began.elapsed());
        let what = match ended {
            Some(what) => {
                *(if what == "a hang" { &mut totals.hangs } else { &mut totals.over_memory }) += 1;
                what.to_owned()
            }
            None if current.is_some()
                || !status.as_ref().is_ok_and(process::ExitStatus::success) =>
            {
                totals.deaths += 1;
                format!(
                    "a death: {}",
                    status.map_or_else(|error| error.to_string(), |status| status.to_string())
                )
            }
            None => return tried,
        };
        totals.longest = totals.longest.max(took.as_secs_f64());
        self.keep(last, &what);
        if current.is_some() {
            totals.inputs += 1;
            tried += 1;
        }
        tried
    }

    /// Counts a finished input.
    fn count(&self, number: u64, took: Duration, line: &Value, totals: &mut Totals) {
        let peak = line["peak"].as_u64().unwrap_or_default();
        totals.inputs += 1;
        totals.longest = totals.longest.max(took.as_secs_f64());
        totals.peak = totals.peak.max(peak);
        if took > MAX_TIME {
            totals.hangs += 1;
            self.keep(number, &format!("it took {took:?}"));
        } else if peak > MAX_MEMORY {
            totals.over_memory += 1;
            self.keep(number, &format!("it took {peak} bytes"));
        } else if let Some(wrong) = line["wrong"].as_str() {
            totals.wrong += 1;
            self.keep(number, wrong);
        } else if let Some(kind) = line["refused"].as_str() {
            *totals.refused.entry(kind.to_owned()).or_default() += 1;
        } else {
            totals.accepted += 1;
        }
    }

    /// Stores a failed input.
    fn keep(&self, number: u64, what: &str) {
        let name = self.target.name;
        println!(
            "    {name} {number}: {what}; again with `make fuzz FUZZ_TARGET={name} FUZZ_INPUT={number}`"
        );
        let kept = folder().join("failures").join(format!("{name}-{number}"));
        let _ = fs::create_dir_all(&kept);
        for entry in fs::read_dir(self.folder.join(INPUT)).into_iter().flatten().flatten() {
            let _ = fs::copy(entry.path(), kept.join(entry.file_name()));
        }
        let words = fs::read(self.words()).unwrap_or_default();
        let words = String::from_utf8_lossy(&words[words.len().saturating_sub(MAX_STDERR_BYTES)..])
            .into_owned();
        let _ = fs::write(kept.join("report.txt"), format!("{what}\n\n{words}"));
    }
}
