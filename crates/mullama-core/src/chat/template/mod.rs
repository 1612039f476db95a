//! Renders messages to a prompt with the model's template.

mod bounds;
mod calls;
mod capabilities;
mod gemma;
mod history;
mod jinja;
mod lark;
mod marks;
mod operators;
mod python;
mod source;
mod templates;
mod walk;

use std::collections::BTreeSet;

use mullama_base::Text;
use mullama_sys::shim::ChatParser;
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) use bounds::{MAX_TIME as TEMPLATE_TIME, PAST_DEADLINE, TOO_LONG};
use calls::Calls;
pub(crate) use jinja::STACK as TEMPLATE_STACK;
use marks::Marks;
pub(crate) use templates::Templates;

use super::message::{Message, PICTURE, Role};
use super::nul::refuse_nul;
use super::stream::{is_empty, parse_answer};
use super::tool;
use crate::engine::{Prompt, Vocab};
use crate::options::ChatOptions;
use crate::sampling::{
    GrammarSpec, GrammarTriggers, ReasoningSpec, ReasoningTags, Schema, shape_of,
};
use crate::{CancelToken, Error, ErrorKind, Result};

/// Largest number of places in the beginning of an answer that are tried as the start of a call.
const MAX_BEGUN_CALLS: usize = 64;

/// A rendered prompt, with everything needed to generate and parse the answer.
pub(crate) struct Rendered {
    pub prompt: Prompt,
    pub grammar: Option<GrammarSpec>,
    pub stops: Vec<String>,
    pub preserved: Vec<String>,
    pub reasoning: Option<ReasoningSpec>,
    pub parser: ChatParser,
    /// The start of the answer, if the last message is that.
    pub begun: Option<Message>,
}

/// The shim's result for a request.
#[derive(Deserialize)]
struct AppliedTemplate {
    prompt: String,
    generation_prompt: String,
    grammar: String,
    grammar_lazy: bool,
    /// The engine's parser of answers, as JSON.
    parser: String,
    grammar_triggers: Vec<Trigger>,
    preserved_tokens: Vec<String>,
    additional_stops: Vec<String>,
    thinking_start: String,
    thinking_end: Vec<String>,
}

impl AppliedTemplate {
    /// Makes the end of reasoning in the generation prompt one that the engine's parser recognises: with a start before
    /// it, and no white space after it.
    fn complete_reasoning(&mut self) {
        let prompt = self.generation_prompt.trim_end();
        let Some(end) = self.thinking_end.iter().find(|end| prompt.ends_with(end.trim())) else {
            return;
        };
        let (start, end) = (self.thinking_start.trim(), end.trim());
        let before = &prompt[..prompt.len() - end.len()];
        self.generation_prompt = if before.contains(start) {
            prompt.to_owned()
        } else {
            format!("{before}{start}{end}")
        };
    }

    /// The engine's parser of answers; null if the engine does not know the format.
    fn parser(&self) -> Result<Value> {
        if self.parser.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&self.parser)
            .map_err(|error| template_error(&format!("its parser cannot be read: {error}")))
    }
}

#[derive(Deserialize)]
struct Trigger {
    #[serde(rename = "type")]
    kind: String,
    value: String,
    token: i32,
}

