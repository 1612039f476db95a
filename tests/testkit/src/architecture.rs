//! Small models of the engine's other architectures. The tensors of each are obtained from the engine.

use std::io;

use mullama_sys::{LLAMA_FTYPE_MOSTLY_F16, shim};

use crate::gguf::{File, Header, TensorType, Value};
use crate::model::WeightType;
use crate::random::{Random, write_normal};
use crate::tokenizer::Tokenizer;

/// Size of the vocabularies in this file, in tokens.
const TOKENS: u32 = 512;

/// Metadata of models of all architectures; those of a model's architecture are added.
const NUMBERS: Numbers = &[
    ("vocab_size", TOKENS),
    ("context_length", 512),
    ("embedding_length", 64),
    ("block_count", 2),
    ("feed_forward_length", 128),
    ("attention.head_count", 4),
    ("attention.head_count_kv", 2),
    ("rope.dimension_count", 16),
];
const FLOATS: &[(&str, f32)] = &[
    ("attention.layer_norm_rms_epsilon", 1e-5),
    ("attention.layer_norm_epsilon", 1e-5),
    ("rope.freq_base", 10_000.0),
    ("logit_scale", 0.5),
    ("attention.clamp_kqv", 8.0),
];

/// An architecture, with the additional metadata of its models and a suitable tokenizer.
#[derive(Debug, Clone, Copy)]
pub struct Architecture {
    /// The name in GGUF files.
    pub name: &'static str,
    /// Additional metadata.
    numbers: &'static [Numbers],
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

impl Architecture {
    /// Creates a model of this architecture with random weights, which are always the same. The engine must have
    /// been started.
    pub fn model(&self) -> io::Result<File> {
        let mut header = Header::default();
        header.set("general.architecture", Value::string(self.name));
        header.set("general.name", Value::string("mullama test model"));
        header.set("general.file_type", Value::u32(LLAMA_FTYPE_MOSTLY_F16));
        let long = |key: &str| format!("{}.{key}", self.name);
        for (key, number) in FLOATS {
            header.set(long(key), Value::f32(*number));
        }
        for (key, number) in NUMBERS.iter().chain(self.numbers.iter().copied().flatten()) {
            header.set(long(key), Value::u32(*number));
        }
        // The engine creates tensors without weights only if there is no vocabulary to read.
        let mut shape = header.clone();
        shape.set("tokenizer.ggml.model", Value::string("no_vocab"));
        let tensors = shim::shape_tensors(&shape.encode(), LLAMA_FTYPE_MOSTLY_F16, false, true);
        let tensors: Vec<(String, u32, Vec<u64>)> =
            serde_json::from_str(&tensors.map_err(io::Error::other)?)?;
        for (key, value) in self.tokenizer.metadata(TOKENS) {
            header.set(key, value);
        }
        for (name, ty, shape) in tensors {
            let ty =
                TensorType::from_number(ty).ok_or_else(|| io::Error::other("an unknown type"))?;
            header.add_tensor(name, ty, &shape);
        }
        let size = header.lay_out().map_err(io::Error::other)?;
        let mut data = Vec::with_capacity(size as usize);
        for tensor in &header.tensors {
            data.resize(tensor.offset as usize, 0);
            let count = tensor.shape.iter().product::<u64>() as usize;
            let mut random = Random::new(1, &tensor.name);
            let weights = if tensor.ty == TensorType::F16.number() {
                WeightType::F16
            } else {
                WeightType::F32
            };
            write_normal(&mut data, &mut random, weights, 0.1, count)?;
        }
        data.resize(size as usize, 0);
        Ok(File { header, data })
    }
}

type Numbers = &'static [(&'static str, u32)];

const EXPERTS: Numbers = &[
    ("expert_count", 4),
    ("expert_used_count", 2),
    ("expert_feed_forward_length", 64),
    ("expert_shared_feed_forward_length", 64),
    ("expert_shared_count", 1),
    ("leading_dense_block_count", 1),
    ("expert_gating_func", 1),
    ("interleave_moe_layer_step", 1),
];
const STATES: Numbers = &[
    ("ssm.conv_kernel", 4),
    ("ssm.inner_size", 128),
    ("ssm.state_size", 16),
    ("ssm.time_step_rank", 8),
    ("ssm.group_count", 1),
    ("wkv.head_size", 64),
    ("attention.decay_lora_rank", 16),
    ("attention.iclr_lora_rank", 16),
    ("attention.value_residual_mix_lora_rank", 16),
    ("attention.gate_lora_rank", 16),
    ("token_shift_count", 2),
];
/// One of the two layers has attention, since the engine cannot decode a hybrid without any.
const ATTENTION: Numbers = &[("full_attention_interval", 2)];
const LAYERS: Numbers = &[
    ("attention.key_length", 16),
    ("attention.value_length", 16),
    ("attention.sliding_window", 64),
    ("attention.sliding_window_pattern", 2),
    ("embedding_length_per_layer_input", 32),
    ("pooling_type", 1),
];

/// Architectures of each kind of which the engine can create models with these numbers.
pub const ARCHITECTURES: &[Architecture] = &[
    Architecture { name: "llama", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "falcon", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "grok", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "gpt2", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "mpt", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "refact", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "modern-bert", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "neo-bert", numbers: &[], tokenizer: Tokenizer::WordPiece },
    Architecture { name: "eurobert", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "bloom", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "stablelm", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "qwen", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "qwen2", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "qwen2moe", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "qwen3", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture {
        name: "qwen3next",
        numbers: &[EXPERTS, STATES, ATTENTION],
        tokenizer: Tokenizer::BytePair,
    },
    Architecture { name: "phi2", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "phi3", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "phimoe", numbers: &[EXPERTS], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "plamo3", numbers: &[], tokenizer: Tokenizer::Plamo },
    Architecture { name: "minicpm", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "gemma2", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "gemma3", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "gemma3n", numbers: &[LAYERS], tokenizer: Tokenizer::SentencePiece },
    Architecture {
        name: "gemma-embedding",
        numbers: &[LAYERS],
        tokenizer: Tokenizer::SentencePiece,
    },
    Architecture { name: "starcoder2", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "mamba", numbers: &[STATES], tokenizer: Tokenizer::BytePair },
    Architecture { name: "mamba2", numbers: &[STATES], tokenizer: Tokenizer::BytePair },
    Architecture { name: "falcon-h1", numbers: &[STATES], tokenizer: Tokenizer::BytePair },
    Architecture { name: "command-r", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "olmo2", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "openelm", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "arctic", numbers: &[EXPERTS], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "deepseek", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "chatglm", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "glm4moe", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "bitnet", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "jais", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "rwkv7", numbers: &[STATES], tokenizer: Tokenizer::Rwkv },
    Architecture { name: "bailingmoe2", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "ernie4_5-moe", numbers: &[EXPERTS], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "gpt-oss", numbers: &[EXPERTS, LAYERS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "dream", numbers: &[], tokenizer: Tokenizer::BytePair },
    Architecture { name: "llada-moe", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "cogvlm", numbers: &[], tokenizer: Tokenizer::SentencePiece },
    Architecture { name: "nemotron", numbers: &[], tokenizer: Tokenizer::Unigram },
    Architecture { name: "exaone", numbers: &[], tokenizer: Tokenizer::None },
    Architecture { name: "cohere2", numbers: &[LAYERS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "granitemoe", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
    Architecture { name: "dbrx", numbers: &[EXPERTS], tokenizer: Tokenizer::BytePair },
];
