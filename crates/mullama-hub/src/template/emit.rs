//! Jinja of what was read.

use std::fmt::Write as _;

use super::parse::{Base, Expr, Node, Problem};

/// The parts of a message, a tool or a call, and what they are called in Jinja.
const FIELDS: [(&str, &str); 13] = [
    ("Role", "role"),
    ("Content", "content"),
    ("Thinking", "reasoning_content"),
    ("ToolCalls", "tool_calls"),
    ("ToolName", "name"),
    ("ToolCallID", "tool_call_id"),
    ("Function", "function"),
    ("Name", "name"),
    ("Arguments", "arguments"),
    ("Description", "description"),
    ("Parameters", "parameters"),
    ("Properties", "properties"),
    ("Type", "type"),
];

/// What there is at the top, and how it is had.
const ROOT: [(&str, &str); 9] = [
    ("Messages", "messages"),
    ("System", "go.system"),
    ("Prompt", "go.prompt"),
    ("Response", "go.response"),
    ("Tools", "(tools | default([]))"),
    ("Suffix", "''"),
    ("Think", "(enable_thinking | default(false))"),
    ("IsThinkSet", "(enable_thinking is defined)"),
    ("ThinkLevel", "(reasoning_effort | default(''))"),
];

/// Values that print as JSON.
const OBJECTS: [&str; 5] = ["Arguments", "Parameters", "Properties", "ToolCalls", "Tools"];

/// The template in Jinja.
pub(super) fn jinja(nodes: &[Node]) -> Result<String, Problem> {
    let mut nodes = nodes.to_vec();
    let by_messages = uses(&nodes, "Messages");
    if !by_messages && !uses(&nodes, "Response") {
        nodes.push(Node::Output(Expr::Field { of: Base::Dot, path: vec!["Response".to_owned()] }));
    }
    let mut emit = Emit { out: String::new(), scopes: vec![Vec::new()], count: 0, dot: None };
    if by_messages {
        emit.tag("set go = namespace(system='', prompt='', response='')");
        emit.tag("for message in messages");
        emit.tag("if message.role == 'system'");
        emit.tag("set go.system = go.system ~ ('\\n\\n' if go.system else '') ~ message.content");
        emit.tag("endif");
        emit.tag("endfor");
        emit.nodes(&nodes)?;
        return Ok(emit.out);
    }
    emit.tag("set go = namespace(system='', prompt='', response='')");
    emit.tag("for message in messages");
    // A turn is complete when what comes next belongs to another one.
    emit.tag(
        "if go.response and message.role != 'assistant' or go.prompt and message.role == 'system'",
    );
    emit.nodes(&nodes)?;
    emit.tag("set go.system = ''");
    emit.tag("set go.prompt = ''");
    emit.tag("set go.response = ''");
    emit.tag("endif");
    for (role, name) in [("system", "system"), ("user", "prompt"), ("assistant", "response")] {
        emit.tag(&format!("if message.role == '{role}'"));
        emit.tag(&format!("set go.{name} = message.content"));
        emit.tag("endif");
    }
    emit.tag("endfor");
    cut(&mut nodes);
    emit.nodes(&nodes)?;
    // An answer that is begun is gone on with.
    emit.output("go.response");
    Ok(emit.out)
}

/// Takes away `.Response` and all that follows it. True if it was there.
fn cut(nodes: &mut Vec<Node>) -> bool {
    for i in 0..nodes.len() {
        let here = match &mut nodes[i] {
            Node::Output(value) => {
                if mentions(value, "Response") {
                    nodes.truncate(i);
                    return true;
                }
                false
            }
            Node::If { then, other, .. } | Node::With { then, other, .. } => {
                cut(then) || cut(other)
            }
            Node::Range { body, other, .. } => cut(body) || cut(other),
            _ => false,
        };
        if here {
            nodes.truncate(i + 1);
            return true;
        }
    }
    false
}

/// Whether a field at the top is used anywhere.
fn uses(nodes: &[Node], field: &str) -> bool {
    nodes.iter().any(|node| match node {
        Node::Output(value) | Node::Set { value, .. } => mentions(value, field),
        Node::If { condition: value, then, other } | Node::With { value, then, other } => {
            mentions(value, field) || uses(then, field) || uses(other, field)
        }
        Node::Range { list, body, other, .. } => {
            mentions(list, field) || uses(body, field) || uses(other, field)
        }
        _ => false,
    })
}

