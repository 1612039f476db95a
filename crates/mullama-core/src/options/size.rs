//! A number of bytes.

use std::fmt;
use std::ops::RangeFrom;

use mullama_base::units::{invalid_size, parse_size};
use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::kind::{FlagForm, option_type};
use super::range::Allowed;

option_type! {
    ByteSize: "str | int", "string | number", FlagForm::Text("SIZE");
}

/// A number of bytes. Other languages write it as a number, or as a text with a unit: `2GiB`, `500MB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct ByteSize(pub u64);

impl From<u64> for ByteSize {
    fn from(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl Allowed<ByteSize> for RangeFrom<ByteSize> {
    fn allows(&self, value: &ByteSize) -> bool {
        value.0 >= self.start.0
    }

    fn rule(&self) -> String {
        format!("must be {} or more", self.start)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let (size, text) = match &value {
            // 0 is the same in all units.
            Value::String(text) if text.trim() == "0" => (Some(0), text.clone()),
            Value::String(text) => (parse_size(text), text.clone()),
            other => (other.as_u64(), other.to_string()),
        };
        size.map(Self).ok_or_else(|| {
            let error = invalid_size("", &text);
            let message = error.to_string();
            let problem = message.strip_prefix("option ``: ").unwrap_or(&message);
            de::Error::custom(format!("{problem}; {}", error.hint().unwrap_or_default()))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn numbers_are_bytes_and_texts_have_units() {
        let read = |value: Value| from_value::<ByteSize>(value).map(|size| size.0);
        assert_eq!(read(json!(5_000_000_000_u64)).unwrap(), 5_000_000_000);
        assert_eq!(read(json!("2GiB")).unwrap(), 2 << 30);
        assert_eq!(read(json!("1.5 MB")).unwrap(), 1_500_000);
        assert_eq!(read(json!("0")).unwrap(), 0);
        let error = read(json!("8192")).unwrap_err().to_string();
        assert!(error.contains("`8192` has no unit; write 8192GiB"), "{error}");
        for wrong in [json!("2 gigs"), json!(-1), json!(1.5), json!(true), json!([])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
