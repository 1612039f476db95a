//! Downloads models into the store.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mullama_base::{folders, number_from_env, open_file, read_file, seconds_from_env};
use mullama_gguf::GgufHeader;

use crate::address::{is_loopback, parse, shown};
use crate::client::{Client, Request, failed};
use crate::download::{self, Remote};
use crate::hugging_face::{self, SelectedFile, base_name, shard_paths, stamp};
use crate::io_error::unreadable;
use crate::manifest::{Config, Layer};
use crate::progress::{Meter, Phase, Sink};
use crate::registry::{self, Registry};
use crate::{
    BUILT_IN, CancelToken, DEFAULT_HOST, Error, ErrorKind, LayerKind, Manifest, Name, Progress,
    Result, Source, Store, StoredModel,
};

/// Files up to this size, in bytes, are downloaded in one request and not resumed.
const MAX_UNSPLIT_SIZE: u64 = 1 << 20;
/// Maximum size of a token file, in bytes.
const MAX_TOKEN_SIZE: u64 = 64 << 10;
/// Number of attempts, if files are removed from the store during a pull.
const MAX_ATTEMPTS: u32 = 3;

/// The sources of models, and their credentials.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoints {
    /// The registry of names without a host. `MULLAMA_REGISTRY`; else `https://registry.ollama.ai`.
    pub registry: String,
    /// Hugging Face or a mirror. `HF_ENDPOINT`; else `https://huggingface.co`.
    pub hugging_face: String,
    /// The token for Hugging Face; it is sent to no other host. `HF_TOKEN`, or the token that
    /// Hugging Face's tools stored at login in `HF_TOKEN_PATH`, `$HF_HOME/token` or
    /// `~/.cache/huggingface/token`.
    pub hugging_face_token: Option<String>,
}

impl Endpoints {
    /// The endpoints from the environment.
    pub fn from_env() -> Self {
        let get = |name: &str| {
            std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|v| !v.is_empty())
        };
        let or = |name, default: &str| get(name).unwrap_or_else(|| default.to_owned());
        let token = get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
            let path = get("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| {
                let home = get("HF_HOME").map(PathBuf::from);
                Some(
                    home.or_else(|| Some(folders::home_dir()?.join(".cache/huggingface")))?
                        .join("token"),
                )
            })?;
            let bytes = read_file(&path, MAX_TOKEN_SIZE).ok()?;
            String::from_utf8(bytes).ok()
        });
        Self {
            registry: or("MULLAMA_REGISTRY", "https://registry.ollama.ai"),
            hugging_face: or("HF_ENDPOINT", "https://huggingface.co"),
            hugging_face_token: token
                .map(|token| token.trim().to_owned())
                .filter(|token| !token.is_empty() && token.chars().all(|c| c.is_ascii_graphic())),
        }
    }
}

impl Endpoints {
    /// The registry's address, if it is one.
    fn registry(&self) -> Result<&str> {
        usable(&self.registry, "MULLAMA_REGISTRY")
    }

    /// Hugging Face's address, if it is one.
    pub(crate) fn hugging_face(&self) -> Result<&str> {
        usable(&self.hugging_face, "HF_ENDPOINT")
    }
}

/// Fails for an address that cannot be used, with the variable that sets it.
fn usable<'a>(address: &'a str, variable: &str) -> Result<&'a str> {
    if parse(address).is_some() {
        return Ok(address);
    }
    let problem = format!("{variable} is {:?}, which is not an address", shown(address));
    Err(Error::new(ErrorKind::InvalidArgument, problem).with_hint(format!(
        "an address is written https://HOST, as in `{variable}=https://example.com`"
    )))
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::from_env()
    }
}

impl fmt::Debug for Endpoints {
    /// Omits secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints")
            .field("registry", &shown(&self.registry))
            .field("hugging_face", &shown(&self.hugging_face))
            .finish_non_exhaustive()
    }
}