fn mentions(value: &Expr, field: &str) -> bool {
    match value {
        Expr::Field { of, path } => {
            !matches!(of, Base::Name(_)) && path.first().is_some_and(|first| first == field)
        }
        Expr::Call { args, .. } => args.iter().any(|arg| mentions(arg, field)),
        Expr::Of(value, _) => mentions(value, field),
        _ => false,
    }
}

struct Emit {
    out: String,
    /// The variables of each block, and what they are called in Jinja.
    scopes: Vec<Vec<(String, String)>>,
    /// How many names have been given.
    count: u32,
    /// What `.` means; at the top, all there is.
    dot: Option<String>,
}

impl Emit {
    fn tag(&mut self, text: &str) {
        let _ = write!(self.out, "{{% {text} %}}");
    }

    fn output(&mut self, value: &str) {
        let _ = write!(self.out, "{{{{ {value} }}}}");
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Problem> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn block(&mut self, nodes: &[Node]) -> Result<(), Problem> {
        self.scopes.push(Vec::new());
        let result = self.nodes(nodes);
        self.scopes.pop();
        result
    }

    fn node(&mut self, node: &Node) -> Result<(), Problem> {
        match node {
            Node::Text(text) => self.output(&quoted(text)),
            Node::Output(value) => {
                let shown = self.shown(value)?;
                self.output(&shown);
            }
            Node::Set { name, declare, value } => {
                let value = self.value(value)?;
                let name = if *declare { self.declare(name) } else { self.variable(name)? };
                self.tag(&format!("set {name} = {value}"));
            }
            Node::If { condition, then, other } => {
                let condition = self.value(condition)?;
                self.tag(&format!("if {condition}"));
                self.block(then)?;
                self.other(other)?;
                self.tag("endif");
            }
            Node::With { value, then, other } => {
                let value = self.value(value)?;
                let name = self.declare("with");
                self.tag(&format!("set {name} = {value}"));
                self.tag(&format!("if {name}"));
                let outer = self.dot.replace(name);
                self.block(then)?;
                self.dot = outer;
                self.other(other)?;
                self.tag("endif");
            }
            Node::Range { names, list, body, other } => {
                let (element, pairs) = (self.fresh("item"), is_map(list));
                let list = self.value(list)?;
                let target =
                    if pairs { format!("{element}_key, {element}") } else { element.clone() };
                let items = if pairs { ".items()" } else { "" };
                self.tag(&format!("for {target} in {list}{items}"));
                self.scopes.push(Vec::new());
                let key = if pairs { format!("{element}_key") } else { "loop.index0".to_owned() };
                let values = match names.len() {
                    0 => vec![],
                    1 => vec![(&names[0], &element)],
                    2 => vec![(&names[0], &key), (&names[1], &element)],
                    _ => return Err("`range` with more than two variables".to_owned()),
                };
                for (name, value) in values {
                    let variable = self.declare(name);
                    self.tag(&format!("set {variable} = {value}"));
                }
                let outer = self.dot.replace(element);
                self.nodes(body)?;
                self.dot = outer;
                self.scopes.pop();
                self.other(other)?;
                self.tag("endfor");
            }
            Node::Break => self.tag("break"),
            Node::Continue => self.tag("continue"),
            Node::Unknown(word) => return Err(format!("`{word}` is not known")),
        }
        Ok(())
    }

    fn other(&mut self, nodes: &[Node]) -> Result<(), Problem> {
        if nodes.is_empty() {
            return Ok(());
        }
        self.tag("else");
        self.block(nodes)
    }

    fn fresh(&mut self, name: &str) -> String {
        self.count += 1;
        format!("{name}{}", self.count)
    }

    /// A variable of this block. It is kept in a namespace, since what blocks set would be lost.
    fn declare(&mut self, name: &str) -> String {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let variable = format!("go.{}", self.fresh(&format!("v_{plain}_")));
        if let Some(scope) = self.scopes.last_mut() {
            scope.push((name.to_owned(), variable.clone()));
        }
        variable
    }

    fn variable(&self, name: &str) -> Result<String, Problem> {
        let known = self.scopes.iter().rev().flat_map(|scope| scope.iter().rev());
        let mut found =
            known.filter(|(known, _)| known == name).map(|(_, variable)| variable.clone());
        found.next().ok_or_else(|| format!("`${name}` has no value"))
    }

    /// What a tag prints.
    fn shown(&self, value: &Expr) -> Result<String, Problem> {
        let text = self.value(value)?;
        let object = match value {
            Expr::Field { of: Base::Dot, path } if path.is_empty() => true,
            Expr::Field { path, .. } | Expr::Of(_, path) => {
                path.last().is_some_and(|last| OBJECTS.contains(&last.as_str()))
            }
            _ => false,
        };
        Ok(if object { format!("({text} if {text} is string else {text} | tojson)") } else { text })
    }

    fn value(&self, value: &Expr) -> Result<String, Problem> {
        Ok(match value {
            Expr::Text(text) => quoted(text),
            Expr::Number(number) => number.clone(),
            Expr::Word(word) => (*word).to_owned(),
            Expr::Of(value, path) => format!("{}{}", self.value(value)?, fields(path)?),
            Expr::Field { of: Base::Name(name), path } => {
                format!("{}{}", self.variable(name)?, fields(path)?)
            }
            Expr::Field { of, path } => {
                let dot = if *of == Base::Dot { self.dot.as_ref() } else { None };
                match (dot, path.split_first()) {
                    (Some(dot), _) => format!("{dot}{}", fields(path)?),
                    (None, Some((first, rest))) => {
                        let (_, value) = ROOT
                            .iter()
                            .find(|(known, _)| known == first)
                            .ok_or_else(|| format!("`.{first}` is not known"))?;
                        format!("{value}{}", fields(rest)?)
                    }
                    (None, None) => return Err("`.` outside `range`".to_owned()),
                }
            }
            Expr::Call { name, args } => self.call(name, args)?,
        })
    }

    fn call(&self, name: &str, args: &[Expr]) -> Result<String, Problem> {
        let args = args.iter().map(|arg| self.value(arg)).collect::<Result<Vec<_>, _>>()?;
        let wrong = || format!("`{name}` with {} arguments", args.len());
        let infix = |sign: &str| match args.as_slice() {
            [a, b] => Ok(format!("({a} {sign} {b})")),
            _ => Err(wrong()),
        };
        match (name, args.as_slice()) {
            ("eq", [a, one, more @ ..]) if !more.is_empty() => {
                Ok(format!("({a} in [{one}, {}])", more.join(", ")))
            }
            ("eq", _) => infix("=="),
            ("ne", _) => infix("!="),
            ("lt", _) => infix("<"),
            ("le", _) => infix("<="),
            ("gt", _) => infix(">"),
            ("ge", _) => infix(">="),
            ("and" | "or", [_, ..]) => Ok(format!("({})", args.join(&format!(" {name} ")))),
            ("not", [a]) => Ok(format!("(not {a})")),
            ("len", [a]) => Ok(format!("({a} | length)")),
            ("slice", [a]) => Ok(a.clone()),
            ("slice", [a, from]) => Ok(format!("{a}[{from}:]")),
            ("slice", [a, from, to]) => Ok(format!("{a}[{from}:{to}]")),
            ("index", [a, at]) => Ok(format!("{a}[{at}]")),
            ("json", [a]) => Ok(format!("({a} | tojson)")),
            ("currentDate", []) => Ok("strftime_now('%Y-%m-%d')".to_owned()),
            ("and" | "or" | "not" | "len" | "slice" | "index" | "json" | "currentDate", _) => {
                Err(wrong())
            }
            _ => Err(format!("the function `{name}` is not known")),
        }
    }
}

/// Whether it is a map, of which keys and values are gone through.
fn is_map(list: &Expr) -> bool {
    let (Expr::Field { path, .. } | Expr::Of(_, path)) = list else { return false };
    path.last().is_some_and(|last| last == "Properties" || last == "Arguments")
}

fn fields(path: &[String]) -> Result<String, Problem> {
    path.iter().try_fold(String::new(), |text, field| {
        let (_, name) = FIELDS
            .iter()
            .find(|(known, _)| known == field)
            .ok_or_else(|| format!("`.{field}` is not known"))?;
        Ok(format!("{text}.{name}"))
    })
}

/// A text as Jinja writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}
