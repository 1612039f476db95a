//! The Node.js binding of mullama: converts arguments, calls the core, converts results and errors.
//!
//! The public API is the TypeScript in `lib/`. The functions and classes here are internal: `lib/`
//! uses them, and they may change with it. `lib/generated/native.ts` declares them.

#![allow(
    clippy::needless_pass_by_value,
    reason = "what comes from JavaScript is converted, and so owned"
)]

mod arguments;
mod calls;
mod command;
mod embeddings;
mod error;
mod gpu;
mod model;
mod packages;
mod plan;
mod processors;
mod pull;
mod results;
mod specs;
mod stream;
mod turn;

/// Runs once, when the module is loaded; worker threads share the module.
#[napi_derive::module_init]
fn init() {
    mullama::log_to_stderr();
}
