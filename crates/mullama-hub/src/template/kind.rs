//! What values are, as Ollama gives them to templates.

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// All there is, at the top of a template.
    Data,
    /// What is not there.
    Nil,
    Text,
    Bool,
    Int,
    Float,
    /// A value of an argument: only rendering tells what it is.
    Json,
    /// The types of a parameter: a text, or a list of them.
    Types,
    List(&'static Kind),
    /// By names, in their order.
    Map(&'static Kind),
    Struct(&'static Struct),
    /// One of several kinds, which is enough for a condition.
    Mixed,
}

impl Kind {
    /// What a value is that may be either.
    pub fn or(self, other: Self) -> Self {
        let is_json = |kind| {
            use Kind::{Bool, Float, Int, Json, Nil, Text};
            matches!(kind, Nil | Text | Bool | Int | Float | Json)
        };
        match (self, other) {
            (a, b) if a == b => a,
            (a, b) if is_json(a) && is_json(b) => Self::Json,
            _ => Self::Mixed,
        }
    }

    /// Whether it can be a condition by itself: Go takes every struct for true.
    pub fn is_always_true(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Data)
    }

    /// What stands for a value that is left out.
    pub fn empty(self) -> &'static str {
        match self {
            Self::Text => "''",
            Self::Bool => "false",
            Self::Int | Self::Float => "0",
            Self::List(_) | Self::Types => "[]",
            Self::Map(_) | Self::Struct(_) => "{}",
            Self::Data | Self::Nil | Self::Json | Self::Mixed => "none",
        }
    }

    /// Whether it prints as JSON: Ollama's types say so.
    pub fn prints_as_json(self) -> bool {
        match self {
            Self::Map(_) => true,
            Self::Struct(fields) => fields.as_json,
            Self::List(Self::Struct(fields)) => **fields == TOOL,
            _ => false,
        }
    }

    /// Its name in errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::Data => "the whole data",
            Self::Nil => "nothing",
            Self::Text => "a text",
            Self::Bool => "a boolean",
            Self::Int => "a whole number",
            Self::Float => "a fraction",
            Self::Json => "an argument",
            Self::Types | Self::List(_) => "a list",
            Self::Map(_) => "a map",
            Self::Struct(fields) => fields.name,
            Self::Mixed => "values of several kinds",
        }
    }

    /// Its name in those of macros.
    pub fn tag(self) -> String {
        match self {
            Self::List(of) => format!("{}s", of.tag()),
            Self::Map(of) => format!("{}_map", of.tag()),
            Self::Struct(fields) => fields.name.replace([' ', '\''], "_"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

/// A type with fields.
#[derive(Debug)]
pub(super) struct Struct {
    pub name: &'static str,
    pub as_json: bool,
    pub fields: &'static [Field],
}

impl PartialEq for Struct {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// A field.
#[derive(Debug)]
pub(super) struct Field {
    /// In Go.
    pub name: &'static str,
    /// In JSON, and in the data of Jinja.
    pub key: &'static str,
    pub kind: Kind,
    /// JSON leaves it out where it is empty.
    pub optional: bool,
}

const fn needed(name: &'static str, key: &'static str, kind: Kind) -> Field {
    Field { name, key, kind, optional: false }
}

const fn optional(name: &'static str, key: &'static str, kind: Kind) -> Field {
    Field { name, key, kind, optional: true }
}

pub(super) static MESSAGES: Kind = Kind::List(&Kind::Struct(&MESSAGE));
pub(super) static TOOLS: Kind = Kind::List(&Kind::Struct(&TOOL));

pub(super) static MESSAGE: Struct = Struct {
    name: "a message",
    as_json: false,
    fields: &[
        needed("Role", "role", Kind::Text),
        needed("Content", "content", Kind::Text),
        optional("Thinking", "thinking", Kind::Text),
        optional("Images", "images", Kind::List(&Kind::Text)),
        optional("ToolCalls", "tool_calls", Kind::List(&Kind::Struct(&CALL))),
        optional("ToolName", "tool_name", Kind::Text),
        optional("ToolCallID", "tool_call_id", Kind::Text),
    ],
};

static CALL: Struct = Struct {
    name: "a tool call",
    as_json: false,
    fields: &[
        optional("ID", "id", Kind::Text),
        needed("Function", "function", Kind::Struct(&CALLED)),
    ],
};

static CALLED: Struct = Struct {
    name: "a call's function",
    as_json: false,
    fields: &[
        needed("Index", "index", Kind::Int),
        needed("Name", "name", Kind::Text),
        needed("Arguments", "arguments", Kind::Map(&Kind::Json)),
    ],
};

static TOOL: Struct = Struct {
    name: "a tool",
    as_json: true,
    fields: &[
        needed("Type", "type", Kind::Text),
        optional("Items", "items", Kind::Json),
        needed("Function", "function", Kind::Struct(&FUNCTION)),
    ],
};

static FUNCTION: Struct = Struct {
    name: "a function",
    as_json: true,
    fields: &[
        needed("Name", "name", Kind::Text),
        needed("Description", "description", Kind::Text),
        needed("Parameters", "parameters", Kind::Struct(&PARAMETERS)),
    ],
};

static PARAMETERS: Struct = Struct {
    name: "parameters",
    as_json: true,
    fields: &[
        needed("Type", "type", Kind::Text),
        optional("Defs", "$defs", Kind::Json),
        optional("Items", "items", Kind::Json),
        optional("Required", "required", Kind::List(&Kind::Text)),
        needed("Properties", "properties", Kind::Map(&Kind::Struct(&PROPERTY))),
    ],
};

pub(super) static PROPERTY: Struct = Struct {
    name: "a property",
    as_json: false,
    fields: &[
        optional("AnyOf", "anyOf", Kind::List(&Kind::Struct(&PROPERTY))),
        optional("Type", "type", Kind::Types),
        optional("Items", "items", Kind::Json),
        optional("Description", "description", Kind::Text),
        optional("Enum", "enum", Kind::List(&Kind::Json)),
        optional("Properties", "properties", Kind::Map(&Kind::Struct(&PROPERTY))),
        optional("Required", "required", Kind::List(&Kind::Text)),
    ],
};
