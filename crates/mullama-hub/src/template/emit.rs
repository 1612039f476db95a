//! Writes a parsed template in Jinja.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::kind::{Kind, MESSAGES, TOOLS};
use super::parse::{Action, Expr, Head, Node, Parsed, Problem, at};
use super::print::{Macros, present, quoted};

/// All names at the top level. Which of them have a value depends on the template.
const DATA: [&str; 9] = [
    "Messages",
    "System",
    "Prompt",
    "Response",
    "Tools",
    "Suffix",
    "Think",
    "ThinkLevel",
    "IsThinkSet",
];

/// Maximum number of passes over a template to infer the types of its variables.
const MAX_PASSES: usize = 16;

/// Translates a template into Jinja.
pub(super) fn jinja(parsed: &Parsed) -> Result<String, Problem> {
    let mut kinds = HashMap::new();
    for _ in 0..MAX_PASSES {
        let mut emit = Emit::new(parsed, kinds);
        emit.whole().map_err(|problem| at(emit.line, &problem))?;
        if !emit.learned {
            return Ok(emit.macros.out + &emit.out);
        }
        kinds = emit.kinds;
    }
    Err("its variables depend on each other too much".to_owned())
}

/// Whether a field of this name is used anywhere.
fn uses(parsed: &Parsed, field: &str) -> bool {
    let is_field = |value: &Expr| matches!(value, Expr::Field(_, name) if name == field);
    parsed.defined.values().chain([&parsed.main]).any(|nodes| has(nodes, &is_field))
}

fn has(nodes: &[Node], is: &impl Fn(&Expr) -> bool) -> bool {
    nodes.iter().any(|node| match &node.action {
        Action::Output(value) | Action::Template { value: Some(value), .. } => any_part(value, is),
        Action::Set(head) => any_part(&head.value, is),
        Action::If { condition: head, then, other }
        | Action::With { value: head, then, other }
        | Action::Range { list: head, body: then, other } => {
            any_part(&head.value, is) || has(then, is) || has(other, is)
        }
        _ => false,
    })
}

fn any_part(value: &Expr, is: &impl Fn(&Expr) -> bool) -> bool {
    is(value)
        || match value {
            Expr::Call(_, args) => args.iter().any(|arg| any_part(arg, is)),
            Expr::Field(of, _) => any_part(of, is),
            _ => false,
        }
}

/// Removes everything after `.Response`. Returns whether `.Response` was found.
fn cut(nodes: &mut Vec<Node>) -> bool {
    let is_response = |value: &Expr| matches!(value, Expr::Field(of, name) if **of == Expr::Dot && name == "Response");
    let end = nodes.iter_mut().position(|node| match &mut node.action {
        Action::Output(value) | Action::Set(Head { value, .. }) => any_part(value, &is_response),
        Action::If { then, other, .. } | Action::With { then, other, .. } => {
            cut(then) || cut(other)
        }
        Action::Range { body, other, .. } => cut(body) || cut(other),
        _ => false,
    });
    if let Some(end) = end {
        nodes.truncate(end + 1);
    }
    end.is_some()
}

/// A value: its Jinja expression, and its Go type.
#[derive(Debug, Clone)]
pub(super) struct Value {
    pub code: String,
    pub kind: Kind,
}

impl Value {
    pub fn new(code: impl Into<String>, kind: Kind) -> Self {
        Self { code: code.into(), kind }
    }

    /// The Jinja expression of the value as a condition.
    pub fn test(&self) -> String {
        if self.kind.is_always_true() { "true".to_owned() } else { self.code.clone() }
    }
}

