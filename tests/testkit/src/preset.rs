//! Named models, and the folder in which they are cached.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs, io, process};

use mullama_sys::{LLAMA_FTYPE_MOSTLY_Q4_K_M, llama_ftype};

use crate::encoder::{Head, write_encoder};
use crate::kinds::{Kind, write_kind};
use crate::model::{
    Experts, Shape, WeightType, quantize, vocab_only, write_chat_model, write_model,
    write_tiled_model,
};
use crate::projector::{PROJECTOR_WIDTH, Sight, write_projector};
use crate::random::fnv1a;
use crate::recurrent::{write_hybrid, write_recurrent, write_windowed};
use crate::templates;

/// Incremented whenever the bytes of a preset change, so that older files are not used.
const GENERATION: u32 = 1;
const SEED: u64 = 42;

/// A named model.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// Its purpose.
    pub about: &'static str,
    /// The hyper-parameters.
    pub shape: Shape,
    /// The contents of the file.
    pub contents: Contents,
}

/// The contents of a preset's file in addition to the metadata.
#[derive(Debug, Clone, Copy)]
pub enum Contents {
    /// No tensors.
    VocabOnly,
    /// No tensors, and a vocabulary of another tokenizer.
    Kind(Kind),
    /// Random weights.
    Random(WeightType),
    /// Random weights of an encoder.
    Encoder(Head),
    /// Random weights of a recurrent model.
    Recurrent(WeightType),
    /// Random weights of a hybrid of attention and recurrent blocks.
    Hybrid(WeightType),
    /// Random weights of a model with sliding windows of the given number of tokens.
    Windowed(u32, WeightType),
    /// Random weights, and a vocabulary for pictures in tiles.
    Tiled(WeightType),
    /// Random weights of a projector for a model with the shape's embedding size.
    Projector(Sight),
    /// Random weights, and a chat template.
    Chat(&'static str),
    /// Random weights, reduced by the engine's quantiser.
    Quantized(llama_ftype),
}

const SMALL: Shape = Shape {
    n_embd: 256,
    n_layer: 8,
    n_head: 4,
    n_head_kv: 2,
    n_ff: 512,
    n_vocab: 4096,
    n_ctx_train: 4096,
    tied: false,
    experts: None,
};

const ENCODER: Shape = Shape {
    n_embd: 64,
    n_layer: 3,
    n_head: 4,
    n_head_kv: 4,
    n_ff: 128,
    n_vocab: 512,
    n_ctx_train: 128,
    tied: true,
    experts: None,
};

const TINY: Shape = Shape {
    n_embd: 64,
    n_layer: 2,
    n_head: 2,
    n_head_kv: 1,
    n_ff: 128,
    n_vocab: 512,
    n_ctx_train: 512,
    tied: true,
    experts: None,
};

const MEDIUM: Shape = Shape {
    n_embd: 768,
    n_layer: 12,
    n_head: 12,
    n_head_kv: 4,
    n_ff: 2048,
    n_vocab: 32_000,
    n_ctx_train: 8192,
    tied: true,
    experts: None,
};

/// The shape of models for tests of chat templates. Their answers are meaningless.
const CHATTY: Shape = Shape { n_vocab: 1024, n_ctx_train: 2048, tied: false, ..TINY };

/// All presets, small ones first.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "vocab",
        about: "a tokenizer of 32,000 tokens, no tensors",
        shape: Shape { n_vocab: 32_000, ..SMALL },
        contents: Contents::VocabOnly,
    },
    Preset {
        name: "vocab-pieces",
        about: "a tokenizer that merges pairs by their scores, as SentencePiece does; no tensors",
        shape: SMALL,
        contents: Contents::Kind(Kind::SentencePiece),
    },
    Preset {
        name: "vocab-unigram",
        about: "a tokenizer that takes the likeliest way through a text; no tensors",
        shape: SMALL,
        contents: Contents::Kind(Kind::Unigram),
    },
    Preset {
        name: "vocab-rwkv",
        about: "a tokenizer that takes the longest token; no tensors",
        shape: SMALL,
        contents: Contents::Kind(Kind::Rwkv),
    },
    Preset {
        name: "vocab-plamo2",
        about: "a tokenizer that takes the likeliest way, and bytes; no tensors",
        shape: SMALL,
        contents: Contents::Kind(Kind::Plamo2),
    },
    Preset {
        name: "tiny",
        about: "two narrow blocks, well below 1 MB: a base for broken files",
        shape: TINY,
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "projector",
        about: "what makes `tiny` see, as LLaVA does: 16 tokens for a picture",
        shape: TINY,
        contents: Contents::Projector(Sight::Llava),
    },
    Preset {
        name: "projector-gemma3",
        about: "what makes `windowed` see, as Gemma 3 does: 4 tokens that see each other",
        shape: TINY,
        contents: Contents::Projector(Sight::Gemma3),
    },
    Preset {
        name: "tiled",
        about: "`tiny` with a vocabulary for pictures in tiles",
        shape: TINY,
        contents: Contents::Tiled(WeightType::F16),
    },
    Preset {
        name: "projector-idefics3",
        about: "what makes `tiled` see: it cuts pictures into tiles, as SmolVLM's does",
        shape: TINY,
        contents: Contents::Projector(Sight::Idefics3),
    },
    Preset {
        name: "projector-pixtral",
        about: "what makes `tiny` see, as Pixtral does: as many tokens as a picture is large",
        shape: TINY,
        contents: Contents::Projector(Sight::Pixtral),
    },
    Preset {
        name: "projector-internvl",
        about: "what makes `tiny` see, as InternVL does: tiles after the shape of a picture",
        shape: TINY,
        contents: Contents::Projector(Sight::InternVl),
    },
    Preset {
        name: "projector-llama4",
        about: "what makes `tiny` see, as Llama 4 does: square tiles",
        shape: TINY,
        contents: Contents::Projector(Sight::Llama4),
    },
    Preset {
        name: "encoder",
        about: "a BERT of three blocks that takes 128 tokens, for embeddings by their mean",
        shape: ENCODER,
        contents: Contents::Encoder(Head::Pooling(1)),
    },
    Preset {
        name: "reranker",
        about: "the same with a classification head of one score",
        shape: ENCODER,
        contents: Contents::Encoder(Head::Score),
    },
    Preset {
        name: "chat-thinking",
        about: "a chat template with reasoning and tools",
        shape: CHATTY,
        contents: Contents::Chat(templates::THINKING),
    },
    Preset {
        name: "chat-headers",
        about: "a chat template in the manner of Llama 3",
        shape: CHATTY,
        contents: Contents::Chat(templates::HEADERS),
    },
    Preset {
        name: "chat-brackets",
        about: "a chat template in the manner of Mistral",
        shape: CHATTY,
        contents: Contents::Chat(templates::BRACKETS),
    },
    Preset {
        name: "chat-no-system",
        about: "a chat template without system messages",
        shape: CHATTY,
        contents: Contents::Chat(templates::NO_SYSTEM),
    },
    Preset {
        name: "chat-strict",
        about: "a chat template that refuses what it does not like",
        shape: CHATTY,
        contents: Contents::Chat(templates::STRICT),
    },
    Preset {
        name: "moe",
        about: "four blocks of four experts, two of them used",
        shape: Shape {
            n_embd: 128,
            n_layer: 4,
            n_head: 2,
            n_head_kv: 1,
            n_ff: 128,
            n_vocab: 1024,
            n_ctx_train: 2048,
            tied: false,
            experts: Some(Experts { count: 4, used: 2 }),
        },
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "recurrent",
        about: "two blocks of Mamba: a state for each sequence, no cells",
        shape: Shape {
            n_embd: 64,
            n_layer: 2,
            n_head: 1,
            n_head_kv: 1,
            n_ff: 0,
            n_vocab: 512,
            n_ctx_train: 512,
            tied: true,
            experts: None,
        },
        contents: Contents::Recurrent(WeightType::F32),
    },
    Preset {
        name: "hybrid",
        about: "four blocks of Jamba: three recurrent ones, one with attention",
        shape: Shape { n_layer: 4, n_ctx_train: 4096, ..TINY },
        contents: Contents::Hybrid(WeightType::F32),
    },
    Preset {
        name: "windowed",
        about: "six blocks of Gemma 3, five with a window of 64 tokens",
        shape: Shape { n_layer: 6, n_ctx_train: 4096, ..TINY },
        contents: Contents::Windowed(64, WeightType::F32),
    },
    Preset {
        name: "recurrent-100m",
        about: "24 blocks of Mamba, for benchmarks",
        shape: Shape { n_embd: 768, n_layer: 24, n_vocab: 32_000, n_ctx_train: 8192, ..TINY },
        contents: Contents::Recurrent(WeightType::F16),
    },
    Preset {
        name: "hybrid-100m",
        about: "12 blocks of Jamba, 3 of them with attention, for benchmarks",
        shape: MEDIUM,
        contents: Contents::Hybrid(WeightType::F16),
    },
    Preset {
        name: "windowed-100m",
        about: "12 blocks of Gemma 3, 10 of them with a window of 512 tokens, for benchmarks",
        shape: MEDIUM,
        contents: Contents::Windowed(512, WeightType::F16),
    },
    Preset {
        name: "small",
        about: "eight blocks, 13 MB: model.gguf of the documentation",
        shape: SMALL,
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "22m",
        about: "22 million parameters with a vocabulary of 32,000: per-token costs show",
        shape: Shape { n_ff: 640, n_vocab: 32_000, ..SMALL },
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "large",
        about: "24 blocks and the vocabulary of `small`: large-model.gguf of the documentation",
        shape: Shape { n_embd: 384, n_layer: 24, n_head: 6, n_ff: 768, ..SMALL },
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "100m",
        about: "a hundred million parameters, 200 MB: a download",
        shape: Shape {
            n_embd: 768,
            n_layer: 7,
            n_head: 12,
            n_head_kv: 12,
            n_ff: 2048,
            n_vocab: 32_000,
            ..SMALL
        },
        contents: Contents::Random(WeightType::F16),
    },
    Preset {
        name: "1b",
        about: "1.1 billion parameters in Q4_K_M, shaped like Llama 3.2 1B: for benchmarks",
        shape: Shape {
            n_embd: 2048,
            n_layer: 16,
            n_head: 32,
            n_head_kv: 8,
            n_ff: 8192,
            n_vocab: 32_000,
            n_ctx_train: 8192,
            tied: false,
            experts: None,
        },
        contents: Contents::Quantized(LLAMA_FTYPE_MOSTLY_Q4_K_M),
    },
];

