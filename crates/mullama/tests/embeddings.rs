//! Embeddings of texts and scores of documents, compared to the bare engine and to each other.

use std::ffi::CString;
use std::path::Path;
use std::thread;

use mullama::{
    ContextParams, EmbedOptions, Embeddings, ErrorKind, Model, ModelParams, Pooling, Prompt,
    RerankOptions, Token, Truncate,
};
use mullama_sys as sys;
use mullama_testkit::fixture;

fn load(source: impl AsRef<Path>) -> Model {
    load_with(source, ContextParams::default())
}

fn load_with(source: impl AsRef<Path>, context: ContextParams) -> Model {
    Model::load(source, ModelParams::default(), context.with_n_threads(1)).unwrap()
}

fn options() -> EmbedOptions {
    EmbedOptions::default()
}

/// The vectors of the bare engine, which computes one sequence at a time and does the pooling; not normalised.
fn bare(path: &Path, pooling: sys::llama_pooling_type, inputs: &[Vec<Token>]) -> Vec<Vec<f32>> {
    let file = CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: every object is used while it is alive, and freed once; the modules are loaded, because
    // a model was loaded.
    unsafe {
        let model =
            sys::llama_model_load_from_file(file.as_ptr(), sys::llama_model_default_params());
        let mut params = sys::llama_context_default_params();
        (params.n_ctx, params.n_batch, params.n_ubatch) = (1024, 1024, 1024);
        (params.n_threads, params.n_threads_batch) = (1, 1);
        params.embeddings = true;
        params.pooling_type = pooling;
        let context = sys::llama_init_from_model(model, params);
        let width = match pooling {
            sys::LLAMA_POOLING_TYPE_RANK => sys::llama_model_n_cls_out(model) as usize,
            _ => sys::llama_model_n_embd(model) as usize,
        };
        let mut results = Vec::new();
        for input in inputs {
            let memory = sys::llama_get_memory(context);
            if !memory.is_null() {
                sys::llama_memory_clear(memory, true);
            }
            let mut tokens = input.clone();
            let batch = sys::llama_batch_get_one(tokens.as_mut_ptr(), tokens.len() as i32);
            assert_eq!(sys::llama_decode(context, batch), 0);
            let rows = if pooling == sys::LLAMA_POOLING_TYPE_NONE { tokens.len() } else { 1 };
            let values = if pooling == sys::LLAMA_POOLING_TYPE_NONE {
                sys::llama_get_embeddings(context)
            } else {
                sys::llama_get_embeddings_seq(context, 0)
            };
            results.push(std::slice::from_raw_parts(values, rows * width).to_vec());
        }
        sys::llama_free(context);
        sys::llama_model_free(model);
        results
    }
}

/// Maximum difference of the same text in two batches: weights and KV cache have 16 bits, and rounding depends
/// on the number of tokens. The largest observed difference is 0.0011, with the kernels for AVX2.
const TOLERANCE: f32 = 2e-3;

/// The largest difference of two elements, relative to the length of the longer vector.
fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let most = a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
    most / length(a).max(length(b)).max(f32::MIN_POSITIVE)
}

#[track_caller]
fn assert_same(ours: &Embeddings, other: &[Vec<f32>]) {
    assert_eq!(ours.len(), other.len());
    for (index, (a, b)) in ours.iter().zip(other).enumerate() {
        let difference = difference(a, b);
        assert!(difference < TOLERANCE, "text {index} differs by {difference}");
    }
}

/// Returns texts of various lengths, in irregular order.
fn texts(count: usize) -> Vec<String> {
    let words = ["one", "river", "green", "tokens", "a", "batch of them", "seven", "stone"];
    let text = |index: usize| {
        let length = 1 + (index * 37) % 13;
        (0..length)
            .map(|at| words[(index * 5 + at * 3) % words.len()])
            .collect::<Vec<_>>()
            .join(" ")
    };
    (0..count).map(text).collect()
}

fn tokens(model: &Model, texts: &[String]) -> Vec<Vec<Token>> {
    texts.iter().map(|text| model.tokenize(text, true, false).unwrap()).collect()
}

