//! The compiled grammars of one model.

use std::sync::{Mutex, PoisonError};

use mullama_base::{Recent, check_memory};

use super::grammar::{Grammar, GrammarSpec};
use super::guide::Guides;
use crate::Result;
use crate::engine::Vocab;

/// Memory in bytes that compiling takes per byte of a long grammar or schema. Measured: 120 to 500; most of it is
/// allocated by libraries, which end the process if they get none.
const COMPILED_BYTES: usize = 256;

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
            check_memory(source.len().saturating_mul(COMPILED_BYTES))?;
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
