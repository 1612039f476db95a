//! Model names: `[host/][namespace/]model[:tag]`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::{Error, ErrorKind, Result};

/// The registry of names without a host.
pub const DEFAULT_HOST: &str = "registry.ollama.ai";
/// The namespace of names without one.
pub const DEFAULT_NAMESPACE: &str = "library";
/// The tag of names without one.
pub const DEFAULT_TAG: &str = "latest";
/// The host in the names of models from Hugging Face.
pub const HUGGING_FACE_HOST: &str = "hf.co";

/// The model that is included in mullama. No model in a store can have this name.
pub const BUILT_IN: &str = "demo";

const MAX_PART_LENGTH: usize = 80;
const MAX_HOST_LENGTH: usize = 350;

/// The name of a model in a store or a registry.
///
/// Each part starts with a letter, a digit or `_`, followed by these, `-` and `.` (no `.` in a
/// namespace; `:` only in a host). Therefore no part is empty, `.` or `..`, and none contains a
/// separator: the path of any name is inside the store.
///
/// ```
/// use mullama_hub::Name;
///
/// let name: Name = "llama3.2:1b".parse()?;
/// assert_eq!(name.full(), "registry.ollama.ai/library/llama3.2:1b");
/// assert_eq!(name.to_string(), "llama3.2:1b");
/// # Ok::<(), mullama_hub::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Host,
    Namespace,
    Model,
    Tag,
}

impl Part {
    /// Why this text is not valid as this part, if it is not.
    fn problem(self, text: &str) -> Option<String> {
        let (what, longest) = match self {
            Self::Host => ("host", MAX_HOST_LENGTH),
            Self::Namespace => ("namespace", MAX_PART_LENGTH),
            Self::Model => ("model", MAX_PART_LENGTH),
            Self::Tag => ("tag", MAX_PART_LENGTH),
        };
        if text.is_empty() {
            return Some(format!("the {what} is empty"));
        }
        if text.len() > longest {
            return Some(format!("the {what} is longer than {longest} characters"));
        }
        text.chars().enumerate().find_map(|(i, c)| {
            let allowed = match c {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => true,
                '-' => i > 0,
                '.' => i > 0 && self != Self::Namespace,
                ':' => i > 0 && self == Self::Host,
                _ => false,
            };
            let place = if i == 0 { "begin with" } else { "have" };
            (!allowed).then(|| format!("a {what} cannot {place} {c:?}"))
        })
    }
}

