//! The floor as a Node.js addon: the same library, loaded with `process.dlopen`.
#![allow(clippy::needless_pass_by_value, reason = "arguments that come from JavaScript are owned")]

use std::path::Path;

use napi::bindgen_prelude::Int32Array;
use napi_derive::napi;

use crate::floor::{Floor, Settings, Timed};

/// A [`Floor`]; its methods block the event loop.
#[napi(js_name = "Floor")]
pub struct NodeFloor(Option<Floor>);

/// A [`Timed`].
#[napi(object)]
pub struct NodeTimed {
    /// Duration of the measured part.
    pub seconds: f64,
    /// All generated tokens.
    pub tokens: Vec<i32>,
}

#[napi]
impl NodeFloor {
    /// Loads a model.
    #[napi(constructor)]
    pub fn new(
        path: String,
        n_ctx: u32,
        n_batch: u32,
        n_ubatch: u32,
        n_threads: u32,
    ) -> napi::Result<Self> {
        let settings = Settings { n_ctx, n_batch, n_ubatch, n_threads };
        Floor::open(Path::new(&path), settings).map(|floor| Self(Some(floor))).map_err(failed)
    }

    /// Computes a prompt and chooses one token. Measures both.
    #[napi]
    pub fn prefill(&mut self, prompt: Int32Array) -> napi::Result<NodeTimed> {
        timed(self.floor()?.prefill(&prompt))
    }

    /// Computes a prompt and generates `n_new` tokens. Measures from the first token to the last.
    #[napi]
    pub fn decode(&mut self, prompt: Int32Array, n_new: u32) -> napi::Result<NodeTimed> {
        timed(self.floor()?.decode(&prompt, n_new as usize))
    }

    /// Frees the model.
    #[napi]
    pub fn close(&mut self) {
        self.0 = None;
    }

    fn floor(&mut self) -> napi::Result<&mut Floor> {
        self.0.as_mut().ok_or_else(|| failed("it has been closed".to_owned()))
    }
}

/// Waits until the process is nearly idle, see [`crate::settle`].
#[napi]
pub fn settle() {
    crate::settle();
}

/// CPU time of all other processes, see [`crate::others`].
#[napi]
pub fn others() -> f64 {
    crate::others()
}

/// Whether other programs did not disturb a round, see [`crate::undisturbed`].
#[napi]
pub fn undisturbed(used: f64, elapsed: f64) -> bool {
    crate::undisturbed(used, elapsed)
}

fn timed(timed: Result<Timed, String>) -> napi::Result<NodeTimed> {
    let Timed { duration, tokens } = timed.map_err(failed)?;
    Ok(NodeTimed { seconds: duration.as_secs_f64(), tokens })
}

fn failed(problem: String) -> napi::Error {
    napi::Error::from_reason(problem)
}
