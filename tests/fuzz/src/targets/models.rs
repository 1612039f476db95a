//! Models with damage in the important places: numbers, tensors, vocabularies, templates. Models that load are used in
//! every possible way.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use fastrand::Rng;
use mullama::{ChatOptions, EmbedOptions, Message, ModelParams, PlanOptions, RerankOptions, plan};
use mullama_sys::METADATA_KEYS;
use mullama_testkit::architecture::ARCHITECTURES;
use mullama_testkit::fixture;
use mullama_testkit::gguf::{File, TensorType, Value};
use mullama_testkit::tokenizer::Tokenizer;
use serde_json::json;

use super::{brief, brief_chat, load};
use crate::grammar::Grammar;
use crate::input::Input;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Maximum size of a file in bytes.
const MAX_DATA_BYTES: u64 = 64 << 20;
/// Models of the testkit, in addition to those of each architecture.
const PRESETS: &[&str] = &[
    "tiny",
    "encoder",
    "reranker",
    "recurrent",
    "hybrid",
    "windowed",
    "moe",
    "chat-thinking",
    "chat-headers",
    "chat-brackets",
];
const PRE_TOKENIZERS: &[&str] = &[
    "default",
    "gpt-2",
    "llama-bpe",
    "gpt-4o",
    "llama4",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "falcon",
    "qwen2",
    "starcoder",
    "command-r",
    "tekken",
    "chatglm-bpe",
    "smollm",
    "bloom",
    "jais",
    "exaone",
    "minerva-7b",
    "superbpe",
    "kimi-k2",
    "hunyuan-dense",
    "grok-2",
    "seed-coder",
    "refact",
    "poro-chat",
    "viking",
    "abacus",
];

pub fn start(_: &Path) -> Fuzz {
    // The engine can create models of architectures only after its modules are loaded.
    let _ = mullama::gpu::devices();
    let bases = Bases::new();
    let jinja = Grammar::read(include_str!("../../corpus/jinja.txt"));
    Box::new(move |input| {
        let bytes = bases.damaged(&jinja, &mut input.rng);
        let path = input.save("model.gguf", bytes);
        let mut outcome = Outcome::default();
        use_model(&path, input, &mut outcome);
        outcome
    })
}

/// Valid models, created on first use.
pub struct Bases(Vec<OnceCell<File>>);

impl Bases {
    pub fn new() -> Self {
        let count = PRESETS.len() + ARCHITECTURES.len();
        Self((0..count).map(|_| OnceCell::new()).collect())
    }

    fn any(&self, rng: &mut Rng) -> &File {
        let index = rng.usize(..self.0.len());
        self.0[index].get_or_init(|| {
            if let Some(name) = PRESETS.get(index) {
                let bytes = fs::read(fixture(name)).expect("the test kit wrote it");
                File::decode(&bytes).expect("it is sound")
            } else {
                let architecture = &ARCHITECTURES[index - PRESETS.len()];
                architecture
                    .model()
                    .unwrap_or_else(|error| panic!("{}: {error}", architecture.name))
            }
        })
    }