/// Options of [`pull`].
#[non_exhaustive]
pub struct PullOptions<'a> {
    /// Called with the progress in the calling thread, at most ten times per second.
    pub progress: Option<Sink<'a>>,
    /// Cancels the pull; the next one resumes it.
    pub cancel: CancelToken,
    /// Maximum number of parts of a file that are downloaded in parallel. Default 8.
    pub connections: usize,
    /// Number of consecutive failures after which a part fails; the delays between attempts grow.
    /// Default 6.
    pub retries: u32,
    /// How long a server may send nothing, including repeated attempts, before the pull fails.
    /// `MULLAMA_PULL_TIMEOUT`, in seconds; else 30 s.
    pub timeout: Duration,
    /// Minimum rate in bytes per second, averaged over `rate_period`; 0 for none. A slower pull
    /// fails; the next one resumes it. `MULLAMA_PULL_LEAST_RATE`; else 1000.
    pub least_rate: u64,
    /// The period for `least_rate`. Default one minute.
    pub rate_period: Duration,
    /// Allows plain HTTP to hosts other than this machine, and uses it for hosts in model names.
    /// Default false.
    pub insecure: bool,
    /// The token for the registry in a model's name. Default none.
    pub token: Option<String>,
    /// The sources of models. Default: from the environment.
    pub endpoints: Endpoints,
}

impl fmt::Debug for PullOptions<'_> {
    /// Omits the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("cancel", &self.cancel)
            .field("connections", &self.connections)
            .field("retries", &self.retries)
            .field("timeout", &self.timeout)
            .field("least_rate", &self.least_rate)
            .field("rate_period", &self.rate_period)
            .field("insecure", &self.insecure)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Default for PullOptions<'_> {
    fn default() -> Self {
        Self {
            progress: None,
            cancel: CancelToken::new(),
            connections: 8,
            retries: 6,
            timeout: seconds_from_env("MULLAMA_PULL_TIMEOUT").unwrap_or(Duration::from_secs(30)),
            least_rate: number_from_env("MULLAMA_PULL_LEAST_RATE").map_or(1000, |rate| rate as u64),
            rate_period: Duration::from_secs(60),
            insecure: false,
            token: None,
            endpoints: Endpoints::from_env(),
        }
    }
}

impl<'a> PullOptions<'a> {
    /// Sets a callback for the progress.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(&Progress) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Sets the token that cancels the pull.
    #[must_use]
    pub fn with_cancel(mut self, cancel: &CancelToken) -> Self {
        self.cancel = cancel.clone();
        self
    }
}

/// Downloads a model into the store, unless the store has the current version.
///
/// The name refers to the new model only after all files are verified; until then it refers to the
/// previous one, if any. Data that an interrupted pull has downloaded is not downloaded again. If
/// several processes pull the same file, it is downloaded once.
///
/// Returns `NotFound` for a model that does not exist, `Download` for a failure of the network or
/// the server, `InvalidModel` for a file that is not a model, and `Io` if the disk is full or not
/// writable.
pub fn pull(store: &Store, source: &Source, options: PullOptions<'_>) -> Result<StoredModel> {
    let Some(name) = source.name() else {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{source} is a path, not the name of a model"),
        ));
    };
    if name.is_built_in() {
        let message = format!("{BUILT_IN} is built in: there is nothing to download");
        return Err(Error::new(ErrorKind::InvalidArgument, message)
            .with_context("name", &name)
            .with_hint(format!("load it by its name: {BUILT_IN}")));
    }
    options.cancel.check()?;
    store.prepare()?;
    let client = Client::new(&options);
    let PullOptions { progress, connections, insecure, token, endpoints, .. } = options;
    let mut pull =
        Pull { store, client, connections: connections.clamp(1, 64), meter: Meter::new(progress) };
    pull.meter.report(Phase::Resolving, 0);
    match source {
        Source::Name(name) => match Source::from(name.clone()) {
            // A name on Hugging Face's host.
            Source::HuggingFace(source) => pull.hugging_face(name, &source, &endpoints)?,
            _ => pull.registry(name, &endpoints, token.as_deref(), insecure)?,
        },
        Source::HuggingFace(source) => pull.hugging_face(&name, source, &endpoints)?,
        Source::Url(url) => pull.url(&name, url)?,
        // Unreachable: a path has no name.
        Source::Path(_) => {}
    }
    pull.meter.base = pull.meter.total;
    pull.meter.report(Phase::Done, 0);
    store.find(&name)
}

struct Pull<'s, 'p> {
    store: &'s Store,
    client: Client,
    connections: usize,
    meter: Meter<'p>,
}

