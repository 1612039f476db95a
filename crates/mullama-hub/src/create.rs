//! Creates models in the store from Modelfiles.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use mullama_base::folders;
use mullama_gguf::GgufHeader;

use crate::hugging_face::{Role, is_gguf, quant_in, shard_paths};
use crate::io_error::unreadable;
use crate::manifest::Config;
use crate::modelfile::Parameters;
use crate::progress::{Meter, Phase, Sink};
use crate::{
    BUILT_IN, CancelToken, Digest, Error, ErrorKind, Layer, LayerKind, Manifest, Modelfile, Name,
    Result, Source, Store, StoredModel, Template,
};

/// Options of [`Store::create`].
#[derive(Default)]
#[non_exhaustive]
pub struct CreateOptions<'a> {
    /// The base folder of relative paths. Default: the working folder.
    pub folder: PathBuf,
    /// The file of the built-in model, which `FROM demo` refers to. Default: none.
    pub built_in: Option<PathBuf>,
    /// Called with the progress of copying files, in the calling thread.
    pub progress: Option<Sink<'a>>,
    /// Cancels the operation.
    pub cancel: CancelToken,
}

impl fmt::Debug for CreateOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateOptions")
            .field("folder", &self.folder)
            .field("built_in", &self.built_in)
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

impl<'a> CreateOptions<'a> {
    /// Sets the base folder of relative paths.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = folder.into();
        self
    }

    /// Sets the file that `FROM demo` refers to.
    #[must_use]
    pub fn with_built_in(mut self, path: impl Into<PathBuf>) -> Self {
        self.built_in = Some(path.into());
        self
    }

    /// Sets a callback for the progress.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(&crate::Progress) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Sets the token that cancels the operation.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancel = cancel.clone();
        self
    }
}

impl Store {
    /// Creates a model from a Modelfile, and gives it this name.
    ///
    /// The parts of the `FROM` model are inherited. Instructions replace its template, system message, messages and
    /// single parameters, and add adapters and licences. Files that are not yet in the store are copied into it.
    ///
    /// Returns `InvalidArgument` for the name of the built-in model, `NotFound` for a model or file that does not
    /// exist, `InvalidModel` for a file that is not GGUF, and `Unsupported` for weights in another format or a template
    /// that mullama cannot honour.
    pub fn create(
        &self,
        name: &Name,
        modelfile: &Modelfile,
        options: CreateOptions<'_>,
    ) -> Result<StoredModel> {
        let CreateOptions { folder, built_in, progress, cancel } = options;
        name.check_free()?;
        self.prepare()?;
        let mut making = ModelBuilder {
            store: self,
            folder,
            built_in,
            cancel,
            meter: Meter::new(progress),
            config: Config::default(),
            parameters: Parameters::default(),
            layers: Vec::new(),
        };
        let made = making.make(modelfile).and_then(|config| {
            let bytes = Manifest::new(config, making.layers.clone()).to_bytes();
            self.commit(name, &bytes)
        });
        let error = match made {
            Ok(Some(())) => {
                making.meter.base = making.meter.total;
                making.meter.report(Phase::Done, 0);
                return self.find(name);
            }
            Ok(None) => Error::new(
                ErrorKind::Io,
                format!("files of {name} were removed while it was being created"),
            )
            .with_hint("create it again"),
            Err(error) => error,
        };
        // Remove the files that were copied for the failed model.
        if let Some(first) = making.layers.first() {
            let config = Layer::config(first.digest, first.size);
            self.discard(&Manifest::new(config, making.layers))?;
        }
        Err(error.with_context("name", name))
    }
}

struct ModelBuilder<'s, 'p> {
    store: &'s Store,
    folder: PathBuf,
    built_in: Option<PathBuf>,
    cancel: CancelToken,
    meter: Meter<'p>,
    config: Config,
    parameters: Parameters,
    layers: Vec<Layer>,
}

