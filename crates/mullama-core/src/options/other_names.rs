//! The names of options in other projects, for hints to users of these names.

use serde::Deserialize;

use super::calls::call_of;
use crate::Naming;

/// The table of names, from which pages of the documentation are also generated.
const TABLE: &str = include_str!("../../data/other_names.json");

#[derive(Deserialize)]
struct Project {
    project: String,
    places: Vec<Place>,
}

#[derive(Deserialize)]
struct Place {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    names: Vec<String>,
    option: Option<String>,
    note: Option<String>,
}

/// A hint about the option to use instead of another project's name. Options of the call take precedence.
pub(super) fn hint(key: &str, known: &[&str], naming: Naming) -> Option<String> {
    let projects: Vec<Project> = serde_json::from_str(TABLE).ok()?;
    let key = plain(key);
    // An option of mullama in another language's style.
    if known.iter().any(|name| plain(name) == key) {
        return None;
    }
    let found: Vec<(&str, &Entry)> = projects
        .iter()
        .flat_map(|it| it.places.iter().map(move |place| (it.project.as_str(), place)))
        .flat_map(|(project, place)| place.entries.iter().map(move |entry| (project, entry)))
        .filter(|(_, entry)| entry.names.iter().any(|name| plain(name) == key))
        .collect();
    let is_here = |entry: &Entry| entry.option.as_deref().is_some_and(|it| known.contains(&it));
    let here = found.iter().find(|(_, entry)| is_here(entry));
    let (project, entry) = here.or(found.first())?;
    let note = entry.note.as_deref().unwrap_or_default();
    Some(match &entry.option {
        Some(option) if here.is_some() => {
            format!("this is the name in {project}; here the option is `{}`", naming.style(option))
        }
        Some(option) => format!(
            "this is the name in {project}; here the option is `{}` of {}",
            naming.style(option),
            call_of(option).unwrap_or("another call")
        ),
        None => format!("{project} has this option; here: {}", styled(note, naming)),
    })
}

/// A note whose names of methods and options, in backticks, have the style of a language.
fn styled(note: &str, naming: Naming) -> String {
    let is_name =
        |text: &str| text.contains('_') && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    let style = |(index, piece): (usize, &str)| match naming {
        Naming::Camel if index % 2 == 1 && is_name(piece) => naming.style(piece),
        _ => piece.to_owned(),
    };
    note.split('`').enumerate().map(style).collect::<Vec<_>>().join("`")
}

/// A name without the prefixes and separators of languages and command lines.
fn plain(name: &str) -> String {
    let letters = name.trim_start_matches('-').chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{ChatOptions, ContextParams, ModelParams, OptionSet as _, OptionSpec};

    #[test]
    fn option_names_of_other_projects_get_hints() {
        let known = ["context_size", "max_tokens"];
        let hint = |key: &str| hint(key, &known, Naming::Snake).unwrap_or_default();
        assert!(hint("n_ctx").contains("`context_size`"), "{}", hint("n_ctx"));
        assert!(hint("num_ctx").contains("Ollama"), "{}", hint("num_ctx"));
        assert!(hint("max_new_tokens").contains("the option is `max_tokens`"));
        assert!(hint("n_batch").contains("`batch_size` of loading a model"), "{}", hint("n_batch"));
        assert!(hint("verbose").contains("MULLAMA_LOG"), "{}", hint("verbose"));
        assert_eq!(hint("nothing_of_the_kind"), "");
        assert_eq!(hint("maxTokens"), "");
        let camel = super::hint("nCtx", &known, Naming::Camel).unwrap();
        assert!(camel.contains("`contextSize`"), "{camel}");
        let camel = super::hint("streaming", &known, Naming::Camel).unwrap();
        assert!(camel.ends_with("and `streamChat` instead of `chat`"), "{camel}");
        assert!(hint("streaming").ends_with("and `stream_chat` instead of `chat`"));
    }

    #[test]
    fn names_that_people_try_first_are_known_in_every_call() {
        let (model, context) = (ModelParams::default(), ContextParams::default());
        let mut options = ChatOptions::default();
        let [generate, chat] = options.option_sets();
        let names = |sets: &[&'static [OptionSpec]]| -> Vec<&str> {
            sets.iter().flat_map(|specs| specs.iter().map(|spec| spec.name)).collect()
        };
        let load = names(&[model.specs(), context.specs()]);
        let chat = names(&[generate.specs(), chat.specs()]);
        for key in [
            "n_ctx",
            "n_batch",
            "verbose",
            "n_predict",
            "max_new_tokens",
            "num_ctx",
            "do_sample",
            "logits_all",
            "streaming",
            "stream",
            "store",
            "stream_options",
            "metadata",
            "user",
            "n",
            "nCtx",
            "maxNewTokens",
            "numPredict",
            "num_predict",
            "n_keep",
            "cache_prompt",
            "think",
            "keep_alive",
            "functions",
            "chat_template_kwargs",
            "response_fields",
        ] {
            for known in [&load, &chat] {
                for naming in [Naming::Snake, Naming::Camel] {
                    assert!(hint(key, known, naming).is_some(), "{key}");
                }
            }
        }
    }

    #[test]
    fn every_option_in_the_table_is_one_of_mullamas() {
        let projects: Vec<Project> = serde_json::from_str(TABLE).unwrap();
        let places = projects.iter().flat_map(|project| &project.places);
        for entry in places.flat_map(|place| &place.entries) {
            assert!(entry.option.is_some() || entry.note.is_some(), "{:?}", entry.names);
            if let Some(option) = &entry.option {
                assert!(call_of(option).is_some(), "{option}, for {:?}", entry.names);
            }
        }
    }
}
