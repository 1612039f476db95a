//! Grammars of tool calls, and of answers in a format of the model's own.
//!
//! The engine determines how a template writes calls and stores it as a parser: a graph of literals, sequences and
//! choices, with tags for names and arguments. This module converts it to a grammar for llguidance in which each
//! argument follows its complete schema. Regular parts are merged into one terminal as far as possible: terminals are
//! matched greedily, so a text and its end must be in the same one.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::gemma;
use super::lark::{Lark, SPACE};
use crate::sampling::{
    ANY_TEXT, ReasoningTags, Schema, Texts, optional_reasoning, quoted, types, unusable,
};
use crate::{Error, ErrorKind, Result};

/// Schema keywords that need no check when properties are written between tags.
const ANNOTATION_KEYWORDS: [&str; 17] = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "unevaluatedProperties",
    "$defs",
    "definitions",
    "$schema",
    "$id",
    "id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "strict",
];

/// Greatest depth at which the parser is searched for the beginnings of calls.
const MAX_DEPTH: usize = 64;

/// Builds the grammar.
pub(super) struct Calls<'a> {
    /// The engine's parser.
    parsers: &'a [Value],
    rules: &'a Map<String, Value>,
    root: usize,
    tools: Vec<Tool>,
    /// The schema of an answer that is not a call.
    schema: Option<Schema>,
    /// Whether an answer may have several calls.
    is_parallel: bool,
    lark: Lark,
    /// Rules of the parser that are written already, by place.
    written: HashMap<(usize, Place), Vec<Item>>,
    /// Rules being written, with the name of the grammar rule if they refer to themselves.
    open: HashMap<(usize, Place), Option<String>>,
    /// Whether an argument may be text or JSON. If so, text must not be valid JSON.
    is_mixed: bool,
}

struct Tool {
    name: String,
    schema: Schema,
}

/// The part of a call that a part of the parser belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Place {
    Outside,
    /// In a call, or in a value of its arguments: index of the tool, and pointer to the value's schema.
    In(usize, String),
}

/// A part of a sequence.
#[derive(Debug, Clone)]
enum Item {
    Literal(String),
    /// An optional literal.
    Maybe(String),
    /// An expression for a terminal, and whether it may match the empty text.
    Terminal(String, bool),
    /// An expression for a rule.
    Rule(String),
    /// A text that ends at one of the stops; the stop is the next item.
    Open {
        texts: Option<String>,
        stops: Vec<String>,
    },
    /// Negative lookahead: the following text must not begin with this.
    Not(String),
    /// Lookahead; its text if it is a literal.
    Peek(Option<String>),
    /// Matches nothing.
    Never,
    /// One of these arguments: their names and rules.
    Arguments(Vec<(String, String)>),
    /// Any number of arguments, each between these items.
    Repeated {
        before: Vec<Item>,
        arguments: Vec<(String, String)>,
        after: Vec<Item>,
    },
}

impl Item {
    fn can_match_empty(&self) -> bool {
        matches!(self, Self::Maybe(_) | Self::Terminal(_, true) | Self::Peek(_))
    }

    fn begins_with(&self, text: &str) -> bool {
        matches!(self, Self::Literal(literal) if literal.starts_with(text))
    }
}

/// A sequence in its final form, as a terminal or a rule.
enum ClosedSequence {
    Never,
    Terminal(String, bool),
    Rule(String),
}

impl<'a> Calls<'a> {
    /// `tools`: their definitions. `schema`: the schema of the answer. `is_parallel`: whether an answer may have several
    /// calls.
    pub fn new(
        parser: &'a Value,
        tools: &[Value],
        schema: Option<&Value>,
        is_parallel: bool,
    ) -> Result<Self> {
        let unknown = || internal("the engine's parser has a form that is unknown");
        let tools = tools.iter().map(|tool| {
            let function = &tool["function"];
            let nothing = json!({"type": "object", "properties": {}});
            let parameters = function["parameters"].as_object().filter(|it| !it.is_empty());
            let schema = parameters.map_or(nothing, |it| it.clone().into());
            let name = function["name"].as_str().unwrap_or_default().to_owned();
            Ok(Tool { name, schema: Schema::new(&schema)? })
        });
        Ok(Self {
            parsers: parser["parsers"].as_array().ok_or_else(unknown)?,
            rules: parser["rules"].as_object().ok_or_else(unknown)?,
            root: parser["root"].as_u64().ok_or_else(unknown)? as usize,
            tools: tools.collect::<Result<_>>()?,
            schema: schema.map(Schema::new).transpose()?,
            is_parallel,
            lark: Lark::default(),
            written: HashMap::new(),
            open: HashMap::new(),
            is_mixed: false,
        })
    }

