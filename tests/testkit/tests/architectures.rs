//! Every small model of another architecture works in the bare engine.

use std::{env, fs, process};

use mullama_testkit::architecture::ARCHITECTURES;
use mullama_testkit::probe::{Verdict, probe, start_engine};
use mullama_testkit::tokenizer::Tokenizer;

#[test]
fn every_architecture_decodes() {
    // The engine can create models only after its modules are loaded.
    start_engine();
    let path = env::temp_dir().join(format!("mullama-architectures-{}.gguf", process::id()));
    for architecture in ARCHITECTURES.iter().filter(|it| it.tokenizer != Tokenizer::None) {
        let file =
            architecture.model().unwrap_or_else(|error| panic!("{}: {error}", architecture.name));
        fs::write(&path, file.encode()).unwrap();
        assert_eq!(
            probe(&path, |stage| println!("{} {stage}", architecture.name)),
            Verdict::Accepts,
            "{}",
            architecture.name
        );
    }
    fs::remove_file(&path).unwrap();
}
