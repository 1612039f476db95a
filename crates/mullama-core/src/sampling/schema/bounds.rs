//! Bounds of numbers in JSON schemas, in a form that llguidance enforces correctly.
//!
//! It treats `exclusiveMinimum: 3` as `minimum: 3` if the maximum is below 4, and compares digits: it would allow a
//! number just above 3 that readers round to 3. An exclusive bound is therefore replaced by the next floating-point
//! number, as an inclusive one: all texts up to its shortest digits are read as that number at most.

use serde_json::{Map, Value};

/// The largest integer up to which floating-point numbers, as JSON readers use them, are exact.
pub(super) const MAX_EXACT: i64 = 1 << 53;

/// Bounds closer to 0 are moved to this number, or to 0: they take more digits than a regular expression can nest.
const SMALLEST: f64 = 1e-20;

/// Fails if bounds that a number can meet cannot be enforced.
pub(super) fn check(schema: &Map<String, Value>) -> Result<(), String> {
    for keyword in ["minimum", "exclusiveMinimum"] {
        let is_beyond = |value| {
            is_above(value, MAX_EXACT) || keyword != "minimum" && value.as_i64() == Some(MAX_EXACT)
        };
        if schema.get(keyword).is_some_and(is_beyond) {
            return Err(format!("`{keyword}` is above {MAX_EXACT}"));
        }
    }
    for keyword in ["maximum", "exclusiveMaximum"] {
        let is_beyond = |value| {
            is_below(value, -MAX_EXACT)
                || keyword != "maximum" && value.as_i64() == Some(-MAX_EXACT)
        };
        if schema.get(keyword).is_some_and(is_beyond) {
            return Err(format!("`{keyword}` is below -{MAX_EXACT}"));
        }
    }
    let given = Bounds::of(schema);
    let (least, most) = (given.enforced_minimum(), given.enforced_maximum());
    let (Some(least), Some(most)) = (least, most) else { return Ok(()) };
    if !given.are_satisfiable() {
        return Ok(());
    }
    let names = ["minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"];
    let named = names.into_iter().filter_map(|name| Some((name, schema.get(name)?)));
    let named: Vec<_> = named.map(|(name, value)| format!("`{name}` {value}")).collect();
    if least > most {
        return Err(format!("{} are too close to be enforced", named.join(" and ")));
    }
    if schema.get("type") == Some(&"integer".into()) && least.ceil() > most.floor() {
        return Err(format!("no whole number meets {}", named.join(" and ")));
    }
    Ok(())
}

/// Replaces bounds by those that are enforced.
pub(super) fn narrow(schema: &mut Map<String, Value>) {
    let given = Bounds::of(schema);
    for (keyword, exclusive, bound, enforced) in [
        ("minimum", "exclusiveMinimum", given.minimum, given.enforced_minimum()),
        ("maximum", "exclusiveMaximum", given.maximum, given.enforced_maximum()),
    ] {
        schema.remove(exclusive);
        if let Some(enforced) = enforced
            && Some(enforced) != bound
        {
            schema.insert(keyword.to_owned(), enforced.into());
        }
    }
}

/// The bounds of a schema.
struct Bounds {
    minimum: Option<f64>,
    above: Option<f64>,
    maximum: Option<f64>,
    below: Option<f64>,
}

impl Bounds {
    fn of(schema: &Map<String, Value>) -> Self {
        let number = |keyword| schema.get(keyword).and_then(Value::as_f64);
        // In older drafts, exclusive bounds are flags.
        let exclusive = |keyword, bound| match schema.get(keyword) {
            Some(Value::Bool(true)) => number(bound),
            _ => number(keyword),
        };
        Self {
            minimum: number("minimum"),
            above: exclusive("exclusiveMinimum", "minimum"),
            maximum: number("maximum"),
            below: exclusive("exclusiveMaximum", "maximum"),
        }
    }

    /// Whether a number meets them.
    fn are_satisfiable(&self) -> bool {
        let least = self.minimum.unwrap_or(f64::NEG_INFINITY);
        let above = self.above.unwrap_or(f64::NEG_INFINITY);
        let most = self.maximum.unwrap_or(f64::INFINITY);
        let below = self.below.unwrap_or(f64::INFINITY);
        least <= most && least < below && above < most && above < below
    }

    fn enforced_minimum(&self) -> Option<f64> {
        let bounds = [self.minimum, self.above.map(f64::next_up)];
        let bound = bounds.into_iter().flatten().reduce(f64::max)?.max(-(MAX_EXACT as f64));
        Some(match bound {
            0.0 => 0.0,
            bound if bound.abs() >= SMALLEST => bound,
            bound if bound < 0.0 => 0.0,
            _ => SMALLEST,
        })
    }

