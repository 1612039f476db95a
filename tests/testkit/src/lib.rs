//! Creates the model files that tests, benchmarks and documentation examples share.
//!
//! The weights are random, so the output of the models is meaningless, but they load, tokenise,
//! decode and quantise like real models of their shape. A preset produces the same bytes
//! everywhere. Most tests need [`fixture`]:
//!
//! ```no_run
//! let model: std::path::PathBuf = mullama_testkit::fixture("small");
//! ```
//!
//! [`write_model`] creates a model of any [`Shape`], [`mod@broken`] creates files that a loader must
//! reject, and the program `mullama-testkit` does the same for tests in other languages.

mod adapter;
pub mod architecture;
pub mod broken;
mod encoder;
pub mod gguf;
mod kinds;
pub mod limit;
mod model;
mod preset;
pub mod probe;
mod projector;
mod random;
mod raw_sight;
mod recurrent;
pub mod templates;
pub mod tokenizer;
mod vocab;

/// Reports that a test is skipped, and why. The test must then return.
///
/// Written directly to standard error, since the test harness hides the output of passing tests.
/// `tests/summary.py` counts these lines.
pub fn skip(reason: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// Returns the number of bytes that are allocated in the process by any language; 0 if the allocator does not
/// report it.
pub fn allocated_bytes() -> u64 {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it returns a plain struct with glibc's counters.
        let info = unsafe { libc::mallinfo2() };
        (info.uordblks + info.hblkhd) as u64
    }
    #[cfg(not(target_env = "gnu"))]
    0
}

pub use adapter::{adapter, merge};
pub use encoder::{Head, write_encoder};
pub use kinds::Kind;
pub use model::{Experts, Shape, WeightType, quantize, vocab_only, write_chat_model, write_model};
pub use preset::{Contents, PRESETS, Preset, fixture, preset};
pub use projector::{PROJECTOR_WIDTH, Sight, write_projector};
pub use raw_sight::raw_answer;
pub use vocab::{CHAT_TEMPLATE, Vocabulary};
