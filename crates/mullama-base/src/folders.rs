//! The user's folders, by the conventions of the platform.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::file::TemporaryFile;

/// The user's home folder.
pub fn home_dir() -> Option<PathBuf> {
    dirs::home_dir()
}

/// Replaces a leading `~` by the home folder. Shells do not expand it in quotes and after `=`.
pub fn expand_home(path: &Path) -> Cow<'_, Path> {
    match (path.strip_prefix("~"), home_dir()) {
        (Ok(below), Some(home)) => home.join(below).into(),
        _ => path.into(),
    }
}

/// The user's cache folder: `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`, `%LOCALAPPDATA%`.
pub fn user_cache_dir() -> Option<PathBuf> {
    dirs::cache_dir()
}

/// mullama's cache folder; in the temporary folder if the user has no cache folder.
pub fn cache_dir() -> PathBuf {
    user_cache_dir().unwrap_or_else(env::temp_dir).join("mullama")
}

/// A folder of mullama's cache, created if necessary; in the temporary folder if the cache cannot be written.
pub fn cache_folder(name: &str) -> PathBuf {
    let is_writable = |folder: &PathBuf| {
        // A file in its place is damage.
        if folder.is_file() {
            let _ = fs::remove_file(folder);
        }
        fs::create_dir_all(folder).is_ok() && TemporaryFile::new_in(folder).is_ok()
    };
    let folder = cache_dir().join(name);
    if is_writable(&folder) {
        return folder;
    }
    let other = env::temp_dir().join("mullama").join(name);
    if is_writable(&other) { other } else { folder }
}

/// mullama's data folder: in `$XDG_DATA_HOME` or `~/.local/share`, `~/Library/Application Support`, `%LOCALAPPDATA%`.
pub fn data_dir() -> Option<PathBuf> {
    dirs::data_local_dir().map(|data| data.join("mullama"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_leading_tilde_expands_to_the_home_folder() {
        let home = home_dir().unwrap();
        assert_eq!(expand_home(Path::new("~/a/b.gguf")), home.join("a/b.gguf"));
        assert_eq!(expand_home(Path::new("~")), home);
        for other in ["./~/a", "~other/a", "a/~/b", "/~", ""] {
            assert_eq!(expand_home(Path::new(other)), Path::new(other));
        }
    }
}
