//! The keys of metadata that the engine reads, from its own table.

use std::path::PathBuf;
use std::{env, fs};

use crate::engine::Engine;

/// Writes the table as a list for the library to include. `%s` stands for an architecture.
pub fn write(engine: &Engine) {
    let path = engine.sources.join("src/llama-arch.cpp");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let (_, table) = text.split_once("LLM_KV_NAMES = {").expect("llama.cpp has a table of keys");
    let (table, _) = table.split_once("};").expect("the table ends");
    let keys: Vec<&str> = table
        .lines()
        .filter(|line| line.trim_start().starts_with("{ LLM_KV_"))
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert!(keys.contains(&"%s.context_length"), "llama.cpp has changed its table of keys");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join("metadata_keys.rs"), format!("&{keys:?}")).expect("OUT_DIR can be written");
}
