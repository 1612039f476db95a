//! Options of a generation, and the choice of each next token.
//!
//! The order of the samplers and their defaults are llama.cpp's (`common/sampling.cpp`,
//! `common/common.h`): logit bias, penalties, DRY, top-n-sigma, top-k, typical-p, top-p, min-p, XTC,
//! temperature, then the draw.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::ptr::NonNull;

use mullama_sys as sys;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::adapter::Lora;
use crate::chat::ChatOptions;
use crate::options::options;
use crate::reasoning::{ReasoningBudget, ReasoningSpec};
use crate::vocab::Vocab;
use crate::{Error, ErrorKind, Result, Token};

options! {
    /// What a generation is to do.
    pub struct GenerateOptions in ChatOptions.generate {
        /// Most tokens to generate. Default: to the end that the model chooses, or of the context.
        max_tokens: u32,
        /// Seconds from the call on after which the generation ends with what there is, as if it were
        /// cancelled. Default: none.
        timeout: f32,
        /// Divides the logits before the draw: below 1 sharpens, above 1 flattens, 0 always takes the
        /// likeliest token. Default: 0.8.
        temperature: f32,
        /// Keep the K likeliest tokens; 0 keeps all. Default: 40.
        top_k: u32,
        /// Keep the likeliest tokens that together have probability P; 1 keeps all. Default: 0.95.
        top_p: f32,
        /// Keep tokens at least P times as likely as the likeliest; 0 keeps all. Default: 0.05.
        min_p: f32,
        /// Locally typical sampling with mass P (arXiv:2202.00666); 1 is off. Default: 1.
        typical_p: f32,
        /// Keep logits within N standard deviations of the highest (arXiv:2411.07641); -1 is off.
        /// Default: -1.
        top_n_sigma: f32,
        /// Chance to exclude the top choices; 0 is off. Default: 0.
        xtc_probability: f32,
        /// Probability above which a token counts as a top choice for XTC. Default: 0.1.
        xtc_threshold: f32,
        /// Half the width of the range of the dynamic temperature; 0 is off. Default: 0.
        dynatemp_range: f32,
        /// How entropy maps to the dynamic temperature. Default: 1.
        dynatemp_exponent: f32,
        /// Strength of the DRY penalty against repeated sequences; 0 is off. Default: 0.
        dry_multiplier: f32,
        /// Base of the DRY penalty, which grows with the length of a repetition. Default: 1.75.
        dry_base: f32,
        /// Longest repetition, in tokens, that DRY lets pass. Default: 2.
        dry_allowed_length: u32,
        /// Tokens that DRY looks back; 0 is off, -1 the whole context. Default: -1.
        dry_penalty_last_n: i32,
        /// Texts that end a repetition for DRY. Default: newline, `:`, `"` and `*`.
        dry_sequence_breakers <- Vec<String>,
        /// Mirostat (arXiv:2007.14966), version 1 or 2, in place of the truncating samplers; 0 is off.
        /// Default: 0.
        mirostat: u32,
        /// Mirostat's target surprise, in bits. Default: 5.
        mirostat_tau: f32,
        /// Mirostat's learning rate. Default: 0.1.
        mirostat_eta: f32,
        /// Divides the logits of recent tokens; 1 is off. Default: 1.
        repeat_penalty: f32,
        /// Taken from a recent token's logit for each time it occurred; 0 is off. Default: 0.
        frequency_penalty: f32,
        /// Taken from a recent token's logit if it occurred at all; 0 is off. Default: 0.
        presence_penalty: f32,
        /// Tokens that the three penalties look back, the prompt's included; 0 is off, -1 the whole
        /// context. Default: 64.
        repeat_last_n: i32,
        /// Added to the logits of tokens, by id; `false` in place of a number forbids the token.
        /// Default: none.
        logit_bias <- LogitBias,
        /// Seed of the draw: the same seed gives the same text, as long as no other request runs beside it
        /// (what is computed together differs in the last bits). Such a prompt is always computed anew.
        /// Default: a random one.
        seed: u32,
        /// Texts that end the generation; they are not part of the result. Default: none.
        stop <- Stop,
        /// Whether to go on when the model says that it is done. Default: false.
        ignore_eos: bool,
        /// A grammar (GBNF) that the text must follow. Default: none.
        grammar <- String,
        /// A JSON schema that the text must follow. Default: none.
        json_schema <- Value,
        /// LoRA adapters for this request in place of the model's: paths of GGUF files, alone or each with
        /// a scale; an empty list is the model without any. Default: what the model was loaded with, or
        /// `set_lora` set since.
        lora <- Lora,
        /// Most tokens to guess ahead in a step, from what followed in the text where it went the same way
        /// before (prompt lookup decoding). Each is held against the model's own choice, so that the text
        /// stays what it would be, but for ties: what is computed together differs in the last bits.
        /// Pays where answers repeat what the prompt says. Default: 0, which is off.
        prompt_lookup: u32,
        /// Report log probabilities: of each token and of this many likeliest alternatives.
        /// Default: off.
        logprobs: u32,
    }
}

