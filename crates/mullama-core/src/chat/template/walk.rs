//! Limits for what minijinja computes in one step. A list can contain the same value many times, and is repeated
//! without a copy, so it can be far larger than the memory for which fuel was consumed. Before a filter, a test, a
//! method or an operator walks a value, the total size of the value is measured.

use std::sync::OnceLock;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, ErrorKind, Output, State, escape_formatter, filters};
use mullama_base::check_memory;

use super::bounds::{FUEL, RenderBounds, invalid};
use super::operators::WALKED;
use super::python::{extend_texts, float_of};

/// Maximum size in bytes of values that are walked in one step, as text.
const MAX_WALK: usize = 32 << 20;
/// Size in bytes of an item of a list or a dictionary, in addition to its text.
const ITEM: usize = 32;
/// Number of bytes per unit of fuel.
const FUEL_BYTES: usize = 64;
/// Size in bytes from which available memory is checked.
const LARGE: usize = 1 << 20;
/// Number of bytes after which fuel is consumed.
const STEP: usize = 16 << 10;

/// Filters that walk their arguments.
const FILTERS: [&str; 29] = [
    "attr",
    "capitalize",
    "center",
    "dictsort",
    "e",
    "escape",
    "format",
    "groupby",
    "indent",
    "join",
    "lines",
    "lower",
    "max",
    "min",
    "pprint",
    "replace",
    "safe",
    "sort",
    "split",
    "string",
    "striptags",
    "sum",
    "title",
    "trim",
    "truncate",
    "unique",
    "upper",
    "urlencode",
    "wordcount",
];

/// Minijinja's tests that walk their arguments.
const TESTS: [&str; 18] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "endingwith",
    "eq",
    "equalto",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "le",
    "lessthan",
    "lt",
    "ne",
    "startingwith",
];

/// Minijinja's filters that take one item at a time and consume fuel for each.
const FILTERS_OF_ITEMS: [&str; 5] = ["batch", "last", "list", "reverse", "slice"];

/// Adds the checks to an environment, and removes features that Jinja does not have.
pub(super) fn guard(environment: &mut Environment<'static>) {
    for name in FILTERS {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            check(state, &arguments, |size| cost_of_filter(name, &arguments, size))?;
            within(state, |state| state.apply_filter(name, &arguments))
        });
    }
    for name in FILTERS_OF_ITEMS {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            check_items(&arguments)?;
            within(state, |state| state.apply_filter(name, &arguments))
        });
    }
    // They call filters and tests by name, so they need the template's environment.
    for (name, filter) in [
        ("map", Value::from_function(filters::map)),
        ("reject", Value::from_function(filters::reject)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("select", Value::from_function(filters::select)),
        ("selectattr", Value::from_function(filters::selectattr)),
    ] {
        environment.add_filter(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            check_items(&arguments)?;
            filter.call(state, &arguments)
        });
    }
    for name in TESTS {
        environment.add_test(name, move |state: &mut State, arguments: Rest<ValueOrKwargs>| {
            let arguments = arguments.into_values();
            check(state, &arguments, |size| size)?;
            within(state, |state| state.perform_test(name, &arguments))
        });
    }
    environment.add_filter(WALKED, |state: &mut State, value: Value| {
        check(state, std::slice::from_ref(&value), |size| size).map(|()| value)
    });
    environment.set_formatter(|out: &mut Output, state: &mut State, value: &Value| {
        check(state, std::slice::from_ref(value), |size| size)?;
        match float_of(value) {
            Some(number) => Ok(out.write_str(&number)?),
            None => escape_formatter(out, state, value),
        }
    });
    for name in ["chain", "zip"] {
        environment.remove_filter(name);
    }
    environment.remove_global("debug");
}