/// Renders messages with the model's template. If `add_generation_prompt` and the option are set, a nonempty last
/// message of the assistant is the start of the answer.
pub(crate) fn render(
    templates: &Templates,
    vocab: &Vocab,
    messages: &[Message],
    options: &ChatOptions,
    add_generation_prompt: bool,
    cancel: &CancelToken,
) -> Result<Rendered> {
    if messages.is_empty() {
        return Err(Error::new(ErrorKind::InvalidArgument, "there are no messages"));
    }
    let continues = add_generation_prompt
        && options.chat.settled_continue_final_message()
        && messages.last().is_some_and(is_prefill);
    let beginning = messages.last().filter(|_| continues);
    let prefill = beginning.map(Message::text).unwrap_or_default();
    let has_text = !prefill.trim().is_empty();
    let mut request = template_request(messages, options, add_generation_prompt, continues)?;
    let chosen = offer_tools(templates, options, &mut request)?;
    let template = templates.capabilities(!chosen.tools.is_empty());
    history::fit_to_template(&mut request["messages"], template)?;
    let (schema, asked) = constraints(templates, options, &chosen, &mut request, cancel)?;

    let marks = if options.chat.settled_parse_special() {
        None
    } else {
        let tools = Value::from(chosen.tools.clone());
        Marks::needed([&request, &tools], templates.specials(vocab))?
    };
    if let Some(marks) = &marks
        && continues
        && let Some(beginning) = request["messages"].as_array_mut().and_then(|it| it.last_mut())
    {
        // The engine itself inserts it into the prompt.
        marks.put_into(beginning);
    }
    let (applied, parser, prompt) =
        apply_resolved(templates, &request, &chosen, marks.as_ref(), continues, cancel)?;
    if prompt.text.is_empty() {
        return Err(template_error("it rendered an empty prompt"));
    }
    let (shown, given) = (prompt.text.matches(PICTURE).count(), marks_in(&request["messages"]));
    if shown != given {
        return Err(template_error(&format!("it has places for {shown} of {given} pictures")));
    }

    let tags = (!applied.thinking_end.is_empty()).then(|| ReasoningTags {
        start: applied.thinking_start.clone(),
        ends: applied.thinking_end.clone(),
        prefill: applied.generation_prompt.clone(),
    });
    // Reasoning that the prompt opens has an end even if it is switched off.
    let may_reason = |tags: &ReasoningTags| {
        tags.begin_inside() || (options.chat.reasoning != Some(false) && !tags.are_closed())
    };
    let open_tags = tags.clone().filter(may_reason);
    // The template's format covers tools and schema; the caller's grammar cannot be combined with it.
    let is_formed = !chosen.tools.is_empty() || !applied.grammar.is_empty();
    let answer_grammar = match &schema {
        Some(schema) if !chosen.tools.is_empty() => {
            if applied.grammar.is_empty() || !applied.grammar_lazy {
                return Err(no_value_or_call(options));
            }
            // Where a call may be made, the engine's parser also takes no call at all.
            request["tool_choice"] = "required".into();
            let (calling, _) = apply(templates, &request, &chosen.tools, None, cancel)?;
            Some(value_or_call(&calling, &chosen, schema, &prefill, open_tags.as_ref())?)
        }
        schema if is_formed => answer_grammar(&applied, &chosen, schema.as_ref(), &prefill, vocab)?,
        _ => None,
    };
    let grammar = match (asked, answer_grammar) {
        (Some(asked), None) => Some(match tags.as_ref().filter(|tags| tags.begin_inside()) {
            Some(tags) => GrammarSpec::Delayed { spec: Box::new(asked), ends: tags.ends.clone() },
            None => asked,
        }),
        (Some(_), Some(_)) => {
            return Err(Error::option("tools", "cannot be combined with a grammar"));
        }
        (None, Some(answer_grammar)) => Some(answer_grammar),
        (None, None) => schema.map(|schema| GrammarSpec::Schema {
            schema,
            reasoning: open_tags,
            begun: prefill,
        }),
    };
    let reasoning = reasoning_spec(options, &applied, tags)?;
    let begun = continues.then(|| parse_beginning(&parser)).transpose()?;
    if let Some(begun) = &begun
        && has_text
        && begun.text().is_empty()
        && begun.reasoning.is_none()
        && grammar.as_ref().is_some_and(starts_with_call)
    {
        return Err(bad_beginning("it has no place for text before a call that must be made"));
    }
    Ok(Rendered {
        prompt,
        grammar,
        reasoning,
        begun,
        stops: applied.additional_stops,
        preserved: applied.preserved_tokens,
        parser,
    })
}

