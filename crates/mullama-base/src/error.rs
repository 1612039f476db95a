//! Errors: a kind for programs, a message that names the subject, context, and a hint.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::{Naming, Text, shortened};

/// The result of operations of mullama that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Declares the error kinds. Each row has the documentation, the name, the code, the exit status of the command with
/// its description in the help, and the built-in base class of the Python exception.
macro_rules! error_kinds {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident = $code:literal, $exit:literal $meaning:literal, $python:literal;
    )+) => {
        /// The kind of an error, for programs to act on.
        ///
        /// All languages expose it: as an exception class in Python, `err.code` in Node.js, an exit status of the
        /// command.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorKind {
            $( $(#[doc = $doc])+ $name, )+
        }

        impl ErrorKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$( Self::$name, )+];

            /// The name, such as `NotFound`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )+ }
            }

            /// The code in Node.js: the name in upper case, such as `NOT_FOUND`.
            pub const fn code(self) -> &'static str {
                match self { $( Self::$name => $code, )+ }
            }

            /// Its meaning, in one sentence.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$name => concat!($( $doc ),+).trim_ascii(), )+ }
            }

            /// The exit status of the command.
            pub const fn exit_status(self) -> u8 {
                match self { $( Self::$name => $exit, )+ }
            }

            /// The description of the exit status in the command's help.
            pub const fn exit_meaning(self) -> &'static str {
                match self { $( Self::$name => $meaning, )+ }
            }

            /// The built-in exception from which the Python class also derives.
            pub const fn python_exception(self) -> &'static str {
                match self { $( Self::$name => $python, )+ }
            }
        }
    };
}

