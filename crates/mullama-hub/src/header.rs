//! Downloads the headers of a model's files without the weights, for planning.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use mullama_gguf::GgufHeader;

use crate::address;
use crate::client::{Client, Failure, Request, failed, interrupted};
use crate::download::Remote;
use crate::io_error::io_error;
use crate::manifest::Manifest;
use crate::pull::{addresses, probe, root_of};
use crate::registry::Registry;
use crate::{Digest, Error, ErrorKind, LayerKind, PullOptions, Result, Source, hugging_face};

/// Size of the first request in bytes; doubled as long as it does not suffice.
const FIRST_RANGE: u64 = 1 << 20;
/// Maximum size of a file from a server that ignores range requests.
const MAX_WHOLE_SIZE: u64 = 16 << 20;
/// Maximum plausible size of a model file.
const MAX_FILE_SIZE: u64 = 1 << 47;
/// Maximum number of models whose headers are cached.
const MAX_ENTRIES: usize = 50;

/// Downloads the headers of a model's files with range requests, and returns the path of the first. The files in
/// `folder` have the size of the model's files, but are sparse: only the headers occupy disk space. Cached headers are
/// not downloaded again, unless they are damaged.
///
/// Returns `NotFound` for a model that does not exist, `Unsupported` if the server ignores range requests (the message
/// has the size of the whole download), `InvalidModel` for a file that is not GGUF or whose header is impossible, and
/// `Download` for a failure of the network or the server.
pub fn fetch_header(source: &Source, folder: &Path, options: &PullOptions<'_>) -> Result<PathBuf> {
    let client = Client::new(options);
    let remotes = weight_files(source, &client, options)?;
    let about: Vec<String> = remotes.iter().map(version_key).collect();
    let model = folder.join(Digest::of(about.join("\n").as_bytes()).hex());
    let first = model.join(name(0, remotes.len()));
    let is_whole = || {
        remotes.iter().enumerate().all(|(index, remote)| {
            let header = GgufHeader::read(model.join(name(index, remotes.len())));
            header.is_ok_and(|header| header.file_size == remote.size)
        })
    };
    if is_whole() {
        return Ok(first);
    }
    // Existing files are damaged.
    let _ = fs::remove_dir_all(&model).or_else(|_| fs::remove_file(&model));
    let io = |error| io_error("write", &model, error);
    fs::create_dir_all(folder).map_err(io)?;
    forget_oldest(folder);
    let partial = tempfile::tempdir_in(folder).map_err(io)?;
    for (index, remote) in remotes.iter().enumerate() {
        let (header, length) = fetch(&client, remote)?;
        let path = partial.path().join(name(index, remotes.len()));
        write(&path, &header, length).map_err(|error| io_error("write", &path, error))?;
    }
    match fs::rename(partial.keep(), &model) {
        // Another process was faster.
        Err(_) if is_whole() => Ok(first),
        Err(error) => Err(io(error)),
        Ok(()) => Ok(first),
    }
}

/// The name of a model file among the others.
fn name(index: usize, count: usize) -> String {
    if count == 1 {
        return "model.gguf".to_owned();
    }
    format!("model-{:05}-of-{count:05}.gguf", index + 1)
}

/// Identifies a version of a file.
fn version_key(remote: &Remote) -> String {
    let version = match (&remote.digest, &remote.version) {
        (Some(digest), _) => digest.hex(),
        (None, Some(version)) => version.clone(),
        (None, None) => String::new(),
    };
    format!("{} {} {version}", remote.url, remote.size)
}

/// The files with the model's weights.
fn weight_files(
    source: &Source,
    client: &Client,
    options: &PullOptions<'_>,
) -> Result<Vec<Remote>> {
    let PullOptions { endpoints, token, insecure, .. } = options;
    let hugging_face = |source| {
        let token = endpoints.hugging_face_token.as_deref();
        let chosen = hugging_face::resolve(client, endpoints.hugging_face()?, token, source)?;
        let models = chosen.into_iter().filter(|file| file.kind == LayerKind::Model);
        Ok(models.map(|file| file.remote).collect())
    };
    match source {
        Source::HuggingFace(source) => hugging_face(source),
        Source::Name(name) => {
            if let Source::HuggingFace(source) = Source::from(name.clone()) {
                return hugging_face(&source);
            }
            let root = root_of(name, endpoints, *insecure)?;
            let mut registry = Registry::new(client, &root, name, token.as_deref());
            let manifest = Manifest::parse(&registry.manifest()?)?;
            let models =
                manifest.layers.iter().filter(|layer| layer.kind() == Some(LayerKind::Model));
            Ok(models.map(|layer| registry.blob(layer)).collect())
        }
        Source::Url(url) => addresses(url)?.iter().map(|url| probe(client, url)).collect(),
        Source::Path(path) => Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("{} is a path, not an address", path.display()),
        )),
    }
    .and_then(|remotes: Vec<Remote>| {
        if remotes.is_empty() {
            return Err(Error::new(ErrorKind::InvalidModel, format!("{source} has no weights")));
        }
        Ok(remotes)
    })
}

