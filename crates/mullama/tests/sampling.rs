//! Options that change sampling: the order of samplers, logits processors, banned phrases.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use mullama::{
    ChatOptions, ContextParams, ErrorKind, FinishReason, GenerateOptions, LogitBias,
    LogitsProcessor, LogitsProcessors, Message, Model, ModelParams, SamplerKind, StopKind, Token,
};
use serde_json::json;

static DEMO: LazyLock<Model> = LazyLock::new(|| load(ContextParams::default()));

fn load(context: ContextParams) -> Model {
    Model::load("demo", ModelParams::default(), context.with_n_threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

fn question(country: &str) -> [Message; 1] {
    [Message::user(format!("What is the capital of {country}?"))]
}

fn processor(change: impl Fn(&[Token], &mut [f32]) + Send + Sync + 'static) -> LogitsProcessors {
    LogitsProcessors::from_fn(move |tokens, logits| {
        change(tokens, logits);
        Ok(())
    })
}

#[test]
fn the_order_of_samplers_matters() {
    // A penalty before the truncation changes which token is left; after it, there is only one.
    let penalised = greedy().with_repeat_penalty(1e6).with_repeat_last_n(-1).with_top_k(1);
    let penalised = penalised.with_max_tokens(24).with_ignore_eos(true);
    let with = |samplers: &[SamplerKind]| {
        let options = penalised.clone().with_samplers(samplers.to_vec());
        DEMO.generate("One two one two one two", &options).unwrap().tokens
    };
    let plain = greedy().with_max_tokens(24).with_ignore_eos(true);
    let plain = DEMO.generate("One two one two one two", &plain).unwrap().tokens;
    let first = with(&[SamplerKind::Penalties, SamplerKind::TopK]);
    let last = with(&[SamplerKind::TopK, SamplerKind::Penalties]);
    assert_eq!(last, plain, "nothing is left to penalise");
    assert_ne!(first, plain);
    assert_eq!(first, DEMO.generate("One two one two one two", &penalised).unwrap().tokens);
    // Samplers that are not named do not run.
    assert_eq!(with(&[SamplerKind::TopK]), plain);
}

#[test]
fn only_listed_samplers_run() {
    let hot = GenerateOptions::default().with_temperature(2.0).with_top_k(1).with_seed(1);
    let hot = hot.with_max_tokens(16).with_ignore_eos(true);
    let greedy = greedy().with_max_tokens(16).with_ignore_eos(true);
    let said =
        |options: &GenerateOptions| DEMO.generate("Once upon a time", options).unwrap().tokens;
    let likeliest = said(&greedy);
    assert_eq!(said(&hot.clone().with_samplers(vec![SamplerKind::TopK])), likeliest);
    assert_ne!(said(&hot.with_samplers(vec![SamplerKind::Temperature])), likeliest);
}

#[test]
fn adaptive_p_chooses_near_its_target() {
    // The mean probability of the sampled tokens, according to the model.
    let mean = |options: GenerateOptions| {
        let options = options.with_logprobs(0).with_max_tokens(200).with_ignore_eos(true);
        let samplers = vec![SamplerKind::MinP];
        let options = options.with_samplers(samplers).with_min_p(0.01).with_seed(5);
        let logprobs = DEMO.generate("Once upon a time", &options).unwrap().logprobs.unwrap();
        logprobs.iter().map(|it| f64::from(it.logprob).exp()).sum::<f64>() / logprobs.len() as f64
    };
    let (plain, low) = (
        mean(GenerateOptions::default()),
        mean(GenerateOptions::default().with_adaptive_p(0.2).with_adaptive_p_decay(0.5)),
    );
    assert!(low < plain - 0.05, "{low} is not below {plain}");
}

#[test]
fn processors_influence_the_choice() {
    let plain = DEMO.chat(&question("France"), &greedy().into()).unwrap();
    assert!(plain.text.contains("Paris"), "{plain}");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (notes, first) = (Arc::clone(&seen), plain.tokens[0]);
    let processors = processor(move |tokens, logits| {
        notes.lock().unwrap().push(tokens.to_vec());
        logits[first as usize] = f32::NEG_INFINITY;
    });
    let options = greedy().with_logits_processors(processors).with_max_tokens(8);
    let other = DEMO.chat(&question("France"), &options.into()).unwrap();
    assert!(!other.tokens.contains(&first), "{other}");
    // Each call received the prompt and the generated tokens.
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), other.tokens.len());
    let prompt = seen[0].len();
    assert_eq!(prompt as u32, other.usage.prompt_tokens);
    assert_eq!(seen[seen.len() - 1][prompt..], other.tokens[..other.tokens.len() - 1]);
}

