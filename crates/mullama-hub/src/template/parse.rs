//! Go's template language, as far as it is used for prompts.

/// What can be wrong, or cannot be turned.
pub(super) type Problem = String;

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Text(String),
    Output(Expr),
    /// `$name := value`, or `=`.
    Set {
        name: String,
        declare: bool,
        value: Expr,
    },
    If {
        condition: Expr,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    With {
        value: Expr,
        then: Vec<Node>,
        other: Vec<Node>,
    },
    Range {
        names: Vec<String>,
        list: Expr,
        body: Vec<Node>,
        other: Vec<Node>,
    },
    Break,
    Continue,
    /// Go's language has it, this does not.
    Unknown(String),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    /// `.`, `$` or `$name`, and fields of it.
    Field {
        of: Base,
        path: Vec<String>,
    },
    Text(String),
    Number(String),
    Word(&'static str),
    Call {
        name: String,
        args: Vec<Expr>,
    },
    /// Fields of a value in parentheses.
    Of(Box<Expr>, Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Base {
    Dot,
    Root,
    Name(String),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Field(Base, Vec<String>),
    /// `.Field` right after `)`.
    After(Vec<String>),
    Word(String),
    Text(String),
    Number(String),
    Sign(&'static str),
}

/// Blocks deeper than this are refused.
const MAX_DEPTH: usize = 64;

enum Piece {
    Text(String),
    Tag(Vec<Token>),
}

/// Reads a template.
pub(super) fn template(text: &str) -> Result<Vec<Node>, Problem> {
    let mut parser = Parser { pieces: pieces(text)?.into_iter(), depth: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        Stop::Text => Ok(nodes),
        _ => Err("an `else` or `end` without a beginning".to_owned()),
    }
}

/// Cuts text from tags. White space goes where a tag says so.
fn pieces(text: &str) -> Result<Vec<Piece>, Problem> {
    let (mut pieces, mut rest, mut trim) = (Vec::new(), text, false);
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let space = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        let mut before = if trim { before.trim_start_matches(space) } else { before };
        let dash = after.and_then(|after| after.strip_prefix('-')).filter(|a| a.starts_with(space));
        if dash.is_some() {
            before = before.trim_end_matches(space);
        }
        if !before.is_empty() {
            pieces.push(Piece::Text(before.to_owned()));
        }
        let Some(after) = dash.or(after) else { return Ok(pieces) };
        let (tokens, after, dash) = tag(after)?;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Tag(tokens));
        }
        (rest, trim) = (after, dash);
    }
}

/// The tokens of a tag, what follows it, and whether it trims that. A comment has no tokens.
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
            '"' => {
                let end = closing(rest).ok_or("a text is not closed")?;
                let text = unescape(&rest[1..end])?;
                rest = &rest[end + 1..];
                Token::Text(text)
            }
            '`' => {
                let (text, after) = rest[1..].split_once('`').ok_or("a text is not closed")?;
                rest = after;
                Token::Text(text.to_owned())
            }
            '.' => {
                let path = path(&mut rest);
                // `(x).y`, but `(x) .y` is two values.
                if !spaced && tokens.last() == Some(&Token::Sign(")")) {
                    Token::After(path)
                } else {
                    Token::Field(Base::Dot, path)
                }
            }
            '$' => {
                rest = &rest[1..];
                let name = word(&mut rest);
                let base = if name.is_empty() { Base::Root } else { Base::Name(name) };
                let fields = if rest.starts_with('.') { path(&mut rest) } else { Vec::new() };
                Token::Field(base, fields)
            }
            '0'..='9' | '-' => {
                let end = rest[1..].find(|c: char| !c.is_ascii_digit() && c != '.');
                let (number, after) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                rest = after;
                number.parse::<f64>().map_err(|_| format!("{number:?} is no number"))?;
                Token::Number(number.to_owned())
            }
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

/// Where the text that begins with `"` ends.
fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        end.then_some(at)
    })
}

fn unescape(text: &str) -> Result<String, Problem> {
    let (mut out, mut chars) = (String::new(), text.chars());
    while let Some(c) = chars.next() {
        out.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some('r') => '\r',
                Some(c @ ('"' | '\\' | '\'')) => c,
                Some('u') => {
                    let hex: String = chars.by_ref().take(4).collect();
                    let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                    code.ok_or("a text has an unknown escape")?
                }
                _ => return Err("a text has an unknown escape".to_owned()),
            },
            c => c,
        });
    }
    Ok(out)
}

fn word(rest: &mut &str) -> String {
    let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word.to_owned()
}

/// `.A.B`; none for `.` alone.
fn path(rest: &mut &str) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        let field = word(rest);
        if field.is_empty() {
            break;
        }
        path.push(field);
    }
    path
}

struct Parser {
    pieces: std::vec::IntoIter<Piece>,
    depth: usize,
}

/// What ends a list of nodes.
enum Stop {
    Text,
    End,
    Else(Vec<Token>),
}

