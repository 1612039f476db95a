//! The user's folders, by the conventions of the platform.

use std::borrow::Cow;
use std::env;
use std::path::{Path, PathBuf};

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
