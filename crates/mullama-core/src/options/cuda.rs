//! Settings of the CUDA backend.

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::kind::{FlagForm, option_type};
use super::table::options;
use super::{OptionSet as _, describe};
use crate::Naming;
use mullama_base::nearest;

option_type! {
    CudaSettings: "CudaSettings", "CudaSettings", FlagForm::Settings;
    AllReduce: r#"Literal["internal", "nccl", "none"]"#, "'internal' | 'nccl' | 'none'",
        FlagForm::Text("internal|nccl|none");
    AllReduceType: r#"Literal["bf16", "f32"]"#, "'bf16' | 'f32'", FlagForm::Text("bf16|f32");
    MmqPrecision: r#"Literal["auto", "q4", "q8"]"#, "'auto' | 'q4' | 'q8'", FlagForm::Text("auto|q4|q8");
}

options! {
    /// Settings of the CUDA backend. They apply to the whole process: the backend reads them once.
    pub struct CudaSettings {
        /// Whether kernels are launched together, as CUDA graphs. Default: true.
        graphs: bool,
        /// Whether consecutive operations are fused into one kernel. Default: true.
        fusion: bool,
        /// Minimum number of tokens in a step for which products with weights in system RAM are computed on the
        /// GPU. Default: 32.
        offload_min_batch: u32; in 1..,
        /// How the results of several GPUs are added up in split mode `tensor`: `internal` (two GPUs), `nccl`
        /// (if the backend was built with NCCL), or `none` for copies through the engine. Default: `nccl` on
        /// Linux, `internal` elsewhere, each falling back to the next.
        allreduce: AllReduce,
        /// Data type in which `internal` transfers 32-bit results between GPUs: `bf16` or `f32`. Default:
        /// `bf16`.
        allreduce_type: AllReduceType,
        /// Precision of the activations in matrix products with quantised weights: `auto`, `q4`, `q8`. Default:
        /// `auto`.
        mmq: MmqPrecision,
        /// Whether weights and caches that exceed the memory of the GPU may be moved to system RAM by the driver
        /// (unified memory). Default: false.
        unified_memory: bool,
        /// Whether GPUs access each other's memory directly (peer to peer). Default: false.
        peer_access: bool,
        /// Whether buffers in system RAM are pinned for faster transfers. Default: true.
        pinned_memory: bool,
    }
}

/// How the results of several GPUs are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AllReduce {
    /// By the backend's own kernels, for two GPUs.
    Internal,
    /// By NVIDIA's library NCCL.
    Nccl,
    /// By copies through the engine.
    None,
}

/// The data type of results that GPUs exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum AllReduceType {
    /// 16 bits with the range of 32: half the bytes.
    Bf16,
    /// 32 bits.
    F32,
}

/// The precision of activations in matrix products with quantised weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MmqPrecision {
    /// The precision that the engine requests for each product.
    Auto,
    /// 4 bits.
    Q4,
    /// 8 bits.
    Q8,
}

/// Settings of other programs that the engine does not have, and what to do instead.
const ABSENT: [(&str, &str); 2] = [
    (
        "fa_offset",
        "llama.cpp has no such setting; `flash_attention=off` computes attention without it",
    ),
    ("mmq_id", "llama.cpp chooses the kernel for experts itself"),
];

impl CudaSettings {
    /// The environment variables that the backend reads, each with its value; without a value it must be absent.
    pub(crate) fn variables(&self) -> Vec<(&'static str, Option<String>)> {
        let present = |is_present: bool| is_present.then(|| "1".to_owned());
        let word = |value: Value| value.as_str().map(str::to_owned);
        let mut variables = Vec::new();
        let mut set = |name, value: Option<Option<String>>| {
            variables.extend(value.map(|value| (name, value)));
        };
        set("GGML_CUDA_DISABLE_GRAPHS", self.graphs.map(|graphs| present(!graphs)));
        set("GGML_CUDA_DISABLE_FUSION", self.fusion.map(|fusion| present(!fusion)));
        set(
            "GGML_OP_OFFLOAD_MIN_BATCH",
            self.offload_min_batch.map(|tokens| Some(tokens.to_string())),
        );
        set("GGML_CUDA_ALLREDUCE", self.allreduce.map(|how| word(serde_json::json!(how))));
        // A threshold in bytes: 0 turns the conversion off.
        let threshold = |of| Some(u8::from(of == AllReduceType::Bf16).to_string());
        set("GGML_CUDA_AR_BF16_THRESHOLD", self.allreduce_type.map(threshold));
        set("GGML_CUDA_MMQ_PREC", self.mmq.map(|precision| word(serde_json::json!(precision))));
        set("GGML_CUDA_ENABLE_UNIFIED_MEMORY", self.unified_memory.map(present));
        set("GGML_CUDA_P2P", self.peer_access.map(present));
        set("GGML_CUDA_NO_PINNED", self.pinned_memory.map(|pinned| present(!pinned)));
        variables
    }

