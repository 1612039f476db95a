//! The store: a folder of manifests and blobs, in Ollama's layout.
//!
//! ```text
//! manifests/<host>/<namespace>/<model>/<tag>    JSON: the list of a model's files
//! blobs/sha256-<hex>                            the files, verified before they appear
//! shards/<hex>/model-00001-of-00003.gguf        links to the blobs of a split model, whose files
//!                                               must be in one folder under such names
//! downloads/                                    partial downloads and temporary files
//! lock                                          locked while manifests change
//! ```
//!
//! Manifests and blobs appear by renaming, so readers need no lock, and never see partial files.

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mullama_base::{
    TEMPORARY_PREFIX, TemporaryFile, folders, open_file, read_file, similar_by, similarity,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::caches::Caches;
use crate::digest::Hasher;
use crate::io_error::{io_error, unreadable};
use crate::lock::Lock;
use crate::manifest::{Config, MAX_MANIFEST_SIZE};
use crate::modelfile::{Message, Parameters};
use crate::progress::{Meter, Phase};
use crate::{
    CancelToken, Digest, Error, ErrorKind, Layer, LayerKind, Manifest, Name, Result, Source,
    Template,
};

/// Disk space in bytes that a download leaves free.
const MIN_FREE_SPACE: u64 = 64 << 20;
/// The age at which a temporary file is considered abandoned.
const TEMPORARY_MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The program that owns a model's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// The store itself.
    Mullama,
    /// Ollama's store.
    Ollama,
    /// The cache of Hugging Face's libraries.
    HuggingFace,
    /// llama.cpp's cache.
    LlamaCpp,
}

impl Origin {
    /// The name in lower case: `mullama`, `ollama`, `huggingface` or `llamacpp`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mullama => "mullama",
            Self::Ollama => "ollama",
            Self::HuggingFace => "huggingface",
            Self::LlamaCpp => "llamacpp",
        }
    }
}

/// An entry of a list of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// The first 12 digits of the manifest's digest; of the path's digest if there is no manifest.
    pub id: String,
    /// Total size of the files, in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: SystemTime,
    /// The program that owns its folder.
    pub origin: Origin,
}

/// A model in the store or a cache, with its files.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoredModel {
    /// The name.
    pub name: Name,
    /// The first 12 digits of the manifest's digest; of the path's digest if there is no manifest.
    pub id: String,
    /// The program that owns its folder.
    pub origin: Origin,
    /// Total size of the files, in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: SystemTime,
    /// The file to load; the first shard of a split model.
    pub path: PathBuf,
    /// All files with weights: one, or all shards.
    pub shards: Vec<PathBuf>,
    /// The projector, which converts images or sound into embeddings.
    pub projector: Option<PathBuf>,
    /// `LoRA` adapters.
    pub adapters: Vec<PathBuf>,
    /// The draft model.
    pub draft: Option<PathBuf>,
    /// The prompt template stored with the model, usually in Go's language. Prefer the one in the
    /// GGUF file; see [`Template`](crate::Template).
    pub template: Option<String>,
    /// The system message.
    pub system: Option<String>,
    /// Generation options.
    pub parameters: Parameters,
    /// Initial messages of a chat.
    pub messages: Vec<Message>,
    /// Licences.
    pub licenses: Vec<String>,
    /// The configuration.
    pub config: Config,
    /// The manifest, if there is one.
    pub manifest: Option<Manifest>,
}

impl StoredModel {
    /// The prompt template of the store, in Jinja. Prefer the one in the GGUF file.
    ///
    /// Returns `Unsupported`, with the construct, for a Go template that cannot be translated.
    pub fn jinja(&self) -> Result<Option<String>> {
        self.template.as_deref().map(|text| Template::parse(text)?.to_jinja()).transpose()
    }
}

/// The result of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// Total size in bytes of the deleted files, which no other model used.
    pub freed: u64,
}

