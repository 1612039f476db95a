//! How a model sees: its projector, and prompts with pictures.

use std::sync::{Arc, OnceLock};

use mullama_base::Text;

use crate::chat::{Message, PICTURE, Templates, picture_place, pictures};
use crate::engine::{Piece, PreparedPicture, Projector, Prompt, Vocab, Weights};
use crate::scheduler::MediaRun;
use crate::source::ProjectorFile;
use crate::{Error, ErrorKind, Result, Token};

/// A model's projector, which is loaded on first use.
pub(super) struct Vision {
    file: Option<Result<ProjectorFile>>,
    projector: OnceLock<Result<Arc<Projector>>>,
    n_threads: u32,
    /// Tokens that are computed at once.
    n_ubatch: usize,
}

/// A prompt that may have pictures in it.
#[derive(Default)]
pub(super) struct SeenPrompt {
    pub tokens: Vec<Token>,
    pub media: Vec<MediaRun>,
}

impl Vision {
    pub fn new(file: Option<Result<ProjectorFile>>, n_threads: u32, n_ubatch: u32) -> Self {
        Self { file, projector: OnceLock::new(), n_threads, n_ubatch: n_ubatch as usize }
    }

    /// Whether the model takes pictures.
    pub fn is_on(&self) -> bool {
        matches!(self.file, Some(Ok(_)))
    }

    /// The projector, which is loaded where it has not been.
    ///
    /// `messages` have a picture: an error names its place.
    pub fn projector(
        &self,
        weights: &Arc<Weights>,
        messages: &[Message],
    ) -> Result<Arc<Projector>> {
        let text_only = || {
            let place = picture_place(messages).unwrap_or_default();
            let message = format!("{place} has a picture, and this model takes text only");
            Error::new(ErrorKind::Unsupported, message).with_hint(Text::with_names(
                "a model that sees has a projector: give its file as {projector}",
            ))
        };
        let file = self.file.as_ref().ok_or_else(text_only)?.as_ref().map_err(Clone::clone)?;
        if let Some(known) = self.projector.get() {
            return known.clone();
        }
        match Projector::load(file, Arc::clone(weights), self.n_threads) {
            // Next time there may be enough.
            Err(error) if error.kind() == ErrorKind::OutOfMemory => Err(error),
            loaded => self.projector.get_or_init(|| loaded.map(Arc::new)).clone(),
        }
    }

    /// Decodes the pictures of messages, and cuts them up.
    pub fn pictures(
        &self,
        weights: &Arc<Weights>,
        messages: &[Message],
    ) -> Result<Vec<Arc<PreparedPicture>>> {
        let projector = self.projector(weights, messages)?;
        let prepare = |picture| {
            let prepared = projector.prepare(&picture)?;
            self.check(&prepared)?;
            Ok(Arc::new(prepared))
        };
        pictures(messages)?.into_iter().map(prepare).collect()
    }

    /// What is computed in one step has to fit into one.
    fn check(&self, picture: &PreparedPicture) -> Result<()> {
        for piece in &picture.pieces {
            if let Piece::Part(part) = piece
                && part.sees_ahead
                && part.stand_ins.len() > self.n_ubatch
            {
                let message = format!(
                    "a picture takes {} tokens that are computed at once, and a step has {}",
                    part.stand_ins.len(),
                    self.n_ubatch
                );
                return Err(Error::new(ErrorKind::InvalidArgument, message)
                    .with_hint(Text::with_names("load the model with a larger {ubatch_size}")));
            }
        }
        Ok(())
    }
}

/// The tokens of a prompt in which a mark stands for each of these pictures.
pub(super) fn tokens_of(
    templates: &Templates,
    vocab: &Vocab,
    prompt: &Prompt,
    pictures: &[Arc<PreparedPicture>],
) -> Result<SeenPrompt> {
    let parts = if pictures.is_empty() { vec![prompt.clone()] } else { prompt.split(PICTURE) };
    let texts = templates.specials(vocab).tokenize(vocab, &parts)?;
    if texts.len() != pictures.len() + 1 {
        let message = "the prompt does not have the pictures that it is to have";
        return Err(Error::new(ErrorKind::Internal, message));
    }
    if texts.len() > 1 && texts.last().is_some_and(Vec::is_empty) {
        let message = "the chat template has nothing after the last picture";
        return Err(Error::new(ErrorKind::Template, message));
    }
    let mut seen = SeenPrompt::default();
    for (index, text) in texts.iter().enumerate() {
        seen.tokens.extend(text);
        if let Some(picture) = pictures.get(index) {
            MediaRun::append(picture, &mut seen.tokens, &mut seen.media);
        }
    }
    Ok(seen)
}
