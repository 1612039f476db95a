//! Terminal input and output, shared by the commands.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _, stderr, stdout};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mullama::CancelToken;
use mullama_base::{printable, printable_prose};

/// Prints on standard output. Like [`print_message`], escapes control characters in untrusted text (a file's metadata, a name, a
/// server's response), since output through a pipe may reach a terminal too.
pub fn print(text: impl Display) -> io::Result<()> {
    write_now(&printable(&text.to_string()))
}

/// Prints a part of an answer. Control characters are only escaped on a terminal.
pub fn print_answer(text: &str) -> io::Result<()> {
    if stdout().is_terminal() { write_now(&printable_prose(text)) } else { write_now(text) }
}

fn write_now(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Prints a line on standard error.
#[allow(clippy::print_stderr, reason = "what everything else comes through")]
pub fn print_message(text: impl Display) {
    eprintln!("{}", printable(&text.to_string()));
}

/// Replaces the current line of the terminal, to show progress. Does not remove it at the end.
#[allow(clippy::print_stderr, reason = "it steers the terminal on purpose")]
pub fn print_progress(text: impl Display) {
    // Carriage return, then erase the line (ECMA-48 EL).
    eprint!("\r\x1b[K{}", printable(&text.to_string()));
    let _ = stderr().flush();
}

/// The token that Ctrl-C and SIGTERM cancel.
static INTERRUPT: LazyLock<Mutex<CancelToken>> = LazyLock::new(Mutex::default);

fn current() -> MutexGuard<'static, CancelToken> {
    INTERRUPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long an operation that checks the token now and then, such as loading, may take to end after an interrupt.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Makes Ctrl-C and SIGTERM cancel [`interrupt_token`]. The process ends if nothing handles it for [`MAX_WAIT`], or at a
/// second signal before the first was handled.
pub fn catch_interrupts() {
    // Fails only if a handler is already installed, which then remains.
    let _ = ctrlc::set_handler(|| {
        let interrupt_token = interrupt_token();
        if interrupt_token.is_cancelled() {
            end(130);
        }
        let is_handled = interrupt_token.has_callbacks();
        interrupt_token.cancel();
        if !is_handled {
            std::thread::sleep(MAX_WAIT);
            // Handled interrupts are forgotten.
            if self::interrupt_token().is_cancelled() {
                end(130);
            }
        }
    });
}

/// Ends the process immediately, from any thread. In an interpreter, exit handlers must not run on another thread than
/// the main one.
pub fn end(status: i32) -> ! {
    #[cfg(unix)]
    // SAFETY: ends the process, whatever its state.
    unsafe {
        libc::_exit(status)
    }
    #[cfg(not(unix))]
    std::process::exit(status)
}

/// The token that an interrupt cancels.
pub fn interrupt_token() -> CancelToken {
    current().clone()
}

/// Resets the token after an interrupt was handled, so that the next interrupt affects the next operation.
pub fn forget_interrupt() {
    let mut current = current();
    if current.is_cancelled() {
        *current = CancelToken::new();
    }
}

/// Width of the terminal of standard output in columns; `None` if it is not a terminal. `COLUMNS` overrides it.
pub fn width() -> Option<usize> {
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    asked.filter(|columns| *columns > 0).or_else(|| {
        let (terminal_size::Width(columns), _) = terminal_size::terminal_size_of(stdout())?;
        Some(usize::from(columns))
    })
}

/// Formats a table for the width of the terminal.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    mullama_base::table(header, rows, &(0..0), width())
}
