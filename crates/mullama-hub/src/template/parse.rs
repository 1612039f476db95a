//! Parser for the part of Go's template language that prompt templates use.

use std::collections::BTreeMap;

/// An error message, which starts with the line number.
pub(super) type Problem = String;

/// A template, and the templates that it defines.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    pub main: Vec<Node>,
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// An element of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub line: usize,
    pub action: Action,
}

/// The kind of an element.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    Text(String),
    Output(Expr),
    /// `$name := value` or `$name = value`.
    Set(Head),
    If {
        condition: Head,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    With {
        value: Head,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    Range {
        list: Head,
        body: Vec<Node>,
        other: Vec<Node>,
    },
    /// `template`: calls another template with this value as its `.`.
    Template {
        name: String,
        value: Option<Expr>,
    },
    Break,
    Continue,
}

/// A value, and the variables it is assigned to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Head {
    pub variables: Vec<String>,
    pub value: Expr,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// `.`
    Dot,
    /// `$`
    Root,
    /// A variable, by a name that is unique among all declarations.
    Variable(String),
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Field(Box<Expr>, String),
    Call(String, Vec<Expr>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// `.A.B`; empty for `.` alone.
    Field(Vec<String>),
    /// `$name.A.B`; the name is empty for `$`.
    Variable(String, Vec<String>),
    /// `.Field` directly after `)`.
    After(Vec<String>),
    Word(String),
    Text(String),
    Int(i64),
    Float(f64),
    Sign(&'static str),
}

/// Maximum nesting depth of blocks.
const MAX_DEPTH: usize = 64;
/// Maximum nesting depth of expressions.
const MAX_VALUE_DEPTH: usize = 24;

struct Piece {
    line: usize,
    content: Content,
}

enum Content {
    Text(String),
    Tag(Vec<Token>),
}

/// Parses a template.
pub(super) fn template(text: &str) -> Result<Parsed, Problem> {
    let mut parser = Parser { pieces: pieces(text)?.into_iter(), ..Parser::default() };
    parser.whole().map_err(|problem| at(parser.line, &problem))
}

/// Prefixes a problem with its line number.
pub(super) fn at(line: usize, problem: &str) -> Problem {
    format!("line {line}: {problem}")
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// Splits a template into text and tags. Removes white space where a tag requests it.
fn pieces(text: &str) -> Result<Vec<Piece>, Problem> {
    let (mut pieces, mut rest, mut trim, mut line) = (Vec::new(), text, false, 1);
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let breaks = before.matches('\n').count();
        let mut before = if trim { before.trim_start_matches(is_space) } else { before };
        let dash =
            after.and_then(|after| after.strip_prefix('-')).filter(|a| a.starts_with(is_space));
        if dash.is_some() {
            before = before.trim_end_matches(is_space);
        }
        if !before.is_empty() {
            pieces.push(Piece { line, content: Content::Text(before.to_owned()) });
        }
        line += breaks;
        let Some(inside) = dash.or(after) else { return Ok(pieces) };
        let (tokens, after, dash) = tag(inside).map_err(|problem| at(line, &problem))?;
        if let Some(tokens) = tokens {
            pieces.push(Piece { line, content: Content::Tag(tokens) });
        }
        line += inside[..inside.len() - after.len()].matches('\n').count();
        (rest, trim) = (after, dash);
    }
}

/// The tokens of a tag, the text after it, and whether the tag trims that text. A comment has no
/// tokens.
fn tag(text: &str) -> Result<(Option<Vec<Token>>, &str, bool), Problem> {
    let unclosed = || "a tag is not closed".to_owned();
    if let Some(comment) = text.trim_start().strip_prefix("/*") {
        let (_, rest) = comment.split_once("*/").ok_or_else(unclosed)?;
        let rest = rest.trim_start();
        let trimming = rest.strip_prefix("-}}");
        let rest = trimming.or_else(|| rest.strip_prefix("}}")).ok_or_else(unclosed)?;
        return Ok((None, rest, trimming.is_some()));
    }
    let (mut tokens, mut rest) = (Vec::new(), text);
    loop {
        let skipped = rest.trim_start();
        let spaced = skipped.len() < rest.len();
        rest = skipped;
        if let Some(after) = rest.strip_prefix("}}") {
            return Ok((Some(tokens), after, false));
        }
        if let Some(after) = rest.strip_prefix("-}}").filter(|_| spaced) {
            return Ok((Some(tokens), after, true));
        }
        let first = rest.chars().next().ok_or_else(unclosed)?;
        let token = match first {
            '"' | '\'' => {
                let end = closing(rest, first).ok_or("a text is not closed")?;
                let text = unescape(&rest[1..end])?;
                rest = &rest[end + 1..];
                match (first, text.chars().next(), text.chars().count()) {
                    ('"', ..) => Token::Text(text),
                    // A character constant is a number.
                    (_, Some(c), 1) => Token::Int(u32::from(c).into()),
                    _ => return Err("`'` stands around one character".to_owned()),
                }
            }
            '`' => {
                let (text, after) = rest[1..].split_once('`').ok_or("a text is not closed")?;
                rest = after;
                // Go also removes carriage returns.
                Token::Text(text.replace('\r', ""))
            }
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let path = path(&mut rest)?;
                // `(x).y` is a field, but `(x) .y` is two values.
                if !spaced && tokens.last() == Some(&Token::Sign(")")) {
                    Token::After(path)
                } else {
                    Token::Field(path)
                }
            }
            '$' => {
                rest = &rest[1..];
                let name = word(&mut rest);
                Token::Variable(name, path(&mut rest)?)
            }
            '.' | '0'..='9' | '-' | '+' => number(&mut rest)?,
            c if c.is_alphabetic() || c == '_' => Token::Word(word(&mut rest)),
            _ => {
                let sign =
                    [":=", "=", "(", ")", "|", ","].into_iter().find(|s| rest.starts_with(s));
                let sign = sign.ok_or_else(|| format!("{first:?} cannot stand in a tag"))?;
                rest = &rest[sign.len()..];
                Token::Sign(sign)
            }
        };
        tokens.push(token);
    }
}

/// The index of the quote that ends the string which starts with this quote.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let end = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

fn unescape(text: &str) -> Result<String, Problem> {
    let unknown = || "a text has an unknown escape".to_owned();
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escape = chars.next().ok_or_else(unknown)?;
        let (digits, radix) = match escape {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (2, 8),
            _ => (0, 0),
        };
        if radix == 0 {
            out.push(match escape {
                'a' => '\x07',
                'b' => '\x08',
                'f' => '\x0c',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\x0b',
                '"' | '\\' | '\'' => escape,
                _ => return Err(unknown()),
            });
            continue;
        }
        let mut code: String = chars.by_ref().take(digits).collect();
        if radix == 8 {
            code.insert(0, escape);
        }
        let code = u32::from_str_radix(&code, radix).map_err(|_| unknown())?;
        // `\x` and octal escapes are bytes; a single byte is a character only if it is ASCII.
        let is_whole = matches!(escape, 'u' | 'U') || code < 0x80;
        out.push(char::from_u32(code).filter(|_| is_whole).ok_or_else(unknown)?);
    }
    Ok(out)
}