error_kinds! {
    /// A file, or a model with this name, does not exist.
    NotFound = "NOT_FOUND", 3 "a file or a model does not exist", "FileNotFoundError";
    /// The file is not a GGUF model, is truncated or damaged, or has an architecture that the
    /// engine does not support.
    InvalidModel = "INVALID_MODEL", 4 "the file is not a model, or is damaged", "ValueError";
    /// An argument has the wrong type or a value outside its range.
    InvalidArgument = "INVALID_ARGUMENT", 2 "wrong usage, or a value that cannot be used", "ValueError";
    /// The name cannot be the name of a model.
    UnknownModel = "UNKNOWN_MODEL", 5 "no model can have this name", "ValueError";
    /// The machine or a device ran out of memory; the message names the device and the amount.
    OutOfMemory = "OUT_OF_MEMORY", 6 "the machine or a device ran out of memory", "MemoryError";
    /// The requested placement does not fit on the devices.
    DoesNotFit = "DOES_NOT_FIT", 7 "the requested placement does not fit", "MemoryError";
    /// The prompt is longer than the context.
    ContextOverflow = "CONTEXT_OVERFLOW", 8 "the prompt is longer than the context", "ValueError";
    /// A grammar or JSON schema cannot be used.
    InvalidGrammar = "INVALID_GRAMMAR", 9 "a grammar or JSON schema cannot be used", "ValueError";
    /// A chat template is missing, invalid, or rejects the messages.
    Template = "TEMPLATE", 10 "a chat template is missing, or rejects the messages", "ValueError";
    /// The model or the backend cannot do this.
    Unsupported = "UNSUPPORTED", 11 "the model or mullama cannot do this", "NotImplementedError";
    /// A backend module failed.
    Backend = "BACKEND", 12 "a backend module failed", "RuntimeError";
    /// The caller cancelled.
    Cancelled = "CANCELLED", 130 "interrupted", "Exception";
    /// The model has been closed.
    Closed = "CLOSED", 13 "the model has been closed", "RuntimeError";
    /// Too many requests are waiting; try again later.
    Busy = "BUSY", 16 "too many requests are waiting", "RuntimeError";
    /// A function that the caller passed, such as a logits processor, failed.
    Callback = "CALLBACK", 17 "a function of the caller failed", "RuntimeError";
    /// A download failed.
    Download = "DOWNLOAD", 14 "a download failed", "ConnectionError";
    /// Reading or writing a file failed.
    Io = "IO", 15 "reading or writing failed", "OSError";
    /// A defect of mullama or of the engine.
    Internal = "INTERNAL", 1 "a defect of mullama", "RuntimeError";
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error: its kind, a one-line message, context, and a hint about what to do next.
///
/// `Display` writes the message alone, `Debug` everything.
#[derive(Clone)]
pub struct Error(Box<Inner>);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.message, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|cause| cause as _)
    }
}

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Text,
    context: Vec<(&'static str, Text)>,
    hint: Option<Text>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Creates an error. The message should name its subject. Long messages and hints are shortened in the middle (see
    /// [`shortened`](crate::shortened)), and what controls a terminal is escaped (see [`printable`](crate::printable)):
    /// they may quote files and servers.
    pub fn new(kind: ErrorKind, message: impl Into<Text>) -> Self {
        let message = message.into().shortened().printable();
        Self(Box::new(Inner { kind, message, context: Vec::new(), hint: None, source: None }))
    }

    /// An error about an option, by its name in snake case: "option `top_p`: must lie between 0 and 1".
    pub fn option(name: &str, problem: impl Into<Text>) -> Self {
        Self::about_option(Text::name(name), problem)
    }

    /// Like [`Self::option`], but the name is shown as the caller wrote it.
    pub fn argument(name: &str, problem: impl Into<Text>) -> Self {
        Self::about_option(name.into(), problem)
    }

    fn about_option(name: Text, problem: impl Into<Text>) -> Self {
        let mut message = Text::from("option `");
        message.append(&name);
        message.append(&"`: ".into());
        message.append(&problem.into());
        let mut error = Self::new(ErrorKind::InvalidArgument, message);
        error.0.context.push(("option", name));
        error
    }

    /// A failed operation on a file: "cannot write model.gguf: permission denied".
    pub fn io(action: &str, path: &Path, source: io::Error) -> Self {
        Self::of_file(ErrorKind::Io, action, path, source)
    }

    /// A file that cannot be read. The kind is `NotFound` if the file does not exist, otherwise `Io`.
    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        };
        Self::of_file(kind, "read", path, source)
    }

    fn of_file(kind: ErrorKind, action: &str, path: &Path, source: io::Error) -> Self {
        Self::new(kind, format!("cannot {action} {}: {source}", path.display()))
            .with_context("path", path.display())
            .with_source(source)
    }

    /// The error of a cancelled call.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// Adds context: a path, a device, a URL, a number of bytes.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string().into()));
        self
    }

    /// Sets the hint: what the user can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Text>) -> Self {
        self.0.hint = Some(hint.into().shortened().printable());
        self
    }

    /// Shows a name in place of a file's path, in the message and in the hint. The context still has the path.
    #[must_use]
    pub fn naming_file(mut self, path: &Path, name: &str) -> Self {
        let path = path.to_string_lossy();
        self.0.message = self.0.message.replaced(&path, name);
        self.0.hint = self.0.hint.map(|hint| hint.replaced(&path, name));
        self
    }

    /// Puts the place in the arguments before the message: `messages[0].content[1]: ...`.
    #[must_use]
    pub fn at(mut self, place: &str) -> Self {
        let message = std::mem::take(&mut self.0.message);
        self.0.message = Text::from(format!("{place}: ")).printable().and(message);
        self
    }

    /// Sets the error that caused this one.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Sets the error with which a function of the caller failed.
    #[must_use]
    pub fn with_cause(mut self, cause: Box<dyn std::error::Error + Send + Sync>) -> Self {
        self.0.source = Some(cause.into());
        self
    }

    /// The underlying error: of the system, or of a function of the caller.
    pub fn cause(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }

    /// The kind of an error, for programs to act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The hint: what the user can do next.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_ref().map(Text::as_str)
    }

    /// The context, as pairs of name and value.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The value of a context entry.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.context().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The texts of the error, with option names in the style of a front end.
    pub fn render(&self, naming: Naming) -> Rendered {
        let context = self.0.context.iter().map(|(key, value)| (*key, value.render(naming)));
        Rendered {
            message: self.0.message.render(naming),
            hint: self.0.hint.as_ref().map(|hint| hint.render(naming)),
            context: context.collect(),
        }
    }

    /// The message, and the hint on a second line, as exceptions show them.
    pub fn report(&self) -> String {
        self.render(Naming::Snake).report()
    }
}

