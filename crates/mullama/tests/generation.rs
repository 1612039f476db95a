//! Generations of the demo model, whose answers are known.

mod demo;

use std::fs;
use std::time::Duration;

use mullama::{
    ChatOptions, ContextParams, ErrorKind, FinishReason, GenerateOptions, Message, Model,
    ModelParams, Prompt,
};
use mullama_testkit::gguf::File;
use serde_json::{Value, json};

use demo::{DEMO, endless, greedy, load};

fn capital_of(country: &str) -> [Message; 1] {
    [Message::user(format!("What is the capital of {country}?"))]
}

#[test]
fn best_cpu_module_is_loaded() {
    let loaded: Vec<_> = mullama::gpu::backends().into_iter().filter(|b| b.name == "cpu").collect();
    assert_eq!(loaded.len(), 1, "exactly one CPU module is in use: {loaded:?}");
    assert!(loaded[0].loaded, "{:?}", loaded[0].reason);
    let file = loaded[0].path.file_stem().unwrap().to_str().unwrap();
    #[cfg(target_arch = "x86_64")]
    {
        let plain = ["libggml-cpu-x64", "libggml-cpu-sse42", "ggml-cpu-x64", "ggml-cpu-sse42"];
        let without_avx512 = ["haswell", "alderlake", "ivybridge", "sandybridge", "piledriver"];
        if std::is_x86_feature_detected!("avx2") {
            assert!(!plain.contains(&file), "{file} on a machine with AVX2");
        }
        if std::is_x86_feature_detected!("avx512vnni") {
            assert!(
                !without_avx512.iter().any(|name| file.ends_with(name)),
                "{file} on a machine with AVX-512 VNNI"
            );
        }
    }
    println!("CPU module: {file}");
}

#[test]
fn an_answer_has_text_tokens_usage_and_timings() {
    let answer = DEMO.chat(&capital_of("France"), &greedy().into()).unwrap();
    assert_eq!(answer.to_string(), "The capital of France is Paris.");
    assert_eq!(answer.message.text(), answer.text);
    assert_eq!(answer.finish_reason, FinishReason::Stop);
    assert_eq!(answer.usage.completion_tokens as usize, answer.tokens.len());
    assert!(answer.usage.prompt_tokens > 5);
    let timings = answer.timings;
    assert!(timings.first_token_ms > 0.0 && timings.total_ms >= timings.first_token_ms);
    assert!(timings.prompt_tps > 0.0 && timings.decode_tps > 0.0);
}

#[test]
fn chunks_concatenate_to_the_text() {
    let mut stream = DEMO.stream_chat(&capital_of("Italy"), &greedy().into()).unwrap();
    let mut text = String::new();
    let mut last = None;
    for chunk in &mut stream {
        let chunk = chunk.unwrap();
        text += &chunk.text;
        last = chunk.completion;
    }
    let completion = stream.completion().unwrap();
    assert_eq!(text, "The capital of Italy is Rome.");
    assert_eq!(completion.text, text);
    assert_eq!(last.unwrap().text, text);
    assert!(stream.next_chunk().is_none());
}

#[test]
fn streams_are_asynchronous_too() {
    let answer = futures_executor::block_on(async {
        let mut stream = DEMO.stream_chat(&capital_of("Italy"), &greedy().into()).unwrap();
        let mut text = String::new();
        while let Some(chunk) = stream.next_chunk_async().await {
            text += &chunk.unwrap().text;
        }
        assert_eq!(text, "The capital of Italy is Rome.");
        DEMO.chat_async(&capital_of("Italy"), &greedy().into()).await.unwrap()
    });
    assert_eq!(answer.text, "The capital of Italy is Rome.");
}

#[test]
fn token_prompts_equal_text_prompts() {
    let text = "The capital of France is";
    let tokens = DEMO.tokenize(text, true, true).unwrap();
    let options = greedy().with_max_tokens(4);
    let from_text = DEMO.generate(text, &options).unwrap();
    let from_tokens = DEMO.generate(Prompt::Tokens(tokens), &options).unwrap();
    assert_eq!(from_text.tokens, from_tokens.tokens);
}

