//! LoRA adapters of models and of requests.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::{env, fs, process, thread};

use mullama::{ContextParams, ErrorKind, GenerateOptions, Lora, Model, ModelParams, Token};
use mullama_testkit::gguf::{File, Value};
use mullama_testkit::{Shape, WeightType, adapter, merge, preset, write_model};

/// Files for the tests of this process.
struct Files {
    base: PathBuf,
    adapters: [PathBuf; 2],
    /// The base with the first adapter merged into it, at scale 0.5.
    merged: PathBuf,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let dir = env::temp_dir().join(format!("mullama-adapters-{}", process::id()));
    fs::create_dir_all(&dir).unwrap();
    let path = |name: &str| dir.join(name);
    let shape = Shape { n_vocab: 300, ..preset("tiny").unwrap().shape };
    write_model(&path("base.gguf"), &shape, WeightType::F32, 1).unwrap();
    let base = File::decode(&fs::read(path("base.gguf")).unwrap()).unwrap();
    let files = [1, 2].map(|seed| adapter(&base, 0.5, seed));
    for (file, name) in files.iter().zip(["a.gguf", "b.gguf"]) {
        fs::write(path(name), file.encode()).unwrap();
    }
    fs::write(path("merged.gguf"), merge(&base, &files[0], 0.5).unwrap().encode()).unwrap();
    Files {
        base: path("base.gguf"),
        adapters: [path("a.gguf"), path("b.gguf")],
        merged: path("merged.gguf"),
    }
});

fn load(path: &Path) -> Model {
    load_with(path, ModelParams::default())
}

fn load_with(path: &Path, params: ModelParams) -> Model {
    Model::load(path, params, ContextParams::default().with_n_ctx(512).with_n_threads(1)).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0).with_ignore_eos(true).with_max_tokens(24)
}

const PROMPT: &str = "The quick brown fox";

fn tokens(model: &Model, options: &GenerateOptions) -> Vec<Token> {
    model.generate(PROMPT, options).unwrap().tokens
}

fn lora(adapters: &[(usize, f32)]) -> Lora {
    adapters.iter().map(|&(index, scale)| (&FILES.adapters[index], scale)).into()
}

#[test]
fn adapters_equal_merged_weights() {
    let base = load(&FILES.base);
    let (plain, merged) = (tokens(&base, &greedy()), tokens(&load(&FILES.merged), &greedy()));
    assert_ne!(plain, merged, "the adapter makes a difference");
    assert_eq!(tokens(&base, &greedy().with_lora(lora(&[(0, 0.5)]))), merged);
    // The scales of an adapter listed twice are added; with scale 0, it has no effect.
    let whole = tokens(&base, &greedy().with_lora(lora(&[(0, 1.0)])));
    assert_eq!(tokens(&base, &greedy().with_lora(lora(&[(0, 0.5), (0, 0.5)]))), whole);
    assert_ne!(whole, merged);
    assert_eq!(tokens(&base, &greedy().with_lora(lora(&[(0, 0.0)]))), plain);
    assert_eq!(tokens(&base, &greedy().with_lora(Lora::default())), plain);

    let adapted = load_with(&FILES.base, ModelParams::default().with_lora(lora(&[(0, 0.5)])));
    assert_eq!(tokens(&adapted, &greedy()), merged);
    assert_eq!(tokens(&adapted, &greedy().with_lora(Lora::default())), plain);
}

#[test]
fn prefix_cache_is_separate_per_adapter() {
    let model = load(&FILES.base);
    let sets = [lora(&[]), lora(&[(0, 1.0)]), lora(&[(1, 1.0)]), lora(&[(0, 1.0), (1, -0.5)])];
    let alone: Vec<_> = sets
        .iter()
        .map(|set| tokens(&load(&FILES.base), &greedy().with_lora(set.clone())))
        .collect();
    for round in 0..3 {
        for (set, alone) in sets.iter().zip(&alone) {
            let answer = model.generate(PROMPT, &greedy().with_lora(set.clone())).unwrap();
            assert_eq!(answer.tokens, *alone, "{set:?}");
            let most = answer.usage.prompt_tokens - 1;
            assert_eq!(answer.usage.cached_tokens, if round == 0 { 0 } else { most });
        }
    }
    assert!((1..4).all(|index| !alone[..index].contains(&alone[index])), "they differ: {alone:?}");
}

