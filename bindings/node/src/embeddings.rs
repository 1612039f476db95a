//! Embeddings of texts.

use mullama::{EmbeddingUsage, Embeddings};
use napi::bindgen_prelude::Float32Array;
use napi_derive::napi;

use crate::results::Plain;

/// The vectors of some texts.
#[napi(object, object_from_js = false)]
pub struct Embedded {
    /// All numbers, vector after vector.
    pub values: Float32Array,
    /// The vector that each text begins with.
    pub starts: Vec<u32>,
    /// Numbers in a vector.
    pub dimensions: u32,
    /// Tokens of each text that were computed.
    pub token_counts: Vec<u32>,
    /// How the token vectors of a text were combined.
    #[napi(ts_type = "'mean' | 'cls' | 'last' | 'none' | 'rank'")]
    pub pooling: &'static str,
    /// Whether each vector has been scaled to length 1.
    pub normalized: bool,
    /// Tokens of the texts.
    pub usage: Plain<EmbeddingUsage>,
}

impl From<Embeddings> for Embedded {
    fn from(embeddings: Embeddings) -> Self {
        let texts = 0..embeddings.len();
        Self {
            starts: texts.map(|text| embeddings.rows_of(text).start as u32).collect(),
            dimensions: embeddings.dimensions() as u32,
            token_counts: embeddings.token_counts().to_vec(),
            pooling: embeddings.pooling().name(),
            normalized: embeddings.is_normalized(),
            usage: Plain::new(&embeddings.usage),
            values: embeddings.into_vec().into(),
        }
    }
}
