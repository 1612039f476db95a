//! Model files that the tests, benchmarks and documentation examples share, made on this machine.
//!
//! The weights are random, so the models say nothing; but every one of them loads, tokenises,
//! decodes and quantises like a real one of its shape. The same preset gives the same bytes
//! everywhere. [`fixture`] is what most tests want:
//!
//! ```no_run
//! let model: std::path::PathBuf = mullama_testkit::fixture("small");
//! ```
//!
//! [`write_model`] makes a model of any [`Shape`], [`mod@broken`] makes files that a loader has to
//! refuse, and the program `mullama-testkit` offers the same to tests in other languages.

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

/// Says that a test is skipped, and why; the test then returns.
///
/// Written past the test harness, which keeps what passing tests print to itself:
/// `tests/summary.py` counts these lines.
pub fn skip(reason: impl std::fmt::Display) {
    use std::io::Write as _;
    let _ = std::io::stderr().write_all(format!("skipped: {reason}\n").as_bytes());
}

/// Bytes that have been allocated and not freed, by whatever language; 0 where the allocator does not tell.
pub fn allocated_bytes() -> u64 {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: glibc's own count; a plain struct comes back.
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
