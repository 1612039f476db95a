//! Tries to load a module in a separate process.

use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::backends;

/// Default time in seconds after which a driver is considered hung. (Eight GPUs take several seconds to enumerate.)
const DEFAULT_TIMEOUT: u64 = 30;

/// Interval between checks of the process.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The program that tries modules.
pub(super) struct Probe {
    program: PathBuf,
    /// The library that modules are linked against.
    engine: PathBuf,
    /// The folder in which successful attempts are stored.
    memory: PathBuf,
    /// Time limit for a driver in seconds.
    timeout: u64,
}

impl Probe {
    /// Finds the program in the given folders. Returns none if it is missing or probing is disabled.
    pub fn find(dirs: &[PathBuf], cache_dir: &Path) -> Option<Self> {
        let timeout = env::var("MULLAMA_PROBE").ok().and_then(|value| value.parse().ok());
        let timeout = timeout.unwrap_or(DEFAULT_TIMEOUT);
        if timeout == 0 {
            return None;
        }
        let (program, engine) = super::program_in(dirs, "mullama-probe")?;
        Some(Self { program, engine, memory: cache_dir.join("probed"), timeout })
    }

    /// A probe without a program.
    #[cfg(test)]
    pub fn for_tests() -> Self {
        let none = PathBuf::new();
        Self { program: none.clone(), engine: none.clone(), memory: none, timeout: 1 }
    }

    /// Fails with the reason if the module is cut short, or its driver crashes, hangs or refuses to work.
    pub fn run_probe(&self, module: &Path) -> Result<(), String> {
        super::check_whole(module)?;
        let known = self.memory.join(format!("{:016x}", fingerprint(module)));
        if known.exists() {
            return Ok(());
        }
        let child = Command::new(&self.program)
            .args([&self.engine, module])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        // If no process can be started (in a sandbox), the module is loaded without being tried.
        let Ok(mut child) = child else { return Ok(()) };
        let stderr = child.stderr.take();
        let reader = thread::Builder::new().spawn(move || {
            let mut text = Vec::new();
            let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        let reader = reader.map_err(|error| {
            end(&mut child);
            format!("it cannot be tried, for no thread could be started: {error}")
        })?;
        let Some(status) = wait(&mut child, Duration::from_secs(self.timeout)) else {
            return Err(format!(
                "its driver did not answer within {} s when it was tried in a process of its own",
                self.timeout
            ));
        };
        let said = reader.join().unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if status.success() {
            let _ = fs::create_dir_all(&self.memory).and_then(|()| fs::write(known, ""));
            Ok(())
        } else if status.code() == Some(1) {
            Err(last.to_owned())
        } else {
            let colon = if last.is_empty() { "" } else { ": " };
            Err(format!(
                "its driver crashed when it was tried in a process of its own ({status}){colon}{last}"
            ))
        }
    }
}

/// Waits for the process. Kills it and returns none if it exceeds the time limit.
fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + timeout;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => thread::sleep(POLL_INTERVAL),
            _ => {
                end(child);
                return None;
            }
        }
    }
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// A hash of everything that may affect the result.
fn fingerprint(module: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    module.hash(&mut hasher);
    if let Ok(file) = fs::metadata(module) {
        file.len().hash(&mut hasher);
        let written = file.modified().ok();
        written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).hash(&mut hasher);
    }
    // Variables that determine the driver and the visible devices.
    let variables = backends::all().iter().flat_map(|backend| &backend.driver_variables);
    for variable in variables.map(String::as_str).chain(["LD_LIBRARY_PATH"]) {
        env::var_os(variable).hash(&mut hasher);
    }
    // Drivers are rarely replaced without a restart. The boot id is only available on Linux.
    fs::read("/proc/sys/kernel/random/boot_id").ok().hash(&mut hasher);
    hasher.finish()
}
