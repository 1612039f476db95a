//! Models whose memory cannot be truncated: recurrent ones of the `mamba` architecture, which have a state per
//! sequence and no cells, hybrids of the `jamba` architecture, which have both, and models with sliding windows, of
//! the `gemma3` architecture.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Shape, Tensor, WeightType, write_tensors};
use crate::vocab::{CHAT_TEMPLATE, Vocabulary};

/// Width of a block's convolution in tokens.
const CONVOLUTION: u32 = 4;
/// State size per channel.
const STATE: u32 = 8;
/// Rank of the matrix that computes step lengths.
const STEP_RANK: u32 = 8;

/// In a hybrid, the last of this many blocks has attention.
const ATTENTION_INTERVAL: u32 = 4;

/// Writes a recurrent model with random weights; the same arguments give the same bytes.
///
/// The heads, `n_ff`, `tied` and `experts` of the shape are ignored.
pub fn write_recurrent(
    path: &Path,
    shape: &Shape,
    weights: WeightType,
    seed: u64,
) -> io::Result<()> {
    let mut tensors = ends(shape);
    for block in 0..shape.n_layer {
        tensors.extend(mamba(shape, block));
    }
    let numbers = [("feed_forward_length", Value::u32(0)), ("attention.head_count", Value::u32(0))];
    let metadata = metadata("mamba", shape, weights, numbers.into_iter().chain(state(shape)));
    write_tensors(path, metadata, &tensors, weights, seed)
}

/// Writes a hybrid: every fourth block has attention, the others are recurrent.
pub fn write_hybrid(path: &Path, shape: &Shape, weights: WeightType, seed: u64) -> io::Result<()> {
    let has_attention = |block: u32| block % ATTENTION_INTERVAL == ATTENTION_INTERVAL - 1;
    let mut tensors = ends(shape);
    for block in 0..shape.n_layer {
        if has_attention(block) {
            tensors.push(Tensor::norm(format!("blk.{block}.attn_norm.weight"), shape.n_embd));
            tensors.extend(attention(shape, block));
        } else {
            tensors.extend(mamba(shape, block));
            let name = |part: &str| format!("blk.{block}.{part}.weight");
            tensors.extend([
                Tensor::norm(name("ssm_dt_norm"), STEP_RANK),
                Tensor::norm(name("ssm_b_norm"), STATE),
                Tensor::norm(name("ssm_c_norm"), STATE),
            ]);
        }
        tensors.extend(feed_forward(shape, block));
    }
    let heads =
        (0..shape.n_layer).map(|block| if has_attention(block) { shape.n_head_kv } else { 0 });
    let numbers = [
        ("feed_forward_length", Value::u32(shape.n_ff)),
        ("attention.head_count", Value::u32(shape.n_head)),
        ("attention.head_count_kv", Value::u32s(heads)),
    ];
    let metadata = metadata("jamba", shape, weights, numbers.into_iter().chain(state(shape)));
    write_tensors(path, metadata, &tensors, weights, seed)
}

/// Writes a model in which five of six blocks attend to `window` tokens and the others to all.
pub fn write_windowed(
    path: &Path,
    shape: &Shape,
    window: u32,
    weights: WeightType,
    seed: u64,
) -> io::Result<()> {
    let mut tensors = ends(shape);
    for block in 0..shape.n_layer {
        let name = |part: &str| format!("blk.{block}.{part}.weight");
        tensors.extend(attention(shape, block));
        tensors.extend(feed_forward(shape, block));
        tensors.extend([
            Tensor::norm(name("attn_norm"), shape.n_embd),
            Tensor::norm(name("attn_q_norm"), shape.head_size()),
            Tensor::norm(name("attn_k_norm"), shape.head_size()),
            Tensor::norm(name("post_attention_norm"), shape.n_embd),
            Tensor::norm(name("post_ffw_norm"), shape.n_embd),
        ]);
    }
    let numbers = [
        ("feed_forward_length", Value::u32(shape.n_ff)),
        ("attention.head_count", Value::u32(shape.n_head)),
        ("attention.head_count_kv", Value::u32(shape.n_head_kv)),
        ("attention.key_length", Value::u32(shape.head_size())),
        ("attention.value_length", Value::u32(shape.head_size())),
        ("attention.sliding_window", Value::u32(window)),
    ];
    let metadata = metadata("gemma3", shape, weights, numbers);
    write_tensors(path, metadata, &tensors, weights, seed)
}

