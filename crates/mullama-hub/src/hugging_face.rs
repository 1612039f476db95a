//! Hugging Face: selects the files of a repository that form a model.

use std::cmp::Reverse;

use serde::Deserialize;

use crate::address::{escape, join, same_origin, shown};
use crate::client::{Client, Request, failed};
use crate::download::Remote;
use crate::{Digest, Error, ErrorKind, HuggingFace, LayerKind, Result};

/// Maximum size in bytes of an API response.
const MAX_ANSWER_SIZE: u64 = 64 << 20;
/// Maximum number of pages in a list of files.
const MAX_PAGES: u32 = 100;
/// Quantisations to prefer if none is requested.
const DEFAULT_QUANTISATIONS: [&str; 2] = ["Q4_K_M", "Q8_0"];
/// Words in paths that mark a file as a companion of a model, not a model.
const COMPANIONS: [&str; 26] = [
    "adapter",
    "adapters",
    "assistant",
    "clip",
    "control",
    "cvec",
    "dflash",
    "dora",
    "draft",
    "drafter",
    "drafts",
    "eagle",
    "eagle2",
    "eagle3",
    "lora",
    "loras",
    "medusa",
    "mtp",
    "nextn",
    "qlora",
    "speculative",
    "speculator",
    "tokenizer",
    "vae",
    "vocab",
    "vocoder",
];
/// Maximum number of files of a model.
pub(crate) const MAX_SHARDS: u32 = 1000;

/// A file of a repository.
#[derive(Debug, Clone, Deserialize)]
struct File {
    #[serde(rename = "type")]
    ty: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Debug, Clone, Deserialize)]