#[test]
fn requests_with_different_adapters_run_at_once() {
    let model = load(&FILES.base);
    let sets = [lora(&[]), lora(&[(0, 1.0)]), lora(&[(1, 1.0)]), lora(&[(1, 0.25)])];
    let alone: Vec<_> =
        sets.iter().map(|set| tokens(&model, &greedy().with_lora(set.clone()))).collect();
    thread::scope(|scope| {
        for (set, alone) in sets.iter().zip(&alone).cycle().take(16) {
            let model = &model;
            scope.spawn(move || {
                assert_eq!(tokens(model, &greedy().with_lora(set.clone())), *alone);
            });
        }
    });
}

#[test]
fn a_models_adapters_can_be_changed() {
    let model = load(&FILES.base);
    let [plain, first] =
        [lora(&[]), lora(&[(0, 1.0)])].map(|set| tokens(&model, &greedy().with_lora(set)));
    let mut under_way = model.stream(PROMPT, &greedy().with_max_tokens(200)).unwrap();
    under_way.next_chunk().unwrap().unwrap();
    model.set_lora(lora(&[(0, 1.0)])).unwrap();
    assert_eq!(tokens(&model, &greedy()), first);
    assert!(under_way.finish().unwrap().tokens.starts_with(&plain), "it goes on as it began");
    model.set_lora(Lora::default()).unwrap();
    assert_eq!(tokens(&model, &greedy()), plain);
}

#[test]
fn unsuitable_adapters_are_rejected() {
    let model = load(&FILES.base);
    let dir = FILES.base.parent().unwrap();
    let good = fs::read(&FILES.adapters[0]).unwrap();
    let broken = |name: &str, change: &dyn Fn(&mut File)| {
        let mut file = File::decode(&good).unwrap();
        change(&mut file);
        let path = dir.join(format!("{name}.gguf"));
        fs::write(&path, file.encode()).unwrap();
        path
    };
    let metadata = |key: &'static str, value: Value| {
        move |file: &mut File| {
            let entry = file.header.metadata.iter_mut().find(|(name, _)| name == key).unwrap();
            entry.1 = value.clone();
        }
    };
    let cut = dir.join("cut.gguf");
    fs::write(&cut, &good[..good.len() / 2]).unwrap();
    let text = dir.join("text.gguf");
    fs::write(&text, "this is no adapter").unwrap();
    let tensor = |change: fn(&mut mullama_testkit::gguf::RawTensor)| {
        move |file: &mut File| change(&mut file.header.tensors[0])
    };
    let files = [
        (dir.join("missing.gguf"), ErrorKind::NotFound, "there is no file"),
        (dir.to_owned(), ErrorKind::InvalidModel, "folder"),
        (text, ErrorKind::InvalidModel, "text.gguf"),
        (cut, ErrorKind::InvalidModel, "cut.gguf"),
        (FILES.base.clone(), ErrorKind::InvalidModel, "general.type"),
        (
            broken("kind", &metadata("adapter.type", Value::string("control"))),
            ErrorKind::InvalidModel,
            "adapter.type",
        ),
        (
            broken("number", &metadata("general.type", Value::u32(3))),
            ErrorKind::InvalidModel,
            "general.type",
        ),
        (
            broken("alpha", &metadata("adapter.lora.alpha", Value::string("8"))),
            ErrorKind::InvalidModel,
            "alpha",
        ),
        (
            broken("architecture", &metadata("general.architecture", Value::string("qwen2"))),
            ErrorKind::InvalidModel,
            "arch",
        ),
        (
            broken("name", &tensor(|tensor| tensor.name = "blk.77.attn_q.weight.lora_a".into())),
            ErrorKind::InvalidModel,
            "blk.",
        ),
        (broken("shape", &tensor(|tensor| tensor.shape[0] /= 2)), ErrorKind::InvalidModel, "shape"),
        (
            // GGML_TYPE_I32
            broken("type", &tensor(|tensor| tensor.ty = 26)),
            ErrorKind::InvalidModel,
            "type i32",
        ),
    ];
    for (path, kind, says) in files {
        let error = model.set_lora([(&path, 1.0)]).unwrap_err();
        assert_eq!(error.kind(), kind, "{}: {error}", path.display());
        assert!(error.to_string().contains(says), "{says:?} is not in: {error}");
        let params = ModelParams::default().with_lora([(&path, 1.0)]);
        let loaded = Model::load(&FILES.base, params, ContextParams::default());
        assert_eq!(loaded.err().map(|error| error.kind()), Some(kind));
    }
    let nan = model.generate(PROMPT, &greedy().with_lora(lora(&[(0, f32::NAN)]))).unwrap_err();
    assert_eq!(nan.kind(), ErrorKind::InvalidArgument);
    assert_eq!(tokens(&model, &greedy()), tokens(&load(&FILES.base), &greedy()), "it lives");
}
