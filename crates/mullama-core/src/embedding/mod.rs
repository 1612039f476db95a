//! Embeddings and reranking: vectors of texts, and how well documents answer a query.
//!
//! They are computed in contexts of their own on the model's weights, each with a thread
//! ([`batch_loop`]), made when they are first asked for ([`blueprint`]). The engine gives a vector for each
//! token, and they are put together here: so one context serves every way of pooling, and a text may be
//! longer than a batch. Scores of a classification head are the engine's.

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
