//! Basics that all other crates use: errors, cancellation, atomic writes, the user's folders, sizes with units,
//! suggestions for misspelt words, tables, and safe output on terminals. Depends on none of the other crates.

#![warn(missing_debug_implementations)]

mod cancel;
mod environment;
mod error;
mod file;
pub mod folders;
mod memory;
mod naming;
mod printable;
mod recent;
mod shorten;
mod similar;
mod table;
mod thread;
pub mod units;
mod warning;

pub use cancel::{CancelCallback, CancelOnDrop, CancelToken};
pub use environment::{number_from_env, seconds_from_env};
pub use error::{Error, ErrorKind, Rendered, Result};
pub use file::{
    TEMPORARY_PREFIX, TemporaryFile, open_file, read_file, read_file_or_pipe, write_atomically,
    write_durably,
};
pub use memory::check_memory;
pub use naming::{Naming, Text};
pub use printable::{printable, printable_prose};
pub use recent::Recent;
pub use shorten::shortened;
pub use similar::{nearest, similar_by, similar_names, similarity};
pub use table::{table, wrapped};
pub use thread::{check_threads, thread_error};
pub use warning::warn_once;
