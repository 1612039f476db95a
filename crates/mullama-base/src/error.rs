//! Errors: a kind to act on, a message that names the thing, context, and what to do next.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// The result of everything in mullama that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

macro_rules! error_kinds {
    ($( $(#[doc = $doc:literal])+ $name:ident => $code:literal, )+) => {
        /// What went wrong, as far as a program can act on it.
        ///
        /// The kind crosses every language boundary: an exception class in Python, `err.code` in
        /// Node.js, an exit code of the command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl ErrorKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The name: `NotFound`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// The name in upper case, as Node.js programs know it: `NOT_FOUND`.
            pub const fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )+ }
            }
        }
    };
}

error_kinds! {
    /// A file, or a model of this name, is not there.
    NotFound => "NOT_FOUND",
    /// The file is no GGUF model, is cut short or damaged, or holds an architecture that the engine
    /// does not know.
    InvalidModel => "INVALID_MODEL",
    /// An argument has the wrong type or a value outside its range.
    InvalidArgument => "INVALID_ARGUMENT",
    /// The name cannot be the name of a model.
    UnknownModel => "UNKNOWN_MODEL",
    /// The machine or a device ran out of memory; the message says of how much of what.
    OutOfMemory => "OUT_OF_MEMORY",
    /// The placement that was asked for does not fit the devices.
    DoesNotFit => "DOES_NOT_FIT",
    /// The prompt is longer than the context.
    ContextOverflow => "CONTEXT_OVERFLOW",
    /// A grammar or JSON schema cannot be used.
    InvalidGrammar => "INVALID_GRAMMAR",
    /// A chat template is missing, damaged, or does not accept the messages.
    Template => "TEMPLATE",
    /// The model or the backend cannot do this.
    Unsupported => "UNSUPPORTED",
    /// A backend module failed.
    Backend => "BACKEND",
    /// The caller cancelled.
    Cancelled => "CANCELLED",
    /// The model has been closed.
    Closed => "CLOSED",
    /// A download failed.
    Download => "DOWNLOAD",
    /// Reading or writing a file failed.
    Io => "IO",
    /// A defect of mullama or of the engine.
    Internal => "INTERNAL",
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: its kind, a message of one line, context, and a hint at what to do next.
///
/// `Display` gives the message alone, `Debug` everything.
#[derive(Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind; the message should name the thing it is about.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, context: Vec::new(), hint: None, source: None }))
    }

    /// An option or argument that cannot be used: "option `top_p`: must lie between 0 and 1".
    pub fn option(name: &str, problem: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidArgument, format!("option `{name}`: {problem}"))
            .with_context("option", name)
    }

    /// An operation on a file that failed: "cannot read model.gguf: permission denied".
    ///
    /// The kind is `NotFound` where the file is not there, otherwise `Io`.
    pub fn io(action: &str, path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::new(kind, format!("cannot {action} {}: {source}", path.display()))
            .with_context("path", path.display())
            .with_source(source)
    }

    /// The caller cancelled.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Adds what the error is about: a path, a device, a URL, a number of bytes.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Adds what the user can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Adds the error below this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// What went wrong, as far as a program can act on it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What the user can do next.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// What the error is about, as pairs of a name and a value.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The value of the context of this name.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.context().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The message, and the hint on a line of its own: what an exception shows.
    pub fn report(&self) -> String {
        match self.hint() {
            Some(hint) => format!("{self}\nhint: {hint}"),
            None => self.to_string(),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        for (key, value) in self.context() {
            write!(f, "\n  {key}: {value}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, "\n  caused by: {source}")?;
        }
        if let Some(hint) = self.hint() {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_and_debug_has_everything() {
        let error = Error::new(ErrorKind::NotFound, "no file at x.gguf")
            .with_context("path", "x.gguf")
            .with_hint("check the path");
        assert_eq!(error.to_string(), "no file at x.gguf");
        assert_eq!(error.report(), "no file at x.gguf\nhint: check the path");
        assert_eq!(
            format!("{error:?}"),
            "NotFound: no file at x.gguf\n  path: x.gguf\n  hint: check the path"
        );
    }

    #[test]
    fn codes_are_the_names_in_upper_case() {
        for kind in ErrorKind::ALL {
            let snake: String = kind
                .name()
                .chars()
                .enumerate()
                .flat_map(|(i, c)| {
                    (i > 0 && c.is_uppercase()).then_some('_').into_iter().chain([c])
                })
                .collect();
            assert_eq!(kind.code(), snake.to_uppercase());
        }
    }
}
