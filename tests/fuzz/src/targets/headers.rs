//! Randomly damaged headers: none may make the reader panic, or use more memory than the size of its file.

use std::path::Path;

use fastrand::Rng;
use mullama_gguf::{Document, ErrorKind, GgufHeader, TensorType, Value};

use crate::input::Input;
use crate::memory::measured;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

/// Number of bytes that a header may use in memory, regardless of its file.
const SMALLEST_MEMORY: usize = 64 << 10;
/// Size of the reader's buffer and of an error, in bytes.
const READER_OVERHEAD: usize = 16 << 10;

pub fn start(_: &Path) -> Fuzz {
    let corpus = corpus();
    Box::new(move |input| fuzz(&corpus, input))
}

/// Valid files, from a minimal one to one with a large vocabulary.
fn corpus() -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(1);
    let mut files = vec![Document::default().encode()];
    for (tokens, tensors, alignment) in [
        (0, 0, 32),
        (0, 3, 32),
        (4, 0, 32),
        (4, 1, 64),
        (20, 12, 32),
        (20, 12, 4096),
        (100, 4, 32),
        (0, 200, 32),
        (5000, 30, 32),
    ] {
        let mut document = Document { alignment, ..Document::default() };
        document.set("general.architecture", Value::string("llama"));
        document.set("general.alignment", Value::u32(alignment as u32));
        document.set("general.name", Value::string([b'n', 0xc3, 0xbc, 0xff]));
        document.set("general.file_type", Value::u32(15));
        document.set("llama.rope.freq_base", Value::f32(10_000.0));
        document.set("split.count", Value::u16(2));
        document.set("tokenizer.ggml.add_bos_token", Value::bool(true));
        for (ty, size) in [(0, 1), (1, 1), (3, 2), (5, 4), (10, 8), (11, 8), (12, 8)] {
            let bytes = (0..size).map(|_| rng.u8(..)).collect();
            document.set(format!("other.{ty}"), Value { ty, bytes });
        }
        if tokens > 0 {
            let text = |_| rng.alphanumeric().to_string().repeat(rng.usize(0..12));
            document.set("tokenizer.ggml.tokens", Value::strings((0..tokens).map(text)));
            document.set("tokenizer.ggml.scores", Value::f32s((0..tokens).map(|i| i as f32)));
            document.set("tokenizer.ggml.token_type", Value::i32s(0..tokens));
        }
        for index in 0..tensors {
            let ty = TensorType::ALL[rng.usize(..TensorType::ALL.len())];
            let mut shape = vec![ty.block_length() * rng.u64(1..3)];
            shape.extend((0..rng.usize(0..4)).map(|_| rng.u64(1..4)));
            document.add_tensor(format!("blk.{index}.attn_q.weight"), ty, &shape);
        }
        let data = document.lay_out().expect("it is small") as usize;
        let mut file = document.encode();
        // Most files have data as well.
        if rng.bool() || tensors < 100 {
            file.resize(file.len() + data, 0);
        }
        files.push(file);
    }
    files
}

fn fuzz(corpus: &[Vec<u8>], input: &mut Input) -> Outcome {
    let rng = &mut input.rng;
    // The last is long, and finds no more defects than the others.
    let last = corpus.len() - 1;
    let choice = if rng.u8(..) == 0 { last } else { rng.usize(..last) };
    let mut file = corpus[choice].clone();
    for _ in 0..rng.usize(1..6) {
        mutate::bytes(&mut file, corpus, rng);
    }
    let mut outcome = Outcome::default();
    check(&file, rng, &mut outcome);
    if outcome.wrong.is_some() {
        input.save("header.gguf", file);
    }
    outcome
}

fn check(file: &[u8], rng: &mut Rng, outcome: &mut Outcome) {
    let size = file.len();
    let allowed = size.max(SMALLEST_MEMORY);
    let within = |peak: usize, allowed: usize, what: &str, outcome: &mut Outcome| {
        if peak > allowed + READER_OVERHEAD {
            outcome.wrong(format!("{what} took {peak} bytes for {size}"));
        }
    };

    let (header, peak) = measured(|| GgufHeader::from_reader(file, size as u64, "it"));
    within(peak, allowed, "a header", outcome);
    if let Some(header) = outcome.decide("header", header.clone()) {
        for tensor in &header.tensors {
            let start = header.data_offset.checked_add(tensor.offset);
            let end = start.and_then(|start| start.checked_add(tensor.size));
            if end.is_none_or(|end| end > size as u64) {
                outcome.wrong(format!("outside of the file: {tensor:?}"));
            }
        }
    } else if outcome.refused != Some(ErrorKind::InvalidModel) {
        outcome.wrong(format!("{header:?}"));
    }

    let (document, peak) = measured(|| Document::decode(file));
    within(peak, allowed * 2, "a document", outcome);
    match document {
        Ok(mut document) => {
            let _ = document.lay_out();
            let again = document.encode();
            let again = Document::decode(&again).map(|again| again.metadata == document.metadata);
            if !again.is_ok_and(|same| same) {
                outcome.wrong("written, it is another");
            }
        }
        Err(error) if header.is_ok() => outcome.wrong(format!("only one reads it: {error:?}")),
        Err(_) => {}
    }

    // The beginning of a file with a large stated size.
    let begun = &file[..rng.usize(..=size)];
    let said = mutate::pick(&[size as u64, size as u64 * 1000, 1 << 47, u64::MAX], rng);
    let (prefix, peak) = measured(|| GgufHeader::from_prefix(begun, said, "it"));
    within(peak, begun.len().max(SMALLEST_MEMORY), "a beginning", outcome);
    if said == size as u64 {
        match (prefix, header) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(begun)), Ok(whole)) if begun.tensors == whole.tensors => {}
            (begun, whole) => outcome.wrong(format!("{begun:?} of {whole:?}")),
        }
    }
}
