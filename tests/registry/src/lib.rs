//! A registry on loopback for tests: it implements the protocols of Ollama and Hugging Face, serves
//! plain files, acts as an HTTP proxy, records requests, and simulates faults on demand.
//!
//! ```
//! use mullama_test_registry::{Registry, gguf};
//!
//! let registry = Registry::start();
//! registry.add_model("library/tiny:latest", &[("model", gguf(&[], 1000))]);
//! registry.add_repo("user/tiny-GGUF", &[("tiny-Q8_0.gguf", gguf(&[], 1000))]);
//! println!("MULLAMA_REGISTRY={0} HF_ENDPOINT={0}", registry.url());
//! ```

mod content;
mod server;

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use content::{Content, digest, gguf, noise};

/// The commit of every repository.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A fault in an answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Answers with this status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// Closes the connection after the given number of bytes of the body.
    Drop(u64),
    /// Changes the first byte of the body.
    Corrupt,
    /// Makes the file appear shorter by the given number of bytes.
    Shorter(u64),
    /// Redirects the client to this address, to which the path is appended if it ends in `*`.
    Redirect(String),
    /// Ignores ranges.
    NoRanges,
    /// Sends nothing for the given time.
    Stall(Duration),
    /// Sends the given number of bytes per second.
    Slow(u64),
    /// Sends bytes one by one, with the given pause after each.
    Trickle(Duration),
}

/// A received request.
#[derive(Debug, Clone)]
pub struct ReceivedRequest {
    pub(crate) id: u64,
    /// `GET`, `HEAD` or `CONNECT`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// Number of bytes of the body that were sent.
    pub sent: u64,
}

/// A server that stops when it is dropped.
pub struct Registry {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
pub(crate) struct State(Mutex<Inner>);

#[derive(Default)]
pub(crate) struct Inner {
    /// The contents by path.
    pub routes: HashMap<String, Route>,
    /// The blobs by digest, served at `/v2/<any>/<any>/blobs/<digest>`.
    pub blobs: HashMap<String, Content>,
    pub faults: Vec<(String, u32, Fault)>,
    pub token: Option<String>,
    pub seen: Vec<ReceivedRequest>,
    /// Number of requests so far.
    pub requests: u64,
    pub stopped: bool,
}

#[derive(Clone)]
pub(crate) struct Route {
    pub content: Content,
    pub ty: &'static str,
    pub tag: Option<String>,
}

impl State {
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    /// Starts a server on a free port of 127.0.0.1.
    ///
    /// # Panics
    ///
    /// Panics if there is none.
    pub fn start() -> Self {
        Self::start_at(0).expect("a port of 127.0.0.1")
    }

    /// Starts a server on the given port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Fails if the port is in use.
    pub fn start_at(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || server::accept(&listener, &shared));
        Ok(Self { address, state })
    }