struct Lfs {
    /// The SHA-256 digest.
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct Refs {
    #[serde(default)]
    branches: Vec<Ref>,
    #[serde(default)]
    tags: Vec<Ref>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ref {
    name: String,
    target_commit: String,
}

/// A file to download, and its role in the model.
pub(crate) struct SelectedFile {
    pub kind: LayerKind,
    /// The file name, without folders.
    pub title: String,
    pub remote: Remote,
    /// Identifies this version of the file, if its digest is unknown.
    pub stamp: Option<String>,
}

/// Identifies a version of the file at a URL. It is a digest, since the URL may contain secrets.
pub(crate) fn stamp(url: &str, version: &str) -> String {
    Digest::of(format!("{url} {version}").as_bytes()).hex()
}

/// The files of the requested model.
pub(crate) fn resolve(
    client: &Client,
    endpoint: &str,
    token: Option<&str>,
    source: &HuggingFace,
) -> Result<Vec<SelectedFile>> {
    let repo = source.repo();
    let page = Page { client, token, base: endpoint.trim_end_matches('/'), repo: &repo };
    let commit = page.commit(source.revision())?;
    let files = page.files(&commit)?;
    let mut chosen = choose(&files, source)?;
    // Files with the same path would overwrite each other.
    chosen.dedup_by(|a, b| a.1.path == b.1.path);
    chosen
        .into_iter()
        .map(|(kind, file)| {
            let digest = match &file.lfs {
                Some(lfs) => Some(Digest::from_hex(&lfs.oid).ok_or_else(|| {
                    Error::new(
                        ErrorKind::InvalidModel,
                        format!("{repo}: {:?} is not a SHA-256 digest", lfs.oid),
                    )
                })?),
                None => None,
            };
            let url = format!("{}/{repo}/resolve/{commit}/{}", page.base, escape(&file.path));
            let bearer = token.map(str::to_owned);
            let size = file.lfs.as_ref().map_or(file.size, |lfs| lfs.size);
            let title = base_name(&file.path).to_owned();
            // The URL contains the commit, which identifies the version.
            let stamp = digest.is_none().then(|| stamp(&url, ""));
            let remote = Remote { url, bearer, size, digest, version: None };
            Ok(SelectedFile { kind, title, remote, stamp })
        })
        .collect()
}

struct Page<'a> {
    client: &'a Client,
    token: Option<&'a str>,
    base: &'a str,
    repo: &'a str,
}

impl Page<'_> {
    /// The commit that a branch or tag points to.
    fn commit(&self, revision: &str) -> Result<String> {
        if revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(revision.to_owned());
        }
        let url = format!("{}/api/models/{}/refs", self.base, self.repo);
        let (refs, _): (Refs, _) = self.get(&url)?;
        refs.branches
            .into_iter()
            .chain(refs.tags)
            .find(|known| known.name == revision)
            .map(|found| found.target_commit)
            .filter(|commit| {
                !commit.is_empty() && commit.bytes().all(|b| b.is_ascii_alphanumeric())
            })
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::NotFound,
                    format!("the repository {} has no revision {revision}", self.repo),
                )
                .with_context("repository", self.repo)
            })
    }

    fn files(&self, commit: &str) -> Result<Vec<File>> {
        let mut url =
            format!("{}/api/models/{}/tree/{commit}?recursive=true", self.base, self.repo);
        let mut files = Vec::new();
        for _ in 0..MAX_PAGES {
            let (more, next): (Vec<File>, _) = self.get(&url)?;
            files.extend(more.into_iter().filter(|file| file.ty == "file"));
            match next {
                Some(next) if same_origin(&next, self.base) => url = next,
                Some(next) => {
                    let next = shown(&next);
                    return Err(failed(&url, &format!("its next page is at {next}")));
                }
                None => return Ok(files),
            }
        }
        Err(failed(&url, "the list of files does not end"))
    }

    /// The JSON at a URL, and the URL of the next page.
    fn get<T: serde::de::DeserializeOwned>(&self, url: &str) -> Result<(T, Option<String>)> {
        let (next, bytes) = self
            .client
            .retry(|| {
                let request = Request { url, bearer: self.token, ..Request::default() };
                let result = self.client.send(&request, false).and_then(|response| {
                    let next = response.header("link").and_then(next_page);
                    let next = next.and_then(|next| join(&response.url, next));
                    Ok((next, response.bytes(MAX_ANSWER_SIZE)?))
                });
                (false, result)
            })
            .map_err(|error| self.explain(error))?;
        let value = serde_json::from_slice(&bytes)
            .map_err(|error| failed(url, &error.to_string()).with_source(error))?;
        Ok((value, next))
    }

    /// Explains an error status: a missing repository cannot be distinguished from a private one.
    fn explain(&self, error: Error) -> Error {
        let repo = self.repo;
        let (kind, message, hint) = match (error.get("status"), self.token) {
            (Some("404"), _) => (
                ErrorKind::NotFound,
                format!("Hugging Face has no repository {repo}"),
                "check its name".to_owned(),
            ),
            (Some("401"), None) => (
                ErrorKind::Download,
                format!("the repository {repo} is not there, or needs a token (401)"),
                "check its name, or set HF_TOKEN".to_owned(),
            ),
            (Some("401"), Some(_)) => (
                ErrorKind::Download,
                format!("the repository {repo} is not there, or the token is not valid (401)"),
                "check its name and HF_TOKEN".to_owned(),
            ),
            (Some("403"), _) => (
                ErrorKind::Download,
                format!("the repository {repo} has terms to be accepted (403)"),
                format!(
                    "accept them at {}/{repo}, and set HF_TOKEN",
                    shown(self.base).trim_end_matches('/')
                ),
            ),
            _ => return error.with_context("repository", repo),
        };
        let status = error.get("status").unwrap_or_default().to_owned();
        Error::new(kind, message)
            .with_context("repository", repo)
            .with_context("status", status)
            .with_hint(hint)
            .with_source(error)
    }
}

/// The URL in `<url>; rel="next"`.
fn next_page(link: &str) -> Option<&str> {
    let entry = link.split(',').find(|entry| entry.contains("rel=\"next\""))?;
    entry.split_once('<')?.1.split_once('>').map(|(address, _)| address)
}

