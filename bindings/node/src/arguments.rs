//! Arguments from JavaScript.
//!
//! Nothing is bent to fit: text that is no valid Unicode, numbers that are not finite, functions,
//! symbols and big integers are errors that name their place.

use std::fmt;

use mullama::{ChatOptions, Error, ErrorKind, Message, Naming, OptionSet, Token, parse_options};
use napi::bindgen_prelude::{FromNapiValue, JsObjectValue as _, Object, Uint8Array, Unknown};
use napi::{JsString, JsValue as _, KeyCollectionMode, KeyConversion, KeyFilter, ValueType, sys};
use serde_json::{Map, Number, Value};

use crate::error::of_arguments;

/// How deep a value may be nested: one that contains itself ends here. The limit is `serde_json`'s.
const MAX_DEPTH: usize = 128;

/// The largest whole number up to which every whole number is a JavaScript number.
const MAX_SAFE_INTEGER: f64 = 9_007_199_254_740_991.0;

/// Declares arguments: what holds one, what messages call it, and what reads it.
macro_rules! arguments {
    ($( $(#[doc = $doc:literal])+ $name:ident($type:ty), $argument:literal, $read:expr; )+) => {
        $(
            $(#[doc = $doc])+
            pub struct $name(pub $type);

            impl FromNapiValue for $name {
                unsafe fn from_napi_value(
                    env: sys::napi_env,
                    value: sys::napi_value,
                ) -> napi::Result<Self> {
                    // SAFETY: the caller's promise.
                    let value = unsafe { Unknown::from_napi_value(env, value) }?;
                    let read: fn(Unknown<'_>, &Place<'_>) -> napi::Result<$type> = $read;
                    read(value, &Place::argument($argument)).map(Self)
                }
            }
        )+
    };
}

arguments! {
    /// Text.
    Text(String), "the text", string;
    /// Tokens: an array of numbers, or a typed one.
    Tokens(Vec<Token>), "the tokens", tokens;
    /// What a generation starts from: text or tokens.
    Prompt(mullama::Prompt), "the prompt", prompt;
    /// Texts to embed: one or several, each as text or as tokens.
    Inputs(mullama::Inputs), "the texts", inputs;
    /// An array of texts.
    Texts(Vec<String>), "the documents", texts;
    /// The messages of a chat.
    Messages(Vec<Message>), "messages", |value, place| {
        Message::list_from_json(json(value, place)?).map_err(|error| of_arguments(&error))
    };
    /// LoRA adapters: a path, or an array of paths and of pairs of a path and a scale.
    Lora(mullama::Lora), "the adapters", |value, place| {
        mullama::Lora::from_json(json(value, place)?).map_err(|error| of_arguments(&error))
    };
    /// A state that was saved: its bytes, or the path of a file.
    State(BytesOrPath), "the state", state;
    /// Which of the GPUs.
    Index(u32), "the index of the GPU", |value, place| whole(value, place, "a whole number from 0");
    /// Any value, as JSON.
    Json(Value), "the value", json;
    /// Options by name; those that are `undefined` are not there.
    Options(Map<String, Value>), "the options", options;
}

pub enum BytesOrPath {
    Bytes(Vec<u8>),
    Path(String),
}

impl Options {
    /// Takes a switch out of the options.
    pub fn take_flag(&mut self, name: &str, default: bool) -> napi::Result<bool> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(of_arguments(&Error::option(name, "expected true or false"))),
        }
    }

    /// Takes a text out of the options.
    pub fn take_text(&mut self, name: &str) -> napi::Result<Option<String>> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(of_arguments(&Error::option(name, "expected a string"))),
        }
    }

    /// Puts what is left into these sets, and refuses what none of them has.
    pub fn fill(self, sets: &mut [&mut dyn OptionSet]) -> napi::Result<()> {
        parse_options(sets, self.0, Naming::Camel).map_err(|error| of_arguments(&error))
    }

    /// What is left, as a set.
    pub fn parse<T: OptionSet + Default>(self) -> napi::Result<T> {
        let mut set = T::default();
        self.fill(&mut [&mut set])?;
        Ok(set)
    }

    /// What is left, as the options of a chat.
    pub fn parse_chat(self) -> napi::Result<ChatOptions> {
        let mut parsed = ChatOptions::default();
        let [generate, chat] = parsed.option_sets();
        self.fill(&mut [generate, chat])?;
        Ok(parsed)
    }
}

