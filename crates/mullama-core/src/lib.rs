//! The safe library inside mullama: devices, models, the engine and chat, without HTTP or terminal code.
//!
//! A [`Model`] is a handle: cheap to clone, usable from any thread. One thread per model owns the engine's context and
//! runs all requests concurrently. Calls take [`GenerateOptions`] or [`ChatOptions`] and return a [`Completion`] or
//! [`ChatCompletion`]. Every failure is an [`Error`] with an [`ErrorKind`].

#![warn(missing_debug_implementations)]

mod chat;
mod device;
mod embedding;
mod engine;
mod media;
mod model;
mod options;
mod placement;
mod planner;
mod runtime;
mod sampling;
mod scheduler;
mod source;

pub use chat::{
    ChatChunk, ChatCompletion, ChatInput, ChatStream, Content, ContentPart, FunctionCall,
    IntoToolOutput, Message, Role, Tool, ToolCall, ToolCallDelta, ToolOutput, ToolRequest, Turn,
};
pub use device::{gpu, rpc};
pub use embedding::{EmbeddingUsage, Embeddings, Pending, RankedDocument, Reranking};
pub use engine::{DeviceShare, Placement, shut_down};
#[cfg(feature = "schemars")]
pub use model::TypedCompletion;
pub use model::{Capabilities, Chat, ChatTurn, Compacted, Compaction, Model, SummaryError};
pub use mullama_base::{CancelToken, Error, ErrorKind, Naming, Rendered, Result};
#[doc(hidden)]
pub use mullama_base::{check_memory, check_threads, shortened, thread_error};
pub use mullama_gguf::{GgufHeader, MetadataValue, TensorInfo, TensorType};
pub use options::{
    AllReduce, AllReduceType, Allowed, ByteSize, ChatFields, ChatOptions, Companion, ContextParams,
    CpuKernels, CudaSettings, DraftMode, EmbedOptions, FlagForm, FlashAttention, GenerateOptions,
    GpuLayers, Inputs, KvCacheType, KvCacheTypes, LogitBias, LogitsProcessor, LogitsProcessors,
    Lora, MediaLimits, MinusOne, MmqPrecision, ModelParams, OptionKind, OptionSet, OptionSpec,
    OptionType, Overflow, Pooling, Prompt, RerankOptions, SamplerKind, SplitMode, Stop,
    TensorOverrides, Truncate, parse_options,
};
pub use planner::{
    Alternative, Bandwidth, Calibration, DeviceList, DeviceSpec, Measured, Plan, PlanFields,
    PlanOptions, PlanSource, PlannedDevice, PlannedModel, Prediction, Shape, Sweep, Verdict,
    calibrate, measure_speed, plan, sweep,
};
pub use runtime::{add_backend_dir, engine_dir};
pub use scheduler::{
    Chunk, Completion, FinishReason, PromptProgress, RequestInfo, RequestState, Stats, StopKind,
    StopReason, Stream, Timings, TokenLogprob, TopLogprob, Usage, write_state,
};
#[doc(hidden)]
pub use source::resembles_demo;
pub use source::{ResolvedModel, copy_model, create_model, resolve};

/// The id of a token in a model's vocabulary.
pub type Token = i32;