pub(super) struct Emit<'a> {
    parsed: &'a Parsed,
    pub macros: Macros,
    pub out: String,
    /// Line of the current node.
    line: usize,
    /// Whether the template iterates over `.Messages`; otherwise it uses the text of one turn.
    by_messages: bool,
    /// The current values of `.` and `$`.
    dot: Value,
    root: Value,
    /// Name of the current macro; empty for the template itself.
    part: String,
    /// The types of variables by macro and name, as far as inferred, and whether this pass changed them.
    kinds: HashMap<(String, String), Kind>,
    learned: bool,
    /// The called templates with the type of their `.`. The index is the number of the macro.
    called: Vec<(String, Kind)>,
    /// Number of generated names.
    count: u32,
}

impl<'a> Emit<'a> {
    fn new(parsed: &'a Parsed, kinds: HashMap<(String, String), Kind>) -> Self {
        let data = Value::new("none", Kind::Data);
        Self {
            parsed,
            macros: Macros::default(),
            out: String::new(),
            line: 1,
            by_messages: uses(parsed, "Messages"),
            dot: data.clone(),
            root: data,
            part: String::new(),
            kinds,
            learned: false,
            called: Vec::new(),
            count: 0,
        }
    }

    fn whole(&mut self) -> Result<(), Problem> {
        self.collate();
        let mut nodes = self.parsed.main.clone();
        if self.by_messages {
            self.nodes(&nodes)?;
        } else {
            if !uses(self.parsed, "Response") {
                let response = Expr::Field(Box::new(Expr::Dot), "Response".to_owned());
                nodes.push(Node { line: self.line, action: Action::Output(response) });
            }
            self.turns(nodes)?;
        }
        self.defined()
    }

    /// Converts the messages as Ollama does: consecutive messages with the same role are merged, except tool results.
    fn collate(&mut self) {
        self.tag("set go = namespace(messages=[], systems=[], last=none, name='', system='', prompt='', response='')");
        self.tag("set v = namespace()");
        self.tag("for message in messages");
        // `developer` messages are system messages.
        self.tag("set role = 'system' if message['role'] == 'developer' else message['role']");
        let content = self.macros.call("go_content", "message['content']");
        self.tag(&format!("set content = {content}"));
        self.tag("if role == 'system'");
        self.tag("set go.systems = go.systems + [content]");
        self.tag("endif");
        self.tag("if go.last and go.last['role'] == role and role != 'tool'");
        self.tag("set go.last = dict(go.last, content=go.last['content'] ~ '\\n\\n' ~ content)");
        self.tag("set go.messages = go.messages[:-1] + [go.last]");
        self.tag("else");
        self.tag("set go.name = message['tool_name'] or (message['name'] if role == 'tool') or ''");
        if uses(self.parsed, "ToolName") {
            // The result has the id of the call, and the call has the name.
            self.tag("if role == 'tool' and not go.name and message['tool_call_id']");
            self.tag("for earlier in messages");
            self.tag("for call in earlier['tool_calls'] or []");
            self.tag("if call['id'] == message['tool_call_id']");
            self.tag("set go.name = call['function']['name']");
            self.tag("endif");
            self.tag("endfor");
            self.tag("endfor");
            self.tag("endif");
        }
        self.tag(
            "set go.last = {'role': role, 'content': content, 'thinking': message['reasoning_content'] or '', \
             'tool_calls': message['tool_calls'] or [], 'tool_name': go.name, \
             'tool_call_id': message['tool_call_id'] or ''}",
        );
        self.tag("set go.messages = go.messages + [go.last]");
        self.tag("endif");
        self.tag("endfor");
        self.tag("set go.messages = go.messages | list");
        if self.by_messages {
            self.tag("set go.system = go.systems | join('\\n\\n')");
        }
    }

    /// Renders the template once per turn. The last turn ends at `.Response`, where the model continues.
    fn turns(&mut self, mut nodes: Vec<Node>) -> Result<(), Problem> {
        self.tag("for message in go.messages");
        self.tag(
            "if message['role'] == 'system' and (go.prompt or go.response) or message['role'] == 'user' and go.response",
        );
        self.nodes(&nodes)?;
        self.tag("set go.system = ''");
        self.tag("set go.prompt = ''");
        self.tag("set go.response = ''");
        self.tag("endif");
        for (role, name) in [("system", "system"), ("user", "prompt"), ("assistant", "response")] {
            self.tag(&format!("if message['role'] == '{role}'"));
            self.tag(&format!("set go.{name} = message['content']"));
            self.tag("endif");
        }
        self.tag("endfor");
        cut(&mut nodes);
        self.nodes(&nodes)
    }

