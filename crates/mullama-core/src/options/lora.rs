//! The option that selects LoRA adapters.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::kind::{FlagForm, option_type};
use super::wrong_type::describe;
use crate::{Error, Result};

option_type! {
    Lora: "Lora", "Lora", FlagForm::Adapters;
}

/// LoRA adapters (GGUF files), each with its scale; 1 applies the adapter as trained.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Lora(pub Vec<(PathBuf, f32)>);

impl<P: Into<PathBuf>, T: IntoIterator<Item = (P, f32)>> From<T> for Lora {
    fn from(adapters: T) -> Self {
        Self(adapters.into_iter().map(|(path, scale)| (path.into(), scale)).collect())
    }
}

impl Lora {
    /// Reads adapters from JSON: a path, or a list whose items are paths and pairs of a path and a scale. `null` is an
    /// empty list.
    pub fn from_json(value: Value) -> Result<Self> {
        serde_json::from_value::<Option<Self>>(value)
            .map(Option::unwrap_or_default)
            .map_err(|error| Error::option("lora", describe(&error)))
    }
}

impl<'de> Deserialize<'de> for Lora {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected paths, or pairs of a path and a scale")]
        enum Raw {
            Path(PathBuf),
            Scaled(PathBuf, f32),
        }
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a path, or a list of paths and scales")]
        enum List {
            One(PathBuf),
            Many(Vec<Raw>),
        }
        Ok(Self(match List::deserialize(deserializer)? {
            List::One(path) => vec![(path, 1.0)],
            List::Many(list) => list
                .into_iter()
                .map(|raw| match raw {
                    Raw::Path(path) => (path, 1.0),
                    Raw::Scaled(path, scale) => (path, scale),
                })
                .collect(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn adapters_are_paths_with_or_without_scales() {
        let lora = |value| serde_json::from_value::<Lora>(value).ok();
        assert_eq!(lora(json!("a.gguf")), Some([("a.gguf", 1.0)].into()));
        assert_eq!(
            lora(json!(["a.gguf", ["b.gguf", 0.5]])),
            Some([("a.gguf", 1.0), ("b.gguf", 0.5)].into())
        );
        assert_eq!(lora(json!([])), Some(Lora::default()));
        for wrong in [json!(3), json!([["a.gguf"]]), json!([["a.gguf", "b"]]), json!({"a": 1})] {
            assert_eq!(lora(wrong.clone()), None, "{wrong}");
        }
    }
}