    /// The grammar of an answer that starts with a call, or with reasoning followed by a call. Free text before a
    /// required call is excluded: the model might never get to the call.
    pub fn call_first_grammar(mut self) -> Result<String> {
        let items = self.visit(self.root, &Place::Outside)?;
        let start = self.rule_of(&items, &Place::Outside)?;
        self.finish(start)
    }

    /// The grammar of calls only.
    pub fn calls_only_grammar(mut self) -> Result<String> {
        let start = self.calls()?;
        self.finish(start)
    }

    /// The grammar of either a value that follows the schema, or calls, after optional reasoning.
    pub fn value_or_calls_grammar(mut self, reasoning: Option<&ReasoningTags>) -> Result<String> {
        let calls = self.calls()?.ok_or_else(|| internal("the engine's parser takes no call"))?;
        let value = self.json(&Place::Outside, false)?;
        let (before, definitions) = reasoning.map(optional_reasoning).unwrap_or_default();
        self.lark.add(&definitions);
        self.finish(Some(format!("{before} ({value} | {calls})")))
    }

    /// The rules of calls, as alternatives.
    fn calls(&mut self) -> Result<Option<String>> {
        let mut starts = Vec::new();
        for id in self.triggers() {
            let items = self.visit(id, &Place::Outside)?;
            starts.extend(self.rule_of(&items, &Place::Outside)?);
        }
        Ok((!starts.is_empty()).then(|| starts.join(" | ")))
    }

    fn finish(self, start: Option<String>) -> Result<String> {
        let start = start.ok_or_else(|| internal("the engine's parser takes no call"))?;
        Ok(self.lark.finish(&start))
    }

    /// A regular expression for the start of calls without a marker: an object whose first key is one of these names.
    pub fn start_pattern(&self) -> Option<String> {
        let mut names = BTreeSet::new();
        for id in self.triggers() {
            self.visit_descendants(id, &mut |_, parser| {
                let text = parser["literal"].as_str().unwrap_or_default();
                let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                if inner
                    .is_some_and(|name| name.chars().all(|it| it.is_alphanumeric() || it == '_'))
                {
                    names.extend(inner.filter(|name| !name.is_empty()).map(str::to_owned));
                }
            });
        }
        let names: Vec<_> = names.into_iter().collect();
        (!names.is_empty()).then(|| format!("(\\{{\\s*\"(?:{})\"\\s*:)", names.join("|")))
    }

    /// The texts that calls may begin with, without white space around them.
    pub fn openings(&self) -> BTreeSet<String> {
        let mut openings = BTreeSet::new();
        for id in self.triggers() {
            self.add_openings(id, 0, &mut openings);
        }
        openings
    }

    /// Adds the first literals of a part of the parser. Returns whether the part can be empty.
    fn add_openings(&self, id: usize, depth: usize, openings: &mut BTreeSet<String>) -> bool {
        let Some(parser) = self.parsers.get(id).filter(|_| depth < MAX_DEPTH) else { return true };
        let text = |name: &str| parser[name].as_str().unwrap_or_default();
        match text("type") {
            "literal" => {
                let literal = text("literal").trim();
                if !literal.is_empty() {
                    openings.insert(literal.to_owned());
                }
                literal.is_empty()
            }
            "sequence" => {
                children(parser).into_iter().all(|it| self.add_openings(it, depth + 1, openings))
            }
            "choice" => {
                let mut can_be_empty = false;
                for it in children(parser) {
                    can_be_empty |= self.add_openings(it, depth + 1, openings);
                }
                can_be_empty
            }
            "epsilon" | "start" | "end" | "and" | "not" | "space" => true,
            "ref" => {
                let rule = self.rules.get(text("name")).and_then(Value::as_u64);
                rule.is_none_or(|rule| self.add_openings(rule as usize, depth + 1, openings))
            }
            _ => {
                let child = parser["child"].as_u64();
                let is_optional = parser["min_count"].as_i64() == Some(0);
                child.is_some_and(|child| self.add_openings(child as usize, depth + 1, openings))
                    || is_optional
            }
        }
    }

    /// The parser's rules that are calls.
    fn triggers(&self) -> Vec<usize> {
        let rules = self.rules.values().filter_map(Value::as_u64).map(|id| id as usize);
        let is_trigger = |id: &usize| self.parsers.get(*id).is_some_and(|it| it["trigger"] == true);
        let mut triggers: Vec<_> = rules.filter(is_trigger).collect();
        triggers.sort_unstable();
        triggers
    }

