//! Models: their shapes and tensors, and writing them to files.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use mullama_sys::{
    LLAMA_FTYPE_ALL_F32, LLAMA_FTYPE_MOSTLY_F16, llama_ftype, llama_model_quantize,
    llama_model_quantize_default_params,
};

use crate::gguf::{ALIGNMENT, Header, TensorType, Value};
use crate::random::{Random, write_normal};
use crate::vocab::{CHAT_TEMPLATE, Vocabulary};

/// The hyper-parameters of a model of the `llama` architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Embedding size: number of elements of a token's vector.
    pub n_embd: u32,
    /// Number of blocks.
    pub n_layer: u32,
    /// Number of attention heads, of size `n_embd / n_head`.
    pub n_head: u32,
    /// Number of KV heads; must divide `n_head`.
    pub n_head_kv: u32,
    /// Size of the feed-forward layer, or of that of each expert.
    pub n_ff: u32,
    /// Size of the vocabulary in tokens, at least 259; see [`Vocabulary`].
    pub n_vocab: u32,
    /// The context length in tokens for which the model is declared to have been trained.
    pub n_ctx_train: u32,
    /// Whether the embedding is also the output matrix.
    pub tied: bool,
    /// Experts instead of a single feed-forward layer.
    pub experts: Option<Experts>,
}

/// A mixture of experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// Number of experts per block.
    pub count: u32,
    /// Number of experts used per token.
    pub used: u32,
}

/// The type of matrices. Vectors (the norms) are always 32-bit floats, as the engine requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightType {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
}

impl WeightType {
    fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
        }
    }

    pub(crate) fn file_type(self) -> llama_ftype {
        match self {
            Self::F32 => LLAMA_FTYPE_ALL_F32,
            Self::F16 => LLAMA_FTYPE_MOSTLY_F16,
        }
    }

    fn size(self) -> u64 {
        self.tensor_type().block_size()
    }
}

/// The declaration of a tensor of a model.
pub(crate) struct Tensor {
    name: String,
    dims: Vec<u64>,
    fill: Fill,
    /// Whether it always consists of 32-bit floats.
    in_full: bool,
}

enum Fill {
    Constant(f32),
    Normal {
        deviation: f32,
        /// Number of elements at the end that are zero.
        zeros: u64,
    },
}

impl Tensor {
    pub fn norm(name: impl Into<String>, size: u32) -> Self {
        Self {
            name: name.into(),
            dims: vec![size.into()],
            fill: Fill::Constant(1.0),
            in_full: true,
        }
    }

    /// A bias of small random numbers.
    pub fn bias(name: impl Into<String>, size: u32) -> Self {
        let fill = Fill::Normal { deviation: 0.1, zeros: 0 };
        Self { name: name.into(), dims: vec![size.into()], fill, in_full: true }
    }

    /// A tensor of equal 32-bit floats.
    pub fn constant(name: impl Into<String>, dims: &[u32], number: f32) -> Self {
        let dims = dims.iter().map(|size| u64::from(*size)).collect();
        Self { name: name.into(), dims, fill: Fill::Constant(number), in_full: true }
    }

    /// A random matrix. `dims` are in GGUF's order: inputs first.
    pub fn matrix(name: impl Into<String>, dims: &[u32], gain: f32) -> Self {
        let deviation = gain / (dims[0] as f32).sqrt();
        let dims = dims.iter().map(|size| u64::from(*size)).collect();
        Self { name: name.into(), dims, fill: Fill::Normal { deviation, zeros: 0 }, in_full: false }
    }

    /// Returns the same tensor with 32-bit floats.
    pub fn in_full(self) -> Self {
        Self { in_full: true, ..self }
    }

    fn stored_as(&self, weights: WeightType) -> WeightType {
        if self.in_full { WeightType::F32 } else { weights }
    }

    fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    fn bytes(&self, weights: WeightType) -> u64 {
        self.elements() * self.stored_as(weights).size()
    }

