//! The demo model, as several tests load and ask it.

use std::sync::LazyLock;

use mullama::{ContextParams, GenerateOptions, Model, ModelParams};

#[allow(dead_code, reason = "not all tests use it")]
pub static DEMO: LazyLock<Model> = LazyLock::new(|| load(ContextParams::default()));

/// With one thread: tests run side by side, and the engine's threads wait for each other actively.
pub fn load(context: ContextParams) -> Model {
    let context = context.with_n_threads(1);
    Model::load("demo", ModelParams::default(), context).expect("the demo model loads")
}

pub fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

/// Goes on for as long as it is let.
pub fn endless() -> GenerateOptions {
    greedy().with_ignore_eos(true)
}
