//! A loaded model.
#![allow(missing_docs, reason = "`lib/model.ts` documents what a program sees")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mullama::{
    Capabilities, ChatCompletion, ChatStream, Compacted, Completion, ContextParams, EmbedOptions,
    GenerateOptions, Lora, Model, ModelParams, Pending, Placement, RequestInfo, RerankOptions,
    Reranking, Stats, Stream,
};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Either, Function, Int32Array, PromiseRaw, Uint8Array};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

use crate::arguments::{self, Json, Options, Text, TextOrTokens};
use crate::calls::{Call, Cancel, answer, is_exiting, on_thread};
use crate::embeddings::Embedded;
use crate::error::{argument_error, core_error};
use crate::processors::{Process, add_processor};
use crate::results::{Plain, to_json};
use crate::stream::{Deliver, Generation};

/// Receives the loaded fraction on JavaScript's thread; returning false cancels.
type Progress = ThreadsafeFunction<f64, bool, f64, napi::Status, false>;

#[napi]
pub struct NativeModel {
    model: Model,
    /// Whether JavaScript's thread waits for the model to be freed.
    is_closing: Arc<AtomicBool>,
}

impl From<Model> for NativeModel {
    fn from(model: Model) -> Self {
        Self { model, is_closing: Arc::default() }
    }
}

/// Loads a model. Blocks the calling thread.
#[napi(catch_unwind)]
pub fn load_now(
    source: Text,
    options: Options,
    progress: Function<'_, f64, bool>,
) -> napi::Result<NativeModel> {
    let (params, context) = load_options(options)?;
    let progress = |done| progress.call(f64::from(done)).unwrap_or(false);
    let model = Model::load_with_progress(source, params, context, progress);
    Ok(model.map_err(core_error)?.into())
}

/// Loads a model on another thread.
#[napi(catch_unwind)]
pub fn load<'env>(
    env: &'env Env,
    source: Text,
    options: Options,
    progress: Function<'_, f64, bool>,
) -> napi::Result<PromiseRaw<'env, NativeModel>> {
    let (params, context) = load_options(options)?;
    let progress: Progress =
        progress.build_threadsafe_function().callee_handled::<false>().build()?;
    let progress = once_per_percent(move |done| answer(&progress, f64::from(done)));
    on_thread(env, move || {
        Model::load_with_progress(source, params, context, progress).map(NativeModel::from)
    })
}

/// Calls `ask` at most once per percent: each call takes a turn of the event loop, and the engine
/// reports every tensor.
fn once_per_percent(mut ask: impl FnMut(f32) -> bool) -> impl FnMut(f32) -> bool {
    let mut asked = None;
    move |done| {
        let step = Some((done * 100.0) as u32);
        if step == asked {
            return !is_exiting();
        }
        asked = step;
        ask(done)
    }
}

fn load_options(options: Options) -> napi::Result<(ModelParams, ContextParams)> {
    let (mut params, mut context) = <(ModelParams, ContextParams)>::default();
    options.fill(&mut [&mut params, &mut context])?;
    Ok((params, context))
}

/// Validates the options of a chat before its first request.
#[napi(catch_unwind)]
pub fn check_chat_options(options: Options) -> napi::Result<()> {
    options.parse_chat().map(drop)
}

