//! Models without one of their tensors, in one layer or in all of them.

use std::collections::BTreeSet;
use std::path::Path;

use mullama_testkit::architecture::ARCHITECTURES;
use mullama_testkit::gguf::File;

use super::models::{lay_out, use_model};
use crate::outcome::Outcome;
use crate::worker::Fuzz;

pub fn start(_: &Path) -> Fuzz {
    // The engine can create models of architectures only after its modules are loaded.
    let _ = mullama::gpu::devices();
    let files: Vec<File> = ARCHITECTURES
        .iter()
        .map(|it| it.model().unwrap_or_else(|error| panic!("{}: {error}", it.name)))
        .collect();
    // Pairs of a model and a tensor to leave out.
    let cases: Vec<(usize, String)> = files
        .iter()
        .enumerate()
        .flat_map(|(index, file)| {
            let names = file.header.tensors.iter().map(|tensor| tensor.name.clone());
            let everywhere = names.clone().map(|name| without_layer(&name).to_owned());
            let all: BTreeSet<String> = names.chain(everywhere).collect();
            all.into_iter().map(move |name| (index, name))
        })
        .collect();
    Box::new(move |input| {
        // A prime step, so that consecutive inputs use different models and all cases are reached.
        let (index, name) = &cases[input.number.wrapping_mul(7919) as usize % cases.len()];
        let mut file = files[*index].clone();
        file.header
            .tensors
            .retain(|tensor| tensor.name != *name && without_layer(&tensor.name) != *name);
        lay_out(&mut file);
        let path = input.save("model.gguf", file.encode());
        input.save("tensor.txt", name);
        let mut outcome = Outcome::default();
        use_model(&path, input, &mut outcome);
        outcome
    })
}

/// The name of a tensor without its layer: `attn_q.weight` for `blk.1.attn_q.weight`.
fn without_layer(name: &str) -> &str {
    let end = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    end.map_or(name, |(_, name)| name)
}
