//! Loading a model.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use mullama_base::open_file;
use mullama_hub::{PullOptions, StoredModel};

use super::defaults::ModelDefaults;
use super::handle::{Model, Shared};
use super::info::ModelInfo;
use super::loaded::Loaded;
use super::templates::ModelTemplates;
use super::vision::{Vision, VisionLimits};
use crate::chat::Templates;
use crate::device::{DeviceSet, cuda};
use crate::embedding::{Embedders, EmbeddingInfo};
use crate::engine::{ContextSettings, Vocab, WeightSettings, Weights};
use crate::options::{ContextParams, GenerateOptions, ModelParams};
use crate::placement::{self, PlacedProjector, PlacementDecision};
use crate::runtime::{self, warn_of_threads};
use crate::sampling::Grammars;
use crate::scheduler::{DraftModel, Engine, Started};
use crate::source::{DraftFile, ResolvedModel, preflight, pull};
use crate::{Error, Result};
use mullama_gguf::GgufHeader;

impl Model {
    /// Loads a model: a path to a GGUF file (the first shard of a split one), the name of a model in the
    /// local store (`llama3.2:1b`, `hf.co/user/repo:Q4_K_M`), or `demo`, the built-in model. Nothing is
    /// downloaded; [`Model::pull`] does that.
    ///
    /// Defaults stored with a model (a Modelfile's parameters, system message, messages, template)
    /// apply unless these options or those of a request override them.
    ///
    /// ```
    /// use mullama_core::{ContextParams, Model, ModelParams};
    ///
    /// let model = Model::load("demo", ModelParams::default(), ContextParams::default())?;
    /// assert_eq!(model.architecture(), "llama");
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn load(
        source: impl AsRef<Path>,
        params: ModelParams,
        context: ContextParams,
    ) -> Result<Self> {
        Self::load_with_progress(source, params, context, |_| true)
    }

    /// As [`Model::load`]; `progress` receives the progress, from 0 to 1, and cancels by returning false.
    pub fn load_with_progress(
        source: impl AsRef<Path>,
        params: ModelParams,
        context: ContextParams,
        progress: impl FnMut(f32) -> bool,
    ) -> Result<Self> {
        Self::load_resolved(&ResolvedModel::find(source)?, params, context, progress)
    }

    /// As [`Model::load_with_progress`], for a model that has been resolved.
    pub fn load_resolved(
        source: &ResolvedModel,
        params: ModelParams,
        context: ContextParams,
        progress: impl FnMut(f32) -> bool,
    ) -> Result<Self> {
        Self::load_file(source, params, context, progress).map_err(|error| source.named(error))
    }

