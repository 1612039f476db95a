//! Helpers shared by the tests.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::path::PathBuf;

use mullama_hub::{Endpoints, Error, Name, PullOptions, Source, Store, StoredModel, pull};
use mullama_test_registry::{Registry, gguf};
use tempfile::TempDir;

/// 1 MiB: the size of a chunk of a download.
pub const CHUNK: usize = 1 << 20;

/// A registry and an empty store.
pub struct World {
    pub registry: Registry,
    pub store: Store,
    pub folder: TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::at(folder.path().join("models"));
        Self { registry: Registry::start(), store, folder }
    }

    /// A registry with the model `library/m:latest`, with weights of this size.
    pub fn with_model(size: usize) -> Self {
        let world = Self::new();
        world.add("library/m:latest", size);
        world
    }

    pub fn add(&self, name: &str, size: usize) {
        let weights = gguf(&[("general.architecture", "llama"), ("general.name", name)], size);
        self.registry.add_model(
            name,
            &[
                ("model", weights),
                ("template", b"{{ .Prompt }}".to_vec()),
                ("system", b"Be brief.".to_vec()),
                ("params", br#"{"stop":["<|end|>"],"temperature":0.5}"#.to_vec()),
                ("license", b"MIT".to_vec()),
            ],
        );
    }

    /// The name of a model in this registry.
    pub fn name(&self, rest: &str) -> Name {
        format!("{}/{rest}", self.registry.host()).parse().unwrap()
    }

    pub fn options(&self) -> PullOptions<'static> {
        options(&self.registry)
    }

    pub fn pull(&self, rest: &str) -> Result<StoredModel, Error> {
        pull(&self.store, &Source::Name(self.name(rest)), self.options())
    }

    pub fn pull_source(&self, source: &str) -> Result<StoredModel, Error> {
        pull(&self.store, &Source::parse(source).unwrap(), self.options())
    }

    /// The files below the store's folder, as relative paths.
    pub fn files(&self) -> Vec<String> {
        fn walk(folder: &std::path::Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        walk(self.store.root(), &mut found);
        let mut files: Vec<String> = found
            .iter()
            .map(|path| path.strip_prefix(self.store.root()).unwrap().display().to_string())
            .collect();
        files.sort();
        files
    }

    /// Asserts that the digest of every blob matches its name, and that only these models are
    /// listed.
    pub fn check(&self, names: &[Name]) {
        let listed: Vec<Name> =
            self.store.list().unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(listed.len(), names.len(), "{listed:?}");
        assert!(names.iter().all(|name| listed.contains(name)), "{listed:?}");
        for entry in std::fs::read_dir(self.store.root().join("blobs")).into_iter().flatten() {
            let path = entry.unwrap().path();
            let digest = mullama_test_registry::digest(&std::fs::read(&path).unwrap());
            assert!(path.ends_with(digest.replace(':', "-")), "{}", path.display());
        }
    }
}

/// Options that use only this registry, with few retries.
pub fn options(registry: &Registry) -> PullOptions<'static> {
    let mut options = PullOptions::default();
    options.retries = 3;
    options.endpoints = endpoints(registry);
    options
}

pub fn endpoints(registry: &Registry) -> Endpoints {
    let mut endpoints = Endpoints::from_env();
    endpoints.registry = registry.url();
    endpoints.hugging_face = registry.url();
    endpoints.hugging_face_token = None;
    endpoints
}
