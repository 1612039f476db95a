//! Caches the results of dry runs in memory and on disk, so that a model that was loaded before is placed immediately.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::engine::Placement;
use crate::runtime;
use mullama_base::folders::{cache_dir, cache_folder};
use mullama_base::{TemporaryFile, read_file, write_atomically};
use mullama_gguf::GgufHeader;
use mullama_sys::kernels::Kernels;

/// Maximum number of cached results per model, and maximum number of models.
const MAX_ENTRIES: usize = 500;
/// Maximum size in bytes of a cache file.
const MAX_FILE_SIZE: u64 = 64 << 20;

/// Results by the hash of the question, which is stable across processes.
type Answers = HashMap<u64, Placement>;

/// The cached results of one model. New results are written to disk on drop, so that a search writes only once.
pub(super) struct Cache {
    file: PathBuf,
    /// Hash of what all questions have in common: the current model file and the engine.
    about: u64,
    /// Whether there are results that are not in the file.
    is_changed: Cell<bool>,
}

/// Incremented when the meaning of a dry run's result changes, to invalidate older results.
const CACHE_VERSION: u32 = 4;

/// Results by cache file.
static ANSWERS: Mutex<Option<HashMap<PathBuf, Answers>>> = Mutex::new(None);

impl Cache {
    pub fn of(model: &Path) -> Self {
        let path = fs::canonicalize(model).unwrap_or_else(|_| model.to_path_buf());
        let name = format!("{:016x}.json", hash_of(&path));
        let file = cache_dir().join("placements").join(name);
        let version = env!("CARGO_PKG_VERSION");
        let about = hash_of(&(CACHE_VERSION, version, &path, stamp(&path), modules()));
        Self { file, about, is_changed: Cell::new(false) }
    }

    /// Returns the cached result of a question.
    pub fn get(&self, question: u64) -> Option<Placement> {
        let mut known = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        if !known.contains_key(&self.file) {
            known.insert(self.file.clone(), read(&self.file));
        }
        known[&self.file].get(&hash_of(&(self.about, question))).cloned()
    }

    /// Caches a result.
    pub fn put(&self, question: u64, answer: &Placement) {
        let mut known = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        let answers = known.get_or_insert_default().entry(self.file.clone()).or_default();
        if answers.len() >= MAX_ENTRIES {
            answers.clear();
        }
        answers.insert(hash_of(&(self.about, question)), answer.clone());
        self.is_changed.set(true);
    }
}

impl Drop for Cache {
    /// Failing to write the cache is not an error.
    fn drop(&mut self) {
        if !self.is_changed.get() {
            return;
        }
        let known = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(answers) = known.as_ref().and_then(|known| known.get(&self.file)) else { return };
        if let Err(error) = write(&self.file, answers) {
            log::debug!("cannot store placements in {}: {error}", self.file.display());
        }
    }
}

/// A hash that is stable across processes.
pub(super) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn read(file: &Path) -> Answers {
    let bytes = read_file(file, MAX_FILE_SIZE).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

fn write(file: &Path, answers: &Answers) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
        if !file.exists() {
            forget_oldest(dir);
        }
    }
    write_atomically(file, &serde_json::to_vec(answers)?)
}

/// Returns a file in a folder of the cache, and creates it if it does not exist. `about` identifies its content.
pub(crate) fn cached_file(
    folder: &str,
    about: &str,
    make: impl FnOnce(&Path) -> crate::Result<()>,
) -> crate::Result<PathBuf> {
    let name = format!("{:016x}.gguf", hash_of(&(env!("CARGO_PKG_VERSION"), about)));
    let file = cache_dir().join(folder).join(&name);
    // A damaged file is created again.
    if GgufHeader::read(&file).is_ok() {
        return Ok(file);
    }
    let dir = cache_folder(folder);
    let file = dir.join(name);
    if file.is_dir() {
        let _ = fs::remove_dir_all(&file);
    }
    let failed = |error| crate::Error::io("write", &file, error);
    forget_oldest(&dir);
    let draft = TemporaryFile::new_in(&dir).map_err(failed)?;
    make(draft.path())?;
    draft.publish(&file).map_err(failed)?;
    Ok(file)
}

/// Deletes the oldest files of the folder if necessary, to make room for a new one.
fn forget_oldest(dir: &Path) {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let written =
        |entry: fs::DirEntry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()));
    let mut files: Vec<_> = entries.filter_map(written).collect();
    files.sort();
    for (_, path) in files.iter().take((files.len() + 1).saturating_sub(MAX_ENTRIES)) {
        let _ = fs::remove_file(path);
    }
}

/// A string that changes when the file is modified or replaced.
pub(crate) fn stamp(path: &Path) -> String {
    let Ok(file) = fs::metadata(path) else { return String::new() };
    let written = file.modified().ok();
    let written = written.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
    format!("{} {:?}", file.len(), written.unwrap_or_default())
}

/// Identifies the loaded modules, and whether our CPU kernels are used: other modules may need a different amount of
/// memory.
fn modules() -> String {
    let modules = runtime::modules().iter().filter(|module| module.outcome.is_ok());
    let described: Vec<_> = modules
        .map(|module| format!("{} {}", module.path.display(), stamp(&module.path)))
        .collect();
    let own = Kernels::find().is_some_and(Kernels::chosen);
    format!("{} {own}", described.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placement_cache_is_written_once_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("placements/model.json");
        let cache = || Cache { file: file.clone(), about: 0, is_changed: Cell::new(false) };
        let first = cache();
        first.put(1, &Placement::default());
        first.put(2, &Placement::default());
        assert!(!file.exists());
        drop(first);
        assert_eq!(read(&file).len(), 2);

        fs::remove_file(&file).unwrap();
        let second = cache();
        assert!(second.get(1).is_some() && second.get(3).is_none());
        drop(second);
        assert!(!file.exists(), "nothing was new");
    }
}
