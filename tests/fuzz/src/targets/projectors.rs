//! Damaged projectors with matching models: each is refused, or encodes a picture.

use std::fs;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use mullama::{Content, ContentPart, Message, ModelParams};
use mullama_testkit::fixture;
use mullama_testkit::gguf::{File, Value};

use super::models::{damage_data, damage_metadata, damage_tensors, lay_out};
use super::{brief_chat, load};
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Models and their projectors.
const PAIRS: &[(&str, &str)] = &[
    ("tiny", "projector"),
    ("windowed", "projector-gemma3"),
    ("tiled", "projector-idefics3"),
    ("tiny", "projector-pixtral"),
    ("tiny", "projector-internvl"),
    ("tiny", "projector-llama4"),
];

/// The metadata keys that mtmd reads.
const KEYS: &[&str] = &[
    "clip.has_audio_encoder",
    "clip.use_gelu",
    "clip.use_silu",
    "clip.vision.attention.head_count",
    "clip.vision.attention.head_count_kv",
    "clip.vision.attention.head_dim",
    "clip.vision.attention.layer_norm_epsilon",
    "clip.vision.block_count",
    "clip.vision.embedding_length",
    "clip.vision.feature_layer",
    "clip.vision.feed_forward_length",
    "clip.vision.image_grid_pinpoints",
    "clip.vision.image_max_pixels",
    "clip.vision.image_mean",
    "clip.vision.image_min_pixels",
    "clip.vision.image_size",
    "clip.vision.image_std",
    "clip.vision.mm_patch_merge_type",
    "clip.vision.n_wa_pattern",
    "clip.vision.patch_size",
    "clip.vision.preproc_image_size",
    "clip.vision.preproc_max_tiles",
    "clip.vision.preproc_min_tiles",
    "clip.vision.projection_dim",
    "clip.vision.projector.scale_factor",
    "clip.vision.spatial_merge_size",
    "clip.vision.wa_layer_indexes",
    "clip.vision.window_size",
];

/// Projector types.
const KINDS: &[&str] = &[
    "mlp",
    "mlp_norm",
    "ldp",
    "gemma3",
    "idefics3",
    "pixtral",
    "internvl",
    "qwen2vl_merger",
    "qwen2.5vl_merger",
    "qwen3vl_merger",
    "resampler",
    "llama4",
    "ultravox",
    "lfm2",
    "kimivl",
    "cogvlm",
    "glm4v",
    "",
];

pub fn start(_: &Path) -> Fuzz {
    let subjects: Vec<(PathBuf, File)> = PAIRS
        .iter()
        .map(|(model, projector)| {
            let bytes = fs::read(fixture(projector)).expect("the test kit wrote it");
            (fixture(model), File::decode(&bytes).expect("it is sound"))
        })
        .collect();
    let pictures = [(24, 20), (70, 33), (1, 1)].map(|(width, height): (u32, u32)| {
        let pixels: Vec<u8> =
            (0..width * height * 3).map(|index| (index * 7 % 251) as u8).collect();
        ContentPart::image_pixels(width, height, 3, &pixels).expect("it is sound")
    });
    Box::new(move |input| {
        let rng = &mut input.rng;
        let (model, sound) = &subjects[rng.usize(..subjects.len())];
        let bytes = damaged(sound, &subjects, rng);
        let picture = pictures[rng.usize(..pictures.len())].clone();
        let path = input.save("mmproj.gguf", bytes);
        input.save("model.txt", model.to_string_lossy().as_bytes());
        let mut outcome = Outcome::default();
        let params = ModelParams::default().with_projector(path.to_string_lossy());
        let Some(model) = outcome.decide("load", load(model, params)) else { return outcome };
        let mut message = Message::user("");
        message.content = Some(Content::Parts(vec![picture, ContentPart::text("What is it?")]));
        outcome.decide("chat", model.chat(&[message], &brief_chat()));
        if model.chat(&[Message::user("hello")], &brief_chat()).is_err() {
            outcome.wrong("no text is answered");
        }
        outcome
    })
}

fn damaged(sound: &File, all: &[(PathBuf, File)], rng: &mut Rng) -> Vec<u8> {
    let mut file = sound.clone();
    for _ in 0..rng.usize(1..4) {
        match rng.u8(..12) {
            0..=3 => damage_metadata(&mut file, rng),
            4..=6 => damage_tensors(&mut file, rng),
            7 => damage_data(&mut file, rng),
            8 => file.header.set("clip.projector_type", Value::string(mutate::pick(KINDS, rng))),
            9 => {
                let number = mutate::pick(&[0, 1, 2, 3, 4, 7, 32, 64, 1024], rng);
                let value = mutate::pick(&[number, mutate::limit(rng) as u32], rng);
                file.header.set(mutate::pick(KEYS, rng), Value::u32(value));
            }
            // A tensor of another projector.
            10 => {
                let (_, other) = &all[rng.usize(..all.len())];
                let tensor = other.header.tensors[rng.usize(..other.header.tensors.len())].clone();
                file.header.tensors.push(tensor);
            }
            _ => {
                let (_, other) = &all[rng.usize(..all.len())];
                let pair = other.header.metadata[rng.usize(..other.header.metadata.len())].clone();
                file.header.set(pair.0, pair.1);
            }
        }
    }
    if rng.u8(..10) > 0 {
        lay_out(&mut file);
    }
    let mut bytes = file.encode();
    match rng.u8(..20) {
        0 => bytes.truncate(rng.usize(..=bytes.len())),
        1 => mutate::bytes(&mut bytes, &[], rng),
        _ => {}
    }
    bytes
}