/// A folder of models, together with the caches of other programs, which are read-only.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
    caches: Caches,
}

impl Store {
    /// The user's store: `MULLAMA_MODELS`, or `mullama/models` in the platform's data folder
    /// (`~/.local/share`, `~/Library/Application Support`, `%LOCALAPPDATA%`), with the caches of
    /// other programs.
    pub fn open() -> Result<Self> {
        let root = match std::env::var_os("MULLAMA_MODELS").filter(|value| !value.is_empty()) {
            Some(root) => PathBuf::from(root),
            None => folders::data_dir().map(|data| data.join("models")).ok_or_else(|| {
                Error::new(ErrorKind::NotFound, "this user has no home folder for models")
                    .with_hint("set MULLAMA_MODELS to a folder")
            })?,
        };
        Ok(Self::at(root).with_caches(Caches::from_env()))
    }

    /// The store in this folder, which is created on the first write.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), caches: Caches::none() }
    }

    /// Adds the caches of other programs.
    #[must_use]
    pub fn with_caches(mut self, caches: Caches) -> Self {
        self.caches = caches.without_store(&self.root);
        self
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All complete models: those of the store first, then newest first.
    ///
    /// Incomplete models are logged and skipped.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = self.own_models(Origin::Mullama)?;
        entries.extend(self.caches.list());
        entries
            .sort_by(|a, b| (a.origin, b.modified, &a.name).cmp(&(b.origin, a.modified, &b.name)));
        Ok(entries)
    }

    /// The models with a manifest in this folder.
    pub(crate) fn own_models(&self, origin: Origin) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for (name, path) in self.names()? {
            match read(&path).and_then(|(bytes, manifest, modified)| {
                self.check_blobs(&name, &manifest)?;
                let (id, size) = (Digest::of(&bytes).short(), manifest.size());
                Ok(Entry { name: name.clone(), id, size, modified, origin })
            }) {
                Ok(entry) => entries.push(entry),
                Err(error) => log::warn!("{name} is not listed: {error}"),
            }
        }
        Ok(entries)
    }

    /// Finds a model by its name, first in the store, then in the caches of other programs.
    ///
    /// Returns `NotFound`, with a hint how to obtain it, or `InvalidModel` if some of its files are
    /// missing.
    pub fn find(&self, name: &Name) -> Result<StoredModel> {
        self.found(name)?.ok_or_else(|| self.not_downloaded(name, name))
    }

    /// The model with this name in the store or in the caches of other programs, if any.
    fn found(&self, name: &Name) -> Result<Option<StoredModel>> {
        match self.find_own(name, Origin::Mullama)? {
            None => self.caches.find(name),
            found => Ok(found),
        }
    }

    /// The error for a model that was not found. The hint is how to download it from `source`.
    fn not_downloaded(&self, name: &Name, source: impl fmt::Display) -> Error {
        let pull = format!("`mullama pull {source}`, or `Model.pull(\"{source}\")` in a program");
        let error = self.not_found(name, &source);
        match self.suggest(name).first() {
            Some(known) => {
                error.with_hint(format!("did you mean {known}? else download it: {pull}"))
            }
            None => error.with_hint(format!("download it: {pull}")),
        }
    }

    fn not_found(&self, name: &Name, shown: impl fmt::Display) -> Error {
        Error::new(ErrorKind::NotFound, format!("no model {shown} in the store"))
            .with_context("name", name)
            .with_context("store", self.root.display())
    }

    /// Finds the model that pulling this source would create. Fails for a path.
    pub fn find_source(&self, source: &Source) -> Result<StoredModel> {
        match source.name() {
            Some(name) => self.found(&name)?.ok_or_else(|| self.not_downloaded(&name, source)),
            None => Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{source} is a path, not the name of a model"),
            )),
        }
    }

    /// The names in the store and the caches that are most similar to this one, most similar first.
    pub fn suggest(&self, name: &Name) -> Vec<Name> {
        let (wanted, model) = (name.to_string(), name.model().to_lowercase());
        // Sorted and unique.
        let known: BTreeSet<Name> =
            self.list().unwrap_or_default().into_iter().map(|entry| entry.name).collect();
        let mut near = similar_by(known, |known| {
            // Another tag of the same model is a better suggestion than its spelling indicates.
            let same = if known.model().to_lowercase() == model { 0.9 } else { 0.0 };
            similarity(&wanted, &known.to_string()).max(same)
        });
        near.truncate(3);
        near
    }

    /// Gives the model a second name. Both names share the files.
    pub fn copy(&self, from: &Name, to: &Name) -> Result<()> {
        to.check_free()?;
        let _lock = self.lock()?;
        let Some(path) = self.path_of(from)? else {
            let model = self.find(from)?;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{from} is in the cache of {}, not in the store", model.origin.name()),
            )
            .with_hint(format!("make a model FROM {from} with `mullama create {to}`")));
        };
        let (bytes, manifest, _) = read(&path)?;
        self.check_blobs(from, &manifest)?;
        self.write_manifest(to, &bytes)
    }

    /// Removes the name, and all files that no other name uses.
    pub fn remove(&self, name: &Name) -> Result<Removed> {
        let absent = || match name.check_free().and_then(|()| self.found(name)) {
            Ok(Some(model)) => read_only_origin(name, model.origin),
            Ok(None) => self.not_found(name, name).with_hint(match self.suggest(name).first() {
                Some(known) => format!("did you mean {known}?"),
                None => "`mullama list` shows the models in the store".to_owned(),
            }),
            Err(error) => error,
        };
        self.path_of(name)?.ok_or_else(absent)?;
        let _lock = self.lock()?;
        let path = self.path_of(name)?.ok_or_else(absent)?;
        // A damaged manifest can be removed too, but the files that it refers to are not known.
        let gone = read(&path).map(|(_, manifest, _)| manifest).ok();
        fs::remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        // Delete the folders that are now empty.
        for folder in path.ancestors().skip(1).take(3) {
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        let freed = gone.map_or(Ok(0), |gone| self.free(&gone))?;
        self.remove_stale_files();
        Ok(Removed { freed })
    }

    /// Removes abandoned partial downloads, and files that no name uses.
    ///
    /// Active downloads are not affected; one that has just ended may have to fetch a file again.
    pub fn prune(&self) -> Result<Removed> {
        let mut freed = 0;
        if !self.root.exists() {
            return Ok(Removed { freed });
        }
        let _lock = self.lock()?;
        let mut remove = |path: &Path| {
            let size = fs::metadata(path).map_or(0, |data| data.len());
            if fs::remove_file(path).is_ok() {
                freed += size;
            }
        };
        let keys: BTreeSet<String> = children(&self.downloads())?
            .into_iter()
            .filter_map(|(name, _)| name.rsplit_once('.').map(|(key, _)| key.to_owned()))
            .collect();
        for key in keys {
            let file = |end: &str| self.downloads().join(format!("{key}.{end}"));
            if let Some(_held) = Lock::free(&file("lock"))? {
                remove(&file("map"));
                remove(&file("data"));
            }
        }
        let used = self.used_blobs()?;
        for (name, path) in children(&self.root.join("blobs"))? {
            let hex = name.strip_prefix("sha256-").unwrap_or_default();
            if Digest::from_hex(hex).is_some() && !used.blobs.contains(hex) {
                remove(&path);
            }
        }
        for (_, path) in children(&self.root.join("shards"))? {
            if !used.shards.contains(&path) {
                let _ = fs::remove_dir_all(path);
            }
        }
        self.remove_stale_files();
        Ok(Removed { freed })
    }

    /// Deletes the files of a removed manifest that no other manifest uses. The caller must own the
    /// lock.
    fn free(&self, gone: &Manifest) -> Result<u64> {
        let used = self.used_blobs()?;
        if let Some(folder) = self.shard_folder(gone)
            && !used.shards.contains(&folder)
        {
            let _ = fs::remove_dir_all(folder);
        }
        let unused: HashSet<Digest> = gone.blobs().map(|layer| layer.digest).collect();
        let mut freed = 0;
        for digest in unused.into_iter().filter(|digest| !used.blobs.contains(&digest.hex())) {
            let path = self.blob(&digest);
            let size = fs::metadata(&path).map_or(0, |data| data.len());
            match fs::remove_file(&path) {
                Ok(()) => freed += size,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => log::warn!("{}: {error}", path.display()),
            }
        }
        Ok(freed)
    }

    /// Deletes the files of a model that turned out to be invalid.
    pub(crate) fn discard(&self, manifest: &Manifest) -> Result<()> {
        let _lock = self.lock()?;
        self.free(manifest).map(|_| ())
    }

    /// The manifest of this name, if it exists and is valid.
    pub(crate) fn manifest(&self, name: &Name) -> Option<Manifest> {
        let path = self.path_of(name).ok()??;
        read(&path).map(|(_, manifest, _)| manifest).ok()
    }

    // --- writing: pull, create -------------------------------------------------------------------

    fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The folder of partial downloads.
    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.join("downloads")
    }

    /// The path of this blob, which may not exist.
    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.file_name())
    }

    /// Whether the blob is in the store. Blobs are always complete; the size is checked in case of
    /// damage.
    pub(crate) fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.blob(digest)).is_ok_and(|data| data.is_file() && data.len() == size)
    }

    /// Creates the folders of the store.
    pub(crate) fn prepare(&self) -> Result<()> {
        for folder in [self.manifests(), self.root.join("blobs"), self.downloads()] {
            fs::create_dir_all(&folder).map_err(|error| io_error("make", &folder, error))?;
        }
        Ok(())
    }

    /// Fails if the disk does not have this number of bytes available.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<()> {
        let free = fs4::available_space(&self.root)
            .map_err(|error| io_error("look at the disk of", &self.root, error))?;
        if bytes.saturating_add(MIN_FREE_SPACE) <= free || bytes == 0 {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Io,
            format!(
                "{bytes} bytes are needed in {} besides a reserve of {} MiB; {free} are free",
                self.root.display(),
                MIN_FREE_SPACE >> 20
            ),
        )
        .with_context("needed", bytes)
        .with_context("free", free)
        .with_context("reserve", MIN_FREE_SPACE)
        .with_context("path", self.root.display())
        .with_hint("free space, or set MULLAMA_MODELS to a folder on another disk"))
    }

    /// Adds these bytes to the store as a layer.
    pub(crate) fn add_bytes(&self, kind: LayerKind, bytes: &[u8]) -> Result<Layer> {
        let digest = self.add_blob(bytes)?;
        Ok(Layer::new(kind, digest, bytes.len() as u64))
    }

    /// Adds these bytes to the store as a blob.
    pub(crate) fn add_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if !self.has_blob(&digest, bytes.len() as u64) {
            self.write(&self.blob(&digest), bytes)?;
        }
        Ok(digest)
    }

    /// Copies this file into the store.
    pub(crate) fn add_file(
        &self,
        kind: LayerKind,
        path: &Path,
        cancel: &CancelToken,
        meter: &mut Meter<'_>,
    ) -> Result<Layer> {
        let read = |error| unreadable(path, error);
        let mut file = open_file(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        self.check_space(length)?;
        let (mut copy, mut hasher, mut size) = (self.temporary()?, Hasher::new(), 0);
        let mut buffer = vec![0; 1 << 20];
        loop {
            cancel.check()?;
            let count = file.read(&mut buffer).map_err(read)?;
            if count == 0 {
                break;
            }
            let piece = buffer.get(..count).unwrap_or_default();
            hasher.update(piece);
            copy.file().write_all(piece).map_err(|error| io_error("write", copy.path(), error))?;
            size += count as u64;
            meter.report(Phase::Copying, size);
        }
        meter.base += size;
        let digest = hasher.finish();
        if !self.has_blob(&digest, size) {
            publish(copy, &self.blob(&digest))?;
        }
        Ok(Layer::new(kind, digest, size))
    }

    /// Publishes a manifest under this name, if all of its blobs still exist.
    ///
    /// Returns `None` if some do not: another process may have removed a blob since the pull
    /// started.
    pub(crate) fn commit(&self, name: &Name, bytes: &[u8]) -> Result<Option<()>> {
        let manifest = Manifest::parse(bytes)?;
        let _lock = self.lock()?;
        if manifest.blobs().any(|layer| !self.has_blob(&layer.digest, layer.size)) {
            return Ok(None);
        }
        self.link_shards(&manifest)?;
        self.write_manifest(name, bytes)?;
        self.remove_stale_files();
        Ok(Some(()))
    }

    fn write_manifest(&self, name: &Name, bytes: &[u8]) -> Result<()> {
        let path = match self.path_of(name)? {
            Some(path) => path,
            None => self.manifests().join(name.path()),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| io_error("make", folder, error))?;
        }
        let replaced = read(&path).map(|(_, manifest, _)| manifest).ok();
        self.write(&path, bytes)?;
        replaced.map_or(Ok(0), |replaced| self.free(&replaced)).map(|_| ())
    }

    fn lock(&self) -> Result<Lock> {
        self.prepare()?;
        Lock::permanent(&self.root.join("lock"))
    }

    /// Writes a file atomically.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.temporary()?;
        file.file().write_all(bytes).map_err(|error| io_error("write", file.path(), error))?;
        publish(file, path)
    }

    fn temporary(&self) -> Result<TemporaryFile> {
        let folder = self.downloads();
        TemporaryFile::new_in(&folder).map_err(|error| io_error("write into", &folder, error))
    }

    /// Deletes temporary files of killed processes.
    fn remove_stale_files(&self) {
        for entry in fs::read_dir(self.downloads()).into_iter().flatten().flatten() {
            let old = || entry.metadata()?.modified()?.elapsed().map_err(io::Error::other);
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX)
                && old().is_ok_and(|age| age > TEMPORARY_MAX_AGE)
            {
                let path = entry.path();
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
        }
    }

    // --- reading
    // ----------------------------------------------------------------------------------

    /// All names with a manifest, and its path.
    fn names(&self) -> Result<Vec<(Name, PathBuf)>> {
        let mut names = Vec::new();
        for (host, path) in children(&self.manifests())? {
            for (namespace, path) in children(&path)? {
                for (model, path) in children(&path)? {
                    for (tag, path) in children(&path)? {
                        match Name::of_path(&host, &namespace, &model, &tag) {
                            Some(name) => names.push((name, path)),
                            None => log::warn!("{} is not a manifest", path.display()),
                        }
                    }
                }
            }
        }
        Ok(names)
    }

    /// The path of this name's manifest, if it has one. Case is ignored.
    fn path_of(&self, name: &Name) -> Result<Option<PathBuf>> {
        let path = self.manifests().join(name.path());
        if path.is_file() {
            return Ok(Some(path));
        }
        Ok(self.names()?.into_iter().find(|(known, _)| known.matches(name)).map(|(_, path)| path))
    }

    fn check_blobs(&self, name: &Name, manifest: &Manifest) -> Result<()> {
        match manifest.blobs().find(|layer| !self.has_blob(&layer.digest, layer.size)) {
            None => Ok(()),
            Some(layer) => Err(Error::new(
                ErrorKind::InvalidModel,
                format!("{name} is damaged: blob {} is missing or incomplete", layer.digest),
            )
            .with_context("path", self.blob(&layer.digest).display())
            .with_hint("pull or create the model again")),
        }
    }

    /// Finds a model with a manifest in this folder.
    pub(crate) fn find_own(&self, name: &Name, origin: Origin) -> Result<Option<StoredModel>> {
        let Some(path) = self.path_of(name)? else { return Ok(None) };
        let about = |error: Error| error.with_context("name", name);
        let (bytes, manifest, modified) = read(&path).map_err(about)?;
        self.check_blobs(name, &manifest).map_err(about)?;
        let files = |kind| -> Vec<PathBuf> {
            manifest.of_kind(kind).map(|layer| self.blob(&layer.digest)).collect()
        };
        let texts = |kind| -> Result<Vec<String>> {
            manifest.of_kind(kind).map(|layer| self.text(layer)).collect()
        };
        let (parameters, messages) = self.generation(&manifest).map_err(about)?;
        // Other programs may use other formats here, so ignore errors.
        let config = serde_json::from_str(&self.text(&manifest.config)?).unwrap_or_default();
        let shards = match origin {
            Origin::Mullama => self.link_shards(&manifest)?,
            _ => files(LayerKind::Model),
        };
        let Some(path) = shards.first().cloned() else {
            return Err(about(Error::new(ErrorKind::InvalidModel, "the model has no weights")));
        };
        Ok(Some(StoredModel {
            name: name.clone(),
            id: Digest::of(&bytes).short(),
            origin,
            size: manifest.size(),
            modified,
            path,
            shards,
            projector: files(LayerKind::Projector).into_iter().next(),
            adapters: files(LayerKind::Adapter),
            draft: files(LayerKind::Draft).into_iter().next(),
            template: texts(LayerKind::Template)?.pop(),
            system: texts(LayerKind::System)?.pop(),
            parameters,
            messages,
            licenses: texts(LayerKind::License)?,
            config,
            manifest: Some(manifest),
        }))
    }

    /// The generation options and initial messages of a model. Fails if they are not valid JSON.
    pub(crate) fn generation(&self, manifest: &Manifest) -> Result<(Parameters, Vec<Message>)> {
        fn last<T: Default + DeserializeOwned>(
            store: &Store,
            manifest: &Manifest,
            kind: LayerKind,
        ) -> Result<T> {
            let Some(layer) = manifest.of_kind(kind).last() else { return Ok(T::default()) };
            serde_json::from_str(&store.text(layer)?).map_err(|error| {
                Error::new(ErrorKind::InvalidModel, format!("the {kind:?} of the model: {error}"))
                    .with_context("path", store.blob(&layer.digest).display())
            })
        }
        Ok((last(self, manifest, LayerKind::Params)?, last(self, manifest, LayerKind::Messages)?))
    }

    fn text(&self, layer: &Layer) -> Result<String> {
        let path = self.blob(&layer.digest);
        let bytes = read_file(&path, layer.size).map_err(|error| unreadable(&path, error))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The folder of links to a split model's blobs.
    fn shard_folder(&self, manifest: &Manifest) -> Option<PathBuf> {
        let digests: Vec<String> =
            manifest.of_kind(LayerKind::Model).map(|layer| layer.digest.hex()).collect();
        let key = Digest::of(digests.concat().as_bytes()).hex();
        (digests.len() > 1).then(|| self.root.join("shards").join(key))
    }

    /// The files with weights. For a split model, creates links in one folder if necessary.
    fn link_shards(&self, manifest: &Manifest) -> Result<Vec<PathBuf>> {
        let blobs: Vec<PathBuf> =
            manifest.of_kind(LayerKind::Model).map(|layer| self.blob(&layer.digest)).collect();
        let Some(folder) = self.shard_folder(manifest) else { return Ok(blobs) };
        let name = |i: usize| format!("model-{:05}-of-{:05}.gguf", i + 1, blobs.len());
        let links: Vec<PathBuf> = (0..blobs.len()).map(|i| folder.join(name(i))).collect();
        if links.iter().all(|link| link.is_file()) {
            return Ok(links);
        }
        self.prepare()?;
        let parent = self.root.join("shards");
        fs::create_dir_all(&parent).map_err(|error| io_error("make", &parent, error))?;
        let fail = |error| io_error("make links in", &folder, error);
        let draft = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(self.downloads())
            .map_err(fail)?
            .keep();
        for (i, blob) in blobs.iter().enumerate() {
            link(blob, &draft.join(name(i))).map_err(fail)?;
        }
        // An incomplete folder is one from which files were deleted.
        let _ = fs::remove_dir_all(&folder);
        match fs::rename(&draft, &folder) {
            Ok(()) => Ok(links),
            Err(_) if links.iter().all(|link| link.is_file()) => {
                let _ = fs::remove_dir_all(&draft);
                Ok(links)
            }
            Err(error) => Err(fail(error)),
        }
    }

    /// The blobs and shard folders in use. For a damaged manifest, all digests in its text count as
    /// used.
    fn used_blobs(&self) -> Result<UsedBlobs> {
        let mut used = UsedBlobs::default();
        for (_, path) in self.names()? {
            // Only files are manifests.
            if !path.is_file() {
                continue;
            }
            let bytes =
                read_file(&path, MAX_MANIFEST_SIZE).map_err(|error| unreadable(&path, error))?;
            if let Ok(manifest) = Manifest::parse(&bytes) {
                used.blobs.extend(manifest.blobs().map(|layer| layer.digest.hex()));
                used.shards.extend(self.shard_folder(&manifest));
            } else {
                let text = String::from_utf8_lossy(&bytes);
                let digests = text.split("sha256:").skip(1).filter_map(|rest| rest.get(..64));
                used.blobs.extend(digests.map(str::to_owned));
            }
        }
        Ok(used)
    }
}

