//! Encoders: models of the `bert` architecture, for embeddings and reranking.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Shape, Tensor, WeightType, write_tensors};

/// The last part of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// None: the encoder returns a vector for each token. The number is the pooling type
    /// (`llama_pooling_type`).
    Pooling(u32),
    /// A classification head with one score.
    Score,
}

/// The first tokens of the vocabulary: padding, unknown, and the special tokens around texts.
const CONTROL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
const CHARACTERS: &str = "abcdefghijklmnopqrstuvwxyz0123456789.,?!'-";

/// Writes an encoder with random weights; the same arguments give the same bytes.
///
/// `n_head_kv`, `tied` and `experts` of the shape are ignored.
pub fn write_encoder(
    path: &Path,
    shape: &Shape,
    head: Head,
    weights: WeightType,
    seed: u64,
) -> io::Result<()> {
    write_tensors(path, metadata(shape, head, weights), &tensors(shape, head), weights, seed)
}

fn tensors(shape: &Shape, head: Head) -> Vec<Tensor> {
    let (embd, ff) = (shape.n_embd, shape.n_ff);
    let mut tensors = vec![
        Tensor::matrix("token_embd.weight", &[embd, shape.n_vocab], 3.0),
        Tensor::matrix("token_types.weight", &[embd, 2], 1.0),
        Tensor::matrix("position_embd.weight", &[embd, shape.n_ctx_train], 1.0),
        Tensor::norm("token_embd_norm.weight", embd),
        Tensor::bias("token_embd_norm.bias", embd),
    ];
    for block in 0..shape.n_layer {
        let name = |part: &str, kind: &str| format!("blk.{block}.{part}.{kind}");
        for (part, inputs, outputs) in [
            ("attn_q", embd, embd),
            ("attn_k", embd, embd),
            ("attn_v", embd, embd),
            ("attn_output", embd, embd),
            ("ffn_up", embd, ff),
            ("ffn_down", ff, embd),
        ] {
            tensors.push(Tensor::matrix(name(part, "weight"), &[inputs, outputs], 1.0));
            tensors.push(Tensor::bias(name(part, "bias"), outputs));
        }
        for part in ["attn_output_norm", "layer_output_norm"] {
            tensors.push(Tensor::norm(name(part, "weight"), embd));
            tensors.push(Tensor::bias(name(part, "bias"), embd));
        }
    }
    if head == Head::Score {
        tensors.extend([
            Tensor::matrix("cls.weight", &[embd, embd], 1.0),
            Tensor::bias("cls.bias", embd),
            Tensor::matrix("cls.output.weight", &[embd, 1], 4.0),
            Tensor::bias("cls.output.bias", 1),
        ]);
    }
    tensors
}

fn metadata(shape: &Shape, head: Head, weights: WeightType) -> Vec<(String, Value)> {
    let pooling = match head {
        Head::Pooling(pooling) => pooling,
        Head::Score => 4,
    };
    let numbers = [
        ("context_length", shape.n_ctx_train),
        ("embedding_length", shape.n_embd),
        ("block_count", shape.n_layer),
        ("feed_forward_length", shape.n_ff),
        ("attention.head_count", shape.n_head),
        ("pooling_type", pooling),
    ];
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::string("bert")),
        ("general.name".to_owned(), Value::string("mullama test encoder")),
        ("general.file_type".to_owned(), Value::u32(weights.file_type())),
        ("bert.attention.layer_norm_epsilon".to_owned(), Value::f32(1e-12)),
        ("bert.attention.causal".to_owned(), Value::bool(false)),
    ];
    metadata.extend(numbers.map(|(key, value)| (format!("bert.{key}"), Value::u32(value))));
    metadata.extend(vocabulary(shape.n_vocab));
    metadata
}

/// Word pieces: all characters and pairs of letters, at the start of a word and within.
fn vocabulary(size: u32) -> impl Iterator<Item = (String, Value)> {
    let characters = || CHARACTERS.chars().map(String::from);
    let letters = || CHARACTERS[..26].chars();
    let pairs = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let start = |piece: String| format!("\u{2581}{piece}");
    let tokens: Vec<String> = CONTROL
        .map(String::from)
        .into_iter()
        .chain(characters().map(start))
        .chain(characters())
        .chain(pairs.clone().map(start))
        .chain(pairs)
        .take(size as usize)
        .collect();
    assert_eq!(tokens.len(), size as usize, "the vocabulary is larger than there are pieces");
    let (normal, control) = (1, 3); // llama_token_type
    let kinds = (0..tokens.len()).map(|id| if id < CONTROL.len() { control } else { normal });
    [
        ("tokenizer.ggml.model", Value::string("bert")),
        ("tokenizer.ggml.tokens", Value::strings(&tokens)),
        ("tokenizer.ggml.token_type", Value::i32s(kinds)),
        ("tokenizer.ggml.token_type_count", Value::u32(2)),
        ("tokenizer.ggml.padding_token_id", Value::u32(0)),
        ("tokenizer.ggml.unknown_token_id", Value::u32(1)),
        ("tokenizer.ggml.bos_token_id", Value::u32(2)),
        ("tokenizer.ggml.seperator_token_id", Value::u32(3)),
        ("tokenizer.ggml.mask_token_id", Value::u32(4)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into_iter()
}
