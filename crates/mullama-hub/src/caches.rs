//! Models that other programs have downloaded. These caches are read-only.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use mullama_base::{folders, read_file};
use mullama_gguf::GgufHeader;

use crate::hugging_face::{Role, is_gguf, is_projector, models, quant_in, shard_paths};
use crate::manifest::Config;
use crate::modelfile::Parameters;
use crate::name::{DEFAULT_TAG, part_from};
use crate::{Digest, Entry, HUGGING_FACE_HOST, Name, Origin, Result, Store, StoredModel};

/// Folders nested deeper than this are not searched.
const MAX_DEPTH: u32 = 8;
/// Maximum size in bytes of metadata files that other programs store next to a model.
const MAX_NOTE_SIZE: u64 = 1 << 20;
/// The host in names derived from the names of files in llama.cpp's cache.
const LLAMA_CPP_HOST: &str = "llama.cpp";

/// The folders where other programs store models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caches {
    /// Ollama's stores.
    pub ollama: Vec<PathBuf>,
    /// Folders that contain `models--<user>--<repo>`.
    pub hugging_face: Vec<PathBuf>,
    /// llama.cpp's caches, in either layout.
    pub llama_cpp: Vec<PathBuf>,
}

/// A model without a manifest.
struct CachedModel {
    name: Name,
    origin: Origin,
    /// The file to load: the model file, or its first shard.
    first: PathBuf,
    shards: Vec<PathBuf>,
    projector: Option<PathBuf>,
}

impl Caches {
    /// No caches.
    pub fn none() -> Self {
        Self::default()
    }

