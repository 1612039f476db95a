//! The built-in demo model of mullama; `README.md` says what it knows and how it was made.

/// The model file: GGUF, llama architecture.
pub static GGUF: &[u8] = include_bytes!("demo.gguf");

/// Another for each content of the file.
pub const FINGERPRINT: &str = env!("MULLAMA_DEMO_FINGERPRINT");
