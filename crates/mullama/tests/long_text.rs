//! Texts with long uniform runs: the engine's regular expressions recurse for each character of a match.

use std::thread;

use mullama::{
    ChatOptions, ContextParams, EmbedOptions, ErrorKind, GenerateOptions, Message, Model,
    ModelParams, Result, Truncate,
};

/// The names of all pre-tokenizers in the engine (`tokenizer_pre` in llama-vocab.cpp).
const PRE_TOKENIZERS: &str = "a.x-4.0 afmoe bailingmoe bailingmoe2 bloom chameleon chatglm-bpe codeshell cohere2moe \
    command-r dbrx deepseek-coder deepseek-llm deepseek-r1-qwen deepseek-v3 default exaone exaone-moe exaone4 \
    f2llmv2 falcon falcon-h1 falcon3 gemma4 gigachat glm4 glm5 gpt-2 gpt-4o gpt3-finnish granite-docling \
    granite-embed-multi-311m granite-embed-multi-97m grok-2 hunyuan hunyuan-dense hy_v4 jais jais-2 jina-de jina-es \
    jina-v1-en jina-v2-code jina-v2-de jina-v2-es jina-v5-nano joyai-llm kanana2 kimi-k2 kormo laguna lfm2 llada-moe \
    llama-bpe llama-v3 llama3 llama4 megrez mellum mellum2 midm-2.0 minerva-7b minicpm5 minimax-m2 mmbert \
    modern-bert mpt olmo phi-2 pixtral poro-chat qwen2 qwen35 refact roberta-bpe sarvam-moe seed-coder smaug-bpe \
    smollm solar-open spark2_5 stablelm2 starcoder superbpe talkie tekken tiny_aya trillion ufakzeka viking \
    whitespace youtu";

const RUNS: [&str; 14] =
    [" ", "a", "A", "-", "7", "中", "é", "\u{301}", "ひ", "\t", "+", "\u{a0}", "😀", "\n"];

fn with_pre_tokenizer(name: &str) -> Model {
    let params = ModelParams::default()
        .with_vocab_only(true)
        .with_metadata_overrides([("tokenizer.ggml.pre".to_owned(), name.into())]);
    Model::load("demo", params, ContextParams::default()).unwrap()
}

/// Asserts that a text is as it was before it was tokenised. The notation of bytes of some pre-tokenizers differs from
/// that in the demo model's vocabulary: these refuse it.
fn assert_whole(name: &str, text: &str, back: Result<String>) {
    let start: String = text.chars().take(4).collect();
    match name {
        "gemma4" | "granite-embed-multi-311m" | "mmbert" | "sarvam-moe" | "whitespace" => {
            let error = back.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidModel, "{name} {start:?}: {error:?}");
        }
        _ => assert!(back.unwrap() == text, "{name} {start:?}"),
    }
}

/// Runs on a test's thread, which has a stack of 2 MiB.
#[test]
fn long_runs_are_tokenised_by_every_pre_tokenizer() {
    let long: String = RUNS.map(|run| run.repeat(10_000)).concat();
    for name in PRE_TOKENIZERS.split_whitespace() {
        let model = with_pre_tokenizer(name);
        let text =
            model.tokenize(&long, false, false).and_then(|tokens| model.detokenize(&tokens, false));
        assert_whole(name, &long, text);
    }
}

#[test]
fn a_run_of_a_megabyte_is_tokenised() {
    for name in ["gpt-4o", "deepseek-v3", "default"] {
        let model = with_pre_tokenizer(name);
        for run in [" ", "a", "-", "\n", "中"] {
            let text = run.repeat((1 << 20) / run.len());
            let tokens = model.tokenize(&text, false, false).unwrap();
            let is_whole = model.detokenize(&tokens, false).unwrap() == text;
            assert!(is_whole, "{name} {run:?}");
        }
    }
}

/// Every pair of the two tests above. Runs on threads with the usual stack of 2 MiB.
#[test]
#[ignore = "takes a quarter of an hour: `make test-long-texts` runs it"]
fn a_megabyte_of_every_run_is_tokenised_by_every_pre_tokenizer() {
    let names: Vec<_> = PRE_TOKENIZERS.split_whitespace().collect();
    thread::scope(|scope| {
        for half in names.chunks(names.len().div_ceil(2)) {
            scope.spawn(move || {
                for name in half {
                    let model = with_pre_tokenizer(name);
                    for run in RUNS {
                        let text = run.repeat((1 << 20) / run.len());
                        let back = model
                            .tokenize(&text, false, false)
                            .and_then(|tokens| model.detokenize(&tokens, false));
                        assert_whole(name, &text, back);
                    }
                }
            });
        }
    });
}

/// A chat, a completion and an embedding end in a result or in an error that says that the context is too small.
#[test]
fn every_call_accepts_long_runs() {
    for name in ["gpt-4o", "deepseek-v3", "llama4", "default"] {
        let params = ModelParams::default()
            .with_metadata_overrides([("tokenizer.ggml.pre".to_owned(), name.into())]);
        let context = ContextParams::default().with_n_ctx(256).with_n_threads(1);
        let model = Model::load("demo", params, context).unwrap();
        let generate = GenerateOptions::default().with_max_tokens(1);
        let chat = ChatOptions::from(generate.clone());
        for run in RUNS {
            let long = run.repeat(60_000 / run.len());
            let count = model.tokenize(&long, false, false).unwrap().len();
            assert!(count > 256, "{name} {run:?}: {count} tokens");
            let errors = [
                model.generate(&long, &generate).map(drop).unwrap_err(),
                model
                    .stream(&long, &generate)
                    .and_then(|mut it| it.next().unwrap())
                    .map(drop)
                    .unwrap_err(),
                model.chat(&[Message::user(&long)], &chat).map(drop).unwrap_err(),
                model.embed(&long, &EmbedOptions::default()).map(drop).unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::ContextOverflow, "{name} {run:?}: {error}");
            }
            let cut = EmbedOptions::default().with_truncate(Truncate::End);
            let vectors = model.embed(&long, &cut).unwrap();
            assert!(vectors[0].iter().all(|number| number.is_finite()), "{name} {run:?}");
            assert_eq!(vectors.token_counts(), [256], "{name} {run:?}");
        }
    }
}

#[test]
fn many_emoji_are_tokenised() {
    let text = "😀🎉👩‍👩‍👧🇫🇷👍🏽".repeat(20_000);
    assert!(text.chars().count() >= 200_000);
    for name in ["gpt-2", "gpt-4o", "qwen2", "default"] {
        let model = with_pre_tokenizer(name);
        let tokens = model.tokenize(&text, false, false).unwrap();
        assert!(model.detokenize(&tokens, false).unwrap() == text, "{name}");
    }
}

#[test]
fn tokenizing_beyond_the_memory_limit_is_rejected() {
    let model = with_pre_tokenizer("gpt-4o");
    let error = model.tokenize(&"a".repeat(5_000_000), false, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("5000000 characters"), "{error}");
    // A long text of short lines is accepted.
    model.tokenize(&"a line\n".repeat(1_000_000), false, false).unwrap();
}