/// The schema of the answer, and the caller's other constraint. Adds to a request that the answer is JSON, if the
/// template has a format for that.
fn constraints(
    templates: &Templates,
    options: &ChatOptions,
    chosen: &ChosenTools,
    request: &mut Value,
    cancel: &CancelToken,
) -> Result<(Option<Value>, Option<GrammarSpec>)> {
    let mut schema = output_schema(options)?;
    let asked = GrammarSpec::from_options(&options.generate)?;
    if schema.is_some() && asked.is_some() {
        return Err(Error::option("response_format", "cannot be combined with a grammar"));
    }
    if chosen.is_required
        && let Some(schema) = schema.take()
    {
        // An answer that must be a call has no value. The schema must be valid nevertheless.
        Schema::new(&schema)?;
    }
    if let Some(schema) = &schema
        && !answers_in_plain_json(templates, request, cancel)?
    {
        if !chosen.tools.is_empty() {
            return Err(no_value_or_call(options));
        }
        // The template delimits the JSON value in the answer. The grammar enforces both the format and the schema.
        Schema::new(schema)?;
        request["json_schema"] = json!({"type": "object"});
    }
    Ok((schema, asked))
}

/// The variables of the template, without the tools.
fn template_request(
    messages: &[Message],
    options: &ChatOptions,
    add_generation_prompt: bool,
    continues: bool,
) -> Result<Value> {
    let messages: Vec<Value> = messages
        .iter()
        .enumerate()
        .map(|(index, message)| message.to_template_json(index))
        .collect::<Result<_>>()?;
    let mut request = json!({
        "messages": messages,
        "add_generation_prompt": add_generation_prompt,
        "continue_final_message": continues,
        "enable_thinking": options.chat.settled_reasoning(),
        "parallel_tool_calls": options.chat.settled_parallel_tool_calls(),
    });
    if let Some(kwargs) = &options.chat.template_kwargs {
        let kwargs = Value::from(kwargs.clone());
        refuse_nul(&kwargs, |place, what| {
            Error::option("template_kwargs", format!("{place}: {what}"))
        })?;
        request["template_kwargs"] = kwargs;
    }
    Ok(request)
}

/// Parses the start of the answer that the prompt ends with.
fn parse_beginning(parser: &ChatParser) -> Result<Message> {
    parse_answer(parser, "", true).map_err(|reason| bad_beginning(&reason))
}