/// The tensors before and after the blocks.
fn ends(shape: &Shape) -> Vec<Tensor> {
    vec![
        Tensor::matrix("token_embd.weight", &[shape.n_embd, shape.n_vocab], 3.0),
        Tensor::norm("output_norm.weight", shape.n_embd),
    ]
}

fn mamba(shape: &Shape, block: u32) -> Vec<Tensor> {
    let (embd, inner) = (shape.n_embd, 2 * shape.n_embd);
    let name = |part: &str| format!("blk.{block}.{part}");
    vec![
        Tensor::norm(name("attn_norm.weight"), embd),
        Tensor::matrix(name("ssm_in.weight"), &[embd, 2 * inner], 1.0),
        Tensor::matrix(name("ssm_conv1d.weight"), &[CONVOLUTION, inner], 1.0).in_full(),
        Tensor::bias(name("ssm_conv1d.bias"), inner),
        Tensor::matrix(name("ssm_x.weight"), &[inner, STEP_RANK + 2 * STATE], 1.0),
        Tensor::matrix(name("ssm_dt.weight"), &[STEP_RANK, inner], 1.0),
        Tensor::bias(name("ssm_dt.bias"), inner),
        // Negative, so that the state decays.
        Tensor::constant(name("ssm_a"), &[STATE, inner], -0.5),
        Tensor::constant(name("ssm_d"), &[inner], 1.0),
        Tensor::matrix(name("ssm_out.weight"), &[inner, embd], 1.0),
    ]
}

fn attention(shape: &Shape, block: u32) -> Vec<Tensor> {
    let name = |part: &str| format!("blk.{block}.{part}.weight");
    let (embd, kv) = (shape.n_embd, shape.head_size() * shape.n_head_kv);
    vec![
        Tensor::matrix(name("attn_q"), &[embd, embd], 1.0),
        Tensor::matrix(name("attn_k"), &[embd, kv], 1.0),
        Tensor::matrix(name("attn_v"), &[embd, kv], 1.0),
        Tensor::matrix(name("attn_output"), &[embd, embd], 1.0),
    ]
}

fn feed_forward(shape: &Shape, block: u32) -> Vec<Tensor> {
    let name = |part: &str| format!("blk.{block}.{part}.weight");
    vec![
        Tensor::norm(name("ffn_norm"), shape.n_embd),
        Tensor::matrix(name("ffn_gate"), &[shape.n_embd, shape.n_ff], 1.0),
        Tensor::matrix(name("ffn_up"), &[shape.n_embd, shape.n_ff], 1.0),
        Tensor::matrix(name("ffn_down"), &[shape.n_ff, shape.n_embd], 1.0),
    ]
}

/// The hyper-parameters of the recurrent blocks.
fn state(shape: &Shape) -> [(&'static str, Value); 4] {
    [
        ("ssm.conv_kernel", Value::u32(CONVOLUTION)),
        ("ssm.inner_size", Value::u32(2 * shape.n_embd)),
        ("ssm.state_size", Value::u32(STATE)),
        ("ssm.time_step_rank", Value::u32(STEP_RANK)),
    ]
}

fn metadata(
    architecture: &str,
    shape: &Shape,
    weights: WeightType,
    more: impl IntoIterator<Item = (&'static str, Value)>,
) -> Vec<(String, Value)> {
    let numbers = [
        ("vocab_size", Value::u32(shape.n_vocab)),
        ("context_length", Value::u32(shape.n_ctx_train)),
        ("embedding_length", Value::u32(shape.n_embd)),
        ("block_count", Value::u32(shape.n_layer)),
        ("attention.layer_norm_rms_epsilon", Value::f32(1e-5)),
    ];
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::string(architecture)),
        ("general.name".to_owned(), Value::string("mullama test state")),
        ("general.file_type".to_owned(), Value::u32(weights.file_type())),
        ("tokenizer.chat_template".to_owned(), Value::string(CHAT_TEMPLATE)),
    ];
    let numbers = numbers.into_iter().chain(more);
    metadata.extend(numbers.map(|(key, value)| (format!("{architecture}.{key}"), value)));
    metadata.extend(Vocabulary::new(shape.n_vocab).metadata());
    metadata
}