fn string(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<String> {
    match value.get_type()? {
        ValueType::String => text(value, place),
        _ => Err(place.problem("expected a string")),
    }
}

fn prompt(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<mullama::Prompt> {
    match value.get_type()? {
        ValueType::String => Ok(text(value, place)?.into()),
        ValueType::Object if is_list(value)? => Ok(tokens(value, place)?.into()),
        _ => Err(place.problem("expected a string or an array of tokens")),
    }
}

fn inputs(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<mullama::Inputs> {
    if value.get_type()? == ValueType::String {
        return Ok(text(value, place)?.into());
    }
    if value.get_type()? != ValueType::Object || !is_list(value)? {
        return Err(place.problem("expected a string or an array of strings"));
    }
    let types = list(value, |_, element| element.get_type())?;
    if value.is_typedarray()? || types.first() == Some(&ValueType::Number) {
        return Ok(mullama::Prompt::from(tokens(value, place)?).into());
    }
    let prompts = list(value, |index, element| prompt(element, &place.within(Name::Index(index))));
    Ok(prompts?.into())
}

fn texts(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Vec<String>> {
    if value.get_type()? != ValueType::Object || !value.is_array()? {
        return Err(place.problem("expected an array of strings"));
    }
    list(value, |index, element| string(element, &place.within(Name::Index(index))))
}

fn state(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<BytesOrPath> {
    if value.get_type()? == ValueType::String {
        return text(value, place).map(BytesOrPath::Path);
    }
    // SAFETY: the value is of this environment. JavaScript may change the bytes while they are used
    // elsewhere: a copy.
    let bytes = unsafe { Uint8Array::from_napi_value(value.value().env, value.raw()) };
    bytes
        .map(|bytes| BytesOrPath::Bytes(bytes.to_vec()))
        .map_err(|_| place.problem("expected a Uint8Array, or the path of a file"))
}

fn json(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Value> {
    Ok(read(value, place)?.unwrap_or_default())
}

fn options(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Map<String, Value>> {
    match value.get_type()? {
        ValueType::Undefined | ValueType::Null => Ok(Map::new()),
        ValueType::Object if !is_list(value)? => fields(value, None),
        _ => Err(place.problem("expected an object")),
    }
}

/// Where in the arguments a value stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: Name<'a>,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Argument(&'a str),
    Option(&'a str),
    Key(&'a str),
    Index(u32),
}

impl<'a> Place<'a> {
    fn argument(name: &'a str) -> Self {
        Self { above: None, name: Name::Argument(name) }
    }

    fn option(name: &'a str) -> Self {
        Self { above: None, name: Name::Option(name) }
    }

    fn within(&'a self, name: Name<'a>) -> Self {
        Self { above: Some(self), name }
    }

    fn depth(&self) -> usize {
        1 + self.above.map_or(0, Place::depth)
    }

    fn root(&self) -> Name<'a> {
        self.above.map_or(self.name, Place::root)
    }

    fn problem(&self, problem: &str) -> napi::Error {
        let inner = self.to_string();
        let separator = if inner.is_empty() { "" } else { ": " };
        of_arguments(&match self.root() {
            Name::Option(option) => Error::option(option, format!("{inner}{separator}{problem}")),
            Name::Argument(name) | Name::Key(name) => {
                Error::new(ErrorKind::InvalidArgument, format!("{name}{inner}: {problem}"))
            }
            Name::Index(_) => unreachable!("an index lies within something"),
        })
    }
}

/// The way from the option or argument to the value: `[0].function`.
impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(above) = self.above {
            above.fmt(f)?;
        }
        match self.name {
            Name::Argument(_) | Name::Option(_) => Ok(()),
            Name::Key(key) => write!(f, ".{key}"),
            Name::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A value as JSON; `None` for `undefined`.
fn read(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Option<Value>> {
    Ok(Some(match value.get_type()? {
        ValueType::Undefined => return Ok(None),
        ValueType::Null => Value::Null,
        // SAFETY: the type has been checked.
        ValueType::Boolean => Value::Bool(unsafe { value.cast()? }),
        ValueType::Number => Value::Number(number(value, place)?),
        ValueType::String => Value::String(text(value, place)?),
        ValueType::Object if place.depth() > MAX_DEPTH => {
            let place = Place { above: None, name: place.root() };
            return Err(place.problem("nested too deep, or contains itself"));
        }
        ValueType::Object if is_list(value)? => Value::Array(list(value, |index, element| {
            Ok(read(element, &place.within(Name::Index(index)))?.unwrap_or_default())
        })?),
        ValueType::Object => {
            let fields = fields(value, Some(place))?;
            if fields.is_empty() && !is_plain(value)? {
                return Err(
                    place.problem("expected a plain object (no Map, Set, Date, Promise, ...)")
                );
            }
            Value::Object(fields)
        }
        ValueType::BigInt => return Err(place.problem("expected a number, not a BigInt")),
        ValueType::Function => return Err(place.problem("a function has no meaning here")),
        ValueType::Symbol => return Err(place.problem("a symbol has no meaning here")),
        _ => return Err(place.problem("a value of this type has no meaning here")),
    }))
}

fn number(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Number> {
    // SAFETY: the caller has checked the type.
    let number: f64 = unsafe { value.cast()? };
    // Whole numbers are integers to the core, as they are to the programmer.
    if number.fract() == 0.0 && number.abs() <= MAX_SAFE_INTEGER {
        return Ok((number as i64).into());
    }
    Number::from_f64(number).ok_or_else(|| place.problem(&format!("{number} is no finite number")))
}

/// Strings of JavaScript are UTF-16 that need not be valid; converted the usual way, halves of
/// characters would silently become U+FFFD.
fn text(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<String> {
    // SAFETY: the caller has checked the type.
    let string: JsString<'_> = unsafe { value.cast()? };
    let units = string.into_utf16()?;
    // The last unit is a terminator.
    let units = units.split_last().map_or(&[][..], |(_, units)| units);
    String::from_utf16(units).map_err(|_| {
        let valid = char::decode_utf16(units.iter().copied()).take_while(Result::is_ok);
        let at: usize = valid.flatten().map(char::len_utf16).sum();
        place.problem(&format!(
            "is no valid Unicode: half of a character stands alone at index {at}"
        ))
    })
}

fn tokens(value: Unknown<'_>, place: &Place<'_>) -> napi::Result<Vec<Token>> {
    if value.get_type()? != ValueType::Object || !is_list(value)? {
        return Err(place.problem("expected an array of tokens"));
    }
    list(value, |index, element| {
        whole(element, &place.within(Name::Index(index)), "a token, which is a whole number from 0")
    })
}

fn whole<T: TryFrom<i64>>(
    value: Unknown<'_>,
    place: &Place<'_>,
    expected: &str,
) -> napi::Result<T> {
    let problem = || place.problem(&format!("expected {expected}"));
    if value.get_type()? != ValueType::Number {
        return Err(problem());
    }
    let number = number(value, place)?.as_i64().ok_or_else(problem)?;
    T::try_from(number).map_err(|_| problem())
}

/// Whether the value is an array, typed or not.
fn is_list(value: Unknown<'_>) -> napi::Result<bool> {
    Ok(value.is_array()? || value.is_typedarray()?)
}

/// The elements of an array, typed or not.
fn list<T>(
    value: Unknown<'_>,
    mut read: impl FnMut(u32, Unknown<'_>) -> napi::Result<T>,
) -> napi::Result<Vec<T>> {
    let object = Object::from_raw(value.value().env, value.raw());
    let length: u32 = object.get_named_property("length")?;
    (0..length).map(|index| read(index, object.get_element(index)?)).collect()
}

/// The object's own fields, those that are `undefined` left out; without a place, they are options.
fn fields(value: Unknown<'_>, place: Option<&Place<'_>>) -> napi::Result<Map<String, Value>> {
    let object = Object::from_raw(value.value().env, value.raw());
    let keys = object.get_all_property_names(
        KeyCollectionMode::OwnOnly,
        KeyFilter::Enumerable,
        KeyConversion::NumbersToStrings,
    )?;
    let mut fields = Map::new();
    for index in 0..keys.get_array_length()? {
        let key: Unknown<'_> = keys.get_element(index)?;
        if key.get_type()? == ValueType::Symbol {
            continue;
        }
        let name = text(key, &Place::argument("the name of a field"))?;
        let inner = match place {
            Some(place) => place.within(Name::Key(&name)),
            None => Place::option(&name),
        };
        if let Some(value) = read(object.get_property(key)?, &inner)? {
            fields.insert(name, value);
        }
    }
    Ok(fields)
}

/// Whether the object is one of `{}`: its prototype, in whichever realm, has none itself.
fn is_plain(value: Unknown<'_>) -> napi::Result<bool> {
    let prototype = Object::from_raw(value.value().env, value.raw()).get_prototype()?;
    if prototype.get_type()? == ValueType::Null {
        return Ok(true);
    }
    let above = Object::from_raw(value.value().env, prototype.raw()).get_prototype()?;
    Ok(above.get_type()? == ValueType::Null)
}
