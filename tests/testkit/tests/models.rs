//! The created models work in the bare engine.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::{env, fs, process, thread};

use mullama_sys::{
    LLAMA_FTYPE_MOSTLY_Q4_K_M, llama_model, llama_model_default_params, llama_model_free,
    llama_model_get_vocab, llama_model_load_from_file, llama_vocab_bos, llama_vocab_eos,
    llama_vocab_eot, llama_vocab_is_eog, llama_vocab_n_tokens,
};
use mullama_testkit::gguf::File;
use mullama_testkit::probe::{Verdict, probe, round_trip, start_engine};
use mullama_testkit::{
    Shape, Vocabulary, WeightType, fixture, preset, quantize, vocab_only, write_model,
};

/// A file for one test, removed at its end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("mullama-testkit-{}-{name}.gguf", process::id())))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A model in the bare engine with only its tokenizer.
struct Tokenizer(*mut llama_model);

impl Tokenizer {
    fn open(path: &Path) -> Self {
        start_engine();
        let path = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: a NUL-terminated path and the engine's own defaults.
        let model = unsafe {
            let mut params = llama_model_default_params();
            params.vocab_only = true;
            llama_model_load_from_file(path.as_ptr(), params)
        };
        assert!(!model.is_null());
        Self(model)
    }

    fn round_trip(&self, text: &str) -> (String, usize) {
        // SAFETY: the vocabulary belongs to the model.
        let (bytes, tokens) = unsafe { round_trip(llama_model_get_vocab(self.0), text) }.unwrap();
        (String::from_utf8(bytes).unwrap(), tokens)
    }
}

impl Drop for Tokenizer {
    fn drop(&mut self) {
        // SAFETY: `self` owns the model.
        unsafe { llama_model_free(self.0) }
    }
}

#[test]
fn models_decode_to_finite_logits() {
    for name in ["tiny", "moe", "small", "large"] {
        assert_eq!(probe(&fixture(name), |_| {}), Verdict::Accepts, "{name}");
    }
    assert_eq!(preset("22m").unwrap().shape.parameters() / 1_000_000, 21);
    assert_eq!(preset("1b").unwrap().shape.parameters() / 1_000_000, 1104);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let shape = preset("tiny").unwrap().shape;
    let bytes = |name: &str, weights, seed| {
        let file = Temporary::new(name);
        write_model(&file.0, &shape, weights, seed).unwrap();
        fs::read(&file.0).unwrap()
    };
    let one = bytes("one", WeightType::F16, 7);
    assert_eq!(one, bytes("same", WeightType::F16, 7));
    assert_ne!(one, bytes("other", WeightType::F16, 8));
    assert_ne!(one.len(), bytes("wide", WeightType::F32, 7).len());
    assert_eq!(File::decode(&one).unwrap().encode(), one);
}

#[test]
fn weights_have_the_expected_deviation() {
    let file = Temporary::new("deviation");
    let shape = Shape { n_embd: 64, ..preset("tiny").unwrap().shape };
    write_model(&file.0, &shape, WeightType::F32, 1).unwrap();
    let file = File::decode(&fs::read(&file.0).unwrap()).unwrap();
    let tensor = file.header.tensors.iter().find(|t| t.name == "blk.0.ffn_down.weight").unwrap();
    let count = tensor.shape.iter().product::<u64>() as usize;
    let bytes = &file.data[tensor.offset as usize..][..4 * count];
    let values = bytes.chunks_exact(4).map(|value| f32::from_le_bytes(value.try_into().unwrap()));
    let mean = values.clone().sum::<f32>() / count as f32;
    let deviation = (values.map(|value| value * value).sum::<f32>() / count as f32).sqrt();
    assert!(mean.abs() < 0.01, "{mean}");
    assert!((deviation * 128f32.sqrt() - 1.0).abs() < 0.05, "{deviation}");
}

#[test]
fn text_survives_tokenising() {
    let text = "The quick brown fox; jumps over\n\n  13 lazy dogs' ünïcödé 漢字 🦙\t\u{0}end. ";
    for name in ["tiny", "small", "vocab"] {
        let tokenizer = Tokenizer::open(&fixture(name));
        let (back, tokens) = tokenizer.round_trip(text);
        assert_eq!(back, text, "{name}");
        assert!(tokens < text.len(), "{name} merges nothing");
    }
    let vocab = Tokenizer::open(&fixture("vocab"));
    assert_eq!(vocab.round_trip("<|im_start|>user\nhi<|im_end|>").1, 6);
    assert!(vocab.round_trip(&"hello world ".repeat(100)).1 < 700);
}

#[test]
fn control_tokens_are_known_to_the_engine() {
    let model = Tokenizer::open(&fixture("vocab"));
    let ours = Vocabulary::new(32_000);
    // SAFETY: the vocabulary belongs to the model, which is still alive.
    unsafe {
        let vocab = llama_model_get_vocab(model.0);
        assert_eq!(llama_vocab_n_tokens(vocab), 32_000);
        assert_eq!(llama_vocab_bos(vocab) as u32, ours.end_of_text());
        assert_eq!(llama_vocab_eos(vocab) as u32, ours.end_of_text());
        assert_eq!(llama_vocab_eot(vocab) as u32, ours.end_of_turn());
        assert!(llama_vocab_is_eog(vocab, ours.end_of_turn() as i32));
        assert!(!llama_vocab_is_eog(vocab, ours.start_of_turn() as i32));
    }
}

#[test]
fn vocabulary_files_are_not_models() {
    let file = Temporary::new("vocab");
    vocab_only(&file.0, &preset("tiny").unwrap().shape).unwrap();
    drop(Tokenizer::open(&file.0));
    assert_ne!(probe(&file.0, |_| {}), Verdict::Accepts);
}

#[test]
fn models_can_be_quantised() {
    let file = Temporary::new("quantised");
    start_engine();
    quantize(&fixture("small"), &file.0, LLAMA_FTYPE_MOSTLY_Q4_K_M).unwrap();
    let (small, large) = (fs::metadata(&file.0).unwrap(), fs::metadata(fixture("small")).unwrap());
    assert!(small.len() * 2 < large.len());
    assert_eq!(probe(&file.0, |_| {}), Verdict::Accepts);
    assert!(quantize(Path::new("missing.gguf"), &file.0, LLAMA_FTYPE_MOSTLY_Q4_K_M).is_err());
}

#[test]
fn fixtures_may_be_requested_concurrently() {
    let dir = env::temp_dir().join(format!("mullama-testkit-{}", process::id()));
    let moe = preset("moe").unwrap();
    let whole = fs::read(fixture("moe")).unwrap();
    let ask = || moe.path_in(&dir).unwrap();
    let ask_process = || {
        let program = env!("CARGO_BIN_EXE_mullama-testkit");
        let output = process::Command::new(program).args(["path", "moe"]).arg(&dir).output();
        PathBuf::from(String::from_utf8(output.unwrap().stdout).unwrap().trim_end())
    };
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(fs::read(ask()).unwrap(), whole));
            scope.spawn(|| assert_eq!(fs::read(ask_process()).unwrap(), whole));
        }
    });
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing unfinished is left");
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
#[should_panic(expected = "there is no test model 'nonsense'")]
fn unknown_names_are_refused() {
    fixture("nonsense");
}