const POOLINGS: [(Pooling, sys::llama_pooling_type); 4] = [
    (Pooling::None, sys::LLAMA_POOLING_TYPE_NONE),
    (Pooling::Mean, sys::LLAMA_POOLING_TYPE_MEAN),
    (Pooling::Cls, sys::LLAMA_POOLING_TYPE_CLS),
    (Pooling::Last, sys::LLAMA_POOLING_TYPE_LAST),
];

#[test]
fn batched_embeddings_match_the_bare_engine() {
    for source in ["demo".into(), fixture("encoder"), fixture("tiny")] {
        // A small batch: texts are split at its end if the model allows it.
        let context = ContextParams::default().with_n_ubatch(96).with_n_ctx(512);
        let model = load_with(&source, context);
        let texts = texts(60);
        let inputs = tokens(&model, &texts);
        for (pooling, raw) in POOLINGS {
            let ours = model
                .embed(&texts, &options().with_pooling(pooling).with_normalize(false))
                .unwrap();
            assert_same(&ours, &bare(model.path(), raw, &inputs));
            let counts: Vec<_> = inputs.iter().map(|tokens| tokens.len() as u32).collect();
            assert_eq!(ours.token_counts(), counts);
            assert_eq!(
                ours.usage.prompt_tokens,
                counts.iter().copied().map(u64::from).sum::<u64>()
            );
        }
    }
}

#[test]
fn an_input_longer_than_a_batch_is_computed_in_parts() {
    let context = ContextParams::default().with_n_batch(64).with_n_ubatch(64).with_n_ctx(1024);
    let model = load_with("demo", context);
    let long: Vec<Token> = (0..700).map(|index| 300 + (index * 7) % 400).collect();
    let short: Vec<Token> = long[..20].to_vec();
    let inputs = vec![short.clone(), long.clone(), short, long[1..].to_vec()];
    for (pooling, raw) in POOLINGS {
        let ours =
            model.embed(&inputs, &options().with_pooling(pooling).with_normalize(false)).unwrap();
        assert_same(&ours, &bare(model.path(), raw, &inputs));
    }
}

#[test]
fn vectors_are_normalised_by_default() {
    let model = load("demo");
    let length = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let scaled = model.embed(["Paris", "Rome"], &options()).unwrap();
    assert!(scaled.is_normalized() && scaled.pooling() == Pooling::Mean);
    assert!(scaled.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-6));
    let plain = model.embed(["Paris", "Rome"], &options().with_normalize(false)).unwrap();
    assert!(plain.iter().all(|vector| (length(vector) - 1.0).abs() > 0.01));
    let short = model.embed(["Paris", "Rome"], &options().with_dimensions(16)).unwrap();
    assert_eq!(short.dimensions(), 16);
    assert!(short.iter().all(|vector| (length(vector) - 1.0).abs() < 1e-6));
    let factor = plain[0][0] / short[0][0];
    for (long, short) in plain[0].iter().zip(&short[0]) {
        assert!((long - short * factor).abs() < 1e-4 * factor.abs());
    }
    for wrong in [0, 129] {
        let error = model.embed("Paris", &options().with_dimensions(wrong)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("between 1 and 128"), "{error}");
    }
}

#[test]
fn text_list_of_one_and_tokens_embed_equally() {
    let model = load("demo");
    let one = model.embed("Paris", &options()).unwrap();
    assert_eq!(one, model.embed(["Paris"], &options()).unwrap());
    assert_eq!(one, model.embed(vec!["Paris".to_owned()], &options()).unwrap());
    let tokens = model.tokenize("Paris", true, false).unwrap();
    assert_eq!(one, model.embed(Prompt::from(tokens), &options()).unwrap());
    assert!(model.embed(Vec::<String>::new(), &options()).unwrap().is_empty());
    assert_eq!(model.embed(Vec::<String>::new(), &options()).unwrap().dimensions(), 128);
    assert_eq!(model.stats().unwrap().embedded_inputs, 4);
}

