//! A loaded model and its methods.

mod compaction;
mod constraint;
mod conversation;
mod defaults;
mod embed;
mod handle;
mod info;
mod information;
mod load;
mod loaded;
mod request;
mod state;
mod templates;
#[cfg(feature = "schemars")]
mod typed;
mod vision;

pub use compaction::{Compacted, Compaction, SummaryError};
pub use conversation::{Chat, ChatTurn};
pub use handle::Model;
pub use info::Capabilities;
#[cfg(feature = "schemars")]
pub use typed::TypedCompletion;