/// Texts that end a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stop(pub Vec<String>);

impl From<&str> for Stop {
    fn from(text: &str) -> Self {
        Self(vec![text.to_owned()])
    }
}

impl From<Vec<String>> for Stop {
    fn from(texts: Vec<String>) -> Self {
        Self(texts)
    }
}

impl<const N: usize> From<[&str; N]> for Stop {
    fn from(texts: [&str; N]) -> Self {
        Self(texts.map(str::to_owned).into())
    }
}

impl<'de> Deserialize<'de> for Stop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a string or a list of strings")]
        enum Raw {
            One(String),
            Many(Vec<String>),
        }
        Ok(Self(match Raw::deserialize(deserializer)? {
            Raw::One(text) => vec![text],
            Raw::Many(texts) => texts,
        }))
    }
}

/// What is added to the logits of tokens, by id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LogitBias(pub BTreeMap<Token, f32>);

impl<const N: usize> From<[(Token, f32); N]> for LogitBias {
    fn from(pairs: [(Token, f32); N]) -> Self {
        Self(pairs.into())
    }
}

impl Serialize for LogitBias {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(token, bias)| match bias {
            // What forbids a token is no number in JSON.
            &f32::NEG_INFINITY => (token, Value::Bool(false)),
            bias => (token, Value::from(*bias)),
        }))
    }
}

impl<'de> Deserialize<'de> for LogitBias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a number, or false to forbid the token")]
        enum Raw {
            Bias(f32),
            Allowed(bool),
        }
        let raw = BTreeMap::<Token, Raw>::deserialize(deserializer)?;
        let bias = raw.into_iter().filter_map(|(token, raw)| match raw {
            Raw::Bias(bias) => Some((token, bias)),
            Raw::Allowed(false) => Some((token, f32::NEG_INFINITY)),
            Raw::Allowed(true) => None,
        });
        Ok(Self(bias.collect()))
    }
}

/// `LLAMA_DEFAULT_SEED`, which the engine reads as "draw a random one".
const RANDOM_SEED: u32 = u32::MAX;

/// Every sampling option with its value: what was asked for, else what the model recommends, else
/// the default.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sampling {
    pub temperature: f32,
    pub top_k: u32,
    pub top_p: f32,
    pub min_p: f32,
    pub typical_p: f32,
    pub top_n_sigma: f32,
    pub xtc_probability: f32,
    pub xtc_threshold: f32,
    pub dynatemp_range: f32,
    pub dynatemp_exponent: f32,
    pub dry_multiplier: f32,
    pub dry_base: f32,
    pub dry_allowed_length: u32,
    pub dry_penalty_last_n: i32,
    pub dry_sequence_breakers: Vec<String>,
    pub mirostat: u32,
    pub mirostat_tau: f32,
    pub mirostat_eta: f32,
    pub repeat_penalty: f32,
    pub frequency_penalty: f32,
    pub presence_penalty: f32,
    pub repeat_last_n: i32,
    pub ignore_eos: bool,
    #[serde(skip)]
    pub logit_bias: BTreeMap<Token, f32>,
    #[serde(skip)]
    pub seed: Option<u32>,
    /// Of a chat: a bound on its reasoning.
    #[serde(skip)]
    pub reasoning: Option<ReasoningSpec>,
}