/// The shards of the model, and its projector.
fn choose<'a>(files: &'a [File], source: &HuggingFace) -> Result<Vec<(LayerKind, &'a File)>> {
    let ggufs: Vec<&File> = files.iter().filter(|file| is_gguf(&file.path)).collect();
    let paths = models(ggufs.iter().map(|file| file.path.as_str()), source.name().model());
    let missing = |what: String| {
        let error = Error::new(ErrorKind::NotFound, format!("{} has no {what}", source.repo()))
            .with_context("repository", source.repo());
        let quants = quants(&paths);
        if quants.is_empty() {
            error.with_hint("choose a repository that has GGUF files")
        } else {
            error.with_hint(format!("it has {}", quants.join(", ")))
        }
    };
    let first = match (source.file(), source.quant()) {
        (Some(path), _) => named(&ggufs, path).ok_or_else(|| missing(path.to_owned()))?,
        (None, Some(quant)) => matching(&paths, quant)
            .ok_or_else(|| missing(format!("model file with the quantisation {quant}")))?,
        (None, None) => preferred(&paths).ok_or_else(|| missing("GGUF model".to_owned()))?,
    };
    let find = |path: &str| ggufs.iter().copied().find(|file| file.path == path);
    let mut chosen = Vec::new();
    for path in shard_paths(first)?.unwrap_or_else(|| vec![first.to_owned()]) {
        let file = find(&path).ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidModel,
                format!("{} lacks a shard of the model: {path}", source.repo()),
            )
        })?;
        chosen.push((LayerKind::Model, file));
    }
    let projector = ggufs.iter().filter(|file| is_projector(&file.path)).min_by_key(|file| {
        let (here, there) = (folder(first), folder(&file.path));
        let common = here.iter().zip(&there).take_while(|(a, b)| a == b).count();
        // Processors compute faster with F16 than with BF16.
        let is_brain_float =
            quant_in(&file.path).is_some_and(|quant| quant.eq_ignore_ascii_case("BF16"));
        (Reverse(common), there.len(), bits(&file.path).abs_diff(bits(first)), is_brain_float)
    });
    chosen.extend(projector.map(|file| (LayerKind::Projector, *file)));
    Ok(chosen)
}

/// The models among the GGUF files of a repository, most likely ones first. Companions of a model (see [`Role`]) are
/// included only if there are no models.
pub(crate) fn models<'a>(paths: impl Iterator<Item = &'a str>, repo: &str) -> Vec<&'a str> {
    let repo = repo.to_ascii_lowercase();
    let repo = repo.trim_end_matches("gguf").trim_end_matches(['-', '_', '.']);
    let mut models: Vec<(Role, &str)> = paths.map(|path| (Role::of(path), path)).collect();
    let role = if models.iter().any(|(role, _)| *role == Role::Model) {
        Role::Model
    } else {
        Role::Companion
    };
    models.retain(|(found, _)| *found == role);
    // Files in the top folder first, then files named like the repository, then in alphabetical order.
    models.sort_by_key(|(_, path)| {
        let called = base_name(path).to_ascii_lowercase().starts_with(repo);
        (folder(path).len(), !called, *path)
    });
    models.into_iter().map(|(_, path)| path).collect()
}

/// The role of a GGUF file in a repository, judged by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A model.
    Model,
    /// A file used together with a model: a draft model or an adapter. It may itself be a model.
    Companion,
    /// Never a model: a projector or an importance matrix.
    Part,
}

impl Role {
    pub fn of(path: &str) -> Self {
        let path = path.to_ascii_lowercase();
        let words = |text: &'_ str| -> Vec<String> {
            text.split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect()
        };
        let own = words(base_name(&path).trim_end_matches(".gguf"));
        let is_matrix = own.first().is_some_and(|word| word == "imatrix")
            || own.last().is_some_and(|word| word == "imatrix") && quant_in(&path).is_none();
        if is_matrix || is_projector(&path) {
            Self::Part
        } else if words(&path).iter().any(|word| COMPANIONS.contains(&word.as_str())) {
            Self::Companion
        } else {
            Self::Model
        }
    }
}

pub(crate) fn is_projector(path: &str) -> bool {
    path.to_ascii_lowercase().contains("mmproj")
}

pub(crate) fn is_gguf(path: &str) -> bool {
    strip_gguf_extension(path).is_some()
}

/// The path without `.gguf`, in any case.
pub(crate) fn strip_gguf_extension(path: &str) -> Option<&str> {
    let (stem, end) = path.split_at_checked(path.len().checked_sub(5)?)?;
    end.eq_ignore_ascii_case(".gguf").then_some(stem)
}

/// The file with this path. Case is ignored if only one file matches. A name without folders is also searched for in
/// folders.
fn named<'a>(ggufs: &[&'a File], path: &str) -> Option<&'a str> {
    let paths = || ggufs.iter().map(|file| file.path.as_str());
    paths()
        .find(|known| *known == path)
        .or_else(|| only(paths().filter(|known| known.eq_ignore_ascii_case(path))))
        .or_else(|| only(paths().filter(|known| base_name(known).eq_ignore_ascii_case(path))))
}

/// The item, if there is exactly one.
fn only<T>(mut found: impl Iterator<Item = T>) -> Option<T> {
    found.next().filter(|_| found.next().is_none())
}

