//! How a command fails: a message on standard error and an exit code.

use std::io;
use std::process::ExitCode;

use mullama::{Error, ErrorKind, hub};

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

impl From<hub::Error> for Failure {
    fn from(error: hub::Error) -> Self {
        Error::from(error).into()
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

/// The exit code of each kind of error; 2 is that of wrong usage.
pub const EXIT_CODES: &[(ErrorKind, u8)] = &[
    (ErrorKind::Internal, 1),
    (ErrorKind::InvalidArgument, 2),
    (ErrorKind::NotFound, 3),
    (ErrorKind::InvalidModel, 4),
    (ErrorKind::UnknownModel, 5),
    (ErrorKind::OutOfMemory, 6),
    (ErrorKind::DoesNotFit, 7),
    (ErrorKind::ContextOverflow, 8),
    (ErrorKind::InvalidGrammar, 9),
    (ErrorKind::Template, 10),
    (ErrorKind::Unsupported, 11),
    (ErrorKind::Backend, 12),
    (ErrorKind::Closed, 13),
    (ErrorKind::Download, 14),
    (ErrorKind::Io, 15),
    (ErrorKind::Cancelled, 130),
];

fn exit_code(kind: ErrorKind) -> u8 {
    EXIT_CODES.iter().find(|(known, _)| *known == kind).map_or(1, |(_, code)| *code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_code_of_its_own() {
        for kind in ErrorKind::ALL {
            assert!(EXIT_CODES.iter().any(|(known, _)| known == kind), "{kind} has no exit code");
        }
        let codes: std::collections::HashSet<_> = EXIT_CODES.iter().map(|(_, code)| code).collect();
        assert_eq!(codes.len(), EXIT_CODES.len());
    }
}