impl Sampling {
    /// Settles every option; `model` holds what the model recommends.
    pub fn resolve(asked: &GenerateOptions, model: &GenerateOptions) -> Result<Self> {
        macro_rules! pick {
            ($field:ident, $default:expr) => {
                asked.$field.clone().or(model.$field.clone()).unwrap_or($default)
            };
        }
        let breakers = || ["\n", ":", "\"", "*"].map(str::to_owned).to_vec();
        let sampling = Self {
            temperature: pick!(temperature, 0.8),
            top_k: pick!(top_k, 40),
            top_p: pick!(top_p, 0.95),
            min_p: pick!(min_p, 0.05),
            typical_p: pick!(typical_p, 1.0),
            top_n_sigma: pick!(top_n_sigma, -1.0),
            xtc_probability: pick!(xtc_probability, 0.0),
            xtc_threshold: pick!(xtc_threshold, 0.1),
            dynatemp_range: pick!(dynatemp_range, 0.0),
            dynatemp_exponent: pick!(dynatemp_exponent, 1.0),
            dry_multiplier: pick!(dry_multiplier, 0.0),
            dry_base: pick!(dry_base, 1.75),
            dry_allowed_length: pick!(dry_allowed_length, 2),
            dry_penalty_last_n: pick!(dry_penalty_last_n, -1),
            dry_sequence_breakers: pick!(dry_sequence_breakers, breakers()),
            mirostat: pick!(mirostat, 0),
            mirostat_tau: pick!(mirostat_tau, 5.0),
            mirostat_eta: pick!(mirostat_eta, 0.1),
            repeat_penalty: pick!(repeat_penalty, 1.0),
            frequency_penalty: pick!(frequency_penalty, 0.0),
            presence_penalty: pick!(presence_penalty, 0.0),
            repeat_last_n: pick!(repeat_last_n, 64),
            ignore_eos: pick!(ignore_eos, false),
            logit_bias: pick!(logit_bias, LogitBias::default()).0,
            seed: asked.seed.or(model.seed),
            reasoning: None,
        };
        sampling.validate()?;
        Ok(sampling)
    }

    fn validate(&self) -> Result<()> {
        let finite = |value: f32| value.is_finite();
        let not_negative = |value: f32| value.is_finite() && value >= 0.0;
        let fraction = |value: f32| (0.0..=1.0).contains(&value);
        let look_back = |value: i32| value >= -1;
        let checks: [(&str, bool, &str); 19] = [
            ("seed", self.seed != Some(RANDOM_SEED), "must be less than 4294967295"),
            ("temperature", not_negative(self.temperature), "must be 0 or more"),
            ("top_p", fraction(self.top_p), "must lie between 0 and 1"),
            ("min_p", fraction(self.min_p), "must lie between 0 and 1"),
            ("typical_p", fraction(self.typical_p), "must lie between 0 and 1"),
            ("top_n_sigma", finite(self.top_n_sigma), "must be a number"),
            ("xtc_probability", fraction(self.xtc_probability), "must lie between 0 and 1"),
            ("xtc_threshold", fraction(self.xtc_threshold), "must lie between 0 and 1"),
            ("dynatemp_range", not_negative(self.dynatemp_range), "must be 0 or more"),
            ("dynatemp_exponent", not_negative(self.dynatemp_exponent), "must be 0 or more"),
            ("dry_multiplier", not_negative(self.dry_multiplier), "must be 0 or more"),
            ("dry_base", not_negative(self.dry_base), "must be 0 or more"),
            ("dry_penalty_last_n", look_back(self.dry_penalty_last_n), "must be -1 or more"),
            ("mirostat", self.mirostat <= 2, "must be 0, 1 or 2"),
            ("mirostat_tau", not_negative(self.mirostat_tau), "must be 0 or more"),
            ("mirostat_eta", not_negative(self.mirostat_eta), "must be 0 or more"),
            (
                "repeat_penalty",
                self.repeat_penalty.is_normal() && self.repeat_penalty > 0.0,
                "must be more than 0",
            ),
            ("repeat_last_n", look_back(self.repeat_last_n), "must be -1 or more"),
            (
                "frequency_penalty",
                finite(self.frequency_penalty) && finite(self.presence_penalty),
                "penalties must be numbers",
            ),
        ];
        match checks.iter().find(|(_, holds, _)| !holds) {
            Some((name, _, problem)) => Err(Error::option(name, problem)),
            None => Ok(()),
        }
    }

