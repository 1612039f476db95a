//! Model names, the local store and registries of mullama.
//!
//! - [`Name`] and [`Source`]: how users specify a model.
//! - [`Store`]: a folder of models in Ollama's layout, under `MULLAMA_MODELS`, and the models that
//!   other programs have downloaded ([`Caches`]), which are read-only.
//! - [`pull`]: downloads a model into the store, from Ollama's registry, another registry with the
//!   same protocol, Hugging Face, or a URL.
//! - [`Modelfile`] and [`Store::create`]: models derived from others; [`Template`]: their prompt
//!   templates.
//!
//! ```no_run
//! use mullama_hub::{PullOptions, Source, Store, pull};
//!
//! let store = Store::open()?;
//! let source = Source::parse("hf.co/user/repo-GGUF:Q4_K_M")?;
//! let options = PullOptions::default().with_progress(|progress| {
//!     eprint!("\r{} of {} bytes", progress.completed, progress.total);
//! });
//! let model = pull(&store, &source, options)?;
//! println!("{}", model.path.display());
//! # Ok::<(), mullama_hub::Error>(())
//! ```
//!
//! # Guarantees
//!
//! A file is in the store once its digest has been verified, and a model is listed once all of its
//! files are present. Both appear by renaming, so a killed process, a broken connection or a full
//! disk never leaves a partial file. Partial downloads stay in `downloads`; the next pull fetches
//! at most 1 MiB per connection again. If several pulls need the same file, in one process or in
//! several, one downloads it while the others wait. Credentials are sent only to their own host,
//! never to a host that it redirects to.
//!
//! # Environment variables
//!
//! | Variable | Meaning |
//! |---|---|
//! | `MULLAMA_MODELS` | the folder of the store |
//! | `MULLAMA_REGISTRY` | the registry of names without a host |
//! | `HF_ENDPOINT`, `HF_TOKEN` | Hugging Face, or a mirror; the token for it |
//! | `OLLAMA_MODELS`, `HF_HUB_CACHE`, `HF_HOME`, `LLAMA_CACHE` | caches of other programs |
//! | `MULLAMA_PULL_TIMEOUT`, `MULLAMA_PULL_LEAST_RATE` | limits of a pull, see [`PullOptions`] |
//! | `HTTPS_PROXY`, `http_proxy`, `ALL_PROXY`, `NO_PROXY` | proxies; never used for loopback |
//! | `SSL_CERT_FILE`, `SSL_CERT_DIR` | certificates, instead of the system's |

#![warn(missing_debug_implementations)]
// Files and responses are untrusted input: a missing element must be an error, not a panic.
#![cfg_attr(
    not(test),
    warn(
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod address;
mod caches;
mod client;
mod create;
mod digest;
mod download;
mod header;
mod hugging_face;
mod io_error;
mod lock;
mod manifest;
mod modelfile;
mod name;
mod options;
mod partial;
mod progress;
mod proxy;
mod pull;
mod registry;
mod resolver;
mod source;
mod store;
mod template;

pub use caches::Caches;
pub use create::CreateOptions;
pub use digest::Digest;
pub use header::fetch_header;
pub use manifest::{Config, Layer, LayerKind, Manifest};
pub use modelfile::{Message, Modelfile, Parameters};
pub use mullama_base::{CancelToken, Error, ErrorKind, Result};
pub use mullama_gguf::{FILE_TYPES, quantisation};
pub use name::{BUILT_IN, DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, HUGGING_FACE_HOST, Name};
pub use progress::{Phase, Progress, Sink};
pub use pull::{Endpoints, PullOptions, pull};
pub use source::{HuggingFace, Source};
pub use store::{Entry, Origin, Removed, Store, StoredModel};
pub use template::Template;