/// The model to use if none is requested. Files in the top folder, or in folders named after a quantisation, have
/// priority.
fn preferred<'a>(models: &[&'a str]) -> Option<&'a str> {
    let near = |path: &str| folder(path).iter().all(|folder| quant_in(folder).is_some());
    let near: Vec<&str> = models.iter().copied().filter(|path| near(path)).collect();
    let models = if near.is_empty() { models } else { &near };
    let found = DEFAULT_QUANTISATIONS.iter().find_map(|quant| matching(models, quant));
    found.or(models.first().copied())
}

/// The first file with this quantisation in its name: `Q4_K` matches `m-Q4_K.gguf` and `Q4_K-1-of-2`, but not
/// `m-Q4_K_M.gguf`. A folder of that name matches too.
fn matching<'a>(models: &[&'a str], quant: &str) -> Option<&'a str> {
    let quant = quant.to_ascii_lowercase();
    let ends = |path: &str, before: fn(char) -> bool| {
        let path = path.to_ascii_lowercase();
        path.match_indices(&quant).any(|(at, _)| {
            let (head, tail) = (path.get(..at), path.get(at + quant.len()..));
            tail.is_some_and(|tail| tail.starts_with(['.', '-', '/']))
                && head.is_some_and(|head| head.chars().next_back().is_none_or(before))
        })
    };
    // `IQ4_K.` matches `Q4_K` only if nothing else does.
    let find = |before: fn(char) -> bool| models.iter().copied().find(|path| ends(path, before));
    find(|c| !c.is_ascii_alphanumeric()).or_else(|| find(|_| true))
}

/// The quantisations in the files' names.
fn quants(models: &[&str]) -> Vec<String> {
    let mut quants: Vec<String> = models.iter().filter_map(|path| quant_in(path)).collect();
    quants.sort();
    quants.dedup();
    quants
}

/// The quantisation in a file's name: `Q4_K_M`, `IQ2_XXS`, `BF16`, ...
pub(crate) fn quant_in(path: &str) -> Option<String> {
    let stem = match shard(path) {
        Some((stem, _, _)) => base_name(stem),
        None => base_name(strip_gguf_extension(path).unwrap_or(path)),
    };
    let is_quant = |word: &&str| {
        let word = word.to_ascii_uppercase();
        let digits = word.trim_start_matches("MXFP").trim_start_matches("IQ");
        let digits = digits.trim_start_matches("TQ").trim_start_matches('Q');
        matches!(word.as_str(), "F16" | "BF16" | "F32" | "FP16" | "FP32")
            || digits.len() < word.len() && digits.starts_with(|c: char| c.is_ascii_digit())
    };
    stem.rsplit(['-', '.']).find(is_quant).map(str::to_owned)
}

/// Bits per weight, from the file's name; 16 if unknown.
fn bits(path: &str) -> u32 {
    let Some(quant) = quant_in(path) else { return 16 };
    let digits: String = quant
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(16)
}