    /// Whether the likeliest token is all that is asked for: no sampler but the biases changes a thing.
    fn is_greedy(&self) -> bool {
        self.temperature == 0.0
            && self.dynatemp_range == 0.0
            && self.mirostat == 0
            && self.dry_multiplier == 0.0
            && !self.penalises()
    }

    /// What is added to the logits of tokens before anything else.
    fn biases(&self, vocab: &Vocab) -> Result<Vec<sys::llama_logit_bias>> {
        let mut biases: Vec<_> = self
            .logit_bias
            .iter()
            .map(|(&token, &bias)| {
                vocab.check(token).map(|()| sys::llama_logit_bias { token, bias })
            })
            .collect::<Result<_>>()
            .map_err(|error| Error::option("logit_bias", error))?;
        let forbid = |token| sys::llama_logit_bias { token, bias: f32::NEG_INFINITY };
        // The file says which, and may be wrong.
        let suppressed = vocab.suppressed().iter().copied();
        biases.extend(suppressed.filter(|&token| vocab.check(token).is_ok()).map(forbid));
        if self.ignore_eos {
            biases.extend(vocab.ends_of_generation().iter().copied().map(forbid));
        }
        Ok(biases)
    }

    fn penalises(&self) -> bool {
        self.repeat_last_n != 0
            && (self.repeat_penalty != 1.0
                || self.frequency_penalty != 0.0
                || self.presence_penalty != 0.0)
    }
}

/// A grammar to follow, and when.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarSpec {
    /// GBNF with a rule `root`.
    pub gbnf: String,
    /// Where given, the grammar rules only from the point at which one of these matches.
    pub lazy: Option<GrammarTriggers>,
    /// Text of the prompt's end that the grammar takes for the beginning of the answer.
    pub prefill: String,
}

/// What makes a lazy grammar rule.
#[derive(Debug, Clone, Default)]
pub(crate) struct GrammarTriggers {
    /// Regular expressions over the answer.
    pub patterns: Vec<String>,
    /// Tokens.
    pub tokens: Vec<Token>,
}

/// Turns a JSON schema into a grammar.
pub(crate) fn schema_to_gbnf(schema: &Value) -> Result<String> {
    let problem =
        |what: &str| Error::new(ErrorKind::InvalidGrammar, format!("JSON schema: {what}"));
    let text = match schema {
        Value::String(text) => text.clone(),
        Value::Object(_) | Value::Bool(_) => schema.to_string(),
        _ => return Err(problem("expected an object")),
    };
    let text = CString::new(text).map_err(|_| problem("it contains a NUL byte"))?;
    let mut grammar = std::ptr::null_mut();
    // SAFETY: a NUL-terminated string in, an owned one out, freed below.
    let (status, gbnf) = unsafe {
        let status = sys::llama_rs_json_schema_to_grammar(text.as_ptr(), false, &raw mut grammar);
        let gbnf = (!grammar.is_null())
            .then(|| std::ffi::CStr::from_ptr(grammar).to_string_lossy().into_owned());
        sys::llama_rs_string_free(grammar);
        (status, gbnf)
    };
    match gbnf {
        Some(gbnf) if status == sys::LLAMA_RS_STATUS_OK => Ok(gbnf),
        _ => Err(problem("the engine cannot turn it into a grammar")
            .with_hint("check that it is valid JSON and that every `$ref` points to a definition")),
    }
}

