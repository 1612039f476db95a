//! The source of a plan: a file, a name or a shape.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::options::PlanOptions;
use super::shape::Shape;
use crate::source::ResolvedModel;
use crate::{Error, ErrorKind, Result};
use mullama_base::folders::cache_folder;

/// The file with the header of a model to plan.
pub(super) struct HeaderFile {
    pub path: PathBuf,
    /// The name of the model in messages.
    pub name: String,
}

/// What to plan: a model, or the shape of one.
#[derive(Debug, Clone, PartialEq)]
pub enum PlanSource {
    /// A path or name, as [`crate::Model::load`] accepts it.
    Model(PathBuf),
    /// A model that need not exist.
    Shape(Shape),
}

impl PlanSource {
    /// Parses a source passed from another language: a string, or an object with the fields of a
    /// [`Shape`].
    pub fn parse(value: Value) -> Result<Self> {
        match value {
            Value::String(text) => Ok(Self::Model(text.into())),
            Value::Object(fields) => Shape::new(&fields).map(Self::Shape),
            _ => Err(Error::new(
                ErrorKind::InvalidArgument,
                "expected a path, a name or a shape as what to plan",
            )),
        }
    }

    /// Returns the file with the header, and the options completed with those stored with the
    /// model.
    pub(super) fn find(&self, options: &PlanOptions) -> Result<(HeaderFile, PlanOptions)> {
        let mut options = options.clone();
        let file = match self {
            Self::Model(source) => match ResolvedModel::find(source) {
                Ok(found) => {
                    found.fill_options(&mut options.model, &mut options.context)?;
                    let is_open = matches!(options.model.projector.as_deref(), None | Some("auto"));
                    if found.stored.is_some() && is_open {
                        let own = found.projector()?;
                        options.model.projector = own.map(|path| path.display().to_string());
                    }
                    HeaderFile { path: found.path, name: found.name }
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let path = remote_header(source).unwrap_or(Err(error))?;
                    HeaderFile { path, name: source.display().to_string() }
                }
                Err(error) => return Err(error),
            },
            Self::Shape(shape) => HeaderFile { path: shape.file()?, name: shape.name() },
        };
        Ok((file, options))
    }
}

/// Downloads the header of a remote model. Returns none if the source is not a remote one.
fn remote_header(source: &Path) -> Option<Result<PathBuf>> {
    let source = mullama_hub::Source::parse(source.to_str()?).ok()?;
    if matches!(source, mullama_hub::Source::Path(_)) {
        return None;
    }
    let folder = cache_folder("remote-headers");
    let options = mullama_hub::PullOptions::default();
    Some(mullama_hub::fetch_header(&source, &folder, &options))
}

impl From<Shape> for PlanSource {
    fn from(shape: Shape) -> Self {
        Self::Shape(shape)
    }
}

impl<T: AsRef<OsStr> + ?Sized> From<&T> for PlanSource {
    fn from(source: &T) -> Self {
        Self::Model(source.as_ref().into())
    }
}

impl From<String> for PlanSource {
    fn from(source: String) -> Self {
        Self::Model(source.into())
    }
}

impl From<PathBuf> for PlanSource {
    fn from(source: PathBuf) -> Self {
        Self::Model(source)
    }
}
