//! The compiled grammars of one model.

use std::sync::{Mutex, PoisonError};

use mullama_base::Recent;

use super::grammar::{Grammar, GrammarSpec};
use super::guide::Guides;
use crate::Result;
use crate::engine::Vocab;

/// Compiles grammars, and caches those that were used last: a large schema takes much longer to compile than to copy.
#[derive(Default)]
pub(crate) struct Grammars {
    guides: Guides,
    recent: Mutex<Recent<Grammar>>,
}

impl Grammars {
    /// The grammar of a constraint, at the start of the answer.
    pub fn compile(&self, vocab: &Vocab, spec: &GrammarSpec) -> Result<Grammar> {
        let source = spec.source();
        let known = self.recent().get(&source).map(Grammar::fork);
        let grammar = if let Some(grammar) = known {
            grammar
        } else {
            let grammar = Grammar::new(vocab, &self.guides, spec)?;
            self.recent().add(source, grammar.fork());
            grammar
        };
        grammar.begin(spec)
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, Recent<Grammar>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
