//! What a model is loaded with.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::kind::{FlagForm, Names, option_type};
use super::lora::Lora;
use super::table::options;

options! {
    /// Which processors hold the model, and how its file is read.
    pub struct ModelParams {
        /// Layers on GPUs: -1 (`All`) all of them, 0 none, N that many, `Auto` what fits. The output
        /// layer counts as one. Default: `Auto`.
        n_gpu_layers <- GpuLayers,
        /// How a model is divided among several GPUs: `none`, `layer`, `row`, `tensor`.
        /// Default: `layer`.
        split_mode: SplitMode,
        /// Share of the model for each GPU, in any unit. Default: by free memory.
        tensor_split <- Vec<f32>,
        /// The GPU that holds everything in split mode `none`, by its index.
        main_gpu: u32 = 0,
        /// Devices that may be used, by their names; `auto` fills them in this order.
        /// Default: all.
        devices <- Vec<String> as Names; flag "device",
        /// Workers on other machines that may be used, as `host:port`; their devices come before this
        /// machine's. Default: none.
        rpc_servers <- Vec<String> as Names; flag "rpc",
        /// Devices for tensors, by a pattern (regular expression) over their names, the first that
        /// matches; `CPU` is the machine's own memory. Default: none.
        tensor_overrides <- TensorOverrides; flag "override-tensor",
        /// Whether the experts of a mixture stay in the machine's own memory.
        cpu_moe: bool = false,
        /// Of how many layers, from the first on, the experts stay in the machine's own memory.
        n_cpu_moe: u32 = 0,
        /// Whether the file is mapped into memory rather than read.
        use_mmap: bool = true,
        /// Whether the model is kept from being swapped out.
        use_mlock: bool = false,
        /// Whether the weights are checked for invalid values while loading.
        check_tensors: bool = false,
        /// Whether only the vocabulary is loaded: such a model tokenises and does nothing else.
        vocab_only: bool = false,
        /// Values that replace those of the file's metadata, by key. Default: none.
        metadata_overrides <- BTreeMap<String, Value>,
        /// LoRA adapters that requests use where they name none: paths of GGUF files, alone or each with
        /// a scale. Default: none.
        lora <- Lora,
        /// A chat template (Jinja) in place of the model's. Default: the model's.
        chat_template <- String,
    }
}

option_type! {
    GpuLayers: r#"int | Literal["auto"]"#, "number | 'auto'", FlagForm::NumberOr("auto");
    TensorOverrides: "Mapping[str, str]", "Record<string, string>", FlagForm::Patterns;
    SplitMode: r#"Literal["none", "layer", "row", "tensor"]"#,
        "'none' | 'layer' | 'row' | 'tensor'", FlagForm::Text("none|layer|row|tensor");
}

/// How many layers go to GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuLayers {
    /// As many as fit.
    #[default]
    Auto,
    /// All of them, the output layer included.
    All,
    /// This many, counted from the last.
    Count(u32),
}

impl From<i32> for GpuLayers {
    /// A negative number means all layers.
    fn from(layers: i32) -> Self {
        u32::try_from(layers).map_or(Self::All, Self::Count)
    }
}

impl Serialize for GpuLayers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::All => serializer.serialize_i32(-1),
            Self::Count(layers) => serializer.serialize_u32(*layers),
        }
    }
}

impl<'de> Deserialize<'de> for GpuLayers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(i32),
            Word(String),
        }
        let problem = || de::Error::custom("expected a whole number from -1, or \"auto\"");
        match Raw::deserialize(deserializer).map_err(|_| problem())? {
            Raw::Number(layers) if layers >= -1 => Ok(layers.into()),
            Raw::Word(word) if word == "auto" => Ok(Self::Auto),
            _ => Err(problem()),
        }
    }
}

/// Patterns over the names of tensors, with the names of the devices that they go to, in the order in which
/// they are tried.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TensorOverrides(pub Vec<(String, String)>);

impl<P: Into<String>, D: Into<String>, T: IntoIterator<Item = (P, D)>> From<T> for TensorOverrides {
    fn from(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(pattern, device)| (pattern.into(), device.into())).collect())
    }
}

impl Serialize for TensorOverrides {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(pattern, device)| (pattern, device)))
    }
}

impl<'de> Deserialize<'de> for TensorOverrides {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Such a map keeps the order that it was written in.
        let pairs = serde_json::Map::deserialize(deserializer)?;
        let pair = |(pattern, device): (String, Value)| match device {
            Value::String(device) => Ok((pattern, device)),
            _ => Err(de::Error::custom(format!("`{pattern}`: expected the name of a device"))),
        };
        pairs.into_iter().map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// How a model is divided among several GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SplitMode {
    /// One GPU holds everything.
    None,
    /// Whole layers, with their KV cache.
    #[default]
    Layer,
    /// The rows of each large matrix, where the backend can.
    Row,
    /// The values of each matrix, with their KV cache, so that all GPUs work on every layer at once:
    /// an experiment of the engine that not every architecture has.
    Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::needless_borrows_for_generic_args, reason = "as the documentation writes it")]
    fn setters_take_what_the_documentation_shows() {
        let params = ModelParams::default()
            .with_n_gpu_layers(-1)
            .with_split_mode(SplitMode::Layer)
            .with_tensor_split(&[0.6, 0.4])
            .with_main_gpu(1);
        assert_eq!(params.n_gpu_layers, Some(GpuLayers::All));
        assert_eq!(params.tensor_split.as_deref(), Some(&[0.6, 0.4][..]));
        let context = crate::ContextParams::default().with_n_ctx(4096).with_n_threads(2);
        assert_eq!((context.n_ctx, context.n_threads), (Some(4096), Some(2)));
    }

    #[test]
    fn layers_are_a_number_or_auto() {
        let layers = |value: Value| serde_json::from_value::<GpuLayers>(value).ok();
        assert_eq!(layers(35.into()), Some(GpuLayers::Count(35)));
        assert_eq!(layers((-1).into()), Some(GpuLayers::All));
        assert_eq!(layers("auto".into()), Some(GpuLayers::Auto));
        assert_eq!(layers((-2).into()), None);
        assert_eq!(layers(1.5.into()), None);
        assert_eq!(layers("all".into()), None);
    }
}