#[test]
fn a_processor_that_fails_ends_its_own_request() {
    let calls = AtomicUsize::new(0);
    let failing = LogitsProcessors::from_fn(move |_, _| {
        if calls.fetch_add(1, Ordering::Relaxed) < 3 { Ok(()) } else { Err("no more".into()) }
    });
    let beside = greedy().with_max_tokens(40).with_ignore_eos(true);
    let other = DEMO.stream("Once upon a time", &beside).unwrap();
    let options = greedy().with_ignore_eos(true).with_logits_processors(failing);
    let error = DEMO.generate("Once upon a time", &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Callback);
    assert_eq!(error.to_string(), "a logits processor failed: no more");
    assert_eq!(error.source().unwrap().to_string(), "no more");
    assert_eq!(other.finish().unwrap().tokens.len(), 40);
    let refused = |processors: LogitsProcessors| {
        let options = greedy().with_logits_processors(processors);
        DEMO.generate("Once", &options).unwrap_err()
    };
    let nan = refused(processor(|_, logits| logits.fill(f32::NAN)));
    assert_eq!(nan.kind(), ErrorKind::Callback);
    let panicking = refused(processor(|_, _| panic!("on purpose")));
    assert_eq!(panicking.kind(), ErrorKind::Callback);
    let calling = refused(LogitsProcessors::from_fn(|_, _| {
        DEMO.generate("Once", &GenerateOptions::default()).map(drop).map_err(Into::into)
    }));
    assert!(calling.to_string().contains("cannot make requests"), "{calling}");
    assert!(DEMO.generate("Once", &greedy().with_max_tokens(1)).is_ok());
}

#[test]
fn processors_and_guesses_agree() {
    struct NoRepeats;
    impl LogitsProcessor for NoRepeats {
        fn process(
            &self,
            tokens: &[Token],
            logits: &mut [f32],
        ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            let ban = tokens.len().is_multiple_of(5);
            if let (true, Some(&last)) = (ban, tokens.last()) {
                let highest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
                logits[highest.unwrap()] = f32::NEG_INFINITY;
                logits[last as usize] = f32::NEG_INFINITY;
            }
            Ok(())
        }
    }
    let text = "A B C D E F G. A B C D E F G. A B C D E F G. A B C";
    let options = greedy().with_max_tokens(60).with_ignore_eos(true);
    let options = options.with_logits_processors(Arc::new(NoRepeats));
    let plain = DEMO.generate(text, &options).unwrap();
    let guessed = DEMO.generate(text, &options.with_prompt_lookup(6)).unwrap();
    assert!(guessed.usage.accepted_tokens > 0, "{:?}", guessed.usage);
    assert_eq!(guessed.tokens, plain.tokens);
}

#[test]
fn banned_phrases_are_never_generated() {
    let plain = DEMO.chat(&question("France"), &greedy().into()).unwrap().text.clone();
    assert_eq!(plain, "The capital of France is Paris.");
    // A phrase within one token, over several tokens, as the whole answer, and several phrases at a time.
    for phrases in [
        &["Paris"][..],
        &["capital of"],
        &["France is Par"],
        &["l of Fr", "The ca"],
        &["e", "a"],
        &["The capital of France is Paris."],
    ] {
        let phrases: Vec<String> = phrases.iter().map(|&it| it.to_owned()).collect();
        let options = greedy().with_banned_phrases(phrases.clone()).with_max_tokens(40);
        let answer = DEMO.chat(&question("France"), &options.clone().into()).unwrap();
        for phrase in &phrases {
            assert!(!answer.text.contains(phrase.as_str()), "{phrase:?} in {answer}");
        }
        assert_ne!(answer.text, plain);
        // A stream never delivers dropped text, and ends with the same answer.
        let stream = DEMO.stream_chat(&question("France"), &options.clone().into()).unwrap();
        let streamed: String = stream.map(|chunk| chunk.unwrap().text).collect();
        assert_eq!(streamed, answer.text);
        // The text before the phrase is unchanged.
        if phrases == ["Paris"] {
            assert!(answer.text.starts_with("The capital of France is"), "{answer}");
        }
        let guessed =
            DEMO.chat(&question("France"), &options.with_prompt_lookup(6).into()).unwrap();
        assert_eq!(guessed.text, answer.text);
        assert_eq!(guessed.usage.completion_tokens as usize, guessed.tokens.len());
    }
}

