//! Scheduler steps that compute pictures.

use std::time::{Duration, Instant};

use super::media::NextStep;
use super::scheduler::Scheduler;
use super::slot::Slot;
use crate::Result;
use crate::engine::Decoded;

/// How long a step waits for the encoder before it checks for new requests.
const PICTURE_WAIT_TIMEOUT: Duration = Duration::from_millis(2);

impl Scheduler {
    /// Decides what the next step computes. Steps for pictures and for tokens alternate.
    pub(super) fn next_step(&mut self) -> NextStep {
        let had_turn = std::mem::take(&mut self.picture_had_turn);
        if self.running.iter().all(|slot| slot.media.is_empty()) {
            return NextStep::Tokens;
        }
        self.start_followers();
        let mut index = 0;
        while index < self.running.len() {
            let slot = &mut self.running[index];
            let n_past = slot.n_past();
            let asked = if slot.can_step() {
                slot.media.request(n_past, &mut self.encoder)
            } else {
                Ok(())
            };
            let failed = asked.err().or_else(|| {
                let (_, encoding) = slot.media.at(n_past)?;
                encoding.as_ref()?.result()?.as_ref().err().cloned()
            });
            match failed {
                Some(error) => self.fail(index, error),
                None => index += 1,
            }
        }
        let has_tokens = self.running.iter().any(Slot::has_tokens);
        if had_turn && has_tokens {
            return NextStep::Tokens;
        }
        let is_encoded = |slot: &Slot| {
            let encoding = slot.media.at(slot.n_past()).and_then(|(_, encoding)| encoding.as_ref());
            slot.can_step() && encoding.is_some_and(|encoding| encoding.result().is_some())
        };
        let waits = |slot: &Slot| slot.can_step() && !slot.has_tokens();
        match self.running.iter().position(is_encoded) {
            Some(index) => NextStep::Picture(index),
            None if !has_tokens && self.running.iter().any(waits) => NextStep::Wait,
            None => NextStep::Tokens,
        }
    }

    /// Waits for the encoder, for at most `PICTURE_WAIT_TIMEOUT`.
    pub(super) fn wait_for_picture(&mut self) {
        self.encoder.wait(PICTURE_WAIT_TIMEOUT);
    }

    /// Computes the next part of the picture of the running request `index`: as many positions as the prefill budget
    /// allows, or all if they must be computed together.
    pub(super) fn compute_picture(&mut self, index: usize) -> Result<Decoded> {
        let streaming = self.running.iter().filter(|slot| slot.is_generating()).count();
        self.running.iter_mut().for_each(Slot::leave_batch);
        let slot = &self.running[index];
        let n_past = slot.n_past();
        let Some((run, Some(encoding))) = slot.media.at(n_past) else { return Ok(Decoded::Done) };
        let Some(Ok(embeddings)) = encoding.result() else { return Ok(Decoded::Done) };
        let left = run.range().end - n_past;
        let count = if run.is_whole() {
            left
        } else {
            let budget =
                if streaming > 0 { self.prefill_budget.prompt_tokens(streaming) } else { left };
            left.min(budget.max(1)).min(self.context.n_batch()).min(slot.tokens_before_stop())
        };
        let missing = (self.prefixes.used() + count).saturating_sub(self.n_ctx);
        self.prefixes.evict(&mut self.context, missing);
        if self.prefixes.used() + count > self.n_ctx {
            return Ok(Decoded::NoRoom);
        }
        self.context.use_adapters(&slot.job().adapters);
        let width = embeddings.len() / run.placeholders().len();
        let first = n_past - run.range().start;
        let start = Instant::now();
        let decoded = self.context.decode_embeddings(
            &embeddings[first * width..(first + count) * width],
            n_past..n_past + count,
            slot.seq,
            run.is_whole(),
            slot.job().cancel.clone(),
        );
        self.context.use_adapters(&self.turn.0);
        self.running[index].pending_in_batch = count;
        if matches!(decoded, Ok(Decoded::Done)) {
            self.picture_had_turn = true;
            self.prefill_budget.add_measurement(false, count, start.elapsed());
            self.stats.steps += 1;
        }
        decoded
    }
}
