//! From what a user writes to a model: its file, and what the store keeps beside it.

use std::path::{Path, PathBuf};

use mullama_base::{Text, folders, nearest};
use mullama_hub as hub;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{demo, projector};
use crate::options::{ContextParams, GenerateOptions, MAX_THREADS, ModelParams, OptionSet};
use crate::{Error, ErrorKind, Result};
use mullama_gguf::GgufHeader;

/// A model that was found, and not loaded yet.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ResolvedModel {
    /// The file to load; the first of a split model.
    pub path: PathBuf,
    /// The model of the store that was named. None for the path of a file, and for the built-in model.
    pub stored: Option<hub::StoredModel>,
}

/// The options that a Modelfile can set.
#[derive(Default)]
struct OptionSets(ModelParams, ContextParams, GenerateOptions);

impl OptionSets {
    /// The set that has this option.
    fn with(&mut self, name: &str) -> Option<&mut dyn OptionSet> {
        let sets: [&mut dyn OptionSet; 3] = [&mut self.0, &mut self.1, &mut self.2];
        sets.into_iter().find(|set| set.specs().iter().any(|spec| spec.name == name))
    }
}

impl ResolvedModel {
    /// Finds what a source stands for, a path or the name of a model, as [`crate::Model::load`] takes it.
    ///
    /// A file of that name comes first, then the built-in model, then the local store, with what other
    /// programs have downloaded.
    pub fn find(source: impl AsRef<Path>) -> Result<Self> {
        let source = &*folders::expand_home(source.as_ref());
        let file = |path: PathBuf| Self { path, stored: None };
        if source.is_file() {
            return Ok(file(source.to_path_buf()));
        }
        let name = source.to_str().filter(|text| !text.is_empty());
        match name.map(hub::Source::parse).transpose() {
            Ok(Some(hub::Source::Name(name))) if name.is_built_in() => demo::path().map(file),
            Ok(Some(name)) if !matches!(name, hub::Source::Path(_)) => {
                match hub::Store::open()?.find_source(&name) {
                    // A folder may be called like a model; that it is one is the better thing to say.
                    Err(_) if source.is_dir() => Ok(file(source.to_path_buf())),
                    Err(error) => Err(near_demo(source, error)),
                    Ok(model) => Ok(Self { path: model.path.clone(), stored: Some(model) }),
                }
            }
            _ if source.exists() => Ok(file(source.to_path_buf())),
            Err(error) => Err(error),
            Ok(_) => Err(no_file(source)),
        }
    }

    /// The options that the model brings (`PARAMETER`, `ADAPTER` and `DRAFT` of a Modelfile), by mullama's names. Null
    /// stands for the default. Parameters that mullama does not know are left out, and threads that there are no
    /// processors for.
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

    /// The projector that the model brings, if it can be used; else a warning says why.
    pub fn projector(&self) -> Result<Option<PathBuf>> {
        let header = GgufHeader::read(&self.path)?;
        let found = projector::find(&self.path, self.stored.as_ref(), &header, None)?;
        Ok(found.and_then(Result::ok).map(|file| file.path))
    }

    /// The system message that the model brings.
    pub fn system(&self) -> Option<&str> {
        self.stored.as_ref()?.system.as_deref().filter(|text| !text.is_empty())
    }

    /// The chat template that the store has, in Jinja, where the file itself has none.
    ///
    /// Gives `Unsupported`, with what it is, for something in a template of Ollama's that cannot be honoured.
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

    /// Fills in the options of loading that the model brings; gives those of requests.
    pub(crate) fn fill_options(
        &self,
        params: &mut ModelParams,
        context: &mut ContextParams,
    ) -> Result<GenerateOptions> {
        let mut sets = OptionSets::default();
        let mut brought = self.parameters();
        match context.n_threads {
            None => bound_threads(&mut brought),
            // The caller's own holds, whatever the model's is.
            Some(_) => _ = brought.remove("n_threads"),
        }
        for (name, value) in brought.into_iter().filter(|(_, value)| !value.is_null()) {
            if let Some(set) = sets.with(&name) {
                set.set(&name, value).map_err(|error| self.unusable(&name, &error))?;
            }
        }
        let OptionSets(model, room, options) = sets;
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

/// The file that a source stands for, a path or the name of a model, as [`crate::Model::load`] takes it.
pub fn resolve(source: impl AsRef<Path>) -> Result<PathBuf> {
    Ok(ResolvedModel::find(source)?.path)
}

/// Downloads a model into the local store; see [`crate::Model::pull_with`].
pub(crate) fn pull(name: &str, options: hub::PullOptions<'_>) -> Result<hub::StoredModel> {
    hub::pull(&hub::Store::open()?, &hub::Source::parse(name)?, options)
}

/// Makes a model in the local store from a Modelfile; see [`hub::Store::create`]. `FROM demo` is the built-in
/// model.
pub fn create_model(
    name: &hub::Name,
    file: &hub::Modelfile,
    mut options: hub::CreateOptions<'_>,
) -> Result<hub::StoredModel> {
    let is_built_in = |from: &String| from.parse().is_ok_and(|name: hub::Name| name.is_built_in());
    if options.built_in.is_none() && file.from.iter().chain(&file.draft).any(is_built_in) {
        options.built_in = Some(demo::path()?);
    }
    hub::Store::open()?.create(name, file, options)
}

/// Gives a model of the local store, or the built-in one, a second name.
pub fn copy_model(from: &hub::Name, to: &hub::Name) -> Result<()> {
    if !from.is_built_in() {
        return hub::Store::open()?.copy(from, to);
    }
    let path = demo::path()?;
    let file = hub::Modelfile::from_model(path.to_string_lossy());
    create_model(to, &file, hub::CreateOptions::default()).map(|_| ())
}

/// Whether a name may be meant to be the built-in model's: a much longer one is that of another model.
pub fn resembles_demo(name: &str) -> bool {
    name.len() <= hub::BUILT_IN.len() + 1 && nearest(name, [hub::BUILT_IN]).is_some()
}

/// Hints at the built-in model where its name may have been meant.
fn near_demo(source: &Path, error: Error) -> Error {
    if error.kind() != ErrorKind::NotFound || !source.to_str().is_some_and(resembles_demo) {
        return error;
    }
    error.with_hint("did you mean demo, the built-in model?")
}

/// Names the file beside it that is most like the one that is not there.
fn no_file(source: &Path) -> Error {
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
    fn what_is_not_there_is_told_with_what_is_near() {
        let error = ResolvedModel::find("dmeo").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean demo, the built-in model?"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model-q8.gguf"), "x").unwrap();
        let error = ResolvedModel::find(folder.path().join("model-q4.gguf")).unwrap_err();
        assert!(error.hint().unwrap().contains("model-q8.gguf"), "{error:?}");
        let error = ResolvedModel::find(folder.path().join("other")).unwrap_err();
        assert!(error.hint().unwrap().contains("check the path"), "{error:?}");
    }

    #[test]
    fn the_built_in_model_is_not_pulled() {
        let error = pull("demo", hub::PullOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
