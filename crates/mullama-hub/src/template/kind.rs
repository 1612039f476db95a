//! Types of the data that Ollama passes to templates.

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// The whole data, at the top of a template.
    Data,
    /// A missing value.
    Nil,
    Text,
    Bool,
    Int,
    Float,
    /// A value of an argument, whose type is only known at render time.
    Json,
    /// The types of a parameter: a string, or a list of strings.
    Types,
    List(&'static Kind),
    /// Sorted by key.
    Map(&'static Kind),
    Struct(&'static Struct),
    /// One of several types. Only usable as a condition.
    Mixed,
}

impl Kind {
    /// The type of a value that may have either type.
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

    /// Whether it is always true as a condition: in Go, every struct is.
    pub fn is_always_true(self) -> bool {
        matches!(self, Self::Struct(_) | Self::Data)
    }

    /// The Jinja expression for a missing value of this type.
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

    /// Whether Ollama's types print it as JSON.
    pub fn prints_as_json(self) -> bool {
        match self {
            Self::Map(_) => true,
            Self::Struct(fields) => fields.as_json,
            Self::List(Self::Struct(fields)) => **fields == TOOL,
            _ => false,
        }
    }

    /// The name in error messages.
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

    /// The name in the names of macros.
    pub fn tag(self) -> String {
        match self {
            Self::List(of) => format!("{}s", of.tag()),
            Self::Map(of) => format!("{}_map", of.tag()),
            Self::Struct(fields) => fields.name.replace([' ', '\''], "_"),
            other => format!("{other:?}").to_lowercase(),
        }
    }
}

/// A struct type.
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

/// A field of a struct.
#[derive(Debug)]
pub(super) struct Field {
    /// The name in Go.
    pub name: &'static str,
    /// The key in JSON, and in the data for Jinja.
    pub key: &'static str,
    pub kind: Kind,
    /// Whether JSON omits it when it is empty.
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
