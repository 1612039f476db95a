//! Backend packages: folders with one module each, which `pip` or `npm` installs on its own and which must
//! be of the engine's version.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// Beside the module; written by `packages/gpu.py`.
const LABEL: &str = "mullama-backend.json";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a package says of itself.
#[derive(Deserialize)]
struct Label {
    /// Its name: `mullama-vulkan`.
    package: String,
    version: String,
    /// What installs it, up to the version: `pip install mullama-vulkan==`.
    install: String,
}

/// Why the modules of a folder are not loaded: it is a package of another version. A folder without a label
/// is nobody's package.
pub(crate) fn refusal(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(LABEL)).ok()?;
    let label: Label = match serde_json::from_str(&text) {
        Ok(label) => label,
        Err(error) => {
            return Some(format!("{LABEL} next to it is damaged ({error}): reinstall it"));
        }
    };
    let Label { package, version, install } = label;
    (version != VERSION).then(|| {
        format!(
            "it is of {package} {version}, and this is mullama {VERSION}: run `{install}{VERSION}`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_another_version_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(refusal(dir.path()), None);

        let label = |text: &str| fs::write(dir.path().join(LABEL), text).unwrap();
        let of_version = |version: &str| {
            label(&format!(
                r#"{{"package": "mullama-vulkan", "version": "{version}", "install": "pip install mullama-vulkan=="}}"#
            ));
        };
        of_version(VERSION);
        assert_eq!(refusal(dir.path()), None);
        of_version("99.0.0");
        let reason = refusal(dir.path()).unwrap();
        assert!(reason.contains("mullama-vulkan 99.0.0"), "{reason}");
        assert!(reason.contains(&format!("`pip install mullama-vulkan=={VERSION}`")), "{reason}");
        label("{}");
        assert!(refusal(dir.path()).unwrap().contains("damaged"));
    }
}