/// A grammar at some place in a text that follows it.
pub(crate) struct Grammar(RawSampler);

/// One sampler of the engine, owned.
struct RawSampler(NonNull<sys::llama_sampler>);

impl RawSampler {
    fn as_ptr(&self) -> *mut sys::llama_sampler {
        self.0.as_ptr()
    }

    /// Takes over a sampler that the engine made.
    fn own(sampler: *mut sys::llama_sampler) -> Option<Self> {
        NonNull::new(sampler).map(Self)
    }
}

impl Drop for RawSampler {
    fn drop(&mut self) {
        // SAFETY: owned, and freed only here; a chain frees what was added to it.
        unsafe { sys::llama_sampler_free(self.as_ptr()) }
    }
}

/// Chooses the tokens of one request. Keeps what samplers need to know of the tokens before.
pub(crate) struct Sampler {
    chain: RawSampler,
    grammar: Option<Grammar>,
    reasoning: Option<ReasoningBudget>,
    /// Where there is no need for the chain, since the highest logit wins: what is added to them.
    greedy: Option<Vec<sys::llama_logit_bias>>,
    /// Reused from token to token.
    candidates: Vec<sys::llama_token_data>,
    biased: Vec<f32>,
}

// SAFETY: samplers hold no thread-bound state, and are used by one thread at a time (`&mut`).
unsafe impl Send for RawSampler {}

impl Sampler {
    /// A sampler that has seen the prompt.
    ///
    /// `context` is the size that "-1, the whole context" stands for.
    pub fn new(
        vocab: &Vocab,
        sampling: &Sampling,
        grammar: Option<Grammar>,
        prompt: &[Token],
        context: u32,
    ) -> Result<Self> {
        let reasoning = sampling.reasoning.clone();
        let biases = sampling.biases(vocab)?;
        let sampler = Self {
            reasoning: reasoning.map(|spec| ReasoningBudget::new(vocab, spec)).transpose()?,
            chain: chain(vocab, sampling, &biases, context)?,
            grammar,
            greedy: sampling.is_greedy().then_some(biases),
            candidates: Vec::new(),
            biased: Vec::new(),
        };
        if sampler.greedy.is_none() {
            for &token in prompt {
                // SAFETY: the chain is owned; tokens come from the vocabulary.
                unsafe { sys::llama_sampler_accept(sampler.chain.as_ptr(), token) };
            }
        }
        Ok(sampler)
    }

    /// Chooses the next token from the logits over the whole vocabulary, and takes note of it.
    pub fn sample(&mut self, logits: &[f32]) -> Result<Token> {
        if let Some(token) = self.reasoning.as_ref().and_then(ReasoningBudget::forced) {
            self.accept(token)?;
            return Ok(token);
        }
        let mut token = self.choose(logits, false)?;
        if let Some(grammar) = &self.grammar {
            // The grammar is checked on the one token that was chosen; it is asked about the whole
            // vocabulary, which is slow, only when it rejects that one.
            let mut single = sys::llama_token_data { id: token, logit: 1.0, p: 0.0 };
            let mut array = sys::llama_token_data_array {
                data: &raw mut single,
                size: 1,
                selected: -1,
                sorted: false,
            };
            // SAFETY: `array` describes `single`, both live here.
            unsafe { sys::llama_sampler_apply(grammar.0.as_ptr(), &raw mut array) };
            if single.logit == f32::NEG_INFINITY {
                token = self.choose(logits, true)?;
            }
        }
        self.accept(token)?;
        Ok(token)
    }

