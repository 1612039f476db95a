//! Chooses each next token.

use std::ffi::CString;

use mullama_base::Text;
use mullama_sys as sys;

use super::grammar::Grammar;
use super::guess::{Distribution, Guess};
use super::raw::RawSampler;
use super::reasoning::ReasoningBudget;
use super::settings::Sampling;
use crate::engine::Vocab;
use crate::options::{RANDOM_SEED, SamplerKind};
use crate::{Error, ErrorKind, Result, Token};

/// Chooses the tokens of one request. Stores what samplers need to know about earlier tokens.
pub(crate) struct Sampler {
    chain: RawSampler,
    grammar: Option<Grammar>,
    reasoning: Option<ReasoningBudget>,
    vocab: Vocab,
    /// Added to the logits before anything else.
    biases: Vec<sys::llama_logit_bias>,
    /// Whether the highest logit always wins, so that the chain is not needed.
    is_greedy: bool,
    /// Whether tokens are drawn at random, without a seed.
    is_unseeded_draw: bool,
    /// Buffers, reused for each token.
    candidates: Vec<sys::llama_token_data>,
    biased: Vec<f32>,
}

impl Sampler {
    /// Creates a sampler and records the tokens of the prompt.
    ///
    /// `context` is the context size in tokens: the value that -1 means in the options of penalties.
    pub fn new(
        vocab: &Vocab,
        sampling: &Sampling,
        grammar: Option<Grammar>,
        prompt: &[Token],
        context: u32,
    ) -> Result<Self> {
        let reasoning = sampling.reasoning.clone();
        let sampler = Self {
            reasoning: reasoning.map(|spec| ReasoningBudget::new(vocab, spec)).transpose()?,
            biases: sampling.biases(vocab)?,
            chain: chain(vocab, sampling, context)?,
            vocab: vocab.clone(),
            is_unseeded_draw: grammar.is_none() && sampling.is_unseeded_draw(),
            grammar,
            is_greedy: sampling.is_greedy(),
            candidates: Vec::new(),
            biased: Vec::new(),
        };
        if !sampler.is_greedy {
            for &token in prompt {
                // SAFETY: the chain is owned; tokens come from the vocabulary.
                unsafe { sys::llama_sampler_accept(sampler.chain.as_ptr(), token) };
            }
        }
        Ok(sampler)
    }

    /// Whether guesses should be drawn as well. A draw from a distribution close to the model's is accepted more often
    /// than the most likely token.
    pub fn is_unseeded_draw(&self) -> bool {
        self.is_unseeded_draw
    }

    /// Samples the next token from the logits of the whole vocabulary, and records it.
    ///
    /// A guess does not change the distribution. A drawn guess is accepted by rejection sampling; any other guess is
    /// accepted if it equals the sampled token.
    pub fn sample(&mut self, logits: &[f32], guess: Option<&Guess>) -> Result<Token> {
        if let Some(token) = self.reasoning.as_ref().and_then(ReasoningBudget::forced) {
            self.accept(token)?;
            return Ok(token);
        }
        if let Some(Guess { token, drawn_from: Some(other) }) = guess
            && self.is_unseeded_draw
        {
            let (chosen, own) = self.draw(logits)?;
            let token = own.sample_given_guess(*token, other, fastrand::f32).unwrap_or(chosen);
            self.accept(token)?;
            return Ok(token);
        }
        let chosen = self.choose(logits)?;
        // The grammar first checks the sampled token. It checks the whole vocabulary, which is slow, only if it
        // rejects that token.
        let is_allowed = match (&mut self.grammar, chosen) {
            (Some(grammar), Some(token)) => grammar.allows(token)?,
            (grammar, _) => grammar.is_none(),
        };
        let token = if is_allowed {
            chosen.ok_or_else(nothing_left)?
        } else {
            self.choose_allowed(logits)?
        };
        self.accept(token)?;
        Ok(token)
    }

    /// Whether the next token is fixed, independent of the logits.
    pub fn is_forced(&self) -> bool {
        self.reasoning.as_ref().and_then(ReasoningBudget::forced).is_some()
    }