    /// Emits the called templates as macros. They may call further ones.
    fn defined(&mut self) -> Result<(), Problem> {
        let mut done = 0;
        while let Some((name, kind)) = self.called.get(done).cloned() {
            let nodes = self.parsed.defined.get(&name).cloned().unwrap_or_default();
            let out = std::mem::take(&mut self.out);
            self.part = format!("go_template_{done}");
            self.dot = Value::new("dot", kind);
            self.root = self.dot.clone();
            self.tag("set v = namespace()");
            self.nodes(&nodes)?;
            let body = std::mem::replace(&mut self.out, out);
            self.macros.define(&format!("{}(dot)", self.part), &body);
            done += 1;
        }
        Ok(())
    }

    pub fn tag(&mut self, text: &str) {
        let _ = write!(self.out, "{{% {text} %}}");
    }

    fn output(&mut self, value: &str) {
        let _ = write!(self.out, "{{{{ {value} }}}}");
    }

    /// Emits a test that fails the rendering with this problem if `condition` is true.
    pub fn raise_if(&mut self, condition: &str, problem: &str) {
        self.tag(&format!("if {condition}"));
        self.output(&format!("raise_exception({})", quoted(problem)));
        self.tag("endif");
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Problem> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), Problem> {
        self.line = node.line;
        match &node.action {
            Action::Text(text) => self.output(&quoted(text)),
            Action::Output(value) => {
                let value = self.known(value)?;
                let shown = self.macros.text(value.kind, &value.code, "<no value>")?;
                self.output(&shown);
            }
            Action::Set(head) => {
                let value = self.value(&head.value)?;
                head.variables.iter().for_each(|name| self.set(name, &value));
            }
            Action::If { condition, then, other } => {
                let value = self.head(condition)?;
                self.branches(&value.test(), then, None, other)?;
            }
            Action::With { value, then, other } => {
                let value = self.head(value)?;
                let name = self.fresh();
                self.tag(&format!("set {name} = {}", value.code));
                let dot = Value::new(name, value.kind);
                self.branches(&dot.test(), then, Some(dot), other)?;
            }
            Action::Range { list, body, other } => self.range(list, body, other)?,
            Action::Template { name, value } => {
                let value = match value {
                    Some(value) => self.value(value)?,
                    None => Value::new("none", Kind::Nil),
                };
                if !self.parsed.defined.contains_key(name) {
                    return Err(format!("the template `{name}` is not known"));
                }
                let call = (name.clone(), value.kind);
                let known = self.called.iter().position(|known| *known == call);
                let index = known.unwrap_or_else(|| {
                    self.called.push(call);
                    self.called.len() - 1
                });
                self.output(&format!("go_template_{index}({})", value.code));
            }
            Action::Break => self.tag("break"),
            Action::Continue => self.tag("continue"),
        }
        Ok(())
    }

    /// Emits `if` with its branches; the first may have its own `.`.
    fn branches(
        &mut self,
        test: &str,
        then: &[Node],
        dot: Option<Value>,
        other: &[Node],
    ) -> Result<(), Problem> {
        self.tag(&format!("if {test}"));
        self.below(dot, then)?;
        if !other.is_empty() {
            self.tag("else");
            self.nodes(other)?;
        }
        self.tag("endif");
        Ok(())
    }

    /// Emits nodes, with another `.` if one is provided.
    fn below(&mut self, dot: Option<Value>, nodes: &[Node]) -> Result<(), Problem> {
        let outer = self.dot.clone();
        self.dot = dot.unwrap_or_else(|| outer.clone());
        self.nodes(nodes)?;
        self.dot = outer;
        Ok(())
    }

