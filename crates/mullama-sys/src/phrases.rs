//! What can only be told from the engine's words: every phrase that something is read from, in one table.
//!
//! The build looks for each in the engine's sources, so that an engine which words something otherwise is a
//! failed build, not a wrong answer.

/// Words of the engine, and the source file that has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase {
    /// A part of what it says.
    pub text: &'static str,
    /// The file, in llama.cpp's folder.
    pub source: &'static str,
}

impl Phrase {
    const fn new(text: &'static str, source: &'static str) -> Self {
        Self { text, source }
    }

    /// Whether a line has it.
    pub fn is_in(&self, line: &str) -> bool {
        line.contains(self.text)
    }

    /// What follows it in a line.
    pub fn after<'a>(&self, line: &'a str) -> Option<&'a str> {
        line.split_once(self.text).map(|(_, rest)| rest)
    }
}

/// `layer   7 assigned to device Vulkan0, is_swa = 0`
pub const LAYER_DEVICE: Phrase = Phrase::new(" assigned to device ", "src/llama-model.cpp");
/// Several devices work on pieces of one batch at a time.
pub const PIPELINED: Phrase = Phrase::new("pipeline parallelism enabled", "src/llama-context.cpp");

/// There is no memory for something.
pub const OUT_OF_MEMORY: &[Phrase] = &[
    Phrase::new("failed to allocate", "src/llama-context.cpp"),
    Phrase::new("failed to allocate", "src/llama-kv-cache.cpp"),
    Phrase::new("failed to allocate", "src/llama-adapter.cpp"),
    Phrase::new("failed to allocate", "ggml/src/ggml-backend.cpp"),
    Phrase::new("unable to allocate", "src/llama-model.cpp"),
    Phrase::new("insufficient memory", "ggml/src/ggml.c"),
    // What C++ itself throws, and what systems say where there are no more addresses or threads: these are not among
    // the engine's sources.
    Phrase::new("bad_alloc", ""),
    Phrase::new("Cannot allocate memory", ""),
    Phrase::new("Resource temporarily unavailable", ""),
];
/// The model or the backend cannot be split so.
pub const SPLIT_UNSUPPORTED: &[Phrase] = &[
    Phrase::new("does not support split buffers", "src/llama-model.cpp"),
    Phrase::new("LLAMA_SPLIT_MODE_TENSOR not implemented", "src/llama-model.cpp"),
    Phrase::new("LLAMA_SPLIT_MODE_TENSOR needs", "src/llama.cpp"),
];
/// The file has an architecture that this engine does not know.
pub const UNKNOWN_ARCHITECTURE: &[Phrase] =
    &[Phrase::new("unknown model architecture", "src/llama-model.cpp")];
/// The file is shorter than its header says.
pub const INCOMPLETE_FILE: &[Phrase] = &[
    Phrase::new("is not within the file bounds", "src/llama-model-loader.h"),
    Phrase::new("is not within the file bounds", "src/llama-adapter.cpp"),
];
/// The metadata lack a key.
pub const KEY_MISSING: &[Phrase] =
    &[Phrase::new("key not found in model", "src/llama-model-loader.cpp")];
/// An assertion of the engine failed; [`crate::shim`] makes an error of it.
pub const ASSERTION: &[Phrase] = &[Phrase::new("GGML_ASSERT", "src/llama-model.cpp")];

/// All of them that are the engine's, for the build to look for.
pub const ALL: &[&[Phrase]] = &[
    &[LAYER_DEVICE, PIPELINED],
    OUT_OF_MEMORY,
    SPLIT_UNSUPPORTED,
    UNKNOWN_ARCHITECTURE,
    INCOMPLETE_FILE,
    KEY_MISSING,
    ASSERTION,
];
