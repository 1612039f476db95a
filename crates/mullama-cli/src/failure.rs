//! How a command fails: a message on standard error and an exit code.

use std::io;

use mullama::{Error, ErrorKind};

use crate::terminal::tell;

/// Why a command ends early.
pub enum Failure {
    /// mullama refused or failed.
    Error(Error),
    /// The user interrupted.
    Interrupted,
    /// Writing to standard output failed.
    Output(io::Error),
    /// What the command printed says it already.
    Told(ErrorKind),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        if error.kind() == ErrorKind::Cancelled { Self::Interrupted } else { Self::Error(error) }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Tells the user, and gives the exit status.
    pub fn report(self) -> u8 {
        match self {
            Self::Error(error) => {
                tell(format_args!("error: {error}"));
                if let Some(hint) = error.hint() {
                    tell(format_args!(" hint: {hint}"));
                }
                error.kind().exit_status()
            }
            Self::Told(kind) => kind.exit_status(),
            // As a shell reports a program that SIGINT ended.
            Self::Interrupted => ErrorKind::Cancelled.exit_status(),
            // Whoever read our output has seen enough: `mullama ... | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(error) => {
                tell(format_args!("error: cannot write to standard output: {error}"));
                ErrorKind::Io.exit_status()
            }
        }
    }
}
