//! The source of a plan: a file, a name or a shape.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::options::PlanOptions;
use super::shape::Shape;
use crate::source::ResolvedModel;
use crate::{Error, ErrorKind, Result};
use mullama_base::folders::cache_dir;

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
    pub(super) fn find(&self, options: &PlanOptions) -> Result<(PathBuf, PlanOptions)> {
        let mut options = options.clone();
        let header = match self {
            Self::Model(source) => match ResolvedModel::find(source) {
                Ok(found) => {
                    found.fill_options(&mut options.model, &mut options.context)?;
                    let is_open = matches!(options.model.projector.as_deref(), None | Some("auto"));
                    if found.stored.is_some() && is_open {
                        let own = found.projector()?;
                        options.model.projector = own.map(|path| path.display().to_string());
                    }
                    found.path
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    remote_header(source).unwrap_or(Err(error))?
                }
                Err(error) => return Err(error),
            },
            Self::Shape(shape) => shape.file()?,
        };
        Ok((header, options))
    }
}

/// Downloads the header of a remote model. Returns none if the source is not a remote one.
fn remote_header(source: &Path) -> Option<Result<PathBuf>> {
    let source = mullama_hub::Source::parse(source.to_str()?).ok()?;
    if matches!(source, mullama_hub::Source::Path(_)) {
        return None;
    }
    let folder = cache_dir().join("remote-headers");
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
