//! Helpers for tests with the demo model.

use std::sync::LazyLock;

use mullama::{ContextParams, GenerateOptions, Model, ModelParams};

#[allow(dead_code, reason = "not all tests use it")]
pub static DEMO: LazyLock<Model> = LazyLock::new(|| load(ContextParams::default()));

/// Loads it with one thread: tests run in parallel, and the engine's threads busy-wait.
pub fn load(context: ContextParams) -> Model {
    let context = context.with_n_threads(1);
    Model::load("demo", ModelParams::default(), context).expect("the demo model loads")
}

pub fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

/// Options without an end token: the generation continues until a limit.
pub fn endless() -> GenerateOptions {
    greedy().with_ignore_eos(true)
}