    fn damaged(&self, jinja: &Grammar, rng: &mut Rng) -> Vec<u8> {
        let mut file = self.any(rng).clone();
        for _ in 0..rng.usize(1..4) {
            match rng.u8(..16) {
                0..=5 => damage_metadata(&mut file, rng),
                6..=8 => damage_tokenizer(&mut file, rng),
                9..=12 => damage_tensors(&mut file, rng),
                13 => damage_data(&mut file, rng),
                14 => file
                    .header
                    .set("tokenizer.chat_template", Value::string(jinja.make("template", rng))),
                _ => splice(&mut file, self.any(rng), rng),
            }
        }
        // A file with misplaced tensors is rejected immediately, so most files are laid out correctly.
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
}

/// Moves the tensors' data to the offsets that match their shapes and types.
pub fn lay_out(file: &mut File) {
    let old: Vec<_> = file.header.tensors.iter().map(|tensor| tensor.offset as usize).collect();
    let Ok(size) = file.header.lay_out() else { return };
    if size > MAX_DATA_BYTES {
        return;
    }
    let mut data = vec![0; size as usize];
    for (tensor, old) in file.header.tensors.iter().zip(old) {
        let ty = TensorType::from_number(tensor.ty);
        let wanted = ty.and_then(|ty| ty.size_of(&tensor.shape)).unwrap_or_default() as usize;
        let from = file.data.get(old..).unwrap_or_default();
        let count = wanted.min(from.len());
        data[tensor.offset as usize..][..count].copy_from_slice(&from[..count]);
    }
    file.data = data;
}

/// A random metadata value of any type.
fn any_value(rng: &mut Rng) -> Value {
    let number = mutate::limit(rng);
    match rng.u8(..12) {
        0..=3 => Value::u32(number as u32),
        4 => Value::u32(rng.u32(..10)),
        5 => Value::i32(-(rng.i32(..10))),
        6 => Value { ty: 10, bytes: number.to_le_bytes().into() }, // u64
        7 => Value::f32(mutate::pick(&[0.0, -1.0, f32::NAN, f32::INFINITY, 1e-30, 1e30, 0.5], rng)),
        8 => Value::bool(rng.bool()),
        9 => Value::string(mutate::words(rng)),
        10 => Value::u32s((0..rng.usize(..600)).map(|_| number as u32)),
        _ => Value::f32s((0..rng.usize(..6)).map(|_| f32::NAN)),
    }
}

pub fn damage_metadata(file: &mut File, rng: &mut Rng) {
    let header = &mut file.header;
    let architecture = header.metadata.iter().find(|(key, _)| key == "general.architecture");
    let architecture =
        architecture.and_then(|(_, value)| std::str::from_utf8(value.bytes.get(8..)?).ok());
    let architecture = architecture.unwrap_or_default().to_owned();
    let own: Vec<usize> = (0..header.metadata.len())
        .filter(|&index| header.metadata[index].0.starts_with(&format!("{architecture}.")))
        .collect();
    let Some(&index) = rng.choice(&own) else { return };
    match rng.u8(..12) {
        0 => drop(header.metadata.remove(index)),
        1 => {
            let key = mutate::pick(METADATA_KEYS, rng).replace("%s", &architecture);
            header.set(key, any_value(rng));
        }
        2 => {
            let other = mutate::pick(ARCHITECTURES, rng).name;
            for (key, _) in &mut header.metadata {
                if let Some(end) = key.strip_prefix(&format!("{architecture}.")) {
                    *key = format!("{other}.{end}");
                }
            }
            header.set("general.architecture", Value::string(other));
        }
        // A number near the original one.
        3..=5 => {
            let value = &mut header.metadata[index].1;
            if let Ok(bytes) = <[u8; 4]>::try_from(value.bytes.as_slice()) {
                let number = u32::from_le_bytes(bytes);
                let near = [number * 2, number / 2, number + 1, number.wrapping_sub(1), 0, 1, 3];
                value.bytes = mutate::pick(&near, rng).to_le_bytes().into();
            }
        }
        6..=9 => {
            let value = &mut header.metadata[index].1;
            if value.bytes.len() == 4 {
                value.bytes = (mutate::limit(rng) as u32).to_le_bytes().into();
            }
        }
        _ => header.metadata[index].1 = any_value(rng),
    }
}

fn damage_tokenizer(file: &mut File, rng: &mut Rng) {
    let header = &mut file.header;
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let find = |name: &str| header.metadata.iter().position(|(other, _)| *other == key(name));
    match rng.u8(..12) {
        0 => {
            let kind = Tokenizer::ALL[rng.usize(..Tokenizer::ALL.len())];
            header.set(key("model"), Value::string(kind.name()));
        }
        1 => header.set(key("pre"), Value::string(mutate::pick(PRE_TOKENIZERS, rng))),
        // Another vocabulary, with the file's other metadata.
        2 => {
            let kind = Tokenizer::ALL[rng.usize(..Tokenizer::ALL.len())];
            for (key, value) in kind.metadata(mutate::pick(&[300, 512, 513, 2000], rng)) {
                header.set(key, value);
            }
        }
        3 | 4 => {
            let ids = [
                "bos",
                "eos",
                "unknown",
                "seperator",
                "padding",
                "eot",
                "mask",
                "cls",
                "fim_pre",
                "eom",
            ];
            let id = mutate::pick(&[mutate::limit(rng) as u32, rng.u32(..520)], rng);
            header.set(key(&format!("{}_token_id", mutate::pick(&ids, rng))), Value::u32(id));
        }
        5 => {
            let flags = [
                "add_bos_token",
                "add_eos_token",
                "add_sep_token",
                "add_space_prefix",
                "remove_extra_whitespaces",
                "escape_whitespaces",
                "clean_spaces",
                "ignore_merges",
            ];
            header.set(key(mutate::pick(&flags, rng)), Value::bool(rng.bool()));
        }
        6 => {
            let names = [
                "tokens",
                "token_type",
                "scores",
                "merges",
                "precompiled_charsmap",
                "token_type_count",
            ];
            header.remove(&key(mutate::pick(&names, rng)));
        }
        7 => {
            let kinds: Vec<i32> = (0..512).map(|_| rng.i32(-1..8)).collect();
            header.set(key("token_type"), Value::i32s(kinds));
        }
        8 => {
            let scores = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, -1.0];
            let scores: Vec<f32> = (0..512).map(|_| mutate::pick(&scores, rng)).collect();
            header.set(key("scores"), Value::f32s(scores));
        }
        9 => {
            let tokens: Vec<String> =
                (0..512).map(|id| format!("{}{id}", mutate::words(rng))).collect();
            let long = rng.usize(..512);
            let mut tokens = tokens;
            match rng.u8(..4) {
                0 => tokens[long] = "a".repeat(mutate::pick(&[300, 5000, 200_000, 3_000_000], rng)),
                1 => tokens[long] = String::new(),
                2 => tokens.truncate(long),
                _ => {}
            }
            header.set(key("tokens"), Value::strings(tokens));
        }
        10 => {
            let merges: Vec<String> = (0..200)
                .map(|_| format!("{} {}", mutate::words(rng), mutate::words(rng)))
                .collect();
            header.set(key("merges"), Value::strings(merges));
        }
        // The bytes of a list: its type, its length, its elements.
        _ => {
            let names = ["tokens", "token_type", "scores", "merges", "precompiled_charsmap"];
            if let Some(index) = find(mutate::pick(&names, rng)) {
                mutate::bytes(&mut header.metadata[index].1.bytes, &[], rng);
            }
        }
    }
}

