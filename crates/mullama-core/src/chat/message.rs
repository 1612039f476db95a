//! Messages of a chat, in OpenAI's format.

use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use mullama_base::{folders, nearest, open_file};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::nul::refuse_nul;
use crate::media::encode_pixels;
use crate::options::describe;
use crate::source::ResolvedModel;
use crate::{Error, ErrorKind, Result};

/// Marks the place of a picture in the text passed to a template. A private-use character that texts rarely contain.
pub(crate) const PICTURE: char = '\u{10FFFD}';

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole chat.
    System,
    /// Instructions for the whole chat, as some models call them.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool. Its older name is `function`.
    #[serde(alias = "function")]
    Tool,
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text; absent if an assistant only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    /// The assistant's reasoning before the answer.
    #[serde(default, alias = "reasoning_content", skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Tools that the assistant calls.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// For a tool's result: the id of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// For a tool's result: the tool's name. For other messages: the author's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The content of a message.
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
    /// Text; a refusal is text too.
    #[serde(alias = "input_text", alias = "output_text", alias = "refusal")]
    Text {
        /// The text.
        #[serde(alias = "refusal")]
        text: String,
    },
    /// A picture, for models with image input.
    #[serde(alias = "input_image")]
    ImageUrl {
        /// Its data as a `data:` URL: `{"url": "data:image/png;base64,..."}`, or the URL alone. Nothing is downloaded.
        image_url: Value,
    },
    /// Sound; audio models are not supported yet.
    InputAudio {
        /// The data.
        input_audio: Value,
    },
}

impl ContentPart {
    /// A text part.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    /// A picture: the bytes of its file (PNG, JPEG, GIF, BMP, WebP).
    pub fn image(file: impl AsRef<[u8]>) -> Self {
        let data = base64::engine::general_purpose::STANDARD.encode(file);
        Self::ImageUrl { image_url: json!({ "url": format!("data:;base64,{data}") }) }
    }

    /// A picture of these pixels, row by row: bytes of one channel (grey), three (RGB) or four (RGBA).
    pub fn image_pixels(width: u32, height: u32, channels: u8, pixels: &[u8]) -> Result<Self> {
        encode_pixels(width, height, channels, pixels)
            .map(Self::image)
            .map_err(|problem| Error::new(ErrorKind::InvalidArgument, problem))
    }

    /// The picture in a file.
    pub fn image_file(path: impl AsRef<Path>) -> Result<Self> {
        let path = &*folders::expand_home(path.as_ref());
        let mut bytes = Vec::new();
        let read = open_file(path).and_then(|mut file| file.read_to_end(&mut bytes));
        read.map_err(|error| Error::unreadable(path, error))?;
        Ok(Self::image(bytes))
    }
}

/// A tool call by the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The id of the call, which its result refers to.
    #[serde(default)]
    pub id: String,
    /// Always `function`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    /// The function to call.
    pub function: FunctionCall,
}

/// The function of a tool call.
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

/// OpenAI's libraries write `null` if there are no tool calls.
fn null_as_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ToolCall>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Arguments may also be an object instead of its JSON text.
fn text_or_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        value => value.to_string(),
    })
}

impl Message {
    /// A message with this role and text.
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

    /// A message of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// A message of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// The result of the tool call with this id.
    pub fn tool(tool_call_id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { tool_call_id: Some(tool_call_id.into()), ..Self::new(Role::Tool, text) }
    }

    /// Adds a picture before the text: the bytes of a file (PNG, JPEG, GIF, BMP, WebP).
    ///
    /// ```
    /// # let file = [0; 8];
    /// let question = mullama_core::Message::user("What is this?").with_image(file);
    /// assert_eq!(question.text(), "What is this?");
    /// ```
    #[must_use]
    pub fn with_image(self, file: impl AsRef<[u8]>) -> Self {
        self.with_picture(ContentPart::image(file))
    }

