//! Parses the ways in which users specify a model.

use std::fmt;
use std::path::PathBuf;

use crate::address;
use crate::hugging_face::{base_name, is_gguf, strip_gguf_extension};
use crate::name::{DEFAULT_TAG, HUGGING_FACE_HOST, part_from};
use crate::{Digest, Error, ErrorKind, Name, Result};

/// File name extensions by which a URL is recognised as that of a file.
const FILE_ENDINGS: [&str; 3] = [".gguf", ".bin", ".safetensors"];

/// The source of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// A name in the store, or in a registry that speaks Ollama's protocol.
    Name(Name),
    /// A repository of Hugging Face.
    HuggingFace(HuggingFace),
    /// A file at a URL.
    Url(String),
}

/// A model in a repository of Hugging Face.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HuggingFace {
    name: Name,
    quant: Option<String>,
    revision: Option<String>,
    file: Option<String>,
}

impl Source {
    /// Parses text, judging by its form alone:
    ///
    /// - a path, if it starts with `/`, `./`, `../`, `~/` or a drive, or ends in `.gguf`;
    /// - a repository of Hugging Face, if it starts with `hf.co/`, `huggingface.co/` or `hf:`, or is the URL of a
    ///   repository or of a file in one; `:` may be followed by a quantisation, or the path of a file;
    /// - a name in a registry, if it starts with `http://` or `https://` and the rest is a name with host, namespace
    ///   and model: `http://127.0.0.1:5000/library/m:1b`. The URL of a file differs in its extension, the number of
    ///   folders, or by a query;
    /// - any other URL that starts with `http://` or `https://`;
    /// - else a name.
    ///
    /// ```
    /// use mullama_hub::Source;
    ///
    /// assert!(matches!(Source::parse("llama3.2:1b")?, Source::Name(_)));
    /// assert!(matches!(Source::parse("hf.co/user/repo:Q4_K_M")?, Source::HuggingFace(_)));
    /// assert!(matches!(Source::parse("./model.gguf")?, Source::Path(_)));
    /// # Ok::<(), mullama_hub::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return match scheme.to_ascii_lowercase().as_str() {
                "http" | "https" => Self::of_address(text, rest),
                "hf" => HuggingFace::parse(rest).map(Self::HuggingFace),
                _ => Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("{:?}: cannot download by {scheme}", address::shown(text)),
                )
                .with_hint("use an address that begins with https://")),
            };
        }
        if let Some(rest) = strip_hugging_face_prefix(text) {
            return HuggingFace::parse(rest).map(Self::HuggingFace);
        }
        if is_path(text) {
            return Ok(Self::Path(PathBuf::from(text)));
        }
        Name::parse(text).map(Self::Name)
    }

    fn of_address(text: &str, rest: &str) -> Result<Self> {
        if let Some(rest) = strip_hugging_face_prefix(rest) {
            return HuggingFace::parse(rest).map(Self::HuggingFace);
        }
        // The URL of a model's page, copied from a browser.
        for site in ["ollama.com/", "registry.ollama.ai/"] {
            if let Some(name) = strip_prefix_ignoring_case(rest, site) {
                let name = name.split(['?', '#']).next().unwrap_or_default();
                let name = name.strip_suffix('/').unwrap_or(name);
                return Name::parse(name).map(Self::Name);
            }
        }
        let named = rest.strip_suffix('/').unwrap_or(rest);
        let is_file = FILE_ENDINGS.iter().any(|end| named.to_ascii_lowercase().ends_with(end));
        if !is_file
            && named.matches('/').count() == 2
            && let Ok(name) = Name::parse(named)
        {
            return Ok(Self::Name(name));
        }
        // The URL parser would ignore extra slashes and white space.
        let careless = rest.starts_with('/') || text.contains(char::is_whitespace);
        if careless || address::parse(text).is_none() {
            let shown = address::shown(text);
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{shown:?} is not an address"),
            ));
        }
        Ok(Self::Url(text.to_owned()))
    }

    /// The name in the store; `None` for a path.
    pub fn name(&self) -> Option<Name> {
        match self {
            Self::Path(_) => None,
            Self::Name(name) => Some(name.clone()),
            Self::HuggingFace(source) => Some(source.name.clone()),
            Self::Url(url) => Some(name_of_url(url)),
        }
    }
}

impl fmt::Display for Source {
    /// Omits secrets from a URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::HuggingFace(source) => source.name.fmt(f),
            Self::Url(url) => address::shown(url).fmt(f),
        }
    }
}

impl From<Name> for Source {
    fn from(name: Name) -> Self {
        if name.host().eq_ignore_ascii_case(HUGGING_FACE_HOST) {
            let tag = Some(name.tag()).filter(|tag| *tag != DEFAULT_TAG).map(str::to_owned);
            let (file, quant) = if is_gguf(name.tag()) { (tag, None) } else { (None, tag) };
            return Self::HuggingFace(HuggingFace { name, quant, revision: None, file });
        }
        Self::Name(name)
    }
}

