//! Information about requests: why they ended, their progress, their order.

mod demo;

use std::thread;
use std::time::{Duration, Instant};

use mullama::{
    ChatOptions, ContextParams, ErrorKind, FinishReason, GenerateOptions, Message, Model,
    ModelParams, RequestState, StopKind, Stream,
};
use mullama_testkit::{fixture, templates};
use serde_json::json;

use demo::{DEMO, endless, greedy, load};

/// Waits until a condition is true.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Starts a request and waits for its first chunk.
fn running(model: &Model, options: &GenerateOptions) -> Stream {
    let mut stream = model.stream("The capital of", options).unwrap();
    stream.next_chunk().unwrap().unwrap();
    stream
}

#[test]
fn stop_reason_is_reported() {
    let question = [Message::user("What is the capital of France?")];
    let done = DEMO.chat(&question, &greedy().into()).unwrap();
    assert_eq!(done.stop_reason.kind, StopKind::EndToken);
    assert_eq!(done.stop_reason.text.as_deref(), Some("<|im_end|>"));
    assert_eq!(done.stop_reason.token, done.tokens.last().copied());

    let ended = |options: GenerateOptions| DEMO.generate("The capital of", &options).unwrap();
    let stopped = ended(endless().with_stop([" Never", " is", " capital"]));
    assert_eq!(stopped.stop_reason.kind, StopKind::StopText);
    let text = stopped.stop_reason.text.as_deref().unwrap();
    assert!([" is", " capital"].contains(&text) && !stopped.text.contains(text), "{text}");

    let limited = ended(endless().with_max_tokens(3));
    assert_eq!(limited.stop_reason.kind, StopKind::MaxTokens);
    assert_eq!((limited.finish_reason, limited.tokens.len()), (FinishReason::Length, 3));

    let late = ended(endless().with_timeout(0.05));
    assert_eq!(late.stop_reason.kind, StopKind::Timeout);
    assert_eq!(late.finish_reason, FinishReason::Cancelled);

    let stream = running(&DEMO, &endless());
    stream.cancel();
    let cancelled = stream.finish().unwrap();
    assert_eq!(cancelled.stop_reason.kind, StopKind::Cancelled);

    let small = load(ContextParams::default().with_n_ctx(64));
    let full = small.generate("The capital of", &endless()).unwrap();
    assert_eq!(full.stop_reason.kind, StopKind::ContextSize);
    assert_eq!(full.finish_reason, FinishReason::Length);
}

#[test]
fn max_tokens_zero_computes_only_the_prompt() {
    let model = load(ContextParams::default());
    let prompt = "The capital of France is a city that many people know. ".repeat(8);
    let none = model.generate(prompt.as_str(), &greedy().with_max_tokens(0)).unwrap();
    assert_eq!((none.text.as_str(), none.tokens.len()), ("", 0));
    assert_eq!(none.stop_reason.kind, StopKind::MaxTokens);
    assert!(none.usage.prompt_tokens > 50 && none.usage.cached_tokens == 0, "{:?}", none.usage);
    let next = model.generate(prompt.as_str(), &greedy().with_max_tokens(1)).unwrap();
    assert!(next.usage.cached_tokens + 1 >= none.usage.prompt_tokens, "{:?}", next.usage);
    let mut stream = model.stream(prompt.as_str(), &greedy().with_max_tokens(0)).unwrap();
    let last = stream.next_chunk().unwrap().unwrap();
    assert_eq!((last.text.as_str(), last.completion.is_some()), ("", true));
}

#[test]
fn reasoning_tokens_are_counted_separately() {
    // The model's output is meaningless, so the prompt opens the reasoning for it.
    let (before, after) = templates::THINKING.split_once("{%- if enable_thinking").unwrap();
    let (_, after) = after.split_once("{%- endif %}").unwrap();
    let opened = format!("{before}{{{{- '<think>\\n' }}}}{after}");
    let params = ModelParams::default().with_chat_template(opened);
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load(fixture("chat-thinking"), params, context).unwrap();
    let hello = [Message::user("Hello")];
    let ask = |budget: u32, stream: bool| {
        let options = ChatOptions::default()
            .with_temperature(0.0)
            .with_max_tokens(60)
            .with_reasoning_budget(budget);
        if stream {
            return model.stream_chat(&hello, &options).unwrap().finish().unwrap();
        }
        model.chat(&hello, &options).unwrap()
    };
    let tag = model.tokenize("</think>", false, true).unwrap();
    for budget in [0, 1, 7] {
        for stream in [false, true] {
            let answer = ask(budget, stream);
            let spent = answer.tokens.windows(tag.len()).position(|part| part == tag).unwrap();
            let counted = answer.usage.reasoning_tokens as usize;
            let reasoning = answer.message.reasoning.clone().unwrap_or_default();
            assert!(counted <= spent, "{counted} {spent}");
            // White space around it may consist of separate tokens.
            assert_eq!(counted > 0, !reasoning.trim().is_empty(), "{reasoning:?}");
            assert!(counted + 3 >= spent || reasoning.trim().is_empty(), "{counted} {spent}");
        }
    }
    let endless = ask(1000, false);
    assert!(endless.usage.reasoning_tokens + 3 >= 60, "{:?}", endless.usage);
    let plain = DEMO.chat(&hello, &greedy().into()).unwrap();
    assert_eq!(plain.usage.reasoning_tokens, 0);
}

