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
        None => format!("{project} has this option; here: {note}"),
    })
}

/// A name without the prefixes and separators of languages and command lines.
fn plain(name: &str) -> String {
    let letters = name.trim_start_matches('-').chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_projects_lead_to_ours() {
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
    }
}