    fn visit(&mut self, id: usize, place: &Place) -> Result<Vec<Item>> {
        let parsers = self.parsers;
        let parser =
            parsers.get(id).ok_or_else(|| internal("the engine's parser refers nowhere"))?;
        let text = |name: &str| parser[name].as_str().unwrap_or_default();
        let child = || parser["child"].as_u64().unwrap_or(u64::MAX) as usize;
        Ok(match text("type") {
            "epsilon" | "start" | "end" => Vec::new(),
            "literal" if text("literal").is_empty() => Vec::new(),
            "literal" => vec![Item::Literal(text("literal").to_owned())],
            "sequence" => {
                let mut items = Vec::new();
                for child in children(parser) {
                    items.extend(self.visit(child, place)?);
                }
                items
            }
            "choice" => self.choice(&children(parser), place)?,
            "repetition" => {
                let bounds = |name: &str| parser[name].as_i64().unwrap_or(-1);
                let mut most = u64::try_from(bounds("max_count")).ok();
                // The engine's parser of calls as JSON takes several whatever the request says.
                if !self.is_parallel && self.has_call(child()) {
                    most = Some(1);
                }
                let least = bounds("min_count").max(0) as u64;
                let items = self.visit(child(), place)?;
                self.repetition(&items, least, most, place)?
            }
            "and" => match self.visit(child(), place)?.as_slice() {
                [Item::Literal(text)] => vec![Item::Peek(Some(text.clone()))],
                _ => vec![Item::Peek(None)],
            },
            "not" => match self.visit(child(), place)?.as_slice() {
                [Item::Literal(text)] => vec![Item::Not(text.clone())],
                _ => Vec::new(),
            },
            "any" => vec![Item::Terminal("/(?s:.)/".to_owned(), false)],
            "space" => vec![Item::Terminal(SPACE.to_owned(), true)],
            "chars" => vec![chars(parser)],
            "string" => {
                let quote = text("delimiter");
                let inner = format!(
                    "/(?:[^{quote}\\\\\\x00-\\x1f]|\\\\[{quote}\\\\\\/bfnrt]|\\\\u[0-9a-fA-F]{{4}})*/"
                );
                vec![Item::Terminal(inner, true)]
            }
            "until" => vec![Item::Open { texts: None, stops: stops(parser) }],
            "schema" => vec![Item::Rule(self.json(place, false)?)],
            "rule" => self.named(id, child(), place)?,
            "ref" => {
                let rule = self.rules.get(text("name")).and_then(Value::as_u64);
                let rule = rule.ok_or_else(|| internal("the engine's parser has no such rule"))?;
                self.visit(rule as usize, place)?
            }
            // Its substitute in the engine's grammar: empty, or a value that may be text or JSON.
            "gbnf" if text("grammar").is_empty() => Vec::new(),
            "gbnf" => {
                let before = std::mem::replace(&mut self.is_mixed, true);
                let items = self.visit(child(), place);
                self.is_mixed = before;
                items?
            }
            "atomic" | "ac" => self.visit(child(), place)?,
            "tag" => self.tagged(text("tag"), id, child(), place)?,
            kind => return Err(internal(&format!("the engine's parser has a part `{kind}`"))),
        })
    }

    fn tagged(&mut self, tag: &str, id: usize, child: usize, place: &Place) -> Result<Vec<Item>> {
        match (tag, place) {
            // Text next to calls: an answer that must contain a call has none.
            ("content", _) if !self.has_descendant(child, &|parser| parser["type"] == "schema") => {
                Ok(Vec::new())
            }
            ("tool", Place::Outside) => {
                let place = self.call_at(id)?.unwrap_or(Place::Outside);
                self.visit(child, &place)
            }
            ("tool-arg", Place::In(tool, object)) => {
                let Some(name) = self.first_name(child, "tool-arg-name") else {
                    return self.visit(child, place);
                };
                self.tools[*tool].check_members(object)?;
                let schema = &self.tools[*tool].schema;
                let Some(value) = schema.property(object, &name) else {
                    return Err(unusable(&format!("{object}/properties/{name} is nowhere")));
                };
                let items = self.visit(child, &Place::In(*tool, value))?;
                Ok(match self.closed(&items, place)? {
                    ClosedSequence::Never if self.required(place).contains(&name) => {
                        let what = format!(
                            "the required property `{name}` can only be text in the model's format for tool calls, and its schema does not allow text"
                        );
                        return Err(unusable(&what));
                    }
                    ClosedSequence::Never => vec![Item::Never],
                    ClosedSequence::Terminal(expression, _) => {
                        vec![Item::Arguments(vec![(name, self.lark.terminal(&expression))])]
                    }
                    ClosedSequence::Rule(expression) => {
                        vec![Item::Arguments(vec![(name, self.lark.rule(&expression))])]
                    }
                })
            }
            ("tool-arg-string-value", Place::In(tool, value)) => {
                let items = self.visit(child, place)?;
                let [Item::Open { stops, .. }] = items.as_slice() else { return Ok(items) };
                let texts = match self.tools[*tool].schema.texts(value)? {
                    Texts::None => return Ok(vec![Item::Never]),
                    Texts::Any => None,
                    Texts::Some(expression) => Some(expression),
                };
                let texts = if self.is_mixed {
                    let others = not_json(&self.tools[*tool].schema, value);
                    Some(format!("({}) & {others}", texts.as_deref().unwrap_or(ANY_TEXT)))
                } else {
                    texts
                };
                Ok(vec![Item::Open { texts, stops: stops.clone() }])
            }
            ("tool-arg-value", Place::In(..)) => {
                let has_schema = self.has_descendant(child, &|parser| parser["type"] == "schema");
                let is_python = !has_schema && !self.is_mixed;
                Ok(vec![Item::Rule(self.json(place, is_python)?)])
            }
            ("tool-arg-item", Place::In(tool, value)) => {
                let schema = &self.tools[*tool].schema;
                let items = schema.items(value).unwrap_or_default();
                self.visit(child, &Place::In(*tool, items))
            }
            ("tool-arg-array", Place::In(tool, value)) => {
                let (least, most) = self.tools[*tool].schema.counts(value)?;
                let repetition = &self.parsers[child];
                let item = repetition["child"].as_u64().unwrap_or(u64::MAX) as usize;
                let items = self.visit(item, place)?;
                self.repetition(&items, least, most, place)
            }
            _ => self.visit(child, place),
        }
    }

