//! The library's types can be formatted, compared and serialised.

mod demo;

use demo::{DEMO, endless, greedy};
use mullama::hub::{CreateOptions, PullOptions};
use mullama::{
    Chat, ChatOptions, ContextParams, ErrorKind, Message, Model, ModelParams, PlanOptions, plan,
};
use serde_json::json;

/// A program's type that contains the library's types.
#[derive(Debug, Clone)]
struct Assistant {
    model: Model,
    chat: Chat,
}

#[test]
fn public_types_implement_debug() {
    let load = Model::load("no-such-model", ModelParams::default(), ContextParams::default());
    assert_eq!(load.unwrap_err().kind(), ErrorKind::NotFound);
    let assistant = Assistant { model: DEMO.clone(), chat: DEMO.start_chat().with_system("Hi.") };
    let shown = format!("{assistant:?}");
    assert!(shown.contains("Mullama Demo") && shown.contains("Hi."), "{shown}");

    let question = [Message::user("What is the capital of France?")];
    let mut stream = assistant.model.stream("One,", &endless().with_max_tokens(2)).unwrap();
    assert!(format!("{stream:?}").contains("completion: None"));
    while stream.next_chunk().is_some() {}
    assert!(format!("{stream:?}").contains("completion: Some(Completion"));
    let stream = assistant.model.stream_chat(&question, &greedy().into()).unwrap();
    assert!(format!("{stream:?}").starts_with("ChatStream"));
    let mut chat = assistant.chat;
    assert!(format!("{:?}", chat.stream("Hello!").unwrap()).starts_with("ChatTurn"));

    let mut pull = PullOptions::default().with_progress(|_| ());
    pull.token = Some("secret".to_owned());
    let shown = format!("{pull:?} {:?}", CreateOptions::default());
    assert!(shown.contains("retries") && !shown.contains("secret"), "{shown}");
}

#[test]
fn options_are_serialised_as_they_were_set() {
    let options = ChatOptions::from(greedy().with_max_tokens(3)).with_reasoning(false);
    let written = serde_json::to_value(&options).unwrap();
    assert_eq!(written, json!({ "temperature": 0.0, "max_tokens": 3, "reasoning": false }));
    assert_eq!(options, options.clone());
    assert_ne!(options, ChatOptions::default());
    // The shortest digits of the 32-bit number, not those of the nearest 64-bit number.
    let warm = mullama::GenerateOptions::default().with_temperature(0.8);
    assert_eq!(serde_json::to_string(&warm).unwrap(), r#"{"temperature":0.8}"#);
    let context = ContextParams::default().with_n_ctx(256);
    assert_eq!(serde_json::to_value(&context).unwrap(), json!({ "context_size": 256 }));
}

#[test]
fn results_can_be_compared() {
    let question = [Message::user("What is the capital of France?")];
    let answer = DEMO.chat(&question, &greedy().into()).unwrap();
    let copy = answer.clone();
    assert_eq!(answer, copy);
    let read: mullama::ChatCompletion =
        serde_json::from_str(&serde_json::to_string(&answer).unwrap()).unwrap();
    assert_eq!(read.message, answer.message);
    let options = PlanOptions::default();
    let planned = plan("demo", &options).unwrap();
    assert_eq!(planned, planned.clone());
    let smaller = options.with_context(ContextParams::default().with_n_ctx(256));
    assert_ne!(planned, plan("demo", &smaller).unwrap());
}
