//! One running request: its tokens, its sampler, its text.

use super::answer::Answer;
use super::banned::{Banned, DelayedToken, PhraseCheck};
use super::completion::{StopKind, StopReason, TokenLogprob, TopLogprob};
use super::guess_budget::{GuessBudget, StepCosts};
use super::guesses::Guesses;
use super::media::Media;
use super::request::Job;
use super::shift::drop_oldest;
use crate::engine::{SeqId, Vocab};
use crate::options::RANDOM_SEED;
use crate::sampling::{Grammar, Guess, LogitsAdjuster, Sampler, Sampling};
use crate::{Error, Result, Token};
use std::sync::MutexGuard;
use std::time::Instant;

/// The state of a request after a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SamplingOutcome {
    /// The answer continues.
    More,
    /// The answer is complete and has been sent.
    Complete,
    /// The answer must go back: see [`Slot::backtrack`].
    Banned,
    /// The context is full, and the oldest tokens are to be dropped: see [`Slot::shift`].
    Full,
}

/// A running request.
pub(crate) struct Slot {
    job: Job,
    /// The prompt, followed by the generated tokens, without those that were dropped.
    tokens: Vec<Token>,
    /// Number of tokens of the prompt that were not dropped.
    n_prompt: usize,
    /// Number of tokens that were dropped.
    n_dropped: usize,
    /// Generated tokens that were dropped.
    dropped: Vec<Token>,
    /// Number of tokens whose cells are in the KV cache.
    n_past: usize,
    /// Number of prompt tokens reused from the cache.
    n_cached: Option<usize>,
    /// The request that is computing a common prefix, for which this one waits: its sequence, and the length of the
    /// prefix.
    pub awaits_prefix_of: Option<(SeqId, usize)>,
    /// Whether it waits for its reader.
    pub is_paused: bool,
    /// The sequence that the cells belong to.
    pub seq: SeqId,
    /// Places in the prompt, as numbers of tokens in ascending order, where the computation stops for a checkpoint.
    stops_at: Vec<usize>,
    /// The last such place that was reached.
    last_stop: usize,
    /// Number of pending tokens in the current batch.
    pub pending_in_batch: usize,
    /// Index in the current batch of the logits of the last token.
    pub output: Option<usize>,
    /// Guesses of the tokens after the pending one.
    guesses: Guesses,
    /// The pictures of the prompt.
    pub media: Media,
    /// Whether its logits have been NaN once.
    pub was_unsound: bool,
    sampler: Sampler,
    /// The grammar in its initial state, if banned phrases may make the answer go back.
    grammar: Option<Grammar>,
    logits_adjuster: LogitsAdjuster,
    banned: Banned,
    /// Start of a complete banned phrase: an index among the delayed tokens.
    banned_from: Option<usize>,
    /// Number of times that the answer went back.
    n_back: u32,
    /// Buffer for a token's bytes, reused to save an allocation per token.
    piece: Vec<u8>,
}

impl Slot {
    /// Starts a request. Returns `None` after reporting the error to its owner.
    pub fn start(mut job: Job, seq: SeqId, vocab: &Vocab, n_ctx: u32) -> Option<Self> {
        let banned = std::mem::take(&mut job.banned);
        let grammar = job.grammar.as_ref().filter(|_| banned.is_on()).map(Grammar::fork);
        let said = without_placeholders(&job.prompt);
        let sampler = Sampler::new(vocab, &job.sampling, job.grammar.take(), &said, n_ctx);
        let sampler = match sampler {
            Ok(sampler) => sampler,
            Err(error) => {
                job.answer.refuse(error);
                return None;
            }
        };
        let tokens = std::mem::take(&mut job.prompt);
        job.answer.lock().started = Some(Instant::now());
        Some(Self {
            n_prompt: tokens.len(),
            tokens,
            n_dropped: 0,
            dropped: Vec::new(),
            n_past: 0,
            n_cached: None,
            awaits_prefix_of: None,
            is_paused: false,
            seq,
            stops_at: Vec::new(),
            last_stop: 0,
            pending_in_batch: 0,
            output: None,
            guesses: Guesses::new(job.max_guesses),
            media: Media::new(std::mem::take(&mut job.media)),
            was_unsound: false,
            sampler,
            grammar,
            logits_adjuster: LogitsAdjuster::new(std::mem::take(&mut job.processors)),
            banned,
            banned_from: None,
            n_back: 0,
            piece: Vec::new(),
            job,
        })
    }

    /// The request that this slot runs.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Tokens that have to be computed before the next one can be chosen.
    pub fn pending(&self) -> &[Token] {
        &self.tokens[self.n_past..]
    }