pub fn damage_tensors(file: &mut File, rng: &mut Rng) {
    let tensors = &mut file.header.tensors;
    if tensors.is_empty() {
        return;
    }
    let (index, other) = (rng.usize(..tensors.len()), rng.usize(..tensors.len()));
    match rng.u8(..12) {
        0..=2 => {
            let types = TensorType::ALL;
            let ty = mutate::pick(types, rng);
            tensors[index].ty = ty.number();
            // One of them, or all matrices.
            if rng.bool() {
                let matrices = tensors.iter_mut().filter(|tensor| tensor.shape.len() > 1);
                matrices.for_each(|tensor| tensor.ty = ty.number());
            }
        }
        3 => tensors[index].ty = rng.u32(..45),
        4..=6 => {
            let shape = &mut tensors[index].shape;
            let dimension = rng.usize(..shape.len().max(1));
            if let Some(length) = shape.get_mut(dimension) {
                let lengths =
                    [*length * 2, *length / 2, *length + 1, 0, 1, 32, 256, mutate::limit(rng)];
                *length = mutate::pick(&lengths, rng);
            }
        }
        7 => match rng.u8(..3) {
            0 => tensors[index].shape.reverse(),
            1 => tensors[index].shape.push(mutate::pick(&[1, 2, 3], rng)),
            _ => drop(tensors[index].shape.pop()),
        },
        8 => drop(tensors.remove(index)),
        9 => {
            let name = tensors[index].name.clone();
            let of_other = std::mem::replace(&mut tensors[other].name, name);
            tensors[index].name = of_other;
        }
        10 => {
            let mut copy = tensors[index].clone();
            let names =
                ["output.weight", "rope_freqs.weight", "cls.weight", "x", "token_embd.weight"];
            names[rng.usize(..5)].clone_into(&mut copy.name);
            tensors.push(copy);
        }
        _ => tensors[index].offset = mutate::limit(rng),
    }
}

