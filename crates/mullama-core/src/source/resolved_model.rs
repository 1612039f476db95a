//! Resolves what a user enters to a model: its file, and its settings in the local store.

use std::path::{Path, PathBuf};

use mullama_base::{Text, folders, nearest};
use mullama_hub as hub;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{demo, projector};
use crate::options::{ContextParams, GenerateOptions, MAX_THREADS, ModelParams, OptionSet};
use crate::{Error, ErrorKind, Result};
use mullama_gguf::GgufHeader;

/// A model that was found but is not loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ResolvedModel {
    /// The file to load; the first one of a split model.
    pub path: PathBuf,
    /// The model in the local store. None if the source is a path or the built-in model.
    pub stored: Option<hub::StoredModel>,
    /// The name in messages: that of the stored or built-in model, or the path.
    pub name: String,
}

/// The options that a Modelfile can set.
#[derive(Default)]
struct OptionSets(ModelParams, ContextParams, GenerateOptions);

impl OptionSets {
    /// The options with these values. Unknown ones are omitted; the error has the name of an option.
    fn of(values: Map<String, Value>) -> std::result::Result<Self, (String, serde_json::Error)> {
        let mut sets = Self::default();
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_null()) {
            if let Some(set) = sets.with(&name) {
                set.set(&name, value).map_err(|error| (name, error))?;
            }
        }
        Ok(sets)
    }

    /// Refuses values outside the range of their option.
    fn check(&self) -> Result<()> {
        self.0.check()?;
        self.1.check()?;
        self.2.check()
    }

    /// The option set that contains this option.
    fn with(&mut self, name: &str) -> Option<&mut dyn OptionSet> {
        let sets: [&mut dyn OptionSet; 3] = [&mut self.0, &mut self.1, &mut self.2];
        sets.into_iter().find(|set| set.specs().iter().any(|spec| spec.name == name))
    }
}

impl ResolvedModel {
    /// Resolves a path or model name, as [`crate::Model::load`] accepts it.
    ///
    /// The order is: an existing file, the built-in model, the local store including models that other programs have
    /// downloaded. Pipes, sockets and devices count as files, which reading refuses: their names are not looked up.
    pub fn find(source: impl AsRef<Path>) -> Result<Self> {
        let source = &*folders::expand_home(source.as_ref());
        let file = |path: PathBuf| {
            let name = path.display().to_string();
            Self { path, stored: None, name }
        };
        let built_in = |path| Self { path, stored: None, name: hub::BUILT_IN.to_owned() };
        if source.exists() && !source.is_dir() {
            return Ok(file(source.to_path_buf()));
        }
        let name = source.to_str().filter(|text| !text.is_empty());
        match name.map(hub::Source::parse).transpose() {
            Ok(Some(hub::Source::Name(name))) if name.is_built_in() => demo::path().map(built_in),
            Ok(Some(name)) if !matches!(name, hub::Source::Path(_)) => {
                match hub::Store::open()?.find_source(&name) {
                    // A folder may have the name of a model. The error for a folder is more helpful.
                    Err(_) if source.is_dir() => Ok(file(source.to_path_buf())),
                    Err(error) => Err(hint_at_demo(source, error)),
                    Ok(model) => Ok(Self {
                        path: model.path.clone(),
                        name: model.name.to_string(),
                        stored: Some(model),
                    }),
                }
            }
            _ if source.exists() => Ok(file(source.to_path_buf())),
            Err(error) => Err(error),
            Ok(_) => Err(no_file(source)),
        }
    }

    /// The same file without what is stored with the model: its parameters, messages, template, adapters, projector.
    #[must_use]
    pub fn without_defaults(&self) -> Self {
        Self { stored: None, ..self.clone() }
    }

    /// Shows the model's name instead of the paths of its files in the texts of an error.
    pub(crate) fn named(&self, error: Error) -> Error {
        let error = error.naming_file(&self.path, &self.name);
        let Some(model) = &self.stored else { return error };
        let adapters = model.adapters.iter().map(|path| ("adapter", path));
        let others = adapters.chain(model.draft.iter().map(|path| ("draft model", path)));
        others.fold(error, |error, (kind, path)| {
            error.naming_file(path, &format!("the {kind} of {}", self.name))
        })
    }

