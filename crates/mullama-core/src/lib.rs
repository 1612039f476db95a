//! The safe library inside mullama: it knows devices, models, the engine and chat, and neither HTTP
//! nor a terminal.
//!
//! A [`Model`] is a handle: cheap to clone, usable from any thread. Behind it one thread owns the
//! engine's context and runs every request, many at a time. What a call takes is in
//! [`GenerateOptions`] and [`ChatOptions`], what it gives in [`Completion`] and [`ChatCompletion`],
//! and every failure is an [`Error`] of one [`ErrorKind`].

mod adapter;
mod chat;
mod completion;
mod conversation;
mod demo;
mod device;
mod embedding;
mod engine;
pub mod gpu;
mod logging;
mod message;
mod model;
mod options;
mod packages;
mod params;
mod placement;
mod planner;
mod preflight;
mod prompt;
mod reasoning;
pub mod rpc;
mod runtime;
mod sampling;
mod schema;
mod source;
mod state;
mod stream;
mod text;
mod tool;
mod vocab;
mod weights;

pub use adapter::Lora;
pub use chat::{ChatChunk, ChatCompletion, ChatFields, ChatOptions, ChatStream, ToolCallDelta};
pub use completion::{Chunk, Completion, FinishReason, Timings, TokenLogprob, TopLogprob, Usage};
pub use conversation::{Chat, ChatInput, ChatTurn, Turn};
pub use embedding::{
    EmbedOptions, EmbeddingUsage, Embeddings, Inputs, Pending, Pooling, RankedDocument,
    RerankOptions, Reranking, Truncate,
};
pub use engine::{CancelToken, Stats, shut_down};
pub use message::{Content, ContentPart, FunctionCall, Message, Role, ToolCall};
pub use model::{Capabilities, Model};
pub use mullama_base::{Error, ErrorKind, Result};
pub use mullama_gguf::{GgufHeader, MetadataValue, TensorInfo, TensorType};
pub use options::{Naming, OptionSet, OptionSpec, parse_options};
pub use params::{
    ContextParams, FlashAttention, GpuLayers, KvCacheType, KvCacheTypes, ModelParams, SplitMode,
    TensorOverrides,
};
pub use placement::{DeviceShare, Placement};
pub use planner::{
    Alternative, Bandwidth, ByteSize, Calibration, DeviceList, DeviceSpec, Measured, Plan,
    PlanFields, PlanOptions, PlanSource, PlannedDevice, PlannedModel, Prediction, Shape, Sweep,
    calibrate, measure_speed, plan, sweep,
};
pub use prompt::Prompt;
pub use runtime::{add_backend_dir, engine_dir};
pub use sampling::{GenerateOptions, LogitBias, Stop};
pub use source::{Found, resolve};
pub use state::write_state;
pub use stream::Stream;
pub use tool::{IntoToolOutput, Tool, ToolOutput, ToolRequest};

/// The id of a token in a model's vocabulary.
pub type Token = i32;
