//! Manifests: the lists of a model's files.

use std::collections::BTreeMap;

use mullama_gguf::GgufHeader;
use serde::{Deserialize, Serialize};

use crate::hugging_face::MAX_SHARDS;
use crate::{Digest, Error, ErrorKind, Result};

/// Maximum size of a manifest, in bytes.
pub(crate) const MAX_MANIFEST_SIZE: u64 = 4 << 20;
/// Maximum size of a template, licence or other text, in bytes.
const MAX_TEXT_SIZE: u64 = 16 << 20;

/// Maximum number of layers in addition to the weights. Published models have up to 10; each is a request.
const MAX_OTHER_LAYERS: usize = 100;

const MEDIA_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MEDIA_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_MEDIA_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_MEDIA_TYPE: &str = "application/vnd.ollama.image.";
/// Annotation key for the original file name.
const TITLE: &str = "org.opencontainers.image.title";
/// Annotation key for the URL and version of a downloaded file.
const VERSION: &str = "mullama.version";

/// The kind of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerKind {
    /// Weights: a GGUF file, or one shard of a split model, in order.
    Model,
    /// A projector, which converts images or sound into embeddings.
    Projector,
    /// A `LoRA` adapter.
    Adapter,
    /// A smaller model that drafts tokens for speculative decoding.
    Draft,
    /// A prompt template.
    Template,
    /// The system message.
    System,
    /// Generation options, as JSON.
    Params,
    /// Initial messages of a chat, as JSON.
    Messages,
    /// A licence.
    License,
}

impl LayerKind {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Model, "model"),
        (Self::Projector, "projector"),
        (Self::Adapter, "adapter"),
        (Self::Draft, "draft"),
        (Self::Template, "template"),
        (Self::System, "system"),
        (Self::Params, "params"),
        (Self::Messages, "messages"),
        (Self::License, "license"),
    ];

    /// Whether it is a file for the engine; otherwise it is text.
    pub fn is_gguf(self) -> bool {
        matches!(self, Self::Model | Self::Projector | Self::Adapter | Self::Draft)
    }

    fn media_type(self) -> String {
        let name = Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name);
        format!("{LAYER_MEDIA_TYPE}{name}")
    }

    fn of(media_type: &str) -> Option<Self> {
        let name = match media_type.strip_prefix(LAYER_MEDIA_TYPE)? {
            "prompt" => "template", // in early manifests
            name => name,
        };
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }
}

/// A reference to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    media_type: String,
    /// The digest, which names the blob in the store.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl Layer {
    /// Creates a layer of this kind.
    pub(crate) fn new(kind: LayerKind, digest: Digest, size: u64) -> Self {
        Self { media_type: kind.media_type(), digest, size, annotations: BTreeMap::new() }
    }

    /// Creates the configuration layer.
    pub(crate) fn config(digest: Digest, size: u64) -> Self {
        let media_type = CONFIG_MEDIA_TYPE.to_owned();
        Self { media_type, digest, size, annotations: BTreeMap::new() }
    }

    /// Records the original file name.
    #[must_use]
    pub(crate) fn with_title(mut self, title: &str) -> Self {
        self.annotations.insert(TITLE.to_owned(), title.to_owned());
        self
    }

    /// The original file name. It comes from the registry; never use it as a path.
    pub fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    /// Records the version of the file.
    #[must_use]
    pub(crate) fn with_version(mut self, version: Option<String>) -> Self {
        self.annotations.extend(version.map(|version| (VERSION.to_owned(), version)));
        self
    }

    /// The recorded version of the file, if the server provided one.
    pub(crate) fn version(&self) -> Option<&str> {
        self.annotations.get(VERSION).map(String::as_str)
    }

    /// The kind, if known.
    pub fn kind(&self) -> Option<LayerKind> {
        LayerKind::of(&self.media_type)
    }
}

/// The list of a model's files, in the format of Ollama's stores and registries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    /// The layer with the configuration, as JSON; see [`Config`].
    pub config: Layer,
    /// The files.
    pub layers: Vec<Layer>,
}

impl Manifest {
    /// Creates a manifest.
    pub(crate) fn new(config: Layer, layers: Vec<Layer>) -> Self {
        Self { schema_version: 2, media_type: MEDIA_TYPE.to_owned(), config, layers }
    }

