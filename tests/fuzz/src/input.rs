//! An input: its number, its random generator, and the folder to which it is written.

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

    /// A file in the input's folder, which is stored if the input fails.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a part of the input to a file before it is tried.
    pub fn save(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}
