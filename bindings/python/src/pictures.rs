//! Pictures in messages: bytes, paths, and images and arrays of other libraries.

use std::path::PathBuf;

use mullama::{ContentPart, Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyDict, PyList, PyMapping, PyMemoryView, PyString, PyTuple,
};

use crate::errors::raise;
use crate::items::{Count, collect};
use crate::json;

/// Messages in which Python's forms of pictures are replaced by parts with a `data:` URL.
pub fn with_addresses<'py>(messages: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if !messages.is_instance_of::<PyList>() && !messages.is_instance_of::<PyTuple>() {
        return Ok(messages.clone());
    }
    let (py, mut count) = (messages.py(), Count::of_option("messages"));
    let message = |message: Bound<'py, PyAny>, count: &mut Count<'_>| counted(&message, count);
    let messages = collect(py, messages.try_iter()?, &mut count, message)?;
    Ok(PyList::new(py, messages)?.into_any())
}

/// The same for one message.
pub fn message_of<'py>(message: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    counted(message, &mut Count::of_option("message"))
}

fn counted<'py>(message: &Bound<'py, PyAny>, count: &mut Count<'_>) -> PyResult<Bound<'py, PyAny>> {
    let Ok(mapping) = message.cast::<PyMapping>() else { return Ok(message.clone()) };
    let Ok(content) = mapping.get_item("content") else { return Ok(message.clone()) };
    if !content.is_instance_of::<PyList>() && !content.is_instance_of::<PyTuple>() {
        return Ok(message.clone());
    }
    let py = message.py();
    let parts = collect(py, content.try_iter()?, count, |part, _| part_of(&part))?;
    with(mapping, "content", PyList::new(py, parts)?.as_any())
}

/// The same for a part of a message, which is a picture or contains one.
fn part_of<'py>(part: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if let Some(picture) = picture_of(part)? {
        return json::to_python(part.py(), &picture);
    }
    let Ok(mapping) = part.cast::<PyMapping>() else { return Ok(part.clone()) };
    let Ok(image) = mapping.get_item("image_url") else { return Ok(part.clone()) };
    let url = image.cast::<PyMapping>().ok().and_then(|image| image.get_item("url").ok());
    match picture_of(url.as_ref().unwrap_or(&image))? {
        Some(ContentPart::ImageUrl { image_url }) => {
            with(mapping, "image_url", &json::to_python(part.py(), &image_url)?)
        }
        _ => Ok(part.clone()),
    }
}

/// A copy of a mapping with one value replaced.
fn with<'py>(
    mapping: &Bound<'py, PyMapping>,
    key: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let copy = PyDict::new(mapping.py());
    copy.update(mapping)?;
    copy.set_item(key, value)?;
    Ok(copy.into_any())
}

/// The part for a picture: the bytes of a file, a path, a Pillow image, or an array of pixels.
fn picture_of(value: &Bound<'_, PyAny>) -> PyResult<Option<ContentPart>> {
    if value.is_instance_of::<PyString>() || value.is_instance_of::<PyDict>() {
        return Ok(None);
    }
    if value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyMemoryView>()
    {
        let bytes = value.py().get_type::<PyBytes>().call1((value,))?.cast_into::<PyBytes>()?;
        return Ok(Some(ContentPart::image(bytes.as_bytes())));
    }
    if value.hasattr("__fspath__")? {
        return ContentPart::image_file(value.extract::<PathBuf>()?).map(Some).map_err(raise);
    }
    if value.hasattr("__array_interface__")? && value.hasattr("tobytes")? {
        // Pillow images have an array interface, too, but may have modes other than RGB.
        let value = if value.hasattr("convert")? { &readable(value)? } else { value };
        return array(value).map(Some);
    }
    Ok(None)
}

/// A Pillow image in a mode that `array` reads. Pillow itself cuts off values of more than 8 bits.
fn readable<'py>(image: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let mode: String = image.getattr("mode")?.extract()?;
    match mode.as_str() {
        "I;16" | "I;16L" | "I;16B" | "I;16N" => Ok(image.clone()),
        "I" | "F" => {
            let problem = format!(
                "a picture in Pillow's mode {mode} has no known range of values: convert it to L or RGB"
            );
            Err(raise(Error::new(ErrorKind::InvalidArgument, problem)))
        }
        _ => image.call_method1("convert", ("RGBA",)),
    }
}

/// An array of pixels with 8 or 16 bits per channel, of shape (height, width, 3 or 4), or (height, width) for greyscale.
fn array(value: &Bound<'_, PyAny>) -> PyResult<ContentPart> {
    let interface = value.getattr("__array_interface__")?;
    let shape: Vec<usize> = interface.get_item("shape")?.extract()?;
    let kind: String = interface.get_item("typestr")?.extract()?;
    let size = match *shape {
        [height, width] => Some((width, height, 1)),
        [height, width, channels] => Some((width, height, channels)),
        _ => None,
    };
    let size = size.and_then(|(width, height, channels)| {
        Some((
            u32::try_from(width).ok()?,
            u32::try_from(height).ok()?,
            u8::try_from(channels).ok()?,
        ))
    });
    let known = ["|u1", "<u2", ">u2"].contains(&kind.as_str());
    let Some((width, height, channels)) = size.filter(|_| known) else {
        let problem = format!(
            "a picture is an array of height, width and 3 or 4 channels, of type uint8 or uint16; this one has the \
             shape {shape:?} and the type {kind}"
        );
        return Err(raise(Error::new(ErrorKind::InvalidArgument, problem)));
    };
    let pixels = value.call_method0("tobytes")?.cast_into::<PyBytes>()?;
    let narrow = |read: fn([u8; 2]) -> u16| -> Vec<u8> {
        let values = pixels.as_bytes().as_chunks::<2>().0.iter();
        values.map(|bytes| ((u32::from(read(*bytes)) + 128) / 257) as u8).collect()
    };
    let narrow = match kind.as_str() {
        "<u2" => Some(narrow(u16::from_le_bytes)),
        ">u2" => Some(narrow(u16::from_be_bytes)),
        _ => None,
    };
    let pixels = narrow.as_deref().unwrap_or(pixels.as_bytes());
    ContentPart::image_pixels(width, height, channels, pixels).map_err(raise)
}
