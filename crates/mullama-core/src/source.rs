//! From what a user writes to a model: its file, and what the store keeps beside it.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use mullama_hub as hub;
use serde_json::{Map, Value};

use crate::message::{Message, Role};
use crate::options::OptionSet;
use crate::params::{ContextParams, ModelParams};
use crate::sampling::GenerateOptions;
use crate::{Error, ErrorKind, Result, demo};
use mullama_gguf::GgufHeader;

/// How alike two names are when one may have been meant for the other.
const LIKE: f64 = 0.8;

/// A model that was found, and not loaded yet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Found {
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

/// What a model of the store brings to each request.
#[derive(Default)]
pub(crate) struct Brought {
    /// Holds where a request says nothing.
    pub options: GenerateOptions,
    system: Option<Message>,
    messages: Vec<Message>,
}

impl Found {
    /// Finds what a source stands for, a path or the name of a model, as [`crate::Model::load`] takes it.
    ///
    /// A file of that name comes first, then the built-in model, then the local store, with what other
    /// programs have downloaded.
    pub fn find(source: impl AsRef<Path>) -> Result<Self> {
        let source = source.as_ref();
        let file = |path: PathBuf| Self { path, stored: None };
        if source.is_file() {
            return Ok(file(source.to_path_buf()));
        }
        if source.as_os_str() == demo::NAME {
            return demo::path().map(file);
        }
        let name = source.to_str().filter(|text| !text.is_empty());
        match name.map(hub::Source::parse).transpose() {
            Ok(Some(name)) if !matches!(name, hub::Source::Path(_)) => {
                match hub::Store::open()?.find_source(&name) {
                    // A folder may be called like a model; that it is one is the better thing to say.
                    Err(_) if source.is_dir() => Ok(file(source.to_path_buf())),
                    Err(error) => Err(near_demo(source, error.into())),
                    Ok(model) => Ok(Self { path: model.path.clone(), stored: Some(model) }),
                }
            }
            _ if source.exists() => Ok(file(source.to_path_buf())),
            Err(error) => Err(error.into()),
            Ok(_) => Err(no_file(source)),
        }
    }

    /// The options that the model brings (`PARAMETER` and `ADAPTER` of a Modelfile), by mullama's names. Null
    /// stands for the default. Parameters that mullama does not know are left out.
    pub fn options(&self) -> Map<String, Value> {
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
        options
    }

    /// The system message that the model brings.
    pub fn system(&self) -> Option<&str> {
        self.stored.as_ref()?.system.as_deref().filter(|text| !text.is_empty())
    }

    /// The messages that come before a chat's first.
    pub fn messages(&self) -> Result<Vec<Message>> {
        let messages = self.stored.iter().flat_map(|model| &model.messages);
        let json = |message: &hub::Message| serde_json::json!({ "role": message.role, "content": message.content });
        Message::list_from_json(messages.map(json).collect())
    }

    /// The chat template that the store has, in Jinja, where the file itself has none.
    ///
    /// Gives `Unsupported`, with what it is, for something in a template of Ollama's that cannot be honoured.
    pub fn chat_template(&self, header: &GgufHeader) -> Result<Option<String>> {
        let Some(model) = &self.stored else { return Ok(None) };
        if model.template.is_none() || header.text("tokenizer.chat_template").is_some() {
            return Ok(None);
        }
        let hint = "give a Jinja template as `chat_template`, or continue text without one";
        model.jinja().map_err(|error| error.with_hint(hint))
    }

    /// Fills in what the model brings where the caller says nothing. Gives what holds for requests, and why
    /// the chat template cannot be used, if there is one that cannot.
    pub(crate) fn fill(
        &self,
        header: &GgufHeader,
        params: &mut ModelParams,
        context: &mut ContextParams,
    ) -> Result<(Brought, Option<Error>)> {
        let options = self.fill_options(params, context)?;
        let system = self.system().map(Message::system);
        let brought = Brought { options, system, messages: self.messages()? };
        if params.chat_template.is_some() {
            return Ok((brought, None));
        }
        let (template, unusable) = match self.chat_template(header) {
            Ok(template) => (template, None),
            Err(error) => (None, Some(error)),
        };
        params.chat_template = template;
        Ok((brought, unusable))
    }