/// Checks the values that a method walks: its arguments, and the value itself if it is searched.
pub(super) fn check_method(
    state: &State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<(), Error> {
    let text = value.as_str().unwrap_or_default();
    check(state, arguments, |size| cost_of_method(method, text, arguments, size))?;
    if matches!(method, "count" | "index") {
        check(state, std::slice::from_ref(value), |size| size)?;
    }
    Ok(())
}

fn cost_of_method(method: &str, text: &str, arguments: &[Value], size: usize) -> usize {
    let argument = |at: usize| arguments.get(at).and_then(Value::as_str).unwrap_or_default();
    match method {
        "join" => {
            let count = arguments.first().and_then(Value::len).unwrap_or_default();
            size.saturating_add(count.saturating_mul(text.len()))
        }
        // Each occurrence is replaced by the same text.
        "replace" => {
            let count = text.matches(argument(0)).count();
            size.saturating_add(text.len()).saturating_add(count.saturating_mul(argument(1).len()))
        }
        // Each byte may become an item.
        "split" | "splitlines" | "rsplit" => size.saturating_add(text.len().saturating_mul(4)),
        // Each placeholder may be filled with the same argument.
        "format" => {
            text.matches(['{', '%']).count().saturating_mul(size).saturating_add(text.len())
        }
        _ => size,
    }
}

/// Bytes that a filter walks, copies or compares, for arguments of `size` bytes.
fn cost_of_filter(name: &str, arguments: &[Value], size: usize) -> usize {
    let first = arguments.first();
    let text = first.and_then(Value::as_str).unwrap_or_default();
    let length = || first.and_then(Value::len).unwrap_or_default();
    let comparisons = || 1 + length().checked_ilog2().unwrap_or_default() as usize;
    let times = match name {
        "dictsort" | "groupby" | "unique" => comparisons(),
        // A key has several parts.
        "sort" => {
            let options = arguments.last();
            let attribute = options.and_then(|options| options.get_attr("attribute").ok());
            let parts = attribute.and_then(|it| it.as_str().map(|it| it.matches(',').count()));
            comparisons() + parts.unwrap_or_default()
        }
        // Lists are copied after every 32nd addition.
        "sum" => 1 + length() / 32,
        "lines" => return cost_of_method("splitlines", text, &[], size),
        "join" => {
            let joiner = arguments.get(1).and_then(Value::as_str).unwrap_or_default();
            return cost_of_method(name, joiner, arguments, size);
        }
        "format" | "replace" | "split" => {
            return cost_of_method(name, text, arguments.get(1..).unwrap_or_default(), size);
        }
        _ => 1,
    };
    size.saturating_mul(times)
}

/// Fails if `cost`, for values of a size, exceeds the limit. Consumes fuel for it.
fn check(state: &State, values: &[Value], cost: impl FnOnce(usize) -> usize) -> Result<(), Error> {
    let mut size = 0;
    for value in values {
        size += size_of(state, value)?;
    }
    let cost = cost(size);
    if cost > MAX_WALK {
        return Err(ErrorKind::OutOfFuel.into());
    }
    if cost > LARGE {
        // A text that grows has up to twice its length.
        check_memory(2 * cost).map_err(|error| invalid(error.to_string()))?;
    }
    state.consume_fuel((cost.saturating_sub(size) / FUEL_BYTES) as u64)
}

/// Checks the time that the items of a filter take. A slice of a slice recomputes its items.
fn check_items(arguments: &[Value]) -> Result<(), Error> {
    if let Some(value) = arguments.first()
        && value.kind() == ValueKind::Iterable
    {
        for _ in value.try_iter()? {
            RenderBounds::check()?;
        }
    }
    Ok(())
}

/// Total size of a value in bytes. Consumes fuel for the contents of lists and dictionaries; minijinja does so for
/// texts.
fn size_of(state: &State, value: &Value) -> Result<usize, Error> {
    let is_container = |value: &Value| {
        matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable)
    };
    let text_of = |value: &Value| value.as_str().map_or(0, str::len);
    if !is_container(value) {
        return Ok(text_of(value));
    }
    let mut size = 0;
    let mut paid = 0;
    let mut open = vec![(value.clone(), value.try_iter()?)];
    while let Some((container, items)) = open.last_mut() {
        let Some(item) = items.next() else {
            open.pop();
            continue;
        };
        size += ITEM + text_of(&item);
        let mut inner = vec![item];
        if container.kind() == ValueKind::Map {
            let value = container.get_item(&inner[0])?;
            size += text_of(&value);
            inner.push(value);
        }
        if size > MAX_WALK {
            return Err(ErrorKind::OutOfFuel.into());
        }
        if size - paid >= STEP {
            state.consume_fuel(((size - paid) / FUEL_BYTES) as u64)?;
            paid = size;
        }
        RenderBounds::check()?;
        for item in inner {
            if is_container(&item) {
                let items = item.try_iter()?;
                open.push((item, items));
            }
        }
    }
    state.consume_fuel(((size - paid) / FUEL_BYTES) as u64)?;
    Ok(size)
}

/// Calls a filter or a test by its name. Names refer to ours in the template's environment, so it has another one.
fn within<T>(state: &State, call: impl FnOnce(&mut State) -> Result<T, Error>) -> Result<T, Error> {
    static BUILTINS: OnceLock<Environment<'static>> = OnceLock::new();
    let builtins = BUILTINS.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        extend_texts(&mut environment);
        environment
    });
    let mut inner = builtins.empty_state();
    let result = call(&mut inner);
    if let Some((consumed, _)) = inner.fuel_levels() {
        state.consume_fuel(consumed)?;
    }
    result
}