impl ModelBuilder<'_, '_> {
    /// Collects the layers and returns the configuration.
    fn make(&mut self, file: &Modelfile) -> Result<Layer> {
        for from in &file.from {
            self.take(from)?;
        }
        if !self.has(LayerKind::Model) {
            return Err(Error::new(
                ErrorKind::InvalidModel,
                "FROM names no model, only parts of one",
            )
            .with_hint("add a FROM with the model itself"));
        }
        for adapter in &file.adapters {
            let path = self.path(adapter).ok_or_else(|| missing("ADAPTER", adapter))?;
            self.check(&path)?;
            self.add(LayerKind::Adapter, &path)?;
        }
        if let Some(draft) = &file.draft {
            let path = match self.path(draft) {
                Some(path) => path,
                None => match Source::parse(draft)? {
                    Source::Name(name) if name.is_built_in() => self.built_in()?,
                    source => self.store.find_source(&source)?.path,
                },
            };
            self.check(&path)?;
            self.replace(LayerKind::Draft);
            self.add(LayerKind::Draft, &path)?;
        }
        if let Some(template) = &file.template {
            Template::parse(template)?.to_jinja()?;
            self.text(LayerKind::Template, template)?;
        }
        if let Some(system) = &file.system {
            self.text(LayerKind::System, system)?;
        }
        for license in &file.licenses {
            let layer = self.store.add_bytes(LayerKind::License, license.as_bytes())?;
            if !self.layers.contains(&layer) {
                self.layers.push(layer);
            }
        }
        self.parameters.override_with(&file.parameters);
        if !self.parameters.is_empty() {
            let json = self.parameters.to_json();
            self.layers.push(self.store.add_bytes(LayerKind::Params, &json)?);
        }
        if !file.messages.is_empty() {
            self.replace(LayerKind::Messages);
            let json = serde_json::to_vec(&file.messages).unwrap_or_default();
            self.layers.push(self.store.add_bytes(LayerKind::Messages, &json)?);
        }
        let config = &mut self.config;
        for (ours, theirs) in [
            (&mut config.renderer, &file.renderer),
            (&mut config.parser, &file.parser),
            (&mut config.requires, &file.requires),
        ] {
            *ours = theirs.clone().or(ours.take());
        }
        let json = serde_json::to_vec(&self.config).unwrap_or_default();
        Ok(Layer::config(self.store.add_blob(&json)?, json.len() as u64))
    }

    /// Adds the parts of a model or file.
    fn take(&mut self, from: &str) -> Result<()> {
        if let Some(path) = self.path(from) {
            return self.add_from_path(&path);
        }
        match Source::parse(from)? {
            Source::Path(_) => Err(missing("FROM", from)),
            Source::Name(name) if name.is_built_in() => self.add_from_path(&self.built_in()?),
            source => {
                let model = self.store.find_source(&source)?;
                self.add_from_store(&model)
            }
        }
    }

    fn add_from_path(&mut self, path: &Path) -> Result<()> {
        if path.is_dir() {
            let (model, projector) = only_model(path)?;
            self.add_from_path(&model)?;
            return projector.map_or(Ok(()), |projector| self.add_from_path(&projector));
        }
        let file = path.to_owned();
        let header = self.check(&file)?;
        let kind = kind_of(&header);
        if kind != LayerKind::Model {
            return self.add(kind, &file);
        }
        let quant = quant_in(&file.to_string_lossy());
        self.config = Config::of(&header, quant);
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(names) = shard_paths(&name)? else {
            return self.add(kind, &file);
        };
        if let Some(first) = names.first().filter(|first| **first != name) {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!("{} is not the first shard of the model", file.display()),
            )
            .with_hint(format!("use {first}")));
        }
        let shards: Vec<PathBuf> = names.iter().map(|name| file.with_file_name(name)).collect();
        // Check for missing shards before copying anything.
        if let Some(absent) = shards.iter().find(|path| !path.is_file()) {
            return Err(missing("FROM", &absent.to_string_lossy()));
        }
        shards.iter().try_for_each(|path| self.add(kind, path))
    }

    fn add_from_store(&mut self, model: &StoredModel) -> Result<()> {
        self.config = model.config.clone();
        self.parameters.override_with(&model.parameters);
        let Some(manifest) = &model.manifest else {
            for path in &model.shards {
                self.add(LayerKind::Model, path)?;
            }
            return model
                .projector
                .iter()
                .try_for_each(|path| self.add(LayerKind::Projector, path));
        };
        // Blobs of another store are next to the model; those of this store are already here.
        let folder = model.path.parent().unwrap_or(Path::new(""));
        for layer in manifest.layers.iter().filter(|layer| layer.kind() != Some(LayerKind::Params))
        {
            if !self.store.has_blob(&layer.digest, layer.size) {
                let path = folder.join(layer.digest.file_name());
                self.meter.total += layer.size;
                let kind = LayerKind::Model;
                let copy = self.store.add_file(kind, &path, &self.cancel, &mut self.meter)?;
                if copy.digest != layer.digest {
                    self.layers.push(copy);
                    return Err(Error::new(
                        ErrorKind::InvalidModel,
                        format!("{} is damaged: its digest is another", path.display()),
                    )
                    .with_context("path", path.display()));
                }
            }
            self.layers.push(layer.clone());
        }
        Ok(())
    }

    fn built_in(&self) -> Result<PathBuf> {
        self.built_in.clone().ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("the file of {BUILT_IN} is not known"))
                .with_hint("give its path")
        })
    }

    /// The path that the text refers to, if it exists.
    fn path(&self, text: &str) -> Option<PathBuf> {
        let path = match text.strip_prefix("~/") {
            Some(rest) => folders::home_dir()?.join(rest),
            None => self.folder.join(text),
        };
        path.exists().then_some(path)
    }

    fn check(&self, path: &Path) -> Result<GgufHeader> {
        self.cancel.check()?;
        if path.extension().is_some_and(|end| end == "safetensors") {
            return Err(unconverted(path));
        }
        GgufHeader::read_metadata(path)
    }

    fn add(&mut self, kind: LayerKind, path: &Path) -> Result<()> {
        // A file that is already in the store, possibly through a link, is not copied.
        let real = fs::canonicalize(path).map_err(|error| unreadable(path, error))?;
        let layer = match digest_of(&real) {
            Some(digest) if same_file(&real, &self.store.blob(&digest)) => {
                let size = fs::metadata(&real).map_err(|error| unreadable(&real, error))?;
                Layer::new(kind, digest, size.len())
            }
            _ => {
                self.meter.total += fs::metadata(&real).map_or(0, |data| data.len());
                self.store.add_file(kind, &real, &self.cancel, &mut self.meter)?
            }
        };
        let title = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let title = title.filter(|_| digest_of(path).is_none());
        self.layers.push(title.map_or(layer.clone(), |title| layer.with_title(&title)));
        Ok(())
    }

    /// Replaces the texts of this kind by this one; if it is empty, only removes them.
    fn text(&mut self, kind: LayerKind, text: &str) -> Result<()> {
        self.replace(kind);
        if !text.is_empty() {
            self.layers.push(self.store.add_bytes(kind, text.as_bytes())?);
        }
        Ok(())
    }

    fn replace(&mut self, kind: LayerKind) {
        self.layers.retain(|layer| layer.kind() != Some(kind));
    }

    fn has(&self, kind: LayerKind) -> bool {
        self.layers.iter().any(|layer| layer.kind() == Some(kind))
    }
}