#[test]
fn seed_determines_the_text() {
    // Computed alone: other requests in a batch affect the rounding, which can change a draw.
    let model = load(ContextParams::default());
    let sample = |seed: u32| {
        let options = GenerateOptions::default()
            .with_temperature(2.0)
            .with_top_k(0)
            .with_top_p(1.0)
            .with_min_p(0.0)
            .with_ignore_eos(true)
            .with_max_tokens(24)
            .with_seed(seed);
        model.generate("Once upon a time", &options).unwrap().tokens
    };
    assert_eq!(sample(7), sample(7));
    assert_ne!(sample(7), sample(8));
}

#[test]
fn reproducible_results_are_bitwise_equal() {
    let model = load(ContextParams::default().with_n_ctx(2048));
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(12);
    let sample = || {
        let options = GenerateOptions::default()
            .with_temperature(0.9)
            .with_ignore_eos(true)
            .with_max_tokens(24)
            .with_logprobs(2)
            .with_seed(11)
            .with_reproducible(true)
            .with_prompt_lookup(8);
        let completion = model.generate(text.as_str(), &options).unwrap();
        let usage = completion.usage;
        assert_eq!((usage.cached_tokens, usage.drafted_tokens), (0, 0));
        let logprobs = completion.logprobs.unwrap();
        (completion.tokens, logprobs.iter().map(|it| it.logprob.to_bits()).collect::<Vec<_>>())
    };
    let first = sample();
    for round in 0..4 {
        // The cached tokens of other requests are in different cells each time.
        model.generate(format!("{round} {text}"), &greedy().with_max_tokens(5 + round)).unwrap();
        assert_eq!(sample(), first, "{round}");
    }
    // New requests wait, and run in their turn.
    let others: Vec<_> = (0..3)
        .map(|other| {
            model.stream(format!("{other} {text}"), &endless().with_max_tokens(60)).unwrap()
        })
        .collect();
    for round in 0..2 {
        assert_eq!(sample(), first, "beside others, {round}");
    }
    for other in others {
        assert_eq!(other.finish().unwrap().tokens.len(), 60);
    }
}

#[test]
fn max_tokens_ends_with_length() {
    let completion = DEMO.generate("Hello", &endless().with_max_tokens(5)).unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Length);
    assert_eq!(completion.tokens.len(), 5);
}

#[test]
fn the_end_of_the_context_ends_with_length() {
    let model = load(ContextParams::default().with_n_ctx(256));
    let completion = model.generate("Hello", &endless()).unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Length);
    let used = completion.usage.prompt_tokens + completion.usage.completion_tokens;
    // The last token needs no cell, since nothing follows it.
    assert_eq!(used, model.context_size() + 1);
}

#[test]
fn stop_sequences_end_the_text_and_are_excluded() {
    let options = greedy().with_stop(["Paris", "never"]);
    let mut stream = DEMO.stream_chat(&capital_of("France"), &options.into()).unwrap();
    let text: String = (&mut stream).map(|chunk| chunk.unwrap().text).collect();
    assert_eq!(text, "The capital of France is ");
    assert_eq!(stream.completion().unwrap().finish_reason, FinishReason::Stop);
}

#[test]
fn chunks_contain_whole_characters() {
    // Every byte is a token of this vocabulary, and all are equally likely here.
    let options = GenerateOptions::default()
        .with_temperature(50.0)
        .with_top_k(0)
        .with_top_p(1.0)
        .with_min_p(0.0)
        .with_ignore_eos(true)
        .with_seed(3)
        .with_max_tokens(300);
    let mut stream = DEMO.stream("é", &options).unwrap();
    let text: String = (&mut stream).map(|chunk| chunk.unwrap().text).collect();
    let completion = stream.completion().unwrap();
    assert_eq!(text, completion.text);
    assert!(!text.is_ascii(), "the sample should leave ASCII: {text:?}");
}

#[test]
fn forbidden_tokens_are_not_generated() {
    let free = DEMO.generate("The capital of France is", &greedy().with_max_tokens(1)).unwrap();
    let bias = [(free.tokens[0], f32::NEG_INFINITY)];
    let options = greedy().with_max_tokens(1).with_logit_bias(mullama::LogitBias::from(bias));
    let other = DEMO.generate("The capital of France is", &options).unwrap();
    assert_ne!(free.tokens, other.tokens);
}

