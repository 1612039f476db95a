//! The options of embedding and reranking.

use serde::{Deserialize, Serialize};

use super::kind::{FlagForm, option_type};
use super::prompt::Prompt;
use super::table::options;

options! {
    /// Options of [`crate::Model::embed`].
    pub struct EmbedOptions {
        /// How the token vectors of a text are combined: `mean` (their average), `cls` (the first),
        /// `last` (the last), `none` (no pooling: all of them, as a matrix), or `rank` (the scores
        /// of a classification head). Default: the model's, else `mean`.
        pooling: Pooling,
        /// Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`.
        normalize: bool,
        /// Number of dimensions to retain, from the first on, for models that were trained for it
        /// (Matryoshka); vectors are normalised afterwards. Default: all.
        dimensions: u32,
        /// How to handle a text with more tokens than the model accepts: `none` (reject it), `end`
        /// or `start` (cut off that part; `usage` reports how much). Default: `none`.
        truncate: Truncate,
        /// Whether to add the special tokens that the model expects around a text.
        add_special: bool = true,
        /// Whether special tokens written in a text are parsed as special tokens.
        parse_special: bool = false,
        /// Time limit of the call, in seconds. Default: none.
        timeout: f32,
    }
}

options! {
    /// Options of [`crate::Model::rerank`].
    pub struct RerankOptions {
        /// Number of best documents to return. Default: all.
        top_n: u32,
        /// How to handle a document that has, together with the query, more tokens than the model
        /// accepts: `none` (reject it), `end` or `start` (cut off that part of the document;
        /// `usage` reports how much). Default: `none`.
        truncate: Truncate,
        /// Time limit of the call, in seconds. Default: none.
        timeout: f32,
    }
}

option_type! {
    Pooling: r#"Literal["mean", "cls", "last", "none", "rank"]"#,
        "'mean' | 'cls' | 'last' | 'none' | 'rank'", FlagForm::Text("mean|cls|last|none|rank");
    Truncate: r#"Literal["none", "end", "start"]"#, "'none' | 'end' | 'start'",
        FlagForm::Text("none|end|start");
}

/// How the token vectors of a text are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// No pooling: one vector per token.
    None,
    /// The average of the token vectors.
    Mean,
    /// The vector of the first token.
    Cls,
    /// The vector of the last token.
    Last,
    /// The scores of the model's classification head.
    Rank,
}

impl Pooling {
    /// The name in all languages: `none`, `mean`, `cls`, `last`, `rank`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    /// The pooling for the number in a model's file (`llama_pooling_type`).
    pub(crate) fn of_file(number: Option<i64>) -> Option<Self> {
        match number? {
            0 => Some(Self::None),
            1 => Some(Self::Mean),
            2 => Some(Self::Cls),
            3 => Some(Self::Last),
            4 => Some(Self::Rank),
            _ => None,
        }
    }
}

/// How to handle an input that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// Reject it.
    #[default]
    None,
    /// Cut off its end.
    End,
    /// Cut off its beginning.
    Start,
}

/// The input of an embedding: one or several texts, each as text or as tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs(pub(crate) Vec<Prompt>);

impl From<Prompt> for Inputs {
    fn from(input: Prompt) -> Self {
        Self(vec![input])
    }
}

impl From<&str> for Inputs {
    fn from(text: &str) -> Self {
        Prompt::from(text).into()
    }
}

impl From<String> for Inputs {
    fn from(text: String) -> Self {
        Prompt::from(text).into()
    }
}

impl From<&String> for Inputs {
    fn from(text: &String) -> Self {
        Prompt::from(text).into()
    }
}

impl<T: Into<Prompt>> From<Vec<T>> for Inputs {
    fn from(inputs: Vec<T>) -> Self {
        Self(inputs.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Prompt>, const N: usize> From<[T; N]> for Inputs {
    fn from(inputs: [T; N]) -> Self {
        Self(inputs.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Prompt> + Clone> From<&[T]> for Inputs {
    fn from(inputs: &[T]) -> Self {
        inputs.to_vec().into()
    }
}

impl<T: Into<Prompt> + Clone> From<&Vec<T>> for Inputs {
    fn from(inputs: &Vec<T>) -> Self {
        inputs.clone().into()
    }
}

impl<T: Into<Prompt> + Clone, const N: usize> From<&[T; N]> for Inputs {
    fn from(inputs: &[T; N]) -> Self {
        inputs.to_vec().into()
    }
}
