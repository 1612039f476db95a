//! What the commands share in talking to a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mullama::CancelToken;
use mullama_base::{printable, printable_prose};

/// Prints on standard output. Like [`tell`], it lets nothing that others wrote (a file's metadata, a name, what a
/// server said) steer the terminal, into which its output may come by way of a pipe too.
pub fn print(text: impl Display) -> io::Result<()> {
    write_now(&printable(&text.to_string()))
}

/// Prints a piece of an answer. Where it goes elsewhere than to a terminal, it is what the model wrote.
pub fn print_answer(text: &str) -> io::Result<()> {
    if stdout().is_terminal() { write_now(&printable_prose(text)) } else { write_now(text) }
}

fn write_now(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Tells something on standard error, on a line of its own.
#[allow(clippy::print_stderr, reason = "what everything else comes through")]
pub fn tell(text: impl Display) {
    eprintln!("{}", printable(&text.to_string()));
}

/// Shows on the terminal's last line how far something is, in place of what was there; nothing removes it.
#[allow(clippy::print_stderr, reason = "it steers the terminal on purpose")]
pub fn tell_in_place(text: impl Display) {
    // Back to the beginning of the line, and erase it (ECMA-48 EL).
    eprint!("\r\x1b[K{}", printable(&text.to_string()));
    let _ = stderr().flush();
}

/// What Ctrl-C and SIGTERM cancel.
static INTERRUPT: LazyLock<Mutex<CancelToken>> = LazyLock::new(Mutex::default);

fn current() -> MutexGuard<'static, CancelToken> {
    INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on Ctrl-C (and SIGTERM) cancel [`interrupt`]; a second one, before the first has been
/// noticed, ends the process.
pub fn catch_interrupts() {
    // It can only fail when a handler is there already: then that one stays.
    let _ = ctrlc::set_handler(|| {
        let interrupt = interrupt();
        if interrupt.is_cancelled() {
            end(130);
        }
        interrupt.cancel();
    });
}

/// Ends the process at once, from any thread. Where the command runs in an interpreter, hooks of the process's
/// end must not run on another thread than its own.
pub fn end(status: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: it ends the process, whatever state that is in.
    unsafe {
        libc::_exit(status)
    }
    #[cfg(not(unix))]
    std::process::exit(status)
}

/// What an interrupt cancels.
pub fn interrupt() -> CancelToken {
    current().clone()
}

/// An interrupt so far has been noticed: the next one is for what comes now.
pub fn forget_interrupt() {
    let mut current = current();
    if current.is_cancelled() {
        *current = CancelToken::new();
    }
}

/// Shows how far loading is, on a terminal, once it has taken long enough to wonder.
pub struct Progress {
    started: Instant,
    shown: bool,
}

impl Progress {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        Self { started: Instant::now(), shown: false }
    }

    /// `fraction` from 0 to 1.
    pub fn update(&mut self, fraction: f32) {
        if self.started.elapsed() > Duration::from_millis(500) && stderr().is_terminal() {
            self.shown = true;
            tell_in_place(format_args!("loading {:3.0} %", fraction * 100.0));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown {
            tell_in_place("");
        }
    }
}

/// Columns as wide as their widest cell, the last as wide as it needs to be.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let header = line(header.to_vec());
    let rows = rows.iter().map(|row| line(row.iter().map(String::as_str).collect()));
    header + &rows.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [vec!["CPU".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["NAME", "KIND"], &rows), "NAME  KIND\nCPU   x\n");
    }
}
