//! Metadata values of parsed headers.

use serde::Serialize;

/// A metadata value.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetadataValue {
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// An integer beyond the range of `Int`.
    Uint(u64),
    /// A floating-point number.
    Float(f64),
    /// A string; invalid UTF-8 is replaced.
    Text(String),
    /// An array, such as a vocabulary. Only its length is stored.
    #[non_exhaustive]
    Array {
        /// Number of values.
        length: usize,
        /// Length in bytes of the longest string in it.
        #[serde(skip)]
        longest: u64,
    },
}
