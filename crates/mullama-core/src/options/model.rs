//! The options of loading a model.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use super::cuda::CudaSettings;
use super::kind::{FlagForm, Names, option_type};
use super::lora::Lora;
use super::media::MediaLimits;
use super::table::options;
use crate::{Error, ErrorKind, Result};

options! {
    /// The placement of a model, and how its file is read.
    pub struct ModelParams {
        /// Number of layers on GPUs: -1 or `all` for all, 0 for none, N for that many, `auto` for as
        /// many as fit. The output layer counts as one. A number above the model's layers, such as 99
        /// or 999, means all, or as many as fit. Default: `auto`.
        n_gpu_layers <- GpuLayers,
        /// How a model is split across several GPUs: `none`, `layer`, `row`, `tensor`. Default:
        /// `layer`.
        split_mode: SplitMode,
        /// Share of each GPU, in any unit. Default: by free memory; equal in split mode `tensor`.
        tensor_split <- Vec<f32>,
        /// Index of the GPU to fill first; in split mode `none`, the only one used.
        main_gpu: u32 = 0,
        /// Names of the devices that may be used, or `none`; `auto` fills them in this order. Default:
        /// all.
        devices <- Vec<String> as Names; flag "device",
        /// Maximum number of GPUs to use: those with the most free memory, or the first of `devices`.
        /// Default: all.
        max_gpus: u32; in 1..; flag "max-gpu",
        /// Remote workers that may be used, as `host:port`; their devices come before those of this
        /// machine. Default: none.
        rpc_servers <- Vec<String> as Names; flag "rpc",
        /// Devices for individual tensors, by regular expression over tensor names; the first match
        /// applies. `CPU` is system RAM. Default: none.
        tensor_overrides <- TensorOverrides; flag "override-tensor",
        /// Whether all experts of a mixture-of-experts model are in system RAM.
        cpu_moe: bool = false,
        /// Number of layers, from the first on, whose experts are in system RAM.
        n_cpu_moe: u32 = 0,
        /// Projector for pictures: the path of its file, `none`, or `auto` for the one that belongs to the
        /// model, in the store or next to its file (`mmproj*.gguf`). Default: `auto`.
        projector <- String; flag "mmproj",
        /// Whether the projector is loaded with the model, instead of with the first picture.
        load_projector: bool = false,
        /// Limits of pictures: `pixels` of each, `bytes` of its file, `pictures` in a chat. Default:
        /// 100 million pixels, 64 MiB, 256 pictures.
        media_limits <- MediaLimits,
        /// Kernels that compute on the processor: `own` for mullama's, `engine` for llama.cpp's, `auto`
        /// for `own` where the processor has AVX2, unless `MULLAMA_KERNELS` says otherwise. Default:
        /// `auto`.
        cpu_kernels: CpuKernels,
        /// Settings of the CUDA backend (`graphs`, `fusion`, `offload_min_batch`, `allreduce`, ...), which apply to
        /// the whole process. Default: the backend's.
        cuda <- CudaSettings,
        /// Whether the file is memory-mapped instead of read.
        use_mmap: bool = true,
        /// Whether the model is locked in memory, so that it cannot be swapped out.
        use_mlock: bool = false,
        /// Whether the weights are checked for invalid values while loading.
        check_tensors: bool = false,
        /// Whether only the vocabulary is loaded: such a model can only tokenise.
        vocab_only: bool = false,
        /// Values that override the file's metadata, by key. Default: none.
        metadata_overrides <- BTreeMap<String, Value>,
        /// LoRA adapters for requests that do not specify any: paths of GGUF files, each with an
        /// optional scale. Default: none.
        lora <- Lora,
        /// A second, smaller model with the same vocabulary that drafts tokens for this one
        /// (speculative decoding): a path or a name, as for the model itself; `none` for none.
        /// Default: the model's `DRAFT`, if its Modelfile has one.
        draft_model <- String,
        /// Number of layers of the draft model on GPUs, like `n_gpu_layers`. Default: `auto`.
        draft_gpu_layers <- GpuLayers,
        /// Names of the devices that the draft model may use. Default: those of the model.
        draft_devices <- Vec<String> as Names; flag "draft-device",
        /// A chat template (Jinja) that replaces the model's. Default: the model's.
        chat_template <- String,
    }
}

