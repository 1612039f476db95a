//! Failures of a command: a message on standard error and an exit code.

use std::io;

use mullama::{Error, ErrorKind, Naming, Rendered};

use crate::options::with_flag_names;
use crate::terminal::print_message;

/// Why a command ends early.
pub enum Failure {
    /// An error of the library.
    Error(Error),
    /// The user interrupted.
    Interrupted,
    /// Writing to standard output failed.
    Output(io::Error),
    /// The output already explains the failure.
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
    /// Reports the failure to the user, and returns the exit status.
    pub fn report(self) -> u8 {
        match self {
            Self::Error(error) => {
                let Rendered { message, hint, .. } = error.render(Naming::Flag);
                print_message(format_args!("error: {}", with_flag_names(&message)));
                if let Some(hint) = hint {
                    print_message(format_args!(" hint: {}", with_flag_names(&hint)));
                }
                error.kind().exit_status()
            }
            Self::Told(kind) => kind.exit_status(),
            // The status that shells report for a process ended by SIGINT.
            Self::Interrupted => ErrorKind::Cancelled.exit_status(),
            // The reader has closed the pipe, which is not an error: `mullama ... | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Output(error) => {
                print_message(format_args!("error: cannot write to standard output: {error}"));
                ErrorKind::Io.exit_status()
            }
        }
    }
}