    /// Stops the computation after `place` tokens, for a checkpoint.
    pub fn stop_at(&mut self, place: usize) {
        if let Err(index) = self.stops_at.binary_search(&place) {
            self.stops_at.insert(index, place);
        }
    }

    /// Number of pending tokens that may be computed before the next stop.
    ///
    /// With a seed, the last token of the prompt is computed in a step of its own, as it is when the prompt is
    /// cached. The first token then does not depend on the cache: products of one token and of many round differently.
    pub fn tokens_before_stop(&self) -> usize {
        let next = self.stops_at.iter().copied().find(|&place| place > self.n_past);
        let last =
            Some(self.n_prompt.saturating_sub(1)).filter(|_| self.job.sampling.seed.is_some());
        let last = last.filter(|&last| last > self.n_past);
        next.into_iter().chain(last).min().map_or(usize::MAX, |place| place - self.n_past)
    }

    /// Whether a checkpoint is due after the computed tokens. Call once after each step.
    pub fn is_at_stop(&mut self, interval: usize) -> bool {
        let is_long = interval > 0 && self.n_past >= self.last_stop + interval;
        let at_stop = self.stops_at.binary_search(&self.n_past).is_ok()
            || (is_long && self.tokens.len() > self.n_prompt);
        if at_stop {
            self.last_stop = self.n_past;
        }
        at_stop
    }

    /// Whether the next step computes one token and generates one.
    pub fn is_generating(&self) -> bool {
        self.pending().len() == 1 && self.tokens.len() > self.n_prompt
    }

    /// Whether it can take part in the next step.
    pub fn can_step(&self) -> bool {
        self.awaits_prefix_of.is_none() && !self.is_paused
    }

    /// Whether it can take part in the next step of tokens: it is not at a picture.
    pub fn has_tokens(&self) -> bool {
        self.can_step() && self.media.tokens_until_next(self.n_past) > 0
    }

    /// Clears everything that refers to the batch.
    pub fn leave_batch(&mut self) {
        self.output = None;
        self.pending_in_batch = 0;
        self.guesses.clear();
    }

    /// Copies at most `most` tokens that may follow the pending token from earlier text.
    pub fn copy_guesses(&mut self, most: usize, n_ctx: usize) {
        let most = most.min(self.useful_guesses(n_ctx));
        self.guesses.copy(&self.tokens, most);
    }

    /// Number of guesses that the draft model may make. Call once per step.
    pub fn draft_count(&mut self, n_ctx: usize) -> usize {
        let most = self.useful_guesses(n_ctx);
        self.guesses.draft_count().min(most)
    }

    /// Number of guesses that can be used. The last token of the answer or of the context is sampled but never
    /// computed.
    fn useful_guesses(&self, n_ctx: usize) -> usize {
        let n_generated = self.n_generated();
        let wanted = self.job.max_tokens.map_or(usize::MAX, |most| most as usize);
        wanted.saturating_sub(n_generated + 1).min(n_ctx.saturating_sub(self.tokens.len()))
    }

    /// Statistics of the draft model's guesses.
    pub fn guess_budget(&self) -> Option<&GuessBudget> {
        self.guesses.guess_budget()
    }

    /// Pauses the draft model's guesses, because they do not pay.
    pub fn pause_guesses(&mut self) {
        self.guesses.start_pause();
    }

    /// Makes a guess from the draft model's logits. Returns whether it is worth a place in the step.
    pub fn add_guess(
        &mut self,
        logits: &[f32],
        vocab: &Vocab,
        costs: &StepCosts,
        streaming: usize,
    ) -> bool {
        let draws = self.sampler.is_unseeded_draw();
        self.guesses.add(logits, &self.job.sampling, draws, vocab, (costs, streaming))
    }

    /// Drops the guesses of this step.
    pub fn drop_guesses(&mut self) {
        self.guesses.clear();
    }

    /// The guesses of the step.
    pub fn guesses(&self) -> &[Guess] {
        self.guesses.current()
    }

    /// Sets the index in the batch of the first guess's logits.
    pub fn place_guesses(&mut self, output: usize) {
        self.guesses.output = output;
    }

    /// Index in the batch of a guess's logits.
    pub fn output_of_guess(&self, guess: usize) -> usize {
        self.guesses.output + guess
    }

    /// Whether the token just chosen equals the guess with this index. If so, its cell is already computed.
    pub fn accept_guess(&mut self, guess: usize) -> bool {
        let guess = self.guesses().get(guess).map(|guess| guess.token);
        let right = guess.is_some() && guess == self.tokens.last().copied();
        self.n_past += usize::from(right);
        self.answer().n_accepted += u32::from(right);
        right
    }

    /// Records how many guesses were right.
    pub fn record_guesses(&mut self, right: usize, costs: Option<&mut StepCosts>) {
        self.guesses.record_outcome(right, costs);
    }

