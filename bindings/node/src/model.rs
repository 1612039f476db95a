//! A loaded model.
#![allow(missing_docs, reason = "`index.d.ts` documents what a program sees")]

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, Message, ModelParams, Naming, OptionSet as _,
    OptionSpec, PlanFields, RerankOptions, parse_options,
};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Function, JsValuesTupleIntoVec, PromiseRaw, ToNapiValue};
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::tokio::task::spawn_blocking;
use napi_derive::napi;
use serde_json::{Map, Value, json};

use crate::embeddings::{Computation, Request as EmbeddingRequest};
use crate::error::{of_arguments, of_core, of_task};
use crate::exit::{self, Call};
use crate::json::{
    InputsArgument, LoraArgument, Messages, Options, PromptArgument, StateArgument, Text,
    TextsArgument, Tokens,
};
use crate::results::plain;
use crate::stream::{Generation, Request};

/// Hears how far loading is, on JavaScript's thread; returning false cancels.
type Progress = ThreadsafeFunction<f64, bool, f64, napi::Status, false>;

#[napi]
pub struct NativeModel {
    model: mullama::Model,
}

/// Loads a model while the caller waits.
#[napi(catch_unwind)]
pub fn load_now(
    source: Text,
    options: Options,
    progress: Function<'_, f64, bool>,
) -> napi::Result<NativeModel> {
    let (params, context) = load_options(options)?;
    let progress = |done| progress.call(f64::from(done)).unwrap_or(false);
    let model = mullama::Model::load_with_progress(source.0, params, context, progress);
    Ok(NativeModel { model: model.map_err(of_core)? })
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
    let call = Call::begin();
    let progress: Progress =
        progress.build_threadsafe_function().callee_handled::<false>().build()?;
    env.spawn_future(async move {
        let progress = in_steps(move |done| answer(&progress, f64::from(done)));
        let load = move || {
            let _call = call;
            mullama::Model::load_with_progress(source.0, params, context, progress)
        };
        let model = spawn_blocking(load).await.map_err(of_task)?;
        Ok(NativeModel { model: model.map_err(of_core)? })
    })
}

/// What JavaScript's thread answers; false when it is gone, or about to.
pub(crate) fn answer<T: JsValuesTupleIntoVec + 'static>(
    hear: &ThreadsafeFunction<T, bool, T, napi::Status, false>,
    news: T,
) -> bool {
    let (answer, answered) = mpsc::sync_channel(1);
    let mode = ThreadsafeFunctionCallMode::NonBlocking;
    hear.call_with_return_value(news, mode, move |go_on, _env| {
        let _ = answer.send(go_on.unwrap_or(false));
        Ok(())
    });
    loop {
        match answered.recv_timeout(Duration::from_millis(20)) {
            Err(RecvTimeoutError::Timeout) if !exit::is_under_way() => {}
            go_on => return go_on.unwrap_or(false),
        }
    }
}

/// Asks once for each percent: an answer takes a turn of the event loop, and the engine reports
/// every tensor.
fn in_steps(mut ask: impl FnMut(f32) -> bool) -> impl FnMut(f32) -> bool {
    let mut asked = None;
    move |done| {
        let step = Some((done * 100.0) as u32);
        if step == asked {
            return !exit::is_under_way();
        }
        asked = step;
        ask(done)
    }
}

/// Does what takes long on another thread; the process does not end meanwhile.
fn apart<T: ToNapiValue + Send + 'static>(
    env: &Env,
    work: impl FnOnce() -> mullama::Result<T> + Send + 'static,
) -> napi::Result<PromiseRaw<'_, T>> {
    let call = Call::begin();
    let work = move || {
        let _call = call;
        work()
    };
    env.spawn_future(async move { spawn_blocking(work).await.map_err(of_task)?.map_err(of_core) })
}

fn load_options(options: Options) -> napi::Result<(ModelParams, ContextParams)> {
    let (mut params, mut context) = (ModelParams::default(), ContextParams::default());
    parse_options(&mut [&mut params, &mut context], options.0, Naming::Camel)
        .map_err(|error| of_arguments(&error))?;
    Ok((params, context))
}

