//! A user with an empty home folder.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Folders that go with the test.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The command, with these arguments, as this user.
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
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN", "MULLAMA_LOG"] {
            command.env_remove(name);
        }
        command.stdin(std::process::Stdio::null());
        command
    }

    /// What the command prints, which must succeed.
    pub fn says(&self, arguments: &[&str]) -> String {
        checked(&self.mullama(arguments).output().unwrap(), 0).0
    }

    /// What the command complains of, which must end with this code.
    pub fn complains(&self, code: i32, arguments: &[&str]) -> String {
        checked(&self.mullama(arguments).output().unwrap(), code).1
    }
}

/// Standard output and standard error of a command that ended with this code.
pub fn checked(output: &Output, code: i32) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

/// The file of the model `demo`.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo/demo.gguf")
}