/// The bytes before the file's tensor data, and the size of the whole file.
fn fetch(client: &Client, remote: &Remote) -> Result<(Vec<u8>, u64)> {
    let length = remote.size;
    if length > MAX_FILE_SIZE {
        return Err(failed(&remote.url, &format!("it would have {length} bytes")));
    }
    let mut header = Vec::new();
    let mut wanted = FIRST_RANGE;
    loop {
        let end = wanted.min(length);
        let from = header.len() as u64;
        if from < end {
            header.extend(part(client, remote, from, end)?);
        }
        let read = GgufHeader::from_prefix(&header, length, shown(remote)).map_err(|error| {
            error.with_context("url", shown(remote)).with_hint(
                "a plan is made from the header of a GGUF file that is whole: choose one",
            )
        })?;
        if let Some(read) = read {
            header.truncate(read.data_offset as usize);
            return Ok((header, length));
        }
        wanted = end * 2;
    }
}

/// Downloads a range of a file.
fn part(client: &Client, remote: &Remote, from: u64, end: u64) -> Result<Vec<u8>> {
    client.retry(|| {
        let request = Request {
            url: &remote.url,
            bearer: remote.bearer.as_deref(),
            range: Some((from, end)),
            ..Request::default()
        };
        let result = client.send(&request, false).and_then(|mut response| {
            let count = end - from;
            if response.status == 200 {
                let whole = response.length().unwrap_or(remote.size);
                if whole > MAX_WHOLE_SIZE {
                    return Err(Failure::Permanent(no_ranges(remote, whole)));
                }
                let bytes = response.bytes(MAX_WHOLE_SIZE)?;
                let bytes = bytes.get(from as usize..end as usize);
                return bytes.map(<[u8]>::to_vec).ok_or_else(|| truncated_file(remote));
            }
            match response.content_range() {
                Some((first, total)) if first == from && total == remote.size => {}
                said => {
                    let problem = format!(
                        "the server sends another range than requested: {said:?} of {} bytes",
                        remote.size
                    );
                    return Err(Failure::Permanent(failed(&remote.url, &problem)));
                }
            }
            let mut bytes = Vec::new();
            let read = response.reader().take(count).read_to_end(&mut bytes);
            match read {
                Ok(read) if read as u64 == count => Ok(bytes),
                Ok(_) => Err(truncated_file(remote)),
                Err(error) => Err(interrupted(&remote.url, error)),
            }
        });
        (false, result)
    })
}

fn no_ranges(remote: &Remote, whole: u64) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "{}: the server does not send ranges of files, so reading the header would take a download of {:.1} GB",
            shown(remote),
            whole as f64 / 1e9
        ),
    )
    .with_context("url", shown(remote))
    .with_context("bytes", whole)
    .with_hint("pull the model, and plan with its name")
}

fn truncated_file(remote: &Remote) -> Failure {
    let problem = "fewer bytes were received than the server announced";
    Failure::Transient(failed(&remote.url, problem), None)
}

/// The URL without secrets.
fn shown(remote: &Remote) -> String {
    address::shown(&remote.url)
}

/// Writes the header, followed by a hole.
fn write(path: &Path, header: &[u8], length: u64) -> std::io::Result<()> {
    fs::write(path, header)?;
    fs::OpenOptions::new().write(true).open(path)?.set_len(length)
}

/// Deletes the oldest cached headers to make room for one more model.
fn forget_oldest(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut kept: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort();
    for (_, path) in kept.iter().take((kept.len() + 1).saturating_sub(MAX_ENTRIES)) {
        let _ = fs::remove_dir_all(path);
    }
}
