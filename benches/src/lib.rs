//! The floor: what the engine does when nothing but a loop stands between it and the program.
//!
//! [`Floor`] is such a loop over `llama.h`. [`mod@c`] offers it to Python and to anything else that
//! calls C, [`mod@node`] to Node.js. It takes over whatever the process has set up: backend modules
//! and the log are mullama's, so use mullama first (`mullama::gpu::devices()` is enough).

pub mod c;
mod embedder;
mod floor;
pub mod node;
mod settle;

pub use embedder::Embedder;
pub use floor::{Floor, Settings, Timed, Token};
pub use settle::{others, settle, undisturbed};
