//! Decodes image files to RGB pixels.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder as _, ImageEncoder as _, ImageError, ImageFormat,
    ImageReader, Limits, Rgb, RgbImage,
};
use mullama_base::check_memory;
use mullama_hub::Digest;

use super::address::check_size;
use crate::options::MediaLimits;
use crate::{Error, Token};

/// Memory limit in bytes for decoding a picture of `pixels` pixels: 8 bytes per pixel (four 16-bit channels) plus 64
/// MiB.
fn memory_for(pixels: u64) -> u64 {
    pixels.saturating_mul(8).saturating_add(64 << 20)
}

/// Value of all three channels of the background that transparent pixels are blended with: white.
const BACKGROUND: u32 = 255;

/// A decoded picture with 8-bit red, green and blue channels.
pub(crate) struct Picture {
    pub width: u32,
    pub height: u32,
    /// Row-major RGB, three bytes per pixel.
    pub pixels: Vec<u8>,
    digest: Digest,
}

/// Why a picture could not be decoded.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The file is not usable; the text states the reason.
    Picture(String),
    /// There is not enough memory to decode it.
    Memory(Error),
}

impl From<String> for Problem {
    fn from(problem: String) -> Self {
        Self::Picture(problem)
    }
}

impl Picture {
    /// Decodes an image file (PNG, JPEG, GIF, BMP or WebP). The format is detected from the content.
    ///
    /// Animations are decoded to their first frame. The EXIF orientation is applied. 16-bit channels are reduced to 8
    /// bits, CMYK and grey are converted to RGB, and transparent pixels are blended with white.
    pub fn decode(file: &[u8], limits: &MediaLimits) -> Result<Self, Problem> {
        if file.is_empty() {
            return Err("the image has no data".to_owned().into());
        }
        check_size(file.len(), limits.bytes)?;
        // The decoders are safe Rust, but may panic on damaged files.
        let decoded = catch_unwind(AssertUnwindSafe(|| decode(file, limits.pixels)));
        let image = decoded.unwrap_or_else(|_| Err("the image is damaged".to_owned().into()))?;
        let (width, height) = image.dimensions();
        let pixels = image.into_raw();
        let size = [width.to_le_bytes(), height.to_le_bytes()].concat();
        let digest = Digest::of(&[&size, Digest::of(&pixels).as_bytes().as_slice()].concat());
        Ok(Self { width, height, pixels, digest })
    }

    /// The digest of the size and the pixels. Pictures with the same pixels have the same digest.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Returns `count` negative numbers that represent part number `part` of the picture with this digest in a prompt. No
/// token id is negative. The numbers are derived from a hash of `digest` and `part`, so different pictures or parts
/// have different numbers.
pub(crate) fn placeholders(digest: &Digest, part: usize, count: usize) -> Vec<Token> {
    let block = |index: usize| {
        let place = [part as u64, index as u64].map(u64::to_le_bytes).concat();
        *Digest::of(&[digest.as_bytes().as_slice(), &place].concat()).as_bytes()
    };
    let numbers = (0..count.div_ceil(8)).flat_map(|index| {
        let words: [[u8; 4]; 8] = std::array::from_fn(|word| {
            let bytes = &block(index)[word * 4..word * 4 + 4];
            [bytes[0], bytes[1], bytes[2], bytes[3]]
        });
        words.map(|word| Token::from_le_bytes(word) | Token::MIN)
    });
    numbers.take(count).collect()
}

/// Encodes pixels (row-major, `channels` bytes per pixel) as a PNG file. `channels` is 1 (grey), 3 (RGB) or 4 (RGBA).
pub(crate) fn encode_pixels(
    width: u32,
    height: u32,
    channels: u8,
    pixels: &[u8],
) -> Result<Vec<u8>, String> {
    let color = match channels {
        1 => ExtendedColorType::L8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        _ => return Err(format!("a picture has 1, 3 or 4 channels, not {channels}")),
    };
    let expected = u64::from(width) * u64::from(height) * u64::from(channels);
    if expected == 0 {
        return Err(format!("a picture of {width} x {height} pixels is empty"));
    }
    if expected != pixels.len() as u64 {
        return Err(format!(
            "a picture of {width} x {height} pixels and {channels} channels must have {} bytes",
            pixels.len()
        ));
    }
    let mut file = Vec::new();
    let encoder =
        PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive);
    encoder.write_image(pixels, width, height, color).map_err(|error| error.to_string())?;
    Ok(file)
}