fn chat_options(options: Options) -> napi::Result<ChatOptions> {
    let mut parsed = ChatOptions::default();
    let [generate, chat] = parsed.option_sets();
    parse_options(&mut [generate, chat], options.0, Naming::Camel)
        .map_err(|error| of_arguments(&error))?;
    Ok(parsed)
}

fn messages(messages: Messages) -> napi::Result<Vec<Message>> {
    Message::list_from_json(messages.0).map_err(|error| of_arguments(&error))
}

/// Says what is wrong with the options of a chat before anything is asked.
#[napi(catch_unwind)]
pub fn check_chat_options(options: Options) -> napi::Result<()> {
    chat_options(options).map(drop)
}

#[napi]
impl NativeModel {
    #[napi(catch_unwind)]
    pub fn generation(&self, prompt: PromptArgument, options: Options) -> napi::Result<Generation> {
        let mut parsed = mullama::GenerateOptions::default();
        parse_options(&mut [&mut parsed], options.0, Naming::Camel)
            .map_err(|error| of_arguments(&error))?;
        Ok(Generation::new(self.model.clone(), Request::Text(prompt.0, Box::new(parsed))))
    }

    #[napi(catch_unwind)]
    pub fn chat(&self, messages: Messages, options: Options) -> napi::Result<Generation> {
        let request = Request::Chat(self::messages(messages)?, Box::new(chat_options(options)?));
        Ok(Generation::new(self.model.clone(), request))
    }

    #[napi(catch_unwind)]
    pub fn embed(&self, texts: InputsArgument, options: Options) -> napi::Result<Computation> {
        let mut parsed = EmbedOptions::default();
        parse_options(&mut [&mut parsed], options.0, Naming::Camel)
            .map_err(|error| of_arguments(&error))?;
        let request = EmbeddingRequest::Embed(texts.0, Box::new(parsed));
        Ok(Computation::new(self.model.clone(), request))
    }

    #[napi(catch_unwind)]
    pub fn rerank(
        &self,
        query: Text,
        documents: TextsArgument,
        options: Options,
    ) -> napi::Result<Computation> {
        let mut parsed = RerankOptions::default();
        parse_options(&mut [&mut parsed], options.0, Naming::Camel)
            .map_err(|error| of_arguments(&error))?;
        let (query, documents, options) = (query.0, documents.0, Box::new(parsed));
        let request = EmbeddingRequest::Rerank { query, documents, options };
        Ok(Computation::new(self.model.clone(), request))
    }

    #[napi(catch_unwind)]
    pub fn apply_chat_template(
        &self,
        messages: Messages,
        mut options: Options,
    ) -> napi::Result<String> {
        let add_generation_prompt = options.take_flag("addGenerationPrompt", true)?;
        let (messages, options) = (self::messages(messages)?, chat_options(options)?);
        self.model.apply_chat_template(&messages, &options, add_generation_prompt).map_err(of_core)
    }

    #[napi(catch_unwind)]
    pub fn tokenize(&self, text: Text, mut options: Options) -> napi::Result<Vec<i32>> {
        let add_special = options.take_flag("addSpecial", true)?;
        let parse_special = options.take_flag("parseSpecial", false)?;
        options.finish()?;
        self.model.tokenize(&text.0, add_special, parse_special).map_err(of_core)
    }

    #[napi(catch_unwind)]
    pub fn detokenize(&self, tokens: Tokens, mut options: Options) -> napi::Result<String> {
        let skip_special = options.take_flag("skipSpecial", false)?;
        options.finish()?;
        self.model.detokenize(&tokens.0, skip_special).map_err(of_core)
    }

    #[napi(catch_unwind)]
    pub fn count_tokens(&self, text: Text) -> napi::Result<u32> {
        self.model.count_tokens(&text.0).map(|count| count as u32).map_err(of_core)
    }