#[test]
fn empty_texts_have_special_tokens_or_none() {
    let encoder = load(fixture("encoder"));
    let empty = encoder.embed(["", "a"], &options()).unwrap();
    assert_eq!(empty.token_counts(), [2, 3], "[CLS] and [SEP]");
    let bare = options().with_add_special(false);
    assert_eq!(encoder.embed("a", &bare).unwrap().token_counts(), [1]);
    // A text without tokens does not affect the vectors of the others.
    let a = encoder.embed("a", &bare).unwrap();
    let none = encoder.embed(["", "a", ""], &bare).unwrap();
    assert_eq!(none.token_counts(), [0, 1, 0]);
    assert_eq!(none[1], a[0]);
    let alone = encoder.embed("", &bare).unwrap();
    for vector in [&none[0], &none[2], &alone[0]] {
        assert!(vector.iter().all(|&number| number == 0.0), "{vector:?}");
    }
    let each = bare.clone().with_pooling(Pooling::None);
    assert_eq!(encoder.embed(["", "a"], &each).unwrap().rows(), 1);
    let reranker = load(fixture("reranker"));
    let scores = bare.clone().with_pooling(Pooling::Rank);
    let error = reranker.embed(["a", ""], &scores).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.to_string(), "input 1 has no tokens");
    assert_eq!(error.get("input"), Some("1"));
    let written = options().with_parse_special(true);
    assert_eq!(encoder.embed("[MASK]", &written).unwrap().token_counts(), [3]);
}