    /// Whether a part of the parser contains the start of a call.
    fn has_call(&self, id: usize) -> bool {
        self.has_descendant(id, &|parser| parser["tag"] == "tool")
    }

    /// Converts a rule of the parser, once per place.
    fn named(&mut self, id: usize, child: usize, place: &Place) -> Result<Vec<Item>> {
        let place = match place {
            Place::Outside => &self.call_at(id)?.unwrap_or(Place::Outside),
            Place::In(..) => place,
        };
        if let Place::In(tool, object) = place
            && self.parsers[id]["name"] == "gemma4-dict"
        {
            let (tool, object) = (*tool, object.clone());
            let rule = gemma::value(&mut self.lark, &self.tools[tool].schema, &object)?;
            return Ok(vec![Item::Rule(rule)]);
        }
        let key = (id, place.clone());
        if let Some(items) = self.written.get(&key) {
            return Ok(items.clone());
        }
        if let Some(name) = self.open.get_mut(&key) {
            // The rule is recursive.
            let name = name.get_or_insert_with(|| self.lark.reserve());
            return Ok(vec![Item::Rule(name.clone())]);
        }
        self.open.insert(key.clone(), None);
        let items = self.visit(child, place)?;
        let name = self.open.remove(&key).flatten();
        let items = if let Some(name) = name {
            let expression = self.rule_of(&items, place)?.unwrap_or_else(|| format!("~{ANY_TEXT}"));
            self.lark.define(&name, &expression);
            vec![Item::Rule(name)]
        } else if items.len() <= 1 {
            items
        } else {
            let last = items.last().filter(|item| matches!(item, Item::Peek(Some(_)))).cloned();
            let item = match self.closed(&items, place)? {
                ClosedSequence::Never => Item::Never,
                ClosedSequence::Terminal(expression, is_nullable) => {
                    Item::Terminal(self.lark.terminal(&expression), is_nullable)
                }
                ClosedSequence::Rule(expression) => Item::Rule(self.lark.rule(&expression)),
            };
            std::iter::once(item).chain(last).collect()
        };
        self.written.insert(key, items.clone());
        Ok(items)
    }

    fn choice(&mut self, children: &[usize], place: &Place) -> Result<Vec<Item>> {
        // An answer that must contain a call has no text before it, if the format lets it start with the call.
        let has_text = |id: &usize| {
            let is_text =
                |parser: &Value| parser["tag"] == "content" || parser["tag"] == "reasoning";
            self.has_descendant(*id, &is_text)
        };
        let only_calls: Vec<_> = children
            .iter()
            .filter(|id| *place == Place::Outside && self.has_call(**id) && !has_text(id))
            .copied()
            .collect();
        let children = if only_calls.is_empty() { children } else { &only_calls };
        let mut alternatives = Vec::new();
        for child in children {
            alternatives.push(self.visit(*child, place)?);
        }
        if alternatives.len() > 1 {
            alternatives.retain(|items| !matches!(items.as_slice(), [Item::Peek(_) | Item::Never]));
        }
        let arguments: Option<Vec<_>> = alternatives
            .iter()
            .map(|items| match items.as_slice() {
                [Item::Arguments(arguments)] => Some(arguments.clone()),
                _ => None,
            })
            .collect();
        if let Some(arguments) = arguments.filter(|arguments| !arguments.is_empty()) {
            return Ok(vec![Item::Arguments(arguments.concat())]);
        }
        if let [items] = alternatives.as_slice() {
            return Ok(items.clone());
        }
        // The lookahead that all alternatives end with.
        let mut ends = alternatives.iter().map(|items| match items.last() {
            Some(Item::Peek(Some(text))) => Some(text.clone()),
            _ => None,
        });
        let last =
            ends.next().flatten().filter(|end| ends.all(|other| other.as_ref() == Some(end)));
        let mut chosen = self.one_of(&alternatives, place)?;
        chosen.extend(last.map(|text| Item::Peek(Some(text))));
        Ok(chosen)
    }