#[test]
fn chats_have_log_probabilities_with_bytes() {
    let question = [Message::user("What is the capital of France?")];
    let options: ChatOptions = greedy().with_logprobs(2).into();
    let mut logprobs = Vec::new();
    let mut whole = None;
    for chunk in DEMO.stream_chat(&question, &options).unwrap() {
        let chunk = chunk.unwrap();
        logprobs.extend(chunk.logprobs.unwrap_or_default());
        whole = chunk.completion.or(whole);
    }
    let whole = whole.unwrap();
    assert_eq!(Some(&logprobs), whole.logprobs.as_ref());
    assert_eq!(logprobs.len(), whole.tokens.len());
    let bytes: Vec<u8> = logprobs.iter().flat_map(|token| token.bytes.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}<|im_end|>", whole.text));
    assert!(logprobs.iter().all(|token| token.top.len() == 2 && token.top[0].bytes == token.bytes));

    // The bytes of incomplete characters are reported unchanged.
    let snow = DEMO.tokenize("☃", false, false).unwrap();
    assert!(snow.len() > 1);
    let forced = greedy().with_grammar("root ::= \"☃\"").with_logprobs(0);
    let answer = DEMO.generate("x", &forced).unwrap();
    let bytes: Vec<u8> = answer.logprobs.unwrap().iter().flat_map(|it| it.bytes.clone()).collect();
    assert!(bytes.starts_with("☃".as_bytes()), "{bytes:?}");
}

