//! The folder for what can be made again.

use std::env;
use std::path::PathBuf;

/// Where this platform keeps what can be made again.
pub(crate) fn cache_dir() -> PathBuf {
    let home = || env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let base = if cfg!(windows) {
        env::var_os("LOCALAPPDATA").map(PathBuf::from)
    } else if cfg!(target_os = "macos") {
        home().map(|home| home.join("Library/Caches"))
    } else {
        let named = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        named.filter(|dir| dir.is_absolute()).or_else(|| home().map(|home| home.join(".cache")))
    };
    base.unwrap_or_else(env::temp_dir).join("mullama")
}
