//! Errors on their way to JavaScript.

use std::sync::OnceLock;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, Error, ErrorKind, ModelParams, Naming,
    OptionSet as _, RerankOptions,
};
use serde_json::{Map, Value, json};

/// What the message of an error begins with where the rest is the error as JSON, for `lib/errors.js`
/// to make a `MullamaError` of. There, because an error that is made in the function that failed has
/// the stack of its callers.
const MARK: &str = "mullama:";

/// An error of the arguments, which names options as the caller wrote them.
pub(crate) fn of_arguments(error: &Error) -> napi::Error {
    let context = error.context().map(|(key, value)| (key, value.to_owned()));
    marked(error, &error.to_string(), error.hint().map(str::to_owned), context)
}

/// An error of the core, which names options as Rust does.
pub(crate) fn of_core(error: Error) -> napi::Error {
    let context = error.context().map(|(key, value)| {
        (key, if key == "option" { Naming::Camel.style(value) } else { value.to_owned() })
    });
    marked(
        &error,
        &with_camel_names(&error.to_string()),
        error.hint().map(with_camel_names),
        context,
    )
}

/// A task that panicked.
pub(crate) fn of_task(error: napi::tokio::task::JoinError) -> napi::Error {
    of_core(Error::new(ErrorKind::Internal, format!("a task failed: {error}")))
}

fn marked(
    error: &Error,
    message: &str,
    hint: Option<String>,
    context: impl Iterator<Item = (&'static str, String)>,
) -> napi::Error {
    let context: Map<String, Value> =
        context.map(|(key, value)| (Naming::Camel.style(key), value.into())).collect();
    let facts = json!({
        "kind": error.kind().name(),
        "code": error.kind().code(),
        "message": message,
        "hint": hint,
        "context": context,
    });
    napi::Error::from_reason(format!("{MARK}{facts}"))
}

/// The text with the names of options, which messages have in backticks, in camel case.
fn with_camel_names(text: &str) -> String {
    static NAMES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let (model, context) = (ModelParams::default(), ContextParams::default());
        let mut chat = ChatOptions::default();
        let chat = chat.option_sets().map(|set| set.specs());
        let (embed, rerank) = (EmbedOptions::default(), RerankOptions::default());
        let specs = [model.specs(), context.specs(), embed.specs(), rerank.specs()]
            .into_iter()
            .chain(chat)
            .flatten();
        let quoted = |name: &str| format!("`{name}`");
        specs
            .filter(|spec| spec.name.contains('_'))
            .map(|spec| (quoted(spec.name), quoted(&Naming::Camel.style(spec.name))))
            .collect()
    });
    names.iter().fold(text.to_owned(), |text, (snake, camel)| text.replace(snake, camel))
}
