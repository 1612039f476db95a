//! Image input of a model: its projector, and prompts with pictures.

use std::sync::{Arc, OnceLock};

use mullama_base::Text;

use crate::chat::{Message, PICTURE, Templates, picture_place, pictures};
use crate::engine::{Piece, PreparedPicture, Projector, Prompt, Vocab, Weights};
use crate::media::Picture;
use crate::options::MediaLimits;
use crate::scheduler::MediaRun;
use crate::source::ProjectorFile;
use crate::{Error, ErrorKind, Result, Token};

/// A model's projector. It is loaded on first use.
pub(super) struct Vision {
    file: Option<Result<ProjectorFile>>,
    projector: OnceLock<Result<Arc<Projector>>>,
    n_threads: u32,
    pub limits: VisionLimits,
}

/// Limits on pictures.
pub(super) struct VisionLimits {
    pub media: MediaLimits,
    /// Context size in tokens.
    pub n_ctx: usize,
    /// Maximum number of tokens computed together.
    pub n_ubatch: usize,
}

/// A prompt with the pictures in it.
#[derive(Default)]
pub(super) struct PromptWithPictures {
    pub tokens: Vec<Token>,
    pub media: Vec<MediaRun>,
}

impl Vision {
    pub fn new(file: Option<Result<ProjectorFile>>, n_threads: u32, limits: VisionLimits) -> Self {
        Self { file, projector: OnceLock::new(), n_threads, limits }
    }

    /// Whether the model accepts pictures.
    pub fn is_on(&self) -> bool {
        matches!(self.file, Some(Ok(_)))
    }

    /// Returns an error that names the first picture in `messages` if the model has no usable projector.
    pub fn check_supported(&self, messages: &[Message]) -> Result<()> {
        self.file(messages).map(drop)
    }

    fn file(&self, messages: &[Message]) -> Result<&ProjectorFile> {
        let text_only = || {
            let place = picture_place(messages).unwrap_or_default();
            let message = format!("{place} has a picture, and this model takes text only");
            Error::new(ErrorKind::Unsupported, message).with_hint(Text::with_names(
                "models that accept pictures come with a projector: give its file as {projector}",
            ))
        };
        self.file.as_ref().ok_or_else(text_only)?.as_ref().map_err(Clone::clone)
    }

    /// Returns the projector, and loads it on the first call.
    pub fn load(&self, weights: &Arc<Weights>) -> Result<Arc<Projector>> {
        let file = self.file(&[])?;
        if let Some(known) = self.projector.get() {
            return known.clone();
        }
        match Projector::load(file, Arc::clone(weights), self.n_threads) {
            // Not cached: enough memory may be available next time.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(error),
            loaded => self.projector.get_or_init(|| loaded.map(Arc::new)).clone(),
        }
    }

    /// Decodes the pictures of messages and divides them into pieces.
    pub fn pictures(
        &self,
        weights: &Arc<Weights>,
        messages: &[Message],
    ) -> Result<Vec<Arc<PreparedPicture>>> {
        self.check_supported(messages)?;
        let found = pictures(messages, &self.limits.media)?;
        let projector = self.load(weights)?;
        let prepare = |(place, picture): (String, Picture)| {
            let prepared = projector.prepare(&picture).and_then(|prepared| {
                self.check(&picture, &prepared)?;
                Ok(prepared)
            });
            prepared.map(Arc::new).map_err(|error| error.at(&place))
        };
        found.into_iter().map(prepare).collect()
    }

    /// Checks that a picture fits into the context, and that its parts without a causal mask fit into a step.
    fn check(&self, picture: &Picture, prepared: &PreparedPicture) -> Result<()> {
        let VisionLimits { n_ctx, n_ubatch, .. } = self.limits;
        let count = prepared.n_tokens();
        if count > n_ctx {
            let Picture { width, height, .. } = picture;
            let message = format!(
                "a picture of {width} x {height} pixels takes {count} tokens and the context has {n_ctx}"
            );
            return Err(Error::new(ErrorKind::ContextOverflow, message)
                .with_context("image_tokens", count)
                .with_context("context_size", n_ctx)
                .with_hint(Text::with_names(
                    "load the model with a larger {context_size}, or make the picture smaller",
                )));
        }
        for piece in &prepared.pieces {
            if let Piece::Part(part) = piece
                && part.sees_ahead
                && part.placeholders.len() > n_ubatch
            {
                let message = format!(
                    "a picture takes {} tokens that must be computed together, and a step can compute {n_ubatch}",
                    part.placeholders.len(),
                );
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .with_hint(Text::with_names("load the model with a larger {ubatch_size}")));
            }
        }
        Ok(())
    }
}

/// Tokenises a prompt and inserts `pictures` in order at its picture marks.
pub(super) fn tokens_of(
    templates: &Templates,
    vocab: &Vocab,
    prompt: &Prompt,
    pictures: &[Arc<PreparedPicture>],
) -> Result<PromptWithPictures> {
    let parts = if pictures.is_empty() { vec![prompt.clone()] } else { prompt.split(PICTURE) };
    let texts = templates.specials(vocab).tokenize(vocab, &parts)?;
    if texts.len() != pictures.len() + 1 {
        let message = "the prompt has lost the place of a picture";
        return Err(Error::new(ErrorKind::Internal, message));
    }
    if texts.len() > 1 && texts.last().is_some_and(Vec::is_empty) {
        let message = "the chat template has nothing after the last picture";
        return Err(Error::new(ErrorKind::Template, message));
    }
    let mut seen = PromptWithPictures::default();
    for (index, text) in texts.iter().enumerate() {
        seen.tokens.extend(text);
        if let Some(picture) = pictures.get(index) {
            MediaRun::append(picture, &mut seen.tokens, &mut seen.media);
        }
    }
    Ok(seen)
}
