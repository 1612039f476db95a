//! Compiles the constraint of a request in the background. Large ones take seconds: the caller waits until the
//! request's deadline at most, and may abandon them.

use std::sync::Arc;
use std::time::Instant;

use mullama_base::CancelOnDrop;

use super::loaded::Loaded;
use crate::engine::{Alarm, run_in_background};
use crate::sampling::{GRAMMAR_STACK, Grammar, GrammarSpec};
use crate::{CancelToken, Error, ErrorKind, Result};

/// The constraint of a request's answer.
pub(super) enum Constraint {
    None,
    Compiled(Grammar),
    /// The deadline passed before it was compiled.
    Late,
}

/// A constraint that is being compiled. Dropping it abandons it.
pub(super) struct Compiling {
    compiled: flume::Receiver<Result<Constraint>>,
    _late: Option<Alarm>,
    _abandon: CancelOnDrop,
}

impl Compiling {
    pub fn start(
        loaded: &Arc<Loaded>,
        spec: Option<GrammarSpec>,
        deadline: Option<Instant>,
    ) -> Result<Self> {
        let (sender, compiled) = flume::bounded(2);
        let cancel = CancelToken::new();
        let abandon = cancel.drop_guard();
        let Some(spec) = spec else {
            let _ = sender.send(Ok(Constraint::None));
            return Ok(Self { compiled, _late: None, _abandon: abandon });
        };
        let late = deadline.map(|deadline| {
            let sender = sender.clone();
            Alarm::at(deadline, move || _ = sender.try_send(Ok(Constraint::Late)))
        });
        let loaded = Arc::clone(loaded);
        run_in_background(GRAMMAR_STACK, &cancel, move || {
            let grammar = loaded.grammars.compile(&loaded.vocab, &spec);
            let _ = sender.try_send(grammar.map(Constraint::Compiled));
        })?;
        Ok(Self { compiled, _late: late, _abandon: abandon })
    }

    pub fn wait(self) -> Result<Constraint> {
        self.compiled.recv().unwrap_or_else(|_| Err(failed()))
    }

    pub async fn wait_async(self) -> Result<Constraint> {
        self.compiled.recv_async().await.unwrap_or_else(|_| Err(failed()))
    }
}

fn failed() -> Error {
    let message = "compiling the grammar failed because of a defect in mullama";
    Error::new(ErrorKind::Internal, message)
}