impl Pull<'_, '_> {
    fn registry(
        &mut self,
        name: &Name,
        endpoints: &Endpoints,
        token: Option<&str>,
        insecure: bool,
    ) -> Result<()> {
        let root = root_of(name, endpoints, insecure)?;
        for _ in 0..MAX_ATTEMPTS {
            let (bytes, manifest, remotes) = {
                let mut registry = Registry::new(&self.client, &root, name, token);
                let bytes = registry.manifest()?;
                let manifest =
                    Manifest::parse(&bytes).map_err(|error| error.with_context("name", name))?;
                let remotes: Vec<Remote> =
                    manifest.blobs().map(|layer| registry.blob(layer)).collect();
                (bytes, manifest, remotes)
            };
            self.fetch(&remotes)?;
            if let Err(error) = self.check(&manifest) {
                self.store.discard(&manifest)?;
                return Err(error.with_context("name", name));
            }
            if self.store.commit(name, &bytes)?.is_some() {
                return Ok(());
            }
        }
        Err(interrupted(name))
    }

    fn hugging_face(
        &mut self,
        name: &Name,
        source: &crate::HuggingFace,
        endpoints: &Endpoints,
    ) -> Result<()> {
        let token = endpoints.hugging_face_token.as_deref();
        for _ in 0..MAX_ATTEMPTS {
            let chosen =
                hugging_face::resolve(&self.client, endpoints.hugging_face()?, token, source)?;
            if self.assemble(name, &chosen)? {
                return Ok(());
            }
        }
        Err(interrupted(name))
    }

    fn url(&mut self, name: &Name, url: &str) -> Result<()> {
        for _ in 0..MAX_ATTEMPTS {
            let urls = addresses(url)?;
            let chosen = urls
                .iter()
                .map(|url| {
                    let title = base_name(url.split(['?', '#']).next().unwrap_or_default());
                    let remote = probe(&self.client, url)?;
                    let stamp = remote.version.as_ref().map(|version| stamp(url, version));
                    Ok(SelectedFile {
                        kind: LayerKind::Model,
                        title: title.to_owned(),
                        remote,
                        stamp,
                    })
                })
                .collect::<Result<Vec<_>>>()?;
            if self.assemble(name, &chosen)? {
                return Ok(());
            }
        }
        Err(interrupted(name))
    }

    /// Downloads the files and creates a manifest. Returns false if files were removed meanwhile.
    fn assemble(&mut self, name: &Name, chosen: &[SelectedFile]) -> Result<bool> {
        let known = self.store.manifest(name);
        let mut remotes: Vec<Remote> = chosen.iter().map(|file| file.remote.clone()).collect();
        for (remote, file) in remotes.iter_mut().zip(chosen) {
            // Without a known digest, the version decides whether the store has the file.
            let Some(stamp) = &file.stamp else { continue };
            let layers = known.iter().flat_map(|manifest| &manifest.layers);
            remote.digest = layers
                .filter(|layer| layer.size == remote.size && layer.version() == Some(stamp))
                .map(|layer| layer.digest)
                .find(|digest| self.store.has_blob(digest, remote.size))
                .or(remote.digest);
        }
        let digests = self.fetch(&remotes)?;
        let layers: Vec<Layer> = chosen
            .iter()
            .zip(digests)
            .map(|(file, digest)| {
                Layer::new(file.kind, digest, file.remote.size)
                    .with_title(&file.title)
                    .with_version(file.stamp.clone())
            })
            .collect();
        let Some(first) = layers.first().cloned() else {
            return Err(Error::new(ErrorKind::InvalidModel, format!("{name} has no files")));
        };
        let fallback = Layer::config(first.digest, first.size);
        let checked = self
            .check(&Manifest::new(fallback.clone(), layers.clone()))
            .and_then(|()| self.config(&first));
        let config = match checked {
            Ok(config) => config,
            Err(error) => {
                self.store.discard(&Manifest::new(fallback, layers))?;
                return Err(error.with_context("name", name));
            }
        };
        let bytes = Manifest::new(config, layers).to_bytes();
        Ok(self.store.commit(name, &bytes)?.is_some())
    }

    /// Creates the configuration from the first file's metadata.
    fn config(&self, first: &Layer) -> Result<Layer> {
        let header = GgufHeader::read_metadata(self.store.blob(&first.digest))?;
        let config = Config::of(&header, first.title().and_then(hugging_face::quant_in));
        let bytes = serde_json::to_vec(&config).unwrap_or_default();
        Ok(Layer::config(self.store.add_blob(&bytes)?, bytes.len() as u64))
    }

