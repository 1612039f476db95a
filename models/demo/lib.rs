//! The built-in demo model of mullama; `README.md` says what it knows and how it was made.

/// The model file: GGUF, llama architecture. A program that does not name it does not contain it.
pub static GGUF: &[u8] = include_bytes!("demo.gguf");

/// The length of the file in bytes.
pub const SIZE: u64 = include_bytes!("demo.gguf").len() as u64;

/// The name of the file in the folder of the engine's libraries. It depends on the content.
pub const NAME: &str = env!("MULLAMA_DEMO_NAME");