impl Parser {
    fn nodes(&mut self) -> Result<(Vec<Node>, Stop), Problem> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let tokens = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text));
                    continue;
                }
                Piece::Tag(tokens) => tokens,
            };
            let word = match tokens.first() {
                Some(Token::Word(word)) => word.as_str(),
                _ => "",
            };
            match word {
                "end" => return Ok((nodes, Stop::End)),
                "else" => return Ok((nodes, Stop::Else(tokens[1..].to_vec()))),
                "if" | "with" | "range" => nodes.push(self.block(word, &tokens[1..])?),
                "break" => nodes.push(Node::Break),
                "continue" => nodes.push(Node::Continue),
                "template" => nodes.push(Node::Unknown(word.to_owned())),
                "define" | "block" => {
                    let word = word.to_owned();
                    self.block("if", &[Token::Word("true".to_owned())])?;
                    nodes.push(Node::Unknown(word));
                }
                _ => nodes.push(statement(&tokens)?),
            }
        }
        Ok((nodes, Stop::Text))
    }

    fn block(&mut self, word: &str, head: &[Token]) -> Result<Node, Problem> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("it is nested too deeply".to_owned());
        }
        let unclosed = || format!("`{word}` without an `end`");
        let (then, end) = self.nodes()?;
        let other = match end {
            Stop::Text => return Err(unclosed()),
            Stop::End => Vec::new(),
            Stop::Else(rest) => match rest.split_first() {
                // `else if` shares the `end`.
                Some((Token::Word(again), head)) if again == "if" || again == "with" => {
                    vec![self.block(again, head)?]
                }
                Some(_) => return Err("`else` is followed by something unknown".to_owned()),
                None => match self.nodes()? {
                    (nodes, Stop::End) => nodes,
                    _ => return Err(unclosed()),
                },
            },
        };
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If { condition: expr(head)?, then, other },
            "with" => Node::With { value: expr(head)?, then, other },
            _ => {
                let at = head.iter().position(|token| *token == Token::Sign(":="));
                let names = head[..at.unwrap_or(0)].iter().filter_map(|token| match token {
                    Token::Sign(",") => None,
                    Token::Field(Base::Name(name), path) if path.is_empty() => {
                        Some(Ok(name.clone()))
                    }
                    _ => Some(Err("`range` has no variable before `:=`".to_owned())),
                });
                let names = names.collect::<Result<Vec<_>, _>>()?;
                let list = expr(&head[at.map_or(0, |at| at + 1)..])?;
                Node::Range { names, list, body: then, other }
            }
        })
    }
}

fn statement(tokens: &[Token]) -> Result<Node, Problem> {
    if let [Token::Field(Base::Name(name), path), Token::Sign(sign @ (":=" | "=")), value @ ..] =
        tokens
        && path.is_empty()
    {
        let value = expr(value)?;
        return Ok(Node::Set { name: name.clone(), declare: *sign == ":=", value });
    }
    expr(tokens).map(Node::Output)
}

/// A value, perhaps piped through functions.
fn expr(tokens: &[Token]) -> Result<Expr, Problem> {
    let mut rest = tokens;
    let value = pipe(&mut rest, 0)?;
    if rest.is_empty() { Ok(value) } else { Err("a `)` too many".to_owned()) }
}

fn pipe(rest: &mut &[Token], depth: usize) -> Result<Expr, Problem> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".to_owned());
    }
    let mut value = command(rest, depth)?;
    while let Some((Token::Sign("|"), after)) = rest.split_first() {
        *rest = after;
        value = match command(rest, depth)? {
            Expr::Call { name, mut args } => {
                args.push(value);
                Expr::Call { name, args }
            }
            _ => return Err("`|` is followed by no function".to_owned()),
        };
    }
    Ok(value)
}

/// A value, or a function and its arguments.
fn command(rest: &mut &[Token], depth: usize) -> Result<Expr, Problem> {
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
            Token::Field(of, path) => Expr::Field { of: of.clone(), path: path.clone() },
            Token::Text(text) => Expr::Text(text.clone()),
            Token::Number(number) => Expr::Number(number.clone()),
            Token::Word(word) => match word.as_str() {
                "true" => Expr::Word("true"),
                "false" => Expr::Word("false"),
                "nil" => Expr::Word("none"),
                // A function without arguments, as an argument.
                name => Expr::Call { name: name.to_owned(), args: Vec::new() },
            },
            Token::Sign("(") => {
                let value = pipe(rest, depth + 1)?;
                let Some((Token::Sign(")"), after)) = rest.split_first() else {
                    return Err("a `(` is not closed".to_owned());
                };
                *rest = after;
                match rest.split_first() {
                    Some((Token::After(path), after)) => {
                        *rest = after;
                        Expr::Of(Box::new(value), path.clone())
                    }
                    _ => value,
                }
            }
            Token::Sign(_) | Token::After(_) => return Err("a sign in the wrong place".to_owned()),
        });
    }
    match (function, args.len()) {
        (Some(name), _) => Ok(Expr::Call { name, args }),
        (None, 1) => Ok(args.remove(0)),
        (None, 0) => Err("a value is missing".to_owned()),
        (None, _) => Err("values follow each other without a function".to_owned()),
    }
}
