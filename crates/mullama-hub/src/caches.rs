//! stub
use crate::{Entry, Name, Result, StoredModel};
use std::path::Path;
/// x
#[derive(Debug, Clone, Default)]
pub struct Caches;
impl Caches {
    /// x
    pub fn none() -> Self {
        Self
    }
    /// x
    pub fn from_env() -> Self {
        Self
    }
    pub(crate) fn without_store(self, _root: &Path) -> Self {
        self
    }
    pub(crate) fn list(&self) -> Vec<Entry> {
        Vec::new()
    }
    pub(crate) fn find(&self, _name: &Name) -> Result<Option<StoredModel>> {
        Ok(None)
    }
}
