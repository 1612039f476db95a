//! How a command fails: a message on standard error and an exit code.

use std::io;
use std::process::ExitCode;

use mullama::{Error, ErrorKind};

/// Why a command ends early.
pub enum Failure {
    /// mullama refused or failed.
    Error(Error),
    /// The user interrupted.
    Interrupted,
    /// Writing to standard output failed.
    Output(io::Error),
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
    /// Tells the user, and gives the exit code.
    pub fn report(self) -> ExitCode {
        match self {
            Self::Error(error) => {
                eprintln!("error: {error}");
                if let Some(hint) = error.hint() {
                    eprintln!(" hint: {hint}");
                }
                ExitCode::from(exit_code(error.kind()))
            }
            // As a shell reports a program that SIGINT ended.
            Self::Interrupted => ExitCode::from(130),
            // Whoever read our output has seen enough: `mullama ... | head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(error) => {
                eprintln!("error: cannot write to standard output: {error}");
                ExitCode::from(exit_code(ErrorKind::Io))
            }
        }
    }
}

/// The exit code of each kind of error, and what it means; 2 is that of wrong usage.
pub const EXIT_CODES: &[(ErrorKind, u8, &str)] = &[
    (ErrorKind::Internal, 1, "a defect of mullama"),
    (ErrorKind::InvalidArgument, 2, "wrong usage, or a value that cannot be used"),
    (ErrorKind::NotFound, 3, "a file or a model is not there"),
    (ErrorKind::InvalidModel, 4, "the file is no model, or is damaged"),
    (ErrorKind::UnknownModel, 5, "no model can have this name"),
    (ErrorKind::OutOfMemory, 6, "the machine or a device ran out of memory"),
    (ErrorKind::DoesNotFit, 7, "the placement that was asked for does not fit"),
    (ErrorKind::ContextOverflow, 8, "the prompt is longer than the context"),
    (ErrorKind::InvalidGrammar, 9, "a grammar or JSON schema cannot be used"),
    (ErrorKind::Template, 10, "a chat template is missing, or refuses the messages"),
    (ErrorKind::Unsupported, 11, "the model or mullama cannot do this"),
    (ErrorKind::Backend, 12, "a backend module failed"),
    (ErrorKind::Closed, 13, "the model has been closed"),
    (ErrorKind::Download, 14, "a download failed"),
    (ErrorKind::Io, 15, "reading or writing failed"),
    (ErrorKind::Cancelled, 130, "interrupted"),
];

fn exit_code(kind: ErrorKind) -> u8 {
    EXIT_CODES.iter().find(|(known, ..)| *known == kind).map_or(1, |(_, code, _)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        for kind in ErrorKind::ALL {
            assert!(EXIT_CODES.iter().any(|(known, ..)| known == kind), "{kind} has no exit code");
        }
        let codes: std::collections::HashSet<_> =
            EXIT_CODES.iter().map(|(_, code, _)| code).collect();
        assert_eq!(codes.len(), EXIT_CODES.len());
    }
}
