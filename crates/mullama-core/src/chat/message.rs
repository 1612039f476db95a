//! Messages of a chat, in OpenAI's shape.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::ResolvedModel;
use crate::{Error, ErrorKind, Result};

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole chat.
    System,
    /// Instructions for the whole chat, as some models call them.
    Developer,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// The result of a tool.
    Tool,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said; absent where an assistant only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    /// What the assistant thought before it answered.
    #[serde(default, alias = "reasoning_content", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Tools that the assistant calls.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Of a tool's result: the id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Of a tool's result: the tool's name. Of others: the speaker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "content must be a string or a list of parts")]
pub enum Content {
    /// Text.
    Text(String),
    /// Several parts.
    Parts(Vec<ContentPart>),
}

/// A part of a message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ContentPart {
    /// Text.
    Text {
        /// The text.
        text: String,
    },
    /// An image; models that see are not supported yet.
    ImageUrl {
        /// Where it is.
        image_url: Value,
    },
    /// Sound; models that hear are not supported yet.
    InputAudio {
        /// The data.
        input_audio: Value,
    },
}

/// A call of a tool by the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// Names the call, for the result to refer to.
    #[serde(default)]
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// What is called.
    pub function: FunctionCall,
}

/// What a tool call calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionCall {
    /// The tool's name.
    pub name: String,
    /// Its arguments, a JSON object as text.
    #[serde(deserialize_with = "text_or_json")]
    pub arguments: String,
}

fn function() -> String {
    "function".to_owned()
}

/// OpenAI's libraries write `null` where there are no tool calls.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ToolCall>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Arguments may be given as the object that they are, too.
fn text_or_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        value => value.to_string(),
    })
}

impl Message {
    /// A message of this role that says `text`.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self {
            role,
            content: Some(Content::Text(text.into())),
            reasoning: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
        }
    }

    /// Instructions for the whole chat.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// What the person says.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// What the model said.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// The result of the tool call with this id.
    pub fn tool(tool_call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::new(Role::Tool, text) }
    }

    /// The text, the parts of a message in several put together.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| match part {
                    ContentPart::Text { text } => Some(text.as_str()),
                    _ => None,
                });
                texts.collect()
            }
        }
    }

    /// Reads messages from JSON; the error names the message.
    pub fn list_from_json(messages: Value) -> Result<Vec<Self>> {
        let invalid = |message: String| {
            Error::new(ErrorKind::InvalidArgument, message).with_hint(
                "messages have OpenAI's shape: [{\"role\": \"user\", \"content\": \"...\"}]",
            )
        };
        let Value::Array(messages) = messages else {
            return Err(invalid("messages must be a list of objects".to_owned()));
        };
        let read = |(index, message): (usize, Value)| {
            read_message(message)
                .map_err(|problem| invalid(problem.below(&format!("messages[{index}]"))))
        };
        messages.into_iter().enumerate().map(read).collect()
    }

    /// The message as the chat templates of llama.cpp take it; `index` is its place.
    pub(crate) fn to_template_json(&self, index: usize) -> Result<Value> {
        if let Some(Content::Parts(parts)) = &self.content
            && parts.iter().any(|part| !matches!(part, ContentPart::Text { .. }))
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "messages[{index}].content has an image or sound, and this model takes text only"
                ),
            ));
        }
        for (call_index, call) in self.tool_calls.iter().enumerate() {
            if !matches!(serde_json::from_str(&call.function.arguments), Ok(Value::Object(_))) {
                let field =
                    format!("messages[{index}].tool_calls[{call_index}].function.arguments");
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("{field}: expected a JSON object, or one as text"),
                ));
            }
        }
        let mut json = serde_json::to_value(self).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("a message cannot be written as JSON: {error}"))
        })?;
        if let Some(reasoning) = json.as_object_mut().and_then(|json| json.remove("reasoning")) {
            json["reasoning_content"] = reasoning;
        }
        Ok(json)
    }
}

/// What is wrong with a field of a message.
struct Problem {
    /// Where, from the message on: `.tool_calls[0].id`.
    path: String,
    what: String,
}

impl Problem {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into() }
    }

    fn below(self, parent: &str) -> String {
        format!("{parent}{}: {}", self.path, self.what)
    }
}