impl HuggingFace {
    /// Parses `user/repo[:quant]` or `user/repo:path/of/model.gguf`, with `@revision` before the colon if it is not
    /// `main`, or the rest of a file's URL: `user/repo/resolve/main/model.gguf`.
    fn parse(text: &str) -> Result<Self> {
        let text = text.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        if let Some((repo, file)) = text.split_once(':')
            && let Some((user, repo)) = repo.split_once('/')
            && !repo.contains('/')
            && is_gguf(file)
        {
            let (repo, revision) = match repo.split_once('@') {
                Some((repo, revision)) => (repo, Some(revision)),
                None => (repo, None),
            };
            return Self::of_file(user, repo, revision, file);
        }
        let pieces: Vec<&str> = text.split('/').collect();
        if let [user, repo, "blob" | "resolve" | "raw", revision, file @ ..] = pieces.as_slice() {
            return Self::of_file(user, repo, Some(revision), &file.join("/"));
        }
        // The URL of a repository's page may end with a branch.
        let (text, shown) = match pieces.as_slice() {
            [user, repo, "tree", revision] => (format!("{user}/{repo}"), Some(*revision)),
            [_, _] => (text.to_owned(), None),
            _ => {
                return Err(Error::new(
                    ErrorKind::UnknownModel,
                    format!("{text:?} is not a repository of Hugging Face"),
                )
                .with_hint("a repository is written hf.co/user/repo[:quantisation]"));
            }
        };
        let (repo, quant) = match text.split_once(':') {
            Some((repo, quant)) => (repo, Some(quant)),
            None => (text.as_str(), None),
        };
        let (repo, revision) = match repo.split_once('@') {
            Some((repo, revision)) => (repo, Some(revision)),
            None => (repo, shown),
        };
        let tag = quant.map_or(String::new(), |quant| format!(":{quant}"));
        let name = Name::parse(&format!("{HUGGING_FACE_HOST}/{repo}{tag}"))?;
        let quant = quant.filter(|quant| *quant != DEFAULT_TAG);
        revision.map_or(Ok(()), check_revision)?;
        Ok(Self {
            name,
            quant: quant.map(str::to_owned),
            revision: revision.map(str::to_owned),
            file: None,
        })
    }

    /// A file of a repository, by its path in it.
    fn of_file(user: &str, repo: &str, revision: Option<&str>, file: &str) -> Result<Self> {
        let is_path = !file.split('/').any(|piece| matches!(piece, "" | "." | ".."));
        let Some(stem) =
            strip_gguf_extension(base_name(file)).filter(|stem| is_path && !stem.is_empty())
        else {
            return Err(Error::new(
                ErrorKind::UnknownModel,
                format!("{file:?} in {user}/{repo} is not a model file"),
            )
            .with_hint("the path of a file in a repository must end in .gguf"));
        };
        revision.map_or(Ok(()), check_revision)?;
        Ok(Self {
            name: Name::new(HUGGING_FACE_HOST, user, repo, &part_from(stem))?,
            quant: None,
            revision: revision.map(str::to_owned),
            file: Some(file.to_owned()),
        })
    }

    /// The name in the store, for example `hf.co/user/repo:quant`.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The repository: `user/repo`.
    pub fn repo(&self) -> String {
        format!("{}/{}", self.name.namespace(), self.name.model())
    }

    /// The requested quantisation, for example `Q4_K_M`.
    pub fn quant(&self) -> Option<&str> {
        self.quant.as_deref()
    }

    /// The requested branch, tag or commit; else `main`.
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// The requested file.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }
}

/// Checks that a branch, tag or commit is valid: it has the same syntax as a part of a name.
fn check_revision(revision: &str) -> Result<()> {
    Name::new(HUGGING_FACE_HOST, "_", revision, "_").map(|_| ()).map_err(|error| {
        Error::new(ErrorKind::UnknownModel, format!("{revision:?} is not a revision"))
            .with_source(error)
    })
}

/// The text after Hugging Face's host.
fn strip_hugging_face_prefix(text: &str) -> Option<&str> {
    ["hf.co/", "huggingface.co/", "www.huggingface.co/", "hf:"]
        .iter()
        .find_map(|site| strip_prefix_ignoring_case(text, site))
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

fn is_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let drive = matches!(bytes, [b'a'..=b'z' | b'A'..=b'Z', b':', b'\\' | b'/', ..]);
    drive
        || is_gguf(text)
        || matches!(text, "." | ".." | "~")
        || ["/", "./", "../", "~/", "\\", ".\\", "..\\"].iter().any(|head| text.starts_with(head))
}

