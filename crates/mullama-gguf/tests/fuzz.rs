//! Sound headers, damaged at random: none makes the reader panic, or take more memory than its file is long.
//!
//! A part of the inputs is tried with all other tests; `make fuzz` tries a million. An input is made from its number
//! alone, and a failure names it: `FUZZ_FIRST` starts there.

use std::alloc::{GlobalAlloc, Layout, System};
use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use fastrand::Rng;
use mullama_gguf::{Document, ErrorKind, GgufHeader, TensorType, Value};

/// Bytes that a header may take in memory whatever its file has.
const SMALLEST_MEMORY: usize = 64 << 10;
/// The reader's buffer, and what an error takes.
const BESIDE: usize = 16 << 10;

/// The system's allocator, counted.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn add(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
        PEAK.fetch_max(live, Ordering::Relaxed);
    }
}

// SAFETY: every call is the system allocator's, with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while one is copied to the other.
        Self::add(size);
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a call gives, and the most bytes that were allocated at once while it ran.
fn measured<T>(call: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let result = call();
    (result, PEAK.load(Ordering::Relaxed) - before)
}

/// Files as they should be, from the shortest to one with a vocabulary of some size.
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
        let data = document.lay_out().unwrap() as usize;
        let mut file = document.encode();
        GgufHeader::from_prefix(&file, (file.len() + data) as u64, "it")
            .unwrap()
            .expect("it is whole");
        // Of most, the data are there too.
        if rng.bool() || tensors < 100 {
            file.resize(file.len() + data, 0);
        }
        files.push(file);
    }
    files
}

/// One of the files, damaged in a few places.
fn input(corpus: &[Vec<u8>], number: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(number);
    // The last is long, and the others say as much.
    let last = corpus.len() - 1;
    let choice = if rng.u8(..) == 0 { last } else { rng.usize(..last) };
    let mut file = corpus[choice].clone();
    for _ in 0..rng.usize(1..6) {
        damage(&mut file, corpus, &mut rng);
    }
    file
}

fn damage(file: &mut Vec<u8>, corpus: &[Vec<u8>], rng: &mut Rng) {
    if file.is_empty() {
        return;
    }
    // Counts and the first lengths stand at the beginning.
    let end = if rng.u8(..4) == 0 { file.len().min(64) } else { file.len() };
    let place = rng.usize(..end);
    let count = rng.usize(..=(file.len() - place).min(64));
    match rng.u8(..9) {
        0 => file[place] ^= 1 << rng.u8(..8),
        1 => file[place] = rng.u8(..),
        // A number that is a limit of something, or near one.
        2..=4 => {
            let near = 1_u64.checked_shl(rng.u32(..65)).unwrap_or(0).wrapping_add(rng.u64(..5));
            let number = near.wrapping_sub(2).to_le_bytes();
            let wide = if rng.bool() { 4 } else { 8 };
            for (byte, new) in file[place..].iter_mut().zip(&number[..wide]) {
                *byte = *new;
            }
        }
        5 => file.truncate(place),
        6 => drop(file.drain(place..place + count)),
        7 => {
            let copy = file[place..place + count].to_vec();
            let to = rng.usize(..=file.len());
            drop(file.splice(to..to, copy));
        }
        _ => {
            let other = &corpus[rng.usize(..corpus.len())];
            let from = rng.usize(..other.len());
            let length = (other.len() - from).min(rng.usize(..256));
            let to = (place + count).min(file.len());
            drop(file.splice(place..to, other[from..from + length].iter().copied()));
        }
    }
}

#[derive(Default)]
struct Totals {
    read: u64,
    refused: u64,
    most: f64,
}

fn check(file: &[u8], number: u64, totals: &mut Totals) {
    let size = file.len();
    let allowed = size.max(SMALLEST_MEMORY);
    let within = |peak: usize, allowed: usize, what: &str| {
        assert!(peak <= allowed + BESIDE, "input {number}: {what} took {peak} bytes for {size}");
    };

    let (header, peak) = measured(|| GgufHeader::from_reader(file, size as u64, "it"));
    within(peak, allowed, "a header");
    totals.most = totals.most.max(peak as f64 / (allowed + BESIDE) as f64);
    match &header {
        Ok(header) => {
            totals.read += 1;
            let inside =
                |offset: u64, size: u64| header.data_offset.checked_add(offset)?.checked_add(size);
            for tensor in &header.tensors {
                let end = inside(tensor.offset, tensor.size);
                assert!(end.is_some_and(|end| end <= size as u64), "input {number}: {tensor:?}");
            }
        }
        Err(error) => {
            totals.refused += 1;
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "input {number}: {error:?}");
        }
    }

    let (document, peak) = measured(|| Document::decode(file));
    within(peak, allowed * 2, "a document");
    match document {
        Ok(mut document) => {
            let _ = document.lay_out();
            let again = document.encode();
            let again = Document::decode(&again).map(|again| again.metadata == document.metadata);
            assert!(again.is_ok_and(|same| same), "input {number}: written, it is another");
        }
        Err(error) => assert!(header.is_err(), "input {number}: only one reads it: {error:?}"),
    }

    // The beginning of a file that is said to be long.
    let mut rng = Rng::with_seed(!number);
    let begun = &file[..rng.usize(..=size)];
    let said = [size as u64, size as u64 * 1000, 1 << 47, u64::MAX][rng.usize(..4)];
    let (prefix, peak) = measured(|| GgufHeader::from_prefix(begun, said, "it"));
    within(peak, begun.len().max(SMALLEST_MEMORY), "a beginning");
    if said == size as u64 {
        match (prefix, header) {
            (Ok(None), _) | (Err(_), Err(_)) => {}
            (Ok(Some(begun)), Ok(whole)) => assert_eq!(begun.tensors, whole.tensors),
            (begun, whole) => panic!("input {number}: {begun:?} of {whole:?}"),
        }
    }
}

#[test]
fn nothing_panics_or_takes_more_memory_than_its_file() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let (first, count) =
        (number("FUZZ_FIRST").unwrap_or(0), number("FUZZ_INPUTS").unwrap_or(20_000));
    let corpus = corpus();
    let start = Instant::now();
    let mut totals = Totals::default();
    for number in first..first + count {
        let file = input(&corpus, number);
        // A panic of the reader names no input.
        let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&file, number, &mut totals);
        }));
        assert!(tried.is_ok(), "input {number} fails; try it with FUZZ_FIRST={number}");
    }
    println!(
        "{count} damaged headers in {:.0} s: {} read, {} refused; at most {:.0} % of the memory allowed",
        start.elapsed().as_secs_f64(),
        totals.read,
        totals.refused,
        totals.most * 100.0
    );
    assert!(totals.read > count / 100 && totals.refused > count / 2, "they are damaged in earnest");
}