#[test]
fn overlong_inputs_are_rejected_or_truncated() {
    let model = load(fixture("encoder"));
    assert_eq!(model.context_size(), 128);
    let long = "word ".repeat(200);
    let error = model.embed(["short", &long], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    let tokens = model.tokenize(&long, true, false).unwrap();
    let count = tokens.len();
    assert_eq!(
        error.to_string(),
        format!("input 1 has {count} tokens; the model accepts at most 128")
    );
    assert!(error.hint().unwrap().contains("`truncate`"));
    assert!(!error.hint().unwrap().contains("context_size"), "the model was not trained for more");
    assert!(error.context().any(|pair| pair == ("input", "1")));

    let end = model.embed(["short", &long], &options().with_truncate(Truncate::End)).unwrap();
    assert_eq!(end.usage.truncated_tokens, count as u64 - 128);
    assert_eq!(end.token_counts()[1], 128);
    let kept: Vec<Token> = tokens[..127].iter().chain(&tokens[count - 1..]).copied().collect();
    let expected = model.embed(Prompt::from(kept), &options()).unwrap();
    assert!(difference(&end[1], &expected[0]) < TOLERANCE, "[CLS] and [SEP] stay");

    let numbered: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    let numbered = numbered.join(" ");
    let start = model.embed(&numbered, &options().with_truncate(Truncate::Start)).unwrap();
    let tokens = model.tokenize(&numbered, true, false).unwrap();
    let kept: Vec<Token> =
        tokens[..1].iter().chain(&tokens[tokens.len() - 127..]).copied().collect();
    let expected = model.embed(Prompt::from(kept), &options()).unwrap();
    assert!(difference(&start[0], &expected[0]) < TOLERANCE);
}

#[test]
fn concurrent_embedding_calls_share_batches() {
    let model = load("demo");
    // Creates the context, which takes longer than the rest.
    let texts = texts(64);
    let alone: Vec<_> = texts.iter().map(|text| model.embed(text, &options()).unwrap()).collect();
    let before = model.stats().unwrap();
    assert_eq!(before.embedding_steps, 64, "one at a time");
    let pending: Vec<_> =
        texts.iter().map(|text| model.start_embed(text, &options()).unwrap()).collect();
    for (alone, pending) in alone.iter().zip(pending) {
        assert!(difference(&alone[0], &pending.wait().unwrap()[0]) < TOLERANCE);
    }
    let after = model.stats().unwrap();
    assert_eq!(after.embedded_inputs - before.embedded_inputs, 64);
    assert!(after.embedding_steps - before.embedding_steps <= 32, "{after:?}");
    assert_eq!(after.embedded_tokens, 2 * before.embedded_tokens);

    thread::scope(|scope| {
        for (text, alone) in texts.iter().zip(&alone) {
            let model = &model;
            scope.spawn(move || {
                let together = model.embed(text, &options()).unwrap();
                assert!(difference(&alone[0], &together[0]) < TOLERANCE);
            });
        }
    });
}

#[test]
fn embedding_uses_the_fewest_batches() {
    // 40 texts of 25 tokens are 1,000 tokens: two batches of 512.
    let model = load("demo");
    let inputs: Vec<Vec<Token>> =
        (0..40).map(|first| (0..25).map(|at| 300 + first + at).collect()).collect();
    model.embed(&inputs, &options()).unwrap();
    assert_eq!(model.stats().unwrap().embedding_steps, 2);
    // Texts are not split for an encoder: each batch has 20 texts of 25 tokens.
    let model = load(fixture("encoder"));
    let inputs: Vec<Vec<Token>> =
        (0..40).map(|first| (0..25).map(|at| 10 + first + at).collect()).collect();
    model.embed(&inputs, &options()).unwrap();
    assert_eq!(model.stats().unwrap().embedding_steps, 2);
}

#[test]
fn embedding_and_generation_run_concurrently() {
    let model = load("demo");
    let greedy = mullama::GenerateOptions::default().with_temperature(0.0).with_max_tokens(40);
    let alone = model.generate("The capital of France is", &greedy).unwrap();
    let texts = texts(100);
    thread::scope(|scope| {
        let embedding = scope.spawn(|| model.embed(&texts, &options()).unwrap());
        let answer = model.generate("The capital of France is", &greedy).unwrap();
        assert_eq!(answer.tokens, alone.tokens);
        assert_eq!(embedding.join().unwrap().len(), 100);
    });
}

#[test]
fn cancellation_and_timeouts_affect_only_their_call() {
    let model = load(fixture("small"));
    let bulk: Vec<Vec<Token>> =
        (0..400).map(|first| (0..200).map(|at| (first + at) % 4000).collect()).collect();
    let pending = model.start_embed(&bulk, &options()).unwrap();
    let other = model.start_embed("a short one", &options()).unwrap();
    let expected = other.wait().unwrap();
    pending.cancel();
    let error = pending.wait().unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Cancelled, "the request was cancelled")
    );
    let computed = model.stats().unwrap().embedded_inputs;
    assert!(
        computed < 401,
        "a short call is not held up by a long one, and nothing is computed in vain"
    );

    let error = model.embed(&bulk, &options().with_timeout(0.05)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(error.to_string().contains("`timeout`"), "{error}");
    assert!(model.embed("x", &options().with_timeout(-1.0)).is_err());

    drop(model.start_embed(&bulk, &options()).unwrap());
    let again = model.embed("a short one", &options()).unwrap();
    assert!(difference(&expected[0], &again[0]) < TOLERANCE);
}