    /// Adds the picture in a file before the text.
    pub fn with_image_file(self, path: impl AsRef<Path>) -> Result<Self> {
        Ok(self.with_picture(ContentPart::image_file(path)?))
    }

    /// Inserts a picture after the existing pictures and before the text.
    fn with_picture(mut self, picture: ContentPart) -> Self {
        let mut parts = match self.content.take() {
            None => Vec::new(),
            Some(Content::Text(text)) => vec![ContentPart::text(text)],
            Some(Content::Parts(parts)) => parts,
        };
        let is_text = |part: &ContentPart| matches!(part, ContentPart::Text { .. });
        let place = parts.iter().position(is_text).unwrap_or(parts.len());
        parts.insert(place, picture);
        self.content = Some(Content::Parts(parts));
        self
    }

    /// The text. The parts of a message with several are joined by line breaks.
    pub fn text(&self) -> String {
        match &self.content {
            None => String::new(),
            Some(Content::Text(text)) => text.clone(),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().filter_map(|part| match part {
                    ContentPart::Text { text } => Some(text.as_str()),
                    _ => None,
                });
                texts.collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// The text, with a [`PICTURE`] mark for each picture.
    fn text_with_marks(&self) -> String {
        let Some(Content::Parts(parts)) = &self.content else { return self.text() };
        let mut text = String::new();
        let mut is_after_text = false;
        for part in parts {
            if let ContentPart::Text { text: part } = part {
                if std::mem::replace(&mut is_after_text, true) {
                    text.push('\n');
                }
                text.push_str(part);
            } else {
                text.push(PICTURE);
                is_after_text = false;
            }
        }
        text
    }

    /// Reads messages from JSON; the error names the message.
    pub fn list_from_json(messages: Value) -> Result<Vec<Self>> {
        let Value::Array(messages) = messages else {
            return Err(FieldError::new("", "must be a list of objects").with_parent("messages"));
        };
        let read = |(index, message): (usize, Value)| {
            read_message(message)
                .map_err(|problem| problem.with_parent(&format!("messages[{index}]")))
        };
        messages.into_iter().enumerate().map(read).collect()
    }

    /// The message in the format of llama.cpp's chat templates. `index` is its position, for errors.
    pub(crate) fn to_template_json(&self, index: usize) -> Result<Value> {
        if let Some(Content::Parts(parts)) = &self.content
            && parts.iter().any(|part| matches!(part, ContentPart::InputAudio { .. }))
        {
            let message =
                format!("messages[{index}].content has sound, which is not supported yet");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let nul_in = |field: String| {
            move |place: &str, what: &str| {
                Error::new(ErrorKind::InvalidArgument, format!("{field}{place}: {what}"))
            }
        };
        for (call_index, call) in self.tool_calls.iter().enumerate() {
            let field = format!("messages[{index}].tool_calls[{call_index}].function.arguments");
            match serde_json::from_str(&call.function.arguments) {
                // Templates render the parsed value.
                Ok(arguments @ Value::Object(_)) => refuse_nul(&arguments, nul_in(field))?,
                _ => {
                    return Err(Error::new(
                        ErrorKind::InvalidArgument,
                        format!("{field}: expected a JSON object, or one as text"),
                    ));
                }
            }
        }
        let mut json = serde_json::to_value(self).map_err(|error| {
            Error::new(ErrorKind::Internal, format!("a message cannot be written as JSON: {error}"))
        })?;
        refuse_nul(&json, nul_in(format!("messages[{index}]")))?;
        if self.text().contains(PICTURE) {
            let message = format!(
                "messages[{index}].content has the character U+{:X}, which is reserved for pictures",
                u32::from(PICTURE)
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        // Some templates accept no parts, or only for some roles; all accept text.
        if self.role == Role::Tool || self.content.is_some() {
            json["content"] = self.text_with_marks().into();
        }
        if let Some(reasoning) = json.as_object_mut().and_then(|json| json.remove("reasoning")) {
            json["reasoning_content"] = reasoning;
        }
        Ok(json)
    }
}

/// A problem with a field of a message.
struct FieldError {
    /// Path of the field within the message: `.tool_calls[0].id`.
    path: String,
    what: String,
    /// The field that the user probably meant.
    meant: Option<&'static str>,
}

impl FieldError {
    fn new(path: impl Into<String>, what: impl Into<String>) -> Self {
        Self { path: path.into(), what: what.into(), meant: None }
    }

    fn unknown_field(name: &str) -> Self {
        let meant = nearest(name, FIELDS.iter().copied());
        Self { meant, ..Self::new(format!(".{name}"), "there is no such field") }
    }

    fn with_parent(self, parent: &str) -> Error {
        let message = format!("{parent}{}: {}", self.path, self.what);
        let error = Error::new(ErrorKind::InvalidArgument, message);
        match self.meant {
            Some(name) => error.with_hint(format!("did you mean `{name}`?")),
            None => error.with_hint(
                "messages have OpenAI's shape: [{\"role\": \"user\", \"content\": \"...\"}]",
            ),
        }
    }
}

/// The fields of a message.
const FIELDS: &[&str] = &["role", "content", "reasoning", "tool_calls", "tool_call_id", "name"];

/// Alternative names of fields, and the fields that they fill if those are absent or null.
const FIELD_ALIASES: &[(&str, &str)] = &[
    ("reasoning_content", "reasoning"),
    ("thinking", "reasoning"),
    ("refusal", "content"),
    ("tool_name", "name"),
];

/// Fields that servers and clients add to messages and that have no meaning for a model.
const IGNORED_FIELDS: &[&str] = &[
    "additional_kwargs",
    "annotations",
    "cache_control",
    "citations",
    "created",
    "created_at",
    "example",
    "id",
    "index",
    "invalid_tool_calls",
    "logprobs",
    "metadata",
    "model",
    "object",
    "parsed",
    "phase",
    "prefix",
    "provider_specific_fields",
    "reasoning_details",
    "reasoning_signature",
    "response_metadata",
    "status",
    "stop_reason",
    "thinking_blocks",
    "timestamp",
    "token_ids",
    "type",
    "usage",
    "usage_metadata",
    "weight",
];

/// Fields that they add to tool calls.
const IGNORED_CALL_FIELDS: &[&str] = &[
    "cache_control",
    "extra_content",
    "index",
    "parsed_arguments",
    "provider_specific_fields",
    "status",
    "thought_signature",
];

/// Parses a message field by field, so that the error names the faulty field.
fn read_message(message: Value) -> Result<Message, FieldError> {
    let Value::Object(mut fields) = message else {
        return Err(FieldError::new("", format!("expected an object, not {}", kind_of(&message))));
    };
    let role = fields.get("role").ok_or_else(|| FieldError::new(".role", "is missing"))?;
    let role: Role = read_field(".role", role)?;
    normalize_message(&mut fields)?;
    for (name, value) in &fields {
        match name.as_str() {
            "role" => {}
            "content" => check_content(value)?,
            "tool_calls" => check_tool_calls(value)?,
            "reasoning" | "tool_call_id" | "name" => {
                read_field::<Option<String>>(&format!(".{name}"), value)?;
            }
            _ => return Err(FieldError::unknown_field(name)),
        }
    }
    if fields["content"].is_null() && !matches!(role, Role::Assistant | Role::Tool) {
        return Err(FieldError::new(".content", "is missing"));
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| FieldError::new("", describe(&error)))
}

/// Converts other common forms of a message to that of [`Message`]: adds `content` if absent (possibly null) and
/// removes fields without meaning.
fn normalize_message(fields: &mut Map<String, Value>) -> Result<(), FieldError> {
    for (other, name) in FIELD_ALIASES {
        let Some(value) = fields.remove(*other) else { continue };
        read_field::<Option<String>>(&format!(".{other}"), &value)?;
        fill(fields, name, value);
    }
    // The text of a spoken answer is its transcript.
    if let Some(Value::Object(mut audio)) = fields.remove("audio") {
        fill(fields, "content", audio.remove("transcript").unwrap_or_default());
    }
    fill(fields, "content", Value::Null);
    // The older format of a single call.
    if let Some(call) = fields.remove("function_call")
        && !call.is_null()
    {
        read_field::<FunctionCall>(".function_call", &call)?;
        if fields.get("tool_calls").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            fields.insert("tool_calls".to_owned(), json!([{ "function": call }]));
        }
    }
    normalize_images(fields)?;
    fields.retain(|name, _| !IGNORED_FIELDS.contains(&name.as_str()));
    if let Some(Value::Array(calls)) = fields.get_mut("tool_calls") {
        for call in calls.iter_mut().filter_map(Value::as_object_mut) {
            call.retain(|name, value| !is_ignored_call_field(name, value));
            if let Some(Value::Object(function)) = call.get_mut("function") {
                function.retain(|name, value| !is_ignored_call_field(name, value));
                normalize_arguments(function);
            }
        }
    }
    if let Some(Value::Array(parts)) = fields.get_mut("content") {
        for part in parts.iter_mut().filter(|part| part.is_string()) {
            *part = json!({"type": "text", "text": part.take()});
        }
    }
    Ok(())
}

/// Ollama's format of pictures: the base64 of their files, before the text.
fn normalize_images(fields: &mut Map<String, Value>) -> Result<(), FieldError> {
    let Some(images) = fields.remove("images") else { return Ok(()) };
    let images: Vec<String> = read_field::<Option<_>>(".images", &images)?.unwrap_or_default();
    if images.is_empty() {
        return Ok(());
    }
    let address = |image: String| {
        if image.starts_with("data:") { image } else { format!("data:;base64,{image}") }
    };
    let part = |image| json!({ "type": "image_url", "image_url": { "url": address(image) } });
    let mut parts: Vec<Value> = images.into_iter().map(part).collect();
    match fields.remove("content") {
        Some(Value::Array(content)) => parts.extend(content),
        Some(Value::Null) | None => {}
        Some(content) => parts.push(content),
    }
    fields.insert("content".to_owned(), parts.into());
    Ok(())
}

/// Some clients send no arguments for a tool without parameters.
fn normalize_arguments(function: &mut Map<String, Value>) {
    if let Some(arguments) = function.get_mut("arguments")
        && (arguments.is_null() || arguments.as_str().is_some_and(|text| text.trim().is_empty()))
    {
        *arguments = "{}".into();
    }
}

/// Sets a field that is absent or null.
fn fill(fields: &mut Map<String, Value>, name: &str, value: Value) {
    if fields.get(name).is_none_or(Value::is_null) {
        fields.insert(name.to_owned(), value);
    }
}

fn is_ignored_call_field(name: &str, value: &Value) -> bool {
    IGNORED_CALL_FIELDS.contains(&name) || value.is_null() && matches!(name, "id" | "type")
}

fn check_content(content: &Value) -> Result<(), FieldError> {
    match content {
        Value::Null | Value::String(_) => Ok(()),
        Value::Array(parts) => parts.iter().enumerate().try_for_each(|(index, part)| {
            let path = format!(".content[{index}]");
            read_field::<ContentPart>(&path, part).map(drop)
        }),
        other => {
            let what = format!("expected text or a list of parts, not {}", kind_of(other));
            Err(FieldError::new(".content", what))
        }
    }
}

fn check_tool_calls(calls: &Value) -> Result<(), FieldError> {
    let calls = match calls {
        Value::Null => return Ok(()),
        Value::Array(calls) => calls,
        other => {
            let what = format!("expected a list, not {}", kind_of(other));
            return Err(FieldError::new(".tool_calls", what));
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

fn read_field<T: serde::de::DeserializeOwned>(path: &str, value: &Value) -> Result<T, FieldError> {
    T::deserialize(value.clone()).map_err(|error| FieldError::new(path, describe(&error)))
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
    /// The messages stored with the model, which precede those of a chat.
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

    #[allow(clippy::needless_pass_by_value, reason = "what `json!` gives")]
    fn read(message: Value) -> Message {
        Message::list_from_json(json!([message])).unwrap().remove(0)
    }

    #[test]
    fn assistant_messages_of_api_clients_are_accepted() {
        let mut said = Message::assistant("Hi");
        for (name, value) in [
            ("refusal", Value::Null),
            ("annotations", json!([])),
            ("audio", Value::Null),
            ("audio", json!({"id": "a", "transcript": "other"})),
            ("function_call", Value::Null),
            ("tool_calls", json!([])),
            ("name", Value::Null),
            ("images", json!([])),
            ("reasoning", Value::Null),
            ("id", json!("msg_1")),
            ("index", json!(0)),
            ("type", json!("message")),
            ("status", json!("completed")),
            ("cache_control", json!({"type": "ephemeral"})),
            ("provider_specific_fields", json!({"a": [1]})),
            ("additional_kwargs", json!({})),
            ("response_metadata", json!({})),
            ("reasoning_details", json!([{}])),
            ("parsed", Value::Null),
        ] {
            let mut message = json!({"role": "assistant", "content": "Hi"});
            message[name] = value;
            assert_eq!(read(message), said, "{name}");
        }
        said.reasoning = Some("Hm".to_owned());
        for names in [&["reasoning"][..], &["thinking"], &["reasoning_content", "reasoning"]] {
            let mut message = json!({"role": "assistant", "content": "Hi"});
            for name in names {
                message[*name] = "Hm".into();
            }
            assert_eq!(read(message), said, "{names:?}");
        }
        let spoken = json!({"id": "a", "data": "", "expires_at": 1, "transcript": "Hi"});
        let spoken = read(json!({"role": "assistant", "content": null, "audio": spoken}));
        assert_eq!(spoken, Message::assistant("Hi"));
        let declined = read(json!({"role": "assistant", "content": null, "refusal": "No."}));
        assert_eq!(declined, Message::assistant("No."));
    }

    #[test]
    fn tool_calls_are_read_with_text_or_object_arguments() {
        let function = json!({"name": "f", "arguments": "{\"a\":1}"});
        let call = json!({"id": "c", "type": "function", "function": function});
        let called = |calls: Value| {
            let message = read(json!({"role": "assistant", "content": null, "tool_calls": calls}));
            assert!(message.to_template_json(0).is_ok());
            message.tool_calls[0].clone()
        };
        let read_call = called(json!([call]));
        let mut streamed = call.clone();
        streamed["index"] = 0.into();
        streamed["provider_specific_fields"] = Value::Null;
        streamed["function"]["parsed_arguments"] = json!({"a": 1});
        assert_eq!(called(json!([streamed])), read_call);
        for nothing in [json!(""), Value::Null, json!({})] {
            let call =
                json!({"id": null, "type": null, "function": {"name": "f", "arguments": nothing}});
            assert_eq!(called(json!([call])).function.arguments, "{}");
        }

        let older = json!({"role": "assistant", "content": null, "function_call": function});
        assert_eq!(read(older).tool_calls[0].function, read_call.function);
        let result = read(json!({"role": "function", "name": "f", "content": "1"}));
        assert_eq!((result.role, result.name.as_deref()), (Role::Tool, Some("f")));
        let nothing = read(json!({"role": "tool", "tool_call_id": "c", "content": null}));
        assert_eq!(nothing.to_template_json(0).unwrap()["content"], "");
    }

    #[test]
    fn text_parts_are_joined_for_templates() {
        let parts = json!([
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "input_text", "text": "b"},
            {"type": "output_text", "text": "c", "annotations": []},
            {"type": "refusal", "refusal": "d"},
            "e",
        ]);
        for role in ["system", "developer", "user", "assistant", "tool"] {
            let message = read(json!({"role": role, "content": parts}));
            let json = message.to_template_json(0).unwrap();
            assert_eq!(json["content"], "a\nb\nc\nd\ne", "{role}");
        }
    }

    #[test]
    fn pictures_are_marked_where_they_are() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:;base64,AA=="}});
        let mark = PICTURE.to_string();
        for (content, text) in [
            (json!(["a", image, "b", "c", image]), format!("a{mark}b\nc{mark}")),
            (json!([image, image, "b"]), format!("{mark}{mark}b")),
        ] {
            let message = read(json!({"role": "user", "content": content}));
            assert_eq!(message.to_template_json(0).unwrap()["content"], text);
        }
        let ollama = read(json!({"role": "user", "content": "b", "images": ["AA=="]}));
        assert_eq!(ollama, Message::user("b").with_image([0]));
        assert_eq!(ollama.to_template_json(0).unwrap()["content"], format!("{mark}b"));
        let error = Message::user(mark).to_template_json(0).unwrap_err();
        assert!(error.to_string().contains("U+10FFFD"), "{error}");
    }

    #[test]
    fn misspelt_fields_get_suggestions() {
        for (wrong, meant) in [
            ("contnet", Some("content")),
            ("tool_call", Some("tool_calls")),
            ("toolCalls", Some("tool_calls")),
            ("reasonning", Some("reasoning")),
            ("abacus", None),
        ] {
            let mut message = json!({"role": "user", "content": "x"});
            message[wrong] = "x".into();
            let error = Message::list_from_json(json!([message])).unwrap_err();
            let said = format!("messages[0].{wrong}: there is no such field");
            assert_eq!(error.to_string(), said);
            let hint = error.hint().unwrap();
            match meant {
                Some(meant) => assert_eq!(hint, format!("did you mean `{meant}`?")),
                None => assert!(hint.contains("OpenAI"), "{hint}"),
            }
        }
    }

    #[test]
    fn nul_bytes_are_rejected_with_their_place() {
        for (message, place) in [
            (json!({"role": "user", "content": "a\0b"}), ".content"),
            (json!({"role": "user", "content": ["a", "\0"]}), ".content[1].text"),
            (json!({"role": "user", "content": "a", "name": "\0"}), ".name"),
            (
                json!({"role": "assistant", "function_call": {"name": "\0", "arguments": "{}"}}),
                ".tool_calls[0].function.name",
            ),
            (
                json!({"role": "assistant", "function_call": {"name": "f", "arguments": {"a": ["\0"]}}}),
                ".tool_calls[0].function.arguments.a[0]",
            ),
        ] {
            let error = read(message).to_template_json(2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert_eq!(error.to_string(), format!("messages[2]{place}: contains a NUL byte"));
        }
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
            (json!([{"role": "king", "content": "x"}]), "messages[0].role: expected one of"),
            (json!([{"role": "user", "content": 3}]), "messages[0].content: expected text"),
            (json!([{"role": "user"}]), "messages[0].content: is missing"),
            (json!([{"role": "user", "text": "x"}]), "messages[0].text: there is no such field"),
            (json!([{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0]"),
            (json!([{"role": "user", "content": "x", "name": 3}]), "messages[0].name"),
            (
                json!([{"role": "assistant", "tool_calls": {}}]),
                "messages[0].tool_calls: expected a list",
            ),
            (
                call(json!({"arguments": "{}"})),
                "messages[0].tool_calls[0].function: `name` is missing",
            ),
            (call(json!("f")), "messages[0].tool_calls[0].function"),
        ] {
            let message = refused(messages);
            assert!(message.contains(said), "{message}");
        }
    }

    #[test]
    fn unsupported_content_is_rejected_with_its_place() {
        let sound = json!({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}});
        let sound = json!([{"role": "user", "content": [sound]}]);
        let error = Message::list_from_json(sound).unwrap()[0].to_template_json(4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("messages[4].content"), "{error}");

        let function = json!({"name": "f", "arguments": "{"});
        let cut = json!([{"role": "assistant", "tool_calls": [{"function": function}]}]);
        let error = Message::list_from_json(cut).unwrap()[0].to_template_json(0).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("tool_calls[0].function.arguments"), "{error}");
    }
}