    #[napi(catch_unwind)]
    pub fn set_lora<'env>(
        &self,
        env: &'env Env,
        lora: LoraArgument,
    ) -> napi::Result<PromiseRaw<'env, ()>> {
        let model = self.model.clone();
        apart(env, move || model.set_lora(lora.0))
    }

    #[napi(catch_unwind)]
    pub fn save_state<'env>(
        &self,
        env: &'env Env,
        prompt: PromptArgument,
        path: Option<Text>,
    ) -> napi::Result<PromiseRaw<'env, Buffer>> {
        let model = self.model.clone();
        apart(env, move || {
            let state = model.save_state(prompt.0)?;
            if let Some(path) = path {
                mullama::write_state(path.0, &state)?;
            }
            Ok(state.into())
        })
    }

    #[napi(catch_unwind)]
    pub fn load_state<'env>(
        &self,
        env: &'env Env,
        state: StateArgument,
    ) -> napi::Result<PromiseRaw<'env, u32>> {
        let model = self.model.clone();
        apart(env, move || {
            let count = match state {
                StateArgument::Bytes(bytes) => model.load_state(&bytes),
                StateArgument::File(path) => model.load_state_file(path),
            };
            count.map(|count| count as u32)
        })
    }

    /// Frees the model while the caller waits for the step that is being computed.
    #[napi(catch_unwind)]
    pub fn close_now(&self) {
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
        options.finish()?;
        let model = self.model.clone();
        apart(env, move || {
            if finish {
                model.finish();
            } else {
                model.close();
            }
            Ok(())
        })
    }

    #[napi(getter)]
    pub fn is_closed(&self) -> bool {
        self.model.is_closed()
    }

    #[napi(getter, catch_unwind)]
    pub fn default_options(&self) -> napi::Result<Value> {
        self.model.default_options().map(|options| plain(&options)).map_err(of_core)
    }

    #[napi(getter)]
    pub fn path(&self) -> String {
        self.model.path().to_string_lossy().into_owned()
    }

    #[napi(getter)]
    pub fn context_size(&self) -> u32 {
        self.model.context_size()
    }

    #[napi(catch_unwind)]
    pub fn stats(&self) -> napi::Result<Value> {
        self.model.stats().map(|stats| plain(&stats)).map_err(of_core)
    }

    #[napi(getter)]
    pub fn placement(&self) -> Value {
        plain(&self.model.placement())
    }

    #[napi(getter)]
    pub fn gpu_layers(&self) -> u32 {
        self.model.gpu_layers()
    }

    #[napi(getter)]
    pub fn n_layers(&self) -> u32 {
        self.model.n_layers()
    }

    #[napi(getter)]
    pub fn n_vocab(&self) -> u32 {
        self.model.n_vocab()
    }

    #[napi(getter)]
    pub fn n_embd(&self) -> u32 {
        self.model.n_embd()
    }

    #[napi(getter)]
    pub fn n_params(&self) -> i64 {
        self.model.n_params() as i64
    }

    #[napi(getter)]
    pub fn size(&self) -> i64 {
        self.model.size() as i64
    }

    #[napi(getter)]
    pub fn architecture(&self) -> &str {
        self.model.architecture()
    }

    #[napi(getter)]
    pub fn name(&self) -> Option<&str> {
        self.model.name()
    }

    #[napi(getter)]
    pub fn description(&self) -> &str {
        self.model.description()
    }

    #[napi(getter)]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.model.metadata().clone()
    }

    #[napi(getter)]
    pub fn chat_template(&self) -> Option<&str> {
        self.model.chat_template()
    }

    #[napi(getter)]
    pub fn capabilities(&self) -> Value {
        plain(&self.model.capabilities())
    }
}

/// The options that there are, for `generate-types.mjs`.
#[napi(js_name = "_optionSpecs", catch_unwind)]
pub fn option_specs() -> Value {
    let list = |specs: &[OptionSpec]| -> Value {
        let spec = |spec: &OptionSpec| json!({"name": Naming::Camel.style(spec.name), "type": spec.kind.typescript, "doc": spec.doc});
        specs.iter().map(spec).collect()
    };
    let mut chat = ChatOptions::default();
    let [generate, chat] = chat.option_sets();
    let sets = [
        ("model", ModelParams::default().specs()),
        ("context", ContextParams::default().specs()),
        ("generate", generate.specs()),
        ("chat", chat.specs()),
        ("embed", EmbedOptions::default().specs()),
        ("rerank", RerankOptions::default().specs()),
        ("plan", PlanFields::default().specs()),
    ];
    sets.into_iter()
        .map(|(name, specs)| (name.to_owned(), list(specs)))
        .collect::<Map<_, _>>()
        .into()
}
