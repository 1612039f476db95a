//! The model that the user specified.

use mullama::{Error, GgufHeader, ResolvedModel};

/// The store's chat template, if the model file has none.
pub fn chat_template(found: &ResolvedModel) -> Result<Option<String>, Error> {
    let hint = "give a Jinja template with --chat-template, or continue text with --raw";
    found.chat_template(&GgufHeader::read(&found.path)?).map_err(|error| error.with_hint(hint))
}

/// The value of `FROM` for this model in a Modelfile.
pub fn from(found: &ResolvedModel) -> String {
    match &found.stored {
        Some(model) => model.name.to_string(),
        None => std::path::absolute(&found.path)
            .unwrap_or_else(|_| found.path.clone())
            .to_string_lossy()
            .into_owned(),
    }
}
