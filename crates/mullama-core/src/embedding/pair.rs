//! A query and a document as one text.

use std::ops::Range;

use crate::engine::Vocab;
use crate::{Result, Token};

/// Puts documents to a query.
pub(super) enum PairTemplate {
    /// The model's own, with the query in it: what comes before the document, and after.
    Text { before: String, after: String },
    /// The tokens of the query with what separates it, and those that close a text.
    Tokens { before: Vec<Token>, after: Vec<Token> },
}

impl PairTemplate {
    /// `template` has `{query}` and `{document}` where they go.
    pub fn new(vocab: &Vocab, template: Option<&str>, query: &str) -> Result<Self> {
        if let Some((before, after)) = template.and_then(|text| text.split_once("{document}")) {
            let fill = |text: &str| text.replace("{query}", query);
            return Ok(Self::Text { before: fill(before), after: fill(after) });
        }
        // As encoders are trained: BERT's `[CLS] query [SEP] document [SEP]`, RoBERTa's `<s> query
        // </s></s> document </s>`.
        let own = vocab.tokenize(query, false, false)?;
        let mut before = vocab.tokenize(query, true, false)?;
        let at = before.windows(own.len().max(1)).position(|part| part == own).unwrap_or(0);
        let after = before.split_off((at + own.len()).min(before.len()));
        let separators = vocab.pair_separators();
        before.extend(if separators.is_empty() { after.clone() } else { separators });
        Ok(Self::Tokens { before, after })
    }

    /// The tokens of the query with a document, and which of them are the document's.
    pub fn tokenize(&self, vocab: &Vocab, document: &str) -> Result<(Vec<Token>, Range<usize>)> {
        match self {
            Self::Text { before, after } => {
                let whole = vocab.tokenize(&format!("{before}{document}{after}"), false, true)?;
                // Where tokens reach over the edges, they are taken to be the template's.
                let ahead = vocab.tokenize(before, false, true)?.len().min(whole.len());
                let behind = vocab.tokenize(after, false, true)?.len();
                let end = whole.len().saturating_sub(behind).max(ahead);
                Ok((whole, ahead..end))
            }
            Self::Tokens { before, after } => {
                let own = vocab.tokenize(document, false, false)?;
                let body = before.len()..before.len() + own.len();
                Ok(([before.as_slice(), &own, after].concat(), body))
            }
        }
    }
}
