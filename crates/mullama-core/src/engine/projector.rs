//! A loaded projector: converts pictures to embeddings for a model. It computes on the CPU.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use mullama_base::check_memory;
use mullama_sys::shim;
use serde::Deserialize;

use super::failure::Failure;
use super::weights::Weights;
use crate::media::{Picture, placeholders};
use crate::runtime::log as logging;
use crate::source::ProjectorFile;
use crate::{Error, ErrorKind, Result, Token};

/// A loaded projector (mmproj).
pub(crate) struct Projector {
    // Dropped before the weights, which it refers to.
    inner: shim::Projector,
    file: ProjectorFile,
    /// Length of each embedding.
    width: usize,
    n_vocab: usize,
    _weights: Arc<Weights>,
}

/// A picture, preprocessed and divided into the pieces that it has in a prompt.
pub(crate) struct PreparedPicture {
    inner: shim::PreparedMedia,
    projector: Arc<Projector>,
    pub pieces: Vec<Piece>,
}

/// A piece of a picture in a prompt.
pub(crate) enum Piece {
    /// Text tokens before, between or after the parts.
    Text(Vec<Token>),
    /// Embeddings of a part of the picture.
    Part(Part),
}

/// A part of a picture. It is encoded in one call.
pub(crate) struct Part {
    /// Index in `PreparedPicture::pieces`.
    index: usize,
    /// The negative numbers that represent the part in a prompt, one per embedding.
    pub placeholders: Vec<Token>,
    /// Whether its embeddings attend to each other in both directions (no causal mask), so that they must be computed
    /// in one step.
    pub sees_ahead: bool,
}

/// The shim's JSON description of a projector.
#[derive(Deserialize)]
struct ProjectorDescription {
    vision: bool,
    has_grid_positions: bool,
}

/// The shim's JSON description of a piece.
#[derive(Deserialize)]
#[serde(untagged)]
enum PieceDescription {
    Text { tokens: Vec<Token> },
    Part { length: usize, sees_ahead: bool },
}

impl Projector {
    /// Bytes that the loaded projector needs: weights and compute buffers. The weights are not read.
    pub fn memory(file: &ProjectorFile) -> Result<u64> {
        with_file(file, shim::projector_memory)
    }

    /// Loads a projector. The caller has checked the header of its file.
    pub fn load(file: &ProjectorFile, weights: Arc<Weights>, n_threads: u32) -> Result<Self> {
        let (inner, about) = with_file(file, |name| {
            // SAFETY: the model outlives the projector, which owns a reference to the weights.
            unsafe { shim::Projector::load(name, weights.as_ptr(), n_threads as i32) }
        })?;
        let about: ProjectorDescription = serde_json::from_str(&about)
            .map_err(|error| problem(file, ErrorKind::Internal, &error.to_string()))?;
        if !about.vision || about.has_grid_positions {
            let reason = "it is of a kind that is not supported";
            return Err(problem(file, ErrorKind::Unsupported, reason));
        }
        let (width, n_vocab) = (weights.n_embd_input(), weights.n_vocab());
        let file = file.clone();
        Ok(Self { inner, file, width, n_vocab, _weights: weights })
    }

