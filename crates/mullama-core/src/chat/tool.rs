//! Tools that a model may call: definitions, requests and results.

use std::fmt::{self, Display};
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::message::ToolCall;
use super::nul::refuse_nul;
use super::schema;
use crate::sampling::Schema;
use crate::{Error, Result};

type Function = dyn Fn(Value) -> ToolOutput + Send + Sync;

/// A tool that a model may call, with the function that a [`Chat`](crate::Chat) calls for it.
///
/// ```
/// use mullama_core::Tool;
/// use serde_json::json;
///
/// let parameters = json!({
///     "type": "object",
///     "properties": {"city": {"type": "string"}},
///     "required": ["city"],
/// });
/// let tool = Tool::new("get_weather", "Get the weather in a city", parameters, |arguments| {
///     let Some(city) = arguments["city"].as_str() else { return Err("no city") };
///     Ok(json!({"temperature": city.len(), "condition": "sunny"}))
/// });
/// assert_eq!(tool.name(), "get_weather");
/// ```
#[derive(Clone)]
pub struct Tool {
    definition: Value,
    function: Option<Arc<Function>>,
}

impl Tool {
    /// Creates a tool. `parameters` is the JSON schema of the object that `function` receives. If it returns an error,
    /// the model receives the error's message.
    #[allow(clippy::needless_pass_by_value, reason = "what `json!` gives")]
    pub fn new<T: IntoToolOutput>(
        name: &str,
        description: &str,
        parameters: Value,
        function: impl Fn(Value) -> T + Send + Sync + 'static,
    ) -> Self {
        let function_definition =
            json!({"name": name, "description": description, "parameters": parameters});
        let definition = json!({"type": "function", "function": function_definition});
        let function = move |arguments| function(arguments).into_tool_output();
        Self { definition, function: Some(Arc::new(function)) }
    }

    /// A tool in OpenAI's format without a function: the chat passes its calls to the caller.
    pub fn from_definition(definition: Value) -> Self {
        Self { definition, function: None }
    }

    /// The name; empty if the definition has none.
    pub fn name(&self) -> &str {
        name_of(&self.definition)
    }

    /// The definition in OpenAI's format.
    pub fn definition(&self) -> &Value {
        &self.definition
    }

    /// Whether the tool has a function.
    pub fn is_callable(&self) -> bool {
        self.function.is_some()
    }

    /// Calls the function.
    pub fn call(&self, arguments: Value) -> ToolOutput {
        match &self.function {
            Some(function) => function(arguments),
            None => ToolOutput::error(format!("`{}` has no function to call", self.name())),
        }
    }
}

impl fmt::Debug for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tool").field("definition", &self.definition).finish_non_exhaustive()
    }
}

/// A call that the caller of a [`Turn`](crate::Turn) must make.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolRequest {
    /// The id of the call.
    pub id: String,
    /// The tool's name; one of the callable tools.
    pub name: String,
    /// The arguments, which follow the tool's schema.
    pub arguments: Map<String, Value>,
}

/// The result of a tool, as text for the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ToolOutput(pub(crate) String);