    fn write(&self, out: &mut impl Write, weights: WeightType, seed: u64) -> io::Result<()> {
        let stored = self.stored_as(weights);
        match self.fill {
            Fill::Constant(number) => {
                out.write_all(&number.to_le_bytes().repeat(self.elements() as usize))?;
            }
            Fill::Normal { deviation, zeros } => {
                let mut random = Random::new(seed, &self.name);
                let count = (self.elements() - zeros) as usize;
                write_normal(out, &mut random, stored, deviation, count)?;
                out.write_all(&vec![0; (zeros * stored.size()) as usize])?;
            }
        }
        let bytes = self.bytes(weights);
        out.write_all(&vec![0; (bytes.next_multiple_of(ALIGNMENT) - bytes) as usize])
    }
}

impl Shape {
    /// The size of one attention head.
    pub fn head_size(&self) -> u32 {
        self.n_embd / self.n_head
    }

    /// Number of parameters of a model of this shape.
    pub fn parameters(&self) -> u64 {
        self.tensors().iter().map(Tensor::elements).sum()
    }

    /// The tensors, in file order.
    fn tensors(&self) -> Vec<Tensor> {
        // Logits have a standard deviation of about 3: sampling has several candidates, and the
        // best token has a clear lead.
        let logit_gain = 3.0;
        let mut tensors = vec![
            Tensor::matrix("token_embd.weight", &[self.n_embd, self.n_vocab], logit_gain),
            Tensor::norm("output_norm.weight", self.n_embd),
        ];
        if !self.tied {
            let dims = [self.n_embd, self.n_vocab];
            let mut output = Tensor::matrix("output.weight", &dims, logit_gain);
            // The logits of control tokens are 0, so that a text does not end by chance.
            if let Fill::Normal { zeros, .. } = &mut output.fill {
                *zeros = u64::from(self.n_embd * Vocabulary::CONTROL_COUNT);
            }
            tensors.push(output);
        }
        for block in 0..self.n_layer {
            tensors.extend(self.block_tensors(block));
        }
        tensors
    }

    fn block_tensors(&self, block: u32) -> Vec<Tensor> {
        let name = |part: &str| format!("blk.{block}.{part}.weight");
        let (embd, ff) = (self.n_embd, self.n_ff);
        let kv = self.head_size() * self.n_head_kv;
        let mut tensors = vec![
            Tensor::norm(name("attn_norm"), embd),
            Tensor::matrix(name("attn_q"), &[embd, embd], 1.0),
            Tensor::matrix(name("attn_k"), &[embd, kv], 1.0),
            Tensor::matrix(name("attn_v"), &[embd, kv], 1.0),
            Tensor::matrix(name("attn_output"), &[embd, embd], 1.0),
            Tensor::norm(name("ffn_norm"), embd),
        ];
        if let Some(Experts { count, .. }) = self.experts {
            tensors.extend([
                Tensor::matrix(name("ffn_gate_inp"), &[embd, count], 1.0),
                Tensor::matrix(name("ffn_gate_exps"), &[embd, ff, count], 1.0),
                Tensor::matrix(name("ffn_up_exps"), &[embd, ff, count], 1.0),
                Tensor::matrix(name("ffn_down_exps"), &[ff, embd, count], 1.0),
            ]);
        } else {
            tensors.extend([
                Tensor::matrix(name("ffn_gate"), &[embd, ff], 1.0),
                Tensor::matrix(name("ffn_up"), &[embd, ff], 1.0),
                Tensor::matrix(name("ffn_down"), &[ff, embd], 1.0),
            ]);
        }
        tensors
    }

    fn metadata(
        &self,
        file_type: llama_ftype,
        tokenizer: Vec<(String, Value)>,
        chat_template: &str,
    ) -> Vec<(String, Value)> {
        let numbers = [
            ("vocab_size", self.n_vocab),
            ("context_length", self.n_ctx_train),
            ("embedding_length", self.n_embd),
            ("block_count", self.n_layer),
            ("feed_forward_length", self.n_ff),
            ("attention.head_count", self.n_head),
            ("attention.head_count_kv", self.n_head_kv),
            ("rope.dimension_count", self.head_size()),
        ];
        let experts = self
            .experts
            .map(|experts| [("expert_count", experts.count), ("expert_used_count", experts.used)]);
        let mut metadata = vec![
            ("general.architecture".to_owned(), Value::string("llama")),
            ("general.name".to_owned(), Value::string("mullama test model")),
            ("general.file_type".to_owned(), Value::u32(file_type)),
            ("llama.attention.layer_norm_rms_epsilon".to_owned(), Value::f32(1e-5)),
            ("llama.rope.freq_base".to_owned(), Value::f32(10_000.0)),
        ];
        let numbers = numbers.into_iter().chain(experts.into_iter().flatten());
        metadata.extend(numbers.map(|(key, value)| (format!("llama.{key}"), Value::u32(value))));
        metadata.extend(tokenizer);
        metadata.push(("tokenizer.chat_template".to_owned(), Value::string(chat_template)));
        metadata
    }
}