    /// Records a token in the samplers, the grammar and the reasoning budget.
    pub fn accept(&mut self, token: Token) -> Result<()> {
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.accept(token)?;
        }
        if !self.is_greedy {
            // SAFETY: the chain is owned, the token is from the vocabulary.
            unsafe { sys::llama_sampler_accept(self.chain.as_ptr(), token) };
        }
        if let Some(grammar) = &mut self.grammar {
            grammar.accept(token)?;
        }
        Ok(())
    }

    /// Samples a token without the grammar. `None` if all tokens are excluded.
    pub(super) fn choose(&mut self, logits: &[f32]) -> Result<Option<Token>> {
        // The samplers sort, and cannot handle NaN.
        if !are_valid_logits(logits) {
            return Err(invalid_logits());
        }
        if !self.is_greedy {
            self.fill_candidates(logits);
            return Ok(self.run_chain(|_| ())?.map(|(token, ())| token));
        }
        if self.biases.is_empty() {
            return Ok(argmax(logits));
        }
        self.biased.clear();
        self.biased.extend_from_slice(logits);
        for bias in &self.biases {
            self.biased[bias.token as usize] += bias.bias;
        }
        Ok(argmax(&self.biased))
    }

    /// Samples one of the tokens that the grammar allows. If all of them are excluded and the text is complete, it
    /// ends, whether or not tokens that end it are excluded.
    fn choose_allowed(&mut self, logits: &[f32]) -> Result<Token> {
        self.fill_candidates(logits);
        if let Some(grammar) = &mut self.grammar {
            grammar.forbid(&mut self.candidates)?;
        }
        if let Some((token, ())) = self.run_chain(|_| ())? {
            return Ok(token);
        }
        let Some(grammar) = &mut self.grammar else { return Err(nothing_left()) };
        for &end in self.vocab.ends_of_generation() {
            if grammar.allows(end)? {
                return Ok(end);
            }
        }
        for token in 0..self.vocab.len() as Token {
            if grammar.allows(token)? {
                let message = "all tokens that the grammar allows here are excluded";
                return Err(Error::new(ErrorKind::InvalidGrammar, message).with_hint(excluding()));
            }
        }
        Err(Error::new(ErrorKind::InvalidGrammar, "the grammar allows no token here"))
    }

    /// Draws a token, and returns it with its distribution.
    pub(super) fn draw(&mut self, logits: &[f32]) -> Result<(Token, Distribution)> {
        if !are_valid_logits(logits) {
            return Err(invalid_logits());
        }
        self.fill_candidates(logits);
        self.run_chain(Distribution::of)?.ok_or_else(nothing_left)
    }

    fn fill_candidates(&mut self, logits: &[f32]) {
        self.candidates.clear();
        self.candidates.extend(
            logits.iter().enumerate().map(|(id, &logit)| sys::llama_token_data {
                id: id as Token,
                logit,
                p: 0.0,
            }),
        );
        for bias in &self.biases {
            self.candidates[bias.token as usize].logit += bias.bias;
        }
    }

    /// Applies the sampler chain to the candidates. `look` receives the candidates that remain. `None` if all
    /// candidates are excluded: their logits are minus infinity.
    fn run_chain<T>(
        &mut self,
        look: impl FnOnce(&[sys::llama_token_data]) -> T,
    ) -> Result<Option<(Token, T)>> {
        // Samplers compute with the logarithms of probabilities, which excluded candidates do not have.
        self.candidates.retain(|candidate| candidate.logit > f32::NEG_INFINITY);
        if self.candidates.is_empty() {
            return Ok(None);
        }
        let mut array = sys::llama_token_data_array {
            data: self.candidates.as_mut_ptr(),
            size: self.candidates.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: `array` describes `candidates`, which is not touched meanwhile; samplers may
        // shrink the array and reorder it, and leave the index of their choice in `selected`.
        let (left, selected) = unsafe {
            sys::llama_sampler_apply(self.chain.as_ptr(), &raw mut array);
            (std::slice::from_raw_parts(array.data, array.size), array.selected)
        };
        let chosen = usize::try_from(selected).ok().and_then(|index| left.get(index));
        let chosen = chosen.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "the engine's samplers chose no token")
        })?;
        Ok(Some((chosen.id, look(left))))
    }
}