    /// `127.0.0.1:PORT`: the host of a name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a model to the registry. The name is `namespace/model:tag`; a layer is a kind (`model`,
    /// `template`, ...) and its content.
    ///
    /// # Panics
    ///
    /// Panics if the name does not have this form.
    pub fn add_model<C: Into<Content> + Clone>(&self, name: &str, layers: &[(&str, C)]) {
        let config: Content = br#"{"model_format":"gguf","model_family":"test"}"#.to_vec().into();
        let layer = |ty: &str, content: &Content| {
            let (digest, size) = (content.digest(), content.len());
            serde_json::json!({ "mediaType": ty, "digest": digest, "size": size })
        };
        let mut list = Vec::new();
        for (kind, content) in layers {
            let content: Content = content.clone().into();
            list.push(layer(&format!("application/vnd.ollama.image.{kind}"), &content));
            self.add_blob(content);
        }
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": layer("application/vnd.docker.container.image.v1+json", &config),
            "layers": list,
        });
        self.add_blob(config);
        self.add_manifest(name, manifest.to_string().into_bytes());
    }

    /// Adds a blob to the registry.
    pub fn add_blob(&self, content: impl Into<Content>) {
        let content = content.into();
        self.state.lock().blobs.insert(content.digest(), content);
    }

    /// Adds a manifest to the registry, without validation.
    ///
    /// # Panics
    ///
    /// Panics if the name is not `namespace/model:tag`.
    pub fn add_manifest(&self, name: &str, bytes: Vec<u8>) {
        let (model, tag) = name.split_once(':').expect("a tag");
        self.add_json(&format!("/v2/{model}/manifests/{tag}"), bytes);
    }

    /// Adds a Hugging Face repository: its files by path.
    pub fn add_repo<C: Into<Content> + Clone>(&self, repo: &str, files: &[(&str, C)]) {
        let refs = serde_json::json!({
            "branches": [{ "name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT }],
            "tags": [],
        });
        let mut tree = Vec::new();
        for (path, content) in files {
            let content: Content = content.clone().into();
            let hex = content.digest().replace("sha256:", "");
            let size = content.len();
            let mut file =
                serde_json::json!({ "type": "file", "path": path, "size": size, "oid": "0" });
            if path.to_ascii_lowercase().ends_with(".gguf") {
                file["lfs"] = serde_json::json!({ "oid": hex, "size": content.len() });
            }
            tree.push(file);
            self.route(&format!("/{repo}/resolve/{COMMIT}/{path}"), content, "binary/octet-stream");
        }
        self.add_json(&format!("/api/models/{repo}/refs"), refs.to_string().into_bytes());
        let tree = serde_json::Value::from(tree).to_string().into_bytes();
        self.add_json(&format!("/api/models/{repo}/tree/{COMMIT}"), tree);
    }

    /// Adds a file at a path that begins with `/`; its version is its digest.
    pub fn add_file(&self, path: &str, content: impl Into<Content>) {
        self.route(path, content, "application/octet-stream");
    }

    /// Adds JSON at a path that begins with `/`, without validation.
    pub fn add_json(&self, path: &str, bytes: Vec<u8>) {
        self.route(path, bytes, "application/json");
    }

    /// Adds the contents of a folder:
    ///
    /// - `registry/<namespace>/<model>/<tag>/`: a model, from the files `model.gguf`,
    ///   `projector.gguf`, `adapter.gguf`, `template`, `system`, `params`, `messages` and `license`;
    /// - `hf/<user>/<repo>/`: a Hugging Face repository;
    /// - `files/`: files, served at `/files/`.
    ///
    /// # Errors
    ///
    /// Fails if it cannot be read.
    pub fn add_folder(&self, folder: &Path) -> io::Result<()> {
        for (namespace, path) in entries(&folder.join("registry"))? {
            for (model, path) in entries(&path)? {
                for (tag, path) in entries(&path)? {
                    let mut layers = Vec::new();
                    for (file, path) in entries(&path)? {
                        let kind = file.trim_end_matches(".gguf").to_owned();
                        layers.push((kind, Content::file(&path)?));
                    }
                    layers.sort_by_key(|(kind, _)| kind != "model");
                    let layers: Vec<_> = layers
                        .iter()
                        .map(|(kind, content)| (kind.as_str(), content.clone()))
                        .collect();
                    self.add_model(&format!("{namespace}/{model}:{tag}"), &layers);
                }
            }
        }
        for (user, path) in entries(&folder.join("hf"))? {
            for (repo, path) in entries(&path)? {
                let files = tree(&path)?;
                let files: Vec<_> =
                    files.iter().map(|(name, content)| (name.as_str(), content.clone())).collect();
                self.add_repo(&format!("{user}/{repo}"), &files);
            }
        }
        for (name, content) in tree(&folder.join("files"))? {
            self.add_file(&format!("/files/{name}"), content);
        }
        Ok(())
    }

    fn route(&self, path: &str, content: impl Into<Content>, ty: &'static str) {
        let content = content.into();
        let tag = (ty != "application/json").then(|| format!("\"{}\"", content.digest()));
        self.state.lock().routes.insert(path.to_owned(), Route { content, ty, tag });
    }

    /// Requires this token for all further requests. Clients of Ollama's protocol receive the address of the token
    /// server.
    pub fn require_token(&self, token: &str) {
        self.state.lock().token = Some(token.to_owned());
    }

    /// Applies a fault to the next `times` requests whose path contains `path`.
    pub fn fault(&self, path: &str, times: u32, fault: Fault) {
        self.state.lock().faults.push((path.to_owned(), times, fault));
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Returns and clears the recorded requests.
    pub fn take_requests(&self) -> Vec<ReceivedRequest> {
        std::mem::take(&mut self.state.lock().seen)
    }

    /// Number of bytes sent for paths that contain `path`.
    pub fn sent(&self, path: &str) -> u64 {
        let state = self.state.lock();
        state.seen.iter().filter(|seen| seen.path.contains(path)).map(|seen| seen.sent).sum()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.state.lock().stopped = true;
        // Wakes the accepting thread.
        let _ = std::net::TcpStream::connect(self.address);
    }
}

/// The entries of a folder, sorted by name; none if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<(String, std::path::PathBuf)>> {
    let mut entries = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
    }
    entries.sort();
    Ok(entries)
}

/// The files below a folder.
fn tree(folder: &Path) -> io::Result<Vec<(String, Content)>> {
    let mut files = Vec::new();
    for (name, path) in entries(folder)? {
        if path.is_dir() {
            files.extend(tree(&path)?.into_iter().map(|(below, c)| (format!("{name}/{below}"), c)));
        } else {
            files.push((name, Content::file(&path)?));
        }
    }
    Ok(files)
}
