//! A user with an empty home folder.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use mullama_testkit::gguf::{ALIGNMENT, File, Header, Value};

/// An address without a server.
const NOWHERE: &str = "http://127.0.0.1:9";

/// The user's folders, deleted at the end of the test.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The command with these arguments, run as this user.
    pub fn mullama(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mullama"));
        command.args(arguments).current_dir(self.path());
        for (name, folder) in [
            ("HOME", "."),
            ("MULLAMA_MODELS", "models"),
            ("XDG_CACHE_HOME", "cache"),
            ("XDG_DATA_HOME", "data"),
            ("OLLAMA_MODELS", "ollama"),
            ("HF_HOME", "hf"),
            ("LLAMA_CACHE", "llama"),
        ] {
            command.env(name, self.path().join(folder));
        }
        // Only servers that a test specifies are contacted.
        command.env("MULLAMA_REGISTRY", NOWHERE).env("HF_ENDPOINT", NOWHERE);
        for name in ["COLUMNS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "MULLAMA_LOG"]
        {
            command.env_remove(name);
        }
        command.stdin(std::process::Stdio::null());
        command
    }

    /// The output of a command, which must succeed.
    pub fn stdout_of(&self, arguments: &[&str]) -> String {
        checked(&self.mullama(arguments).output().unwrap(), 0).0
    }

    /// The error message of a command, which must end with this exit code.
    pub fn stderr_of(&self, code: i32, arguments: &[&str]) -> String {
        checked(&self.mullama(arguments).output().unwrap(), code).1
    }
}

/// The standard output and standard error of a command with this exit code.
pub fn checked(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

/// The output of a process that ends within `patience`. A process that does not is killed; then `None`.
///
/// The process must print less than fits into a pipe.
pub fn wait_for(mut child: Child, patience: Duration) -> Option<Output> {
    let until = Instant::now() + patience;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
    Some(child.wait_with_output().unwrap())
}

/// The file of the model `demo`.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/demo.gguf")
}

/// A larger model that consists of little more than a header.
pub fn large() -> Vec<u8> {
    std::fs::read(mullama_testkit::fixture("large")).unwrap()
}

/// The larger model split into two files, like `llama-gguf-split` does.
pub fn shards() -> [Vec<u8>; 2] {
    let whole = File::decode(&large()).unwrap();
    let File { header: Header { metadata, tensors, .. }, data } = whole;
    let middle = tensors.len() / 2;
    let cut = tensors[middle].offset;
    let shard = |index: u16| {
        let mut pairs = if index == 0 { metadata.clone() } else { Vec::new() };
        pairs.push(("split.no".to_owned(), Value::u16(index)));
        pairs.push(("split.count".to_owned(), Value::u16(2)));
        pairs.push(("split.tensors.count".to_owned(), Value::i32(tensors.len() as i32)));
        let part = if index == 0 { &tensors[..middle] } else { &tensors[middle..] };
        let start = if index == 0 { 0 } else { cut };
        let moved = part.iter().cloned().map(|mut tensor| {
            tensor.offset -= start;
            tensor
        });
        let header = Header { metadata: pairs, tensors: moved.collect(), ..Header::default() };
        let data = if index == 0 { &data[..cut as usize] } else { &data[cut as usize..] };
        assert_eq!(cut % ALIGNMENT, 0);
        File { header, data: data.to_vec() }.encode()
    };
    [shard(0), shard(1)]
}
