//! Programs that are given little: of addresses, or of threads.
#![cfg(unix)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What there is little of.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Mebibytes of address space.
    Memory(u64),
    /// Threads and processes of the user.
    Threads(u64),
}

/// A user who has no other processes: the limit of threads is that of all that a user has, and does not hold for root.
const NOBODY: u32 = 65534;

/// Has the program run within this limit.
pub fn limit(command: &mut Command, limit: Limit) {
    // SAFETY: it only asks.
    let is_root = unsafe { libc::geteuid() } == 0;
    let (resource, most) = match limit {
        Limit::Memory(mebibytes) => (libc::RLIMIT_AS, mebibytes << 20),
        Limit::Threads(count) => (libc::RLIMIT_NPROC, count),
    };
    if is_root && matches!(limit, Limit::Threads(_)) {
        command.uid(NOBODY).gid(NOBODY);
    }
    let set = move || {
        let most = libc::rlimit { rlim_cur: most as _, rlim_max: most as _ };
        // SAFETY: a struct that outlives the call.
        match unsafe { libc::setrlimit(resource, &raw const most) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec it makes one system call, and allocates nothing.
    unsafe { command.pre_exec(set) };
}