    /// Preprocesses a picture and divides it into pieces.
    pub fn prepare(self: &Arc<Self>, picture: &Picture) -> Result<PreparedPicture> {
        let (longer, shorter) =
            (picture.width.max(picture.height), picture.width.min(picture.height));
        let longest = self.file.longest;
        if longer / shorter >= longest {
            let Picture { width, height, .. } = picture;
            let message = format!(
                "the picture has {width} x {height} pixels: one side may be at most {longest} times the other"
            );
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        check_memory(picture.pixels.len())?;
        let (prepared, said) =
            logging::capture(|| self.inner.prepare(picture.width, picture.height, &picture.pixels));
        let problem = |reason: &str| {
            let Picture { width, height, .. } = picture;
            let message =
                format!("the projector cannot use a picture of {width} x {height}: {reason}");
            let kind = Failure::of(reason).kind(ErrorKind::InvalidArgument);
            Error::new(kind, message).with_context("path", self.file.path.display())
        };
        let (inner, described) =
            prepared.map_err(|reason| problem(&said.problem().unwrap_or(reason)))?;
        let described: Vec<PieceDescription> =
            serde_json::from_str(&described).map_err(|error| problem(&error.to_string()))?;
        let piece = |(index, described)| match described {
            PieceDescription::Text { tokens } => {
                let is_known = |token: &Token| (0..self.n_vocab as Token).contains(token);
                if tokens.iter().all(is_known) {
                    return Ok(Piece::Text(tokens));
                }
                let message = "the model's vocabulary lacks the tokens that enclose a picture";
                Err(Error::new(ErrorKind::InvalidModel, message)
                    .with_context("path", self.file.path.display())
                    .with_hint("the projector belongs to another model"))
            }
            PieceDescription::Part { length, sees_ahead } => {
                let placeholders = placeholders(picture.digest(), index, length);
                Ok(Piece::Part(Part { index, placeholders, sees_ahead }))
            }
        };
        let pieces = described.into_iter().enumerate().map(piece).collect::<Result<_>>()?;
        Ok(PreparedPicture { inner, projector: Arc::clone(self), pieces })
    }
}

/// Calls `read` with the path of a projector, and converts its error.
fn with_file<T>(
    file: &ProjectorFile,
    read: impl FnOnce(&CStr) -> shim::ShimResult<T>,
) -> Result<T> {
    let path = &file.path;
    let name = path
        .to_str()
        .and_then(|text| CString::new(text).ok())
        .ok_or_else(|| problem(file, ErrorKind::InvalidArgument, "its path is not valid UTF-8"))?;
    let size = path
        .metadata()
        .map_err(|error| Error::unreadable(path, error).naming_file(path, &file.name))?
        .len();
    check_memory(usize::try_from(size).unwrap_or(usize::MAX))?;
    let (done, said) = logging::capture(|| read(&name));
    done.map_err(|reason| {
        let reason = said.problem().unwrap_or(reason);
        problem(file, Failure::of(&reason).kind(ErrorKind::InvalidModel), &reason)
    })
}

fn problem(file: &ProjectorFile, kind: ErrorKind, reason: &str) -> Error {
    let message = format!("cannot load {}: {reason}", file.name);
    Error::new(kind, message).with_context("path", file.path.display())
}

impl PreparedPicture {
    /// Number of tokens that it occupies in a prompt.
    pub fn n_tokens(&self) -> usize {
        let length = |piece: &Piece| match piece {
            Piece::Text(tokens) => tokens.len(),
            Piece::Part(part) => part.placeholders.len(),
        };
        self.pieces.iter().map(length).sum()
    }

    /// Computes the embeddings of a part, one row of `width` numbers per embedding. Fails with `Cancelled` as soon as
    /// `should_continue` returns false.
    pub fn encode(&self, part: &Part, should_continue: &impl Fn() -> bool) -> Result<Vec<f32>> {
        let size = part.placeholders.len() * self.projector.width;
        check_memory(size * size_of::<f32>())?;
        let mut embeddings = vec![0.0; size];
        let (encoded, said) = logging::capture(|| {
            self.projector.inner.encode(&self.inner, part.index, should_continue, &mut embeddings)
        });
        if !should_continue() {
            return Err(Error::new(
                ErrorKind::Cancelled,
                "the request for the picture was abandoned",
            ));
        }
        let problem = |kind, reason: &str| {
            let message = format!("the projector cannot encode a picture: {reason}");
            Error::new(kind, message).with_context("path", self.projector.file.path.display())
        };
        encoded.map_err(|reason| {
            let reason = said.problem().unwrap_or(reason);
            problem(Failure::of(&reason).kind(ErrorKind::Backend), &reason)
        })?;
        if embeddings.iter().all(|number| number.is_finite()) {
            Ok(embeddings)
        } else {
            Err(problem(ErrorKind::InvalidModel, "it computed values that are not numbers"))
        }
    }
}
