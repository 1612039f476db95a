//! What a loaded model is, and where it is: what `Model` and `AsyncModel` share.

use std::collections::BTreeMap;
use std::ffi::OsString;

use pyo3::prelude::*;

use crate::class::{Wrap as _, class};
use crate::errors::Result;
use crate::hints::{Dict, RequestState};
use crate::json::Json;
use crate::owned::Owned;
use crate::text::Text;

class! {
    /// What a loaded model is: the part that `Model` and `AsyncModel` share.
    #[pyclass(subclass, weakref, module = "mullama")]
    BaseModel(Owned<mullama::Model>), repr(name, description, context_size, gpu_layers, is_closed) {
        /// Whether the model has been closed.
        is_closed: bool = |model| model.peek().is_closed(),
        /// The file that the model was loaded from.
        path: OsString = |model| model.peek().path(),
        /// Tokens of context, shared by all requests that run at once; of a model that does not generate,
        /// those of the longest text; 0 where only the vocabulary was loaded.
        context_size: u32 = |model| model.peek().context_size(),
        /// Where the weights, the KV cache and the compute buffers are, in bytes as allocated; those of
        /// embeddings count from when they are first computed.
        placement: Placement = |model| model.peek().placement(),
        /// Layers on GPUs, as the engine reports them; the output layer counts.
        gpu_layers: u32 = |model| model.peek().gpu_layers(),
        /// Layers (blocks), without the output layer.
        n_layers: u32 = |model| model.peek().n_layers(),
        /// Tokens in the vocabulary.
        n_vocab: u32 = |model| model.peek().n_vocab(),
        /// Numbers in an embedding.
        n_embd: u32 = |model| model.peek().n_embd(),
        /// Parameters.
        n_params: u64 = |model| model.peek().n_params(),
        /// Bytes of all tensors.
        size: u64 = |model| model.peek().size(),
        /// The architecture, as the file names it: `llama`, `qwen3`, ...
        architecture: String = |model| model.peek().architecture(),
        /// The name that the file gives itself.
        name: Option<String> = |model| model.peek().name(),
        /// Architecture, size class and quantisation in a few words.
        description: String = |model| model.peek().description(),
        /// The file's metadata as text, without arrays.
        metadata: BTreeMap<String, String> = |model| model.peek().metadata().clone(),
        /// The chat template in use (Jinja).
        chat_template: Option<String> = |model| model.peek().chat_template(),
        /// What can be done with the model.
        capabilities: Capabilities = |model| model.peek().capabilities(),
    }
    methods {
        /// The sampling options that hold where a call sets none: the model's own recommendations, else
        /// the defaults.
        #[getter]
        fn default_options(&self) -> Result<Json<Dict>> {
            Ok(Json::wrap(self.0.peek().default_options()?))
        }

        /// The requests that have not ended, oldest first.
        fn requests(&self) -> Result<Vec<RequestInfo>> {
            Ok(self.0.get()?.requests()?.into_iter().map(RequestInfo).collect())
        }

        /// Cancels the requests of this name (`request_id`), with what there is of them; whether there are any.
        fn cancel_request(&self, id: Text) -> Result<bool> {
            Ok(self.0.get()?.cancel_request(&id.0)?)
        }

        /// What the model has done since it was loaded, and what it is doing.
        fn stats(&self) -> Result<Stats> {
            Ok(Stats(self.0.get()?.stats()?))
        }
    }
}

class! {
    /// What can be done with a model.
    #[eq]
    #[pickle(Self)]
    Capabilities(mullama::Capabilities) {
        /// Text can be generated.
        generate: bool,
        /// There is a chat template.
        chat: bool,
        /// The chat template takes tools.
        tools: bool,
        /// The chat template can switch reasoning on and off.
        reasoning: bool,
        /// Texts can be embedded, without more ado.
        embed: bool,
        /// Documents can be ranked: there is a classification head.
        rerank: bool,
    }
}

class! {
    /// Where a loaded model is.
    #[eq]
    #[pickle(Self)]
    Placement(mullama::Placement) {
        /// The devices that hold a part of the model, the machine's own memory last.
        devices: Vec<DeviceShare>,
    }
}

class! {
    /// What one device holds of a model, in bytes as they were allocated.
    #[eq]
    #[pickle(Self)]
    DeviceShare(mullama::DeviceShare) {
        /// The device's name; `CPU` is the machine's own memory.
        name: String,
        /// Layers; the output layer counts as one.
        layers: u32,
        /// Bytes of weights.
        weights: u64,
        /// Bytes of KV cache.
        kv: u64,
        /// Bytes of buffers to compute in.
        compute: u64,
    }
}

class! {
    /// A request that has not ended.
    #[eq]
    #[pickle(Self)]
    RequestInfo(mullama::RequestInfo) {
        /// Its name: `request_id`, else a number that no other request of the model has had.
        id: String,
        /// Where it is: `waiting`, `prompt` (its prompt is being computed) or `generating`.
        state: Json<RequestState>,
        /// Whom it is for (`client`).
        client: Option<String>,
        /// Its priority.
        priority: i32,
        /// Tokens of its prompt.
        prompt_tokens: u32,
        /// Tokens of the prompt that have been computed, those from the cache among them.
        computed_tokens: u32,
        /// Tokens that have been generated.
        completion_tokens: u32,
        /// Milliseconds since the call.
        elapsed_ms: f64,
    }
}

class! {
    /// What a model has done since it was loaded, and what it is doing.
    #[eq]
    #[pickle(Self)]
    Stats(mullama::Stats) {
        /// Requests that are running.
        running: u32,
        /// Requests that wait for their turn.
        waiting: u32,
        /// Requests that have ended, however they did.
        finished: u64,
        /// Steps of the engine.
        steps: u64,
        /// Tokens of prompts that were computed.
        prompt_tokens: u64,
        /// Tokens of prompts that had been computed before.
        cached_tokens: u64,
        /// Tokens that were generated.
        completion_tokens: u64,
        /// Tokens that were guessed ahead (`prompt_lookup`).
        drafted_tokens: u64,
        /// Tokens that were guessed ahead, and rightly.
        accepted_tokens: u64,
        /// Cells of the KV cache in use.
        kv_used: u32,
        /// Cells of the KV cache that are kept for later requests only; told when none is running.
        kv_kept: u32,
        /// Tokens that were kept and have been given up to make room.
        evicted_tokens: u64,
        /// Tokens that had left the KV cache and were copied back (`cache_ram`).
        restored_tokens: u64,
        /// Times that a request gave its cells up and was computed again later.
        preemptions: u64,
        /// Texts that were embedded, and documents that were scored.
        embedded_inputs: u64,
        /// Tokens of the texts that were embedded, and of the documents that were scored.
        embedded_tokens: u64,
        /// Batches that texts and documents were computed in.
        embedding_steps: u64,
    }
}
