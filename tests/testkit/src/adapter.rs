//! LoRA adapters for models, and models with an adapter merged into their weights.

use std::io;

use crate::gguf::{ALIGNMENT, File, Header, RawTensor, TensorType, Value};
use crate::random::Random;

/// The rank of the created matrices: small, as in real adapters.
const RANK: u64 = 4;
/// An adapter is scaled by this divided by its rank, in addition to the scale that it is used with.
const ALPHA: f32 = 8.0;
/// The adapted parts of each block.
const PARTS: [&str; 3] = ["attn_q", "attn_v", "ffn_up"];

/// Creates an adapter of random matrices for a model. `strength` is their size relative to the model's
/// weights.
pub fn adapter(base: &File, strength: f32, seed: u64) -> File {
    let metadata = [
        ("general.type", Value::string("adapter")),
        ("general.architecture", Value::string("llama")),
        ("adapter.type", Value::string("lora")),
        ("adapter.lora.alpha", Value::f32(ALPHA)),
    ];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let mut file = File { header: Header { metadata, ..Header::default() }, data: Vec::new() };
    for tensor in adapted(base) {
        let [inputs, outputs] = tensor.shape[..] else { continue };
        for (half, dims) in [("lora_a", [inputs, RANK]), ("lora_b", [RANK, outputs])] {
            let name = format!("{}.{half}", tensor.name);
            let mut random = Random::new(seed, &name);
            let deviation = (strength / dims[0] as f32).sqrt();
            let values: Vec<f32> =
                (0..dims[0] * dims[1]).map(|_| random.normal() * deviation).collect();
            file.push(name, dims.to_vec(), &values);
        }
    }
    file
}

/// Merges an adapter into the weights of a model of 32-bit floats: W + scale * alpha / rank * B A (Hu et al.,
/// arXiv:2106.09685).
pub fn merge(base: &File, adapter: &File, scale: f32) -> io::Result<File> {
    let mut merged = base.clone();
    for tensor in adapted(base) {
        if tensor.ty != TensorType::F32.number() {
            return Err(io::Error::other("only a model of 32-bit floats can be merged"));
        }
        let (inputs, outputs) = (tensor.shape[0] as usize, tensor.shape[1] as usize);
        let [a, b] = ["lora_a", "lora_b"].map(|half| {
            let name = format!("{}.{half}", tensor.name);
            let found = adapter.header.tensors.iter().find(|tensor| tensor.name == name);
            found.map(|tensor| adapter.floats(tensor)).unwrap_or_default()
        });
        let mut weights = base.floats(tensor);
        let rank = RANK as usize;
        for (output, row) in weights.chunks_exact_mut(inputs).enumerate().take(outputs) {
            for (input, weight) in row.iter_mut().enumerate() {
                let sum: f32 =
                    (0..rank).map(|r| b[output * rank + r] * a[r * inputs + input]).sum();
                *weight += scale * ALPHA / RANK as f32 * sum;
            }
        }
        let start = tensor.offset as usize;
        for (index, weight) in weights.iter().enumerate() {
            let at = start + index * size_of::<f32>();
            merged.data[at..at + size_of::<f32>()].copy_from_slice(&weight.to_le_bytes());
        }
    }
    Ok(merged)
}

fn adapted(base: &File) -> impl Iterator<Item = &RawTensor> {
    base.header
        .tensors
        .iter()
        .filter(|tensor| PARTS.iter().any(|part| tensor.name.ends_with(&format!(".{part}.weight"))))
}

impl File {
    fn push(&mut self, name: String, shape: Vec<u64>, values: &[f32]) {
        let (ty, offset) = (TensorType::F32.number(), self.data.len() as u64);
        self.header.tensors.push(RawTensor { name, shape, ty, offset });
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT as usize), 0);
    }

    fn floats(&self, tensor: &RawTensor) -> Vec<f32> {
        let count = tensor.shape.iter().product::<u64>() as usize;
        let bytes = &self.data[tensor.offset as usize..][..count * size_of::<f32>()];
        let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("it has four bytes"));
        bytes.chunks_exact(size_of::<f32>()).map(float).collect()
    }
}