/// Parses a shard's name: `a/b-00001-of-00003.gguf` is shard 1 of 3 of `a/b`.
pub(crate) fn shard(path: &str) -> Option<(&str, u32, u32)> {
    let stem = strip_gguf_extension(path)?;
    let number = |text: &str| {
        (text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, index) = rest.rsplit_once('-')?;
    let (index, count) = (number(index)?, number(count)?);
    (1..=count).contains(&index).then_some((stem, index, count))
}

/// The paths of all shards of a split model, from the path of one of them. `None` if it is not split.
pub(crate) fn shard_paths(path: &str) -> Result<Option<Vec<String>>> {
    let Some((stem, _, count)) = shard(path) else { return Ok(None) };
    if count > MAX_SHARDS {
        return Err(Error::new(
            ErrorKind::InvalidModel,
            format!("{:?} would be one of {count} files", base_name(path)),
        )
        .with_context("count", count)
        .with_hint(format!("a model has {MAX_SHARDS} files at most")));
    }
    // Same case of the extension as in `path`.
    let end = path.get(path.len() - 5..).unwrap_or(".gguf");
    Ok(Some((1..=count).map(|i| format!("{stem}-{i:05}-of-{count:05}{end}")).collect()))
}

pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn folder(path: &str) -> Vec<&str> {
    let mut pieces: Vec<&str> = path.split('/').collect();
    pieces.pop();
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn chosen(files: &[&str], source: &str) -> Result<Vec<String>> {
        let files: Vec<File> = files
            .iter()
            .map(|path| File { ty: "file".into(), path: (*path).into(), size: 1, lfs: None })
            .collect();
        let Source::HuggingFace(source) = Source::parse(source)? else { panic!("{source}") };
        Ok(choose(&files, &source)?.into_iter().map(|(_, file)| file.path.clone()).collect())
    }

    #[test]
    fn the_quantisation_chooses_the_file() {
        let files = [
            "README.md",
            "m-Q8_0.gguf",
            "m-IQ4_XS.gguf",
            "m-Q4_K_M.gguf",
            "m-Q4_K_S.gguf",
            "imatrix-Q4_K_M.gguf",
            "mtp-Q2_K.gguf",
            "M-BF16.GGUF",
            "old/m-q5_0.gguf",
        ];
        for (source, file) in [
            ("hf:u/r", "m-Q4_K_M.gguf"),
            ("hf:u/r:latest", "m-Q4_K_M.gguf"),
            ("hf:u/r:q8_0", "m-Q8_0.gguf"),
            ("hf:u/r:Q4_K_S", "m-Q4_K_S.gguf"),
            ("hf:u/r:bf16", "M-BF16.GGUF"),
            ("hf:u/r:Q5_0", "old/m-q5_0.gguf"),
            ("hf:u/r:Q4_XS", "m-IQ4_XS.gguf"),
            ("hf.co/u/r/blob/main/m-Q4_K_S.gguf", "m-Q4_K_S.gguf"),
        ] {
            assert_eq!(chosen(&files, source).unwrap(), [file], "{source}");
        }
        let error = chosen(&files, "hf:u/r:Q4_K").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.hint(), Some("it has BF16, IQ4_XS, Q4_K_M, Q4_K_S, Q8_0, q5_0"));
        assert_eq!(chosen(&["m-Q8_0.gguf", "m-F16.gguf"], "hf:u/r").unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(chosen(&["b.gguf", "a.gguf"], "hf:u/r").unwrap(), ["a.gguf"]);
        let error = chosen(&["model.safetensors"], "hf:u/r").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn companion_files_are_not_chosen_as_the_model() {
        for companion in [
            "draft-m-Q4_K_M.gguf",
            "DRAFT-m-Q4_K_M.gguf",
            "m-draft-Q4_K_M.gguf",
            "m.Q4_K_M.draft.gguf",
            "a_drafter_Q4_K_M.gguf",
            "MTP/m-Q4_K_M.gguf",
            "mtp-m-Q4_K_M.gguf",
            "m-MTP-Q4_K_M.gguf",
            "eagle3-Q4_K_M.gguf",
            "m-assistant-Q4_K_M.gguf",
            "m-dflash-Q4_K_M.gguf",
            "clip-m-Q4_K_M.gguf",
            "lora-Q4_K_M.gguf",
            "a-lora.Q4_K_M.gguf",
            "adapters/a-Q4_K_M.gguf",
            "imatrix-m-Q4_K_M.gguf",
            "a.imatrix.gguf",
            "mmproj-Q4_K_M.gguf",
            "a-mmproj-Q4_K_M.gguf",
            "old/m-Q4_K_M.gguf",
            "a-Q4_K_M.gguf",
        ] {
            // Next to the same quantisation, and next to another.
            for model in ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-Q5_K_M-00001-of-00001.gguf"] {
                if companion.starts_with("a-Q4") && model != "m-Q4_K_M.gguf" {
                    continue;
                }
                let chosen = chosen(&[companion, model], "hf.co/u/m-GGUF").unwrap();
                assert_eq!(chosen[0], model, "beside {companion}");
            }
        }
        // Companions can be requested by their name, not by the quantisation alone.
        let files = ["m-Q8_0.gguf", "draft-m-Q4_K_M.gguf", "mmproj-F16.gguf"];
        assert_eq!(chosen(&files, "hf:u/m:Q4_K_M").unwrap_err().hint(), Some("it has Q8_0"));
        assert_eq!(chosen(&files, "hf:u/m:draft-m-Q4_K_M.gguf").unwrap()[0], files[1]);
        // A repository that contains nothing else; files that are never a model.
        assert_eq!(chosen(&["m-draft-Q4_K_M.gguf"], "hf:u/m").unwrap(), ["m-draft-Q4_K_M.gguf"]);
        for part in ["mmproj-F16.gguf", "imatrix.gguf", "m.imatrix.gguf", "m-mmproj.gguf"] {
            assert_eq!(chosen(&[part], "hf:u/m").unwrap_err().kind(), ErrorKind::NotFound);
        }
        // A model quantised with an importance matrix is a model.
        let files = ["m-imatrix-Q4_K_M.gguf", "m-imatrix-Q8_0.gguf"];
        assert_eq!(chosen(&files, "hf:u/m:q8_0").unwrap(), [files[1]]);
    }

    #[test]
    fn files_are_selected_by_name() {
        let files = [
            "m-Q4_K_M.gguf",
            "sub/m-Q8_0.gguf",
            "Sub/Other-F16.GGUF",
            "big/m-BF16-00001-of-00002.gguf",
            "big/m-BF16-00002-of-00002.gguf",
            "Q2_K/m-00001-of-00001.gguf",
        ];
        for (tag, first) in [
            ("m-Q4_K_M.gguf", files[0]),
            ("M-q4_k_m.GGUF", files[0]),
            ("m-Q4_K_M", files[0]),
            ("sub/m-Q8_0.gguf", files[1]),
            ("m-Q8_0.gguf", files[1]),
            ("sub/other-f16.gguf", files[2]),
            ("big/m-BF16-00001-of-00002.gguf", files[3]),
            ("m-BF16-00001-of-00002.gguf", files[3]),
            ("m-BF16-00002-of-00002.gguf", files[3]),
            ("q2_k", files[5]),
        ] {
            let found = chosen(&files, &format!("hf.co/u/r:{tag}")).expect(tag);
            assert_eq!(found[0], first, "{tag}");
            assert_eq!(found.len(), if first.contains("BF16") { 2 } else { 1 }, "{tag}");
        }
        let error = chosen(&files, "hf.co/u/r:sub/m-Q4_K_M.gguf").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("sub/m-Q4_K_M.gguf"), "{error}");
    }

    #[test]
    fn number_of_shards_is_limited() {
        let error = chosen(&["shard-00001-of-99999.gguf"], "hf:u/r").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        assert!(error.to_string().contains("99999 files"), "{error}");
        assert_eq!(shard_paths("a-00001-of-01000.gguf").unwrap().unwrap().len(), 1000);
        assert_eq!(
            shard_paths("a-00002-of-00002.GGUF").unwrap().unwrap(),
            ["a-00001-of-00002.GGUF", "a-00002-of-00002.GGUF"]
        );
        assert_eq!(shard_paths("a.gguf").unwrap(), None);
    }

    #[test]
    fn all_shards_of_a_model_are_chosen() {
        let mut files = vec![
            "Q4_K_M/m-Q4_K_M-00003-of-00003.gguf",
            "Q4_K_M/m-Q4_K_M-00001-of-00003.gguf",
            "Q4_K_M/m-Q4_K_M-00002-of-00003.gguf",
            "Q8_0/m-Q8_0-00001-of-00002.gguf",
        ];
        assert_eq!(
            chosen(&files, "hf:u/r").unwrap(),
            [1, 2, 3].map(|i| format!("Q4_K_M/m-Q4_K_M-0000{i}-of-00003.gguf"))
        );
        assert_eq!(chosen(&files, "hf:u/r:Q8_0").unwrap_err().kind(), ErrorKind::InvalidModel);
        files.push("Q8_0/m-Q8_0-00002-of-00002.gguf");
        assert_eq!(chosen(&files, "hf:u/r:Q8_0").unwrap().len(), 2);
    }

    #[test]
    fn nearest_projector_is_chosen() {
        let files = [
            "mmproj-F16.gguf",
            "mmproj-Q8_0.gguf",
            "a/mmproj-F32.gguf",
            "a/m-Q4_0.gguf",
            "b/m-Q8_0.gguf",
            "b/m-F16.gguf",
        ];
        for (source, projector) in [
            ("hf:u/r:Q4_0", "a/mmproj-F32.gguf"),
            ("hf:u/r:Q8_0", "mmproj-Q8_0.gguf"),
            ("hf:u/r:F16", "mmproj-F16.gguf"),
        ] {
            assert_eq!(chosen(&files, source).unwrap()[1], projector, "{source}");
        }
    }

    #[test]
    fn shard_quantisation_and_page_names_are_parsed() {
        assert_eq!(shard("a/b-00002-of-00003.gguf"), Some(("a/b", 2, 3)));
        for none in ["a.gguf", "a-00004-of-00003.gguf", "a-1-of-2.gguf", "a-00000-of-00001.gguf"] {
            assert_eq!(shard(none), None);
        }
        assert_eq!(bits("m-IQ2_XXS.gguf"), 2);
        assert_eq!(bits("mmproj.gguf"), 16);
        assert_eq!(quant_in("Qwen3-4B.gguf"), None);
        assert_eq!(next_page("<https://x/y?c=1>; rel=\"next\""), Some("https://x/y?c=1"));
    }
}
