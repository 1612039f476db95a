//! Projectors: what turns pictures into embeddings for a model, of the architecture `clip`.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Tensor, WeightType, write_tensors};

/// A kind of projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// That of LLaVA: an embedding for each of 16 patches.
    Llava,
    /// That of Gemma 3: four embeddings that see each other.
    Gemma3,
    /// That of Idefics 3 and SmolVLM: a large picture is cut into tiles.
    Idefics3,
}

/// Pixels along a side of a picture, and of a patch.
const SIDE: u32 = 32;
const PATCH: u32 = 8;
/// Patches along a side.
const PATCHES: u32 = SIDE / PATCH;
/// Patches along a side that are merged into one embedding.
const MERGED: u32 = 2;
const WIDTH: u32 = 32;
const INNER: u32 = 64;
const LAYERS: u32 = 2;

/// Writes a projector with random weights for a model with so wide embeddings; the same arguments give the same
/// bytes.
pub fn write_projector(path: &Path, sight: Sight, n_embd: u32, seed: u64) -> io::Result<()> {
    write_tensors(path, metadata(sight, n_embd), &tensors(sight, n_embd), WeightType::F16, seed)
}

fn metadata(sight: Sight, n_embd: u32) -> Vec<(String, Value)> {
    let kind = match sight {
        Sight::Llava => "mlp",
        Sight::Gemma3 => "gemma3",
        Sight::Idefics3 => "idefics3",
    };
    let mut metadata = vec![
        ("general.architecture".to_owned(), Value::string("clip")),
        ("general.name".to_owned(), Value::string("mullama test projector")),
        ("clip.has_vision_encoder".to_owned(), Value::bool(true)),
        ("clip.projector_type".to_owned(), Value::string(kind)),
        ("clip.use_gelu".to_owned(), Value::bool(true)),
    ];
    let numbers = [
        ("image_size", SIDE),
        ("patch_size", PATCH),
        ("embedding_length", WIDTH),
        ("feed_forward_length", INNER),
        ("projection_dim", n_embd),
        ("block_count", LAYERS),
        ("attention.head_count", 2),
    ];
    let of_kind = [("projector.scale_factor", MERGED), ("preproc_image_size", 2 * SIDE)];
    let of_kind = match sight {
        Sight::Llava => &[][..],
        Sight::Gemma3 => &of_kind[..1],
        Sight::Idefics3 => &of_kind,
    };
    let numbers = numbers.iter().chain(of_kind);
    metadata.extend(numbers.map(|(key, value)| (format!("clip.vision.{key}"), Value::u32(*value))));
    metadata.push(("clip.vision.attention.layer_norm_epsilon".to_owned(), Value::f32(1e-6)));
    for key in ["image_mean", "image_std"] {
        metadata.push((format!("clip.vision.{key}"), Value::f32s([0.5; 3])));
    }
    metadata
}

fn tensors(sight: Sight, n_embd: u32) -> Vec<Tensor> {
    let mut tensors = vec![
        Tensor::matrix("v.patch_embd.weight", &[PATCH, PATCH, 3, WIDTH], 1.0),
        Tensor::bias("v.patch_embd.bias", WIDTH),
        Tensor::matrix("v.position_embd.weight", &[WIDTH, PATCHES * PATCHES], 1.0).in_full(),
    ];
    for layer in 0..LAYERS {
        let name = |part: &str, kind: &str| format!("v.blk.{layer}.{part}.{kind}");
        for (part, inputs, outputs) in [
            ("attn_q", WIDTH, WIDTH),
            ("attn_k", WIDTH, WIDTH),
            ("attn_v", WIDTH, WIDTH),
            ("attn_out", WIDTH, WIDTH),
            ("ffn_up", WIDTH, INNER),
            ("ffn_down", INNER, WIDTH),
        ] {
            tensors.push(Tensor::matrix(name(part, "weight"), &[inputs, outputs], 1.0));
            tensors.push(Tensor::bias(name(part, "bias"), outputs));
        }
        for part in ["ln1", "ln2"] {
            tensors.push(Tensor::norm(name(part, "weight"), WIDTH));
            tensors.push(Tensor::bias(name(part, "bias"), WIDTH));
        }
    }
    match sight {
        Sight::Llava => tensors.extend([
            Tensor::matrix("mm.0.weight", &[WIDTH, n_embd], 1.0),
            Tensor::bias("mm.0.bias", n_embd),
            Tensor::matrix("mm.2.weight", &[n_embd, n_embd], 8.0),
            Tensor::bias("mm.2.bias", n_embd),
        ]),
        Sight::Gemma3 => tensors.extend([
            Tensor::norm("mm.soft_emb_norm.weight", WIDTH),
            // Transposed before it is used.
            Tensor::matrix("mm.input_projection.weight", &[n_embd, WIDTH], 8.0),
        ]),
        Sight::Idefics3 => {
            let inputs = WIDTH * MERGED * MERGED;
            tensors.push(Tensor::matrix("mm.model.fc.weight", &[inputs, n_embd], 8.0));
        }
    }
    tensors
}
