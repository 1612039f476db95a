//! Embeddings and reranking: vectors of texts, and how well documents answer a query.
//!
//! They are computed in contexts of their own on the model's weights, each with a thread
//! ([`worker`]), made when they are first asked for ([`blueprint`]). The engine gives a vector for each
//! token, and they are put together here: so one context serves every way of pooling, and a text may be
//! longer than a batch. Scores of a classification head are the engine's.

mod blueprint;
mod embedder;
mod options;
mod pair;
mod pending;
mod results;
mod worker;

use std::sync::Arc;

pub(crate) use embedder::{Embedders, Facts};
pub use options::{EmbedOptions, Inputs, Pooling, RerankOptions, Truncate};
pub use pending::Pending;
pub use results::{EmbeddingUsage, Embeddings, RankedDocument, Reranking};

use crate::model::{Loaded, Model};
use crate::vocab::Vocab;
use crate::{CancelToken, Error, ErrorKind, Prompt, Result, Token};
use blueprint::Kind;
use options::deadline;
use pair::PairTemplate;
use results::Layout;
use worker::Job;

impl Model {
    /// Vectors of texts: one text or several, each as text or as tokens; results have their order.
    ///
    /// The texts of all calls that are made at once are computed together. A text's vector does not
    /// depend on the others, but for rounding: what else is in a batch may change the last digits.
    ///
    /// Gives [`ErrorKind::ContextOverflow`] for a text that is too long unless `truncate` is set,
    /// [`ErrorKind::OutOfMemory`] where there is no memory for the context, and
    /// [`ErrorKind::Unsupported`] where the model cannot embed.
    ///
    /// ```
    /// use mullama_core::{ContextParams, EmbedOptions, Model, ModelParams};
    ///
    /// let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
    /// let embeddings = model.embed(["Paris", "Tokyo"], &EmbedOptions::default())?;
    /// assert_eq!((embeddings.len(), embeddings.dimensions()), (2, 128));
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn embed(&self, inputs: impl Into<Inputs>, options: &EmbedOptions) -> Result<Embeddings> {
        self.start_embed(inputs, options)?.wait()
    }

    /// As [`Model::embed`], without blocking the thread. Dropping the future cancels.
    pub async fn embed_async(
        &self,
        inputs: impl Into<Inputs>,
        options: &EmbedOptions,
    ) -> Result<Embeddings> {
        self.start_embed(inputs, options)?.wait_async().await
    }

    /// Starts what [`Model::embed`] waits for.
    pub fn start_embed(
        &self,
        inputs: impl Into<Inputs>,
        options: &EmbedOptions,
    ) -> Result<Pending<Embeddings>> {
        let loaded = self.loaded()?;
        let embedders = &loaded.embedders;
        let facts = embedders.facts();
        let pooling = embedders.pooling(options.pooling)?;
        let kind = if pooling == Pooling::Rank { Kind::Scores } else { Kind::Tokens };
        let embedder = embedders.get(kind)?;
        let (width, limit) = (embedder.width(), embedder.limit());
        let normalized = options.normalize.unwrap_or(pooling != Pooling::Rank);
        if normalized && pooling == Pooling::Rank {
            return Err(Error::option("normalize", "scores (`pooling` rank) have no length"));
        }
        let dimensions = options.dimensions.map(|count| count as usize);
        if dimensions.is_some_and(|count| count == 0 || count > width) {
            return Err(Error::option("dimensions", format!("must lie between 1 and {width}")));
        }
        let reader = Reader {
            vocab: &loaded.vocab,
            limit,
            limit_option: facts.limit_option,
            truncate: options.truncate.unwrap_or_default(),
        };
        let (add, parse) =
            (options.add_special.unwrap_or(true), options.parse_special.unwrap_or(false));
        let mut texts = Texts::default();
        for (index, input) in inputs.into().0.into_iter().enumerate() {
            let (tokens, body) = match input {
                Prompt::Text(text) => reader.tokenize(&text, add, parse)?,
                Prompt::Tokens(tokens) => {
                    tokens.iter().try_for_each(|&token| loaded.vocab.check(token))?;
                    let body = 0..tokens.len();
                    (tokens, body)
                }
            };
            texts.add(reader.fit(tokens, body, &format!("input {index}"), index)?);
        }
        let layout = texts.layout(pooling);
        let finish = {
            let layout = layout.clone();
            move |values| Embeddings::new(values, width, layout, dimensions, normalized)
        };
        start(&loaded, &embedder, texts, &layout, options.timeout, finish)
    }

    /// Puts documents in the order of how well they answer a query, the best first.
    ///
    /// The model must be a reranker: one with a classification head. Query and document are put together
    /// by the model's template where it has one (`tokenizer.chat_template.rerank`), else as encoders are
    /// trained: the query, a separator, the document.
    ///
    /// Gives [`ErrorKind::Unsupported`] for other models, [`ErrorKind::ContextOverflow`] for a document
    /// that is too long with the query unless `truncate` is set, and [`ErrorKind::OutOfMemory`] where
    /// there is no memory for the context.
    pub fn rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Reranking> {
        self.start_rerank(query, documents, options)?.wait()
    }

