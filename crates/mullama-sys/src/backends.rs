//! The table of backends, `backends.json`: the entries that programs need. The build script reads the entries on
//! building a backend, and `packages` those on packaging it.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::shim::SimulatedProfile;

/// A backend other than the CPU backend.
#[derive(Debug, Deserialize)]
pub struct Backend {
    /// Its name: `rocm`.
    pub name: String,
    /// The name of its module, without the prefix and suffix of the platform: `ggml-hip`.
    pub module: String,
    /// The name under which it registers with the engine.
    pub registered: String,
    /// The prefix of its devices' names.
    pub device_prefix: String,
    /// Environment variables that determine the driver and the visible devices.
    #[serde(default)]
    pub driver_variables: Vec<String>,
    /// The environment variable that names the folder in which it caches compiled kernels, if its own default is
    /// shared by all users of the machine.
    pub cache_variable: Option<String>,
    /// The memory requirements of its devices, as in its `get_alignment`, `get_alloc_size` and `get_props` in
    /// llama.cpp.
    pub simulated: SimulatedProfile,
    /// Whether its module is installed with the engine, because it needs no driver.
    #[serde(default)]
    pub with_the_engine: bool,
}

/// All backends other than the CPU backend.
pub fn all() -> &'static [Backend] {
    static BACKENDS: LazyLock<Vec<Backend>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../backends.json"))
            .expect("the table of backends is read by tests")
    });
    &BACKENDS
}

/// Finds a backend by name.
pub fn find(name: &str) -> Option<&'static Backend> {
    all().iter().find(|backend| backend.name == name)
}

/// The name of a backend, from the name under which it registers with the engine.
pub fn name_of(registered: &str) -> String {
    let found = all().iter().find(|backend| backend.registered == registered);
    found.map_or_else(|| registered.to_lowercase(), |backend| backend.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backend_names_are_unique() {
        assert_eq!(name_of("MTL"), "metal");
        assert_eq!(name_of("CPU"), "cpu");
        for backend in all() {
            assert!(
                std::ptr::eq(find(&backend.name).unwrap(), backend),
                "{} is there twice",
                backend.name
            );
            assert_eq!(name_of(&backend.registered), backend.name);
            assert!(backend.module.starts_with("ggml-"), "{}", backend.module);
        }
    }
}