/// Tokens that a file suppresses are never generated, with or without samplers; ids that do not
/// exist are ignored.
#[test]
fn suppressed_tokens_are_not_generated() {
    let usual = DEMO.generate("The capital of", &greedy().with_max_tokens(1)).unwrap().tokens[0];
    let mut file = File::decode(&fs::read(DEMO.path()).unwrap()).unwrap();
    let suppressed = mullama_testkit::gguf::Value::i32s([usual, -1, i32::MAX]);
    file.header.metadata.push(("tokenizer.ggml.suppress_tokens".to_owned(), suppressed));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suppressing.gguf");
    fs::write(&path, file.encode()).unwrap();
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load(path.to_str().unwrap(), ModelParams::default(), context).unwrap();
    for options in [greedy(), greedy().with_repeat_penalty(1.01), greedy().with_temperature(0.01)] {
        let token = model.generate("The capital of", &options.with_max_tokens(1)).unwrap().tokens;
        assert_ne!(token, [usual]);
    }
}

#[test]
fn every_sampler_can_be_turned_on() {
    let base = || GenerateOptions::default().with_seed(1).with_max_tokens(8).with_ignore_eos(true);
    for options in [
        base().with_typical_p(0.5),
        base().with_top_n_sigma(1.0),
        base().with_xtc_probability(0.5),
        base().with_dynatemp_range(0.5),
        base().with_dry_multiplier(0.8),
        base().with_mirostat(1),
        base().with_mirostat(2),
        base().with_repeat_penalty(1.3).with_frequency_penalty(0.1).with_presence_penalty(0.1),
        base().with_repeat_penalty(1.3).with_repeat_last_n(-1),
    ] {
        let completion = DEMO.generate("one two one two", &options).unwrap();
        assert_eq!(completion.tokens.len(), 8, "{options:?}");
    }
}

#[test]
fn penalties_include_the_prompt() {
    let prompt = "7 7 7 7 7 7 7 7";
    let plain = DEMO.generate(prompt, &greedy().with_max_tokens(1)).unwrap();
    let bias_all = |penalty: f32| {
        let options = greedy().with_max_tokens(1).with_logprobs(0).with_presence_penalty(penalty);
        DEMO.generate(prompt, &options).unwrap().tokens
    };
    assert_eq!(bias_all(0.0), plain.tokens);
    // A penalty larger than any difference of logits excludes every token of the prompt.
    let excluded = bias_all(1000.0)[0];
    assert!(!DEMO.tokenize(prompt, true, true).unwrap().contains(&excluded));
}

#[test]
fn logprobs_are_those_of_the_distribution() {
    let options = greedy().with_logprobs(3).with_max_tokens(6);
    let completion = DEMO.generate("The capital of France is", &options).unwrap();
    let logprobs = completion.logprobs.unwrap();
    assert_eq!(logprobs.len(), completion.tokens.len());
    for (token, logprob) in completion.tokens.iter().zip(&logprobs) {
        assert_eq!(logprob.token, *token);
        assert_eq!(logprob.top.len(), 3);
        assert_eq!(logprob.top[0].token, *token, "greedy takes the likeliest");
        assert!(logprob.logprob <= 0.0 && logprob.logprob == logprob.top[0].logprob);
        assert!(logprob.top.windows(2).all(|pair| pair[0].logprob >= pair[1].logprob));
    }
    let all = DEMO.n_vocab();
    let options = greedy().with_logprobs(all).with_max_tokens(1);
    let everything = DEMO.generate("Hello", &options).unwrap().logprobs.unwrap();
    let sum: f64 = everything[0].top.iter().map(|top| f64::from(top.logprob).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-3, "probabilities add up to {sum}");
}

#[test]
fn a_grammar_is_followed() {
    let options = greedy().with_grammar("root ::= \"yes\" | \"no\"");
    let text = DEMO.generate("Is Paris in France?", &options).unwrap().text;
    assert!(["yes", "no"].contains(&text.as_str()), "{text:?}");
}