    /// The caches of the current user:
    ///
    /// - Ollama: `OLLAMA_MODELS`, else `~/.ollama/models` and, on Linux, the service's folder;
    /// - Hugging Face: the first of `HF_HUB_CACHE`, `HUGGINGFACE_HUB_CACHE`, `$HF_HOME/hub`,
    ///   `$XDG_CACHE_HOME/huggingface/hub` and `~/.cache/huggingface/hub`;
    /// - llama.cpp: `LLAMA_CACHE`, else `llama.cpp` in the platform's cache folder.
    pub fn from_env() -> Self {
        let get = |name: &str| {
            std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let home = folders::home_dir();
        let at_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let ollama = match get("OLLAMA_MODELS") {
            Some(root) => vec![root],
            None => at_home(".ollama/models")
                .into_iter()
                .chain(cfg!(target_os = "linux").then(|| "/usr/share/ollama/.ollama/models".into()))
                .collect(),
        };
        let hugging_face = get("HF_HUB_CACHE")
            .or_else(|| get("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| Some(get("HF_HOME")?.join("hub")))
            .or_else(|| Some(get("XDG_CACHE_HOME")?.join("huggingface/hub")))
            .or_else(|| at_home(".cache/huggingface/hub"));
        let llama_cpp =
            get("LLAMA_CACHE").or_else(|| Some(folders::user_cache_dir()?.join("llama.cpp")));
        Self {
            ollama,
            hugging_face: hugging_face.into_iter().collect(),
            llama_cpp: llama_cpp.into_iter().collect(),
        }
    }

    /// Removes this folder, which is the store itself.
    pub(crate) fn without_store(mut self, root: &Path) -> Self {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.ollama.retain(|path| real(path) != real(root));
        self
    }

    /// All models; each name once per cache. What cannot be read is logged and skipped.
    pub(crate) fn list(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        for root in &self.ollama {
            match Store::at(root).own_models(Origin::Ollama) {
                Ok(found) => entries.extend(found),
                Err(error) => log::warn!("Ollama's store is not listed: {error}"),
            }
        }
        entries.extend(self.scan().iter().map(CachedModel::entry));
        entries
    }

    pub(crate) fn find(&self, name: &Name) -> Result<Option<StoredModel>> {
        for root in &self.ollama {
            if let Some(model) = Store::at(root).find_own(name, Origin::Ollama)? {
                return Ok(Some(model));
            }
        }
        let mut near: Vec<CachedModel> = self
            .scan()
            .into_iter()
            .filter(|found| {
                // A name without a tag matches any quantisation.
                found.name.matches(name)
                    || name.tag() == DEFAULT_TAG
                        && found.name.host() == HUGGING_FACE_HOST
                        && found.name.with_tag(DEFAULT_TAG).is_some_and(|known| known.matches(name))
            })
            .collect();
        near.sort_by_key(|found| {
            let preferred = ["Q4_K_M", "Q8_0"];
            let tag = found.name.tag().to_ascii_uppercase();
            (!found.name.matches(name), preferred.iter().position(|p| *p == tag).unwrap_or(9))
        });
        near.into_iter().next().map(|found| found.load(name)).transpose()
    }

    fn scan(&self) -> Vec<CachedModel> {
        let mut found = Vec::new();
        for root in &self.hugging_face {
            scan_hub(root, Origin::HuggingFace, &mut found);
        }
        for root in &self.llama_cpp {
            scan_hub(root, Origin::LlamaCpp, &mut found);
            scan_flat(root, &mut found);
        }
        found
    }
}

impl CachedModel {
    fn entry(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            id: self.id(),
            size: self.files().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum(),
            modified: self.modified(),
            origin: self.origin,
        }
    }

    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.shards.iter().chain(&self.projector)
    }

    fn id(&self) -> String {
        Digest::of(self.first.to_string_lossy().as_bytes()).short()
    }

    fn modified(&self) -> SystemTime {
        let time = self.first.metadata().and_then(|data| data.modified());
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    fn load(self, name: &Name) -> Result<StoredModel> {
        let header = GgufHeader::read_metadata(&self.first)?;
        let entry = self.entry();
        let quant = quant_in(&self.first.to_string_lossy());
        Ok(StoredModel {
            name: name.clone(),
            id: entry.id,
            origin: entry.origin,
            size: entry.size,
            modified: entry.modified,
            path: self.first,
            shards: self.shards,
            projector: self.projector,
            adapters: Vec::new(),
            draft: None,
            template: None,
            system: None,
            parameters: Parameters::default(),
            messages: Vec::new(),
            licenses: Vec::new(),
            config: Config::of(&header, quant),
            manifest: None,
        })
    }
}

/// The models in a cache with Hugging Face's layout. `main`'s snapshot has priority, then the newest one.
fn scan_hub(root: &Path, origin: Origin, found: &mut Vec<CachedModel>) {
    for (folder, path) in children(root) {
        let Some((user, repo)) =
            folder.strip_prefix("models--").and_then(|rest| rest.split_once("--"))
        else {
            continue;
        };
        let main = read_file(&path.join("refs/main"), MAX_NOTE_SIZE).unwrap_or_default();
        let main = String::from_utf8_lossy(&main);
        let mut snapshots = children(&path.join("snapshots"));
        snapshots.sort_by_key(|(commit, path)| {
            let time = path.metadata().and_then(|data| data.modified()).ok();
            (*commit == main.trim(), time)
        });
        let mut names: HashMap<Name, CachedModel> = HashMap::new();
        // Newest first: older snapshots only add names that newer ones lack.
        for (_, snapshot) in snapshots.into_iter().rev() {
            let mut files = Vec::new();
            list_gguf_files(&snapshot, "", 0, &mut files);
            let projector = files.iter().find(|file| is_projector(file)).map(|f| snapshot.join(f));
            for file in models(files.iter().map(String::as_str), repo) {
                let path = snapshot.join(file);
                let Some(shards) = shards(&path) else { continue };
                let tag = quant_in(file).unwrap_or_else(|| part_from(&stem(&path)));
                if let Ok(name) = Name::new(HUGGING_FACE_HOST, user, repo, &part_from(&tag)) {
                    let projector = projector.clone();
                    let found =
                        CachedModel { name: name.clone(), origin, first: path, shards, projector };
                    names.entry(name).or_insert(found);
                }
            }
        }
        found.extend(names.into_values());
    }
}

/// The models in a folder of files `<user>_<repo>_<file>.gguf`. A JSON file next to each has its URL.
fn scan_flat(root: &Path, found: &mut Vec<CachedModel>) {
    let mut files: Vec<_> = children(root)
        .into_iter()
        .map(|(name, path)| (Role::of(&name), name, path))
        .filter(|(role, name, path)| is_gguf(name) && *role != Role::Part && path.is_file())
        .collect();
    // Models first: if a model and a companion file have the same name, the model wins.
    files.sort_by_key(|(role, _, _)| *role != Role::Model);
    for (_, _, path) in &files {
        let Some(shards) = shards(path) else { continue };
        let name = address(path).and_then(|(user, repo)| {
            let tag = quant_in(&path.to_string_lossy()).unwrap_or_else(|| DEFAULT_TAG.to_owned());
            Name::new(HUGGING_FACE_HOST, &user, &repo, &part_from(&tag)).ok()
        });
        let other = || Name::of_file(LLAMA_CPP_HOST, "cache", &stem(path), DEFAULT_TAG);
        let name = name.unwrap_or_else(other);
        if found.iter().any(|known| known.origin == Origin::LlamaCpp && known.name == name) {
            continue;
        }
        let (origin, first) = (Origin::LlamaCpp, path.clone());
        found.push(CachedModel { name, origin, first, shards, projector: None });
    }
}

/// User and repository of a file, from the JSON file next to it or from its name.
fn address(path: &Path) -> Option<(String, String)> {
    let json = read_file(&path.with_extension("gguf.json"), MAX_NOTE_SIZE).ok();
    let json: Option<serde_json::Value> = json.and_then(|json| serde_json::from_slice(&json).ok());
    if let Some(url) = json.as_ref().and_then(|json| json.get("url")?.as_str()) {
        let mut pieces = url.split_once("://")?.1.split('/').skip(1).map(str::to_owned);
        return Some((pieces.next()?, pieces.next()?));
    }
    // Most repositories of GGUF files end in `gguf`; nothing else marks the end of the repository's name.
    let stem = stem(path);
    let (user, rest) = stem.split_once('_')?;
    let end = rest.to_ascii_lowercase().find("gguf_")? + 4;
    Some((user.to_owned(), rest[..end].to_owned()))
}

/// All shards of the model that starts with this file; the file itself if the model is not split. `None` for shards
/// other than the first, and if a shard is missing.
fn shards(path: &Path) -> Option<Vec<PathBuf>> {
    let name = path.file_name()?.to_str()?;
    let Some(names) = shard_paths(name).ok()? else { return Some(vec![path.to_owned()]) };
    let is_first = names.first().is_some_and(|first| first == name);
    let shards: Vec<PathBuf> = names.iter().map(|name| path.with_file_name(name)).collect();
    (is_first && shards.iter().all(|path| path.is_file())).then_some(shards)
}

/// Collects the GGUF files below a folder, as paths relative to `below`. Follows links; broken ones are skipped.
fn list_gguf_files(folder: &Path, below: &str, depth: u32, files: &mut Vec<String>) {
    for (name, path) in children(folder) {
        if path.is_dir() {
            if depth < MAX_DEPTH {
                list_gguf_files(&path, &format!("{below}{name}/"), depth + 1, files);
            }
        } else if is_gguf(&name) && path.is_file() {
            files.push(format!("{below}{name}"));
        }
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The entries of a folder, sorted by name.
fn children(folder: &Path) -> Vec<(String, PathBuf)> {
    let mut children: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .collect();
    children.sort();
    children
}