fn number(rest: &mut &str) -> Result<Token, Problem> {
    let belongs = |at: usize, c: char| match c {
        '+' | '-' => at == 0 || rest[..at].ends_with(['e', 'E']),
        c => c.is_ascii_alphanumeric() || matches!(c, '.' | '_'),
    };
    let end = rest.char_indices().find(|&(at, c)| !belongs(at, c));
    let end = end.map_or(rest.len(), |(at, _)| at);
    let (text, after) = rest.split_at(end);
    *rest = after;
    let digits = text.replace('_', "").to_lowercase();
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = |prefix: &str, radix| {
        let digits = digits.strip_prefix(prefix)?;
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    };
    let whole = radix("0x", 16).or_else(|| radix("0b", 2)).or_else(|| radix("0o", 8));
    let octal = || if digits.len() > 1 { radix("0", 8) } else { None };
    let decimal = || format!("{sign}{digits}").parse().ok();
    if let Some(whole) = whole.or_else(octal).or_else(decimal) {
        return Ok(Token::Int(whole));
    }
    let is_float = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let float = format!("{sign}{digits}").parse().ok().filter(|f: &f64| is_float && f.is_finite());
    float.map(Token::Float).ok_or_else(|| format!("`{text}` is no number"))
}

fn word(rest: &mut &str) -> String {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word.to_owned()
}

/// Parses `.A.B`; empty for `.` alone.
fn path(rest: &mut &str) -> Result<Vec<String>, Problem> {
    let mut path = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        let field = word(rest);
        if field.is_empty() {
            break;
        }
        path.push(field);
    }
    if path.len() > MAX_VALUE_DEPTH { Err("it is nested too deeply".to_owned()) } else { Ok(path) }
}

#[derive(Default)]
struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    /// The line of the current tag.
    line: usize,
    depth: usize,
    /// Number of open `range` blocks.
    ranges: usize,
    /// The variables in scope, with their unique names.
    variables: Vec<(String, String)>,
    declared: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
enum Stop {
    Text,
    End,
    Else(Vec<Token>),
}