    fn range(&mut self, list: &Head, body: &[Node], other: &[Node]) -> Result<(), Problem> {
        let value = self.value(&list.value)?;
        let value = self.once(value);
        let Value { code, kind } = &value;
        self.count += 1;
        let item = format!("item{}", self.count);
        let index = ("loop.index0".to_owned(), Kind::Int);
        let (items, key, of) = match *kind {
            Kind::List(of) => (code.clone(), index, (item.clone(), *of)),
            Kind::Types => (types(code), index, (item.clone(), Kind::Text)),
            Kind::Nil => ("[]".to_owned(), index, (item.clone(), Kind::Nil)),
            Kind::Map(of) => (
                format!("{code} | dictsort(case_sensitive=true)"),
                (format!("{item}[0]"), Kind::Text),
                (format!("{item}[1]"), *of),
            ),
            Kind::Int if list.variables.len() < 2 => {
                (format!("range({code})"), index, (item.clone(), Kind::Int))
            }
            Kind::Json => {
                let wrong = format!("{code} is string or {code} is number or {code} is boolean");
                self.raise_if(&wrong, "`range` over what is no list");
                let sorted = format!("{code} | dictsort(case_sensitive=true)");
                (
                    format!("({sorted} if {code} is mapping else {code} or [])"),
                    (format!("({item}[0] if {code} is mapping else loop.index0)"), Kind::Json),
                    (format!("({item}[1] if {code} is mapping else {item})"), Kind::Json),
                )
            }
            _ => return Err(format!("`range` over {}", kind.name())),
        };
        // Jinja's own `for ... else` also runs the `else` branch if the first iteration breaks, so use `if`.
        if !other.is_empty() {
            let least = if *kind == Kind::Int { " > 0" } else { "" };
            self.tag(&format!("if {code}{least}"));
        }
        self.tag(&format!("for {item} in {items}"));
        let [key, of] = [key, of].map(|(code, kind)| Value::new(code, kind));
        match list.variables.as_slice() {
            [] => {}
            [name] => self.set(name, &of),
            [first, second, ..] => {
                self.set(first, &key);
                self.set(second, &of);
            }
        }
        self.below(Some(of), body)?;
        self.tag("endfor");
        if !other.is_empty() {
            self.tag("else");
            self.nodes(other)?;
            self.tag("endif");
        }
        Ok(())
    }

    /// The value of a block's head, which is also assigned to its variable, if any.
    fn head(&mut self, head: &Head) -> Result<Value, Problem> {
        let value = self.value(&head.value)?;
        let Some(name) = head.variables.first() else { return Ok(value) };
        self.set(name, &value);
        Ok(Value::new(format!("v.{name}"), value.kind))
    }

    /// Assigns a variable. It is an attribute of a namespace, because Jinja discards assignments at the end of a block.
    fn set(&mut self, name: &str, value: &Value) {
        self.tag(&format!("set v.{name} = {}", value.code));
        let known = self.kinds.entry((self.part.clone(), name.to_owned())).or_insert(value.kind);
        let kind = known.or(value.kind);
        self.learned |= kind != *known;
        *known = kind;
    }

    pub fn fresh(&mut self) -> String {
        self.count += 1;
        format!("v.t{}", self.count)
    }

    /// Assigns the value to a temporary name unless it is a name already, so that it is computed once.
    pub fn once(&mut self, value: Value) -> Value {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
        if value.code.chars().all(is_name) {
            return value;
        }
        let name = self.fresh();
        self.tag(&format!("set {name} = {}", value.code));
        Value::new(name, value.kind)
    }

