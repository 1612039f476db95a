//! Other load on the CPU: waits until this process is idle, and detects other processes.

use std::ffi::c_long;
use std::thread::sleep;
use std::time::{Duration, Instant};

unsafe extern "C" {
    /// CPU time of the process in microseconds (POSIX).
    fn clock() -> c_long;
}

/// CPU time of this process in seconds.
fn own() -> f64 {
    // SAFETY: standard C, no arguments.
    unsafe { clock() as f64 / 1e6 }
}

/// Waits until the process is nearly idle.
///
/// After a computation, the engine's threads spin for a while before they sleep. Those of the side
/// that was measured first must not take CPU time from the next.
pub fn settle() {
    let window = Duration::from_millis(20);
    let give_up = Instant::now() + Duration::from_secs(3);
    let mut before = own();
    while Instant::now() < give_up {
        sleep(window);
        let now = own();
        if now - before < window.as_secs_f64() / 20.0 {
            return;
        }
        before = now;
    }
}

/// CPU time of all other processes since the machine started, in seconds with a resolution of
/// 0.01 s; always 0 if the system does not report it.
pub fn others() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let Some(all) = stat.lines().next() else { return 0.0 };
    // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
    let ticks: Vec<f64> = all.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    let busy: f64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&field| ticks.get(field)).sum();
    busy / 100.0 - own()
}

/// Whether other programs did not disturb a round: `used` is their CPU time in the `elapsed` seconds
/// of the round.
pub fn undisturbed(used: f64, elapsed: f64) -> bool {
    // The system counts in steps of 0.01 s for each processor.
    used <= 0.03 + 0.05 * elapsed
}
