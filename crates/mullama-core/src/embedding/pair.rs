//! Combines a query and a document into the input of a reranker.

use std::ops::Range;

use crate::engine::Vocab;
use crate::{Result, Token};

/// A template that combines a query with documents.
pub(super) enum PairTemplate {
    /// The model's own template with the query inserted: the text before and after the document.
    Text { before: String, after: String },
    /// The tokens before the document (the query and a separator), and those after it.
    Tokens { before: Vec<Token>, after: Vec<Token> },
}

impl PairTemplate {
    /// Creates a template for a query. `template` contains `{query}` and `{document}`; without it,
    /// the format is derived from the vocabulary.
    pub fn new(vocab: &Vocab, template: Option<&str>, query: &str) -> Result<Self> {
        if let Some((before, after)) = template.and_then(|text| text.split_once("{document}")) {
            let fill = |text: &str| text.replace("{query}", query);
            return Ok(Self::Text { before: fill(before), after: fill(after) });
        }
        // The format that encoders are trained with. BERT: `[CLS] query [SEP] document [SEP]`;
        // RoBERTa: `<s> query </s></s> document </s>`.
        let own = vocab.tokenize(query, false, false)?;
        let mut before = vocab.tokenize(query, true, false)?;
        let at = before.windows(own.len().max(1)).position(|part| part == own).unwrap_or(0);
        let after = before.split_off((at + own.len()).min(before.len()));
        let separators = vocab.pair_separators();
        before.extend(if separators.is_empty() { after.clone() } else { separators });
        Ok(Self::Tokens { before, after })
    }

    /// Returns the tokens of the query with a document, and the range of the document's tokens.
    pub fn tokenize(&self, vocab: &Vocab, document: &str) -> Result<(Vec<Token>, Range<usize>)> {
        match self {
            Self::Text { before, after } => {
                let whole = vocab.tokenize(&format!("{before}{document}{after}"), false, true)?;
                // Tokens that span an edge count as part of the template.
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