    /// The value of an expression that is printed or computed with. Fails for unknown names at the top level.
    pub fn known(&mut self, value: &Expr) -> Result<Value, Problem> {
        let found = self.value(value)?;
        match value {
            Expr::Field(of, name) if found.kind == Kind::Nil && !DATA.contains(&name.as_str()) => {
                let of = self.value(of)?;
                if of.kind == Kind::Data {
                    Err(format!("`.{name}` is not known"))
                } else {
                    Ok(found)
                }
            }
            _ => Ok(found),
        }
    }

    pub fn value(&mut self, value: &Expr) -> Result<Value, Problem> {
        Ok(match value {
            Expr::Dot => self.dot.clone(),
            Expr::Root => self.root.clone(),
            Expr::Variable(name) => {
                let kind = self.kinds.get(&(self.part.clone(), name.clone()));
                Value::new(format!("v.{name}"), kind.copied().unwrap_or(Kind::Nil))
            }
            Expr::Nil => Value::new("none", Kind::Nil),
            Expr::Bool(value) => Value::new(value.to_string(), Kind::Bool),
            Expr::Int(number @ ..0) => Value::new(format!("({number})"), Kind::Int),
            Expr::Int(number) => Value::new(number.to_string(), Kind::Int),
            Expr::Float(number) => Value::new(format!("({number:?})"), Kind::Float),
            Expr::Text(text) => Value::new(quoted(text), Kind::Text),
            Expr::Field(of, name) => {
                let of = self.value(of)?;
                self.field(&of, name)?
            }
            Expr::Call(name, args) => self.call(name, args)?,
        })
    }

    fn field(&mut self, of: &Value, name: &str) -> Result<Value, Problem> {
        let Value { code, kind } = of;
        Ok(match *kind {
            Kind::Data => self.data(name),
            Kind::Nil => of.clone(),
            Kind::Json => Value::new(format!("{code}[{}]", quoted(name)), Kind::Json),
            Kind::Map(_) => entry(of, &quoted(name)),
            Kind::Types | Kind::List(_) | Kind::Struct(_) if name == "String" => {
                Value::new(self.macros.text(*kind, code, "")?, Kind::Text)
            }
            Kind::Struct(_) if name == "ToTypeScriptType" => {
                Value::new(self.macros.typescript(*kind, code), Kind::Text)
            }
            Kind::Struct(fields) => {
                let field = fields.fields.iter().find(|field| field.name == name);
                let field =
                    field.ok_or_else(|| format!("`.{name}` of {} is not known", kind.name()))?;
                Value::new(present(code, field), field.kind)
            }
            _ => return Err(format!("`.{name}` of {}", kind.name())),
        })
    }

    /// The value of a name at the top level.
    fn data(&self, name: &str) -> Value {
        let think = "(enable_thinking | default(false))";
        match (name, self.by_messages) {
            ("System", _) => Value::new("go.system", Kind::Text),
            ("Messages", true) => Value::new("go.messages", MESSAGES),
            ("Tools", true) => Value::new("(tools | default([], true))", TOOLS),
            ("Response", true) => Value::new("''", Kind::Text),
            ("Prompt", false) => Value::new("go.prompt", Kind::Text),
            ("Response", false) => Value::new("go.response", Kind::Text),
            ("Think", _) => Value::new(think, Kind::Bool),
            ("IsThinkSet", _) => Value::new("(enable_thinking is defined)", Kind::Bool),
            ("ThinkLevel", _) => {
                let level =
                    format!("(reasoning_effort | default('medium' if {think} else '', true))");
                Value::new(level, Kind::Text)
            }
            _ => Value::new("none", Kind::Nil),
        }
    }
}

/// The types of a parameter as a list.
pub(super) fn types(code: &str) -> String {
    format!("([{code}] if {code} is string else {code})")
}

/// The value of a map's key.
pub(super) fn entry(of: &Value, name: &str) -> Value {
    let code = format!("{}[{name}]", of.code);
    match of.kind {
        Kind::Map(kind @ Kind::Struct(_)) => Value::new(format!("({code} | default({{}}))"), *kind),
        _ => Value::new(code, Kind::Json),
    }
}
