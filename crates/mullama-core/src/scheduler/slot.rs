//! One request under way: its tokens, its sampler, its text.

use std::time::{Duration, Instant};

use super::completion::{
    Chunk, Completion, FinishReason, Timings, TokenLogprob, TopLogprob, Usage,
};
use super::lookup::Lookup;
use super::request::{Delivery, Event, Job};
use super::text::TextAssembler;
use crate::engine::{SeqId, Vocab};
use crate::sampling::Sampler;
use crate::{Error, Result, Token};

/// Tokens that come faster than this are delivered together: waking the reader costs as much as
/// computing a token of a small model.
const DELIVERY_INTERVAL: Duration = Duration::from_millis(2);

/// One request under way.
pub(crate) struct Slot {
    job: Job,
    /// The prompt, then what was generated.
    tokens: Vec<Token>,
    n_prompt: usize,
    /// Tokens whose cells are in the KV cache.
    n_past: usize,
    /// Tokens of the prompt that had been computed before.
    n_cached: Option<usize>,
    /// Waits for another request, which is computing what this one begins with too: its sequence, and how
    /// many tokens they share.
    pub awaits_prefix_of: Option<(SeqId, usize)>,
    /// The sequence that the cells belong to.
    pub seq: SeqId,
    /// Places after so many tokens at which the computation of the prompt stops for a checkpoint, in order.
    stops_at: Vec<usize>,
    /// The last such place that was passed.
    last_stop: usize,
    /// How many of the pending tokens are in the current batch.
    pub pending_in_batch: usize,
    /// Where in the current batch the logits of the last token are.
    pub output: Option<usize>,
    lookup: Option<Lookup>,
    /// Guesses at the tokens after the pending one, in the current batch.
    draft: Vec<Token>,
    /// Where in the current batch the logits of the first of them are.
    pub draft_output: usize,
    sampler: Sampler,
    text: TextAssembler,
    /// A token's bytes, kept to save an allocation per token.
    piece: Vec<u8>,
    logprobs: Option<Vec<TokenLogprob>>,
    delivered_logprobs: usize,
    delivered: Option<Instant>,
    started: Instant,
    first_token: Option<Instant>,
    /// How the request ended, until its owner has been told.
    outcome: Option<Result<Box<Chunk>>>,
}

