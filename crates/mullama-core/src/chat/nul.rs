//! Rejects NUL bytes in prompts: the engine's texts end at them.

use serde_json::Value;

use crate::{Error, Result};

/// Rejects values with a NUL byte in a text or in a field name. `refuse` creates the error from the place of the text
/// (`.tool_calls[0].id`) and the problem.
pub(super) fn refuse_nul(value: &Value, refuse: impl FnOnce(&str, &str) -> Error) -> Result<()> {
    match find_nul(value) {
        None => Ok(()),
        Some((place, what)) => {
            Err(refuse(&place, what).with_hint("remove it: the engine's texts end at it"))
        }
    }
}

fn find_nul(value: &Value) -> Option<(String, &'static str)> {
    match value {
        Value::String(text) => text.contains('\0').then(|| (String::new(), "contains a NUL byte")),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            find_nul(item).map(|(place, what)| (format!("[{index}]{place}"), what))
        }),
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            if name.contains('\0') {
                let place = format!(".{}", name.escape_default());
                return Some((place, "its name contains a NUL byte"));
            }
            find_nul(field).map(|(place, what)| (format!(".{name}{place}"), what))
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn nul_errors_name_the_place() {
        let refused = |value: Value| {
            let refuse = |place: &str, what: &str| {
                Error::new(ErrorKind::InvalidArgument, format!("here{place}: {what}"))
            };
            refuse_nul(&value, refuse).err().map(|error| error.to_string())
        };
        assert_eq!(refused(json!({"a": [1, null, "b"]})), None);
        for (value, said) in [
            (json!("\0"), "here: contains a NUL byte"),
            (json!({"a": [1, {"b": "c\0"}]}), "here.a[1].b: contains a NUL byte"),
            (json!({"a": {"b\0": 1}}), "here.a.b\\u{0}: its name contains a NUL byte"),
        ] {
            assert_eq!(refused(value).as_deref(), Some(said));
        }
    }
}