    /// Downloads these files. Small ones first, so that errors in them are found early.
    fn fetch(&mut self, remotes: &[Remote]) -> Result<Vec<crate::Digest>> {
        self.meter.total = remotes.iter().fold(0, |sum, file| sum.saturating_add(file.size));
        self.meter.base = 0;
        self.meter.restart();
        let missing =
            remotes.iter().fold(0, |sum: u64, file| sum.saturating_add(file.missing(self.store)));
        self.store.check_space(missing)?;
        let mut order: Vec<(usize, &Remote)> = remotes.iter().enumerate().collect();
        order.sort_by_key(|(i, remote)| (remote.size > MAX_UNSPLIT_SIZE, *i));
        let mut digests = BTreeMap::new();
        for (i, remote) in order {
            digests.insert(i, self.fetch_one(remote)?);
        }
        Ok(digests.into_values().collect())
    }

    fn fetch_one(&mut self, remote: &Remote) -> Result<crate::Digest> {
        if remote.size > MAX_UNSPLIT_SIZE {
            let connections = self.connections;
            return download::fetch(self.store, &self.client, remote, connections, &mut self.meter);
        }
        if let Some(digest) = remote.digest
            && self.store.has_blob(&digest, remote.size)
        {
            self.meter.base += remote.size;
            return Ok(digest);
        }
        let bytes = registry::download_small(&self.client, remote)?;
        let digest = crate::Digest::of(&bytes);
        if let Some(expected) = remote.digest
            && expected != digest
        {
            return Err(failed(
                &remote.url,
                "the downloaded data is damaged: it has another digest",
            )
            .with_context("expected", expected)
            .with_context("actual", digest)
            .with_hint("try again later; the server's copy may be damaged"));
        }
        self.meter.report(Phase::Downloading, remote.size);
        self.meter.base += remote.size;
        self.store.add_blob(&bytes)
    }

    /// Checks that GGUF layers are GGUF files, and that parameters and messages are valid JSON.
    fn check(&self, manifest: &Manifest) -> Result<()> {
        let gguf = |layer: &&Layer| layer.kind().is_some_and(LayerKind::is_gguf);
        for layer in manifest.layers.iter().filter(gguf) {
            check_magic(&self.store.blob(&layer.digest))?;
        }
        self.store.generation(manifest).map(|_| ())
    }
}

/// Requests the size and version of the file at a URL.
pub(crate) fn probe(client: &Client, url: &str) -> Result<Remote> {
    let (size, version) = client.retry(|| {
        let request = Request { url, range: Some((0, 1)), ..Request::default() };
        let result = client.send(&request, false).map(|response| {
            let total = response.content_range().map(|(_, total)| total);
            let whole = response.length().filter(|_| response.status == 200);
            (total.or(whole), download::version(&response))
        });
        (false, result)
    })?;
    let size = size
        .filter(|size| i64::try_from(*size).is_ok())
        .ok_or_else(|| failed(url, "the server does not say how long the file is"))?;
    Ok(Remote { url: url.to_owned(), bearer: None, size, digest: None, version })
}

/// The URLs of all files of a model, from the URL of the first.
pub(crate) fn addresses(url: &str) -> Result<Vec<String>> {
    let (path, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
    let shards =
        shard_paths(path)?.map(|paths| paths.into_iter().map(|path| path + query).collect());
    Ok(shards.unwrap_or_else(|| vec![url.to_owned()]))
}

/// The base URL of a name's registry.
pub(crate) fn root_of(name: &Name, endpoints: &Endpoints, insecure: bool) -> Result<String> {
    let host = name.host();
    if host.eq_ignore_ascii_case(DEFAULT_HOST) {
        return endpoints.registry().map(str::to_owned);
    }
    let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
    let plain = insecure || is_loopback(bare);
    Ok(format!("{}://{host}", if plain { "http" } else { "https" }))
}

/// Checks that the file starts with GGUF's magic number.
fn check_magic(path: &Path) -> Result<()> {
    use std::io::Read as _;
    let mut magic = Vec::new();
    open_file(path)
        .and_then(|file| file.take(4).read_to_end(&mut magic))
        .map_err(|error| unreadable(path, error))?;
    if magic == mullama_gguf::MAGIC {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidModel, "a file of the model is not a GGUF file")
        .with_context("path", path.display())
        .with_hint("choose a tag or a repository that has GGUF files"))
}

fn interrupted(name: &Name) -> Error {
    Error::new(ErrorKind::Io, format!("files of {name} were removed while it was being pulled"))
        .with_context("name", name)
        .with_hint("pull it again")
}