    fn accept(&mut self, token: Token) -> Result<()> {
        if let Some(reasoning) = &mut self.reasoning {
            reasoning.accept(token)?;
        }
        if self.greedy.is_none() {
            // SAFETY: the chain is owned, the token is from the vocabulary.
            unsafe { sys::llama_sampler_accept(self.chain.as_ptr(), token) };
        }
        if let Some(grammar) = &self.grammar {
            // SAFETY: as above; the wrapper catches what the grammar throws.
            let status = unsafe { sys::llama_rs_sampler_accept(grammar.0.as_ptr(), token) };
            if status != sys::LLAMA_RS_STATUS_OK {
                return Err(Error::new(
                    ErrorKind::InvalidGrammar,
                    "the grammar allows no continuation of what was generated",
                ));
            }
        }
        Ok(())
    }

    fn choose(&mut self, logits: &[f32], constrained: bool) -> Result<Token> {
        // One value that is no number spreads over all logits: looking at the first is enough, and
        // keeps the samplers, which sort, from having to cope.
        if logits.first().is_none_or(|logit| logit.is_nan()) {
            return Err(Error::new(
                ErrorKind::Backend,
                "the model computed values that are not numbers",
            )
            .with_hint("check the file with the option `check_tensors`"));
        }
        if let (Some(biases), false) = (&self.greedy, constrained) {
            if biases.is_empty() {
                return Ok(likeliest(logits));
            }
            self.biased.clear();
            self.biased.extend_from_slice(logits);
            for bias in biases {
                self.biased[bias.token as usize] += bias.bias;
            }
            return Ok(likeliest(&self.biased));
        }
        self.candidates.clear();
        self.candidates.extend(
            logits.iter().enumerate().map(|(id, &logit)| sys::llama_token_data {
                id: id as Token,
                logit,
                p: 0.0,
            }),
        );
        let mut array = sys::llama_token_data_array {
            data: self.candidates.as_mut_ptr(),
            size: self.candidates.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: `array` describes `candidates`, which is not touched meanwhile; samplers may
        // shrink the array and reorder it, and leave the index of their choice in `selected`.
        unsafe {
            if let (true, Some(grammar)) = (constrained, &self.grammar) {
                sys::llama_sampler_apply(grammar.0.as_ptr(), &raw mut array);
                let allowed = std::slice::from_raw_parts(array.data, array.size)
                    .iter()
                    .any(|candidate| candidate.logit > f32::NEG_INFINITY);
                if !allowed {
                    return Err(Error::new(
                        ErrorKind::InvalidGrammar,
                        "the grammar allows no token here",
                    ));
                }
            }
            sys::llama_sampler_apply(self.chain.as_ptr(), &raw mut array);
            let index = usize::try_from(array.selected).ok().filter(|&index| index < array.size);
            let index = index.ok_or_else(|| {
                Error::new(ErrorKind::Internal, "the engine's samplers chose no token")
            })?;
            Ok((*array.data.add(index)).id)
        }
    }
}

/// The first of the highest logits.
fn likeliest(logits: &[f32]) -> Token {
    // Several at a time: a vocabulary is long, and the processor compares as many in one go.
    let mut highest = [f32::NEG_INFINITY; 16];
    let mut groups = logits.chunks_exact(highest.len());
    let higher =
        |highest: &mut f32, logit: f32| *highest = if logit > *highest { logit } else { *highest };
    for group in &mut groups {
        highest.iter_mut().zip(group).for_each(|(highest, &logit)| higher(highest, logit));
    }
    let mut best = f32::NEG_INFINITY;
    highest.iter().chain(groups.remainder()).for_each(|&logit| higher(&mut best, logit));
    logits.iter().position(|&logit| logit == best).unwrap_or(0) as Token
}

fn chain(
    vocab: &Vocab,
    sampling: &Sampling,
    biases: &[sys::llama_logit_bias],
    context: u32,
) -> Result<RawSampler> {
    let n_vocab = vocab.len() as i32;
    let look_back = |tokens: i32| if tokens < 0 { context as i32 } else { tokens };
    let seed = sampling.seed.unwrap_or(RANDOM_SEED);

    let breakers: Vec<CString> = sampling
        .dry_sequence_breakers
        .iter()
        .map(|text| CString::new(text.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::option("dry_sequence_breakers", "contains a NUL byte"))?;
    let mut breaker_pointers: Vec<_> = breakers.iter().map(|text| text.as_ptr()).collect();

    // SAFETY: constructors of the engine; pointers passed to them outlive the calls, which copy what
    // they keep. The chain owns what is added to it.
    unsafe {
        let mut params = sys::llama_sampler_chain_default_params();
        params.no_perf = true;
        let chain = RawSampler::own(sys::llama_sampler_chain_init(params))
            .ok_or_else(|| Error::new(ErrorKind::OutOfMemory, "no memory for a sampler"))?;
        let add = |sampler| sys::llama_sampler_chain_add(chain.as_ptr(), sampler);

        if !biases.is_empty() {
            add(sys::llama_sampler_init_logit_bias(n_vocab, biases.len() as i32, biases.as_ptr()));
        }
        if sampling.penalises() {
            add(sys::llama_sampler_init_penalties(
                n_vocab,
                look_back(sampling.repeat_last_n),
                sampling.repeat_penalty,
                sampling.frequency_penalty,
                sampling.presence_penalty,
            ));
        }
        if sampling.mirostat > 0 {
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
        if sampling.dry_multiplier > 0.0 {
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
        if sampling.temperature == 0.0 && sampling.dynatemp_range == 0.0 {
            add(sys::llama_sampler_init_greedy());
            return Ok(chain);
        }
        if sampling.top_n_sigma >= 0.0 {
            add(sys::llama_sampler_init_top_n_sigma(sampling.top_n_sigma));
        }
        if sampling.top_k > 0 {
            add(sys::llama_sampler_init_top_k(sampling.top_k as i32));
        }
        if sampling.typical_p < 1.0 {
            add(sys::llama_sampler_init_typical(sampling.typical_p, 1));
        }
        if sampling.top_p < 1.0 {
            add(sys::llama_sampler_init_top_p(sampling.top_p, 1));
        }
        if sampling.min_p > 0.0 {
            add(sys::llama_sampler_init_min_p(sampling.min_p, 1));
        }
        if sampling.xtc_probability > 0.0 {
            add(sys::llama_sampler_init_xtc(
                sampling.xtc_probability,
                sampling.xtc_threshold,
                1,
                seed,
            ));
        }
        add(sys::llama_sampler_init_temp_ext(
            sampling.temperature,
            sampling.dynatemp_range,
            sampling.dynatemp_exponent,
        ));
        add(sys::llama_sampler_init_dist(seed));
        Ok(chain)
    }
}

impl Grammar {
    /// Compiles a grammar.
    pub fn new(vocab: &Vocab, spec: &GrammarSpec) -> Result<Self> {
        let problem = |what: String| {
            Error::new(ErrorKind::InvalidGrammar, what)
                .with_hint("a grammar is GBNF and has a rule named `root`")
        };
        if spec.gbnf.trim().is_empty() {
            return Err(problem("the grammar is empty".to_owned()));
        }
        let gbnf = CString::new(spec.gbnf.as_str())
            .map_err(|_| problem("the grammar contains a NUL byte".to_owned()))?;
        // SAFETY: the vocabulary is alive.
        unsafe { sys::shim::check_grammar(vocab.as_ptr(), &gbnf) }
            .map_err(|reason| problem(format!("the grammar cannot be used: {reason}")))?;
        let triggers = spec.lazy.clone().unwrap_or_default();
        let patterns: Vec<CString> = triggers
            .patterns
            .iter()
            .map(|pattern| CString::new(pattern.as_str()))
            .collect::<Result<_, _>>()
            .map_err(|_| problem("a grammar trigger contains a NUL byte".to_owned()))?;
        let mut pointers: Vec<_> = patterns.iter().map(|pattern| pattern.as_ptr()).collect();

        let (sampler, said) = crate::logging::capture(|| {
            // SAFETY: NUL-terminated strings and arrays that outlive the calls; the wrappers catch what
            // the parser throws and give null.
            unsafe {
                if spec.lazy.is_some() {
                    sys::llama_rs_sampler_init_grammar_lazy_patterns(
                        vocab.as_ptr(),
                        gbnf.as_ptr(),
                        c"root".as_ptr(),
                        pointers.as_mut_ptr(),
                        pointers.len(),
                        triggers.tokens.as_ptr(),
                        triggers.tokens.len(),
                    )
                } else {
                    sys::llama_rs_sampler_init_grammar(
                        vocab.as_ptr(),
                        gbnf.as_ptr(),
                        c"root".as_ptr(),
                    )
                }
            }
        });
        let sampler = RawSampler::own(sampler).ok_or_else(|| {
            let reason = said.problem().unwrap_or_else(|| "it does not parse".to_owned());
            problem(format!("the grammar cannot be used: {reason}"))
        })?;
        if spec.lazy.is_none() && !spec.prefill.is_empty() {
            for token in vocab.tokenize(&spec.prefill, false, true)? {
                // SAFETY: the sampler is owned, the token is from the vocabulary.
                unsafe { sys::llama_rs_sampler_accept(sampler.as_ptr(), token) };
            }
        }
        Ok(Self(sampler))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_beats_the_model_and_the_model_beats_the_default() {
        let asked = GenerateOptions::default().with_top_k(7);
        let model = GenerateOptions::default().with_top_k(9).with_min_p(0.2);
        let sampling = Sampling::resolve(&asked, &model).unwrap();
        assert_eq!((sampling.top_k, sampling.min_p, sampling.top_p), (7, 0.2, 0.95));
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        let refused = |options: GenerateOptions| {
            Sampling::resolve(&options, &GenerateOptions::default()).unwrap_err().to_string()
        };
        let default = GenerateOptions::default;
        assert!(refused(default().with_temperature(-1.0)).contains("`temperature`"));
        assert!(refused(default().with_temperature(f32::NAN)).contains("`temperature`"));
        assert!(refused(default().with_top_p(1.1)).contains("`top_p`"));
        assert!(refused(default().with_mirostat(3)).contains("`mirostat`"));
        assert!(refused(default().with_repeat_penalty(0.0)).contains("`repeat_penalty`"));
        assert!(refused(default().with_repeat_last_n(-2)).contains("`repeat_last_n`"));
    }

    #[test]
    fn the_likeliest_is_the_first_of_the_highest() {
        assert_eq!(likeliest(&[0.0, 2.0, 1.0, 2.0]), 1);
        assert_eq!(likeliest(&[f32::NEG_INFINITY, -1.0]), 1);
        assert_eq!(likeliest(&[f32::NEG_INFINITY; 3]), 0);
        let long = |high: &[usize]| {
            let mut logits = vec![-1.0; 100];
            for &id in high {
                logits[id] = 5.0;
            }
            likeliest(&logits)
        };
        assert_eq!((long(&[99]), long(&[96, 20]), long(&[4, 20]), long(&[0])), (99, 20, 4, 0));
    }

    #[test]
    fn schemas_become_grammars_or_errors() {
        let schema =
            serde_json::json!({"type": "object", "properties": {"a": {"type": "integer"}}});
        assert!(schema_to_gbnf(&schema).unwrap().contains("root"));
        let error = schema_to_gbnf(&serde_json::json!({"$ref": "#/nowhere"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
        assert_eq!(schema_to_gbnf(&Value::from(3)).unwrap_err().kind(), ErrorKind::InvalidGrammar);
    }
}
