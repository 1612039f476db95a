//! The engine's log: forwarded to the `log` crate, and captured for error messages.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_void};

use ::log::Level;
use mullama_sys as sys;

/// The `log` target of all messages of the engine.
const TARGET: &str = "mullama::engine";

thread_local! {
    /// Whether messages of the engine on this thread are logged at trace level.
    static TRACE_ONLY: Cell<bool> = const { Cell::new(false) };
    /// The current incomplete line, since the engine logs in pieces.
    static PENDING_LINE: RefCell<(Option<Level>, String)> = const { RefCell::new((None, String::new())) };
    /// The lines captured by [`capture`] on this thread, if it is running.
    static CAPTURED: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// Redirects the engine's log to this module. Called once, before any other use of the engine.
pub(crate) fn install() {
    sys::shim::install();
    // SAFETY: `on_log` is valid for the whole process and needs no data.
    unsafe {
        sys::llama_log_set(Some(on_log), std::ptr::null_mut());
        sys::ggml_log_set(Some(on_log), std::ptr::null_mut());
        sys::shim::log_media(Some(on_log));
    }
}

/// The messages of the engine on this thread while `body` ran.
pub(crate) struct Captured(Vec<(Level, String)>);

impl Captured {
    /// The errors in one line, or the warnings if there are no errors.
    pub fn problem(&self) -> Option<String> {
        [Level::Error, Level::Warn].into_iter().find_map(|wanted| {
            let lines: Vec<_> = self
                .0
                .iter()
                .filter(|(level, _)| *level == wanted)
                .map(|(_, line)| strip_function_name(line))
                .collect();
            (!lines.is_empty()).then(|| lines.join("; "))
        })
    }

    /// All captured lines.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(_, line)| line.as_str())
    }
}

/// Runs `body` and captures the engine's messages on this thread meanwhile. They are also logged.
///
/// Calls can be nested, for example by loading a model in the progress callback of another: lines captured by the inner
/// call are not captured by the outer one.
pub(crate) fn capture<T>(body: impl FnOnce() -> T) -> (T, Captured) {
    let outer = CAPTURED.replace(Some(Vec::new()));
    let result = body();
    let lines = CAPTURED.replace(outer).unwrap_or_default();
    (result, Captured(lines))
}

/// Runs `body`, and logs the engine's messages on this thread at trace level meanwhile, since they do not concern an
/// actual operation (for example, during a dry run).
pub(crate) fn log_as_trace<T>(body: impl FnOnce() -> T) -> T {
    let before = TRACE_ONLY.replace(true);
    let result = body();
    TRACE_ONLY.set(before);
    result
}

/// Removes the function name with which the engine begins most lines: `llama_model_load: error ...`.
fn strip_function_name(line: &str) -> &str {
    match line.split_once(": ") {
        Some((name, rest)) if !name.is_empty() && !name.contains(char::is_whitespace) => rest,
        _ => line,
    }
}

unsafe extern "C" fn on_log(level: sys::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    let level = match level {
        sys::GGML_LOG_LEVEL_ERROR => Some(Level::Error),
        sys::GGML_LOG_LEVEL_WARN => Some(Level::Warn),
        // The engine's info messages are details for us: tensors, buffers, parameters.
        sys::GGML_LOG_LEVEL_INFO => Some(Level::Debug),
        sys::GGML_LOG_LEVEL_DEBUG => Some(Level::Trace),
        // A continuation of the current line.
        _ => None,
    };
    // SAFETY: the engine passes a NUL-terminated string that lives for the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A thread that is being destroyed has no buffer any more; its messages are dropped.
    let _ = PENDING_LINE.try_with(|line| {
        let mut line = line.borrow_mut();
        if level.is_some() {
            line.0 = level;
        }
        line.1.push_str(&text);
        while let Some(end) = line.1.find('\n') {
            let rest = line.1.split_off(end + 1);
            let whole = std::mem::replace(&mut line.1, rest);
            emit(line.0.unwrap_or(Level::Debug), whole.trim_end());
        }
    });
}

fn emit(level: Level, line: &str) {
    // Progress dots.
    if line.chars().all(|c| c == '.' || c.is_whitespace()) {
        return;
    }
    let logged = if TRACE_ONLY.get() { Level::Trace } else { level };
    ::log::log!(target: TARGET, logged, "{line}");
    CAPTURED.with_borrow_mut(|captured| {
        if let Some(lines) = captured {
            lines.push((level, line.to_owned()));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_nest() {
        let ((), outer) = capture(|| {
            emit(Level::Warn, "before");
            let ((), inner) = capture(|| emit(Level::Warn, "within"));
            assert_eq!(inner.lines().collect::<Vec<_>>(), ["within"]);
            emit(Level::Warn, "after");
        });
        assert_eq!(outer.lines().collect::<Vec<_>>(), ["before", "after"]);
    }

    #[test]
    fn function_names_are_stripped() {
        assert_eq!(strip_function_name("llama_load: bad magic: x"), "bad magic: x");
        assert_eq!(strip_function_name("two words: kept"), "two words: kept");
        assert_eq!(strip_function_name("plain"), "plain");
    }
}
