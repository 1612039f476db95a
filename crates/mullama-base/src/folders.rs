//! The folders of this user, as the platform has them.

use std::borrow::Cow;
use std::env;
use std::path::{Path, PathBuf};

/// The home folder.
pub fn home_dir() -> Option<PathBuf> {
    dirs::home_dir()
}

/// The path with the home folder in place of a `~` at its beginning, which a shell leaves there in quotes and
/// after `=`.
pub fn expand_home(path: &Path) -> Cow<'_, Path> {
    match (path.strip_prefix("~"), home_dir()) {
        (Ok(below), Some(home)) => home.join(below).into(),
        _ => path.into(),
    }
}

/// The cache folder of the user: `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`,
/// `%LOCALAPPDATA%`.
pub fn user_cache_dir() -> Option<PathBuf> {
    dirs::cache_dir()
}

/// The cache folder of mullama; a temporary folder if the user has none.
pub fn cache_dir() -> PathBuf {
    user_cache_dir().unwrap_or_else(env::temp_dir).join("mullama")
}

/// The data folder of mullama: in `$XDG_DATA_HOME` or `~/.local/share`, `~/Library/Application
/// Support`, `%LOCALAPPDATA%`.
pub fn data_dir() -> Option<PathBuf> {
    dirs::data_local_dir().map(|data| data.join("mullama"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_is_called_so_is_the_home() {
        let home = home_dir().unwrap();
        assert_eq!(expand_home(Path::new("~/a/b.gguf")), home.join("a/b.gguf"));
        assert_eq!(expand_home(Path::new("~")), home);
        for other in ["./~/a", "~other/a", "a/~/b", "/~", ""] {
            assert_eq!(expand_home(Path::new(other)), Path::new(other));
        }
    }
}
