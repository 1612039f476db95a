//! Calls for embeddings and reranking: validates options and tokenises the inputs.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::batch_loop::{Job, cancelled};
use super::blueprint::Kind;
use super::embedder::{Embedder, Embedders};
use super::pair::PairTemplate;
use super::pending::Pending;
use super::results::{Embeddings, Layout, Reranking};
use crate::engine::{AdapterSet, DeadlineWatch, Vocab};
use crate::options::{EmbedOptions, Inputs, Pooling, Prompt, RerankOptions, Truncate, deadline};
use crate::scheduler::KeepAlive;
use crate::{CancelToken, Error, ErrorKind, Result, Token};
use mullama_base::Text;

/// A model, as a call for embeddings needs it.
pub(crate) struct EmbeddingModel<'a> {
    pub vocab: &'a Vocab,
    pub embedders: &'a Embedders,
    pub adapters: AdapterSet,
    /// Prevents the model from being unloaded before the result has arrived.
    pub keep_alive: KeepAlive,
}

/// Starts the computation of embeddings.
pub(crate) fn start_embed(
    model: &EmbeddingModel<'_>,
    inputs: Inputs,
    options: &EmbedOptions,
) -> Result<Pending<Embeddings>> {
    let embedders = model.embedders;
    let info = embedders.info();
    let pooling = embedders.pooling(options.pooling)?;
    let kind = if pooling == Pooling::Rank { Kind::Scores } else { Kind::Tokens };
    let embedder = embedders.get(kind)?;
    let (width, limit) = (embedder.width(), embedder.limit());
    let normalized = options.normalize.unwrap_or(pooling != Pooling::Rank);
    if normalized && pooling == Pooling::Rank {
        return Err(Error::option(
            "normalize",
            Text::with_names("scores ({pooling} rank) have no length"),
        ));
    }
    let dimensions = options.dimensions.map(|count| count as usize);
    if dimensions.is_some_and(|count| count == 0 || count > width) {
        return Err(Error::option("dimensions", format!("must lie between 1 and {width}")));
    }
    let reader = Reader {
        vocab: model.vocab,
        limit,
        limit_option: info.limit_option,
        truncate: options.truncate.unwrap_or_default(),
        is_for_scores: kind == Kind::Scores,
    };
    let (add, parse) = (options.settled_add_special(), options.settled_parse_special());
    let mut texts = Texts::default();
    for (index, input) in inputs.0.into_iter().enumerate() {
        let (tokens, body) = match input {
            Prompt::Text(text) => reader.tokenize(&text, add, parse)?,
            Prompt::Tokens(tokens) => {
                tokens.iter().try_for_each(|&token| model.vocab.check(token))?;
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
    start(model, &embedder, texts, &layout, options.timeout, finish)
}

/// Starts the scoring of documents.
pub(crate) fn start_rerank(
    model: &EmbeddingModel<'_>,
    query: &str,
    documents: &[impl AsRef<str>],
    options: &RerankOptions,
) -> Result<Pending<Reranking>> {
    let info = model.embedders.info();
    let embedder = model.embedders.get(Kind::Scores)?;
    if options.top_n == Some(0) {
        return Err(Error::option("top_n", "must be 1 or more"));
    }
    let reader = Reader {
        vocab: model.vocab,
        limit: embedder.limit(),
        limit_option: info.limit_option,
        truncate: options.truncate.unwrap_or_default(),
        is_for_scores: true,
    };
    let template = PairTemplate::new(model.vocab, info.rerank_template.as_deref(), query)?;
    let mut texts = Texts::default();
    for (index, document) in documents.iter().enumerate() {
        let (tokens, body) = template.tokenize(model.vocab, document.as_ref())?;
        let name = format!("document {index} with the query");
        texts.add(reader.fit(tokens, body, &name, index)?);
    }
    let layout = texts.layout(Pooling::Rank);
    let (width, top_n, usage) = (embedder.width(), options.top_n, layout.usage);
    let finish = move |values: Vec<f32>| {
        // If there are several scores, the first one is for the class of relevant documents.
        let scores = values.chunks_exact(width.max(1)).map(|scores| scores[0]);
        Reranking::new(scores, top_n, usage)
    };
    start(model, &embedder, texts, &layout, options.timeout, finish)
}

fn start<T>(
    model: &EmbeddingModel<'_>,
    embedder: &Embedder,
    texts: Texts,
    layout: &Layout,
    timeout: Option<f32>,
    finish: impl FnOnce(Vec<f32>) -> T + Send + 'static,
) -> Result<Pending<T>> {
    let cancel = CancelToken::with_deadline(deadline(Instant::now(), timeout)?);
    // Unbounded, so that the engine's thread never waits for the receiver.
    let (reply, result) = flume::unbounded();
    let (late, token) = (reply.clone(), cancel.clone());
    let watch = DeadlineWatch::new(&cancel, move || _ = late.send(Err(cancelled(&token))));
    if texts.inputs.iter().all(Vec::is_empty) {
        let rows = layout.starts.last().copied().unwrap_or(0);
        let _ = reply.send(Ok(vec![0.0; rows * embedder.width()]));
    } else {
        embedder.submit(Job {
            inputs: texts.inputs,
            pooling: layout.pooling,
            adapters: model.adapters.clone(),
            starts: layout.starts.clone(),
            cancel: cancel.clone(),
            reply,
        })?;
    }
    Ok(Pending::new(result, cancel, watch, finish, Arc::clone(&model.keep_alive)))
}

/// The tokenised and truncated inputs of a call.
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

/// Tokenises inputs and truncates them to the model's limit.
struct Reader<'a> {
    vocab: &'a Vocab,
    limit: usize,
    /// Whether a larger `context_size` would raise the limit.
    limit_option: bool,
    truncate: Truncate,
    /// Whether inputs are scored: a text without tokens is then an error, while its embedding is all zeros.
    is_for_scores: bool,
}

impl Reader<'_> {
    /// Returns the tokens of a text, and the range of those that are not special tokens.
    fn tokenize(
        &self,
        text: &str,
        add_special: bool,
        parse_special: bool,
    ) -> Result<(Vec<Token>, Range<usize>)> {
        let tokens = self.vocab.tokenize(text, add_special, parse_special)?;
        if tokens.len() <= self.limit || !add_special || self.truncate == Truncate::None {
            let body = 0..tokens.len();
            return Ok((tokens, body));
        }
        let own = self.vocab.tokenize(text, false, parse_special)?;
        let first = tokens.windows(own.len().max(1)).position(|part| part == own).unwrap_or(0);
        Ok((tokens, first..first + own.len()))
    }

    /// Truncates an input that is too long, if requested, and returns it with the number of removed tokens. Special
    /// tokens around the text are preserved.
    fn fit(
        &self,
        mut tokens: Vec<Token>,
        body: Range<usize>,
        name: &str,
        index: usize,
    ) -> Result<(Vec<Token>, usize)> {
        if tokens.is_empty() && self.is_for_scores {
            let message = format!("{name} has no tokens");
            return Err(Error::new(ErrorKind::InvalidArgument, message)
                .with_context("input", index)
                .with_hint("remove empty texts: they cannot be scored"));
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
        let message = format!("{name} has {count} tokens; the model accepts at most {limit}");
        let hint = if self.limit_option {
            "shorten it, or set {truncate}, or load the model with a larger {context_size}"
        } else {
            "shorten it, or set {truncate}"
        };
        Error::new(ErrorKind::ContextOverflow, message)
            .with_context("input", index)
            .with_context("tokens", count)
            .with_context("limit", limit)
            .with_hint(Text::with_names(hint))
    }
}