    /// As [`Model::rerank`], without blocking the thread. Dropping the future cancels.
    pub async fn rerank_async(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Reranking> {
        self.start_rerank(query, documents, options)?.wait_async().await
    }

    /// Starts what [`Model::rerank`] waits for.
    pub fn start_rerank(
        &self,
        query: &str,
        documents: &[impl AsRef<str>],
        options: &RerankOptions,
    ) -> Result<Pending<Reranking>> {
        let loaded = self.loaded()?;
        let facts = loaded.embedders.facts();
        let embedder = loaded.embedders.get(Kind::Scores)?;
        if options.top_n == Some(0) {
            return Err(Error::option("top_n", "must be 1 or more"));
        }
        let reader = Reader {
            vocab: &loaded.vocab,
            limit: embedder.limit(),
            limit_option: facts.limit_option,
            truncate: options.truncate.unwrap_or_default(),
        };
        let template = PairTemplate::new(&loaded.vocab, facts.rerank_template.as_deref(), query)?;
        let mut texts = Texts::default();
        for (index, document) in documents.iter().enumerate() {
            let (tokens, body) = template.tokenize(&loaded.vocab, document.as_ref())?;
            let name = format!("document {index} with the query");
            texts.add(reader.fit(tokens, body, &name, index)?);
        }
        let layout = texts.layout(Pooling::Rank);
        let (width, top_n, usage) = (embedder.width(), options.top_n, layout.usage);
        let finish = move |values: Vec<f32>| {
            // Of several scores, the first is that of a document which answers.
            let scores = values.chunks_exact(width.max(1)).map(|scores| scores[0]);
            Reranking::new(scores, top_n, usage)
        };
        start(&loaded, &embedder, texts, &layout, options.timeout, finish)
    }
}

fn start<T>(
    loaded: &Arc<Loaded>,
    embedder: &embedder::Embedder,
    texts: Texts,
    layout: &Layout,
    timeout: Option<f32>,
    finish: impl FnOnce(Vec<f32>) -> T + Send + 'static,
) -> Result<Pending<T>> {
    let cancel = CancelToken::with_deadline(deadline(timeout)?);
    let (reply, result) = flume::bounded(1);
    if texts.inputs.is_empty() {
        let _ = reply.send(Ok(Vec::new()));
    } else {
        embedder.submit(Job {
            inputs: texts.inputs,
            pooling: layout.pooling,
            adapters: loaded.adapters_of(None)?,
            starts: layout.starts.clone(),
            cancel: cancel.clone(),
            reply,
        })?;
    }
    Ok(Pending::new(result, cancel, finish, Arc::clone(loaded)))
}

/// The inputs of a call, as tokens that fit.
#[derive(Default)]
struct Texts {
    inputs: Vec<Vec<Token>>,
    truncated: u64,
}

impl Texts {
    fn add(&mut self, (tokens, truncated): (Vec<Token>, usize)) {
        self.inputs.push(tokens);
        self.truncated += truncated as u64;
    }

    fn layout(&self, pooling: Pooling) -> Layout {
        let counts = self.inputs.iter().map(|tokens| tokens.len() as u32).collect();
        Layout::new(counts, self.truncated, pooling)
    }
}

/// Makes inputs fit the model.
struct Reader<'a> {
    vocab: &'a Vocab,
    limit: usize,
    /// Whether a larger `context_size` would let it take longer ones.
    limit_option: bool,
    truncate: Truncate,
}

impl Reader<'_> {
    /// The tokens of a text, and which of them are the text's own.
    fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<(Vec<Token>, std::ops::Range<usize>)> {
        let tokens = self.vocab.tokenize(text, add_special, parse_special)?;
        if tokens.len() <= self.limit || !add_special || self.truncate == Truncate::None {
            let body = 0..tokens.len();
            return Ok((tokens, body));
        }
        let own = self.vocab.tokenize(text, false, parse_special)?;
        let first = tokens.windows(own.len().max(1)).position(|part| part == own).unwrap_or(0);
        Ok((tokens, first..first + own.len()))
    }

    /// Cuts an input off where it is too long and that was asked for; tells by how many tokens. What the
    /// model expects around a text stays.
    fn fit(
        &self,
        mut tokens: Vec<Token>,
        body: std::ops::Range<usize>,
        name: &str,
        index: usize,
    ) -> Result<(Vec<Token>, usize)> {
        if tokens.is_empty() {
            let message = format!("{name} has no tokens");
            return Err(Error::new(ErrorKind::InvalidArgument, message)
                .with_context("input", index)
                .with_hint("with `add_special` an empty text has those that the model expects"));
        }
        let excess = tokens.len().saturating_sub(self.limit);
        if excess == 0 {
            return Ok((tokens, 0));
        }
        let cut = match self.truncate {
            Truncate::End => body.end.checked_sub(excess).map(|first| first..body.end),
            Truncate::Start => Some(body.start..body.start + excess),
            Truncate::None => None,
        };
        match cut.filter(|cut| body.start <= cut.start && cut.end <= body.end) {
            Some(cut) => {
                tokens.drain(cut);
                Ok((tokens, excess))
            }
            None => Err(self.overflow(tokens.len(), name, index)),
        }
    }

    fn overflow(&self, count: usize, name: &str, index: usize) -> Error {
        let limit = self.limit;
        let message = format!("{name} has {count} tokens, and the model takes {limit}");
        let mut hint = "shorten it, or set `truncate`".to_owned();
        if self.limit_option {
            hint += ", or load the model with a larger `context_size`";
        }
        Error::new(ErrorKind::ContextOverflow, message)
            .with_context("input", index)
            .with_context("tokens", count)
            .with_context("limit", limit)
            .with_hint(hint)
    }
}