#[test]
fn a_text_follows_a_regular_expression() {
    let generate = |options: &GenerateOptions| DEMO.generate("Call me: ", options);
    for (expression, matches) in [
        (r"\d{3}-\d{4}", r"^\d{3}-\d{4}$"),
        (r"^(yes|no)$", "^(yes|no)$"),
        (r"[A-Z][a-z]{2,5}( [A-Z]\.)?", r"^[A-Z][a-z]{2,5}( [A-Z]\.)?$"),
        (r"a/b\\c", r"^a/b\\c$"),
    ] {
        for seed in 0..3 {
            let options = GenerateOptions::default().with_regex(expression).with_seed(seed);
            let answer = generate(&options.with_temperature(1.5)).unwrap();
            assert!(regex::Regex::new(matches).unwrap().is_match(&answer.text), "{}", answer.text);
            assert_eq!(answer.finish_reason, FinishReason::Stop);
        }
    }
    let chat = ChatOptions::from(greedy().with_regex("(red|blue) (car|boat)"));
    let answer = DEMO.chat(&[Message::user("What do you see?")], &chat).unwrap();
    let parts: Vec<_> = answer.text.split(' ').collect();
    assert!(["red", "blue"].contains(&parts[0]) && ["car", "boat"].contains(&parts[1]));
    for (wrong, said) in [
        ("a(", "unclosed group, at line 1, column 2"),
        ("a(?=b)", "look-around"),
        ("[z-a]", "invalid character class range"),
        ("\\", "incomplete escape sequence"),
    ] {
        let error = generate(&greedy().with_regex(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn a_text_follows_a_lark_grammar() {
    let grammar = "start: \"x = \" sum\nsum: NUMBER (\" + \" NUMBER){1,3}\nNUMBER: /[1-9][0-9]?/\n";
    let shape = regex::Regex::new(r"^x = [1-9]\d?( \+ [1-9]\d?){1,3}$").unwrap();
    for seed in 0..3 {
        let options = GenerateOptions::default().with_lark(grammar).with_seed(seed);
        let answer = DEMO.generate("A sum: ", &options.with_temperature(1.5)).unwrap();
        assert!(shape.is_match(&answer.text), "{}", answer.text);
    }
    let error = DEMO.generate("x", &greedy().with_lark("start: a\nb: \"x\n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
    assert!(error.to_string().contains("line 2, column "), "{error}");
    let both = greedy().with_lark("start: \"a\"").with_regex("a");
    let error = DEMO.generate("x", &both).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let both = greedy().with_regex("a").with_json_schema(json!({}));
    assert_eq!(DEMO.generate("x", &both).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn infill_uses_the_fim_tokens_of_the_model() {
    let ids: [(&str, serde_json::Value); 3] = [
        ("tokenizer.ggml.fim_pre_token_id", 300.into()),
        ("tokenizer.ggml.fim_suf_token_id", 301.into()),
        ("tokenizer.ggml.fim_mid_token_id", 302.into()),
    ];
    let ids = ids.map(|(key, value)| (key.to_owned(), value));
    let params = ModelParams::default().with_metadata_overrides(ids);
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load("demo", params, context).unwrap();
    let text = |text: &str| model.tokenize(text, false, false).unwrap();
    let (prefix, suffix) = ("def f(x):\n    return <|im_end|>", "\n\nprint(f(1))");
    let prompt = [vec![300], text(prefix), vec![301], text(suffix), vec![302]].concat();
    let options = endless().with_max_tokens(5);
    let answer = model.infill(prefix, suffix, &options).unwrap();
    assert_eq!(answer.usage.prompt_tokens as usize, prompt.len());
    assert_eq!(answer.tokens, model.generate(prompt, &options).unwrap().tokens);
    let from_tokens = model.infill(text(prefix), suffix, &options).unwrap();
    assert_eq!(from_tokens.tokens, answer.tokens);
    let streamed = model.stream(prefix, &options.clone().with_infill_suffix(suffix)).unwrap();
    assert_eq!(streamed.finish().unwrap().tokens, answer.tokens);

    assert_eq!(DEMO.infill("a", "b", &options).unwrap_err().kind(), ErrorKind::Unsupported);
    let chat = ChatOptions::from(options.with_infill_suffix("b"));
    let error = model.chat(&[Message::user("x")], &chat).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn the_queue_is_bounded() {
    let model = load(ContextParams::default().with_n_parallel(1).with_max_queue(2));
    let first = running(&model, &endless());
    let waiting: Vec<_> = (0..2).map(|_| model.stream("Then", &endless()).unwrap()).collect();
    wait_for("two wait", || model.stats().unwrap().waiting == 2);
    let error = model.generate("Never", &endless()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert_eq!(error.get("waiting"), Some("2"));
    drop(first);
    drop(waiting);
    let answer = model.generate("Now", &greedy().with_max_tokens(1));
    assert_eq!(answer.unwrap().tokens.len(), 1);
}

#[test]
fn queued_requests_run_by_priority_and_client() {
    let model = load(ContextParams::default().with_n_parallel(1));
    let first = running(&model, &endless());
    let request = |id: &str, client: &str, priority: i32| {
        let options = endless().with_max_tokens(20).with_request_id(id).with_client(client);
        let began = Instant::now();
        let stream = model.stream("Then", &options.with_priority(priority)).unwrap();
        wait_for("it waits", || model.requests().unwrap().iter().any(|it| it.id == id));
        (id.to_owned(), began, stream)
    };
    let streams = [
        request("a1", "a", 0),
        request("a2", "a", 0),
        request("a3", "a", 0),
        request("b1", "b", 0),
        request("b2", "b", 0),
        request("urgent", "a", 1),
        request("idle", "c", -1),
    ];
    wait_for("all wait", || model.stats().unwrap().waiting == 7);
    drop(first);
    let mut ended = streams.map(|(id, began, stream)| {
        let timings = stream.finish().unwrap().timings;
        (began + Duration::from_secs_f64(timings.total_ms / 1e3), id)
    });
    ended.sort();
    let order: Vec<_> = ended.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(order, ["urgent", "b1", "a1", "b2", "a2", "a3", "idle"]);
}

#[test]
fn requests_are_listed_and_cancelled_by_name() {
    let model = load(ContextParams::default().with_n_parallel(1));
    let named = endless().with_request_id("mine").with_client("someone").with_priority(3);
    let first = running(&model, &named);
    let second = model.stream("Then", &endless()).unwrap();
    let error = model.generate("x", &greedy().with_request_id("mine")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("`request_id`"), "{error}");
    wait_for("both are known", || model.requests().unwrap().len() == 2);
    let [one, other] = model.requests().unwrap().try_into().unwrap();
    assert_eq!(
        (one.id.as_str(), one.client.as_deref(), one.priority),
        ("mine", Some("someone"), 3)
    );
    assert_eq!(one.state, RequestState::Generating);
    assert!(one.completion_tokens > 0 && one.computed_tokens == one.prompt_tokens, "{one:?}");
    assert_eq!((other.state, other.computed_tokens), (RequestState::Waiting, 0));
    assert_ne!(other.id, "mine");
    assert!(model.cancel_request("mine").unwrap());
    assert_eq!(first.finish().unwrap().stop_reason.kind, StopKind::Cancelled);
    assert!(!model.cancel_request("mine").unwrap());
    // The id is free again, and numbers skip those that are taken.
    let next = (other.id.parse::<u64>().unwrap() + 1).to_string();
    let taken = model.stream("x", &endless().with_request_id(next.as_str())).unwrap();
    let numbered = model.stream("x", &endless()).unwrap();
    let ids = || model.requests().unwrap().into_iter().map(|it| it.id).collect::<Vec<_>>();
    wait_for("both are known", || ids().len() == 3);
    assert_eq!(ids().iter().filter(|id| **id == next).count(), 1, "{:?}", ids());
    drop((taken, numbered));
    assert!(model.cancel_request(&other.id).unwrap());
    assert_eq!(second.finish().unwrap().stop_reason.kind, StopKind::Cancelled);
    wait_for("none is left", || model.requests().unwrap().is_empty());
}

#[test]
fn streams_report_prompt_progress() {
    let model = load(ContextParams::default().with_n_batch(64).with_n_ubatch(64));
    let prompt = "The capital of France is a city that many people know. ".repeat(20);
    let options = greedy().with_max_tokens(2).with_prompt_progress(true);
    let progress = |model: &Model| -> Vec<_> {
        let chunks = model.stream(prompt.as_str(), &options).unwrap();
        chunks.filter_map(|chunk| chunk.unwrap().progress).collect()
    };
    let first = progress(&model);
    assert!(first.len() > 2, "{first:?}");
    assert!(first.is_sorted_by(|one, next| one.computed < next.computed), "{first:?}");
    assert!(first.iter().all(|it| it.cached == 0 && it.total == first[0].total));
    assert_eq!(first.last().unwrap().computed, first[0].total);
    let second = progress(&model);
    assert!(second.iter().all(|it| it.cached > 0), "{second:?}");
    let chat = ChatOptions::from(options.clone());
    let chunks = model.stream_chat(&[Message::user(prompt.as_str())], &chat).unwrap();
    assert!(chunks.filter_map(|chunk| chunk.unwrap().progress).count() > 2);
    let unasked = model.stream("x", &greedy().with_max_tokens(2)).unwrap();
    assert!(unasked.map(|chunk| chunk.unwrap()).all(|chunk| chunk.progress.is_none()));
}

#[test]
fn a_reader_that_stops_pauses_its_own_request() {
    let model = load(ContextParams::default().with_n_parallel(1).with_n_ctx(32_768));
    let mut unread = running(&model, &endless());
    let steps = || model.stats().unwrap().steps;
    let mut last = 0;
    wait_for("it pauses", || {
        thread::sleep(Duration::from_millis(50));
        std::mem::replace(&mut last, steps()) == last
    });
    let computed = model.requests().unwrap()[0].completion_tokens;
    assert!(computed < 32_000, "{computed}");
    // Other requests continue meanwhile, although there is only one sequence.
    let answer = model.generate("The capital of", &endless().with_max_tokens(20)).unwrap();
    assert_eq!(answer.tokens.len(), 20);
    // It continues from its position when it is read.
    for _ in 0..400 {
        unread.next_chunk().unwrap().unwrap();
    }
    wait_for("it goes on", || model.requests().unwrap()[0].completion_tokens > computed);
    unread.cancel();
    let whole = unread.finish().unwrap();
    assert_eq!(whole.stop_reason.kind, StopKind::Cancelled);
}

#[cfg(feature = "schemars")]
mod typed {
    use mullama::{ChatOptions, ErrorKind, Message};
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::{DEMO, greedy};

    #[derive(Debug, PartialEq, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Size {
        Small,
        Large,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "they are read")]
    struct City {
        #[schemars(length(max = 20))]
        name: String,
        inhabitants: u32,
        size: Size,
        #[schemars(length(max = 2))]
        rivers: Option<Vec<bool>>,
    }

    #[test]
    fn answers_parse_into_typed_values() {
        let question = [Message::user("Tell me about Paris.")];
        for seed in 0..4 {
            let options = ChatOptions::default().with_seed(seed).with_max_tokens(300);
            let answer = DEMO.chat_as::<City>(&question, &options).unwrap();
            assert!(answer.parsed.name.chars().count() <= 20, "{:?}", answer.parsed);
            assert_eq!(answer.message.text(), answer.text);
        }
        let sizes = DEMO.chat_as::<[Size; 2]>(&question, &greedy().into()).unwrap().parsed;
        assert_eq!(sizes.len(), 2);
    }

    #[test]
    fn invalid_typed_answers_report_the_reason() {
        let question = [Message::user("Tell me about Paris.")];
        let short = ChatOptions::from(greedy().with_max_tokens(3));
        let error = DEMO.chat_as::<City>(&question, &short).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let other = ChatOptions::from(greedy().with_json_schema(serde_json::json!({"const": 1})));
        let error = DEMO.chat_as::<City>(&question, &other).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar, "{error}");
        assert_eq!(error.get("answer"), Some("1"));
    }
}
