//! The scheduler: one thread owns a context and runs all requests, many at a time.
//!
//! [`slot`] is one running request, [`scheduler`] the loop that advances all of them step by step. Other threads
//! communicate with the loop through [`Engine`].

mod answer;
mod banned;
mod checkpoints;
mod completion;
mod delivery;
mod drafter;
mod encoder;
mod guess_budget;
mod guesses;
mod handle;
mod host_cache;
mod linear_fit;
mod lookup;
mod media;
mod media_run;
mod picture_step;
mod prefill_budget;
mod prefix;
mod queue;
mod registry;
mod request;
mod reuse;
#[allow(clippy::module_inception, reason = "the file holds the scheduler itself")]
mod scheduler;
mod shift;
mod slot;
mod state;
mod stats;
mod stream;
mod text;

pub(crate) use answer::{Answer, SharedAnswer};
pub(crate) use banned::Banned;
pub use completion::{
    Chunk, Completion, FinishReason, PromptProgress, StopKind, StopReason, Timings, TokenLogprob,
    TopLogprob, Usage,
};
pub(crate) use delivery::Delivery;
pub(crate) use handle::{DraftModel, Engine, Started};
pub(crate) use media_run::MediaRun;
pub use registry::{RequestInfo, RequestState};
pub(crate) use request::{Job, MaxGuesses, SavedCells};
pub(crate) use shift::drop_oldest;
pub use state::write_state;
pub(crate) use state::{decode, encode, max_state_bytes, read_state};
pub use stats::Stats;
pub(crate) use stream::KeepAlive;
pub use stream::Stream;
