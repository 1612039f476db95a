//! An input: its number, the chance that makes it, and the folder that it is written to.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;

pub struct Input {
    pub rng: Rng,
    pub number: u64,
    folder: PathBuf,
}

impl Input {
    pub fn new(folder: &Path, number: u64) -> Self {
        Self { rng: Rng::with_seed(number), number, folder: folder.to_path_buf() }
    }

    /// A file in the folder of the input, which is kept where the input fails.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a part of the input down before it is tried.
    pub fn save(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}
