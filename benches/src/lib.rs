//! The floor: the speed of the engine when it is called by a bare loop.
//!
//! [`Floor`] is such a loop over `llama.h`. [`mod@c`] exports it to Python and other callers of C,
//! [`mod@node`] to Node.js. It uses the state of the process: backend modules and the log are set
//! up by mullama, which must therefore be used first (`mullama::gpu::devices()` is enough).

pub mod c;
mod embedder;
mod floor;
pub mod node;
mod settle;

pub use embedder::Embedder;
pub use floor::{Floor, Settings, Timed, Token};
pub use settle::{others, settle, undisturbed};