    /// The last `count` computed tokens.
    pub fn computed(&self, count: usize) -> &[Token] {
        &self.tokens[self.n_past - count..self.n_past]
    }

    /// Number of cells that the request has in the KV cache.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Number of cells that the request has once its pending tokens are computed.
    pub fn n_needed(&self) -> usize {
        self.tokens.len()
    }

    /// Records that its tokens in the batch have been computed, and returns them.
    pub fn advance(&mut self) -> &[Token] {
        let computed = self.n_past..self.n_past + std::mem::take(&mut self.pending_in_batch);
        self.n_past = computed.end;
        if computed.start < self.n_prompt {
            let n_computed = self.n_past.min(self.n_prompt);
            self.answer().record_prompt_progress(n_computed, self.job.prompt_progress);
        }
        &self.tokens[computed]
    }

    /// Records that the first `n_past` tokens are in the KV cache.
    pub fn start_at(&mut self, n_past: usize) {
        self.n_past = n_past;
        self.last_stop = n_past;
        self.n_cached.get_or_insert(0);
        if self.tokens.len() == self.n_prompt && self.n_back == 0 && !self.answer().has_begun() {
            self.n_cached = self.n_cached.max(Some(n_past));
        }
        self.answer().n_cached = self.n_cached.unwrap_or(0);
    }

