//! Saved states: cells computed from a prompt, for use by other processes.

use std::path::Path;
use std::sync::Arc;

use super::constraint::Constraint;
use super::handle::Model;
use super::loaded::Loaded;
use super::request::RequestExtras;
use crate::engine::AdapterSet;
use crate::options::{GenerateOptions, Prompt};
use crate::scheduler::{self, SavedCells, Stream};
use crate::{Result, Token};

/// A state to be saved.
struct StateRequest {
    loaded: Arc<Loaded>,
    tokens: Vec<Token>,
    adapters: AdapterSet,
}

impl StateRequest {
    fn save(self) -> Result<Vec<u8>> {
        let Self { loaded, tokens, adapters } = self;
        let cells = loaded.engine()?.save(adapters, tokens)?;
        Ok(scheduler::encode(&cells, &loaded.fingerprint(&cells.adapters)?))
    }
}

impl Model {
    /// Saves the cells computed from a prompt as bytes for [`Model::load_state`], in this process or another. Tokens
    /// that are not computed yet are computed first.
    ///
    /// The state is as large as the tokens' part of the KV cache. The default adapters count as
    /// part of the model. Returns `Unsupported` if the model caches nothing between requests
    /// (`prefix_cache` 0).
    pub fn save_state(&self, prompt: impl Into<Prompt>) -> Result<Vec<u8>> {
        let wanted = self.prepare_state(prompt.into())?;
        self.compute_for_state(&wanted)?.finish()?;
        wanted.save()
    }

    /// As [`Model::save_state`], without blocking the thread while the prompt is computed.
    pub async fn save_state_async(&self, prompt: impl Into<Prompt>) -> Result<Vec<u8>> {
        let wanted = self.prepare_state(prompt.into())?;
        self.compute_for_state(&wanted)?.finish_async().await?;
        wanted.save()
    }

    fn prepare_state(&self, prompt: Prompt) -> Result<StateRequest> {
        let loaded = self.loaded()?;
        let (tokens, adapters) = (loaded.tokens_of(prompt)?, loaded.adapters_of(None)?);
        Ok(StateRequest { loaded, tokens, adapters })
    }

    fn compute_for_state(&self, wanted: &StateRequest) -> Result<Stream> {
        let options = GenerateOptions::default().with_max_tokens(1).with_temperature(0.0);
        let loaded = Arc::clone(&wanted.loaded);
        let extras = RequestExtras::default();
        self.submit(loaded, wanted.tokens.clone(), &options, Constraint::None, extras)
    }

    /// Loads a saved state: requests that start with its prompt reuse it. Returns its number of
    /// tokens.
    ///
    /// Returns `InvalidArgument` for a state that belongs to another model or other settings, or that is damaged, and
    /// `OutOfMemory` if running requests leave no room.
    pub fn load_state(&self, state: &[u8]) -> Result<usize> {
        let loaded = self.loaded()?;
        let adapters = loaded.adapters_of(None)?;
        let (tokens, data) = scheduler::decode(state, &loaded.fingerprint(&adapters)?)?;
        let count = tokens.len();
        loaded.engine()?.restore(SavedCells { adapters, tokens, data: data.to_owned() })?;
        Ok(count)
    }

    /// As [`Model::load_state`], for a file written by [`write_state`](crate::write_state).
    pub fn load_state_file(&self, path: impl AsRef<Path>) -> Result<usize> {
        let loaded = self.loaded()?;
        let fingerprint = loaded.fingerprint(&loaded.adapters_of(None)?)?;
        let info = &self.shared.info;
        let kv = info.placement.devices.iter().map(|share| share.kv).sum();
        let longest = scheduler::max_state_bytes(info.context_size, kv);
        self.load_state(&scheduler::read_state(path.as_ref(), &fingerprint, longest)?)
    }
}
