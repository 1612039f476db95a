//! What embedding and reranking take.

use serde::{Deserialize, Serialize};

use super::kind::{FlagForm, option_type};
use super::prompt::Prompt;
use super::table::options;

options! {
    /// What becomes of the texts of [`crate::Model::embed`].
    pub struct EmbedOptions {
        /// How the vectors of a text's tokens become one: `mean` (their average), `cls` (the first),
        /// `last` (the last), `none` (all are given, as a matrix), or `rank` (the scores of a
        /// classification head). Default: the model's, else `mean`.
        pooling: Pooling,
        /// Whether each vector is scaled to length 1. Default: true, except for `pooling` `rank`.
        normalize: bool,
        /// How many numbers of each vector are kept, from the first on, for models that were trained
        /// for it (Matryoshka); it is scaled afterwards. Default: all.
        dimensions: u32,
        /// What becomes of a text with more tokens than the model takes: `none` (it is refused), `end`
        /// or `start` (that part of it is cut off, and `usage` says how much). Default: `none`.
        truncate: Truncate,
        /// Whether the tokens are added that the model expects around a text.
        add_special: bool = true,
        /// Whether special tokens that are written out in a text count as such.
        parse_special: bool = false,
        /// Seconds after which the call gives up. Default: none.
        timeout: f32,
    }
}

options! {
    /// What becomes of the documents of [`crate::Model::rerank`].
    pub struct RerankOptions {
        /// How many of the best documents are given. Default: all.
        top_n: u32,
        /// What becomes of a document that has, with the query, more tokens than the model takes: `none`
        /// (it is refused), `end` or `start` (that part of the document is cut off, and `usage` says how
        /// much). Default: `none`.
        truncate: Truncate,
        /// Seconds after which the call gives up. Default: none.
        timeout: f32,
    }
}

option_type! {
    Pooling: r#"Literal["mean", "cls", "last", "none", "rank"]"#,
        "'mean' | 'cls' | 'last' | 'none' | 'rank'", FlagForm::Text("mean|cls|last|none|rank");
    Truncate: r#"Literal["none", "end", "start"]"#, "'none' | 'end' | 'start'",
        FlagForm::Text("none|end|start");
}

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// They do not: a vector for each token.
    None,
    /// Their average.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The scores that the model's classification head gives the text.
    Rank,
}

impl Pooling {
    /// The name that every language uses: `none`, `mean`, `cls`, `last`, `rank`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Mean => "mean",
            Self::Cls => "cls",
            Self::Last => "last",
            Self::Rank => "rank",
        }
    }

    /// That of a model whose file has this number (`llama_pooling_type`).
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

/// What becomes of an input that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Truncate {
    /// It is refused.
    #[default]
    None,
    /// Its beginning is kept.
    End,
    /// Its end is kept.
    Start,
}

/// What is embedded: one text, or several; tokens stand for a text that has been tokenised.
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
