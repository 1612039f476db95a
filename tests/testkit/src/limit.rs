//! Runs programs with limited address space or a limited number of threads.
#![cfg(unix)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The limited resource.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// Address space in MiB.
    Memory(u64),
    /// Number of threads and processes of the user.
    Threads(u64),
}

/// A user without other processes: the limit applies to all threads of a user, and does not apply to root.
const NOBODY: u32 = 65534;

/// Makes a program run within a limit.
pub fn limit(command: &mut Command, limit: Limit) {
    // SAFETY: it only reads the user id.
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
        // SAFETY: the struct outlives the call.
        match unsafe { libc::setrlimit(resource, &raw const most) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: between fork and exec, it only makes system calls and does not allocate.
    unsafe { command.pre_exec(set) };
}