    /// Reads settings by name, in any naming style.
    fn from_map(map: Map<String, Value>) -> Result<Self, String> {
        let mut settings = Self::default();
        let specs = settings.specs();
        for (key, value) in map {
            let name = key.replace('-', "_");
            let is_named = |spec: &&super::OptionSpec| {
                spec.name == name || Naming::Camel.style(spec.name) == key
            };
            let Some(spec) = specs.iter().find(is_named) else {
                let absent = ABSENT.iter().find(|(prefix, _)| name.starts_with(prefix));
                return Err(match (absent, nearest(&name, specs.iter().map(|spec| spec.name))) {
                    (Some((_, reason)), _) => format!("`{key}`: {reason}"),
                    (None, Some(known)) => {
                        format!("`{key}` is not a setting; did you mean `{known}`?")
                    }
                    (None, None) => {
                        let known: Vec<_> = specs.iter().map(|spec| spec.name).collect();
                        format!("`{key}` is not a setting; the settings are {}", known.join(", "))
                    }
                });
            };
            if value.is_null() {
                continue;
            }
            let value = match value.as_u64() {
                Some(bit @ 0..=1) if spec.kind.flag == FlagForm::Switch => (bit == 1).into(),
                _ => value,
            };
            settings
                .set(spec.name, value)
                .map_err(|error| format!("`{key}`: {}", describe(&error)))?;
        }
        settings.check().map_err(|error| error.to_string())?;
        Ok(settings)
    }
}

impl<'de> Deserialize<'de> for CudaSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_map(Map::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: Value) -> Result<CudaSettings, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn setting_names_and_booleans_have_several_spellings() {
        let expected = CudaSettings::default().with_graphs(false).with_offload_min_batch(64);
        for written in [
            json!({"graphs": false, "offload_min_batch": 64}),
            json!({"graphs": 0, "offload-min-batch": 64, "fusion": null}),
            json!({"graphs": false, "offloadMinBatch": 64}),
        ] {
            assert_eq!(settings(written).unwrap(), expected);
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (written, said) in [
            (json!({"fa-offset": 1.0}), "`fa-offset`: llama.cpp has no such setting"),
            (json!({"mmq-id-size": 32}), "`mmq-id-size`: llama.cpp chooses"),
            (json!({"graph": 0}), "`graph` is not a setting; did you mean `graphs`?"),
            (json!({"nonsense": 0}), "the settings are graphs, fusion,"),
            (json!({"graphs": 2}), "`graphs`: expected true or false, not `2`"),
            (json!({"offload_min_batch": 0}), "offload_min_batch"),
            (json!({"allreduce": "ring"}), "`allreduce`: expected"),
            (json!({"allreduce_type": "q8_0"}), "`allreduce_type`: expected"),
            (json!([]), "expected"),
        ] {
            let error = settings(written.clone()).unwrap_err();
            assert!(error.contains(said), "{written}: {error}");
        }
    }

    #[test]
    fn settings_are_variables_of_the_backend() {
        let variables = |written: Value| settings(written).unwrap().variables();
        let one = || Some("1".to_owned());
        assert!(variables(json!({})).is_empty());
        assert_eq!(
            variables(json!({"graphs": false, "fusion": true, "pinned_memory": false})),
            [
                ("GGML_CUDA_DISABLE_GRAPHS", one()),
                ("GGML_CUDA_DISABLE_FUSION", None),
                ("GGML_CUDA_NO_PINNED", one()),
            ]
        );
        assert_eq!(
            variables(json!({"allreduce": "nccl", "allreduce_type": "f32", "mmq": "q8"})),
            [
                ("GGML_CUDA_ALLREDUCE", Some("nccl".to_owned())),
                ("GGML_CUDA_AR_BF16_THRESHOLD", Some("0".to_owned())),
                ("GGML_CUDA_MMQ_PREC", Some("q8".to_owned())),
            ]
        );
    }
}
