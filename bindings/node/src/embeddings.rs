//! Vectors of texts and scores of documents, under way.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use std::sync::{Mutex, PoisonError};

use mullama::{CancelToken, EmbedOptions, Error, ErrorKind, Inputs, Model, RerankOptions, Result};
use napi::Env;
use napi::bindgen_prelude::{Float32Array, PromiseRaw};
use napi::tokio::task::block_in_place;
use napi_derive::napi;
use serde_json::{Value, json};

use crate::error::of_core;
use crate::exit::Call;
use crate::results::plain;

/// What is asked of a model.
pub(crate) enum Request {
    Embed(Inputs, Box<EmbedOptions>),
    Rerank { query: String, documents: Vec<String>, options: Box<RerankOptions> },
}

/// An embedding or a reranking, to be finished once.
#[napi]
pub struct Computation {
    model: Model,
    request: Mutex<Option<Request>>,
    cancel: CancelToken,
}

/// What became of it: numbers, and what is to be known of them.
#[napi(object)]
pub struct Computed {
    pub values: Float32Array,
    pub facts: Value,
}

#[napi]
impl Computation {
    /// Waits for the result.
    #[napi(catch_unwind)]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<PromiseRaw<'env, Computed>> {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).take();
        let again = || of_core(Error::new(ErrorKind::Internal, "a computation is started once"));
        let (request, model) = (request.ok_or_else(again)?, self.model.clone());
        let (cancel, call) = (self.cancel.clone(), Call::begin());
        env.spawn_future(async move {
            let _call = call;
            request.finish(&model, &cancel).await.map_err(of_core)
        })
    }

    /// Stops it.
    #[napi(catch_unwind)]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

impl Computation {
    pub(crate) fn new(model: Model, request: Request) -> Self {
        Self { model, request: Mutex::new(Some(request)), cancel: CancelToken::new() }
    }
}

impl Request {
    // Many texts take a while to tokenise: not on a thread that serves others.
    async fn finish(self, model: &Model, cancel: &CancelToken) -> Result<Computed> {
        match self {
            Request::Embed(inputs, options) => {
                let pending = block_in_place(|| model.start_embed(inputs, &options))?;
                cancel.link(&pending.cancel_token());
                let embeddings = pending.wait_async().await?;
                let starts: Vec<_> =
                    (0..embeddings.len()).map(|text| embeddings.rows_of(text).start).collect();
                let facts = json!({
                    "dimensions": embeddings.dimensions(),
                    "starts": starts,
                    "tokenCounts": embeddings.token_counts(),
                    "pooling": embeddings.pooling().name(),
                    "normalized": embeddings.is_normalized(),
                    "usage": plain(&embeddings.usage),
                });
                Ok(Computed { values: embeddings.into_vec().into(), facts })
            }
            Request::Rerank { query, documents, options } => {
                let pending = block_in_place(|| model.start_rerank(&query, &documents, &options))?;
                cancel.link(&pending.cancel_token());
                let facts = plain(&pending.wait_async().await?);
                Ok(Computed { values: Vec::new().into(), facts })
            }
        }
    }
}