    /// Fills in the options of loading that the model brings; gives those of requests.
    pub(crate) fn fill_options(
        &self,
        params: &mut ModelParams,
        context: &mut ContextParams,
    ) -> Result<GenerateOptions> {
        let mut sets = OptionSets::default();
        for (name, value) in self.options().into_iter().filter(|(_, value)| !value.is_null()) {
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
            .with_hint("make the model again with another value, or load its file by its path")
    }
}

impl Brought {
    /// With these options where it has none.
    pub fn or(mut self, others: &GenerateOptions) -> Self {
        self.options.fill(others);
        self
    }

    /// The messages of a chat: the system message, unless the chat has its own, then those that the model
    /// brings, then the chat's.
    pub fn before<'a>(&self, messages: &'a [Message]) -> Cow<'a, [Message]> {
        let own = messages
            .first()
            .is_some_and(|first| matches!(first.role, Role::System | Role::Developer));
        let system = self.system.as_ref().filter(|_| !own);
        if system.is_none() && self.messages.is_empty() {
            return Cow::Borrowed(messages);
        }
        let (first, rest) = messages.split_at(usize::from(own));
        system.into_iter().chain(first).chain(&self.messages).chain(rest).cloned().collect()
    }
}

/// The file that a source stands for, a path or the name of a model, as [`crate::Model::load`] takes it.
pub fn resolve(source: impl AsRef<Path>) -> Result<PathBuf> {
    Ok(Found::find(source)?.path)
}

/// Downloads a model into the local store; see [`crate::Model::pull_with`].
pub(crate) fn pull(name: &str, options: hub::PullOptions<'_>) -> Result<hub::StoredModel> {
    if name == demo::NAME {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            "demo is the built-in model: there is nothing to download",
        )
        .with_hint("load it, or run `mullama run demo`"));
    }
    Ok(hub::pull(&hub::Store::open()?, &hub::Source::parse(name)?, options)?)
}

/// Hints at the built-in model where its name may have been meant.
fn near_demo(source: &Path, error: Error) -> Error {
    let one_slip = |text: &str| strsim::damerau_levenshtein(text, demo::NAME) == 1;
    if error.kind() != ErrorKind::NotFound || !source.to_str().is_some_and(one_slip) {
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
    let near = names
        .filter(|name| name.to_ascii_lowercase().ends_with(".gguf"))
        .map(|name| (strsim::jaro_winkler(&name, wanted), name))
        .filter(|(likeness, _)| *likeness >= LIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    near.map(|(_, name)| source.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(messages: &[Message]) -> Vec<String> {
        messages.iter().map(Message::text).collect()
    }

    #[test]
    fn what_a_model_brings_comes_before_a_chat() {
        let brought = Brought {
            system: Some(Message::system("S")),
            messages: vec![Message::user("U"), Message::assistant("A")],
            ..Brought::default()
        };
        let question = [Message::user("Q")];
        assert_eq!(texts(&brought.before(&question)), ["S", "U", "A", "Q"]);
        let own = [Message::system("mine"), Message::user("Q")];
        assert_eq!(texts(&brought.before(&own)), ["mine", "U", "A", "Q"]);
        assert_eq!(texts(&Brought::default().before(&question)), ["Q"]);
    }

    #[test]
    fn what_is_not_there_is_told_with_what_is_near() {
        let error = Found::find("dmeo").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean demo, the built-in model?"));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model-q8.gguf"), "x").unwrap();
        let error = Found::find(folder.path().join("model-q4.gguf")).unwrap_err();
        assert!(error.hint().unwrap().contains("model-q8.gguf"), "{error:?}");
        let error = Found::find(folder.path().join("other")).unwrap_err();
        assert!(error.hint().unwrap().contains("check the path"), "{error:?}");
    }

    #[test]
    fn the_built_in_model_is_not_pulled() {
        let error = pull("demo", hub::PullOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