    /// A choice between several sequences.
    fn one_of(&mut self, alternatives: &[Vec<Item>], place: &Place) -> Result<Vec<Item>> {
        let mut closed = Vec::new();
        for items in alternatives {
            match self.closed(items, place)? {
                ClosedSequence::Never => {}
                other => closed.push(other),
            }
        }
        if closed.is_empty() {
            return Ok(vec![Item::Never]);
        }
        let join = |parts: Vec<String>| format!("({})", parts.join(" | "));
        let (mut terminals, mut is_nullable) = (Vec::new(), false);
        let mut rules = Vec::new();
        for alternative in closed {
            match alternative {
                ClosedSequence::Terminal(expression, may_be_empty) => {
                    terminals.push(format!("({})", pattern_or_empty(&expression)));
                    is_nullable |= may_be_empty;
                }
                ClosedSequence::Rule(expression) => rules.push(self.lark.rule(&expression)),
                ClosedSequence::Never => {}
            }
        }
        if rules.is_empty() {
            return Ok(vec![Item::Terminal(self.lark.terminal(&join(terminals)), is_nullable)]);
        }
        if !terminals.is_empty() {
            rules.push(self.lark.terminal(&join(terminals)));
        }
        Ok(vec![Item::Rule(join(rules))])
    }

    fn repetition(
        &mut self,
        items: &[Item],
        least: u64,
        most: Option<u64>,
        place: &Place,
    ) -> Result<Vec<Item>> {
        if items.is_empty() || most == Some(0) {
            return Ok(Vec::new());
        }
        if let ([Item::Literal(text)], 0, Some(1)) = (items, least, most) {
            return Ok(vec![Item::Maybe(text.clone())]);
        }
        let at = items.iter().position(|item| matches!(item, Item::Arguments(_)));
        if let (Some(at), 0, None) = (at, least, most)
            && let Item::Arguments(arguments) = &items[at]
        {
            let (before, after) = (items[..at].to_vec(), items[at + 1..].to_vec());
            return Ok(vec![Item::Repeated { before, arguments: arguments.clone(), after }]);
        }
        let count = match (least, most) {
            (0, Some(1)) => "?".to_owned(),
            (0, None) => "*".to_owned(),
            (1, None) => "+".to_owned(),
            (least, None) => format!("{{{least},}}"),
            (least, Some(most)) => format!("{{{least},{most}}}"),
        };
        Ok(match self.closed(items, place)? {
            ClosedSequence::Never if least == 0 => Vec::new(),
            ClosedSequence::Never => vec![Item::Never],
            ClosedSequence::Terminal(expression, is_nullable) => {
                vec![Item::Terminal(format!("({expression}){count}"), is_nullable || least == 0)]
            }
            ClosedSequence::Rule(expression) => vec![Item::Rule(format!("({expression}){count}"))],
        })
    }

    fn rule_of(&mut self, items: &[Item], place: &Place) -> Result<Option<String>> {
        Ok(match self.closed(items, place)? {
            ClosedSequence::Never => None,
            ClosedSequence::Terminal(expression, _) => {
                Some(self.lark.terminal(&pattern_or_empty(&expression)))
            }
            ClosedSequence::Rule(expression) => Some(self.lark.rule(&expression)),
        })
    }