impl ModelParams {
    /// The options with which the draft model is loaded.
    pub(crate) fn of_draft(&self) -> Self {
        Self {
            n_gpu_layers: self.draft_gpu_layers,
            devices: self.draft_devices.clone().or_else(|| self.devices.clone()),
            max_gpus: self.max_gpus,
            rpc_servers: self.rpc_servers.clone(),
            cpu_kernels: self.cpu_kernels,
            use_mmap: self.use_mmap,
            use_mlock: self.use_mlock,
            check_tensors: self.check_tensors,
            ..Self::default()
        }
    }
}

option_type! {
    CpuKernels: r#"Literal["auto", "own", "engine"]"#, "'auto' | 'own' | 'engine'", FlagForm::Text("auto|own|engine");
    GpuLayers: r#"int | Literal["auto", "all"]"#, "number | 'auto' | 'all'",
        FlagForm::NumberOr("all|auto");
    TensorOverrides: "Mapping[str, str]", "Record<string, string>", FlagForm::Patterns;
    SplitMode: r#"Literal["none", "layer", "row", "tensor"]"#,
        "'none' | 'layer' | 'row' | 'tensor'", FlagForm::Text("none|layer|row|tensor");
}

/// How many layers are placed on GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GpuLayers {
    /// As many layers as fit.
    #[default]
    Auto,
    /// All layers, including the output layer.
    All,
    /// This many layers, counted from the last.
    Count(u32),
}

impl From<i32> for GpuLayers {
    /// A negative number means all layers.
    fn from(layers: i32) -> Self {
        u32::try_from(layers).map_or(Self::All, Self::Count)
    }
}

/// The message about an invalid number of layers.
const GPU_LAYERS: &str = "expected \"auto\", \"all\" or a whole number from -1";

impl GpuLayers {
    fn named(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "auto" => Some(Self::Auto),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// Parses `auto`, `all` or a number from the command line.
impl FromStr for GpuLayers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = || text.parse().ok().filter(|layers| *layers >= -1).map(i32::into);
        let problem =
            || Error::new(ErrorKind::InvalidArgument, format!("{GPU_LAYERS}, not {text}"));
        Self::named(text).or_else(number).ok_or_else(problem)
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
        let problem = || de::Error::custom(GPU_LAYERS);
        match Raw::deserialize(deserializer).map_err(|_| problem())? {
            Raw::Number(layers) if layers >= -1 => Ok(layers.into()),
            Raw::Word(word) => Self::named(&word).ok_or_else(problem),
            Raw::Number(_) => Err(problem()),
        }
    }
}

/// Regular expressions over tensor names, each with the name of a device, in the order in which
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
        // This map preserves the order of the JSON text.
        let pairs = serde_json::Map::deserialize(deserializer)?;
        let pair = |(pattern, device): (String, Value)| match device {
            Value::String(device) => Ok((pattern, device)),
            _ => Err(de::Error::custom(format!("`{pattern}`: expected the name of a device"))),
        };
        pairs.into_iter().map(pair).collect::<Result<_, _>>().map(Self)
    }
}

/// The implementation of CPU kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CpuKernels {
    /// Those of mullama, if the processor has AVX2. The environment variable `MULLAMA_KERNELS` may select others.
    #[default]
    Auto,
    /// Those of mullama, which compute the products of matrices and attention faster.
    Own,
    /// llama.cpp's kernels.
    Engine,
}

/// How a model is split across several GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SplitMode {
    /// One GPU has the complete model.
    None,
    /// Whole layers, with their KV cache.
    #[default]
    Layer,
    /// The rows of each large matrix; the same as `Tensor` if the backend cannot do this.
    Row,
    /// The values of each matrix, with their KV cache, so that all GPUs work on every layer at
    /// once: an experimental feature of the engine that some architectures do not support.
    Tensor,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::needless_borrows_for_generic_args, reason = "as the documentation writes it")]
    fn setters_accept_documented_values() {
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
        assert_eq!(layers("All".into()), Some(GpuLayers::All));
        assert_eq!(layers("some".into()), None);
        let read = |text: &str| text.parse::<GpuLayers>().map_err(|error| error.to_string());
        assert_eq!(read("AUTO"), Ok(GpuLayers::Auto));
        assert_eq!(read("-1"), Ok(GpuLayers::All));
        assert_eq!(read("12"), Ok(GpuLayers::Count(12)));
        assert!(read("-2").unwrap_err().ends_with("from -1, not -2"));
    }
}
