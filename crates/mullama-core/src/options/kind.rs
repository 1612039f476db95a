//! How the values of options are written in other languages and in a shell.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// How the values of an option are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OptionKind {
    /// The type in Python.
    pub python: &'static str,
    /// The type in TypeScript.
    pub typescript: &'static str,
    /// The form on the command line.
    pub flag: FlagForm,
}

impl OptionKind {
    /// A kind of these types, and of this form on the command line.
    pub const fn new(python: &'static str, typescript: &'static str, flag: FlagForm) -> Self {
        Self { python, typescript, flag }
    }
}

/// How the values of an option are written on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlagForm {
    /// `--flag`, `--flag=true` or `--flag=false`.
    Switch,
    /// A number.
    Number,
    /// A number, or one of these words: `a|b`.
    NumberOr(&'static str),
    /// Numbers with commas between them.
    Numbers,
    /// A text as it is; the name of the value in the help.
    Text(&'static str),
    /// Texts: the flag may come several times.
    Texts,
    /// Names with commas between them; the flag may come several times.
    Names,
    /// One text, or two with a comma between them.
    Pair(&'static str),
    /// `PATTERN=DEVICE` with commas between them; the flag may come several times.
    Patterns,
    /// `NAME=VALUE` with commas between them; the flag may come several times.
    Settings,
    /// `FILE` or `FILE=SCALE`; the flag may come several times.
    Adapters,
    /// JSON; a word needs no quotes.
    Json,
    /// There is no flag: the values cannot be written on a command line.
    None,
}

/// A type of options' values.
pub trait OptionType {
    /// How its values are written.
    const KIND: OptionKind;
}

/// Implements [`OptionType`].
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

/// Names that a shell separates by commas.
pub(super) struct Names;
/// A JSON schema: an object, `true` or `false`, or the text of one.
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
    Names: "Sequence[str]", "string[]", FlagForm::Names;
    JsonSchema: "Mapping[str, object] | str | bool", "JsonSchema", FlagForm::Json;
    ToolChoice: r#"Literal["auto", "none", "required"] | Mapping[str, object]"#, "ToolChoice", FlagForm::Json;
    ResponseFormat: "Mapping[str, object] | type[Any]", "ResponseFormat", FlagForm::Json;
    Vec<Value>: "Sequence[Mapping[str, object] | Callable[..., object] | Tool]", "(Tool | FunctionTool)[]",
        FlagForm::Json;
    Map<String, Value>: "Mapping[str, object]", "Record<string, unknown>", FlagForm::Json;
    BTreeMap<String, Value>: "Mapping[str, str | int | float | bool]",
        "Record<string, string | number | boolean>", FlagForm::Json;
}
