//! What a template supports, determined by rendering test conversations. The engine's parsers use these names.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use minijinja::value::{Enumerator, Object, ObjectRepr, Serde, Value};
use serde::Serialize;
use serde_json::json;

use super::jinja::Jinja;

/// The features of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Capabilities {
    /// Tools are rendered into the prompt.
    #[serde(rename = "supports_tools")]
    pub tools: bool,
    /// Tool calls are rendered into the prompt.
    #[serde(rename = "supports_tool_calls")]
    pub tool_calls: bool,
    #[serde(rename = "supports_parallel_tool_calls")]
    pub parallel_tool_calls: bool,
    /// The arguments of a call must be an object; otherwise they are JSON text.
    #[serde(rename = "supports_object_arguments")]
    pub object_arguments: bool,
    #[serde(rename = "supports_system_role")]
    pub system_role: bool,
    /// Content may be text.
    #[serde(rename = "supports_string_content")]
    pub string_content: bool,
    /// Content may be a list of parts.
    #[serde(rename = "supports_typed_content")]
    pub typed_content: bool,
    /// Reasoning of earlier answers can be rendered into the prompt on request.
    #[serde(rename = "supports_preserve_reasoning")]
    pub preserve_reasoning: bool,
    #[serde(rename = "supports_reasoning_effort")]
    pub reasoning_effort: bool,
    /// Tool calls of earlier answers are left out of the prompt.
    #[serde(skip)]
    pub drops_tool_calls: bool,
    /// Results of tools are left out of the prompt.
    #[serde(skip)]
    pub drops_tool_results: bool,
    /// Ids of calls other than nine letters and digits are rejected.
    #[serde(skip)]
    pub needs_short_call_ids: bool,
}

/// Words that occur in no template.
const PROBE_TEXT: &str = "mullama-said";
const PROBE_INSTRUCTIONS: &str = "mullama-instructions";
const PROBE_REASONING: &str = "mullama-thought";
const PROBE_TOOL: &str = "mullama_tool";
const PROBE_CALLS: [&str; 2] = ["mullama_called", "mullama_called_too"];
const PROBE_ARGUMENT: &str = "mullama_argument";
const PROBE_RESULT: &str = "mullama-answered";
const SHORT_ID: &str = "call0000";
const LONG_ID: &str = "call_0123456789abcde";

impl Capabilities {
    pub fn of(template: &Jinja) -> Self {
        let render = |messages: serde_json::Value, more: serde_json::Value| {
            let mut variables = json!({
                "messages": messages, "bos_token": "", "eos_token": "", "add_generation_prompt": true,
            });
            if let (Some(variables), serde_json::Value::Object(more)) =
                (variables.as_object_mut(), more)
            {
                variables.extend(more);
            }
            template.render_with(variables).unwrap_or_default()
        };
        let user = |content: serde_json::Value| json!({"role": "user", "content": content});
        let assistant = |thought: &str| json!({"role": "assistant", "content": "a", "reasoning_content": thought});

        let parts = json!([{"type": "text", "text": PROBE_TEXT}]);
        let typed_content =
            contains_bare_text(&render(json!([user(parts)]), json!({})), PROBE_TEXT);
        let said = render(json!([user(json!(PROBE_TEXT))]), json!({})).contains(PROBE_TEXT);
        let system = json!({"role": "system", "content": PROBE_INSTRUCTIONS});
        let system_role =
            render(json!([system, user(json!("a"))]), json!({})).contains(PROBE_INSTRUCTIONS);
        let kept = json!({
            "enable_thinking": true, "preserve_thinking": true, "clear_thinking": false,
            "truncate_history_thinking": false, "drop_thinking": false,
        });
        let thoughts = json!([
            user(json!("a")),
            assistant(PROBE_REASONING),
            user(json!("a")),
            assistant("b"),
            user(json!("a")),
        ]);
        let names = template.names();

        // Content is a list of parts only if the template accepts nothing else.
        let takes_text = said || !typed_content;
        let as_objects = Calls::render(template, takes_text, true, 1, SHORT_ID);
        let object_arguments = as_objects.arguments_are_read && !as_objects.prompt.is_empty();
        let one = if object_arguments {
            as_objects
        } else {
            Calls::render(template, takes_text, false, 1, SHORT_ID)
        };
        let two = Calls::render(template, takes_text, object_arguments, 2, SHORT_ID);
        let with_long_id = Calls::render(template, takes_text, object_arguments, 1, LONG_ID);
        let tool_calls = one.prompt.contains(PROBE_CALLS[0]) || one.prompt.contains(PROBE_ARGUMENT);
        // A template that rejects the test conversation drops nothing.
        let is_rendered = !one.prompt.is_empty();
        Self {
            tools: one.prompt.contains(PROBE_TOOL),
            tool_calls,
            drops_tool_calls: is_rendered && !tool_calls,
            drops_tool_results: is_rendered && !one.prompt.contains(PROBE_RESULT),
            needs_short_call_ids: is_rendered && with_long_id.prompt.is_empty(),
            parallel_tool_calls: two.prompt.contains(PROBE_CALLS[1]),
            object_arguments,
            system_role,
            string_content: takes_text,
            typed_content,
            preserve_reasoning: render(thoughts, kept).contains(PROBE_REASONING),
            reasoning_effort: names.contains("reasoning_effort")
                || names.contains("reasoning_strength"),
        }
    }
}