#[napi]
impl NativeModel {
    #[napi(catch_unwind)]
    pub fn generate<'env>(
        &self,
        env: &'env Env,
        prompt: TextOrTokens,
        options: Options,
        process: Option<Process<'_>>,
        cancel: &Cancel,
    ) -> napi::Result<PromiseRaw<'env, Plain<Completion>>> {
        let (model, prompt) = (self.model.clone(), arguments::prompt(prompt));
        let mut options = options.parse::<GenerateOptions>()?;
        add_processor(&mut options, process, &self.is_closing)?;
        let start = move || model.stream(prompt, &options);
        let finish = |stream: Stream| async { Ok(Plain::new(&stream.finish_async().await?)) };
        cancel.request(env, start, Stream::cancel_token, finish)
    }

    #[napi(catch_unwind)]
    pub fn stream(
        &self,
        prompt: TextOrTokens,
        options: Options,
        process: Option<Process<'_>>,
        deliver: Deliver<'_>,
    ) -> napi::Result<Generation> {
        let (model, prompt) = (self.model.clone(), arguments::prompt(prompt));
        let mut options = options.parse::<GenerateOptions>()?;
        add_processor(&mut options, process, &self.is_closing)?;
        let start = move || model.stream(prompt, &options);
        Generation::new(&deliver, start, Stream::cancel_token)
    }

    #[napi(catch_unwind)]
    pub fn chat<'env>(
        &self,
        env: &'env Env,
        messages: Json,
        options: Options,
        process: Option<Process<'_>>,
        cancel: &Cancel,
    ) -> napi::Result<PromiseRaw<'env, Plain<ChatCompletion>>> {
        let (model, messages) = (self.model.clone(), arguments::messages(messages)?);
        let mut options = options.parse_chat()?;
        add_processor(&mut options.generate, process, &self.is_closing)?;
        let start = move || model.stream_chat(&messages, &options);
        let finish = |stream: ChatStream| async { Ok(Plain::new(&stream.finish_async().await?)) };
        cancel.request(env, start, ChatStream::cancel_token, finish)
    }

    #[napi(catch_unwind)]
    pub fn stream_chat(
        &self,
        messages: Json,
        options: Options,
        process: Option<Process<'_>>,
        deliver: Deliver<'_>,
    ) -> napi::Result<Generation> {
        let (model, messages) = (self.model.clone(), arguments::messages(messages)?);
        let mut options = options.parse_chat()?;
        add_processor(&mut options.generate, process, &self.is_closing)?;
        let start = move || model.stream_chat(&messages, &options);
        Generation::new(&deliver, start, ChatStream::cancel_token)
    }

    #[napi(catch_unwind)]
    pub fn embed<'env>(
        &self,
        env: &'env Env,
        texts: Vec<TextOrTokens>,
        options: Options,
        cancel: &Cancel,
    ) -> napi::Result<PromiseRaw<'env, Embedded>> {
        let (model, options) = (self.model.clone(), options.parse::<EmbedOptions>()?);
        let texts: Vec<_> = texts.into_iter().map(arguments::prompt).collect();
        let start = move || model.start_embed(texts, &options);
        let finish =
            |pending: Pending<_>| async { Ok(Embedded::from(pending.wait_async().await?)) };
        cancel.request(env, start, Pending::cancel_token, finish)
    }

    #[napi(catch_unwind)]
    pub fn rerank<'env>(
        &self,
        env: &'env Env,
        query: Text,
        documents: Vec<Text>,
        options: Options,
        cancel: &Cancel,
    ) -> napi::Result<PromiseRaw<'env, Plain<Reranking>>> {
        let (model, options) = (self.model.clone(), options.parse::<RerankOptions>()?);
        let start = move || model.start_rerank(&query, &documents, &options);
        let finish = |pending: Pending<_>| async { Ok(Plain::new(&pending.wait_async().await?)) };
        cancel.request(env, start, Pending::cancel_token, finish)
    }

    /// The replacement of the oldest turns of a conversation; null if it fits.
    #[napi(catch_unwind)]
    pub fn compact<'env>(
        &self,
        env: &'env Env,
        history: Json,
        said: Json,
        options: Options,
        summarizes: bool,
    ) -> napi::Result<PromiseRaw<'env, Option<Plain<Compacted>>>> {
        let (history, said) = (arguments::messages(history)?, arguments::messages(said)?);
        let (model, options) = (self.model.clone(), options.parse_chat()?);
        let call = Call::begin();
        env.spawn_future(async move {
            let _call = call;
            let compacted = model.compact_async(&history, &said, &options, summarizes).await;
            Ok(compacted.map_err(core_error)?.map(|it| Plain::verbatim(to_json(&it))))
        })
    }

    #[napi(catch_unwind)]
    pub fn apply_chat_template(
        &self,
        messages: Json,
        mut options: Options,
    ) -> napi::Result<String> {
        let add_generation_prompt = options.take_flag("addGenerationPrompt", true)?;
        let (messages, options) = (arguments::messages(messages)?, options.parse_chat()?);
        self.model
            .apply_chat_template(&messages, &options, add_generation_prompt)
            .map_err(core_error)
    }

    #[napi(catch_unwind)]
    pub fn tokenize(&self, text: Text, mut options: Options) -> napi::Result<Vec<i32>> {
        let add_special = options.take_flag("addSpecial", true)?;
        let parse_special = options.take_flag("parseSpecial", false)?;
        options.fill(&mut [])?;
        self.model.tokenize(&text, add_special, parse_special).map_err(core_error)
    }

    #[napi(catch_unwind)]
    pub fn detokenize(&self, tokens: Int32Array, mut options: Options) -> napi::Result<String> {
        let skip_special = options.take_flag("skipSpecial", false)?;
        options.fill(&mut [])?;
        self.model.detokenize(&tokens, skip_special).map_err(core_error)
    }

    #[napi(catch_unwind)]
    pub fn count_tokens(&self, text: Text) -> napi::Result<u32> {
        self.model.count_tokens(&text).map(|count| count as u32).map_err(core_error)
    }

    #[napi(catch_unwind)]
    pub fn set_lora<'env>(&self, env: &'env Env, lora: Json) -> napi::Result<PromiseRaw<'env, ()>> {
        let model = self.model.clone();
        let lora = Lora::from_json(lora.0).map_err(|error| argument_error(&error))?;
        on_thread(env, move || model.set_lora(lora))
    }

    #[napi(catch_unwind)]
    pub fn save_state<'env>(
        &self,
        env: &'env Env,
        prompt: TextOrTokens,
        path: Option<Text>,
    ) -> napi::Result<PromiseRaw<'env, Buffer>> {
        let (model, prompt) = (self.model.clone(), arguments::prompt(prompt));
        on_thread(env, move || {
            let state = model.save_state(prompt)?;
            if let Some(path) = path {
                mullama::write_state(path, &state)?;
            }
            Ok(state.into())
        })
    }

    #[napi(catch_unwind)]
    pub fn load_state<'env>(
        &self,
        env: &'env Env,
        state: Either<Text, Uint8Array>,
    ) -> napi::Result<PromiseRaw<'env, u32>> {
        let model = self.model.clone();
        // Copied, because JavaScript may change the bytes while another thread reads them.
        let state = match state {
            Either::A(path) => Either::A(path),
            Either::B(bytes) => Either::B(bytes.to_vec()),
        };
        on_thread(env, move || {
            let count = match state {
                Either::A(path) => model.load_state_file(path),
                Either::B(bytes) => model.load_state(&bytes),
            };
            count.map(|count| count as u32)
        })
    }

    /// Frees the model. Blocks the calling thread until the current step is computed.
    #[napi(catch_unwind)]
    pub fn close_now(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
        self.model.close();
    }

    /// Frees the model on another thread.
    #[napi(catch_unwind)]
    pub fn close<'env>(
        &self,
        env: &'env Env,
        mut options: Options,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let finish = options.take_flag("finish", false)?;
        options.fill(&mut [])?;
        let model = self.model.clone();
        on_thread(env, move || {
            if finish {
                model.finish();
            } else {
                model.close();
            }
            Ok(())
        })
    }

    #[napi(catch_unwind)]
    pub fn requests(&self) -> napi::Result<Vec<Plain<RequestInfo>>> {
        let requests = self.model.requests().map_err(core_error)?;
        Ok(requests.iter().map(Plain::new).collect())
    }

    #[napi(catch_unwind)]
    pub fn cancel_request(&self, id: Text) -> napi::Result<bool> {
        self.model.cancel_request(&id).map_err(core_error)
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> napi::Result<Plain<Stats>> {
        self.model.stats().map(|stats| Plain::new(&stats)).map_err(core_error)
    }

    #[napi(getter, catch_unwind)]
    pub fn default_options(&self) -> napi::Result<Plain<GenerateOptions>> {
        self.model.default_options().map(|options| Plain::new(&options)).map_err(core_error)
    }
}

