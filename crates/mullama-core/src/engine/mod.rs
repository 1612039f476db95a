//! Safe wrappers of the engine's objects, each owned by one Rust value: weights, vocabulary, adapters, contexts, and
//! the threads that use the contexts.

mod adapter;
mod background;
mod batch;
mod closed;
mod context;
mod deep;
mod exit;
mod failure;
mod fingerprint;
mod late;
mod long_text;
mod memory;
mod projector;
mod settings;
mod specials;
mod thread;
mod thread_pool;
mod vocab;
mod weight_settings;
mod weights;
mod window;

pub(crate) use adapter::{AdapterSet, check_adapters};
pub(crate) use background::run_in_background;
pub(crate) use batch::SeqId;
pub(crate) use closed::closed;
pub(crate) use context::{Context, Decoded, Saved, Sharing, damaged_cells};
pub(crate) use deep::{run_on_new_thread, with_stack};
pub use exit::shut_down;
pub(crate) use failure::Failure;
pub(crate) use fingerprint::{Fingerprint, combine, fingerprint_of_file};
pub(crate) use late::{Alarm, DeadlineWatch};
pub use memory::{DeviceShare, Placement};
pub(crate) use projector::{Part, Piece, PreparedPicture, Projector};
pub(crate) use settings::{ContextSettings, Outputs};
pub(crate) use specials::{Prompt, Specials};
pub(crate) use thread::{CommandReceiver, ServiceCommand, ServiceLoop, ServiceThread, Shared};
pub(crate) use vocab::Vocab;
pub(crate) use weight_settings::{HostExperts, WeightSettings};
pub(crate) use weights::Weights;
