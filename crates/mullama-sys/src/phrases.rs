//! Some information is only available from the engine's messages. This table has every phrase that is searched for.
//!
//! The build checks that the engine's sources contain each phrase. If the engine changes a message, the build fails.

/// A phrase, and the source file that contains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phrase {
    /// A part of the message.
    pub text: &'static str,
    /// The source file, in llama.cpp's folder.
    pub source: &'static str,
}

impl Phrase {
    const fn new(text: &'static str, source: &'static str) -> Self {
        Self { text, source }
    }

    /// Whether a line contains the phrase.
    pub fn is_in(&self, line: &str) -> bool {
        line.contains(self.text)
    }

    /// The part of a line after the phrase.
    pub fn after<'a>(&self, line: &'a str) -> Option<&'a str> {
        line.split_once(self.text).map(|(_, rest)| rest)
    }
}

/// `layer   7 assigned to device Vulkan0, is_swa = 0`
pub const LAYER_DEVICE: Phrase = Phrase::new(" assigned to device ", "src/llama-model.cpp");
/// Several devices process parts of a batch in parallel.
pub const PIPELINED: Phrase = Phrase::new("pipeline parallelism enabled", "src/llama-context.cpp");

/// `Bad metadata override type for key 'general.name', expected str but got int`
pub const OVERRIDE_IGNORED: Phrase =
    Phrase::new("Bad metadata override type for key '", "src/llama-model-loader.cpp");

/// An allocation failed.
pub const OUT_OF_MEMORY: &[Phrase] = &[
    Phrase::new("failed to allocate", "src/llama-context.cpp"),
    Phrase::new("failed to allocate", "src/llama-kv-cache.cpp"),
    Phrase::new("failed to allocate", "src/llama-adapter.cpp"),
    Phrase::new("failed to allocate", "ggml/src/ggml-backend.cpp"),
    Phrase::new("unable to allocate", "src/llama-model.cpp"),
    Phrase::new("insufficient memory", "ggml/src/ggml.c"),
    // Messages of the C++ library, and of systems without free address space or threads. They are not in the engine's
    // sources.
    Phrase::new("bad_alloc", ""),
    Phrase::new("Cannot allocate memory", ""),
    Phrase::new("Resource temporarily unavailable", ""),
];
/// The model or the backend does not support the split mode.
pub const SPLIT_UNSUPPORTED: &[Phrase] = &[
    Phrase::new("does not support split buffers", "src/llama-model.cpp"),
    Phrase::new("LLAMA_SPLIT_MODE_TENSOR not implemented", "src/llama-model.cpp"),
    Phrase::new("LLAMA_SPLIT_MODE_TENSOR needs", "src/llama.cpp"),
];
/// The engine does not know the architecture.
pub const UNKNOWN_ARCHITECTURE: &[Phrase] =
    &[Phrase::new("unknown model architecture", "src/llama-model.cpp")];
/// The file is shorter than its header requires.
pub const INCOMPLETE_FILE: &[Phrase] = &[
    Phrase::new("is not within the file bounds", "src/llama-model-loader.h"),
    Phrase::new("is not within the file bounds", "src/llama-adapter.cpp"),
];
/// A metadata key is missing.
pub const KEY_MISSING: &[Phrase] =
    &[Phrase::new("key not found in model", "src/llama-model-loader.cpp")];
/// An assertion of the engine failed; [`crate::shim`] converts it to an error.
pub const ASSERTION: &[Phrase] = &[Phrase::new("GGML_ASSERT", "src/llama-model.cpp")];

/// All phrases, for the check in the build.
pub const ALL: &[&[Phrase]] = &[
    &[LAYER_DEVICE, PIPELINED, OVERRIDE_IGNORED],
    OUT_OF_MEMORY,
    SPLIT_UNSUPPORTED,
    UNKNOWN_ARCHITECTURE,
    INCOMPLETE_FILE,
    KEY_MISSING,
    ASSERTION,
];
