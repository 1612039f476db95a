//! Projectors, which convert pictures to embeddings for a model; their architecture is `clip`.

use std::io;
use std::path::Path;

use crate::gguf::Value;
use crate::model::{Tensor, WeightType, write_tensors};

/// A projector type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// LLaVA: one embedding for each of 16 patches.
    Llava,
    /// Gemma 3: four embeddings without a causal mask.
    Gemma3,
    /// Idefics 3 and SmolVLM: large pictures are divided into tiles.
    Idefics3,
    /// Pixtral and Mistral Small 3.1: as many patches as the picture has, with row and column positions.
    Pixtral,
    /// InternVL: tiles that follow the aspect ratio of the picture.
    InternVl,
    /// Llama 4: square tiles, with learned and rotary position embeddings of patches.
    Llama4,
}

/// Length of the embedding of a patch, in the projectors of presets.
pub const PROJECTOR_WIDTH: u32 = 32;

/// Size in pixels of a side of a picture, and of a patch.
const SIDE: u32 = 32;
const PATCH: u32 = 8;
/// Number of patches per side.
const PATCHES: u32 = SIDE / PATCH;
/// Number of patches per side that are merged into one embedding.
const MERGED: u32 = 2;
const LAYERS: u32 = 2;

/// Writes a projector with random weights. Patch embeddings have `width` numbers (a multiple of 8); the output has the
/// model's `n_embd`. The same arguments give the same bytes.
pub fn write_projector(
    path: &Path,
    sight: Sight,
    width: u32,
    n_embd: u32,
    seed: u64,
) -> io::Result<()> {
    let (metadata, tensors) = (metadata(sight, width, n_embd), tensors(sight, width, n_embd));
    write_tensors(path, metadata, &tensors, WeightType::F16, seed)
}

fn metadata(sight: Sight, width: u32, n_embd: u32) -> Vec<(String, Value)> {
    let kind = match sight {
        Sight::Llava => "mlp",
        Sight::Gemma3 => "gemma3",
        Sight::Idefics3 => "idefics3",
        Sight::Pixtral => "pixtral",
        Sight::InternVl => "internvl",
        Sight::Llama4 => "llama4",
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
        ("embedding_length", width),
        ("feed_forward_length", 2 * width),
        ("projection_dim", n_embd),
        ("block_count", LAYERS),
        ("attention.head_count", 2),
    ];
    let merged = ("projector.scale_factor", MERGED);
    let of_kind = match sight {
        Sight::Llava => vec![],
        Sight::Gemma3 | Sight::Llama4 => vec![merged],
        Sight::Idefics3 => vec![merged, ("preproc_image_size", 2 * SIDE)],
        Sight::Pixtral => vec![("spatial_merge_size", MERGED)],
        Sight::InternVl => {
            vec![merged, ("preproc_min_tiles", 1), ("preproc_max_tiles", 4)]
        }
    };
    let numbers = numbers.iter().chain(&of_kind);
    metadata.extend(numbers.map(|(key, value)| (format!("clip.vision.{key}"), Value::u32(*value))));
    metadata.push(("clip.vision.attention.layer_norm_epsilon".to_owned(), Value::f32(1e-6)));
    for key in ["image_mean", "image_std"] {
        metadata.push((format!("clip.vision.{key}"), Value::f32s([0.5; 3])));
    }
    metadata
}

fn tensors(sight: Sight, width: u32, n_embd: u32) -> Vec<Tensor> {
    let has_class = matches!(sight, Sight::InternVl | Sight::Llama4);
    let patch = match sight {
        Sight::Llama4 => vec![PATCH * PATCH * 3, width],
        _ => vec![PATCH, PATCH, 3, width],
    };
    let mut tensors = vec![Tensor::matrix("v.patch_embd.weight", &patch, 1.0)];
    if !matches!(sight, Sight::Pixtral | Sight::Llama4) {
        tensors.push(Tensor::bias("v.patch_embd.bias", width));
    }
    if has_class {
        tensors.push(Tensor::bias("v.class_embd", width));
    }
    if sight != Sight::Pixtral {
        let places = PATCHES * PATCHES + u32::from(has_class);
        tensors.push(Tensor::matrix("v.position_embd.weight", &[width, places], 1.0).in_full());
    }
    for layer in 0..LAYERS {
        let name = |part: &str, kind: &str| format!("v.blk.{layer}.{part}.{kind}");
        for (part, inputs, outputs) in [
            ("attn_q", width, width),
            ("attn_k", width, width),
            ("attn_v", width, width),
            ("attn_out", width, width),
            ("ffn_up", width, 2 * width),
            ("ffn_down", 2 * width, width),
        ] {
            tensors.push(Tensor::matrix(name(part, "weight"), &[inputs, outputs], 1.0));
            tensors.push(Tensor::bias(name(part, "bias"), outputs));
        }
        for part in ["ln1", "ln2"] {
            tensors.push(Tensor::norm(name(part, "weight"), width));
            if sight != Sight::Pixtral {
                tensors.push(Tensor::bias(name(part, "bias"), width));
            }
        }
    }
    match sight {
        Sight::Llava => tensors.extend([
            Tensor::matrix("mm.0.weight", &[width, n_embd], 1.0),
            Tensor::bias("mm.0.bias", n_embd),
            Tensor::matrix("mm.2.weight", &[n_embd, n_embd], 8.0),
            Tensor::bias("mm.2.bias", n_embd),
        ]),
        Sight::Gemma3 => tensors.extend([
            Tensor::norm("mm.soft_emb_norm.weight", width),
            // Transposed before use.
            Tensor::matrix("mm.input_projection.weight", &[n_embd, width], 8.0),
        ]),
        Sight::Pixtral => tensors.extend([
            Tensor::norm("mm.input_norm.weight", width),
            Tensor::matrix("mm.patch_merger.weight", &[width * MERGED * MERGED, width], 1.0),
            Tensor::matrix("mm.1.weight", &[width, n_embd], 1.0),
            Tensor::matrix("mm.2.weight", &[n_embd, n_embd], 8.0),
            Tensor::bias("v.token_embd.img_break", n_embd),
        ]),
        Sight::InternVl => {
            let inputs = width * MERGED * MERGED;
            tensors.extend([
                Tensor::norm("mm.model.mlp.0.weight", inputs),
                Tensor::bias("mm.model.mlp.0.bias", inputs),
                Tensor::matrix("mm.model.mlp.1.weight", &[inputs, n_embd], 1.0),
                Tensor::bias("mm.model.mlp.1.bias", n_embd),
                Tensor::matrix("mm.model.mlp.3.weight", &[n_embd, n_embd], 8.0),
                Tensor::bias("mm.model.mlp.3.bias", n_embd),
            ]);
        }
        Sight::Llama4 => tensors.extend([
            Tensor::matrix("mm.model.mlp.1.weight", &[width * MERGED * MERGED, width], 1.0),
            Tensor::matrix("mm.model.mlp.2.weight", &[width, width], 1.0),
            Tensor::matrix("mm.model.fc.weight", &[width, n_embd], 8.0),
        ]),
        Sight::Idefics3 => {
            let inputs = width * MERGED * MERGED;
            tensors.push(Tensor::matrix("mm.model.fc.weight", &[inputs, n_embd], 8.0));
        }
    }
    tensors
}
