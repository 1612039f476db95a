//! What happens when the context is full.

use std::sync::{Arc, Mutex};

use mullama::{
    ChatOptions, ContextParams, ErrorKind, FinishReason, GenerateOptions, Message, Model,
    ModelParams, Overflow, Role, StopKind, Token, Tool,
};
use mullama_testkit::fixture;
use serde_json::json;

mod demo;
use demo::{endless, greedy};

fn load(n_ctx: u32) -> Model {
    demo::load(ContextParams::default().with_n_ctx(n_ctx))
}

/// A conversation of `turns` turns, of about forty tokens each, and a question.
fn conversation(turns: usize) -> Vec<Message> {
    let mut messages = vec![Message::system("You are a helpful assistant.")];
    for turn in 0..turns {
        messages
            .push(Message::user(format!("This is number {turn}. What is the capital of Italy?")));
        messages.push(Message::assistant("The capital of Italy is Rome."));
    }
    messages.push(Message::user("What is the capital of France?"));
    messages
}

fn with_overflow(overflow: Overflow) -> ChatOptions {
    ChatOptions::from(greedy().with_max_tokens(20).with_overflow(overflow))
}

fn truncating() -> ChatOptions {
    with_overflow(Overflow::Truncate)
}

fn shifting() -> GenerateOptions {
    endless().with_overflow(Overflow::Shift)
}

#[test]
fn a_conversation_that_is_too_long_is_refused_or_truncated() {
    let model = load(256);
    let messages = conversation(20);
    let refused = model.chat(&messages, &ChatOptions::default()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ContextOverflow);
    assert!(refused.hint().unwrap().contains("`truncate`"), "{refused:?}");
    let answer = model.chat(&messages, &truncating()).unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    let dropped = answer.usage.dropped_messages as usize;
    assert!(dropped > 0 && dropped.is_multiple_of(2), "{:?}", answer.usage);
    assert!(answer.usage.prompt_tokens <= 256 - 20);
    // The prompt consists of the messages that are left, and of nothing else.
    let prompt = model.apply_chat_template(&messages, &truncating(), true).unwrap();
    let left: Vec<_> = messages[..1].iter().chain(&messages[1 + dropped..]).cloned().collect();
    let plain = ChatOptions::default();
    assert_eq!(prompt, model.apply_chat_template(&left, &plain, true).unwrap());
    let whole = model.apply_chat_template(&messages, &plain, true).unwrap();
    let whole = model.tokenize(&whole, true, true).unwrap().len() as u32;
    assert_eq!(answer.usage.dropped_tokens, whole - answer.usage.prompt_tokens);
    // A stream does the same.
    let streamed = model.stream_chat(&messages, &truncating()).unwrap().finish().unwrap();
    assert_eq!(streamed.usage.dropped_messages as usize, dropped);
    // Nothing is left out of a conversation that fits.
    let short = model.chat(&conversation(1), &truncating()).unwrap();
    assert_eq!((short.usage.dropped_messages, short.usage.dropped_tokens), (0, 0));
}

#[test]
fn truncated_prompts_begin_alike() {
    let model = load(512);
    let (mut cached, mut same) = (0, 0);
    let mut last = None;
    for turns in 16..24 {
        let usage = model.chat(&conversation(turns), &truncating()).unwrap().usage;
        if last == Some(usage.dropped_messages) {
            same += 1;
            cached += u32::from(usage.cached_tokens > usage.prompt_tokens / 2);
        }
        last = Some(usage.dropped_messages);
    }
    assert!(same >= 3, "other messages are left out each time");
    assert_eq!(cached, same, "what was computed is used");
}