fn bad_beginning(reason: &str) -> Error {
    let message = format!(
        "the beginning of the answer does not match the format of the chat template: {reason}"
    );
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Whether a parser accepts an answer that is plain text, and leaves it out of the message.
fn loses_text(parser: &ChatParser) -> bool {
    parse_answer(parser, "mullama", false).is_ok_and(|message| is_empty(&message))
}

/// Whether an answer continues with a call that has not been begun.
fn starts_with_call(grammar: &GrammarSpec) -> bool {
    let GrammarSpec::Form { begun, lazy, .. } = grammar else { return false };
    lazy.is_none() && begun.iter().all(String::is_empty)
}

/// Number of pictures in messages.
fn marks_in(messages: &Value) -> usize {
    let contents = messages.as_array().into_iter().flatten();
    contents
        .filter_map(|message| message["content"].as_str())
        .map(|it| it.matches(PICTURE).count())
        .sum()
}

pub(crate) fn template_error(reason: &str) -> Error {
    // A template can raise an error with any text.
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Error::new(ErrorKind::Template, format!("the chat template failed: {reason}")).with_hint(
        Text::with_names("check the messages, or give another template as {chat_template}"),
    )
}

/// The grammar of calls, or of an answer in a format of the model's own. `None` if the engine does not know the format.
fn answer_grammar(
    applied: &AppliedTemplate,
    chosen: &ChosenTools,
    schema: Option<&Value>,
    begun: &str,
    vocab: &Vocab,
) -> Result<Option<GrammarSpec>> {
    let parser = applied.parser()?;
    let is_unknown = parser.is_null();
    let of_form = |text, lazy, begun: BegunCalls| GrammarSpec::Form {
        text,
        spoken: applied.preserved_tokens.clone(),
        lazy,
        begun: begun.texts,
        must_match: begun.has_whole_opening,
    };
    if !applied.grammar.is_empty() {
        let calls = Calls::new(&parser, &chosen.tools, schema, chosen.is_parallel)?;
        return Ok(Some(if applied.grammar_lazy {
            let begun = begun_calls(&calls.openings(), begun);
            let triggers = triggers(&applied.grammar_triggers, vocab);
            of_form(calls.calls_only_grammar()?, Some(triggers), begun)
        } else if chosen.is_required && !begun.is_empty() {
            // A call follows the prefill, or continues one that the prefill starts.
            let mut begun = begun_calls(&calls.openings(), begun);
            if !begun.has_whole_opening {
                begun.texts.push(String::new());
            }
            of_form(calls.calls_only_grammar()?, None, begun)
        } else {
            let texts = vec![applied.generation_prompt.clone()];
            let begun = BegunCalls { texts, has_whole_opening: true };
            of_form(calls.call_first_grammar()?, None, begun)
        }));
    }
    if chosen.is_required {
        let message = "the format of tool calls in the model's chat template is unknown, so a call cannot be required";
        return Err(Error::new(ErrorKind::Unsupported, message)
            .with_context("option", "tool_choice")
            .with_hint(Text::with_names("give another template as {chat_template}")));
    }
    if is_unknown {
        return Ok(None);
    }
    // Calls without a marker are recognised by their start.
    let calls = Calls::new(&parser, &chosen.tools, schema, chosen.is_parallel)?;
    let Some(pattern) = calls.start_pattern() else { return Ok(None) };
    let lazy = GrammarTriggers { patterns: vec![pattern], ..GrammarTriggers::default() };
    let begun = begun_calls(&calls.openings(), begun);
    Ok(Some(of_form(calls.calls_only_grammar()?, Some(lazy), begun)))
}

/// The grammar of an answer that is either a value that follows a schema, or calls of tools. `calling` is the template's
/// result for a call that must be made.
fn value_or_call(
    calling: &AppliedTemplate,
    chosen: &ChosenTools,
    schema: &Value,
    begun: &str,
    reasoning: Option<&ReasoningTags>,
) -> Result<GrammarSpec> {
    let parser = calling.parser()?;
    let calls = Calls::new(&parser, &chosen.tools, Some(schema), chosen.is_parallel)?;
    let tags = reasoning.into_iter().flat_map(ReasoningTags::all);
    Ok(GrammarSpec::Form {
        spoken: calling.preserved_tokens.iter().chain(tags).cloned().collect(),
        text: calls.value_or_calls_grammar(reasoning)?,
        lazy: None,
        begun: vec![begun.to_owned()],
        must_match: true,
    })
}

/// The error of a schema together with tools, if the template has no format for an answer that is one or the other.
fn no_value_or_call(options: &ChatOptions) -> Error {
    let option = match options.generate.json_schema {
        Some(_) => "json_schema",
        None => "response_format",
    };
    let problem = "cannot be combined with tools in this model's format, which does not distinguish calls from values";
    Error::option(option, problem).with_hint(Text::with_names(
        "set {tool_choice} to `none` for a value, or to `required` for a call",
    ))
}

/// Where calls may start in the beginning of an answer.
#[derive(Debug, Default, PartialEq)]
struct BegunCalls {
    /// The ends of the text from each such place on.
    texts: Vec<String>,
    /// Whether one of them is more than the start of an opening.
    has_whole_opening: bool,
}

/// Finds where calls may start in the beginning of an answer: at an opening, or at the start of one that ends the text.
fn begun_calls(openings: &BTreeSet<String>, begun: &str) -> BegunCalls {
    let mut places = BTreeSet::new();
    for opening in openings {
        places.extend(begun.match_indices(opening.as_str()).map(|(at, _)| at));
    }
    let has_whole_opening = !places.is_empty();
    for opening in openings {
        let longest = begun.len().saturating_sub(opening.len());
        let ends = (longest..begun.len()).filter(|at| begun.is_char_boundary(*at));
        places.extend(ends.filter(|at| opening.starts_with(&begun[*at..])));
    }
    let texts = places.into_iter().take(MAX_BEGUN_CALLS).map(|at| begun[at..].to_owned());
    BegunCalls { texts: texts.collect(), has_whole_opening }
}

fn apply(
    templates: &Templates,
    request: &Value,
    tools: &[Value],
    marks: Option<&Marks>,
    cancel: &CancelToken,
) -> Result<(AppliedTemplate, ChatParser)> {
    let (applied, parser) = templates.apply(request, tools, marks, cancel).map_err(|reason| {
        let written = marks.map(|marks| marks.resolve(&reason).text);
        template_error(&written.unwrap_or(reason))
    })?;
    let applied =
        serde_json::from_str(&applied).map_err(|error| template_error(&error.to_string()))?;
    Ok((applied, parser))
}

/// Applies a template and resolves the marks in its prompt. `continues`: whether the prompt ends with the start of the
/// answer.
fn apply_resolved(
    templates: &Templates,
    request: &Value,
    chosen: &ChosenTools,
    marks: Option<&Marks>,
    continues: bool,
    cancel: &CancelToken,
) -> Result<(AppliedTemplate, ChatParser, Prompt)> {
    let (mut applied, mut parser) = apply(templates, request, &chosen.tools, marks, cancel)?;
    let resolve = |marked: &str| match marks {
        Some(marks) => marks.resolve(marked),
        None => Prompt { text: marked.to_owned(), written: Vec::new() },
    };
    let prompt = resolve(&applied.prompt);
    applied.generation_prompt = resolve(&applied.generation_prompt).text;
    applied.complete_reasoning();
    let may_be_text = !chosen.tools.is_empty() && !chosen.is_required && !continues;
    if may_be_text && loses_text(&parser) {
        // The engine does not know how the template writes calls, so that every answer is text.
        let mut without_tools = request.clone();
        without_tools.as_object_mut().map(|request| request.remove("tools"));
        (_, parser) = apply(templates, &without_tools, &[], None, cancel)?;
        applied.parser.clear();
        applied.grammar.clear();
    }
    parser
        .set_generation_prompt(&applied.generation_prompt)
        .map_err(|reason| template_error(&reason))?;
    Ok((applied, parser, prompt))
}

/// Whether an answer in JSON consists only of the JSON, apart from reasoning before it, according to the engine's
/// grammar.
fn answers_in_plain_json(
    templates: &Templates,
    request: &Value,
    cancel: &CancelToken,
) -> Result<bool> {
    let mut request = request.clone();
    request.as_object_mut().map(|request| request.remove("tools"));
    request["json_schema"] = json!({"const": "a"});
    let (applied, _) = apply(templates, &request, &[], None, cancel)?;
    Ok(is_plain(&applied))
}

fn is_plain(applied: &AppliedTemplate) -> bool {
    let root = applied.grammar.lines().find_map(|line| line.strip_prefix("root ::="));
    let Some(root) = root else { return applied.grammar.is_empty() };
    let is_known_text = |text: &str| {
        let text = text.replace("\\n", "\n");
        let reasoning = || applied.thinking_end.iter().chain([&applied.thinking_start]);
        text.trim().is_empty()
            || text.trim().trim_start_matches('`').trim_start_matches("json").is_empty()
            || applied.generation_prompt.contains(&text)
            || reasoning().any(|tag| tag.trim() == text.trim())
    };
    // Every second part is a quoted text.
    root.split('"').enumerate().all(|(index, part)| {
        if index % 2 == 1 {
            return is_known_text(part);
        }
        let mut names = part.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        names.all(|name| {
            name.is_empty()
                || name == "space"
                || name.starts_with("until-")
                || name.starts_with("response-format")
        })
    })
}

/// Whether an answer can continue a message: a nonempty message of the assistant without tool calls.
fn is_prefill(message: &Message) -> bool {
    message.role == Role::Assistant
        && message.tool_calls.is_empty()
        && (!message.text().is_empty()
            || message.reasoning.as_ref().is_some_and(|it| !it.is_empty()))
}

/// The limit on reasoning. If reasoning is switched off, the budget is 0, since a template may ignore the switch.
fn reasoning_spec(
    options: &ChatOptions,
    applied: &AppliedTemplate,
    tags: Option<ReasoningTags>,
) -> Result<Option<ReasoningSpec>> {
    let off = options.chat.reasoning == Some(false);
    let budget = match options.chat.reasoning_budget {
        Some(budget) if !off => budget,
        None if !off => return Ok(None),
        _ => 0,
    };
    let Some(tags) = tags else {
        // A model that does not reason needs no limit.
        if applied.thinking_start.is_empty() || off {
            return Ok(None);
        }
        let message =
            "the model's template does not define how reasoning ends, so it cannot be limited";
        return Err(
            Error::new(ErrorKind::Unsupported, message).with_context("option", "reasoning_budget")
        );
    };
    Ok(Some(ReasoningSpec { budget, tags }))
}

#[derive(Default)]
struct ChosenTools {
    tools: Vec<Value>,
    is_required: bool,
    /// Whether an answer may have several calls.
    is_parallel: bool,
}

/// Adds the tools that may be called to a request.
fn offer_tools(
    templates: &Templates,
    options: &ChatOptions,
    request: &mut Value,
) -> Result<ChosenTools> {
    let chosen = tools(options)?;
    if chosen.tools.is_empty() {
        return Ok(chosen);
    }
    if !templates.take_tools() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "the model's chat template has no place for tools, so the model would not see them",
        )
        .with_hint(Text::with_names(
            "give a template that has one as {chat_template}, or describe the tools in a message",
        )));
    }
    request["tools"] = chosen.tools.iter().map(for_engine).collect();
    request["tool_choice"] = if chosen.is_required { "required" } else { "auto" }.into();
    Ok(chosen)
}

