//! The limits of pictures.

use serde::{Deserialize, Serialize};

use super::kind::{FlagForm, option_type};

option_type! {
    MediaLimits: "Mapping[str, int]", "{ pixels?: number; bytes?: number; pictures?: number }", FlagForm::Json;
}

/// Limits of pictures in messages. Those that are not given are the default ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct MediaLimits {
    /// Pixels of a picture.
    pub pixels: u64,
    /// Bytes of the file of a picture.
    pub bytes: u64,
    /// Pictures in the messages of a chat.
    pub pictures: u32,
}

impl Default for MediaLimits {
    /// Photographs have some ten million pixels and bytes; a projector makes them much smaller in any case.
    fn default() -> Self {
        Self { pixels: 100_000_000, bytes: 64 << 20, pictures: 256 }
    }
}

impl MediaLimits {
    /// Sets the pixels of a picture.
    #[must_use]
    pub fn with_pixels(mut self, pixels: u64) -> Self {
        self.pixels = pixels;
        self
    }

    /// Sets the bytes of the file of a picture.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets the pictures in the messages of a chat.
    #[must_use]
    pub fn with_pictures(mut self, pictures: u32) -> Self {
        self.pictures = pictures;
        self
    }
}