#[test]
fn a_last_turn_that_is_too_long_is_refused() {
    let model = load(256);
    let mut messages = conversation(3);
    messages.push(Message::assistant("Paris."));
    messages.push(Message::user("What is the capital of Italy? ".repeat(60)));
    let error = model.chat(&messages, &truncating()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    assert!(!error.hint().unwrap().contains("truncate"), "{error:?}");
}

#[test]
fn a_conversation_continues_beyond_the_context() {
    let model = load(256);
    let system = "You are a helpful assistant.";
    let mut chat = model.start_chat().with_system(system).with_options(truncating());
    let mut dropped = 0;
    let countries = ["France", "Italy", "Japan", "Peru", "Kenya", "Spain", "Norway", "Egypt"];
    for country in countries.repeat(2) {
        let answer = chat.send(format!("What is the capital of {country}?")).unwrap();
        assert!(answer.text.contains(country), "{answer}");
        dropped = answer.usage.dropped_messages;
    }
    assert!(dropped > 0);
    assert_eq!(chat.messages().len(), 1 + 2 * 16);
}

#[test]
fn values_of_other_calls_are_refused() {
    let model = load(256);
    for overflow in [Overflow::Truncate, Overflow::Compact] {
        let error = model.generate("x", &greedy().with_overflow(overflow)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    }
    for overflow in [Overflow::Shift, Overflow::Compact] {
        let error = model.chat(&conversation(1), &with_overflow(overflow)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("`overflow`"), "{error}");
    }
    let mut chat = model.start_chat().with_options(with_overflow(Overflow::Shift));
    assert_eq!(chat.send("x").unwrap_err().kind(), ErrorKind::InvalidArgument);
    let infill = shifting().with_infill_suffix("y");
    assert_eq!(model.generate("x", &infill).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// The tokens that are left of those of a full context.
fn shifted(model: &Model, tokens: &[Token], n_ctx: usize) -> Vec<Token> {
    let is_control = model.detokenize(&tokens[..1], true).unwrap().is_empty();
    let start = usize::from(is_control);
    [&tokens[..start], &tokens[tokens.len() - (n_ctx / 2 - start)..]].concat()
}

#[test]
fn a_generation_continues_with_half_of_the_context() {
    let n_ctx = 256;
    let model = load(n_ctx as u32);
    let prompt = model.tokenize("Once upon a time", true, true).unwrap();
    let stopped = model.generate(prompt.clone(), &endless()).unwrap();
    assert_eq!(stopped.stop_reason.kind, StopKind::ContextSize);
    assert_eq!(stopped.usage.dropped_tokens, 0);

    let long = model.generate(prompt.clone(), &shifting().with_max_tokens(700)).unwrap();
    assert_eq!((long.tokens.len(), long.finish_reason), (700, FinishReason::Length));
    assert_eq!(long.usage.prompt_tokens as usize, prompt.len());
    // It is the same until the context is full, and continues like a prompt of the tokens that are left.
    let until = stopped.tokens.len();
    assert_eq!(long.tokens[..until], stopped.tokens[..]);
    let full = [prompt.as_slice(), &stopped.tokens].concat();
    assert_eq!(full.len(), n_ctx + 1);
    let left = shifted(&model, &full, n_ctx);
    assert_eq!(left.len(), n_ctx / 2);
    let next = model.generate(left, &endless().with_max_tokens(100)).unwrap();
    assert_eq!(long.tokens[until..until + 100], next.tokens[..]);
    let each = n_ctx as u32 + 1 - n_ctx as u32 / 2;
    assert_eq!(long.usage.dropped_tokens % each, 0);
    assert!(long.usage.dropped_tokens >= 3 * each, "{:?}", long.usage);

    // A stream delivers every token once, and guesses change nothing.
    let stream = model.stream("Once upon a time", &shifting().with_max_tokens(700)).unwrap();
    let streamed: String = stream.map(|chunk| chunk.unwrap().text).collect();
    assert_eq!(streamed, long.text);
    let options = shifting().with_max_tokens(700).with_prompt_lookup(4);
    let guessed = model.generate(prompt, &options).unwrap();
    assert_eq!(guessed.tokens.len(), 700);
    assert!(guessed.usage.accepted_tokens > 0);
}

#[test]
fn every_kind_of_memory_can_be_shifted() {
    for shape in ["recurrent", "hybrid", "windowed"] {
        let context = ContextParams::default().with_n_ctx(256).with_n_threads(1);
        let model = Model::load(fixture(shape), ModelParams::default(), context).unwrap();
        let prompt = model.tokenize("Once upon a time", true, true).unwrap();
        let stopped = model.generate(prompt.clone(), &endless()).unwrap();
        let long = model.generate(prompt.clone(), &shifting().with_max_tokens(500)).unwrap();
        let until = stopped.tokens.len();
        assert_eq!((long.tokens.len(), &long.tokens[..until]), (500, &stopped.tokens[..]));
        let left = shifted(&model, &[prompt.as_slice(), &stopped.tokens].concat(), 256);
        let next = model.generate(left, &endless().with_max_tokens(60)).unwrap();
        assert_eq!(long.tokens[until..until + 60], next.tokens[..], "{shape}");
    }
}

#[test]
fn a_prompt_that_is_too_long_is_shifted() {
    let model = load(256);
    let prompt = model.tokenize(&"one two three ".repeat(200), true, true).unwrap();
    let left = shifted(&model, &prompt, 256);
    let answer = model.generate(prompt.clone(), &shifting().with_max_tokens(10)).unwrap();
    assert_eq!(answer.usage.prompt_tokens, 128);
    assert_eq!(answer.usage.dropped_tokens as usize, prompt.len() - 128);
    assert_eq!(answer.tokens, model.generate(left, &endless().with_max_tokens(10)).unwrap().tokens);
    let refused = model.generate(prompt, &endless()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ContextOverflow);
}

#[test]
fn constraints_and_banned_phrases_hold_beyond_the_context() {
    let model = load(256);
    // Penalties and the grammar know what was dropped.
    let list =
        json!({"type": "array", "minItems": 150, "maxItems": 150, "items": {"enum": [1, 22, 333]}});
    for seed in 0..3 {
        let options = GenerateOptions::default().with_seed(seed).with_overflow(Overflow::Shift);
        let options =
            options.with_json_schema(list.clone()).with_banned_phrases(["333".to_owned()]);
        let answer = model.generate("A list: ", &options).unwrap();
        assert_eq!(answer.finish_reason, FinishReason::Stop);
        assert!(answer.usage.dropped_tokens > 0, "{:?}", answer.usage);
        let items: Vec<u32> = serde_json::from_str(&answer.text).unwrap();
        assert_eq!(items.len(), 150);
        assert!(!items.contains(&333), "{answer}");
    }
}

#[test]
fn several_generations_shift_at_once() {
    let context = ContextParams::default().with_n_ctx(256).with_n_parallel(3);
    let model = demo::load(context);
    let prompts = ["Once upon a time", "The capital of", "One two three"];
    let options = shifting().with_max_tokens(400);
    let streams: Vec<_> =
        prompts.iter().map(|&prompt| model.stream(prompt, &options).unwrap()).collect();
    for stream in streams {
        let answer = stream.finish().unwrap();
        assert_eq!(answer.tokens.len(), 400);
        assert!(answer.usage.dropped_tokens > 0);
    }
    // Nothing of what was computed is wrong afterwards.
    let plain = load(256);
    for prompt in prompts {
        let options = endless().with_max_tokens(60);
        let (after, fresh) = (model.generate(prompt, &options), plain.generate(prompt, &options));
        assert_eq!(after.unwrap().text, fresh.unwrap().text);
    }
}

#[test]
fn a_summary_replaces_the_oldest_turns() {
    let model = load(256);
    let given = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&given);
    let summarize = move |messages: &[Message]| {
        seen.lock().unwrap().push(messages.to_vec());
        Ok(format!("We spoke about {} messages.", messages.len()))
    };
    let options = with_overflow(Overflow::Compact);
    let mut chat = model.start_chat().with_options(options.clone()).with_compact(summarize);
    *chat.messages_mut() = conversation(20)[..41].to_vec();
    let answer = chat.send("What is the capital of France?").unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    let old = given.lock().unwrap().remove(0);
    assert_eq!(answer.usage.dropped_messages as usize, old.len());
    assert_eq!(old[..], conversation(20)[1..=old.len()]);
    // The system message, the summary as an answer, and the turns that are left.
    let messages = chat.messages();
    assert_eq!(messages.len(), 1 + 2 + (40 - old.len()) + 2);
    assert_eq!((messages[0].role, messages[1].role), (Role::System, Role::User));
    assert_eq!(messages[2].text(), format!("We spoke about {} messages.", old.len()));
    assert_eq!(messages[3], conversation(20)[1 + old.len()]);
    // The next turns fit.
    assert_eq!(chat.send("What is the capital of Italy?").unwrap().usage.dropped_messages, 0);
    assert!(given.lock().unwrap().is_empty());

    // The model's own summary; in a stream as well.
    for streamed in [false, true] {
        let mut chat = model.start_chat().with_options(options.clone());
        *chat.messages_mut() = conversation(20)[..41].to_vec();
        let answer = if streamed {
            let mut turn = chat.stream("What is the capital of France?").unwrap();
            turn.by_ref().for_each(|chunk| drop(chunk.unwrap()));
            turn.completion().unwrap().clone()
        } else {
            chat.send("What is the capital of France?").unwrap()
        };
        assert!(answer.usage.dropped_messages > 10, "{:?}", answer.usage);
        assert!(chat.messages().len() < 41);
        assert!(chat.messages()[1].text().starts_with("Summarize"));
    }

    // A summary that fails leaves the conversation as it is.
    let mut chat = model.start_chat().with_options(options).with_compact(|_| Err("no".into()));
    *chat.messages_mut() = conversation(20)[..41].to_vec();
    let error = chat.send("What is the capital of France?").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Callback);
    assert_eq!(chat.messages().len(), 41);
}

#[test]
fn results_of_tools_may_exceed_the_context() {
    let model = load(512);
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let weather = Tool::new(
        "get_weather",
        "Get the weather in a city",
        parameters,
        |_| json!({"temperature": 18, "condition": "sunny"}),
    );
    let mut chat = model.start_chat().with_tools([weather]);
    chat = chat.with_options(with_overflow(Overflow::Truncate).with_max_tokens(60));
    let mut dropped = 0;
    for _ in 0..8 {
        let answer = chat.send("What is the weather in Paris?").unwrap();
        dropped = answer.usage.dropped_messages as usize;
    }
    // Calls and their results stay together: whole turns are left out.
    let messages = chat.messages();
    assert!(dropped > 0 && messages[dropped].role == Role::User, "{dropped} {messages:?}");
    assert!(messages[..dropped].iter().any(|message| message.role == Role::Tool));
}