#[test]
fn a_schema_is_followed_in_generations_and_chats() {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "size": {"enum": [1, 2]}},
        "required": ["city", "size"],
        "additionalProperties": false,
    });
    let follows = |text: &str| {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
        assert!(value["city"].is_string() && value["size"].is_number(), "{text}");
    };
    let options = greedy().with_json_schema(schema.clone()).with_max_tokens(200);
    follows(&DEMO.generate("A city:", &options).unwrap().text);
    follows(&DEMO.chat(&capital_of("France"), &options.into()).unwrap().text);
    let format = json!({"type": "json_schema", "json_schema": {"name": "city", "schema": schema}});
    let options = ChatOptions::default().with_temperature(0.0).with_max_tokens(200);
    let format = options.with_response_format(format);
    follows(&DEMO.chat(&capital_of("France"), &format).unwrap().text);
}

#[test]
fn bad_grammars_fail_without_affecting_other_requests() {
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(100_000), ")".repeat(100_000));
    let chain = (0..50_000).map(|n| format!("r{n} ::= r{}", n + 1)).collect::<Vec<_>>().join("\n");
    let grammars = [
        ("root ::= (", "expecting"),
        ("root = x", "expecting ::="),
        ("x", "expecting ::= at its end"),
        ("root ::= \"a", "end of input"),
        ("other ::= \"a\"", "\"root\""),
        ("root ::= missing", "\"missing\" is used and not defined"),
        ("root ::= root \"a\"", "left recursion"),
        ("root ::= \"a\"{9999}", "repetition"),
        ("", "empty"),
        ("# nothing\n", "\"root\""),
        (&deep, "nested too deeply"),
        (r#"root ::= "\U00110000""#, "no character U+110000"),
        (r#"root ::= "\uD800""#, "no character U+D800"),
        (r"root ::= [\uD800]", "no character U+D800"),
        (r"root ::= [a-\U00110000]", "no character U+110000"),
        (r"root ::= [^\uD800-\uDFFF]", "no character U+D800"),
        ("root ::= [b-a]", "the range U+0062 to U+0061 is empty"),
        ("root ::= [^xb-a]", "the range U+0062 to U+0061 is empty"),
        (&format!("root ::= r0\n{chain}\nr50000 ::= \"a\""), "too many rules"),
    ];
    for (grammar, says) in grammars {
        let error = DEMO.generate("Hello", &greedy().with_grammar(grammar)).unwrap_err();
        let start: String = grammar.chars().take(40).collect();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{start:?}: {error:?}");
        assert!(error.to_string().contains(says), "{start:?}: {error}");
    }
    let commented = "# yes\nroot ::= ( # a group\n\"#(\" [#(\\]\"]? )";
    DEMO.generate("Hello", &greedy().with_grammar(commented)).unwrap();
    DEMO.chat(&capital_of("France"), &greedy().into()).unwrap();
}

fn weather_tool() -> Value {
    json!({"type": "function", "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city"}},
            "required": ["city"],
        },
    }})
}

#[test]
fn a_tool_is_called_and_its_result_used() {
    let options = ChatOptions::from(greedy()).with_tools([weather_tool()]);
    let mut messages = vec![Message::user("What is the weather in Paris?")];
    let mut stream = DEMO.stream_chat(&messages, &options).unwrap();
    let mut arguments = String::new();
    let mut named = 0;
    for chunk in &mut stream {
        for delta in chunk.unwrap().tool_calls {
            named += usize::from(delta.name.is_some());
            arguments += &delta.arguments;
        }
    }
    let answer = stream.completion().unwrap().clone();
    assert_eq!(answer.finish_reason, FinishReason::ToolCalls);
    let call = &answer.message.tool_calls[0];
    assert_eq!((call.function.name.as_str(), named), ("get_weather", 1));
    assert_eq!(arguments, call.function.arguments);
    let parsed: Value = serde_json::from_str(&arguments).unwrap();
    assert_eq!(parsed, json!({"city": "Paris"}));

    messages.push(answer.message.clone());
    messages.push(Message::tool(
        &call.id,
        json!({"city": "Paris", "temperature": 18, "condition": "sunny"}).to_string(),
    ));
    let answer = DEMO.chat(&messages, &options).unwrap();
    assert_eq!(answer.finish_reason, FinishReason::Stop);
    assert!(answer.text.contains("18") && answer.text.contains("sunny"), "{answer}");
}

