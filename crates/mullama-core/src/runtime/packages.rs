//! Backend packages: folders with one module each, installed separately with `pip` or `npm`. Their version must match
//! that of the engine.

use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The name of the label file next to the module, written by `packages/gpu.py`.
const LABEL: &str = "mullama-backend.json";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The contents of a package's label file.
#[derive(Deserialize)]
struct Label {
    /// The name of the package: `mullama-vulkan`.
    package: String,
    version: String,
    /// The install command, up to the version: `pip install mullama-vulkan==`.
    install: String,
}

/// The reason why the modules of a folder are not loaded, namely that it is a package of another version. None for a
/// matching package, and for a folder without a label file.
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
