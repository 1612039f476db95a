//! Embeddings and reranking.
//!
//! They use their own contexts on the model's weights, each with its own thread ([`batch_loop`]), created on first use
//! ([`blueprint`]). The engine computes a vector per token, and pooling is done here. One context therefore serves all
//! types of pooling, and a text may be longer than a batch. The scores of a classification head are computed by the
//! engine.

mod batch_loop;
mod blueprint;
mod embedder;
mod info;
mod pair;
mod pending;
mod request;
mod results;

pub(crate) use embedder::Embedders;
pub(crate) use info::EmbeddingInfo;
pub use pending::Pending;
pub(crate) use request::{EmbeddingModel, start_embed, start_rerank};
pub use results::{EmbeddingUsage, Embeddings, RankedDocument, Reranking};