    fn load_file(
        source: &ResolvedModel,
        mut params: ModelParams,
        mut context: ContextParams,
        mut progress: impl FnMut(f32) -> bool,
    ) -> Result<Self> {
        // Patterns apply to the tensors of all files.
        let header = match &params.tensor_overrides {
            Some(_) => GgufHeader::read_split(&source.path)?,
            None => GgufHeader::read(&source.path)?,
        };
        preflight::check_options(&header, &params)?;
        params.chat_template.as_deref().map_or(Ok(()), Templates::check)?;
        let (defaults, unusable) = ModelDefaults::fill(source, &header, &mut params, &mut context)?;
        let vocab_only = params.settled_vocab_only();
        let ResolvedModel { path, stored, name } = source;
        preflight::check(path, &header, vocab_only, params.metadata_overrides.as_ref())?;
        let draft = DraftFile::find(params.draft_model.as_deref().filter(|_| !vocab_only), path)?;
        runtime::require_cpu()?;
        let asked = params.projector.as_deref();
        let projector = if vocab_only {
            None
        } else {
            PlacedProjector::find(path, stored.as_ref(), &header, asked)?
        };
        let placed_projector = projector.as_ref().and_then(|found| found.as_ref().ok());
        let (weights, settings, draft) = if vocab_only {
            (WeightSettings::resolve(&params, &DeviceSet::default())?, None, None)
        } else {
            let (decision, placed) = placement::decide(
                path,
                name,
                &header,
                &params,
                &context,
                placed_projector,
                draft.as_ref(),
            )?;
            cuda::apply(params.cuda.as_ref())?;
            warn_of_threads(decision.context.n_threads.max(decision.context.n_threads_batch));
            let draft = draft.zip(placed).map(|(draft, placed)| {
                let PlacementDecision { weights, context } = placed;
                // The draft model is small, so only the progress of the model itself is reported.
                let weights = Weights::load(&draft.path, &weights, &mut |_| progress(0.0))?;
                Ok::<_, Error>(DraftModel { weights: Arc::new(weights), settings: context })
            });
            (decision.weights, Some(decision.context), draft.transpose()?)
        };
        let file = open_file(path).map_err(|error| Error::unreadable(path, error))?;
        let weights = Arc::new(Weights::load(path, &weights, &mut progress)?);
        let vocab = Vocab::new(Arc::clone(&weights));
        let adapters = params.lora.as_ref().map(|lora| weights.adapters(lora)).transpose()?;
        let (engine, mut started) = start_engine(&weights, &vocab, settings.as_ref(), draft)?;
        if let Some(projector) = placed_projector.filter(|_| started.can_generate) {
            started.placement = started.placement.and(projector.placement.clone());
        }
        let computed_with = settings.as_ref().map_or_else(String::new, |settings| {
            let ContextSettings { type_k, type_v, rope_freq_base, rope_freq_scale, .. } = settings;
            let overrides = &weights.settings.metadata;
            format!("{type_k:?} {type_v:?} {rope_freq_base} {rope_freq_scale} {overrides:?}")
        });
        let recommended = GenerateOptions::recommended(|key| weights.metadata_value(key));
        let context_size = started.can_generate.then_some(started.n_ctx);
        let step = settings.as_ref().map(|settings| (settings.threads()[1], settings.n_ubatch));
        let embedding = EmbeddingInfo::new(path, &header, settings, context_size, &weights);
        let (n_threads, n_ubatch) = step.unwrap_or((1, 1));
        let limits = VisionLimits {
            media: params.media_limits.unwrap_or_default(),
            n_ctx: started.n_ctx as usize,
            n_ubatch: n_ubatch as usize,
        };
        let projector = projector.map(|found| found.map(|placed| placed.file));
        let vision = Vision::new(projector, n_threads, limits);
        if params.settled_load_projector() && started.can_generate && vision.is_on() {
            vision.load(&weights)?;
        }
        let loaded = Loaded {
            engine,
            vision,
            embedders: Embedders::new(embedding, Arc::clone(&weights)),
            vocab,
            grammars: Grammars::default(),
            templates: ModelTemplates::new(params.chat_template, unusable),
            defaults: defaults.or(&recommended),
            adapters: Mutex::new(adapters.unwrap_or_default()),
            path: path.clone(),
            file,
            settings: computed_with,
            fingerprint: OnceLock::new(),
            weights,
        };
        let info = ModelInfo::new(&loaded, &header, started);
        let loaded = RwLock::new(Some(Arc::new(loaded)));
        Ok(Self { shared: Arc::new(Shared { info, loaded }) })
    }

    /// Downloads a model into the local store, from which [`Model::load`] loads it: a name in Ollama's registry or
    /// another (`llama3.2:1b`, `host/user/model:tag`), a repository of Hugging Face (`hf.co/user/repo:Q4_K_M`), or the
    /// address of a GGUF file.
    ///
    /// A model that is already present and up to date is not downloaded again; an interrupted
    /// download resumes.
    ///
    /// ```no_run
    /// use mullama_core::{ContextParams, Model, ModelParams};
    ///
    /// Model::pull("llama3.2:1b")?;
    /// let model = Model::load("llama3.2:1b", ModelParams::default(), ContextParams::default())?;
    /// # Ok::<_, mullama_core::Error>(())
    /// ```
    pub fn pull(name: impl AsRef<str>) -> Result<StoredModel> {
        Self::pull_with(name, PullOptions::default())
    }

    /// As [`Model::pull`], with reports of progress, cancellation, and other registries.
    ///
    /// Returns `NotFound` for a model that does not exist, `Download` for an error of the network or the server,
    /// `InvalidModel` for a file that is not a model, `Io` for a disk that is full or cannot be written.
    pub fn pull_with(name: impl AsRef<str>, options: PullOptions<'_>) -> Result<StoredModel> {
        pull(name.as_ref(), options)
    }
}

/// Starts the thread that generates. There is none if the model does not generate, or if only the vocabulary is loaded,
/// in which case there are no settings.
fn start_engine(
    weights: &Arc<Weights>,
    vocab: &Vocab,
    settings: Option<&ContextSettings>,
    draft: Option<DraftModel>,
) -> Result<(Option<Engine>, Started)> {
    let Some(settings) = settings else { return Ok((None, Started::default())) };
    let (engine, mut started) =
        Engine::start(Arc::clone(weights), vocab.clone(), settings.clone(), draft)?;
    // Encoders only embed; encoder-decoder models neither embed nor generate.
    started.can_generate &= weights.is_decoder();
    if !started.can_generate {
        started.placement = started.placement.weights_only();
    }
    Ok((started.can_generate.then_some(engine), started))
}