    /// The tokens that must be in the KV cache before the last token, whose logits are needed, is computed.
    pub fn beginning(&self) -> &[Token] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// The prompt and the generated tokens.
    pub fn known(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether the prompt is not computed yet.
    pub fn is_in_prompt(&self) -> bool {
        self.n_past < self.n_prompt
    }

    /// Resets the request after its cells were freed: everything is computed again.
    pub fn reset(&mut self) {
        self.n_past = 0;
        self.leave_batch();
        self.awaits_prefix_of = None;
    }

    /// Number of computed prompt tokens, of cached prompt tokens, and of generated tokens.
    pub fn counts(&self) -> (usize, usize, usize) {
        let cached = self.n_cached.unwrap_or(0);
        let prompt = self.n_past.min(self.n_prompt).saturating_sub(cached);
        (prompt, cached, self.n_generated())
    }

    fn n_generated(&self) -> usize {
        self.dropped.len() + self.tokens.len() - self.n_prompt
    }

    /// Counts the guesses of a computed step, and returns their number.
    pub fn count_guesses(&mut self) -> usize {
        let count = self.guesses().len();
        self.answer().n_drafted += count as u32;
        count
    }

    /// Samples the next token from the logits. `guess` is the index of the guess for this token.
    pub fn take_logits(
        &mut self,
        logits: &[f32],
        guess: usize,
        vocab: &Vocab,
        n_ctx: usize,
    ) -> Result<SamplingOutcome> {
        if self.job.max_tokens == Some(0) {
            self.answer().finish(StopReason::new(StopKind::MaxTokens));
            return Ok(SamplingOutcome::Complete);
        }
        let is_forced = self.sampler.is_forced();
        let token = self.choose(logits, guess)?;
        self.tokens.push(token);
        let logprob =
            self.job.logprobs.map(|count| logprob_of(token, logits, count as usize, vocab));
        let ended = vocab.is_end_of_generation(token);
        self.piece.clear();
        if !ended {
            let special = self.job.preserved.contains(&token);
            vocab.piece(token, special, &mut self.piece);
        }
        let n_generated = self.n_generated();
        // Delayed tokens must stay: the answer may go back to them.
        let is_full = self.tokens.len() > n_ctx;
        let shifts = is_full && self.job.shifts && self.banned.delayed() < n_ctx / 2;
        let end = if ended {
            let (text, token) = (Some(piece_of(token, vocab).0), Some(token));
            Some(StopReason { text, token, ..StopReason::new(StopKind::EndToken) })
        } else if self.job.max_tokens.is_some_and(|most| n_generated >= most as usize) {
            Some(StopReason::new(StopKind::MaxTokens))
        } else if is_full && !shifts {
            // One more token would not fit.
            Some(StopReason::new(StopKind::ContextSize))
        } else {
            None
        };
        let mut answer = self.job.answer.lock();
        let stopped = if self.banned.is_on() {
            let piece = self.piece.clone();
            let certain = match self.banned.delay(DelayedToken { token, piece, logprob, is_forced })
            {
                PhraseCheck::Banned(index) => {
                    self.banned_from = Some(index);
                    return Ok(SamplingOutcome::Banned);
                }
                PhraseCheck::Certain(count) => end.is_none().then_some(count),
            };
            let mut certain = self.banned.take(certain).into_iter();
            certain.find_map(|DelayedToken { token, piece, logprob, .. }| {
                answer.add(token, &piece, logprob)
            })
        } else {
            answer.add(token, &self.piece, logprob)
        };
        let Some(stop) = stopped.or(end) else {
            answer.deliver_if_due();
            return Ok(if shifts { SamplingOutcome::Full } else { SamplingOutcome::More });
        };
        answer.finish(stop);
        Ok(SamplingOutcome::Complete)
    }

    /// Samples the next token after applying logits processors and forbidden tokens.
    fn choose(&mut self, logits: &[f32], guess: usize) -> Result<Token> {
        let forbidden = self.banned.forbidden_at(self.n_dropped + self.tokens.len());
        let logits = self.logits_adjuster.adjust(logits, &self.tokens, forbidden)?;
        self.sampler.sample(logits, self.guesses.current().get(guess))
    }

    /// Goes back to the token that began a banned phrase. Releases the cells; those that the prefix cache retains are
    /// reused.
    pub fn backtrack(&mut self, vocab: &Vocab, n_ctx: usize) -> Result<()> {
        let Some(index) = self.banned_from.take() else { return Ok(()) };
        let place = self.tokens.len() - self.banned.delayed() + index;
        self.banned.backtrack(index, self.n_dropped + place)?;
        self.tokens.truncate(place);
        self.n_back += 1;
        // With a seed, retries draw different random numbers.
        let seed = self.job.sampling.seed.map(|seed| seed.wrapping_add(self.n_back) % RANDOM_SEED);
        let sampling = Sampling { seed, ..self.job.sampling.clone() };
        let (prompt, generated) = self.tokens.split_at(self.n_prompt);
        let grammar = self.grammar.as_ref().map(Grammar::fork);
        self.sampler =
            Sampler::new(vocab, &sampling, grammar, &without_placeholders(prompt), n_ctx as u32)?;
        let mut generated = self.dropped.iter().chain(generated);
        generated.try_for_each(|&token| self.sampler.accept(token))?;
        self.reset();
        Ok(())
    }

    /// Drops the oldest tokens, so that half of the context is free. Releases the cells: those of the tokens that stay
    /// are computed again, since they depend on what was dropped.
    pub fn shift(&mut self, vocab: &Vocab, n_ctx: usize) {
        let (start, gone) = drop_oldest(&mut self.tokens, self.banned.delayed(), n_ctx, vocab);
        let of_prompt = self.n_prompt.saturating_sub(start).min(gone.len());
        self.dropped.extend(&gone[of_prompt..]);
        self.n_prompt -= of_prompt;
        self.n_dropped += gone.len();
        self.answer().dropped_tokens += gone.len() as u32;
        self.stops_at.clear();
        self.reset();
    }

    /// Delivers text that was buffered to be delivered together.
    pub fn flush(&mut self) {
        self.answer().deliver();
    }

    /// Creates the last chunk of a cancelled or expired request.
    pub fn cancel(&mut self) {
        self.answer().cancel();
    }

    /// Ends the request with an error.
    pub fn fail(&mut self, error: Error) {
        self.answer().fail(error);
    }

    /// Sends the outcome to the owner.
    pub fn send_outcome(&mut self) {
        self.answer().send_outcome();
    }

    fn answer(&self) -> MutexGuard<'_, Answer> {
        self.job.answer.lock()
    }
}

/// The tokens of a prompt without those that represent pictures. Penalties apply to them.
fn without_placeholders(prompt: &[Token]) -> Vec<Token> {
    prompt.iter().copied().filter(|&token| token >= 0).collect()
}

/// Log-softmax of the logits at one token and at the `count` most likely ones.
fn logprob_of(token: Token, logits: &[f32], count: usize, vocab: &Vocab) -> TokenLogprob {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let logprob = |token: usize| (f64::from(logits[token] - highest) - sum.ln()) as f32;
    let mut order: Vec<usize> = Vec::new();
    if count > 0 {
        let count = count.min(logits.len());
        let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]);
        order = (0..logits.len()).collect();
        order.select_nth_unstable_by(count - 1, by_logit);
        order.truncate(count);
        order.sort_unstable_by(by_logit);
    }
    let top = order.into_iter().map(|id| {
        let (text, bytes) = piece_of(id as Token, vocab);
        TopLogprob { token: id as Token, text, bytes, logprob: logprob(id) }
    });
    let (text, bytes) = piece_of(token, vocab);
    TokenLogprob { token, text, bytes, logprob: logprob(token as usize), top: top.collect() }
}

/// The text of a token, including special ones, and its bytes.
fn piece_of(token: Token, vocab: &Vocab) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    vocab.piece(token, true, &mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), bytes)
}