/// Returns the preset with the given name.
pub fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Returns the path of a preset's model, which is created if it does not exist.
///
/// Threads and processes may request the same model concurrently.
///
/// # Panics
/// Panics if no preset has that name, or if the file cannot be written.
pub fn fixture(name: &str) -> PathBuf {
    let preset = preset(name).unwrap_or_else(|| panic!("there is no test model '{name}'"));
    preset.path().unwrap_or_else(|error| panic!("could not make the test model '{name}': {error}"))
}

impl Preset {
    /// Writes the model to the given file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        match self.contents {
            Contents::VocabOnly => vocab_only(path, &self.shape),
            Contents::Kind(kind) => write_kind(path, &self.shape, kind),
            Contents::Random(weights) => write_model(path, &self.shape, weights, SEED),
            Contents::Encoder(head) => {
                write_encoder(path, &self.shape, head, WeightType::F32, SEED)
            }
            Contents::Recurrent(weights) => write_recurrent(path, &self.shape, weights, SEED),
            Contents::Hybrid(weights) => write_hybrid(path, &self.shape, weights, SEED),
            Contents::Windowed(window, weights) => {
                write_windowed(path, &self.shape, window, weights, SEED)
            }
            Contents::Tiled(weights) => write_tiled_model(path, &self.shape, weights, SEED),
            Contents::Projector(sight) => {
                write_projector(path, sight, PROJECTOR_WIDTH, self.shape.n_embd, SEED)
            }
            Contents::Chat(template) => {
                write_chat_model(path, &self.shape, WeightType::F16, SEED, template)
            }
            Contents::Quantized(file_type) => {
                let wide = path.with_extension("unquantized.part");
                let written = write_model(&wide, &self.shape, WeightType::F16, SEED)
                    .and_then(|()| quantize(&wide, path, file_type));
                let _ = fs::remove_file(&wide);
                written
            }
        }
    }

    /// Like [`fixture`], but returns errors.
    pub fn path(&self) -> io::Result<PathBuf> {
        self.path_in(&cache_dir())
    }

    /// Like [`Self::path`], in the given folder.
    pub fn path_in(&self, dir: &Path) -> io::Result<PathBuf> {
        // One at a time in this process. Another process may create the same file meanwhile; the
        // last to finish replaces it with the same bytes.
        static TURN: Mutex<()> = Mutex::new(());
        static ATTEMPT: AtomicU32 = AtomicU32::new(0);

        let version = fnv1a(format!("{GENERATION} {SEED} {self:?}").as_bytes()) as u32;
        let path = dir.join(format!("{}-{version:08x}.gguf", self.name));
        let _turn = TURN.lock();
        if path.exists() {
            return Ok(path);
        }
        fs::create_dir_all(dir)?;
        let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
        let unfinished = dir.join(format!("{}-{}-{attempt}.part", self.name, process::id()));
        let made = self.write(&unfinished).and_then(|()| fs::rename(&unfinished, &path));
        if made.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        // Windows does not replace a file that another process has created and opened.
        if path.exists() { Ok(path) } else { made.map(|()| path) }
    }
}

/// The folder `testkit` in cargo's target folder: the one in which this program was built, which
/// cargo marks with a file, or else the workspace's.
fn cache_dir() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let built_in = program.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file());
    let workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    built_in.map_or_else(workspace, Path::to_path_buf).join("testkit")
}