    /// Parses a manifest from an untrusted source.
    ///
    /// Returns `InvalidModel` if it is damaged or has impossible values, and `Unsupported` for a
    /// model that is not in the GGUF format.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let refuse = |problem: String| {
            Error::new(ErrorKind::InvalidModel, format!("the manifest cannot be used: {problem}"))
        };
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(refuse(format!("it is longer than {MAX_MANIFEST_SIZE} bytes")));
        }
        let manifest: Self =
            serde_json::from_slice(bytes).map_err(|error| refuse(error.to_string()))?;
        if manifest.schema_version != 2 {
            return Err(refuse(format!("its version is {}, not 2", manifest.schema_version)));
        }
        if !["", MEDIA_TYPE, OCI_MEDIA_TYPE].contains(&manifest.media_type.as_str()) {
            return Err(refuse(format!("its type is {:?}", manifest.media_type)));
        }
        let mut total = 0u64;
        for layer in manifest.blobs() {
            total = total
                .checked_add(layer.size)
                .filter(|total| i64::try_from(*total).is_ok())
                .ok_or_else(|| refuse("its sizes are impossible".to_owned()))?;
        }
        let mut models = 0;
        for layer in &manifest.layers {
            match layer.kind() {
                Some(LayerKind::Model) => models += 1,
                Some(kind) if !kind.is_gguf() && layer.size > MAX_TEXT_SIZE => {
                    return Err(refuse(format!("a {kind:?} of {} bytes", layer.size)));
                }
                Some(_) => {}
                None if layer.media_type == format!("{LAYER_MEDIA_TYPE}tensor") => {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "the model is stored as single tensors, not as GGUF",
                    )
                    .with_hint("choose a tag or a repository that has GGUF files"));
                }
                None => {
                    return Err(refuse(format!("a layer of type {:?}", layer.media_type)));
                }
            }
        }
        if manifest.config.size > MAX_TEXT_SIZE {
            return Err(refuse(format!("a configuration of {} bytes", manifest.config.size)));
        }
        if models > MAX_SHARDS {
            return Err(refuse(format!(
                "{models} files of weights, where {MAX_SHARDS} are the most"
            )));
        }
        let is_other = |layer: &&Layer| layer.kind() != Some(LayerKind::Model);
        let others = manifest.layers.iter().filter(is_other).count();
        if others > MAX_OTHER_LAYERS {
            return Err(refuse(format!(
                "{others} layers in addition to the weights, where {MAX_OTHER_LAYERS} are the most"
            )));
        }
        if models == 0 {
            return Err(refuse("it has no model".to_owned()));
        }
        Ok(manifest)
    }

    /// The serialised manifest.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The configuration and all layers.
    pub fn blobs(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The layers of this kind.
    pub fn of_kind(&self, kind: LayerKind) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(move |layer| layer.kind() == Some(kind))
    }

    /// Total size of all blobs, in bytes.
    pub fn size(&self) -> u64 {
        self.blobs().map(|layer| layer.size).sum()
    }
}

/// A model's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Config {
    /// The format, always `gguf`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_format: String,
    /// The architecture, for example `llama`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_family: String,
    /// The number of parameters, for example `1.2B`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model_type: String,
    /// The quantisation, for example `Q4_K_M`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_type: String,
    /// Ollama's renderer of prompts. mullama uses the template instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renderer: Option<String>,
    /// Ollama's parser of answers. mullama uses the template instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parser: Option<String>,
    /// The minimum version of Ollama.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requires: Option<String>,
    /// Always `amd64`; registries require a value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub architecture: String,
    /// Always `linux`; registries require a value.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub os: String,
}

impl Config {
    /// Derives the configuration from a file's metadata and the quantisation in its name.
    pub(crate) fn of(header: &GgufHeader, quant: Option<String>) -> Self {
        let text = |key: &str| header.text(key).unwrap_or_default().to_owned();
        let own = header.quantisation().map(str::to_owned);
        Self {
            model_format: "gguf".to_owned(),
            model_family: text("general.architecture"),
            model_type: text("general.size_label"),
            file_type: own.or(quant).unwrap_or_default(),
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(edit: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let config = Layer::config(Digest::of(b"c"), 1);
        let layers = vec![
            Layer::new(LayerKind::Model, Digest::of(b"m"), 7),
            Layer::new(LayerKind::Template, Digest::of(b"t"), 3),
        ];
        let mut value = serde_json::to_value(Manifest::new(config, layers)).unwrap();
        edit(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn manifests_round_trip() {
        let manifest = Manifest::parse(&text(|_| {})).unwrap();
        assert_eq!(manifest.size(), 11);
        assert_eq!(manifest.of_kind(LayerKind::Template).count(), 1);
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
        let shard = Layer::new(LayerKind::Model, Digest::of(b""), 0).with_title("a.gguf");
        let value = serde_json::to_value(&shard).unwrap();
        assert_eq!(value["annotations"][TITLE], "a.gguf");
    }

    #[test]
    fn hostile_manifests_are_refused() {
        type Edit = Box<dyn FnOnce(&mut serde_json::Value)>;
        let cases: [(&str, Edit); 11] = [
            ("shards", Box::new(|v| v["layers"] = vec![v["layers"][0].clone(); 1001].into())),
            (
                "texts",
                Box::new(|v| {
                    let text = v["layers"][1].clone();
                    v["layers"].as_array_mut().unwrap().extend(vec![text; 100]);
                }),
            ),
            ("digest", Box::new(|v| v["layers"][0]["digest"] = "sha256:../../x".into())),
            ("no digest", Box::new(|v| v["layers"][0]["digest"] = "".into())),
            ("negative", Box::new(|v| v["layers"][0]["size"] = (-1).into())),
            (
                "overflow",
                Box::new(|v| {
                    v["layers"][0]["size"] = u64::MAX.into();
                    v["layers"][1]["size"] = u64::MAX.into();
                }),
            ),
            ("giant text", Box::new(|v| v["layers"][1]["size"] = (1u64 << 40).into())),
            ("giant config", Box::new(|v| v["config"]["size"] = (1u64 << 40).into())),
            ("type", Box::new(|v| v["layers"][0]["mediaType"] = "text/html".into())),
            ("version", Box::new(|v| v["schemaVersion"] = 1.into())),
            ("no model", Box::new(|v| v["layers"] = serde_json::json!([]))),
        ];
        for (case, edit) in cases {
            let error = Manifest::parse(&text(edit)).expect_err(case);
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{case}");
        }
        for bytes in [&b""[..], b"<html>", b"[]", b"null", &[0xff; 9], &vec![b'['; 1 << 16]] {
            assert!(Manifest::parse(bytes).is_err());
        }
        let tensors =
            text(|v| v["layers"][0]["mediaType"] = "application/vnd.ollama.image.tensor".into());
        assert_eq!(Manifest::parse(&tensors).unwrap_err().kind(), ErrorKind::Unsupported);
    }
}