    /// Assembles a sequence: merges texts with their ends, and arguments with the required ones.
    fn closed(&mut self, items: &[Item], place: &Place) -> Result<ClosedSequence> {
        let mut parts = Vec::new();
        let mut items = items.iter().peekable();
        let mut unlike = None;
        while let Some(item) = items.next() {
            let refused = unlike.take();
            match item {
                Item::Never => return Ok(ClosedSequence::Never),
                // If the next item starts with the lookahead's text, optional items before it are dropped.
                Item::Peek(Some(text)) => {
                    let mut rest = items.clone().skip_while(|item| item.can_match_empty());
                    if rest.next().is_some_and(|item| item.begins_with(text)) {
                        while items.next_if(|item| item.can_match_empty()).is_some() {}
                    }
                }
                Item::Peek(None) => {}
                Item::Not(text) => unlike = Some(text),
                Item::Literal(text) => parts.push(Item::Terminal(quoted(text), false)),
                Item::Maybe(text) => parts.push(Item::Terminal(format!("{}?", quoted(text)), true)),
                Item::Terminal(..) | Item::Rule(_) => parts.push(item.clone()),
                Item::Open { texts, stops } => {
                    let end = loop {
                        match items.next() {
                            Some(Item::Literal(text) | Item::Maybe(text))
                                if stops.iter().any(|stop| {
                                    text.starts_with(stop) || stop.starts_with(text)
                                }) =>
                            {
                                break text;
                            }
                            Some(Item::Peek(_)) => {}
                            // White space before the end is part of the text.
                            Some(Item::Maybe(_) | Item::Terminal(_, true)) if texts.is_none() => {}
                            _ => return Ok(ClosedSequence::Never),
                        }
                    };
                    let text = text_until(texts.as_deref(), refused, stops, end);
                    parts.push(Item::Terminal(self.lark.terminal(&text), false));
                }
                Item::Arguments(arguments) => {
                    if let Some(Item::Repeated { before, arguments: others, after }) = items.peek()
                    {
                        // The first argument is not preceded by a separator. Those that follow may be the same or
                        // others: the optional ones.
                        let mut all = arguments.clone();
                        let is_other = |(name, _): &&(String, String)| {
                            arguments.iter().all(|(it, _)| it != name)
                        };
                        all.extend(others.iter().filter(is_other).cloned());
                        let rule = self.arguments(&all, Some((before, after)), true, place)?;
                        items.next();
                        parts.push(Item::Rule(rule));
                    } else {
                        parts.push(Item::Rule(self.arguments(arguments, None, true, place)?));
                    }
                }
                Item::Repeated { before, arguments, after } => {
                    let rule = self.arguments(arguments, Some((before, after)), false, place)?;
                    parts.push(Item::Rule(rule));
                }
            }
        }
        let mut rule = Vec::new();
        let mut run: Vec<(String, bool)> = Vec::new();
        for part in parts {
            match part {
                Item::Terminal(expression, is_nullable) => {
                    let holds_others = expression.contains([' ', '|', '&']);
                    let expression = if holds_others && !is_one_terminal(&expression) {
                        format!("({expression})")
                    } else {
                        expression
                    };
                    run.push((expression, is_nullable));
                }
                Item::Rule(expression) => {
                    rule.extend(self.terminals(&mut run));
                    rule.push(expression);
                }
                _ => {}
            }
        }
        if rule.is_empty() {
            let is_nullable = run.iter().all(|(_, is_nullable)| *is_nullable);
            return Ok(ClosedSequence::Terminal(joined(&run), is_nullable));
        }
        rule.extend(self.terminals(&mut run));
        Ok(ClosedSequence::Rule(rule.join(" ")))
    }

    /// Merges a run of regular items into one terminal. Trailing optional items remain separate: a terminal matches
    /// as much as possible, and the next item may start in the same way.
    fn terminals(&mut self, run: &mut Vec<(String, bool)>) -> Vec<String> {
        let whole = run.iter().rposition(|(_, is_nullable)| !is_nullable).map_or(0, |at| at + 1);
        let apart = run.split_off(whole);
        let run = std::mem::take(run);
        let mut terminals = Vec::new();
        if !run.is_empty() {
            terminals.push(self.lark.terminal(&joined(&run)));
        }
        terminals.extend(apart.iter().map(|(expression, _)| self.lark.terminal(expression)));
        terminals
    }

    /// A list of arguments: the required ones in the order of their object, then any of the others.
    fn arguments(
        &mut self,
        arguments: &[(String, String)],
        around: Option<(&Vec<Item>, &Vec<Item>)>,
        is_begun: bool,
        place: &Place,
    ) -> Result<String> {
        let one_of = |arguments: &[&(String, String)]| {
            let rules: Vec<_> = arguments.iter().map(|(_, rule)| rule.as_str()).collect();
            format!("({})", rules.join(" | "))
        };
        let Some((before, after)) = around else {
            return Ok(one_of(&arguments.iter().collect::<Vec<_>>()));
        };
        let [before, after] = [before, after].map(|items| match items.as_slice() {
            [] => Ok(None),
            items => self.rule_of(items, place),
        });
        let (before, after) = (before?.unwrap_or_default(), after?.unwrap_or_default());
        let required = self.required(place);
        let (required, optional): (Vec<_>, Vec<_>) =
            arguments.iter().partition(|(name, _)| required.contains(name));
        let mut rule = Vec::new();
        for (index, (_, argument)) in required.iter().enumerate() {
            let before = if index == 0 && is_begun { "" } else { before.as_str() };
            rule.push(format!("{before} {argument} {after}"));
        }
        if !optional.is_empty() {
            let others = one_of(&optional);
            if required.is_empty() && is_begun {
                rule.push(format!("{others} {after}"));
            }
            rule.push(format!("({before} {others} {after})*"));
        }
        Ok(rule.join(" "))
    }

