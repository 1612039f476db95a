//! The native module of the Python package `mullama`.
//!
//! Every method converts its arguments, calls one function of the `mullama` crate, converts the
//! result and maps the error; all logic is there. The documentation comments and types of classes
//! and methods are visible to Python programs: `python/mullama/_native.pyi` is generated from them.
//!
//! Each file uses only files above it in this table:
//!
//! | Files | Contents |
//! |---|---|
//! | `ending`, `errors`, `owned`, `class`, `hints`, `signatures` | the end of the process, exceptions, what objects own, the macro for classes of results, types as stubs write them, signatures with options |
//! | `text`, `json`, `options` | arguments: texts, tokens and paths; values of any shape; keyword arguments |
//! | `wait`, `progress` | waiting and coroutines; progress callbacks |
//! | `pictures`, `processors` | pictures in messages; functions that change logits |
//! | `chat`, `results`, `embeddings`, `plan`, `gpu`, `base_model` | results of calls |
//! | `pull`, `stream`, `turn` | long operations: downloads, streams, turns of conversations |
//! | `model` | `Model` and `AsyncModel` |

#![allow(clippy::needless_pass_by_value, reason = "arguments that come from Python are owned")]

#[macro_use]
mod signatures;

mod base_model;
mod chat;
mod class;
mod command;
mod embeddings;
mod ending;
mod errors;
mod gpu;
mod hints;
mod items;
mod json;
mod model;
mod options;
mod owned;
mod pictures;
mod plan;
mod processors;
mod progress;
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
    #[pymodule_export]
    use crate::base_model::{
        BaseModel, Capabilities, DeviceShare, MediaLimits, Placement, RequestInfo, Stats,
    };
    #[pymodule_export]
    use crate::chat::{
        FunctionCall, ToolCall, ToolCallDelta, message_fields, text_of_content, tool_calls,
    };
    #[pymodule_export]
    use crate::command::run_command;
    #[pymodule_export]
    use crate::embeddings::{EmbeddingUsage, Embeddings, RankedDocument, Reranking};
    #[pymodule_export]
    use crate::ending::shut_down;
    #[pymodule_export]
    use crate::errors::{error_kinds, shortened};
    #[pymodule_export]
    use crate::gpu::{
        Backend, Device, add_backend_dirs, backends, cuda_available, cuda_device_count,
        cuda_memory_info, devices, engine_dir, metal_available, opencl_available, rocm_available,
        rocm_device_count, sycl_available, vulkan_available,
    };
    #[pymodule_export]
    use crate::items::items_of;
    #[pymodule_export]
    use crate::model::{AsyncModel, Model};
    #[pymodule_export]
    use crate::options::option_specs;
    #[pymodule_export]
    use crate::plan::{Alternative, Plan, PlannedDevice, PlannedModel, Prediction, plan};
    #[pymodule_export]
    use crate::pull::{PullProgress, StoredModel};
    #[pymodule_export]
    use crate::results::{
        ChatChunk, ChatCompletion, Chunk, Completion, PromptProgress, StopReason, Timings,
        TokenLogprob, TopLogprob, Usage,
    };
    #[pymodule_export]
    use crate::stream::{AsyncChatStream, AsyncStream, ChatStream, Stream};
    #[pymodule_export]
    use crate::turn::Turn;
    #[pymodule_export]
    use crate::wait::Task;

    #[pymodule_export]
    #[allow(non_upper_case_globals, reason = "its name in Python")]
    const __version__: &str = env!("CARGO_PKG_VERSION");

    #[pymodule_init]
    fn init() {
        mullama::log_to_stderr();
    }
}
