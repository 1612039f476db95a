//! Damaged images and `data:` URLs, in messages to a model with image input.

use std::path::Path;

use mullama::{ChatOptions, Content, ContentPart, ErrorKind, Message, ModelParams};
use mullama_testkit::fixture;
use serde_json::json;

use super::load;
use crate::input::Input;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

macro_rules! files {
    ($($name:literal)*) => {
        &[$(include_bytes!(concat!("../../corpus/images/", $name))),*]
    };
}

/// Images of 12 x 10 pixels, of every format and most ways to store one.
const FILES: &[&[u8]] = files![
    "alpha.bmp" "bits.bmp" "palette.bmp" "rgb.bmp"
    "animated.gif" "still.gif"
    "baseline.jpg" "cmyk.jpg" "progressive.jpg" "turned.jpg"
    "alpha.png" "bits.png" "deep.png" "grey.png" "palette.png" "rgb.png"
    "alpha.webp" "animated.webp" "lossless.webp" "lossy.webp"
];

pub fn start(_: &Path) -> Fuzz {
    let params = ModelParams::default().with_projector(fixture("projector").to_string_lossy());
    let model = load(fixture("tiny"), params).expect("it is sound");
    let files: Vec<Vec<u8>> = FILES.iter().map(|file| file.to_vec()).collect();
    Box::new(move |input| {
        let mut message = Message::user("");
        message.content = Some(Content::Parts(vec![damaged(&files, input)]));
        let mut outcome = Outcome::default();
        let answer = model.chat(&[message], &ChatOptions::default().with_max_tokens(1));
        if let Some(answer) = outcome.decide("chat", answer) {
            let count = answer.usage.image_tokens;
            if count != 16 {
                outcome.wrong(format!("a picture of {count} tokens, where all have 16"));
            }
        } else if outcome.refused != Some(ErrorKind::InvalidArgument) {
            outcome.wrong(format!("{:?}, though the picture alone is wrong", outcome.refused));
        }
        outcome
    })
}

fn damaged(files: &[Vec<u8>], input: &mut Input) -> ContentPart {
    let rng = &mut input.rng;
    let mut file = files[rng.usize(..files.len())].clone();
    if rng.u8(..10) == 0 {
        let part = ContentPart::image(&file);
        let ContentPart::ImageUrl { image_url } = &part else { return part };
        let mut address = image_url["url"].as_str().unwrap_or_default().to_owned();
        // Most of a URL is data. The rest is damaged as often as the data.
        let data = if rng.bool() { address.split_off(24) } else { String::new() };
        mutate::text(&mut address, &["http://", ";base64,", "data:", "file:///"], rng);
        address.push_str(&data);
        input.save("address.txt", &address);
        return ContentPart::ImageUrl { image_url: json!({ "url": address }) };
    }
    for _ in 0..rng.usize(1..5) {
        mutate::bytes(&mut file, files, rng);
    }
    if rng.u8(..10) > 0 {
        mend_checksums(&mut file);
    }
    input.save("image", &file);
    ContentPart::image(file)
}

/// Corrects the checksums of a PNG file's chunks: decoders ignore chunks with a wrong checksum.
fn mend_checksums(file: &mut [u8]) {
    let mut start = 8;
    if !file.starts_with(b"\x89PNG") {
        return;
    }
    while let Some(length) = file.get(start..start + 4) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes")) as usize;
        let end = start + 8 + length;
        let Some(chunk) = file.get(start + 4..end) else { return };
        let sum = crc32(chunk).to_be_bytes();
        let Some(place) = file.get_mut(end..end + 4) else { return };
        place.copy_from_slice(&sum);
        start = end + 4;
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |mut sum: u32, byte| {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
        }
        sum
    })
}