    /// The options that are stored with the model (`PARAMETER`, `ADAPTER` and `DRAFT` in a Modelfile), by mullama's
    /// names. Null stands for the default. Unknown parameters are omitted, and the number of threads is limited to the
    /// number of processors.
    pub fn options(&self) -> Map<String, Value> {
        let mut options = self.parameters();
        bound_threads(&mut options);
        options
    }

    fn parameters(&self) -> Map<String, Value> {
        let brought = self.stored.as_ref().map(|model| model.parameters.to_options());
        let mut options = brought.unwrap_or_default();
        let mut sets = OptionSets::default();
        options.retain(|name, _| sets.with(name).is_some());
        let adapters: Vec<_> = self.stored.iter().flat_map(|model| &model.adapters).collect();
        if !adapters.is_empty() {
            options.insert(
                "lora".to_owned(),
                adapters.iter().map(|path| path.to_string_lossy()).collect(),
            );
        }
        if let Some(draft) = self.stored.as_ref().and_then(|model| model.draft.as_ref()) {
            options.insert("draft_model".to_owned(), draft.to_string_lossy().into());
        }
        options
    }

    /// The projector that belongs to the model. If it cannot be used, logs a warning with the reason and returns none.
    pub fn projector(&self) -> Result<Option<PathBuf>> {
        let header = GgufHeader::read(&self.path).map_err(|error| self.named(error))?;
        let found = projector::find(&self.path, self.stored.as_ref(), &header, None)?;
        Ok(found.and_then(Result::ok).map(|file| file.path))
    }

    /// The system message that is stored with the model.
    pub fn system(&self) -> Option<&str> {
        self.stored.as_ref()?.system.as_deref().filter(|text| !text.is_empty())
    }

    /// The chat template in the store, converted to Jinja. None if the model file has a template.
    ///
    /// Fails with `Unsupported` and the reason if an Ollama template uses a feature that cannot be converted.
    pub fn chat_template(&self, header: &GgufHeader) -> Result<Option<String>> {
        let Some(model) = &self.stored else { return Ok(None) };
        if model.template.is_none() || header.text("tokenizer.chat_template").is_some() {
            return Ok(None);
        }
        let hint = Text::with_names(
            "give a Jinja template as {chat_template}, or continue text without one",
        );
        model.jinja().map_err(|error| error.with_hint(hint))
    }

    /// Sets open loading options to those stored with the model, and returns its options for requests.
    pub(crate) fn fill_options(
        &self,
        params: &mut ModelParams,
        context: &mut ContextParams,
    ) -> Result<GenerateOptions> {
        let mut brought = self.parameters();
        match context.n_threads {
            None => bound_threads(&mut brought),
            // The caller's value takes precedence.
            Some(_) => _ = brought.remove("n_threads"),
        }
        let OptionSets(model, room, options) =
            OptionSets::of(brought).map_err(|(name, error)| self.unusable(&name, &error))?;
        params.fill(&model);
        context.fill(&room);
        Ok(options)
    }

    fn unusable(&self, option: &str, error: &serde_json::Error) -> Error {
        let name = hub::Parameters::name_of(option);
        Error::new(ErrorKind::InvalidModel, format!("the model's parameter {name}: {error}"))
            .with_context("path", self.path.display())
            .with_hint("create the model again with another value, or load its file by its path")
    }
}

/// Limits the threads that a model requests to what the option takes: its author may have had more processors.
/// Loading limits them to those of this process.
fn bound_threads(options: &mut Map<String, Value>) {
    if let Some(threads) = options.get_mut("n_threads")
        && let Some(requested) = threads.as_u64()
    {
        *threads = requested.min(MAX_THREADS.into()).into();
    }
}

/// Resolves a path or model name, as [`crate::Model::load`] accepts it, to a file.
pub fn resolve(source: impl AsRef<Path>) -> Result<PathBuf> {
    Ok(ResolvedModel::find(source)?.path)
}

/// Downloads a model into the local store; see [`crate::Model::pull_with`].
pub(crate) fn pull(name: &str, options: hub::PullOptions<'_>) -> Result<hub::StoredModel> {
    hub::pull(&hub::Store::open()?, &hub::Source::parse(name)?, options)
}

