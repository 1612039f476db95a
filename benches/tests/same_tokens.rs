//! The floor and mullama do the same work: they generate the same tokens.

use mullama::{ContextParams, GenerateOptions, Model, ModelParams};
use mullama_floor::{Floor, Settings, Token};

#[test]
fn baseline_and_mullama_generate_the_same_tokens() {
    let path = mullama_testkit::fixture("small");
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load(&path, ModelParams::default(), context).unwrap();
    let settings =
        Settings { n_ctx: model.context_size(), n_batch: 2048, n_ubatch: 512, n_threads: 1 };
    let mut floor = Floor::open(&path, settings).unwrap();

    let prompt: Vec<Token> = (300..340).collect();
    let options =
        GenerateOptions::default().with_temperature(0.0).with_ignore_eos(true).with_max_tokens(16);
    let ours = model.generate(prompt.clone(), &options).unwrap().tokens;
    assert_eq!(floor.decode(&prompt, 16).unwrap().tokens, ours);
    assert_eq!(floor.prefill(&prompt).unwrap().tokens, ours[..1]);
}