#[test]
fn tool_choice_is_respected() {
    let mut options = ChatOptions::from(greedy().with_max_tokens(60)).with_tools([weather_tool()]);
    let mut calls = |choice: Value, question: &str| {
        options.chat.tool_choice = Some(choice);
        let answer = DEMO.chat(&[Message::user(question)], &options).unwrap();
        (answer.message.tool_calls.len(), answer.finish_reason)
    };
    let weather = "What is the weather in Rome?";
    assert_eq!(calls("required".into(), weather), (1, FinishReason::ToolCalls));
    assert_eq!(calls(weather_tool(), weather), (1, FinishReason::ToolCalls));
    assert_eq!(calls("none".into(), weather).0, 0);
    // With `required`, a model that would greet must first call a tool.
    assert_eq!(calls("auto".into(), "Hello!"), (0, FinishReason::Stop));
    assert_eq!(calls("required".into(), "Hello!"), (1, FinishReason::ToolCalls));
}

#[test]
fn cancelled_streams_return_the_text_so_far() {
    let mut stream = DEMO.stream("Hello", &endless()).unwrap();
    let cancel = stream.cancel_token();
    let first = stream.next_chunk().unwrap().unwrap();
    cancel.cancel();
    let rest: String = (&mut stream).map(|chunk| chunk.unwrap().text).collect();
    let completion = stream.completion().unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Cancelled);
    assert_eq!(completion.text, first.text + &rest);
}

#[test]
fn dropped_streams_free_their_slot() {
    let model = load(ContextParams::default().with_n_parallel(1));
    let mut endless = model.stream("Hello", &endless()).unwrap();
    endless.next_chunk().unwrap().unwrap();
    let waiting = model.stream("Hello", &greedy().with_max_tokens(1)).unwrap();
    drop(endless);
    assert_eq!(waiting.finish().unwrap().tokens.len(), 1);
}

#[test]
fn a_prompt_that_is_being_computed_can_be_cancelled() {
    let model = load(ContextParams::default().with_n_parallel(1));
    let long = "word ".repeat(1500);
    let mut stream = model.stream(long.as_str(), &greedy()).unwrap();
    assert!(stream.next_chunk_within(Duration::from_millis(1)).is_err(), "nothing comes at once");
    stream.cancel();
    let last = stream.next_chunk().unwrap().unwrap().completion.unwrap();
    assert_eq!((last.finish_reason, last.tokens.len()), (FinishReason::Cancelled, 0));
    // The engine still works.
    let answer = model.chat(&capital_of("France"), &greedy().into()).unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
}