/// A tool in the form that the engine needs: it does not enforce bounds on values, and fails on some of them.
fn for_engine(tool: &Value) -> Value {
    let mut tool = tool.clone();
    if let Some(parameters) = tool["function"].get_mut("parameters") {
        *parameters = shape_of(parameters);
    }
    tool
}

/// The tools that may be called, and whether one must be called. If a tool is chosen by name, it is the only one
/// offered and must be called.
fn tools(options: &ChatOptions) -> Result<ChosenTools> {
    let tools = tool::read_all(options.chat.tools.clone().unwrap_or_default())?;
    let is_parallel = options.chat.settled_parallel_tool_calls();
    match &options.chat.tool_choice {
        None => Ok(ChosenTools { tools, is_required: false, is_parallel }),
        Some(Value::String(choice)) => match choice.as_str() {
            "auto" => Ok(ChosenTools { tools, is_required: false, is_parallel }),
            // The model is not shown tools that it may not call.
            "none" => Ok(ChosenTools::default()),
            "required" if tools.is_empty() => {
                Err(Error::option("tool_choice", "is `required`, but there are no tools"))
            }
            "required" => Ok(ChosenTools { tools, is_required: true, is_parallel }),
            _ => {
                let problem = format!("`{choice}` is not one of auto, none, required");
                Err(Error::option("tool_choice", problem))
            }
        },
        Some(choice) => {
            // `{"name": ...}` is the short form.
            let name = choice["function"]["name"].as_str().or(choice["name"].as_str());
            let name = name.ok_or_else(|| {
                Error::option("tool_choice", "expected auto, none, required, or a function's name")
            })?;
            let named: Vec<_> =
                tools.into_iter().filter(|tool| tool["function"]["name"] == name).collect();
            if named.is_empty() {
                return Err(Error::option("tool_choice", format!("there is no tool `{name}`")));
            }
            Ok(ChosenTools { tools: named, is_required: true, is_parallel })
        }
    }
}