/// Derives a name from a URL: `host/url/file:`, and 12 digits of the URL's digest.
fn name_of_url(url: &str) -> Name {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = host.rsplit_once(':').unwrap_or((host, ""));
    let host = match port.parse::<u16>() {
        Ok(port) => format!("{}:{port}", part_from(host)),
        Err(_) => part_from(host),
    };
    let file = path.rsplit('/').next().unwrap_or_default();
    let stem = strip_gguf_extension(file).unwrap_or(file);
    let tag = Digest::of(url.as_bytes()).short();
    Name::of_file(&host, "url", stem, &tag)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn source_kind_is_detected_from_its_form() {
        for path in ["/m", "./m", "../m.bin", "~/m", "m.gguf", "a/b.GGUF", "C:\\m", "d:/m", ".\\m"]
        {
            assert_eq!(Source::parse(path).unwrap(), Source::Path(path.into()));
        }
        for name in ["m", "m:1b", "u/m", "h.io/u/m:t", "127.0.0.1:80/u/m"] {
            assert!(matches!(Source::parse(name), Ok(Source::Name(_))), "{name}");
        }
        assert_eq!(
            Source::parse("https://ollama.com/library/m:t").unwrap(),
            Source::Name("m:t".parse().unwrap())
        );
        let url = "https://host.io:81/a/model-q4.gguf?download=true";
        let source = Source::parse(url).unwrap();
        assert_eq!(source, Source::Url(url.to_owned()));
        assert!(source.name().unwrap().full().starts_with("host.io:81/url/model-q4:"));
        for (text, name) in [
            ("http://127.0.0.1:81/library/m", "127.0.0.1:81/library/m:latest"),
            ("https://h.io/u/m3.2:1b", "h.io/u/m3.2:1b"),
            ("HTTP://localhost/u/m", "localhost/u/m:latest"),
            ("http://h:81/library/m:1b/", "h:81/library/m:1b"),
            ("https://ollama.com/library/m?x=secret", "m:latest"),
        ] {
            assert_eq!(Source::parse(text).unwrap(), Source::Name(name.parse().unwrap()));
        }
        for file in [
            "http://h:81/files/m.gguf",
            "http://h:81/files/M.GGUF",
            "http://h:81/files/m.bin",
            "http://h:81/m",
            "http://h:81/a/b/m",
            "http://h:81/library/m?x",
            "http://u:p@h/library/m",
        ] {
            assert_eq!(Source::parse(file).unwrap(), Source::Url(file.to_owned()));
        }
        for bad in ["ftp://h/m.gguf", "https://", "https:///m", "http://a b", "", "a b"] {
            assert!(Source::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn repositories_of_hugging_face_are_read_in_every_form() {
        for (text, name, quant, revision, file) in [
            ("hf.co/u/r", "hf.co/u/r:latest", None, "main", None),
            ("hf:u/r:Q8_0", "hf.co/u/r:Q8_0", Some("Q8_0"), "main", None),
            ("hf.co/u/r:latest", "hf.co/u/r:latest", None, "main", None),
            ("HF.co/u/r@v1:q4", "hf.co/u/r:q4", Some("q4"), "v1", None),
            ("https://huggingface.co/u/r", "hf.co/u/r:latest", None, "main", None),
            ("https://huggingface.co/u/r/tree/dev", "hf.co/u/r:latest", None, "dev", None),
            (
                "https://huggingface.co/u/r/resolve/main/sub/m-Q2_K.gguf?download=true",
                "hf.co/u/r:m-Q2_K",
                None,
                "main",
                Some("sub/m-Q2_K.gguf"),
            ),
            ("hf.co/u/r/blob/abc/m.gguf", "hf.co/u/r:m", None, "abc", Some("m.gguf")),
            ("hf.co/u/r:m-Q2_K.gguf", "hf.co/u/r:m-Q2_K", None, "main", Some("m-Q2_K.gguf")),
            ("hf:u/r@v1:s/t/M.GGUF", "hf.co/u/r:M", None, "v1", Some("s/t/M.GGUF")),
            (
                "https://huggingface.co/u/r:s/m-00001-of-00002.gguf",
                "hf.co/u/r:m-00001-of-00002",
                None,
                "main",
                Some("s/m-00001-of-00002.gguf"),
            ),
        ] {
            let Source::HuggingFace(source) = Source::parse(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(source.name().full(), name);
            assert_eq!(source.quant(), quant);
            assert_eq!(source.revision(), revision);
            assert_eq!(source.file(), file);
        }
        for bad in [
            "hf.co/u",
            "hf.co/u/../r",
            "hf:u/r/x",
            "hf.co/u/r/blob/m/../../x.gguf",
            "hf:u/r@..",
            "hf:u/r:../m.gguf",
            "hf:u/r:s/../m.gguf",
            "hf:u/r:/m.gguf",
            "hf:u/r:.gguf/",
            "hf:u/r/s:m.gguf",
            "hf:",
        ] {
            let error = Source::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::UnknownModel);
        }
    }

    proptest! {
        #[test]
        fn any_source_parses_or_fails(text in "(hf:|hf.co/|https?://)?.{0,30}") {
            if let Some(name) = Source::parse(&text).ok().and_then(|source| source.name()) {
                prop_assert_eq!(Name::parse(&name.full()).unwrap(), name);
            }
        }
    }
}
