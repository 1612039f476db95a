//! Texts with long uniform runs: the engine's regular expressions recurse for each character of a match.

use mullama::{ContextParams, ErrorKind, Model, ModelParams};

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

/// Runs on a test's thread, which has a stack of 2 MiB.
#[test]
fn long_runs_are_tokenised_by_every_pre_tokenizer() {
    let long: String = RUNS.map(|run| run.repeat(10_000)).concat();
    for name in PRE_TOKENIZERS.split_whitespace() {
        let model = with_pre_tokenizer(name);
        let text =
            model.tokenize(&long, false, false).and_then(|tokens| model.detokenize(&tokens, false));
        // The notation of bytes of these differs from that in the demo model's vocabulary.
        match name {
            "gemma4" | "granite-embed-multi-311m" | "mmbert" | "sarvam-moe" | "whitespace" => {
                let error = text.err().map(|error| error.kind());
                assert!(matches!(error, None | Some(ErrorKind::InvalidModel)), "{name}: {error:?}");
            }
            _ => assert!(text.unwrap() == long, "{name}"),
        }
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

#[test]
fn what_would_take_too_much_memory_is_refused() {
    let model = with_pre_tokenizer("gpt-4o");
    let error = model.tokenize(&"a".repeat(5_000_000), false, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("5000000 characters"), "{error}");
    // A long text of short lines is accepted.
    model.tokenize(&"a line\n".repeat(1_000_000), false, false).unwrap();
}
