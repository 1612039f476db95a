//! Damaged LoRA adapters. Without them, the model must answer as before.

use std::fs;
use std::path::Path;

use mullama::{GenerateOptions, Lora, Model, ModelParams};
use mullama_testkit::gguf::{File, TensorType, Value};
use mullama_testkit::{adapter, fixture};
use serde_json::json;

use super::{brief, load};
use crate::input::Input;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Number of inputs per model, which caches the adapters that it has read.
const INPUTS_OF_MODEL: u32 = 100;

pub fn start(_: &Path) -> Fuzz {
    let path = fixture("tiny");
    let base = File::decode(&fs::read(&path).expect("the test kit wrote it")).expect("it is sound");
    let sound = adapter(&base, 1.0, 1);
    let fresh = move || {
        let model = load(&path, ModelParams::default()).expect("it is sound");
        let expected = answer(&model);
        (model, expected)
    };
    let (mut subject, mut used) = (fresh(), 0);
    Box::new(move |input| {
        used += 1;
        if used % INPUTS_OF_MODEL == 0 {
            subject = fresh();
        }
        let (model, expected) = &subject;
        let bytes = damaged(&sound, input);
        let path = input.save("adapter.gguf", bytes);
        let scale: f64 = mutate::number(&mut input.rng).parse().unwrap_or(1.0);
        let mut outcome = Outcome::default();
        let lora = Lora::from_json(json!([[path, scale]]));
        if let Some(lora) = outcome.decide("lora", lora) {
            outcome.decide("generate", model.generate("hello", &brief().with_lora(lora.clone())));
            outcome.see("set", model.set_lora(lora));
            outcome.see("generate", model.generate("hello", &brief()));
            outcome.see("save", model.save_state("hello"));
            let none = Lora::from_json(json!([])).expect("an empty list is sound");
            outcome.see("set", model.set_lora(none));
        }
        let answer = answer(model);
        if answer != *expected {
            outcome.wrong(format!("{answer:?}, where {expected:?} was answered before"));
        }
        outcome
    })
}

fn answer(model: &Model) -> String {
    let options = GenerateOptions::default().with_max_tokens(6).with_temperature(0.0);
    model
        .generate("Zebra 42", &options)
        .map_or_else(|error| error.to_string(), |answer| answer.text)
}

fn damaged(sound: &File, input: &mut Input) -> Vec<u8> {
    let rng = &mut input.rng;
    let mut file = sound.clone();
    for _ in 0..rng.usize(1..3) {
        let header = &mut file.header;
        let (pair, tensor) =
            (rng.usize(..header.metadata.len()), rng.usize(..header.tensors.len().max(1)));
        match rng.u8(..10) {
            0 => {
                let architectures = ["qwen2", "llama4", "bert", "mamba", "abacus"];
                let name = mutate::pick(&architectures, rng);
                header.set("general.architecture", Value::string(name));
            }
            1 => {
                let value = mutate::pick(&[f32::NAN, f32::INFINITY, 0.0, -1.0, 1e30], rng);
                header.set("adapter.lora.alpha", Value::f32(value));
            }
            2 => header.metadata[pair].1 = Value::u32(mutate::limit(rng) as u32),
            3 => drop(header.metadata.remove(pair)),
            4 => header.set(
                "adapter.alora.invocation_tokens",
                Value::u32s((0..rng.u32(..40)).map(|id| id * 99)),
            ),
            _ if header.tensors.is_empty() => {}
            5 => {
                header.tensors[tensor].ty =
                    TensorType::ALL[rng.usize(..TensorType::ALL.len())].number();
            }
            6 => {
                let shape = &mut header.tensors[tensor].shape;
                let dimension = rng.usize(..shape.len());
                let lengths = [0, 1, 3, 32, 64, 512, mutate::limit(rng)];
                shape[dimension] = mutate::pick(&lengths, rng);
            }
            7 => {
                let names = [
                    "token_embd.weight.lora_a",
                    "blk.0.attn_norm.weight.lora_a",
                    "blk.9.attn_q.weight.lora_b",
                    "x",
                    "blk.0.attn_q.weight",
                    "output.weight.lora_a",
                    ".lora_a",
                ];
                mutate::pick(&names, rng).clone_into(&mut header.tensors[tensor].name);
            }
            8 => drop(header.tensors.remove(tensor)),
            _ => file.data.iter_mut().for_each(|byte| *byte = 0xff),
        }
        if file.header.metadata.is_empty() {
            break;
        }
    }
    if rng.u8(..10) > 0
        && let Ok(size) = file.header.lay_out()
        && size < 64 << 20
    {
        file.data.resize(size as usize, 0);
    }
    let mut bytes = file.encode();
    if rng.u8(..10) == 0 {
        mutate::bytes(&mut bytes, &[], rng);
    }
    bytes
}