    fn required(&self, place: &Place) -> Vec<String> {
        match place {
            Place::Outside => Vec::new(),
            Place::In(tool, object) => self.tools[*tool].schema.required(object),
        }
    }

    /// A JSON value: an argument, all arguments, or the answer. Python values have less white space.
    fn json(&mut self, place: &Place, is_python: bool) -> Result<String> {
        let mut schema = match place {
            Place::In(tool, value) => {
                let schema = &self.tools[*tool].schema;
                if self.is_mixed { schema.without_texts(value) } else { schema.at(value) }
            }
            Place::Outside => match &self.schema {
                Some(schema) => schema.at(""),
                None => return Err(internal("the engine's parser has a schema of no tool")),
            },
        };
        if is_python {
            let settings = &mut schema["x-guidance"];
            settings["whitespace_flexible"] = false.into();
            settings["whitespace_pattern"] = Value::Null;
            settings["item_separator"] = ", ?".into();
            settings["key_separator"] = ": ?".into();
        }
        Ok(self.lark.json(&schema))
    }

    /// The call that a part of the parser belongs to: it contains the name of exactly one tool.
    fn call_at(&mut self, id: usize) -> Result<Option<Place>> {
        let mut names = Vec::new();
        self.visit_descendants(id, &mut |id, parser| {
            if parser["tag"] == "tool-name" {
                names.extend(self.first_literal(id));
            }
        });
        names.sort_unstable();
        names.dedup();
        let [name] = names.as_slice() else { return Ok(None) };
        let Some(tool) = self.tools.iter().position(|tool| tool.name == *name) else {
            return Ok(None);
        };
        let is_whole =
            |parser: &Value| parser["type"] == "schema" || parser["name"] == "gemma4-dict";
        if self.has_descendant(id, &|parser| parser["tag"] == "tool-arg")
            || !self.has_descendant(id, &is_whole)
        {
            self.tools[tool].check_members("")?;
        }
        Ok(Some(Place::In(tool, String::new())))
    }

    /// The literal of the first part with a tag.
    fn first_name(&self, id: usize, tag: &str) -> Option<String> {
        let mut found = None;
        self.visit_descendants(id, &mut |id, parser| {
            if found.is_none() && parser["tag"] == tag {
                found = self.first_literal(id);
            }
        });
        found
    }

    fn first_literal(&self, id: usize) -> Option<String> {
        let mut found = None;
        self.visit_descendants(id, &mut |_, parser| {
            if found.is_none() {
                found = parser["literal"].as_str().map(str::to_owned);
            }
        });
        found
    }

    fn has_descendant(&self, id: usize, is_sought: &dyn Fn(&Value) -> bool) -> bool {
        let mut found = false;
        self.visit_descendants(id, &mut |_, parser| found |= is_sought(parser));
        found
    }

    /// Visits a part and all parts below it, in the order of the text.
    fn visit_descendants(&self, id: usize, look: &mut dyn FnMut(usize, &Value)) {
        let mut seen = vec![false; self.parsers.len()];
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            let Some(parser) = self.parsers.get(id) else { continue };
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            look(id, parser);
            let rule = self.rules.get(parser["name"].as_str().unwrap_or_default());
            let rule = rule.filter(|_| parser["type"] == "ref").and_then(Value::as_u64);
            let child = parser["child"].as_u64().or(rule);
            left.extend(children(parser).into_iter().rev());
            left.extend(child.map(|child| child as usize));
        }
    }
}

impl Tool {
    /// Fails if a keyword of an object cannot be enforced when its properties are written separately.
    fn check_members(&self, object: &str) -> Result<()> {
        let Value::Object(schema) = self.schema.resolved(object).1 else { return Ok(()) };
        let properties = schema.get("properties").and_then(Value::as_object);
        let required = self.schema.required(object);
        let is_held = |keyword: &str, value: &Value| match keyword {
            "minProperties" => value.as_u64().is_some_and(|count| count <= required.len() as u64),
            "maxProperties" => {
                let count = properties.map_or(0, Map::len) as u64;
                value.as_u64().is_some_and(|most| most >= count)
            }
            "required" => {
                required.iter().all(|name| properties.is_some_and(|it| it.contains_key(name)))
            }
            _ => ANNOTATION_KEYWORDS.contains(&keyword) || !Schema::is_keyword(keyword),
        };
        match schema.iter().find(|(keyword, value)| !is_held(keyword, value)) {
            None => Ok(()),
            Some((keyword, _)) => Err(unusable(&format!(
                "`{keyword}` at #{object} of `{}` cannot be enforced in the model's format for tool calls",
                self.name
            ))),
        }
    }
}

