//! Changes logits before the samplers see them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mullama_base::Text;

use super::sampler::{are_valid_logits, invalid_logits};
use crate::options::{LogitsProcessor, LogitsProcessors};
use crate::{Error, ErrorKind, Result, Token};

/// Applies logits processors and forbidden tokens to the logits of one request.
#[derive(Default)]
pub(crate) struct LogitsAdjuster {
    processors: LogitsProcessors,
    /// Buffer for the changed logits, reused for each token.
    logits: Vec<f32>,
}

impl LogitsAdjuster {
    pub fn new(processors: LogitsProcessors) -> Self {
        Self { processors, logits: Vec::new() }
    }

    /// Returns the changed logits, or `logits` itself if there is nothing to change. `tokens` are the prompt and the
    /// generated tokens; the logits of `forbidden` become minus infinity.
    pub fn adjust<'a>(
        &'a mut self,
        logits: &'a [f32],
        tokens: &[Token],
        forbidden: impl Iterator<Item = Token>,
    ) -> Result<&'a [f32]> {
        let mut forbidden = forbidden.peekable();
        if self.processors.0.is_empty() && forbidden.peek().is_none() {
            return Ok(logits);
        }
        if !are_valid_logits(logits) {
            return Err(invalid_logits());
        }
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        for processor in &self.processors.0 {
            process(&**processor, tokens, &mut self.logits)?;
        }
        for token in forbidden {
            self.logits[token as usize] = f32::NEG_INFINITY;
        }
        if are_all_forbidden(&self.logits) {
            let problem = "they leave no token to continue the answer";
            return Err(Error::option("banned_phrases", problem));
        }
        Ok(&self.logits)
    }
}

/// Calls one processor and checks its result: no NaN, no positive infinity, at least one allowed token.
fn process(processor: &dyn LogitsProcessor, tokens: &[Token], logits: &mut [f32]) -> Result<()> {
    let failed =
        |what: String| Error::new(ErrorKind::Callback, format!("a logits processor {what}"));
    match catch_unwind(AssertUnwindSafe(|| processor.process(tokens, logits))) {
        Ok(Ok(())) => {}
        Ok(Err(cause)) => return Err(failed(format!("failed: {cause}")).with_cause(cause)),
        Err(_) => return Err(failed("panicked".to_owned())),
    }
    if let Some(token) = logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        let value = logits[token];
        let error = failed(format!("left the value {value} for token {token}"));
        return Err(error
            .with_context("token", token)
            .with_hint(Text::from("logits are numbers; minus infinity forbids a token")));
    }
    if are_all_forbidden(logits) {
        return Err(failed("forbids every token".to_owned()));
    }
    Ok(())
}

fn are_all_forbidden(logits: &[f32]) -> bool {
    logits.iter().all(|&logit| logit == f32::NEG_INFINITY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(processors: LogitsProcessors, forbidden: &[Token]) -> Result<Vec<f32>> {
        let mut logits_adjuster = LogitsAdjuster::new(processors);
        let logits =
            logits_adjuster.adjust(&[1.0, 2.0, 3.0], &[7, 8], forbidden.iter().copied())?;
        Ok(logits.to_vec())
    }

    fn processor(
        process: impl Fn(&[Token], &mut [f32]) + Send + Sync + 'static,
    ) -> LogitsProcessors {
        LogitsProcessors::from_fn(move |tokens, logits| {
            process(tokens, logits);
            Ok(())
        })
    }

    #[test]
    fn processors_see_the_tokens_and_change_the_logits_in_turn() {
        let mut both = processor(|tokens, logits| logits[0] += tokens[1] as f32);
        both.0.extend(processor(|_, logits| logits[0] *= 2.0).0);
        assert_eq!(adjusted(both, &[1]).unwrap(), [18.0, f32::NEG_INFINITY, 3.0]);
        assert_eq!(adjusted(LogitsProcessors::default(), &[]).unwrap(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn invalid_logits_of_processors_are_errors() {
        let refused = |processors| {
            let error = adjusted(processors, &[]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Callback);
            error
        };
        let nan = refused(processor(|_, logits| logits.fill(f32::NAN)));
        assert_eq!(nan.to_string(), "a logits processor left the value NaN for token 0");
        let infinite = refused(processor(|_, logits| logits[2] = f32::INFINITY));
        assert_eq!(infinite.get("token"), Some("2"));
        let nothing = refused(processor(|_, logits| logits.fill(f32::NEG_INFINITY)));
        assert_eq!(nothing.to_string(), "a logits processor forbids every token");
        let failing = refused(LogitsProcessors::from_fn(|_, _| Err("no".into())));
        assert_eq!(failing.to_string(), "a logits processor failed: no");
        assert_eq!(failing.cause().unwrap().to_string(), "no");
        let panicking = refused(processor(|_, _| panic!("on purpose")));
        assert_eq!(panicking.to_string(), "a logits processor panicked");
        let error = adjusted(LogitsProcessors::default(), &[0, 1, 2]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