pub fn damage_data(file: &mut File, rng: &mut Rng) {
    if file.data.is_empty() {
        return;
    }
    let start = rng.usize(..file.data.len());
    let end = (start + rng.usize(..4096)).min(file.data.len());
    match rng.u8(..3) {
        0 => file.data[start..end].fill(0xff),
        1 => file.data[start..].fill(0),
        _ => file.data[start..end].iter_mut().for_each(|byte| *byte = rng.u8(..)),
    }
}

/// Copies a part of another model.
fn splice(file: &mut File, other: &File, rng: &mut Rng) {
    let index = rng.usize(..other.header.metadata.len());
    let (key, value) = other.header.metadata[index].clone();
    file.header.set(key, value);
}

const TEXTS: &[&str] = &[
    "Hello, world!",
    "",
    " ",
    "  two  spaces ",
    "ünïcödé 漢字 🦙",
    "a\u{301}\u{200b}\u{feff}",
    "<|im_start|>user\nhi<|im_end|>",
    "<s>[INST]</s>",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\n\n\n\t\r\n",
    "0123456789",
    "~~ABC~~",
];

/// Uses a model in every possible way.
pub fn use_model(path: &Path, input: &mut Input, outcome: &mut Outcome) {
    let rng = &mut input.rng;
    outcome.see("plan", plan(path, &PlanOptions::default()));
    let model = match outcome.decide("load", load(path, ModelParams::default())) {
        Some(model) => model,
        // The vocabulary may be valid.
        None => match load(path, ModelParams::default().with_vocab_only(true)) {
            Ok(model) => model,
            Err(_) => return,
        },
    };
    let _ = (model.default_options(), model.metadata(), model.capabilities(), model.description());
    for text in TEXTS {
        let flags = (rng.bool(), rng.bool());
        if let Some(tokens) = outcome.see("tokenize", model.tokenize(text, flags.0, flags.1)) {
            outcome.see("detokenize", model.detokenize(&tokens, rng.bool()));
        }
    }
    let all: Vec<i32> = (0..model.n_vocab().min(3000) as i32).collect();
    outcome.see("detokenize", model.detokenize(&all, false));
    let text = mutate::pick(TEXTS, rng);
    let messages = [Message::system("Be brief."), Message::user(text)];
    let chat = brief_chat();
    outcome.see("template", model.apply_chat_template(&messages, &chat, true));
    outcome.see("chat", model.chat(&messages[rng.usize(..2)..], &chat));
    outcome.see("chat", model.chat(&messages, &with_tools(chat)));
    outcome.see("generate", model.generate("Hello", &brief()));
    outcome.see("generate", model.generate(vec![1, 2, 3], &brief()));
    let schema = brief()
        .with_json_schema(json!({"type": "object", "properties": {"a": {"enum": ["x", 1]}}}));
    outcome.see("schema", model.generate("Hello", &schema));
    let embed = EmbedOptions::default().with_timeout(2.0);
    outcome.see("embed", model.embed([text, "two", "three"], &embed));
    outcome.see(
        "rerank",
        model.rerank("query", &["one", text], &RerankOptions::default().with_timeout(2.0)),
    );
    if let Some(state) = outcome.see("save", model.save_state("Hello")) {
        outcome.see("restore", model.load_state(&state));
    }
    let _ = model.stats();
    model.close();
}

fn with_tools(options: ChatOptions) -> ChatOptions {
    let parameters =
        json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let function =
        json!({"name": "get_weather", "description": "Get the weather", "parameters": parameters});
    options.with_tools(vec![json!({"type": "function", "function": function})])
}