impl Name {
    /// Parses a name; missing parts get Ollama's defaults. A scheme before the host is ignored.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |problem: String| {
            Error::new(ErrorKind::UnknownModel, format!("{text:?} is not a model name: {problem}"))
                .with_context("name", text)
                .with_hint("a name is written [host/][namespace/]model[:tag], such as llama3.2:1b")
        };
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (rest, tag) = match rest.rsplit_once(':') {
            Some((rest, tag)) if !tag.contains('/') => (rest, tag),
            _ => (rest, DEFAULT_TAG),
        };
        let mut parts = rest.rsplitn(3, '/');
        let model = parts.next().unwrap_or_default();
        let namespace = parts.next().unwrap_or(DEFAULT_NAMESPACE);
        let host = parts.next().unwrap_or(DEFAULT_HOST);
        Self::of(host, namespace, model, tag).map_err(refuse)
    }

    /// Builds a name from its parts. The error describes an invalid part.
    fn of(host: &str, namespace: &str, model: &str, tag: &str) -> Result<Self, String> {
        let parts = [
            (Part::Host, host),
            (Part::Namespace, namespace),
            (Part::Model, model),
            (Part::Tag, tag),
        ];
        match parts.iter().find_map(|(part, text)| part.problem(text)) {
            Some(problem) => Err(problem),
            None => Ok(Self {
                host: host.to_owned(),
                namespace: namespace.to_owned(),
                model: model.to_owned(),
                tag: tag.to_owned(),
            }),
        }
    }

    /// Builds a name from its parts.
    pub fn new(host: &str, namespace: &str, model: &str, tag: &str) -> Result<Self> {
        Self::of(host, namespace, model, tag).map_err(|problem| {
            let text = format!("{host}/{namespace}/{model}:{tag}");
            Error::new(ErrorKind::UnknownModel, format!("{text:?} is not a model name: {problem}"))
                .with_context("name", text)
        })
    }

    /// Builds a name from a file name, whose invalid characters are replaced. The other parts must
    /// be valid.
    pub(crate) fn of_file(host: &str, namespace: &str, stem: &str, tag: &str) -> Self {
        Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: part_from(stem),
            tag: tag.to_owned(),
        }
    }

    /// The registry, for example `registry.ollama.ai` or `127.0.0.1:5000`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The user or organisation, for example `library`.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The model, for example `llama3.2`.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The variant, for example `latest`, `1b` or `Q4_K_M`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The name with all four parts, including defaults.
    pub fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }

    /// Whether this is the built-in model, in any spelling.
    pub fn is_built_in(&self) -> bool {
        Self::parse(BUILT_IN).is_ok_and(|built_in| built_in.matches(self))
    }

    /// Fails if the name is reserved for the built-in model.
    pub(crate) fn check_free(&self) -> Result<()> {
        if !self.is_built_in() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{BUILT_IN} is the built-in model, and no other can have its name"),
        )
        .with_context("name", self)
        .with_hint(format!("choose another name; {BUILT_IN} can be used without downloading it")))
    }

    /// Whether both names refer to the same model. Case is ignored.
    pub fn matches(&self, other: &Self) -> bool {
        self.host.eq_ignore_ascii_case(&other.host)
            && self.namespace.eq_ignore_ascii_case(&other.namespace)
            && self.model.eq_ignore_ascii_case(&other.model)
            && self.tag.eq_ignore_ascii_case(&other.tag)
    }

    /// The same name with another tag.
    pub(crate) fn with_tag(&self, tag: &str) -> Option<Self> {
        Self::of(&self.host, &self.namespace, &self.model, tag).ok()
    }

    /// The path of the manifest, relative to a store's `manifests`.
    pub(crate) fn path(&self) -> PathBuf {
        [&host_folder(&self.host), &self.namespace, &self.model, &self.tag].iter().collect()
    }

    /// The name for the components of a manifest's path: the inverse of `path`.
    pub(crate) fn of_path(host: &str, namespace: &str, model: &str, tag: &str) -> Option<Self> {
        Self::of(&host.replace("%3A", ":"), namespace, model, tag).ok()
    }
}

/// The folder for a host. On Windows, file names cannot contain `:`.
fn host_folder(host: &str) -> String {
    if cfg!(windows) { host.replace(':', "%3A") } else { host.to_owned() }
}

/// Converts text into a valid part of a name: invalid characters become `-`.
pub(crate) fn part_from(text: &str) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || "_-.".contains(c) { c } else { '-' };
    let part: String = text
        .chars()
        .map(clean)
        .skip_while(|c| !c.is_ascii_alphanumeric() && *c != '_')
        .take(MAX_PART_LENGTH)
        .collect();
    if part.is_empty() { "_".to_owned() } else { part }
}

