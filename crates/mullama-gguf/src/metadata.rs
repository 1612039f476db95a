//! A value of a file's metadata, as far as a reader of headers keeps it.

use serde::Serialize;

/// A value of a file's metadata.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum MetadataValue {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above the range of `Int`.
    Uint(u64),
    /// A number.
    Float(f64),
    /// Text; what is no UTF-8 in it is replaced.
    Text(String),
    /// A list, such as a vocabulary: only its length is kept.
    #[non_exhaustive]
    Array {
        /// How many values it has.
        length: usize,
        /// Bytes of the longest text in it.
        #[serde(skip)]
        longest: u64,
    },
}
