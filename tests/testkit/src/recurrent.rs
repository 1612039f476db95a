//! Recurrent models, of the `mamba` architecture: they keep a state for each sequence, and no cells.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Shape, Tensor, WeightType, write_tensors};
use crate::vocab::Vocabulary;

/// Tokens that the convolution of a block sees.
const CONVOLUTION: u32 = 4;
/// Numbers of state for each channel.
const STATE: u32 = 8;
/// The rank of the matrix that gives each step its length.
const STEP_RANK: u32 = 8;

/// Writes a recurrent model with random weights; the same arguments give the same bytes.
///
/// Of the shape, what is said of heads, `n_ff`, `tied` and `experts` does not matter.
pub fn write_recurrent(path: &Path, shape: &Shape, seed: u64) -> io::Result<()> {
    write_tensors(path, metadata(shape), &tensors(shape), WeightType::F32, seed)
}

fn tensors(shape: &Shape) -> Vec<Tensor> {
    let (embd, inner) = (shape.n_embd, 2 * shape.n_embd);
    let mut tensors = vec![
        Tensor::matrix("token_embd.weight", &[embd, shape.n_vocab], 3.0),
        Tensor::norm("output_norm.weight", embd),
    ];
    for block in 0..shape.n_layer {
        let name = |part: &str| format!("blk.{block}.{part}");
        tensors.extend([
            Tensor::norm(name("attn_norm.weight"), embd),
            Tensor::matrix(name("ssm_in.weight"), &[embd, 2 * inner], 1.0),
            Tensor::matrix(name("ssm_conv1d.weight"), &[CONVOLUTION, inner], 1.0),
            Tensor::bias(name("ssm_conv1d.bias"), inner),
            Tensor::matrix(name("ssm_x.weight"), &[inner, STEP_RANK + 2 * STATE], 1.0),
            Tensor::matrix(name("ssm_dt.weight"), &[STEP_RANK, inner], 1.0),
            Tensor::bias(name("ssm_dt.bias"), inner),
            // What is in the state decays.
            Tensor::constant(name("ssm_a"), &[STATE, inner], -0.5),
            Tensor::constant(name("ssm_d"), &[inner], 1.0),
            Tensor::matrix(name("ssm_out.weight"), &[inner, embd], 1.0),
        ]);
    }
    tensors
}

fn metadata(shape: &Shape) -> Vec<(String, Value)> {
    let numbers = [
        ("context_length", shape.n_ctx_train),
        ("embedding_length", shape.n_embd),
        ("block_count", shape.n_layer),
        ("feed_forward_length", 0),
        ("attention.head_count", 0),
        ("ssm.conv_kernel", CONVOLUTION),
        ("ssm.inner_size", 2 * shape.n_embd),
        ("ssm.state_size", STATE),
        ("ssm.time_step_rank", STEP_RANK),
    ];
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::string("mamba")),
        ("general.name".to_owned(), Value::string("mullama test state")),
        ("general.file_type".to_owned(), Value::u32(WeightType::F32.file_type())),
        ("mamba.attention.layer_norm_rms_epsilon".to_owned(), Value::f32(1e-5)),
    ];
    metadata.extend(numbers.map(|(key, value)| (format!("mamba.{key}"), Value::u32(value))));
    metadata.extend(Vocabulary::new(shape.n_vocab).metadata());
    metadata
}