    fn enforced_maximum(&self) -> Option<f64> {
        let [minimum, above] = [self.maximum, self.below].map(|bound| bound.map(|bound| -bound));
        let mirrored = Self { minimum, above, maximum: None, below: None };
        mirrored.enforced_minimum().map(|bound| 0.0 - bound)
    }
}

/// Whether a number is above an integer. Floating-point numbers cannot represent the next integers above the bound.
pub(super) fn is_above(number: &Value, bound: i64) -> bool {
    let is_above = |number: f64| number > bound as f64;
    number.as_i64().map_or_else(|| number.as_f64().is_some_and(is_above), |number| number > bound)
}

pub(super) fn is_below(number: &Value, bound: i64) -> bool {
    let is_below = |number: f64| number < bound as f64;
    number.as_i64().map_or_else(|| number.as_f64().is_some_and(is_below), |number| number < bound)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn narrowed(schema: Value) -> Value {
        let Value::Object(mut schema) = schema else { panic!("{schema}") };
        narrow(&mut schema);
        schema.into()
    }

    #[test]
    fn exclusive_bounds_become_inclusive() {
        for (given, enforced) in [
            (json!({"minimum": 1, "maximum": 2}), json!({"minimum": 1, "maximum": 2})),
            (json!({"exclusiveMinimum": 3}), json!({"minimum": 3.000_000_000_000_000_4})),
            (
                json!({"exclusiveMaximum": 1, "maximum": 5}),
                json!({"maximum": 0.999_999_999_999_999_9}),
            ),
            (json!({"minimum": 2, "exclusiveMinimum": 1}), json!({"minimum": 2})),
            (
                json!({"minimum": 3, "exclusiveMinimum": true}),
                json!({"minimum": 3.000_000_000_000_000_4}),
            ),
            (json!({"minimum": 3, "exclusiveMinimum": false}), json!({"minimum": 3})),
            (json!({"exclusiveMinimum": 0}), json!({"minimum": 1e-20})),
            (json!({"exclusiveMaximum": 0}), json!({"maximum": -1e-20})),
            (json!({"minimum": -1e-30}), json!({"minimum": 0.0})),
            (json!({"minimum": 5e-324}), json!({"minimum": 1e-20})),
            (json!({"maximum": 1e300}), json!({"maximum": 9_007_199_254_740_992.0})),
        ] {
            assert_eq!(narrowed(given.clone()), enforced, "{given}");
        }
    }

    #[test]
    fn bounds_without_a_whole_number_are_refused_for_integers() {
        let check = |schema: Value| check(schema.as_object().unwrap());
        for empty in [
            json!({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 10}),
            json!({"type": "integer", "minimum": 0.25, "maximum": 0.75}),
        ] {
            let problem = check(empty.clone()).unwrap_err();
            assert!(problem.contains("no whole number meets `"), "{empty}: {problem}");
        }
        for sound in [
            json!({"type": "integer", "exclusiveMinimum": 9, "exclusiveMaximum": 11}),
            json!({"type": "integer", "minimum": 0, "exclusiveMaximum": 1}),
            json!({"exclusiveMinimum": 9, "exclusiveMaximum": 10}),
        ] {
            assert_eq!(check(sound.clone()), Ok(()), "{sound}");
        }
    }

    #[test]
    fn bounds_that_are_too_close_are_refused() {
        let check = |schema: Value| check(schema.as_object().unwrap());
        for close in [
            json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1e-20}),
            json!({"minimum": 1e-30, "maximum": 2e-30}),
            json!({"exclusiveMinimum": -5e-324, "exclusiveMaximum": 0}),
            json!({"exclusiveMinimum": 1, "exclusiveMaximum": 1.000_000_000_000_000_2}),
        ] {
            let problem = check(close.clone()).unwrap_err();
            assert!(problem.contains("too close"), "{close}: {problem}");
        }
        for sound in [
            json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1e-10}),
            // Nothing meets these: llguidance says so where a value is needed.
            json!({"minimum": 5, "maximum": 3}),
            json!({"exclusiveMinimum": 3, "maximum": 3}),
            json!({"minimum": 0, "maximum": 0}),
        ] {
            assert_eq!(check(sound.clone()), Ok(()), "{sound}");
        }
        for beyond in [json!({"minimum": 1e17}), json!({"exclusiveMinimum": MAX_EXACT})] {
            assert!(check(beyond.clone()).is_err(), "{beyond}");
        }
    }
}
