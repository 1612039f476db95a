//! Classification of the engine's error messages.

use mullama_base::Text;
use mullama_sys::phrases::{self, Phrase};

use crate::ErrorKind;

/// The cause of a failure, as recognised from the engine's message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    OutOfMemory,
    SplitUnsupported,
    UnknownArchitecture,
    IncompleteFile,
    KeyMissing,
    Assertion,
    Other,
}

impl Failure {
    /// Classifies a message.
    pub fn of(reason: &str) -> Self {
        let table: [(&[Phrase], Self); 6] = [
            (phrases::OUT_OF_MEMORY, Self::OutOfMemory),
            (phrases::SPLIT_UNSUPPORTED, Self::SplitUnsupported),
            (phrases::UNKNOWN_ARCHITECTURE, Self::UnknownArchitecture),
            (phrases::INCOMPLETE_FILE, Self::IncompleteFile),
            (phrases::KEY_MISSING, Self::KeyMissing),
            (phrases::ASSERTION, Self::Assertion),
        ];
        let said = |phrases: &[Phrase]| phrases.iter().any(|phrase| phrase.is_in(reason));
        table.into_iter().find(|(phrases, _)| said(phrases)).map_or(Self::Other, |(_, it)| it)
    }

    /// The kind of error; `otherwise` if the message does not determine one.
    pub fn kind(self, otherwise: ErrorKind) -> ErrorKind {
        match self {
            Self::OutOfMemory => ErrorKind::OutOfMemory,
            Self::SplitUnsupported => ErrorKind::Unsupported,
            _ => otherwise,
        }
    }

    /// The hint for the user about a file that cannot be loaded.
    pub fn hint_for_file(self) -> Option<Text> {
        let hint = match self {
            Self::OutOfMemory => {
                Some("use a smaller model or quantisation, or fewer layers on this device")
            }
            Self::SplitUnsupported => Some("use {split_mode} layer"),
            Self::UnknownArchitecture => {
                Some("the model is newer than this engine: update mullama")
            }
            Self::IncompleteFile => Some("the file is incomplete: download it again"),
            Self::KeyMissing | Self::Assertion | Self::Other => None,
        };
        hint.map(Text::with_names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_messages_map_to_failures() {
        for (said, meant) in [
            ("failed to allocate CUDA0 buffer of size 1", Failure::OutOfMemory),
            ("std::bad_alloc", Failure::OutOfMemory),
            ("mmap failed: Cannot allocate memory", Failure::OutOfMemory),
            ("device CUDA0 does not support split buffers", Failure::SplitUnsupported),
            ("unknown model architecture: 'x'", Failure::UnknownArchitecture),
            ("tensor 'x' data is not within the file bounds", Failure::IncompleteFile),
            ("key not found in model: x", Failure::KeyMissing),
            ("GGML_ASSERT(x) failed", Failure::Assertion),
            ("something else", Failure::Other),
        ] {
            assert_eq!(Failure::of(said), meant, "{said}");
        }
        assert_eq!(Failure::Other.kind(ErrorKind::Backend), ErrorKind::Backend);
    }
}