/// Texts that are not JSON. Texts that begin like a value of a type that the schema allows are excluded too: terminals
/// are matched as far as possible, so that such a value could not end.
fn not_json(schema: &Schema, place: &str) -> String {
    const NUMBER: &str = r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?";
    let types = types_at(schema, place, 0);
    let allows = |names: &[&str]| {
        types.as_ref().is_none_or(|types| types.iter().any(|it| names.contains(it)))
    };
    let values = [
        ("null", allows(&["null"])),
        ("(?:true|false)", allows(&["boolean"])),
        (NUMBER, allows(&["number", "integer"])),
    ];
    let mut expressions = vec![r#"["\[{](?s:.*)"#.to_owned()];
    for (value, is_allowed) in values {
        let end = if is_allowed { "(?s:.*)" } else { r"\s*" };
        expressions.push(format!("{value}{end}"));
    }
    format!(r"~(/\s*(?:{})/)", expressions.join("|"))
}

/// The types that a schema allows; `None` if it does not name them.
fn types_at<'a>(schema: &'a Schema, place: &str, depth: usize) -> Option<Vec<&'a str>> {
    let (place, value) = schema.resolved(place);
    let keywords = value.as_object()?;
    if let Some(types) = types(keywords) {
        return Some(types);
    }
    let keyword = ["anyOf", "oneOf"].into_iter().find(|it| keywords.contains_key(*it))?;
    let count = keywords[keyword].as_array().filter(|_| depth < MAX_DEPTH)?.len();
    let choices =
        (0..count).map(|at| types_at(schema, &format!("{place}/{keyword}/{at}"), depth + 1));
    choices.collect::<Option<Vec<_>>>().map(|choices| choices.concat())
}

fn internal(what: &str) -> Error {
    Error::new(ErrorKind::Internal, what)
}

fn children(parser: &Value) -> Vec<usize> {
    let children = parser["children"].as_array().into_iter().flatten();
    children.filter_map(Value::as_u64).map(|child| child as usize).collect()
}

fn stops(parser: &Value) -> Vec<String> {
    let stops = parser["delimiters"].as_array().into_iter().flatten();
    stops.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn joined(run: &[(String, bool)]) -> String {
    run.iter().map(|(expression, _)| expression.as_str()).collect::<Vec<_>>().join(" ")
}

/// The expression of a terminal; the empty literal if it is empty.
fn pattern_or_empty(expression: &str) -> String {
    if expression.is_empty() { "\"\"".to_owned() } else { expression.to_owned() }
}

/// Whether an expression is a single quoted text or a single regular expression.
fn is_one_terminal(expression: &str) -> bool {
    let mut characters = expression.chars();
    let Some(quote @ ('"' | '/')) = characters.next() else { return false };
    let mut is_escaped = false;
    let end = characters.position(|character| {
        let ends = character == quote && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    end.is_some() && characters.next().is_none()
}

/// A repeated character class.
fn chars(parser: &Value) -> Item {
    use std::fmt::Write as _;
    let mut set = String::new();
    if parser["negated"] == true {
        set.push('^');
    }
    for range in parser["ranges"].as_array().into_iter().flatten() {
        let bound = |name: &str| range[name].as_u64().unwrap_or_default();
        let _ = write!(set, "\\u{{{:X}}}-\\u{{{:X}}}", bound("start"), bound("end"));
    }
    let least = parser["min_count"].as_u64().unwrap_or_default();
    let most = parser["max_count"].as_u64().map(|most| most.to_string()).unwrap_or_default();
    Item::Terminal(format!("/[{set}]{{{least},{most}}}/"), least == 0)
}

/// A text that contains none of the stops, followed by its end.
fn text_until(texts: Option<&str>, unlike: Option<&String>, stops: &[String], end: &str) -> String {
    let text = texts.unwrap_or(ANY_TEXT);
    let text = match unlike {
        Some(beginning) => format!("({text}) & ~({} {ANY_TEXT})", quoted(beginning)),
        None => text.to_owned(),
    };
    let stops: Vec<_> = stops.iter().map(|stop| quoted(stop)).collect();
    format!("({text}) {} & ~({ANY_TEXT} ({}) /(?s:.+)/)", quoted(end), stops.join(" | "))
}
