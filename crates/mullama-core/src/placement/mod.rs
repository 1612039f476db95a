//! Decides where to place a model, before any weights are read.
//!
//! All sizes come from dry runs: the engine's own loader creates the model and the context without
//! allocating memory (`llama_model_params.no_alloc`), and reports what it would have allocated
//! where.

mod budget;
mod cache;
mod decide;
mod decision;
mod draft;
mod dry_run;
mod free_memory;
mod header;
mod largest;
mod other_memory;
mod projector;
mod request;
mod search;

pub(crate) use budget::{Budget, Budgets};
pub(crate) use cache::{cached_file, stamp};
pub(crate) use decide::decide;
pub(crate) use decision::PlacementDecision;
pub(crate) use draft::PlacedDraft;
pub(crate) use free_memory::check_free_memory;
pub(crate) use header::number;
pub(crate) use projector::PlacedProjector;
pub(crate) use request::{PlacementRequest, is_device_order_automatic};
pub(crate) use search::PlacementSearch;
