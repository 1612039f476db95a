//! The notation of option values in other languages and on the command line.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The notation of an option's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionKind {
    /// The Python type.
    pub python: &'static str,
    /// The TypeScript type.
    pub typescript: &'static str,
    /// The form on the command line.
    pub flag: FlagForm,
}

impl OptionKind {
    /// Combines a Python type, a TypeScript type and a form on the command line.
    pub const fn new(python: &'static str, typescript: &'static str, flag: FlagForm) -> Self {
        Self { python, typescript, flag }
    }

    /// The words that are its values, for messages: "one of `auto`, `on`, `off`". None if it has other values.
    pub(super) fn words(&self) -> Option<String> {
        let words = self.python.strip_prefix("Literal[")?.strip_suffix(']')?;
        Some(format!("one of {}", words.replace('"', "`")))
    }
}

/// The notation of an option's values on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagForm {
    /// `--flag`, `--flag=true` or `--flag=false`.
    Switch,
    /// A number.
    Number,
    /// A number, or one of these words: `a|b`.
    NumberOr(&'static str),
    /// Comma-separated numbers.
    Numbers,
    /// Text; the string is the placeholder in the help.
    Text(&'static str),
    /// Text; the flag can be repeated.
    Texts,
    /// Comma-separated names; the flag can be repeated.
    Names,
    /// One text, or two separated by a comma.
    Pair(&'static str),
    /// Comma-separated `PATTERN=DEVICE`; the flag can be repeated.
    Patterns,
    /// Comma-separated `NAME=VALUE`; the flag can be repeated.
    Settings,
    /// `FILE` or `FILE=SCALE`; the flag can be repeated.
    Adapters,
    /// JSON; a single word needs no quotes.
    Json,
    /// No flag: the values cannot be written on a command line.
    None,
}

/// The type of an option's values.
pub trait OptionType {
    /// The notation of its values.
    const KIND: OptionKind;
}

/// Implements [`OptionType`] for types.
macro_rules! option_type {
    ($($ty:ty: $python:expr, $typescript:expr, $flag:expr;)+) => {
        $(
            impl $crate::options::OptionType for $ty {
                const KIND: $crate::options::OptionKind =
                    $crate::options::OptionKind::new($python, $typescript, $flag);
            }
        )+
    };
}

pub(crate) use option_type;

/// Names, separated by commas on the command line.
pub(super) struct Names;
/// A JSON schema: an object, `true` or `false`, or its JSON text.
pub(super) struct JsonSchema;
/// `auto`, `none`, `required`, or a function.
pub(super) struct ToolChoice;
/// The format of an answer.
pub(super) struct ResponseFormat;

option_type! {
    bool: "bool", "boolean", FlagForm::Switch;
    u32: "int", "number", FlagForm::Number;
    i32: "int", "number", FlagForm::Number;
    f32: "float", "number", FlagForm::Number;
    String: "str", "string", FlagForm::Text("TEXT");
    Vec<f32>: "Sequence[float]", "number[]", FlagForm::Numbers;
    Vec<String>: "Sequence[str]", "string[]", FlagForm::Texts;
    Names: "str | Sequence[str]", "string | string[]", FlagForm::Names;
    JsonSchema: "Mapping[str, object] | str | bool", "JsonSchema", FlagForm::Json;
    ToolChoice: r#"Literal["auto", "none", "required"] | Mapping[str, object]"#, "ToolChoice", FlagForm::Json;
    ResponseFormat: "Mapping[str, object] | type[Any]", "ResponseFormat", FlagForm::Json;
    Vec<Value>: "Sequence[Mapping[str, object] | Callable[..., object] | Tool]", "(Tool | FunctionTool)[]",
        FlagForm::Json;
    Map<String, Value>: "Mapping[str, object]", "Record<string, unknown>", FlagForm::Json;
    BTreeMap<String, Value>: "Mapping[str, str | int | float | bool]",
        "Record<string, string | number | boolean>", FlagForm::Json;
}