/// The message, for use in another text.
impl From<Error> for Text {
    fn from(error: Error) -> Self {
        error.0.message
    }
}

impl Rendered {
    /// The message, and the hint on a second line.
    pub fn report(self) -> String {
        match self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message,
        }
    }
}

/// The texts of an error, with option names in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The message, in one line.
    pub message: String,
    /// What the user can do next.
    pub hint: Option<String>,
    /// The context, as pairs of name and value.
    pub context: Vec<(&'static str, String)>,
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind, self.0.message)?;
        for (key, value) in self.context() {
            write!(f, "\n  {key}: {value}")?;
        }
        if let Some(source) = &self.0.source {
            write!(f, "\n  caused by: {}", shortened(&source.to_string()))?;
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
    fn long_values_are_not_repeated_in_full() {
        let long = "x".repeat(1 << 20);
        let error = Error::option("split_mode", format!("`{long}` is not one of row, tensor"))
            .with_hint(format!("replace {long}"))
            .with_context("value", &long)
            .with_source(io::Error::other(long.clone()));
        let message = error.to_string();
        assert!(message.starts_with("option `split_mode`: `xxx"), "{message}");
        assert!(message.ends_with("xxx` is not one of row, tensor"), "{message}");
        assert!(error.report().len() < 10_000);
        assert_eq!(error.get("value"), Some(long.as_str()), "programs get the value itself");
        assert!(Error::argument(&long, "is unknown").to_string().ends_with("xxx`: is unknown"));
    }

    #[test]
    fn a_place_comes_before_the_message() {
        let error = Error::option("top_p", "is too large").at("requests[1]");
        assert_eq!(error.render(Naming::Camel).message, "requests[1]: option `topP`: is too large");
    }

    #[test]
    fn a_name_replaces_a_path_in_what_people_read() {
        let path = Path::new("/blobs/sha256-00");
        let error = Error::unreadable(path, io::Error::other("no"))
            .with_hint("remove /blobs/sha256-00")
            .naming_file(path, "llama3.2:1b");
        assert_eq!(error.report(), "cannot read llama3.2:1b: no\nhint: remove llama3.2:1b");
        assert_eq!(error.get("path"), Some("/blobs/sha256-00"));
    }

    #[test]
    fn not_found_is_reported_only_when_reading() {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let path = Path::new("none/x.gguf");
        assert_eq!(Error::unreadable(path, missing()).kind(), ErrorKind::NotFound);
        assert_eq!(Error::io("write", path, missing()).kind(), ErrorKind::Io);
    }

    #[test]
    fn error_codes_are_kind_names_in_upper_case() {
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

    #[test]
    fn exit_statuses_are_unique_per_error_kind() {
        let statuses: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.exit_status()).collect();
        assert_eq!(statuses.len(), ErrorKind::ALL.len());
        assert!(!statuses.contains(&0));
        assert_eq!(ErrorKind::Cancelled.exit_status(), 130, "as a shell reports SIGINT");
    }

    #[test]
    fn descriptions_are_sentences() {
        for kind in ErrorKind::ALL {
            assert!(kind.description().ends_with('.'), "{kind}");
        }
        let long = ErrorKind::InvalidModel.description();
        assert!(long.ends_with("architecture that the engine does not support."), "{long}");
    }

    #[test]
    fn options_are_named_as_each_language_writes_them() {
        let error = Error::option("top_p", Text::with_names("needs {top_k}"))
            .with_hint(Text::with_names("leave {top_k} out"));
        assert_eq!(error.to_string(), "option `top_p`: needs `top_k`");
        assert_eq!(error.get("option"), Some("top_p"));
        let rendered = error.render(Naming::Camel);
        assert_eq!(rendered.message, "option `topP`: needs `topK`");
        assert_eq!(rendered.hint.as_deref(), Some("leave `topK` out"));
        assert_eq!(rendered.context, [("option", "topP".to_owned())]);
        // The caller's own spelling is shown unchanged.
        let error = Error::argument("top_q", "there is no such option");
        assert_eq!(error.render(Naming::Camel).message, error.to_string());
        assert_eq!(error.get("option"), Some("top_q"));
    }
}