fn decode(file: &[u8], most: u64) -> Result<RgbImage, Problem> {
    let reader = ImageReader::new(Cursor::new(file)).with_guessed_format();
    let mut reader = reader.map_err(|error| error.to_string())?;
    if reader.format().is_none() {
        let problem = "the data is not an image in a supported format (PNG, JPEG, GIF, BMP, WebP)";
        return Err(problem.to_owned().into());
    }
    if reader.format() == Some(ImageFormat::WebP) && !has_whole_chunks(file) {
        return Err("the image is damaged: a part of it is longer than the file".to_owned().into());
    }
    if reader.format() == Some(ImageFormat::Jpeg) && !has_whole_scan(file) {
        return Err("the image is damaged: it ends within its data".to_owned().into());
    }
    let problem = |error: &ImageError| problem(error, most);
    let mut limits = Limits::default();
    limits.max_alloc = Some(memory_for(most));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| problem(&error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(format!("the image has {width} x {height} pixels").into());
    }
    let count = u64::from(width) * u64::from(height);
    if count > most {
        return Err(
            format!("the image has {width} x {height} pixels; at most {most} are allowed").into()
        );
    }
    // The decoded image, its rotated copy, and the conversions to RGBA and RGB (4 + 3 bytes per pixel).
    let needed = decoder.total_bytes().saturating_mul(2).saturating_add(count * 7);
    check_memory(usize::try_from(needed).unwrap_or(usize::MAX)).map_err(Problem::Memory)?;
    // Invalid EXIF data are ignored.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(|error| problem(&error))?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    if !image.color().has_alpha() {
        return Ok(image.into_rgb8());
    }
    let image = image.into_rgba8();
    let mut flat = RgbImage::new(image.width(), image.height());
    for (to, from) in flat.pixels_mut().zip(image.pixels()) {
        let [red, green, blue, alpha] = from.0.map(u32::from);
        let mix = |value: u32| ((value * alpha + BACKGROUND * (255 - alpha) + 127) / 255) as u8;
        *to = Rgb([mix(red), mix(green), mix(blue)]);
    }
    Ok(flat)
}