impl Slot {
    /// Takes a request up. Where it cannot be, its owner has been told why, and it is gone.
    pub fn start(mut job: Job, seq: SeqId, vocab: &Vocab, n_ctx: u32) -> Option<Self> {
        let sampler = Sampler::new(vocab, &job.sampling, job.grammar.take(), &job.prompt, n_ctx);
        let sampler = match sampler {
            Ok(sampler) => sampler,
            Err(error) => {
                let _ = job.events.send(Event::Done(Err(error)));
                return None;
            }
        };
        let tokens = std::mem::take(&mut job.prompt);
        Some(Self {
            n_prompt: tokens.len(),
            tokens,
            n_past: 0,
            n_cached: None,
            awaits_prefix_of: None,
            seq,
            stops_at: Vec::new(),
            last_stop: 0,
            pending_in_batch: 0,
            output: None,
            lookup: (job.prompt_lookup > 0).then(|| Lookup::new(job.prompt_lookup as usize)),
            draft: Vec::new(),
            draft_output: 0,
            sampler,
            text: TextAssembler::new(std::mem::take(&mut job.stops)),
            piece: Vec::new(),
            logprobs: job.logprobs.map(|_| Vec::new()),
            delivered_logprobs: 0,
            delivered: None,
            started: Instant::now(),
            first_token: None,
            outcome: None,
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

    /// Has the computation stop after so many tokens, for a checkpoint.
    pub fn stop_at(&mut self, place: usize) {
        if let Err(index) = self.stops_at.binary_search(&place) {
            self.stops_at.insert(index, place);
        }
    }

    /// How many of the pending tokens may be computed before the next stop.
    pub fn before_stop(&self) -> usize {
        let next = self.stops_at.iter().find(|&&place| place > self.n_past);
        next.map_or(usize::MAX, |place| place - self.n_past)
    }

    /// Whether a checkpoint is due, after all that has been computed; asked once after each step.
    pub fn is_at_stop(&mut self, interval: usize) -> bool {
        let is_long = interval > 0 && self.n_past >= self.last_stop + interval;
        let at_stop = self.stops_at.binary_search(&self.n_past).is_ok()
            || (is_long && self.tokens.len() > self.n_prompt);
        if at_stop {
            self.last_stop = self.n_past;
        }
        at_stop
    }

    /// Whether the next step yields a token by computing one.
    pub fn is_generating(&self) -> bool {
        self.pending().len() == 1 && self.tokens.len() > self.n_prompt
    }

    /// Whether its next step is for itself to make.
    pub fn can_go_on(&self) -> bool {
        self.awaits_prefix_of.is_none()
    }

    /// Nothing of it is in the batch any more.
    pub fn leave_batch(&mut self) {
        self.output = None;
        self.pending_in_batch = 0;
        self.draft.clear();
    }

    /// Guesses what follows the pending token, in at most so many tokens.
    pub fn make_draft(&mut self, most: usize, n_ctx: usize) {
        let Some(lookup) = &self.lookup else { return };
        let n_generated = self.tokens.len() - self.n_prompt;
        let wanted = self.job.max_tokens.map_or(usize::MAX, |most| most as usize);
        // The last token that is wanted, or has a place, is chosen and never computed.
        let most = most
            .min(wanted.saturating_sub(n_generated + 1))
            .min(n_ctx.saturating_sub(self.tokens.len()));
        self.draft = lookup.draft(&self.tokens, most);
    }

    /// The guesses in the current batch.
    pub fn draft(&self) -> &[Token] {
        &self.draft
    }

    /// Whether the token that was just chosen is the guess of this index; its cell is there then.
    pub fn was_right(&mut self, guess: usize) -> bool {
        let right = self.draft.get(guess) == self.tokens.last() && guess < self.draft.len();
        self.n_past += usize::from(right);
        right
    }

    /// Takes note of how many guesses were right; tells how many there were.
    pub fn settle_draft(&mut self, right: usize) -> usize {
        let drafted = self.draft.len();
        self.draft.clear();
        if let Some(lookup) = self.lookup.as_mut().filter(|_| drafted > 0) {
            lookup.note(drafted, right);
        }
        drafted
    }

    /// The last so many tokens whose cells are there.
    pub fn computed(&self, count: usize) -> &[Token] {
        &self.tokens[self.n_past - count..self.n_past]
    }

    /// Cells that the request has in the KV cache.
    pub fn n_past(&self) -> usize {
        self.n_past
    }

    /// Cells that the request will have when its pending tokens are computed.
    pub fn n_needed(&self) -> usize {
        self.tokens.len()
    }

    /// Notes that the tokens in the batch have been computed; gives them.
    pub fn advance(&mut self) -> &[Token] {
        let computed = self.n_past..self.n_past + std::mem::take(&mut self.pending_in_batch);
        self.n_past = computed.end;
        &self.tokens[computed]
    }

    /// Notes that so many tokens from the first on are in the KV cache.
    pub fn start_at(&mut self, n_past: usize) {
        self.n_past = n_past;
        self.last_stop = n_past;
        self.n_cached.get_or_insert(0);
        if self.tokens.len() == self.n_prompt && self.first_token.is_none() {
            self.n_cached = self.n_cached.max(Some(n_past));
        }
    }

    /// What has to be in the KV cache before the last token can be computed, whose logits are wanted.
    pub fn beginning(&self) -> &[Token] {
        &self.tokens[..self.tokens.len() - 1]
    }

    /// The prompt, and what has been generated.
    pub fn known(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether the prompt is not computed yet.
    pub fn is_in_prompt(&self) -> bool {
        self.n_past < self.n_prompt
    }

    /// The cells are gone: everything has to be computed again.
    pub fn reset(&mut self) {
        self.n_past = 0;
        self.leave_batch();
        self.awaits_prefix_of = None;
    }

    /// Tokens of the prompt that were computed and that had been before, and tokens that were generated.
    pub fn counts(&self) -> (usize, usize, usize) {
        let cached = self.n_cached.unwrap_or(0);
        let prompt = self.n_past.min(self.n_prompt).saturating_sub(cached);
        (prompt, cached, self.tokens.len() - self.n_prompt)
    }

    /// Chooses the next token from the logits; true when the request is complete and answered.
    pub fn take_logits(&mut self, logits: &[f32], vocab: &Vocab, n_ctx: usize) -> Result<bool> {
        let token = self.sampler.sample(logits)?;
        let now = Instant::now();
        self.first_token.get_or_insert(now);
        self.tokens.push(token);
        if let (Some(count), Some(logprobs)) = (self.job.logprobs, &mut self.logprobs) {
            logprobs.push(logprob_of(token, logits, count as usize, vocab));
        }

        let ended = vocab.is_end_of_generation(token) && !self.job.sampling.ignore_eos;
        let mut stopped = ended;
        if !ended {
            let special = self.job.preserved.contains(&token);
            vocab.piece(token, special, &mut self.piece);
            stopped = self.text.push(&self.piece);
        }
        let n_generated = self.tokens.len() - self.n_prompt;
        if stopped {
            self.finish(FinishReason::Stop);
        } else if self.job.max_tokens.is_some_and(|most| n_generated >= most as usize)
            // One more token would have no place in the context.
            || self.tokens.len() > n_ctx
        {
            self.finish(FinishReason::Length);
        } else {
            if self.delivered.is_none_or(|last| now.duration_since(last) >= DELIVERY_INTERVAL) {
                self.deliver(now);
            }
            return Ok(false);
        }
        Ok(true)
    }

    /// Sends on what has been held back to be delivered together.
    pub fn flush(&mut self) {
        self.deliver(Instant::now());
    }

    /// Sends on what is new.
    fn deliver(&mut self, now: Instant) {
        if self.job.delivery == Delivery::Whole {
            return;
        }
        let text = self.text.take_new();
        let logprobs = self.logprobs.as_ref().map(|all| &all[self.delivered_logprobs..]);
        if text.is_empty() && logprobs.is_none_or(<[_]>::is_empty) {
            return;
        }
        let chunk = Chunk {
            text: text.to_owned(),
            logprobs: logprobs.map(<[_]>::to_vec),
            completion: None,
        };
        self.delivered = Some(now);
        self.delivered_logprobs = self.logprobs.as_ref().map_or(0, Vec::len);
        let _ = self.job.events.send(Event::Chunk(Box::new(chunk)));
    }

    /// Makes the last chunk.
    pub fn finish(&mut self, finish_reason: FinishReason) {
        self.text.finish();
        let text = self.text.take_new().to_owned();
        let logprobs = self.logprobs.as_ref().map(|all| all[self.delivered_logprobs..].to_vec());
        let completion = Completion {
            text: std::mem::take(&mut self.text).into_text(),
            tokens: self.tokens[self.n_prompt..].to_vec(),
            finish_reason,
            usage: Usage {
                prompt_tokens: self.n_prompt as u32,
                cached_tokens: self.n_cached.unwrap_or(0) as u32,
                completion_tokens: (self.tokens.len() - self.n_prompt) as u32,
            },
            timings: self.timings(),
            logprobs: self.logprobs.take(),
        };
        let chunk = Chunk { text, logprobs, completion: Some(completion) };
        self.outcome = Some(Ok(Box::new(chunk)));
    }

    /// Notes that the request failed.
    pub fn fail(&mut self, error: Error) {
        self.outcome = Some(Err(error));
    }

    /// Tells the owner how the request ended.
    pub fn tell_outcome(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            let _ = self.job.events.send(Event::Done(outcome));
        }
    }

    fn timings(&self) -> Timings {
        let now = Instant::now();
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let first = self.first_token.unwrap_or(now);
        let (prompt_ms, decode_ms) = (ms(self.started, first), ms(first, now));
        let rate = |tokens: usize, ms: f64| if ms > 0.0 { tokens as f64 / ms * 1e3 } else { 0.0 };
        Timings {
            queue_ms: ms(self.job.submitted, self.started),
            prompt_ms,
            first_token_ms: ms(self.job.submitted, first),
            total_ms: ms(self.job.submitted, now),
            prompt_tps: rate(self.n_prompt - self.n_cached.unwrap_or(0), prompt_ms),
            decode_tps: rate((self.tokens.len() - self.n_prompt).saturating_sub(1), decode_ms),
        }
    }
}

/// Log-softmax of the logits at one token and at the `count` likeliest.
fn logprob_of(token: Token, logits: &[f32], count: usize, vocab: &Vocab) -> TokenLogprob {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - highest).exp()).sum();
    let logprob = |token: usize| (f64::from(logits[token] - highest) - sum.ln()) as f32;
    let text = |token: Token| {
        let mut piece = Vec::new();
        vocab.piece(token, true, &mut piece);
        String::from_utf8_lossy(&piece).into_owned()
    };
    let mut order: Vec<usize> = Vec::new();
    if count > 0 {
        let count = count.min(logits.len());
        let by_logit = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]);
        order = (0..logits.len()).collect();
        order.select_nth_unstable_by(count - 1, by_logit);
        order.truncate(count);
        order.sort_unstable_by(by_logit);
    }
    let top = order.into_iter().map(|id| TopLogprob {
        token: id as Token,
        text: text(id as Token),
        logprob: logprob(id),
    });
    TokenLogprob { token, text: text(token), logprob: logprob(token as usize), top: top.collect() }
}