/// The properties of a model, as getters of the same names.
macro_rules! getters {
    ($( $name:ident: $type:ty = $read:expr; )+) => {
        #[napi]
        impl NativeModel {
            $(
                #[napi(getter, catch_unwind)]
                pub fn $name(&self) -> $type {
                    let read: fn(&Model) -> $type = $read;
                    read(&self.model)
                }
            )+
        }
    };
}

getters! {
    architecture: String = |model| model.architecture().to_owned();
    capabilities: Plain<Capabilities> = |model| Plain::new(&model.capabilities());
    chat_template: Option<String> = |model| model.chat_template().map(str::to_owned);
    context_size: u32 = Model::context_size;
    description: String = |model| model.description().to_owned();
    gpu_layers: u32 = Model::gpu_layers;
    is_closed: bool = Model::is_closed;
    metadata: BTreeMap<String, String> = |model| model.metadata().clone();
    n_embd: u32 = Model::n_embd;
    n_layers: u32 = Model::n_layers;
    n_params: i64 = |model| model.n_params() as i64;
    n_vocab: u32 = Model::n_vocab;
    name: Option<String> = |model| model.name().map(str::to_owned);
    path: String = |model| model.path().to_string_lossy().into_owned();
    placement: Plain<Placement> = |model| Plain::new(&model.placement());
    size: i64 = |model| model.size() as i64;
}