#[test]
fn partial_banned_phrases_are_allowed() {
    let options = greedy().with_banned_phrases(vec!["capital of Francesca".into()]);
    let answer = DEMO.chat(&question("France"), &options.into()).unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    assert_eq!(answer.stop_reason.kind, StopKind::EndToken);
    // Also if tokens are delayed until the end of the answer.
    let options = greedy().with_banned_phrases(vec!["Paris. And".into()]);
    let answer = DEMO.chat(&question("France"), &options.clone().into()).unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    let short = options.clone().with_max_tokens(answer.usage.completion_tokens - 2);
    let cut = DEMO.chat(&question("France"), &short.into()).unwrap();
    assert_eq!(cut.finish_reason, FinishReason::Length);
    assert!(cut.text.starts_with("The capital of France is"), "{cut}");
    let stopping = options.with_stop("ris");
    let stopped = DEMO.chat(&question("France"), &stopping.into()).unwrap();
    assert_eq!(stopped.text, "The capital of France is Pa");
    assert_eq!(stopped.stop_reason.text.as_deref(), Some("ris"));
}

#[test]
fn banned_phrases_with_draws_penalties_and_schemas() {
    let phrases = vec!["the".to_owned(), " a".to_owned(), "was".to_owned()];
    for seed in 0..6 {
        let options = GenerateOptions::default()
            .with_seed(seed)
            .with_temperature(1.2)
            .with_repeat_penalty(1.1)
            .with_max_tokens(60)
            .with_ignore_eos(true)
            .with_logprobs(0)
            .with_banned_phrases(phrases.clone());
        let answer = DEMO.generate("Once upon a time", &options).unwrap();
        assert!(phrases.iter().all(|phrase| !answer.text.contains(phrase)), "{answer}");
        let logprobs = answer.logprobs.as_ref().unwrap();
        assert!(logprobs.iter().map(|it| it.token).eq(answer.tokens.iter().copied()));
        assert_eq!(DEMO.detokenize(&answer.tokens, false).unwrap(), answer.text);
    }
    let schema = json!({"type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"], "additionalProperties": false});
    let options = greedy().with_json_schema(schema.clone());
    let plain = DEMO.chat(&question("France"), &options.clone().into()).unwrap().text.clone();
    let value =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["city"].clone();
    let avoided = value(&plain).as_str().unwrap().to_owned();
    let banned = options.clone().with_banned_phrases(vec![avoided.clone()]);
    let other = DEMO.chat(&question("France"), &banned.into()).unwrap().text.clone();
    assert_ne!(value(&other), avoided);
    // A schema that allows only banned phrases is an error of the request.
    let banned = options.with_banned_phrases(vec!["Paris".into(), "Rome".into()]);
    let error = DEMO.chat(&question("France"), &banned.into()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
    assert!(error.hint().unwrap().contains("banned_phrases"), "{error:?}");
}

#[test]
fn backtracking_reuses_the_kv_cache() {
    let model = load(ContextParams::default().with_n_batch(16).with_n_ubatch(16));
    let long = "You are a helpful assistant. ".repeat(60);
    let messages = [Message::system(long.trim()), question("France")[0].clone()];
    let options = greedy().with_banned_phrases(vec!["France is Paris".into()]).with_max_tokens(12);
    let answer = model.chat(&messages, &ChatOptions::from(options)).unwrap();
    assert!(!answer.text.contains("France is Paris"), "{answer}");
    assert_eq!(answer.usage.cached_tokens, 0, "of the prompt nothing was there");
    let stats = model.stats().unwrap();
    let steps_of_prompt = u64::from(answer.usage.prompt_tokens) / 16;
    assert!(stats.steps > steps_of_prompt + 12, "it did not go back: {stats:?}");
    assert!(stats.steps < 2 * steps_of_prompt, "the prompt is computed once: {stats:?}");
    assert_eq!((stats.running, stats.waiting, stats.finished), (0, 0, 1));
}

#[test]
fn empty_banned_phrases_are_rejected() {
    let refused = |phrases: Vec<String>| {
        DEMO.generate("Once", &greedy().with_banned_phrases(phrases)).unwrap_err().to_string()
    };
    assert!(refused(vec![String::new()]).contains("must not be empty"));
}

/// Constraints that the text `1` alone follows.
fn only_one() -> [GenerateOptions; 4] {
    let options = || GenerateOptions::default().with_max_tokens(8);
    [
        options().with_regex("1"),
        options().with_lark("start: \"1\""),
        options().with_grammar("root ::= \"1\""),
        options().with_json_schema(json!({"const": 1})),
    ]
}