/// The first token with the highest logit. `None` if all logits are minus infinity.
fn argmax(logits: &[f32]) -> Option<Token> {
    // Compares 16 logits at a time, so that the compiler can use vector instructions: a vocabulary is long.
    let mut highest = [f32::NEG_INFINITY; 16];
    let mut groups = logits.chunks_exact(highest.len());
    let higher =
        |highest: &mut f32, logit: f32| *highest = if logit > *highest { logit } else { *highest };
    for group in &mut groups {
        highest.iter_mut().zip(group).for_each(|(highest, &logit)| higher(highest, logit));
    }
    let mut best = f32::NEG_INFINITY;
    highest.iter().chain(groups.remainder()).for_each(|&logit| higher(&mut best, logit));
    let index = logits.iter().position(|&logit| logit == best);
    index.filter(|_| best > f32::NEG_INFINITY).map(|index| index as Token)
}

/// Maximum number of texts that end a sequence for DRY. The engine searches for each in all tokens of the vocabulary,
/// which takes several milliseconds.
const MAX_BREAKERS: usize = 100;

fn chain(vocab: &Vocab, sampling: &Sampling, context: u32) -> Result<RawSampler> {
    let n_vocab = vocab.len() as i32;
    // The engine allocates an entry for each token, so the number is limited to the size of the context.
    let look_back = |tokens: i32| u32::try_from(tokens).unwrap_or(context).min(context) as i32;
    let seed = sampling.seed.unwrap_or(RANDOM_SEED);

    if sampling.dry_sequence_breakers.len() > MAX_BREAKERS {
        let count = sampling.dry_sequence_breakers.len();
        let problem = format!("has {count} texts, and may have {MAX_BREAKERS}");
        return Err(Error::option("dry_sequence_breakers", problem));
    }
    let breakers: Vec<CString> = sampling
        .dry_sequence_breakers
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::option("dry_sequence_breakers", "contains a NUL byte"))?;
    let mut breaker_pointers: Vec<_> = breakers.iter().map(|text| text.as_ptr()).collect();

    // SAFETY: constructors of the engine; pointers passed to them outlive the calls, which copy what they need. The
    // chain owns what is added to it.
    unsafe {
        let mut params = sys::llama_sampler_chain_default_params();
        params.no_perf = true;
        let chain = RawSampler::from_raw(sys::llama_sampler_chain_init(params))
            .ok_or_else(|| Error::new(ErrorKind::OutOfMemory, "no memory for a sampler"))?;
        let add = |sampler| sys::llama_sampler_chain_add(chain.as_ptr(), sampler);

        let add_penalties = || {
            add(sys::llama_sampler_init_penalties(
                n_vocab,
                look_back(sampling.repeat_last_n),
                sampling.repeat_penalty,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            ));
        };
        if sampling.mirostat > 0 {
            if sampling.uses_penalties() {
                add_penalties();
            }
            add(sys::llama_sampler_init_temp(sampling.temperature));
            let (tau, eta) = (sampling.mirostat_tau, sampling.mirostat_eta);
            add(if sampling.mirostat == 1 {
                // 100 is the number of tokens the paper estimates from.
                sys::llama_sampler_init_mirostat(n_vocab, seed, tau, eta, 100)
            } else {
                sys::llama_sampler_init_mirostat_v2(seed, tau, eta)
            });
            return Ok(chain);
        }
        let is_greedy = sampling.temperature == 0.0 && sampling.dynatemp_range == 0.0;
        for kind in &sampling.samplers[..last_effective_sampler(sampling, is_greedy)] {
            match kind {
                SamplerKind::Penalties if sampling.uses_penalties() => add_penalties(),
                SamplerKind::Dry if sampling.uses_dry() => {
                    add(sys::llama_sampler_init_dry(
                        vocab.as_ptr(),
                        sampling.dry_multiplier,
                        sampling.dry_base,
                        sampling.dry_allowed_length as i32,
                        look_back(sampling.dry_penalty_last_n),
                        breaker_pointers.as_mut_ptr(),
                        breaker_pointers.len(),
                    ));
                }
                SamplerKind::TopNSigma if sampling.top_n_sigma >= 0.0 => {
                    add(sys::llama_sampler_init_top_n_sigma(sampling.top_n_sigma));
                }
                SamplerKind::TopK if sampling.top_k > 0 => {
                    add(sys::llama_sampler_init_top_k(sampling.top_k as i32));
                }
                SamplerKind::TypicalP if sampling.typical_p < 1.0 && !is_greedy => {
                    add(sys::llama_sampler_init_typical(sampling.typical_p, 1));
                }
                SamplerKind::TopP if sampling.top_p < 1.0 => {
                    add(sys::llama_sampler_init_top_p(sampling.top_p, 1));
                }
                SamplerKind::MinP if sampling.min_p > 0.0 => {
                    add(sys::llama_sampler_init_min_p(sampling.min_p, 1));
                }
                SamplerKind::Xtc if sampling.xtc_probability > 0.0 && !is_greedy => {
                    add(sys::llama_sampler_init_xtc(
                        sampling.xtc_probability,
                        sampling.xtc_threshold,
                        1,
                        seed,
                    ));
                }
                SamplerKind::Temperature if !is_greedy => {
                    add(sys::llama_sampler_init_temp_ext(
                        sampling.temperature,
                        sampling.dynatemp_range,
                        sampling.dynatemp_exponent,
                    ));
                }
                _ => {}
            }
        }
        add(if is_greedy {
            sys::llama_sampler_init_greedy()
        } else if sampling.adaptive_p >= 0.0 {
            sys::llama_sampler_init_adaptive_p(sampling.adaptive_p, sampling.adaptive_p_decay, seed)
        } else {
            sys::llama_sampler_init_dist(seed)
        });
        Ok(chain)
    }
}