#[test]
fn concurrent_requests_match_single_ones() {
    let countries = ["France", "Italy", "Japan", "Spain", "Norway", "Egypt", "Peru", "Kenya"];
    let alone: Vec<_> = countries
        .iter()
        .map(|country| DEMO.chat(&capital_of(country), &greedy().into()).unwrap().to_string())
        .collect();
    let together: Vec<_> = std::thread::scope(|scope| {
        let ask = |&country: &&'static str| {
            let model = DEMO.clone();
            scope.spawn(move || {
                model.chat(&capital_of(country), &greedy().into()).unwrap().to_string()
            })
        };
        let threads: Vec<_> = countries.iter().map(ask).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
}

#[test]
fn requests_exceeding_the_kv_cache_together_all_finish() {
    // Four requests of up to 200 tokens in 256 cells: some must release theirs before the end.
    let model = load(ContextParams::default().with_n_ctx(256).with_n_parallel(4));
    let options = || endless().with_max_tokens(150);
    let alone = model.generate("Hello", &options()).unwrap().tokens;
    let streams: Vec<_> = (0..6).map(|_| model.stream("Hello", &options()).unwrap()).collect();
    for stream in streams {
        let completion = stream.finish().unwrap();
        assert_eq!(completion.finish_reason, FinishReason::Length);
        assert_eq!(completion.tokens.len(), alone.len());
    }
}

#[test]
fn closed_models_reject_requests_and_report_their_properties() {
    let model = load(ContextParams::default());
    let mut running = model.stream("Hello", &endless()).unwrap();
    running.next_chunk().unwrap().unwrap();
    let clone = model.clone();
    model.close();
    let completion = running.finish().unwrap();
    assert_eq!(completion.finish_reason, FinishReason::Cancelled);
    assert!(clone.is_closed());
    assert_eq!(clone.generate("Hello", &greedy()).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.tokenize("Hello", true, false).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(clone.architecture(), "llama");
    model.close();
}

#[test]
fn streams_own_their_model() {
    let stream = load(ContextParams::default())
        .stream_chat(&capital_of("France"), &greedy().into())
        .unwrap();
    assert_eq!(stream.finish().unwrap().text, "The capital of France is Paris.");
}

#[test]
fn tokens_round_trip() {
    for text in ["Hello, world!", "naïve café ☃ 日本語", "  two  spaces\n\ttab", "a\u{1f600}b", ""]
    {
        let tokens = DEMO.tokenize(text, false, false).unwrap();
        assert_eq!(DEMO.detokenize(&tokens, false).unwrap(), text);
    }
    let special = DEMO.tokenize("<|im_end|>", false, true).unwrap();
    assert_eq!(special.len(), 1);
    assert!(DEMO.tokenize("<|im_end|>", false, false).unwrap().len() > 1);
    assert_eq!(DEMO.detokenize(&special, false).unwrap(), "<|im_end|>");
    assert_eq!(DEMO.detokenize(&special, true).unwrap(), "");
    let encoder = Model::load(
        mullama_testkit::fixture("encoder"),
        ModelParams::default(),
        ContextParams::default(),
    )
    .unwrap();
    for model in [&*DEMO, &encoder] {
        let tokens = model.tokenize("one river", true, false).unwrap();
        assert_eq!(model.detokenize(&tokens, true).unwrap(), "one river");
    }
    // The space that some of these put before a text is not part of it.
    for name in ["vocab-pieces", "vocab-unigram", "vocab-rwkv", "vocab-plamo2"] {
        let model = Model::load(
            mullama_testkit::fixture(name),
            ModelParams::default().with_vocab_only(true),
            ContextParams::default(),
        )
        .unwrap();
        for text in ["hi", "one river", "a", " a", "  a b"] {
            for special in [true, false] {
                let tokens = model.tokenize(text, special, false).unwrap();
                let back = model.detokenize(&tokens, true).unwrap();
                assert_eq!(back, text, "{name} {text:?} {special}");
            }
        }
    }
}

#[test]
fn progress_is_reported_and_can_cancel() {
    let mut seen = Vec::new();
    let params = ModelParams::default;
    Model::load_with_progress("demo", params(), ContextParams::default(), |fraction| {
        seen.push(fraction);
        true
    })
    .unwrap();
    assert!(seen.windows(2).all(|pair| pair[0] <= pair[1]), "{seen:?}");
    assert_eq!(seen.last(), Some(&1.0));
    let cancelled =
        Model::load_with_progress("demo", params(), ContextParams::default(), |_| false);
    assert_eq!(cancelled.err().unwrap().kind(), ErrorKind::Cancelled);
}

#[test]
fn metadata_and_template_can_be_replaced() {
    let shorter = [("llama.context_length".to_owned(), json!(512))];
    let params = ModelParams::default()
        .with_metadata_overrides(shorter)
        .with_chat_template("{{ messages[0].content }}|");
    let model = Model::load("demo", params, ContextParams::default()).unwrap();
    assert_eq!(model.context_size(), 512);
    let prompt =
        model.apply_chat_template(&[Message::user("Hi")], &ChatOptions::default(), true).unwrap();
    assert_eq!(prompt, "Hi|");
}

#[test]
fn every_kv_type_generates() {
    use mullama::KvCacheType as T;
    let types = [T::F32, T::F16, T::Bf16, T::Q8_0, T::Q5_1, T::Q5_0, T::Q4_1, T::Q4_0, T::Iq4Nl];
    for ty in types {
        let model = load(ContextParams::default().with_n_ctx(256).with_kv_cache_type(ty));
        let completion = model.generate("The capital of France is", &greedy().with_max_tokens(2));
        assert_eq!(completion.unwrap().tokens.len(), 2, "{ty:?}");
    }
}