#[test]
fn excluded_tokens_are_never_chosen() {
    let with_one = |token: &Token| DEMO.detokenize(&[*token], false).unwrap().contains('1');
    let ones: Vec<Token> = (0..DEMO.n_vocab() as Token).filter(with_one).collect();
    let forbidding: BTreeMap<Token, f32> =
        ones.iter().map(|&token| (token, f32::NEG_INFINITY)).collect();
    let forbids = processor(move |_, logits| {
        for &token in &ones {
            logits[token as usize] = f32::NEG_INFINITY;
        }
    });
    for constrained in only_one() {
        for temperature in [0.0, 0.8, 1.5] {
            let constrained = constrained.clone().with_temperature(temperature);
            for excluding in [
                constrained.clone().with_logit_bias(LogitBias(forbidding.clone())),
                constrained.clone().with_banned_phrases(["1".to_owned()]),
                constrained.clone().with_logits_processors(forbids.clone()),
                constrained
                    .clone()
                    .with_logit_bias(LogitBias(forbidding.clone()))
                    .with_typical_p(0.9),
            ] {
                let error = DEMO.generate("x", &excluding).map(drop).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{error}");
                let message = "all tokens that the grammar allows here are excluded";
                assert_eq!(error.to_string(), message);
                assert!(error.hint().unwrap().contains("logit_bias"), "{error:?}");
            }
        }
    }
    // Without a grammar, a processor and a bias can exclude everything as well.
    let all = processor(|_, logits| logits[1..].fill(f32::NEG_INFINITY));
    for temperature in [0.0, 0.8] {
        let options = GenerateOptions::default().with_temperature(temperature);
        let options = options.with_logit_bias([(0, f32::NEG_INFINITY)]);
        let error =
            DEMO.generate("x", &options.with_logits_processors(all.clone())).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
}

#[test]
fn a_complete_text_ends_even_if_its_end_is_excluded() {
    let end = DEMO.chat(&question("France"), &greedy().into()).unwrap().stop_reason.token.unwrap();
    for constrained in only_one() {
        for temperature in [0.0, 0.8, 1.5] {
            let constrained = constrained.clone().with_temperature(temperature);
            for endless in [
                constrained.clone().with_ignore_eos(true),
                constrained.clone().with_ignore_eos(true).with_prompt_lookup(4),
                constrained.clone().with_ignore_eos(true).with_logit_bias([(end, -1e9)]),
            ] {
                let answer = DEMO.generate("1 1 1 1", &endless).unwrap();
                assert_eq!((answer.text.as_str(), answer.finish_reason), ("1", FinishReason::Stop));
                assert_eq!(answer.stop_reason.kind, StopKind::EndToken);
            }
        }
    }
    let list = json!({"type": "array", "items": {"type": "string"}});
    for seed in 0..40 {
        let options = GenerateOptions::default().with_seed(seed).with_temperature(0.8);
        let options = options.with_ignore_eos(true).with_max_tokens(40);
        let answer =
            DEMO.chat(&question("Italy"), &options.clone().with_json_schema(list.clone()).into());
        let answer = answer.unwrap();
        if answer.finish_reason == FinishReason::Stop {
            let value: Vec<String> = serde_json::from_str(&answer.text).unwrap();
            drop(value);
        } else {
            assert_eq!(answer.stop_reason.kind, StopKind::MaxTokens, "{answer}");
        }
        let tool = json!({"type": "function", "function": {"name": "f", "parameters": {
            "type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"]}}});
        let mut calling = ChatOptions::from(options.with_max_tokens(100)).with_tools([tool]);
        calling.chat.tool_choice = Some(json!("required"));
        let answer = DEMO.chat(&question("Italy"), &calling).unwrap();
        // More calls may follow, without end.
        assert!(answer.finish_reason != FinishReason::Stop, "{answer}");
    }
}

#[test]
fn a_grammar_that_is_used_again_starts_again() {
    let options = greedy().with_regex("[a-z]{5}").with_max_tokens(20);
    let first = DEMO.generate("x", &options).unwrap().text.clone();
    let streams: Vec<_> = (0..3).map(|_| DEMO.stream("x", &options).unwrap()).collect();
    for stream in streams {
        assert_eq!(stream.finish().unwrap().text, first);
    }
    assert_eq!(first.len(), 5);
}

#[test]
fn objects_may_have_many_optional_properties() {
    let schema = |count: u32| {
        let properties = (0..count).map(|index| (format!("p{index}"), json!({"type": "integer"})));
        json!({"type": "object", "properties": properties.collect::<serde_json::Map<_, _>>()})
    };
    for count in [501, 1500] {
        let options = greedy().with_max_tokens(30).with_json_schema(schema(count));
        let answer = DEMO.generate("x", &options).unwrap();
        assert!(answer.text.starts_with('{'), "{answer}");
    }
}