impl fmt::Display for Name {
    /// Omits default host and namespace, but not the tag.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elsewhere = !self.host.eq_ignore_ascii_case(DEFAULT_HOST);
        if elsewhere {
            write!(f, "{}/", self.host)?;
        }
        if elsewhere || !self.namespace.eq_ignore_ascii_case(DEFAULT_NAMESPACE) {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn missing_name_parts_get_defaults() {
        for (text, full, shown) in [
            ("llama3.2", "registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest"),
            ("llama3.2:1b", "registry.ollama.ai/library/llama3.2:1b", "llama3.2:1b"),
            ("me/mine", "registry.ollama.ai/me/mine:latest", "me/mine:latest"),
            ("hf.co/u/r:Q4_0", "hf.co/u/r:Q4_0", "hf.co/u/r:Q4_0"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest", "localhost:5000/a/b:latest"),
            ("http://127.0.0.1:1/a/b:c", "127.0.0.1:1/a/b:c", "127.0.0.1:1/a/b:c"),
            ("host.io/library/m", "host.io/library/m:latest", "host.io/library/m:latest"),
            ("_a/_b:_c", "registry.ollama.ai/_a/_b:_c", "_a/_b:_c"),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!(name.full(), full);
            assert_eq!(name.to_string(), shown);
        }
    }

    #[test]
    fn invalid_names_are_rejected() {
        let long = "m".repeat(81);
        for text in [
            "",
            ":",
            "/",
            "a:",
            ":b",
            "a/",
            "/a",
            "a//b",
            "a/b/c/d",
            "..",
            "../a",
            "a/..",
            "a:..",
            "a:../b",
            ".a",
            "-a",
            "a b",
            "a\\b",
            "a\0",
            "a.b/c",
            "a:b/c",
            "é",
            "a:b:c",
            &long,
            "a/b/../c",
            "C:\\a",
            "~/m",
            "a@sha256:00",
        ] {
            let error = Name::parse(text).expect_err(text);
            assert_eq!(error.kind(), ErrorKind::UnknownModel, "{text}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn spellings_of_the_built_in_model_are_recognised() {
        for same in [
            "demo",
            "demo:latest",
            "Demo:LATEST",
            "library/demo",
            "registry.ollama.ai/library/demo",
        ] {
            assert!(Name::parse(same).unwrap().is_built_in(), "{same}");
        }
        for other in ["demo:1b", "me/demo", "demo2", "h.io/library/demo", "hf.co/library/demo"] {
            assert!(!Name::parse(other).unwrap().is_built_in(), "{other}");
        }
    }

    #[test]
    fn any_text_is_converted_to_a_name_part() {
        for (text, part) in [("a b", "a-b"), ("..x", "x"), ("", "_"), ("--", "_"), ("Ω1", "1")] {
            assert_eq!(part_from(text), part);
        }
    }

    /// Whether a path only descends.
    fn descends(path: &Path) -> bool {
        path.components().count() == 4
            && path.components().all(|part| matches!(part, Component::Normal(_)))
    }

    proptest! {
        #[test]
        fn valid_names_round_trip(
            host in "[a-zA-Z0-9_][a-zA-Z0-9_.:-]{0,20}",
            namespace in "[a-zA-Z0-9_][a-zA-Z0-9_-]{0,79}",
            model in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,79}",
            tag in "[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,79}",
        ) {
            let name = Name::parse(&format!("{host}/{namespace}/{model}:{tag}")).unwrap();
            prop_assert_eq!(name.host(), &host);
            prop_assert_eq!(name.namespace(), &namespace);
            prop_assert_eq!(name.model(), &model);
            prop_assert_eq!(name.tag(), &tag);
            prop_assert_eq!(&Name::parse(&name.to_string()).unwrap(), &name);
            prop_assert_eq!(&Name::parse(&name.full()).unwrap(), &name);
            prop_assert!(descends(&name.path()));
            let bare = Name::parse(&format!("{namespace}/{model}")).unwrap();
            prop_assert_eq!((bare.host(), bare.tag()), (DEFAULT_HOST, DEFAULT_TAG));
        }

        #[test]
        fn names_never_leave_the_store(text in "[a-c./:\\\\~%@ \0-]{0,24}|.{0,40}") {
            if let Ok(name) = Name::parse(&text) {
                prop_assert!(descends(&name.path()), "{:?}", name.path());
                prop_assert_eq!(&Name::parse(&name.to_string()).unwrap(), &name);
            }
            prop_assert!(Part::Model.problem(&part_from(&text)).is_none());
        }
    }
}