impl ToolOutput {
    /// A result: text unchanged, anything else as JSON.
    pub fn value(value: &Value) -> Self {
        Self(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    }

    /// An error message.
    pub fn error(problem: impl Display) -> Self {
        Self(format!("error: {problem}"))
    }

    /// The text that the model reads.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// A value that a tool's function may return.
pub trait IntoToolOutput {
    /// Converts it to text for the model.
    fn into_tool_output(self) -> ToolOutput;
}

impl IntoToolOutput for ToolOutput {
    fn into_tool_output(self) -> ToolOutput {
        self
    }
}

impl IntoToolOutput for Value {
    fn into_tool_output(self) -> ToolOutput {
        ToolOutput::value(&self)
    }
}

impl IntoToolOutput for String {
    fn into_tool_output(self) -> ToolOutput {
        ToolOutput(self)
    }
}

impl IntoToolOutput for &str {
    fn into_tool_output(self) -> ToolOutput {
        ToolOutput(self.to_owned())
    }
}

impl<T: IntoToolOutput, E: Display> IntoToolOutput for Result<T, E> {
    fn into_tool_output(self) -> ToolOutput {
        self.map_or_else(ToolOutput::error, IntoToolOutput::into_tool_output)
    }
}

/// The name in a definition in OpenAI's format.
pub(crate) fn name_of(definition: &Value) -> &str {
    definition["function"]["name"].as_str().unwrap_or_default()
}

/// Tool definitions as templates accept them, without null fields. Checks their structure, their names, and that their
/// schemas can be enforced.
pub(crate) fn read_all(mut tools: Vec<Value>) -> Result<Vec<Value>> {
    for tool in &mut tools {
        nest_function(tool);
        if let Some(Value::Object(function)) = tool.get_mut("function") {
            function.retain(|_, value| !value.is_null());
        }
    }
    for (index, tool) in tools.iter().enumerate() {
        let problem = |what: &str| Error::option("tools", format!("[{index}]: {what}"));
        refuse_nul(tool, |place, what| {
            Error::option("tools", format!("[{index}]{place}: {what}"))
        })?;
        if tool["type"] != "function" {
            return Err(problem("expected {\"type\": \"function\", \"function\": {...}}"));
        }
        let name = name_of(tool);
        if name.is_empty() {
            return Err(problem("the function has no name"));
        }
        if tools[..index].iter().any(|other| name_of(other) == name) {
            return Err(problem(&format!("two tools have the name `{name}`")));
        }
        let description = &tool["function"]["description"];
        if !description.is_null() && !description.is_string() {
            return Err(problem(&format!("the description of `{name}` is not text")));
        }
        let parameters = &tool["function"]["parameters"];
        if parameters.is_null() {
            continue;
        }
        if !parameters.is_object() {
            return Err(problem(&format!("the parameters of `{name}` are not a JSON schema")));
        }
        if parameters["type"].as_str().is_some_and(|kind| kind != "object") {
            let what = format!("the parameters of `{name}` must be of type object");
            return Err(problem(&what));
        }
        Schema::new(parameters).map_err(|error| {
            let message = format!("option `tools`: the parameters of `{name}`: {error}");
            let tool_error = Error::new(error.kind(), message).with_context("tool", name);
            match error.hint() {
                Some(hint) => tool_error.with_hint(hint),
                None => tool_error,
            }
        })?;
    }
    Ok(tools)
}

/// Converts a definition in the form of OpenAI's Responses API, which has the fields of `function` in the tool itself.
fn nest_function(tool: &mut Value) {
    let Value::Object(fields) = tool else { return };
    if fields.contains_key("function") || fields.get("type").is_none_or(|it| it != "function") {
        return;
    }
    let names = ["name", "description", "parameters", "strict"];
    let function: Map<String, Value> = names
        .iter()
        .filter_map(|name| fields.remove(*name).map(|value| ((*name).to_owned(), value)))
        .collect();
    if !function.is_empty() {
        fields.insert("function".to_owned(), function.into());
    }
}

/// The arguments of a call by the model, if they match the tool's schema; otherwise the error message for the model.
pub(crate) fn arguments_for(
    call: &ToolCall,
    definition: &Value,
) -> Result<Map<String, Value>, String> {
    let text = &call.function.arguments;
    let object = match serde_json::from_str(text) {
        Ok(Value::Object(object)) => object,
        _ if text.trim().is_empty() => Map::new(),
        _ => return Err(format!("the arguments are not a JSON object: {text}")),
    };
    let arguments = Value::Object(object);
    schema::check(&arguments, &definition["function"]["parameters"])
        .map_err(|problem| format!("wrong arguments: {problem}"))?;
    match arguments {
        Value::Object(object) => Ok(object),
        _ => Ok(Map::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn tool(parameters: &Value) -> Value {
        json!({"type": "function", "function": {"name": "f", "parameters": parameters}})
    }

    #[test]
    fn tools_of_a_wrong_shape_are_refused_by_name() {
        for (bad, said) in [
            (vec![json!({"name": "f"})], "[0]: expected"),
            (vec![json!({"type": "function"})], "[0]: the function has no name"),
            (vec![tool(&json!(3))], "`f` are not a JSON schema"),
            (vec![tool(&json!({"type": "string"}))], "`f` must be of type object"),
            (vec![tool(&json!({})), tool(&json!({}))], "[1]: two tools have the name `f`"),
            (
                vec![tool(&json!({"properties": {"a": {"enum": ["b", "\0"]}}}))],
                "[0].function.parameters.properties.a.enum[1]: contains a NUL byte",
            ),
            (
                vec![tool(&json!({"properties": {"a\0": {}}}))],
                "[0].function.parameters.properties.a\\u{0}: its name contains a NUL byte",
            ),
        ] {
            let error = read_all(bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(said), "{error}");
        }
        let nowhere = json!({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}});
        let error = read_all(vec![tool(&nowhere)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidGrammar);
        assert!(error.to_string().contains("`f`"), "{error}");
    }

    #[test]
    fn definitions_of_the_responses_api_are_accepted() {
        let flat = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": null});
        assert_eq!(read_all(vec![flat]).unwrap(), [tool(&json!({"type": "object"}))]);
    }

    #[test]
    fn fields_that_are_null_are_left_out() {
        let function =
            json!({"name": "f", "description": null, "parameters": null, "strict": null});
        let tools = read_all(vec![json!({"type": "function", "function": function})]).unwrap();
        assert_eq!(tools, [json!({"type": "function", "function": {"name": "f"}})]);
    }

    #[test]
    fn tool_outputs_become_text() {
        assert_eq!("x".into_tool_output().text(), "x");
        assert_eq!(json!("x").into_tool_output().text(), "x");
        assert_eq!(json!({"a": 1}).into_tool_output().text(), "{\"a\":1}");
        assert_eq!(Err::<String, _>("no").into_tool_output().text(), "error: no");
    }
}