/// Whether the text of a part is rendered alone. Templates without support for parts print the whole part, with quotes.
fn contains_bare_text(prompt: &str, text: &str) -> bool {
    prompt.match_indices(text).any(|(at, _)| !prompt[..at].ends_with(['\'', '"']))
}

/// A rendered conversation with tool calls.
struct Calls {
    prompt: String,
    arguments_are_read: bool,
}

impl Calls {
    /// Renders a chat with a number of calls. `id` is the start of their ids.
    fn render(
        template: &Jinja,
        takes_text: bool,
        as_objects: bool,
        count: usize,
        id: &str,
    ) -> Self {
        let content = |text: &str| {
            if takes_text { json!(text) } else { json!([{"type": "text", "text": text}]) }
        };
        let message = |role: &str, text: &str| {
            Value::from(Serde(json!({"role": role, "content": content(text)})))
        };
        let arguments = Arc::new(Arguments::default());
        let call = |index: usize| {
            let arguments = if as_objects {
                Value::from_dyn_object(Arc::clone(&arguments))
            } else {
                Value::from(json!({PROBE_ARGUMENT: "a"}).to_string())
            };
            let function = [("name", Value::from(PROBE_CALLS[index])), ("arguments", arguments)];
            Value::from_pairs([
                ("id", Value::from(format!("{id}{index}"))),
                ("type", Value::from("function")),
                ("function", Value::from_pairs(function)),
            ])
        };
        let calls = Value::from_pairs([
            ("role", Value::from("assistant")),
            // Some templates do not allow text next to calls.
            ("content", Value::from("")),
            ("tool_calls", (0..count).map(call).collect()),
        ]);
        let result = |index: usize| {
            Value::from(Serde(json!({
                "role": "tool", "name": PROBE_CALLS[index], "tool_call_id": format!("{id}{index}"),
                "content": content(PROBE_RESULT),
            })))
        };
        let first = [message("user", "a"), calls].into_iter();
        let last = [message("assistant", "a"), message("user", "a")];
        let parameters = json!({
            "type": "object",
            "properties": {"a": {"type": "string", "description": "a"}},
            "required": ["a"],
        });
        let function = json!({"name": PROBE_TOOL, "description": "a", "parameters": parameters});
        let variables = Value::from_pairs([
            ("messages", first.chain((0..count).map(result)).chain(last).collect()),
            ("tools", Value::from(Serde(json!([{"type": "function", "function": function}])))),
            ("bos_token", Value::from("")),
            ("eos_token", Value::from("")),
            ("add_generation_prompt", Value::from(true)),
        ]);
        let prompt = template.render_value(variables).unwrap_or_default();
        Self { prompt, arguments_are_read: arguments.are_read.load(Ordering::Relaxed) }
    }
}

/// The arguments of a call. They record whether a template accesses them as an object; a template that only prints them
/// would treat text in the same way.
#[derive(Debug, Default)]
struct Arguments {
    are_read: AtomicBool,
}

impl Object for Arguments {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let is_there = key.as_str() == Some(PROBE_ARGUMENT);
        is_there.then(|| {
            self.are_read.store(true, Ordering::Relaxed);
            Value::from("a")
        })
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.are_read.store(true, Ordering::Relaxed);
        Enumerator::Str(&[PROBE_ARGUMENT])
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(1)
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{{'{PROBE_ARGUMENT}': 'a'}}")
    }
}
