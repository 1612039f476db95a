//! Properties and placement of a loaded model: the common base of `Model` and `AsyncModel`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use pyo3::prelude::*;

use crate::class::{self, Wrap as _, class};
use crate::errors::Result;
use crate::hints::{GenerateOptionsDict, RequestState};
use crate::json::Json;
use crate::owned::Owned;
use crate::text::Text;

class! {
    /// Properties of a loaded model, common to `Model` and `AsyncModel`.
    #[pyclass(subclass, weakref, module = "mullama")]
    BaseModel(Owned<mullama::Model>), repr(name, description, context_size, gpu_layers, is_closed) {
        /// Whether the model has been closed.
        is_closed: bool = |model| model.peek().is_closed(),
        /// The file that the model was loaded from.
        path: OsString = |model| model.peek().path(),
        /// Context size in tokens, shared by all concurrent requests; for a model that does not
        /// generate, the maximum length of a text; 0 if only the vocabulary was loaded.
        context_size: u32 = |model| model.peek().context_size(),
        /// The allocated bytes of weights, KV cache and compute buffers per device; those for
        /// embeddings are included after the first embedding.
        placement: Placement = |model| model.peek().placement(),
        /// Number of layers on GPUs, as reported by the engine; the output layer counts as one.
        gpu_layers: u32 = |model| model.peek().gpu_layers(),
        /// Number of layers (blocks), without the output layer.
        n_layers: u32 = |model| model.peek().n_layers(),
        /// Size of the vocabulary.
        n_vocab: u32 = |model| model.peek().n_vocab(),
        /// Number of dimensions of an embedding.
        n_embd: u32 = |model| model.peek().n_embd(),
        /// Number of parameters.
        n_params: u64 = |model| model.peek().n_params(),
        /// Size of all tensors in bytes.
        size: u64 = |model| model.peek().size(),
        /// The architecture, as the file names it: `llama`, `qwen3`, ...
        architecture: String = |model| model.peek().architecture(),
        /// The name in the file's metadata.
        name: Option<String> = |model| model.peek().name(),
        /// Architecture, number of parameters and quantisation: `llama 1.2B Q4_K_M`.
        description: String = |model| model.peek().description(),
        /// The file's metadata as text, without arrays.
        metadata: BTreeMap<String, String> = |model| model.peek().metadata().clone(),
        /// The chat template in use (Jinja).
        chat_template: Option<String> = |model| model.peek().chat_template(),
        /// The tasks that the model supports.
        capabilities: Capabilities = |model| model.peek().capabilities(),
    }
    methods {
        /// The sampling options of a call that sets none: the model's own recommendations, else the
        /// defaults.
        #[getter]
        fn default_options(&self) -> Result<Json<GenerateOptionsDict>> {
            Ok(Json::wrap(self.0.peek().default_options()?))
        }

        /// The active requests, oldest first.
        fn requests(&self) -> Result<Vec<RequestInfo>> {
            Ok(self.0.get()?.requests()?.into_iter().map(RequestInfo).collect())
        }

        /// Cancels the requests with this id (`request_id`), which return their partial answers.
        /// Returns whether there are any.
        fn cancel_request(&self, id: Text) -> Result<bool> {
            Ok(self.0.get()?.cancel_request(&id.0)?)
        }

        /// Statistics since the model was loaded, and its current load.
        fn stats(&self) -> Result<Stats> {
            Ok(Stats(self.0.get()?.stats()?))
        }
    }
}

class! {
    /// The tasks that a model supports.
    #[eq]
    #[pickle(Self)]
    Capabilities(mullama::Capabilities) {
        /// Text can be generated.
        generate: bool,
        /// There is a chat template.
        chat: bool,
        /// The chat template supports tools.
        tools: bool,
        /// The chat template can switch reasoning on and off.
        reasoning: bool,
        /// Texts can be embedded.
        embed: bool,
        /// Documents can be ranked: there is a classification head.
        rerank: bool,
        /// Messages can have pictures: there is a projector.
        vision: bool,
        /// Limits of pictures, if messages can have any.
        media_limits: Option<MediaLimits>,
    }
}

class! {
    /// Limits of pictures in messages.
    #[eq]
    #[pickle(Self)]
    MediaLimits(mullama::MediaLimits) {
        /// Pixels of a picture.
        pixels: u64,
        /// Bytes of the file of a picture.
        bytes: u64,
        /// Pictures in the messages of a chat.
        pictures: u32,
    }
}

class! {
    /// The placement of a loaded model.
    #[eq]
    #[pickle(Self)]
    Placement(mullama::Placement) {
        /// The devices with a part of the model; system RAM is last.
        devices: Vec<DeviceShare>,
    }
    methods {
        fn _repr_html_(slf: &Bound<'_, Self>) -> PyResult<String> {
            class::repr_html(slf)
        }
    }
}

class! {
    /// The part of a model on one device, in allocated bytes.
    #[eq]
    #[pickle(Self)]
    DeviceShare(mullama::DeviceShare) {
        /// The device's name; `CPU` is system RAM.
        name: String,
        /// Number of layers; the output layer counts as one.
        layers: u32,
        /// Bytes of weights.
        weights: u64,
        /// Bytes of KV cache.
        kv: u64,
        /// Bytes of compute buffers.
        compute: u64,
        /// Bytes of the draft model: its weights, KV cache and compute buffers.
        draft: u64,
        /// Bytes of the projector: its weights and compute buffers. They are allocated when it is
        /// loaded (`load_projector`).
        projector: u64,
    }
}

class! {
    /// An active request.
    #[eq]
    #[pickle(Self)]
    RequestInfo(mullama::RequestInfo) {
        /// Its id, which no other active request of the model has: `request_id`, or else a number.
        id: String,
        /// Its state: `waiting`, `prompt` (its prompt is being processed) or `generating`.
        state: Json<RequestState>,
        /// Its client (`client`).
        client: Option<String>,
        /// Its priority.
        priority: i32,
        /// Number of prompt tokens.
        prompt_tokens: u32,
        /// Prompt tokens processed so far, including those from the cache.
        computed_tokens: u32,
        /// Tokens generated so far.
        completion_tokens: u32,
        /// Milliseconds since the call.
        elapsed_ms: f64,
    }
}

class! {
    /// Statistics since a model was loaded, and its current load.
    #[eq]
    #[pickle(Self)]
    Stats(mullama::Stats) {
        /// Requests that are running.
        running: u32,
        /// Requests that are waiting.
        waiting: u32,
        /// Requests that have ended for any reason.
        finished: u64,
        /// Steps of the engine.
        steps: u64,
        /// Prompt tokens that were computed.
        prompt_tokens: u64,
        /// Prompt tokens that were reused from the cache.
        cached_tokens: u64,
        /// Tokens that were generated.
        completion_tokens: u64,
        /// Drafted tokens (`prompt_lookup`).
        drafted_tokens: u64,
        /// Drafted tokens that were accepted.
        accepted_tokens: u64,
        /// Cells of the KV cache in use.
        kv_used: u32,
        /// Cells of the KV cache that only cache finished requests; updated when no request is
        /// running.
        kv_kept: u32,
        /// Cached tokens that were evicted to make room.
        evicted_tokens: u64,
        /// Evicted tokens that were copied back to the KV cache (`cache_ram`).
        restored_tokens: u64,
        /// How often a request released its cells and was recomputed later.
        preemptions: u64,
        /// Embedded texts and scored documents.
        embedded_inputs: u64,
        /// Tokens of embedded texts and scored documents.
        embedded_tokens: u64,
        /// Batches of texts and documents.
        embedding_steps: u64,
    }
}
