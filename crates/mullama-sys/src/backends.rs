//! The table of backends, `backends.json`: what programs need to know of each. The build script reads the rest of
//! it, how a backend is built, and `packages` how it is packed.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::shim::SimulatedProfile;

/// A backend other than the processor's.
#[derive(Debug, Deserialize)]
pub struct Backend {
    /// What it is called: `rocm`.
    pub name: String,
    /// The name of its module, without what a platform puts around it: `ggml-hip`.
    pub module: String,
    /// What the engine calls it.
    pub registered: String,
    /// What the names of its devices begin with.
    pub device_prefix: String,
    /// Environment variables that decide which driver is used, and which devices it shows.
    #[serde(default)]
    pub driver_variables: Vec<String>,
    /// How its devices treat memory, as its `get_alignment`, `get_alloc_size` and `get_props` in llama.cpp say.
    pub simulated: SimulatedProfile,
    /// Whether its module lies with the engine, as one that needs no driver does.
    #[serde(default)]
    pub with_the_engine: bool,
}

/// Every backend but the processor's.
pub fn all() -> &'static [Backend] {
    static BACKENDS: LazyLock<Vec<Backend>> = LazyLock::new(|| {
        serde_json::from_str(include_str!("../backends.json"))
            .expect("the table of backends is read by tests")
    });
    &BACKENDS
}

/// The backend of this name.
pub fn find(name: &str) -> Option<&'static Backend> {
    all().iter().find(|backend| backend.name == name)
}

/// The name of the backend that is registered with the engine under another.
pub fn name_of(registered: &str) -> String {
    let found = all().iter().find(|backend| backend.registered == registered);
    found.map_or_else(|| registered.to_lowercase(), |backend| backend.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_have_names_of_their_own() {
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