/// Whether every chunk of a WebP file ends inside the file. The decoder allocates the size that a chunk header states.
fn has_whole_chunks(file: &[u8]) -> bool {
    let number = |place: usize| {
        let bytes = file.get(place..place + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let end = number(4).map_or(0, |size| size.saturating_add(8)).min(file.len());
    // The first chunk follows `RIFF`, the file size, and `WEBP`.
    let mut start = 12;
    while start + 8 <= end {
        let Some(size) = number(start + 4) else { return false };
        if size > file.len() - start - 8 {
            return false;
        }
        start += 8 + size + size % 2;
    }
    true
}

/// Whether the last scan of a JPEG file has an end (ITU-T T.81, B.1.1.3). The decoder fills what is missing with grey. A
/// scan's data contain no markers: a byte 0xFF in them is followed by 0.
fn has_whole_scan(file: &[u8]) -> bool {
    const START_OF_SCAN: &[u8] = &[0xff, 0xda];
    const END_OF_IMAGE: &[u8] = &[0xff, 0xd9];
    let last = |marker: &[u8]| file.windows(2).rposition(|pair| pair == marker);
    last(END_OF_IMAGE) > last(START_OF_SCAN)
}

fn problem(error: &ImageError, most: u64) -> String {
    // Some decoders end their messages with a line break.
    let reason = error.to_string();
    let reason = reason.trim_end();
    match error {
        ImageError::Limits(_) => {
            format!(
                "the image is larger than it may be: {most} pixels, {} bytes of memory",
                memory_for(most)
            )
        }
        ImageError::Unsupported(_) => format!("the image cannot be read: {reason}"),
        _ => format!("the image is damaged: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use image::codecs::jpeg::JpegEncoder;
    use image::{Rgba, RgbaImage};

    use super::*;

    fn decode_within(file: &[u8], limits: &MediaLimits) -> Result<Picture, String> {
        Picture::decode(file, limits).map_err(|problem| match problem {
            Problem::Picture(problem) => problem,
            Problem::Memory(error) => error.to_string(),
        })
    }

    fn decode(file: &[u8]) -> Result<Picture, String> {
        decode_within(file, &MediaLimits::default())
    }

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn red() -> RgbImage {
        RgbImage::from_pixel(4, 2, Rgb([255, 0, 0]))
    }

    #[test]
    fn all_formats_decode_to_the_same_pixels() {
        for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif] {
            let picture = decode(&encoded(red(), format)).unwrap();
            assert_eq!((picture.width, picture.height), (4, 2), "{format:?}");
            assert_eq!(picture.pixels, red().into_raw(), "{format:?}");
        }
        let picture = decode(&encoded(red(), ImageFormat::Jpeg)).unwrap();
        assert!(picture.pixels[0] > 250 && picture.pixels[1] < 5, "{:?}", &picture.pixels[..3]);
    }

    #[test]
    fn image_limits_are_configurable() {
        let file = encoded(red(), ImageFormat::Png);
        let with = |limits: MediaLimits| decode_within(&file, &limits).err();
        let limits = MediaLimits::default();
        assert_eq!(with(limits.with_pixels(8)), None);
        let problem = with(limits.with_pixels(7)).unwrap();
        assert_eq!(problem, "the image has 4 x 2 pixels; at most 7 are allowed");
        assert_eq!(with(limits.with_bytes(file.len() as u64)), None);
        let problem = with(limits.with_bytes(file.len() as u64 - 1)).unwrap();
        assert!(problem.ends_with(&format!("at most {} are allowed", file.len() - 1)), "{problem}");
    }

    #[test]
    fn raw_pixels_round_trip() {
        let file = encode_pixels(4, 2, 3, &red()).unwrap();
        assert_eq!(decode(&file).unwrap().pixels, red().into_raw());
        for (size, channels) in [((4, 2), 4), ((4, 3), 3), ((0, 0), 3), ((12, 1), 2)] {
            assert!(
                encode_pixels(size.0, size.1, channels, &red()).is_err(),
                "{size:?} {channels}"
            );
        }
    }

    #[test]
    fn other_kinds_of_pixels_become_rgb() {
        let deep = DynamicImage::from(red()).into_rgb16();
        assert_eq!(decode(&encoded(deep, ImageFormat::Png)).unwrap().pixels[..3], [255, 0, 0]);
        let grey = image::GrayImage::from_pixel(1, 1, image::Luma([7]));
        assert_eq!(decode(&encoded(grey, ImageFormat::Png)).unwrap().pixels, [7, 7, 7]);
        let clear = RgbaImage::from_fn(2, 1, |x, _| Rgba([0, 0, 0, if x == 0 { 0 } else { 255 }]));
        let pixels = decode(&encoded(clear, ImageFormat::Png)).unwrap().pixels;
        assert_eq!(pixels, [255, 255, 255, 0, 0, 0]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        // An EXIF block with one entry: orientation 6, a quarter turn clockwise.
        let exif = [
            b"II*\0\x08\0\0\0\x01\0".as_slice(),
            &[0x12, 0x01, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0],
            &[0, 0, 0, 0],
        ]
        .concat();
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        image::ImageEncoder::set_exif_metadata(&mut encoder, exif).unwrap();
        encoder.encode_image(&red()).unwrap();
        let picture = decode(&bytes).unwrap();
        assert_eq!((picture.width, picture.height), (2, 4));
    }

    #[test]
    fn cut_jpeg_files_are_rejected() {
        let whole = encoded(red(), ImageFormat::Jpeg);
        decode(&whole).unwrap();
        // Cameras add data after the image.
        decode(&[whole.as_slice(), b"more"].concat()).unwrap();
        for length in [whole.len() - 2, whole.len() - 20] {
            let problem = decode(&whole[..length]).map(drop).unwrap_err();
            assert!(problem.contains("ends within its data"), "{problem}");
        }
    }

    #[test]
    fn invalid_images_are_rejected() {
        let png = encoded(red(), ImageFormat::Png);
        let mut bomb = png.clone();
        // The size in the IHDR chunk, then its CRC.
        bomb[16..24]
            .copy_from_slice(&[100_000_u32.to_be_bytes(), 100_000_u32.to_be_bytes()].concat());
        let sum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&sum.to_be_bytes());
        let mut empty = png.clone();
        empty[16..20].fill(0);
        let sum = crc32(&empty[12..29]);
        empty[29..33].copy_from_slice(&sum.to_be_bytes());
        // A last chunk that claims 4 GiB.
        let mut endless = encoded(red(), ImageFormat::WebP);
        endless.extend(b"EXIF\xff\xff\xff\xff");
        let size = (endless.len() - 8) as u32;
        endless[4..8].copy_from_slice(&size.to_le_bytes());
        for (file, said) in [
            (&b""[..], "no data"),
            (b"This is a text.", "not an image in a supported format"),
            (&png[..png.len() / 2], "damaged"),
            (&png[..20], "damaged"),
            (&bomb, "at most 100000000"),
            (&empty, ""),
            (&vec![0; (64 << 20) + 1], "at most 67108864"),
            (&endless, "longer than the file"),
        ] {
            let problem = decode(file).err().unwrap();
            assert!(problem.contains(said), "{problem}");
        }
    }

    /// The CRC-32 of a PNG chunk.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |mut sum: u32, byte| {
            sum ^= u32::from(*byte);
            for _ in 0..8 {
                sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
            }
            sum
        })
    }

    /// A short version of `make fuzz`: decoding any file returns a picture or an error.
    #[test]
    fn damaged_files_end_in_errors() {
        let mut state = 1_u64;
        let mut random = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::Gif,
            ImageFormat::Bmp,
            ImageFormat::WebP,
        ] {
            let good = encoded(red(), format);
            for _ in 0..2000 {
                let mut file = good.clone();
                for _ in 0..=random(3) {
                    let place = random(file.len());
                    file[place] = random(256) as u8;
                }
                file.truncate(file.len() - if random(4) == 0 { random(file.len()) } else { 0 });
                match decode(&file) {
                    Ok(picture) => {
                        let size = picture.width as usize * picture.height as usize * 3;
                        assert_eq!(picture.pixels.len(), size);
                    }
                    Err(problem) => assert_eq!(problem, problem.trim_end(), "{format:?}"),
                }
            }
        }
    }

    #[test]
    fn placeholders_are_negative_and_unique_per_image() {
        let (one, other) = (Digest::of(b"a"), Digest::of(b"b"));
        let first = placeholders(&one, 0, 20);
        assert!(first.len() == 20 && first.iter().all(|&token| token < 0));
        assert_eq!(first[..9], placeholders(&one, 0, 9));
        let all = [placeholders(&other, 0, 20), placeholders(&one, 1, 20), first].concat();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 60);
    }
}
