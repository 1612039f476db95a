//! The file of a draft model. Its vocabulary must match that of the model.

use std::path::{Path, PathBuf};

use super::preflight;
use super::resolved_model::ResolvedModel;
use crate::{Error, Result};
use mullama_gguf::{Document, GgufHeader, Value};

/// The types of tokens in the engine (`llama_token_type`) that represent text.
const NORMAL: i32 = 1;
const BYTE: i32 = 6;

/// Maximum difference in vocabulary size. Vocabularies are often padded at the end to a round size.
const MAX_EXTRA_TOKENS: usize = 512;

/// The file of a draft model.
pub(crate) struct DraftFile {
    pub path: PathBuf,
    /// The name in messages.
    pub name: String,
    pub header: GgufHeader,
}

impl DraftFile {
    /// The option value for no draft model.
    pub const NONE: &str = "none";

    /// Finds the requested draft model, if any. `model` is the file of the main model.
    pub fn find(source: Option<&str>, model: &Path) -> Result<Option<Self>> {
        let Some(source) = source.filter(|source| *source != Self::NONE) else { return Ok(None) };
        let found = ResolvedModel::find(source)
            .map_err(|error| error.with_context("option", "draft_model"))?;
        Self::at(&found.path, &found.name, model).map(Some)
    }

    /// Opens the draft model at `path` and checks it against the main model's file `model`.
    pub fn at(path: &Path, name: &str, model: &Path) -> Result<Self> {
        Self::open(path, name, model).map_err(|error| error.naming_file(path, name))
    }

    fn open(path: &Path, name: &str, model: &Path) -> Result<Self> {
        let header = GgufHeader::read(path)?;
        preflight::check(path, &header, false, None)?;
        let difference = difference(&Vocabulary::read(model)?, &Vocabulary::read(path)?);
        if let Some(difference) = difference {
            let problem = format!("{name} has another vocabulary than the model: {difference}");
            return Err(Error::option("draft_model", problem)
                .with_context("path", path.display())
                .with_hint("use a smaller model of the same family"));
        }
        Ok(Self { path: path.to_owned(), name: name.to_owned(), header })
    }
}

/// The vocabulary in a file.
struct Vocabulary {
    kind: Vec<u8>,
    tokens: Vec<Vec<u8>>,
    types: Vec<i32>,
}

impl Vocabulary {
    fn read(path: &Path) -> Result<Self> {
        let document = Document::read(path)?;
        let value = |key: &str| {
            let found = document.metadata.iter().find(|(name, _)| name == key);
            found.map(|(_, value)| value)
        };
        let tokens = value("tokenizer.ggml.tokens").map(Value::texts).unwrap_or_default();
        Ok(Self {
            kind: value("tokenizer.ggml.model").map(|kind| kind.bytes.clone()).unwrap_or_default(),
            tokens: tokens.into_iter().map(<[u8]>::to_vec).collect(),
            types: value("tokenizer.ggml.token_type").map(Value::integers).unwrap_or_default(),
        })
    }

    /// Whether a token represents text. Templates and fine-tunings may rename others.
    fn is_text(&self, id: usize) -> bool {
        self.types.get(id).is_none_or(|ty| [NORMAL, BYTE].contains(ty))
    }
}

/// The first relevant difference between two vocabularies.
fn difference(model: &Vocabulary, draft: &Vocabulary) -> Option<String> {
    if model.kind != draft.kind {
        return Some("it is of another kind".to_owned());
    }
    let (all, own) = (model.tokens.len(), draft.tokens.len());
    let differs = |id: &usize| {
        model.is_text(*id) && draft.is_text(*id) && model.tokens[*id] != draft.tokens[*id]
    };
    if let Some(id) = (0..all.min(own)).find(differs) {
        let text =
            |vocabulary: &Vocabulary| String::from_utf8_lossy(&vocabulary.tokens[id]).into_owned();
        return Some(format!("token {id} is {:?} instead of {:?}", text(draft), text(model)));
    }
    (all.abs_diff(own) > MAX_EXTRA_TOKENS || own == 0)
        .then(|| format!("it has {own} tokens instead of {all}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary(tokens: &[&str], types: &[i32]) -> Vocabulary {
        Vocabulary {
            kind: b"gpt2".to_vec(),
            tokens: tokens.iter().map(|token| token.as_bytes().to_vec()).collect(),
            types: types.to_vec(),
        }
    }

    #[test]
    fn draft_vocabulary_must_match_the_model() {
        let model = vocabulary(&["<s>", "a", "b", "c"], &[3, 1, 1, 1]);
        assert_eq!(difference(&model, &model), None);
        let renamed = vocabulary(&["<begin>", "a", "b", "c", "<pad>"], &[3, 1, 1, 1, 5]);
        assert_eq!(difference(&model, &renamed), None, "control tokens may have other names");
        let other = difference(&model, &vocabulary(&["<s>", "a", "x", "c"], &[3, 1, 1, 1]));
        assert_eq!(other.unwrap(), "token 2 is \"x\" instead of \"b\"");
        let empty = difference(&model, &vocabulary(&[], &[]));
        assert_eq!(empty.unwrap(), "it has 0 tokens instead of 4");
        let kind = Vocabulary { kind: b"llama".to_vec(), ..vocabulary(&["<s>", "a"], &[]) };
        assert_eq!(difference(&model, &kind).unwrap(), "it is of another kind");
    }
}
