//! The processors that this process may use, and how many threads compute on them.

use std::sync::Once;
use std::thread;

/// Logical processors that this process may use: threads that can run at the same time. Affinity masks and the CPU
/// quotas of control groups (containers) count.
pub(crate) fn logical_cores() -> u32 {
    thread::available_parallelism().map_or(1, |count| count.get() as u32)
}

/// Physical cores that this process may use.
pub(crate) fn physical_cores() -> u32 {
    // The first number ignores affinity and quotas, the second counts hardware threads.
    (num_cpus::get_physical() as u32).clamp(1, logical_cores())
}

/// Threads that compute if this many are requested: no more than can run at the same time. The engine's threads wait
/// for each other in loops, so a thread that does not run delays all others: twice as many threads as processors take a
/// hundred times as long.
pub(crate) fn usable_threads(requested: u32) -> u32 {
    requested.min(logical_cores())
}

/// Warns, once per process, if fewer threads compute than are requested.
pub(crate) fn warn_of_threads(requested: u32) {
    static WARNED: Once = Once::new();
    if let Some(warning) = warning(requested, logical_cores()) {
        WARNED.call_once(|| log::warn!("{warning}"));
    }
}

fn warning(requested: u32, processors: u32) -> Option<String> {
    let s = if processors == 1 { "" } else { "s" };
    (requested > processors).then(|| {
        format!(
            "{requested} threads were requested, but this process may use {processors} processor{s}: using {processors} thread{s}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_threads_are_used_than_processors() {
        let processors = logical_cores();
        assert!((1..=processors).contains(&physical_cores()));
        assert_eq!(
            [1, processors, processors + 1, u32::MAX].map(usable_threads),
            [1, processors, processors, processors]
        );
    }

    #[test]
    fn the_warning_names_the_processors() {
        assert_eq!((warning(1, 1), warning(2, 2)), (None, None));
        assert_eq!(
            warning(8, 2).unwrap(),
            "8 threads were requested, but this process may use 2 processors: using 2 threads"
        );
        assert!(warning(2, 1).unwrap().ends_with("may use 1 processor: using 1 thread"));
    }
}
