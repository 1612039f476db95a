//! Checks that the engine's sources still contain the phrases that are searched for in its
//! messages.

use crate::engine::Engine;

#[path = "../src/phrases.rs"]
#[allow(dead_code, reason = "the library uses the rest")]
mod table;

/// Fails the build if a phrase of the table is not in its source file.
pub fn check(engine: &Engine) {
    println!("cargo:rerun-if-changed=src/phrases.rs");
    for phrase in table::ALL.iter().copied().flatten().filter(|phrase| !phrase.source.is_empty()) {
        let path = engine.sources.join(phrase.source);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
        assert!(
            text.contains(phrase.text),
            "llama.cpp's {} no longer says `{}`: see src/phrases.rs",
            phrase.source,
            phrase.text
        );
    }
}