/// Reads a message field by field, so that the error names the one that is wrong.
fn read_message(message: Value) -> Result<Message, Problem> {
    let Value::Object(fields) = message else {
        return Err(Problem::new("", format!("expected an object, not {}", kind_of(&message))));
    };
    let role = fields.get("role").ok_or_else(|| Problem::new(".role", "is missing"))?;
    let role: Role = read_field(".role", role)?;
    for (name, value) in &fields {
        let path = format!(".{name}");
        match name.as_str() {
            "role" => {}
            "content" => check_content(value)?,
            "tool_calls" => check_tool_calls(value)?,
            "reasoning" | "reasoning_content" | "tool_call_id" | "name" => {
                read_field::<Option<String>>(&path, value)?;
            }
            _ => return Err(Problem::new(path, "there is no such field")),
        }
    }
    let says_nothing = fields.get("content").is_none_or(Value::is_null);
    if says_nothing && role != Role::Assistant {
        return Err(Problem::new(".content", "is missing"));
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| Problem::new("", error.to_string()))
}

fn check_content(content: &Value) -> Result<(), Problem> {
    match content {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
            let path = format!(".content[{index}]");
            read_field::<ContentPart>(&path, part).map(drop)
        }),
        other => {
            let what = format!("expected text or a list of parts, not {}", kind_of(other));
            Err(Problem::new(".content", what))
        }
    }
}

fn check_tool_calls(calls: &Value) -> Result<(), Problem> {
    let calls = match calls {
        Value::Null => return Ok(()),
        Value::Array(calls) => calls,
        other => {
            let what = format!("expected a list, not {}", kind_of(other));
            return Err(Problem::new(".tool_calls", what));
        }
    };
    for (index, call) in calls.iter().enumerate() {
        let path = format!(".tool_calls[{index}]");
        if let Some(id) = call.get("id") {
            read_field::<String>(&format!("{path}.id"), id)?;
        }
        if let Some(function) = call.get("function") {
            read_field::<FunctionCall>(&format!("{path}.function"), function)?;
        }
        read_field::<ToolCall>(&path, call)?;
    }
    Ok(())
}

fn read_field<T: serde::de::DeserializeOwned>(path: &str, value: &Value) -> Result<T, Problem> {
    T::deserialize(value.clone()).map_err(|error| Problem::new(path, error.to_string()))
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl ResolvedModel {
    /// The messages that come before a chat's first.
    pub fn messages(&self) -> Result<Vec<Message>> {
        let messages = self.stored.iter().flat_map(|model| &model.messages);
        let json = |message: &mullama_hub::Message| serde_json::json!({ "role": message.role, "content": message.content });
        Message::list_from_json(messages.map(json).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn openai_messages_are_read() {
        let messages = Message::list_from_json(json!([
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "a", "content": "1"},
            {"role": "assistant", "content": "1", "tool_calls": null},
        ]))
        .unwrap();
        assert_eq!(messages[1].text(), "Hi");
        assert_eq!(messages[2].tool_calls[0].function.name, "f");
        assert_eq!(messages[3], Message::tool("a", "1"));
    }

    #[test]
    fn wrong_shapes_name_the_message() {
        let refused = |json: Value| {
            let error = Message::list_from_json(json).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            error.to_string()
        };
        assert!(refused(json!("hi")).contains("list"));
        let call = |function: Value| json!([{"role": "assistant", "tool_calls": [{"id": "a", "function": function}]}]);
        for (messages, said) in [
            (json!([{"role": "user", "content": "x"}, 3]), "messages[1]: expected an object"),
            (json!([{"content": "x"}]), "messages[0].role: is missing"),
            (json!([{"role": "king", "content": "x"}]), "messages[0].role: unknown variant `king`"),
            (json!([{"role": "user", "content": 3}]), "messages[0].content: expected text"),
            (json!([{"role": "user"}]), "messages[0].content: is missing"),
            (json!([{"role": "user", "text": "x"}]), "messages[0].text: there is no such field"),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0]"),
            (json!([{"role": "user", "content": "x", "name": 3}]), "messages[0].name"),
            (
                json!([{"role": "assistant", "tool_calls": {}}]),
                "messages[0].tool_calls: expected a list",
            ),
            (call(json!({"arguments": "{}"})), "messages[0].tool_calls[0].function: missing"),
            (call(json!("f")), "messages[0].tool_calls[0].function"),
        ] {
            let message = refused(messages);
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn what_no_template_takes_is_refused_by_place() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:,"}});
        let image = json!([{"role": "user", "content": [image]}]);
        let error = Message::list_from_json(image).unwrap()[0].to_template_json(4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("messages[4].content"), "{error}");

        let function = json!({"name": "f", "arguments": "{"});
        let cut = json!([{"role": "assistant", "tool_calls": [{"function": function}]}]);
        let error = Message::list_from_json(cut).unwrap()[0].to_template_json(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("tool_calls[0].function.arguments"), "{error}");
    }
}