impl Parser {
    fn whole(&mut self) -> Result<Parsed, Problem> {
        let (main, end) = self.nodes()?;
        match end {
            Stop::Text => Ok(Parsed { main, defined: std::mem::take(&mut self.defined) }),
            _ => Err("an `else` or `end` without a beginning".to_owned()),
        }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Problem> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let line = piece.line;
            self.line = line;
            let tokens = match piece.content {
                Content::Text(text) => {
                    nodes.push(Node { line, action: Action::Text(text) });
                    continue;
                }
                Content::Tag(tokens) => tokens,
            };
            let (word, rest) = match tokens.split_first() {
                Some((Token::Word(word), rest)) => (word.as_str(), rest),
                _ => ("", tokens.as_slice()),
            };
            let action = match word {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(rest.to_vec()))),
                "if" | "with" | "range" => self.block(word, rest)?,
                "break" | "continue" if self.ranges == 0 => {
                    return Err(format!("`{word}` outside `range`"));
                }
                "break" => Action::Break,
                "continue" => Action::Continue,
                "template" | "block" => {
                    let (name, value) = name(word, rest)?;
                    let value = if value.is_empty() { None } else { Some(self.expr(value)?) };
                    if word == "block" {
                        self.define(&name)?;
                    }
                    Action::Template { name, value }
                }
                "define" => {
                    if self.depth > 0 {
                        return Err("`define` inside another block".to_owned());
                    }
                    self.define(&name(word, rest)?.0)?;
                    continue;
                }
                _ => {
                    let head = self.head(&tokens, 1)?;
                    if head.variables.is_empty() {
                        Action::Output(head.value)
                    } else {
                        Action::Set(head)
                    }
                }
            };
            nodes.push(Node { line, action });
        }
        Ok((nodes, Stop::Text))
    }

    fn enter(&mut self) -> Result<(), Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err("it is nested too deeply".to_owned()) } else { Ok(()) }
    }

    /// Parses the nodes between `define` and `end`. Outer variables are not in scope.
    fn define(&mut self, name: &str) -> Result<(), Problem> {
        self.enter()?;
        let outer = (std::mem::take(&mut self.variables), std::mem::take(&mut self.ranges));
        let (nodes, end) = self.nodes()?;
        (self.variables, self.ranges) = outer;
        self.depth -= 1;
        if !matches!(end, Stop::End) {
            return Err(format!("`define` of `{name}` without an `end`"));
        }
        // An empty definition does not replace an existing one.
        let is_empty = nodes.iter().all(|node| {
            matches!(&node.action, Action::Text(text) if text.trim_matches(is_space).is_empty())
        });
        if !is_empty || !self.defined.contains_key(name) {
            self.defined.insert(name.to_owned(), nodes);
        }
        Ok(())
    }

    fn block(&mut self, word: &str, head: &[Token]) -> Result<Action, Problem> {
        self.enter()?;
        let seen = self.variables.len();
        let is_range = word == "range";
        let head = self.head(head, if is_range { 2 } else { 1 })?;
        self.ranges += usize::from(is_range);
        let unclosed = || format!("`{word}` without an `end`");
        let (then, end) = self.part()?;
        self.ranges -= usize::from(is_range);
        let other = match end {
            Stop::Text => return Err(unclosed()),
            Stop::End => Vec::new(),
            Stop::Else(rest) => match rest.split_first() {
                // `else if` shares the `end`.
                Some((Token::Word(again), head))
                    if !is_range && (again == "if" || again == "with") =>
                {
                    let line = self.line;
                    vec![Node { line, action: self.block(again, head)? }]
                }
                Some(_) => return Err("`else` is followed by something unknown".to_owned()),
                None => match self.part()? {
                    (nodes, Stop::End) => nodes,
                    _ => return Err(unclosed()),
                },
            },
        };
        self.depth -= 1;
        self.variables.truncate(seen);
        Ok(match word {
            "if" => Action::If { condition: head, then, other },
            "with" => Action::With { value: head, then, other },
            _ => Action::Range { list: head, body: then, other },
        })
    }

    /// Parses a branch of a block, with a scope of its own.
    fn part(&mut self) -> Result<(Vec<Node>, Stop), Problem> {
        let seen = self.variables.len();
        let part = self.nodes()?;
        self.variables.truncate(seen);
        Ok(part)
    }

    /// Parses a value, optionally preceded by `$x :=` or `$x =` with at most `most` variables.
    fn head(&mut self, tokens: &[Token], most: usize) -> Result<Head, Problem> {
        let sign = |token: &Token| matches!(token, Token::Sign(":=" | "="));
        let Some(at) = tokens.iter().position(sign) else {
            return Ok(Head { variables: Vec::new(), value: self.expr(tokens)? });
        };
        let (before, after) = tokens.split_at(at);
        let declares = after.first() == Some(&Token::Sign(":="));
        let value = self.expr(after.get(1..).unwrap_or_default())?;
        let mut variables = Vec::new();
        for (index, token) in before.iter().enumerate() {
            match token {
                Token::Variable(name, path) if index % 2 == 0 && path.is_empty() => {
                    let declared = if declares { self.declare(name) } else { self.variable(name)? };
                    variables.push(declared);
                }
                Token::Sign(",") if index % 2 == 1 => {}
                _ => return Err("no variable before `=`".to_owned()),
            }
        }
        if variables.is_empty() || variables.len() > most || at % 2 == 0 {
            return Err(format!("{} variables before `=`", variables.len()));
        }
        Ok(Head { variables, value })
    }

    fn declare(&mut self, name: &str) -> String {
        let plain: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        self.declared += 1;
        let declared = format!("{plain}_{}", self.declared);
        self.variables.push((name.to_owned(), declared.clone()));
        declared
    }

    fn variable(&self, name: &str) -> Result<String, Problem> {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        let found = found.map(|(_, declared)| declared.clone());
        found.ok_or_else(|| format!("`${name}` has no value"))
    }

    /// Parses a value, optionally piped through functions.
    fn expr(&self, tokens: &[Token]) -> Result<Expr, Problem> {
        let mut rest = tokens;
        let value = self.pipe(&mut rest, 0)?;
        if rest.is_empty() { Ok(value) } else { Err("a `)` too many".to_owned()) }
    }

    fn pipe(&self, rest: &mut &[Token], depth: usize) -> Result<Expr, Problem> {
        let mut value = self.command(rest, depth)?;
        let mut stages = depth;
        while let Some((Token::Sign("|"), after)) = rest.split_first() {
            *rest = after;
            stages += 1;
            value = match self.command(rest, stages)? {
                Expr::Call(name, mut args) => {
                    args.push(value);
                    Expr::Call(name, args)
                }
                _ => return Err("`|` is followed by no function".to_owned()),
            };
        }
        Ok(value)
    }

    /// Parses a value, or a function and its arguments.
    fn command(&self, rest: &mut &[Token], depth: usize) -> Result<Expr, Problem> {
        if depth > MAX_VALUE_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let mut function = None;
        if let Some((Token::Word(name), after)) = rest.split_first()
            && !["true", "false", "nil"].contains(&name.as_str())
        {
            function = Some(name.clone());
            *rest = after;
        }
        let mut args = Vec::new();
        while let Some((token, after)) = rest.split_first() {
            if matches!(token, Token::Sign(")" | "|")) {
                break;
            }
            *rest = after;
            args.push(match token {
                Token::Field(path) => fields(Expr::Dot, path),
                Token::Variable(name, path) if name.is_empty() => fields(Expr::Root, path),
                Token::Variable(name, path) => fields(Expr::Variable(self.variable(name)?), path),
                Token::Text(text) => Expr::Text(text.clone()),
                Token::Int(number) => Expr::Int(*number),
                Token::Float(number) => Expr::Float(*number),
                Token::Word(word) => match word.as_str() {
                    "true" => Expr::Bool(true),
                    "false" => Expr::Bool(false),
                    "nil" => Expr::Nil,
                    // A function without arguments.
                    name => Expr::Call(name.to_owned(), Vec::new()),
                },
                Token::Sign("(") => {
                    let value = self.pipe(rest, depth + 1)?;
                    let Some((Token::Sign(")"), after)) = rest.split_first() else {
                        return Err("a `(` is not closed".to_owned());
                    };
                    *rest = after;
                    match rest.split_first() {
                        Some((Token::After(path), after)) => {
                            *rest = after;
                            fields(value, path)
                        }
                        _ => value,
                    }
                }
                Token::Sign(_) | Token::After(_) => {
                    return Err("a sign in the wrong place".to_owned());
                }
            });
        }
        match (function, args.len()) {
            (Some(name), _) => Ok(Expr::Call(name, args)),
            (None, 1) if args.first() == Some(&Expr::Nil) => {
                Err("`nil` alone is no value".to_owned())
            }
            (None, 1) => Ok(args.remove(0)),
            (None, 0) => Err("a value is missing".to_owned()),
            (None, _) => Err("values follow each other without a function".to_owned()),
        }
    }
}

fn fields(of: Expr, path: &[String]) -> Expr {
    path.iter().fold(of, |of, name| Expr::Field(Box::new(of), name.clone()))
}

/// The name after `define`, `block` or `template`, and the remaining tokens.
fn name<'a>(word: &str, tokens: &'a [Token]) -> Result<(String, &'a [Token]), Problem> {
    match tokens.split_first() {
        Some((Token::Text(name), rest)) if word != "define" || rest.is_empty() => {
            Ok((name.clone(), rest))
        }
        _ => Err(format!("`{word}` without a name")),
    }
}