/// Creates a model in the local store from a Modelfile; see [`hub::Store::create`]. `FROM demo` is the built-in model.
pub fn create_model(
    name: &hub::Name,
    file: &hub::Modelfile,
    mut options: hub::CreateOptions<'_>,
) -> Result<hub::StoredModel> {
    check_parameters(&file.parameters)?;
    let is_built_in = |from: &String| from.parse().is_ok_and(|name: hub::Name| name.is_built_in());
    if options.built_in.is_none() && file.from.iter().chain(&file.draft).any(is_built_in) {
        options.built_in = Some(demo::path()?);
    }
    hub::Store::open()?.create(name, file, options)
}

/// Refuses the parameters of a Modelfile that their options do not take.
fn check_parameters(parameters: &hub::Parameters) -> Result<()> {
    for (option, value) in parameters.to_options() {
        let name = hub::Parameters::name_of(&option);
        let refused = |reason: &dyn std::fmt::Display| {
            Error::new(ErrorKind::InvalidArgument, format!("PARAMETER {name} {value}: {reason}"))
        };
        let mut one = Map::from_iter([(option.clone(), value.clone())]);
        // More threads than the machine has are accepted when the model is loaded.
        bound_threads(&mut one);
        let sets = OptionSets::of(one).map_err(|(_, error)| refused(&error))?;
        sets.check().map_err(|error| refused(&error))?;
    }
    Ok(())
}

/// Copies a model of the local store, or the built-in one, to another name.
pub fn copy_model(from: &hub::Name, to: &hub::Name) -> Result<()> {
    if !from.is_built_in() {
        return hub::Store::open()?.copy(from, to);
    }
    let path = demo::path()?;
    let file = hub::Modelfile::from_model(path.to_string_lossy());
    create_model(to, &file, hub::CreateOptions::default()).map(|_| ())
}

/// Whether a name may be a misspelling of the built-in model's name; much longer names are not.
pub fn resembles_demo(name: &str) -> bool {
    name.len() <= hub::BUILT_IN.len() + 1 && nearest(name, [hub::BUILT_IN]).is_some()
}

/// Adds a hint at the built-in model if its name may have been meant.
fn hint_at_demo(source: &Path, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound || !source.to_str().is_some_and(resembles_demo) {
        return error;
    }
    error.with_hint("did you mean demo, the built-in model?")
}

/// The error for a missing file, with the most similar file name in its folder as a hint.
fn no_file(source: &Path) -> Error {
    if source.as_os_str().is_empty() {
        let message = "the path or name of the model is empty";
        return Error::new(ErrorKind::NotFound, message)
            .with_hint("demo is the built-in model; `mullama list` shows the models in the store");
    }
    let shown = source.display();
    let error = Error::new(ErrorKind::NotFound, format!("there is no file at {shown}"))
        .with_context("path", shown);
    match nearest_file(source) {
        Some(near) => error.with_hint(format!("did you mean {}?", near.display())),
        None => error.with_hint("check the path; a relative one starts from the current folder"),
    }
}

fn nearest_file(source: &Path) -> Option<PathBuf> {
    let wanted = source.file_name()?.to_str()?;
    let folder = source.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let models = names.filter(|name| name.to_ascii_lowercase().ends_with(".gguf"));
    nearest(wanted, models).map(|name| source.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_models_get_suggestions() {
        let error = ResolvedModel::find("dmeo").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean demo, the built-in model?"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model-q8.gguf"), "x").unwrap();
        let error = ResolvedModel::find(folder.path().join("model-q4.gguf")).unwrap_err();
        assert!(error.hint().unwrap().contains("model-q8.gguf"), "{error:?}");
        let error = ResolvedModel::find("").unwrap_err();
        assert_eq!(error.to_string(), "the path or name of the model is empty");
        let error = ResolvedModel::find(folder.path().join("other")).unwrap_err();
        assert!(error.hint().unwrap().contains("check the path"), "{error:?}");
    }

    #[test]
    fn the_built_in_model_is_not_pulled() {
        let error = pull("demo", hub::PullOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.to_string(), "demo is built in: there is nothing to download");
    }
}
