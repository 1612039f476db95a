//! The native module of the Python package `mullama`.
//!
//! Every method converts its arguments, calls one function of the `mullama` crate, converts the
//! result and maps the error: what mullama does is decided there. The documentation comments of
//! classes and methods are their docstrings in Python; `python/mullama/_native.pyi` has their types.

#![allow(clippy::needless_pass_by_value, reason = "arguments that come from Python are owned")]

mod async_model;
mod buffer;
mod chat;
mod embeddings;
mod errors;
mod gpu;
mod json;
mod model;
mod options;
mod owned;
mod plan;
mod pull;
mod results;
mod stream;
mod text;
mod turn;
mod wait;

use pyo3::prelude::*;

/// The native module of mullama. Import from `mullama` instead.
#[pymodule]
mod _native {
    use super::{Bound, PyModule, PyModuleMethods as _, PyResult};

    #[pymodule_export]
    use crate::async_model::AsyncModel;
    #[pymodule_export]
    use crate::chat::{FunctionCall, Message, ToolCall, ToolCallDelta};
    #[pymodule_export]
    use crate::embeddings::{EmbeddingUsage, Embeddings, RankedDocument, Reranking};
    #[pymodule_export]
    use crate::errors::error_kinds;
    #[pymodule_export]
    use crate::gpu::{
        Backend, Device, add_backend_dirs, backends, cuda_available, cuda_device_count,
        cuda_memory_info, devices, engine_dir, metal_available, opencl_available, rocm_available,
        rocm_device_count, sycl_available, vulkan_available,
    };
    #[pymodule_export]
    use crate::model::{BaseModel, Capabilities, DeviceShare, Model, Placement, Stats};
    #[pymodule_export]
    use crate::options::option_specs;
    #[pymodule_export]
    use crate::plan::{Alternative, Plan, PlannedDevice, PlannedModel, Prediction, plan};
    #[pymodule_export]
    use crate::pull::{PullProgress, StoredModel};
    #[pymodule_export]
    use crate::results::{
        ChatChunk, ChatCompletion, Chunk, Completion, Timings, TokenLogprob, TopLogprob, Usage,
    };
    #[pymodule_export]
    use crate::stream::{AsyncChatStream, AsyncStream, ChatStream, Stream};
    #[pymodule_export]
    use crate::turn::Turn;
    #[pymodule_export]
    use crate::wait::{Task, shut_down};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        mullama::log_to_stderr();
        module.add("Embeddings", crate::embeddings::embeddings_class(module.py())?)?;
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
