//! The kinds of inputs.

mod adapters;
mod calls;
mod grammars;
mod headers;
mod images;
mod modelfiles;
mod models;
mod projectors;
mod registry;
mod rpc;
mod states;
mod templates;
mod tensors;

use std::path::Path;

use mullama::{ChatOptions, ContextParams, GenerateOptions, Model, ModelParams, Result};

use crate::worker::Fuzz;

pub use rpc::serve;

/// A kind of input.
pub struct Target {
    pub name: &'static str,
    pub about: &'static str,
    /// Its share of the time, relative to the other targets.
    pub weight: u32,
    /// Creates the function that tries a worker's inputs. The worker's folder is for files that they share.
    pub start: fn(&Path) -> Fuzz,
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "headers",
        about: "damaged headers of models, read alone",
        weight: 1,
        start: headers::start,
    },
    Target {
        name: "models",
        about: "damaged models, used in every way",
        weight: 12,
        start: models::start,
    },
    Target {
        name: "tensors",
        about: "models that lack a tensor, each in turn",
        weight: 2,
        start: tensors::start,
    },
    Target {
        name: "templates",
        about: "chat templates (Jinja)",
        weight: 6,
        start: templates::start,
    },
    Target {
        name: "modelfiles",
        about: "Modelfiles, and their templates (Go)",
        weight: 3,
        start: modelfiles::start,
    },
    Target {
        name: "grammars",
        about: "JSON schemas and grammars",
        weight: 6,
        start: grammars::start,
    },
    Target { name: "states", about: "damaged states", weight: 2, start: states::start },
    Target { name: "adapters", about: "damaged LoRA adapters", weight: 2, start: adapters::start },
    Target {
        name: "images",
        about: "damaged images, and their addresses",
        weight: 3,
        start: images::start,
    },
    Target {
        name: "projectors",
        about: "damaged projectors, used with a picture",
        weight: 3,
        start: projectors::start,
    },
    Target {
        name: "registry",
        about: "answers of registries, and names",
        weight: 3,
        start: registry::start,
    },
    Target {
        name: "calls",
        about: "options, messages, tools, plans",
        weight: 5,
        start: calls::start,
    },
    Target {
        name: "rpc",
        about: "sessions of workers and their clients",
        weight: 3,
        start: rpc::start,
    },
];

/// Loads a model with a small context.
fn load(path: impl AsRef<Path>, params: ModelParams) -> Result<Model> {
    let context = ContextParams::default().with_n_ctx(512).with_n_threads(1).with_n_parallel(2);
    Model::load(path, params, context)
}

/// Options for a few tokens within a few seconds.
fn brief() -> GenerateOptions {
    GenerateOptions::default().with_max_tokens(4).with_timeout(2.0).with_seed(1)
}

fn brief_chat() -> ChatOptions {
    ChatOptions::from(brief())
}