/// The schema that the answer must follow, from `json_schema` or `response_format`.
fn output_schema(options: &ChatOptions) -> Result<Option<Value>> {
    let problem = |what: Text| Err(Error::option("response_format", what));
    let format = match &options.chat.response_format {
        None => return Ok(options.generate.json_schema.clone()),
        Some(_) if options.generate.json_schema.is_some() => {
            return problem(Text::with_names("cannot be combined with {json_schema}"));
        }
        Some(format) => format,
    };
    match format["type"].as_str() {
        Some("text") => Ok(None),
        Some("json_object") => match &format["schema"] {
            Value::Null => Ok(Some(json!({"type": "object"}))),
            schema @ Value::Object(_) => Ok(Some(schema.clone())),
            _ => problem("its schema is not an object".into()),
        },
        Some("json_schema") => match &format["json_schema"]["schema"] {
            schema @ Value::Object(_) => Ok(Some(schema.clone())),
            _ => problem("has no schema at json_schema.schema".into()),
        },
        _ => problem("its type is not one of text, json_object, json_schema".into()),
    }
}

/// Converts the triggers to the form of the engine's grammar (`common/sampling.cpp`).
fn triggers(triggers: &[Trigger], vocab: &Vocab) -> GrammarTriggers {
    let mut result = GrammarTriggers::default();
    for trigger in triggers {
        match trigger.kind.as_str() {
            "token" => result.tokens.push(trigger.token),
            // A word that is a single token is recognised by the token, not by its text.
            "word" => match vocab.tokenize(&trigger.value, false, true).as_deref() {
                Ok([token]) => result.tokens.push(*token),
                _ => result.words.push(trigger.value.clone()),
            },
            "pattern_full" => {
                let start = if trigger.value.starts_with('^') { "" } else { "^" };
                let end = if trigger.value.ends_with('$') { "" } else { "$" };
                result.patterns.push(format!("{start}{}{end}", trigger.value));
            }
            _ => result.patterns.push(trigger.value.clone()),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_answer_formats_are_not_plain() {
        let applied = |root: &str| AppliedTemplate {
            prompt: String::new(),
            generation_prompt: "<|im_start|>assistant\n".to_owned(),
            grammar: format!("space ::= \" \"?\nroot ::= {root}\nother ::= \"x\""),
            grammar_lazy: false,
            parser: String::new(),
            grammar_triggers: Vec::new(),
            preserved_tokens: Vec::new(),
            additional_stops: Vec::new(),
            thinking_start: "<think>".to_owned(),
            thinking_end: vec!["</think>".to_owned()],
        };
        for plain in [
            r#""<|im_start|>assistant\n" response-format-schema"#,
            r#""<|im_start|>assistant\n" space ("<think>" until-4 "</think>" "\n"?)? space ("```json" space response-format space "```" | space response-format)"#,
        ] {
            assert!(is_plain(&applied(plain)), "{plain}");
        }
        for wrapped in [
            r#""<|im_start|>assistant\n" "<|channel|>final<|message|>" response-format"#,
            r#""<|im_start|>assistant\n" analysis? final"#,
        ] {
            assert!(!is_plain(&applied(wrapped)), "{wrapped}");
        }
        assert!(is_plain(&AppliedTemplate { grammar: String::new(), ..applied("") }));
    }

    #[test]
    fn call_openings_are_found_in_partial_answers() {
        let openings = BTreeSet::from(["<call>".to_owned(), "[CALL".to_owned()]);
        for (begun, texts, has_whole_opening) in [
            ("", &[][..], false),
            ("Hello", &[], false),
            ("a <", &["<"], false),
            ("a <call>x[C", &["<call>x[C", "[C"], true),
            ("<call> é<ca", &["<call> é<ca", "<ca"], true),
            ("[CALLx", &["[CALLx"], true),
        ] {
            let texts = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(
                begun_calls(&openings, begun),
                BegunCalls { texts, has_whole_opening },
                "{begun}"
            );
        }
    }

    #[test]
    fn a_named_tool_is_the_only_one_and_required() {
        let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
        let mut options = ChatOptions::default().with_tools([tool("a"), tool("b")]);
        options.chat.tool_choice = Some(tool("b"));
        let chosen = tools(&options).unwrap();
        assert_eq!((chosen.tools, chosen.is_required), (vec![tool("b")], true));
        options.chat.tool_choice = Some(tool("c"));
        assert!(tools(&options).is_err_and(|error| error.to_string().contains("`c`")));
    }
}