/// Number of samplers that can affect the result. Greedy sampling ignores all samplers after the last penalty.
fn last_effective_sampler(sampling: &Sampling, is_greedy: bool) -> usize {
    let penalises = |kind: &SamplerKind| match kind {
        SamplerKind::Penalties => sampling.uses_penalties(),
        SamplerKind::Dry => sampling.uses_dry(),
        _ => false,
    };
    if is_greedy {
        sampling.samplers.iter().rposition(penalises).map_or(0, |last| last + 1)
    } else {
        sampling.samplers.len()
    }
}

/// The error of a request whose options exclude all tokens.
pub(super) fn nothing_left() -> Error {
    Error::new(ErrorKind::InvalidArgument, "all tokens are excluded").with_hint(excluding())
}

fn excluding() -> Text {
    Text::with_names("check {logit_bias}, {banned_phrases} and {logits_processors}")
}

/// Whether the logits are numbers. A NaN spreads to all logits, so only the first is checked.
pub(crate) fn are_valid_logits(logits: &[f32]) -> bool {
    logits.first().is_some_and(|logit| !logit.is_nan())
}

/// The error for logits that are NaN.
pub(crate) fn invalid_logits() -> Error {
    Error::new(ErrorKind::Backend, "the model computed values that are not numbers")
        .with_hint(Text::with_names("check the file with the option {check_tensors}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn argmax_returns_the_first_maximum() {
        assert_eq!(argmax(&[0.0, 2.0, 1.0, 2.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY, -1.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), None);
        let long = |high: &[usize]| {
            let mut logits = vec![-1.0; 100];
            for &id in high {
                logits[id] = 5.0;
            }
            argmax(&logits).unwrap()
        };
        assert_eq!((long(&[99]), long(&[96, 20]), long(&[4, 20]), long(&[0])), (99, 20, 4, 0));
    }
}
