//! What the commands share in talking to a terminal.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

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

/// Columns of a terminal that standard output goes to; none where it goes elsewhere. `COLUMNS` says otherwise.
pub fn width() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.filter(|columns| *columns > 0).or_else(|| {
        let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(stdout())?;
        Some(usize::from(columns))
    })
}

/// A table as wide as standard output's terminal has room for.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    mullama_base::table(header, rows, &(0..0), width())
}