#[derive(Default)]
struct UsedBlobs {
    blobs: HashSet<String>,
    shards: HashSet<PathBuf>,
}

/// Reads a manifest: its bytes, parsed, and the modification time.
fn read(path: &Path) -> Result<(Vec<u8>, Manifest, SystemTime)> {
    let fail = |error| unreadable(path, error);
    let file = open_file(path).map_err(fail)?;
    let modified = file.metadata().and_then(|data| data.modified()).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_MANIFEST_SIZE + 1).read_to_end(&mut bytes).map_err(fail)?;
    let manifest =
        Manifest::parse(&bytes).map_err(|error| error.with_context("path", path.display()))?;
    Ok((bytes, manifest, modified))
}

fn read_only_origin(name: &Name, origin: Origin) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{name} is in the cache of {}, which mullama does not change", origin.name()),
    )
    .with_context("name", name)
    .with_hint("remove it with that program")
}

/// The entries of a folder with valid UTF-8 names that do not start with a dot. Empty if the folder
/// does not exist.
fn children(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(folder, error)),
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| !name.starts_with('.'))
        .collect())
}

/// Syncs the file to disk and renames it.
fn publish(file: TemporaryFile, path: &Path) -> Result<()> {
    file.sync().and_then(|()| file.publish(path)).map_err(|error| io_error("write", path, error))
}

/// Creates a relative link, which stays valid if the store is moved or mounted elsewhere.
#[cfg(unix)]
fn link(blob: &Path, link: &Path) -> io::Result<()> {
    let name = blob.file_name().unwrap_or_default();
    std::os::unix::fs::symlink(Path::new("../../blobs").join(name), link)
}

/// Symbolic links require a privilege on Windows. Hard links work, since both paths are on the same
/// disk.
#[cfg(not(unix))]
fn link(blob: &Path, link: &Path) -> io::Result<()> {
    fs::hard_link(blob, link)
}
