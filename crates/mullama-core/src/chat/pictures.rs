//! Finds and decodes the pictures of messages.

use mullama_base::{Text, units};
use serde_json::Value;

use super::message::{Content, ContentPart, Message};
use crate::media::{Picture, Problem, bytes_of};
use crate::options::MediaLimits;
use crate::{Error, ErrorKind, Result};

/// Decodes the pictures of messages, in order. Each has its place in the messages, for errors.
pub(crate) fn pictures(
    messages: &[Message],
    limits: &MediaLimits,
) -> Result<Vec<(String, Picture)>> {
    let found: Vec<_> = addresses(messages).collect();
    let most = limits.pictures;
    if found.len() > most as usize {
        let count = units::count(found.len(), "picture");
        let message = format!("the messages have {count}; the limit is {most}");
        return Err(Error::new(ErrorKind::InvalidArgument, message)
            .with_hint(Text::with_names("{media_limits} says how many there may be")));
    }
    let decode = |(place, address): (String, Result<&str, String>)| {
        let place = format!("{place}.image_url");
        let wrong = |problem: String| Error::new(ErrorKind::InvalidArgument, problem).at(&place);
        let file = address.and_then(|address| bytes_of(address, limits.bytes)).map_err(wrong)?;
        let picture = Picture::decode(&file, limits).map_err(|problem| match problem {
            Problem::Picture(problem) => wrong(problem),
            Problem::Memory(error) => error,
        })?;
        Ok((place, picture))
    };
    found.into_iter().map(decode).collect()
}

/// Whether any message has a picture.
pub(crate) fn has_pictures(messages: &[Message]) -> bool {
    picture_place(messages).is_some()
}

/// Number of pictures in a message.
pub(crate) fn count_pictures(message: &Message) -> usize {
    addresses(std::slice::from_ref(message)).count()
}

/// The path of the first picture: `messages[0].content[1]`.
pub(crate) fn picture_place(messages: &[Message]) -> Option<String> {
    addresses(messages).next().map(|(place, _)| place)
}

/// The path and the URL of each picture.
fn addresses(messages: &[Message]) -> impl Iterator<Item = (String, Result<&str, String>)> {
    messages.iter().enumerate().flat_map(|(index, message)| {
        let parts = match &message.content {
            Some(Content::Parts(parts)) => parts.as_slice(),
            _ => &[],
        };
        parts.iter().enumerate().filter_map(move |(part_index, part)| match part {
            ContentPart::ImageUrl { image_url } => {
                Some((format!("messages[{index}].content[{part_index}]"), address(image_url)))
            }
            _ => None,
        })
    })
}

/// The URL of a picture: a string, or the field `url` of an object.
fn address(image_url: &Value) -> Result<&str, String> {
    let text = match image_url {
        Value::Object(fields) => fields.get("url").and_then(Value::as_str),
        other => other.as_str(),
    };
    text.ok_or_else(|| "expected an address, or an object with one as `url`".to_owned())
}
