//! Describes type errors without the names of Rust types that serde's messages contain.

/// Maximum number of characters of a wrong value in a message.
const MAX_SHOWN_CHARACTERS: usize = 60;

/// Converts an error of serde to a message for users of any language.
pub(crate) fn describe(error: &serde_json::Error) -> String {
    describe_expected(error, None)
}

/// Like [`describe`], for a value that must be one of `words`, if given.
pub(crate) fn describe_expected(error: &serde_json::Error, words: Option<&str>) -> String {
    let error = error.to_string();
    // `serde_json` adds a line and column, which are meaningless for values that were not parsed from text.
    let error = error.split_once(" at line ").map_or(&*error, |(error, _)| error);
    let problem =
        ["invalid type: ", "invalid value: "].iter().find_map(|it| error.strip_prefix(it));
    if let Some((given, expected)) = problem.and_then(|it| it.rsplit_once(", expected ")) {
        let expected = match (expected, words) {
            ("string or map", Some(words)) => words,
            _ => kind(expected),
        };
        return format!("expected {expected}, not {}", value(given));
    }
    if let Some((given, known)) =
        error.strip_prefix("unknown variant ").and_then(|it| it.split_once(", expected "))
    {
        return format!("expected {known}, not {given}");
    }
    if let Some(field) = error.strip_prefix("missing field ") {
        return format!("{field} is missing");
    }
    if problem == Some("expected key to be a number in quotes") {
        return "expected whole numbers as keys".to_owned();
    }
    error.to_owned()
}

fn kind(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number of 0 or more",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        "string or map" => "a string or an object",
        other if other.starts_with("struct ") => "an object",
        other => other,
    }
}

fn value(given: &str) -> String {
    let given = match given {
        "sequence" => "a list",
        "map" => "an object",
        other => ["integer ", "floating point ", "boolean ", "string "]
            .iter()
            .find_map(|kind| other.strip_prefix(kind))
            .unwrap_or(other),
    };
    match given.char_indices().nth(MAX_SHOWN_CHARACTERS) {
        None => given.to_owned(),
        Some((end, _)) => format!("{}...", &given[..end]),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::de::DeserializeOwned;
    use serde_json::{Value, from_value, json};

    use super::*;
    use crate::SplitMode;

    fn error_text<T: DeserializeOwned>(value: Value) -> String {
        describe(&from_value::<T>(value).map(drop).unwrap_err())
    }

    #[test]
    fn type_errors_avoid_rust_type_names() {
        let whole = "expected a whole number from 0 to 4294967295, not";
        assert_eq!(error_text::<u32>(json!(true)), format!("{whole} `true`"));
        assert_eq!(error_text::<u32>(json!(-5)), format!("{whole} `-5`"));
        assert_eq!(error_text::<u32>(json!(1.5)), format!("{whole} `1.5`"));
        assert_eq!(error_text::<u32>(json!(1_u64 << 40)), format!("{whole} `1099511627776`"));
        assert_eq!(error_text::<f32>(json!("hot")), "expected a number, not \"hot\"");
        assert_eq!(error_text::<bool>(json!("yes")), "expected true or false, not \"yes\"");
        assert_eq!(error_text::<String>(json!(3)), "expected a string, not `3`");
        assert_eq!(error_text::<Vec<u8>>(json!({})), "expected a list, not an object");
        assert_eq!(error_text::<BTreeMap<u32, f32>>(json!([1])), "expected an object, not a list");
        assert_eq!(
            error_text::<BTreeMap<u32, f32>>(json!({"a": 1})),
            "expected whole numbers as keys"
        );
        assert_eq!(
            error_text::<SplitMode>(json!("x")),
            "expected one of `none`, `layer`, `row`, `tensor`, not `x`"
        );
        let long = error_text::<u32>(json!("x".repeat(1000)));
        assert!(long.len() < 130 && long.ends_with("..."), "{long}");
    }
}