#[test]
fn closing_ends_running_embeddings_and_rejects_new_ones() {
    let model = load(fixture("small"));
    let bulk: Vec<Vec<Token>> = (0..400).map(|first| vec![first; 200]).collect();
    let pending = model.start_embed(&bulk, &options()).unwrap();
    model.close();
    assert_eq!(pending.wait().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(model.embed("x", &options()).unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(model.embed(Vec::<&str>::new(), &options()).unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn documents_are_ranked_by_the_scores_of_the_bare_engine() {
    let model = load(fixture("reranker"));
    assert!(model.capabilities().rerank && !model.capabilities().embed);
    let (query, documents) = ("a green river", texts(50));
    let ranked = model.rerank(query, &documents, &RerankOptions::default()).unwrap();
    assert!(ranked.results.is_sorted_by(|a, b| a.score >= b.score));

    let query_tokens = model.tokenize(query, true, false).unwrap();
    let pairs: Vec<Vec<Token>> = documents
        .iter()
        .map(|document| {
            // [CLS] query [SEP] document [SEP]
            let own = model.tokenize(document, true, false).unwrap();
            query_tokens.iter().chain(&own[1..]).copied().collect()
        })
        .collect();
    let scores = bare(model.path(), sys::LLAMA_POOLING_TYPE_RANK, &pairs);
    for result in &ranked.results {
        assert!((result.score - scores[result.index][0]).abs() < 10.0 * TOLERANCE, "{result:?}");
    }
    let mut indices: Vec<_> = ranked.results.iter().map(|result| result.index).collect();
    indices.sort_unstable();
    assert!(indices.into_iter().eq(0..50));
    assert_eq!(ranked.usage.prompt_tokens, pairs.iter().map(|pair| pair.len() as u64).sum::<u64>());

    let best = model.rerank(query, &documents, &RerankOptions::default().with_top_n(3)).unwrap();
    let top = |results: &[mullama::RankedDocument]| {
        results.iter().take(3).map(|result| result.index).collect::<Vec<_>>()
    };
    assert_eq!((best.results.len(), top(&best.results)), (3, top(&ranked.results)));
    let empty: [&str; 0] = [];
    assert!(model.rerank(query, &empty, &RerankOptions::default()).unwrap().results.is_empty());
    let error = model.rerank(query, &["x"], &RerankOptions::default().with_top_n(0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_document_that_is_too_long_is_refused_or_cut() {
    let model = load(fixture("reranker"));
    let long = "word ".repeat(100);
    let error = model.rerank("query", &["a", &long], &RerankOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    assert!(error.to_string().starts_with("document 1 with the query has "), "{error}");
    let cut = RerankOptions::default().with_truncate(Truncate::End);
    let ranked = model.rerank("query", &["a", &long], &cut).unwrap();
    assert!(ranked.usage.truncated_tokens > 0);
    // A query that leaves no room for a document is an error.
    let error = model.rerank(&long, &["a"], &cut).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
}

#[test]
fn capabilities_match_the_model() {
    let demo = load("demo");
    assert!(demo.capabilities().embed && !demo.capabilities().rerank);
    let error = demo.rerank("query", &["document"], &RerankOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("reranker"));

    let encoder = load(fixture("encoder"));
    let capabilities = encoder.capabilities();
    assert!(capabilities.embed && !capabilities.generate && !capabilities.chat);
    let error = encoder.generate("x", &mullama::GenerateOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);

    let reranker = load(fixture("reranker"));
    let error = reranker.embed("x", &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.hint().unwrap().contains("`rerank`"));
    let scores = reranker.embed("x", &options().with_pooling(Pooling::Rank)).unwrap();
    assert_eq!((scores.dimensions(), scores.is_normalized()), (1, false));
    assert_eq!(
        reranker.embed("x", &options().with_pooling(Pooling::Cls)).unwrap().dimensions(),
        64
    );

    let vocabulary = ModelParams::default().with_vocab_only(true);
    let vocabulary = Model::load(fixture("vocab"), vocabulary, ContextParams::default()).unwrap();
    assert!(!vocabulary.capabilities().embed);
    let error = vocabulary.embed("x", &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
}

#[test]
fn embedding_memory_grows_with_the_longest_input() {
    let model = load("demo");
    let of = |model: &Model| {
        let placement = model.placement();
        placement.devices.iter().map(|share| (share.kv, share.compute)).next().unwrap()
    };
    let loaded = of(&model);
    model.embed("short", &options()).unwrap();
    let short = of(&model);
    assert!(short.0 > loaded.0 && short.1 > loaded.1, "{loaded:?} {short:?}");
    let long: Vec<Token> = vec![300; 1500];
    model.embed(Prompt::from(long), &options()).unwrap();
    assert!(of(&model).0 > short.0);
    let weights =
        |model: &Model| model.placement().devices.iter().map(|share| share.weights).sum::<u64>();
    assert!(weights(&model) > 0 && weights(&load(fixture("encoder"))) > 0);
}
