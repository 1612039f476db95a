//! The folders of this user, as the platform has them.

use std::env;
use std::path::PathBuf;

/// The home folder.
pub fn home_dir() -> Option<PathBuf> {
    dirs::home_dir()
}

/// Where programs keep what can be made again: `$XDG_CACHE_HOME` or `~/.cache`, `~/Library/Caches`,
/// `%LOCALAPPDATA%`.
pub fn user_cache_dir() -> Option<PathBuf> {
    dirs::cache_dir()
}

/// Where mullama keeps what can be made again; a folder for temporary files where the user has none.
pub fn cache_dir() -> PathBuf {
    user_cache_dir().unwrap_or_else(env::temp_dir).join("mullama")
}

/// Where mullama keeps what is the user's: in `$XDG_DATA_HOME` or `~/.local/share`,
/// `~/Library/Application Support`, `%LOCALAPPDATA%`.
pub fn data_dir() -> Option<PathBuf> {
    dirs::data_local_dir().map(|data| data.join("mullama"))
}