/// The digest in the name of a blob file.
fn digest_of(path: &Path) -> Option<Digest> {
    Digest::from_hex(path.file_name()?.to_str()?.strip_prefix("sha256-")?)
}

fn same_file(real: &Path, other: &Path) -> bool {
    fs::canonicalize(other).is_ok_and(|other| other == real)
}

/// The kind of layer that a file is, from its metadata.
fn kind_of(header: &GgufHeader) -> LayerKind {
    match (header.text("general.type"), header.text("general.architecture")) {
        (Some("adapter"), _) => LayerKind::Adapter,
        (Some("mmproj"), _) | (_, Some("clip")) => LayerKind::Projector,
        _ => LayerKind::Model,
    }
}

/// The only model in a folder, and its projector. Fails if there are several.
fn only_model(folder: &Path) -> Result<(PathBuf, Option<PathBuf>)> {
    let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, error))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let (mut models, mut projectors) = (Vec::new(), Vec::new());
    for path in &paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A split model counts once, by its first shard.
        let is_first = shard_paths(&name)?.is_none_or(|names| names.first() == Some(&name));
        if !is_gguf(&name) || !is_first || path.is_dir() {
            continue;
        }
        // An unreadable file may be the intended one; it is rejected when it is used.
        match GgufHeader::read_metadata(path).as_ref().map(kind_of) {
            Ok(LayerKind::Projector) => projectors.push((name, path)),
            Ok(LayerKind::Adapter) => {}
            _ if Role::of(&name) == Role::Part => {}
            _ => models.push((name, path)),
        }
    }
    let safetensors = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
    let several = |what: &str, found: &[(String, &PathBuf)]| {
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        Error::new(
            ErrorKind::InvalidArgument,
            format!(
                "{} has {} {what}, not one: {}",
                folder.display(),
                found.len(),
                names.join(", ")
            ),
        )
        .with_context("path", folder.display())
        .with_hint("write the path of the model file after FROM")
    };
    match (models.as_slice(), projectors.as_slice()) {
        ([(_, model)], [] | [_]) => {
            Ok(((*model).clone(), projectors.first().map(|(_, path)| (*path).clone())))
        }
        ([_], _) => Err(several("projectors", &projectors)),
        ([], _) if paths.iter().any(safetensors) => Err(unconverted(folder)),
        ([], _) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} has no GGUF model in it", folder.display()),
        )
        .with_context("path", folder.display())
        .with_hint("write the path of the model file after FROM")),
        _ => Err(several("GGUF models", &models)),
    }
}

fn unconverted(path: &Path) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{} is in the safetensors format, not in GGUF", path.display()),
    )
    .with_context("path", path.display())
    .with_hint("convert it with llama.cpp's convert_hf_to_gguf.py, or pull a GGUF version")
}

fn missing(instruction: &str, value: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("{instruction} {value}: there is no such file"))
        .with_context("path", value)
        .with_hint("relative paths start from the Modelfile's folder")
}