/// Writes a model with random weights; the same arguments give the same bytes.
///
/// After an error, the file is incomplete and must be discarded.
pub fn write_model(path: &Path, shape: &Shape, weights: WeightType, seed: u64) -> io::Result<()> {
    write_chat_model(path, shape, weights, seed, CHAT_TEMPLATE)
}

/// Like [`write_model`], with a custom chat template.
pub fn write_chat_model(
    path: &Path,
    shape: &Shape,
    weights: WeightType,
    seed: u64,
    chat_template: &str,
) -> io::Result<()> {
    let tokenizer = Vocabulary::new(shape.n_vocab).metadata();
    let metadata = shape.metadata(weights.file_type(), tokenizer, chat_template);
    write_tensors(path, metadata, &shape.tensors(), weights, seed)
}

/// Like [`write_model`], with a vocabulary that has the tokens around the tiles of a picture.
pub(crate) fn write_tiled_model(
    path: &Path,
    shape: &Shape,
    weights: WeightType,
    seed: u64,
) -> io::Result<()> {
    // The first is two line breaks in a byte-level vocabulary.
    let around = ["\u{10a}\u{10a}", "<fake_token_around_image>", "<global-img>"];
    let tokenizer = Vocabulary::with_tokens(shape.n_vocab, &around).metadata();
    let metadata = shape.metadata(weights.file_type(), tokenizer, CHAT_TEMPLATE);
    write_tensors(path, metadata, &shape.tensors(), weights, seed)
}

/// Writes a model with the given tensors.
pub(crate) fn write_tensors(
    path: &Path,
    metadata: Vec<(String, Value)>,
    tensors: &[Tensor],
    weights: WeightType,
    seed: u64,
) -> io::Result<()> {
    let mut header = Header { metadata, ..Header::default() };
    for tensor in tensors {
        let ty = tensor.stored_as(weights).tensor_type();
        header.add_tensor(&tensor.name, ty, &tensor.dims);
    }
    header.lay_out().map_err(io::Error::other)?;
    let mut out = File::create(path)?;
    out.write_all(&header.encode())?;
    for tensor in tensors {
        tensor.write(&mut out, weights, seed)?;
    }
    Ok(())
}

/// Writes the tokenizer and the hyper-parameters of a model without its tensors.
///
/// The engine opens such a file with `vocab_only` and rejects it otherwise.
pub fn vocab_only(path: &Path, shape: &Shape) -> io::Result<()> {
    write_vocabulary(path, shape, Vocabulary::new(shape.n_vocab).metadata())
}

/// Like [`vocab_only`], with a custom tokenizer.
pub(crate) fn write_vocabulary(
    path: &Path,
    shape: &Shape,
    tokenizer: Vec<(String, Value)>,
) -> io::Result<()> {
    let metadata = shape.metadata(LLAMA_FTYPE_ALL_F32, tokenizer, CHAT_TEMPLATE);
    std::fs::write(path, Header { metadata, ..Header::default() }.encode())
}

/// Converts a model with the engine's quantiser, which needs no backend module.
pub fn quantize(from: &Path, to: &Path, file_type: llama_ftype) -> io::Result<()> {
    let c_path = |path: &Path| {
        let text = path.to_str().ok_or_else(|| io::Error::other("the path is not UTF-8"))?;
        CString::new(text).map_err(io::Error::other)
    };
    let (from, to) = (c_path(from)?, c_path(to)?);
    // SAFETY: plain data; both paths are NUL-terminated and outlive the call.
    let status = unsafe {
        let mut params = llama_model_quantize_default_params();
        params.ftype = file_type;
        llama_model_quantize(from.as_ptr(), to.as_ptr(), &raw const params)
    };
    if status == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!("the engine could not quantise to file type {file_type}")))
    }
}
