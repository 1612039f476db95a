//! Model names, the local store and registries of mullama.

mod caches;
mod cancel;
mod client;
mod create;
mod digest;
mod download;
mod error;
mod gguf;
mod hugging_face;
mod lock;
mod manifest;
mod modelfile;
mod name;
mod partial;
mod progress;
mod pull;
mod registry;
mod source;
mod store;
mod template;

pub use caches::Caches;
pub use cancel::Cancel;
pub use create::CreateOptions;
pub use digest::Digest;
pub use error::{Error, ErrorKind, Result};
pub use manifest::{Config, Layer, LayerKind, Manifest};
pub use modelfile::{Message, Modelfile, Parameters};
pub use name::{DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUGGING_FACE_HOST, Name};
pub use progress::{Phase, Progress, Sink};
pub use pull::{Endpoints, PullOptions, pull};
pub use source::{HuggingFace, Source};
pub use store::{Entry, Origin, Removed, Store, StoredModel};
pub use template::Template;
