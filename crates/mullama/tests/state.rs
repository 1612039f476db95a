//! The saved and restored states of prompts.

use std::fs::{self, File};
use std::path::Path;
use std::sync::LazyLock;

use mullama::hub::Digest;
use mullama::{
    ChatOptions, ContextParams, CpuKernels, EmbedOptions, ErrorKind, GenerateOptions, KvCacheType,
    Message, Model, ModelParams, Prompt, TokenLogprob, write_state,
};
use mullama_testkit::fixture;

fn load(source: &str, context: ContextParams) -> Model {
    let context = context.with_n_threads(1);
    Model::load(source, ModelParams::default(), context).unwrap()
}

fn greedy() -> GenerateOptions {
    GenerateOptions::default().with_temperature(0.0)
}

static QUESTION: LazyLock<Vec<Message>> = LazyLock::new(|| {
    let system = "You are a helpful assistant. ".repeat(50);
    vec![Message::system(system.trim()), Message::user("What is the capital of France?")]
});

fn prompt(model: &Model) -> String {
    model.apply_chat_template(&QUESTION, &ChatOptions::default(), true).unwrap()
}

#[test]
fn a_restored_prompt_is_not_computed_again() {
    let first = load("demo", ContextParams::default());
    let prompt = prompt(&first);
    let state = first.save_state(prompt.as_str()).unwrap();
    let answer = first.chat(&QUESTION, &greedy().into()).unwrap();

    let second = load("demo", ContextParams::default().with_n_ctx(1024));
    let count = second.load_state(&state).unwrap();
    assert_eq!(count, second.count_tokens(&prompt).unwrap());
    let restored = second.chat(&QUESTION, &greedy().into()).unwrap();
    assert_eq!(restored.tokens, answer.tokens);
    assert_eq!(restored.usage.cached_tokens, restored.usage.prompt_tokens - 1);

    // It replaces nothing, and cells that exist already are not duplicated.
    let used = second.stats().unwrap().kv_used;
    second.load_state(&state).unwrap();
    assert_eq!(second.stats().unwrap().kv_used, used);
    // A prompt with the same beginning as an existing one.
    let tokens = second.tokenize(&prompt, true, true).unwrap();
    let mut other = tokens[..tokens.len() / 2].to_vec();
    other.extend(second.tokenize(" and something else", false, false).unwrap());
    let expected = first.generate(Prompt::from(other.clone()), &greedy()).unwrap();
    let third = load("demo", ContextParams::default());
    third.load_state(&first.save_state(Prompt::from(other.clone())).unwrap()).unwrap();
    third.load_state(&state).unwrap();
    assert_eq!(
        third.stats().unwrap().kv_used as usize,
        tokens.len() + other.len() - tokens.len() / 2
    );
    let again = third.generate(Prompt::from(other), &greedy()).unwrap();
    assert_eq!(again.tokens, expected.tokens);
    assert_eq!(third.chat(&QUESTION, &greedy().into()).unwrap().tokens, answer.tokens);
}

#[test]
fn a_state_does_not_depend_on_the_kernels() {
    let load = |kernels| {
        let params = ModelParams::default().with_cpu_kernels(kernels);
        Model::load("demo", params, ContextParams::default().with_n_threads(1))
    };
    if let Err(error) = load(CpuKernels::Own) {
        // This CPU does not support mullama's kernels.
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("cpu_kernels: `own` is not available"), "{error}");
        return;
    }
    for (from, to) in [(CpuKernels::Engine, CpuKernels::Own), (CpuKernels::Own, CpuKernels::Engine)]
    {
        let (from, to) = (load(from).unwrap(), load(to).unwrap());
        let state = from.save_state(prompt(&from).as_str()).unwrap();
        to.load_state(&state).unwrap();
        let answer = to.chat(&QUESTION, &greedy().into()).unwrap();
        assert_eq!(answer.usage.cached_tokens, answer.usage.prompt_tokens - 1);
        assert_eq!(answer.text, "The capital of France is Paris.");
    }
}

#[test]
fn states_of_other_models_are_rejected() {
    let model = load("demo", ContextParams::default());
    let prompt = prompt(&model);
    let state = model.save_state(prompt.as_str()).unwrap();
    let refused = |model: &Model, state: &[u8]| model.load_state(state).unwrap_err();

    let other = load(fixture("tiny").to_str().unwrap(), ContextParams::default());
    let error = refused(&other, &state);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("another model"), "{error}");
    let cells = ContextParams::default().with_kv_cache_type(KvCacheType::Q8_0);
    assert!(refused(&load("demo", cells), &state).to_string().contains("other settings"));

    assert!(refused(&model, &state[..state.len() - 1]).to_string().contains("damaged"));
    assert!(refused(&model, b"").to_string().contains("not one that was saved"));
    let small = load("demo", ContextParams::default().with_n_ctx(256));
    assert_eq!(refused(&small, &state).kind(), ErrorKind::OutOfMemory);
    // Both models still work.
    let answer = model.chat(&QUESTION, &greedy().into()).unwrap();
    assert_eq!(answer.text, "The capital of France is Paris.");
    small.generate("Hello", &greedy().with_max_tokens(4)).unwrap();
}

#[test]
fn a_state_can_be_saved_and_restored_while_others_run() {
    let model = load("demo", ContextParams::default());
    let prompt = prompt(&model);
    let endless = greedy().with_ignore_eos(true).with_max_tokens(300);
    let alone = model.generate("Hello", &endless.clone().with_logprobs(2)).unwrap();
    // Rounding depends on the number of cells in use, but does not change tokens of which the model is sure.
    let is_sure = |token: &&TokenLogprob| token.top[0].logprob - token.top[1].logprob > 0.1;
    let sure = alone.logprobs.as_ref().unwrap().iter().take_while(is_sure).count();
    assert!(sure >= 10, "{sure}");
    let mut stream = model.stream("Hello", &endless).unwrap();
    stream.next_chunk().unwrap().unwrap();
    for _ in 0..3 {
        let state = model.save_state(prompt.as_str()).unwrap();
        assert!(model.load_state(&state).unwrap() > 100);
    }
    assert_eq!(stream.finish().unwrap().tokens[..sure], alone.tokens[..sure]);
    model.close();
    assert_eq!(model.save_state("Hello").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(model.load_state(b"").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn invalid_state_files_are_not_read() {
    let model = load("demo", ContextParams::default().with_n_ctx(256));
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let refused = |path: &Path| model.load_state_file(path).unwrap_err();
    // Sparse files of 6 GiB and more.
    let large = |name: &str, beginning: &[u8]| {
        fs::write(at(name), beginning).unwrap();
        File::options().write(true).open(at(name)).unwrap().set_len(6 << 30).unwrap();
        refused(&at(name))
    };
    assert!(large("zeros", b"").to_string().contains("not one that was saved"));
    assert!(large("other", b"MLSTATE1").to_string().contains("another model"));
    let state = model.save_state("The capital of France").unwrap();
    let error = large("longer", &state);
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error:?}");
    assert!(error.to_string().contains("6.00 GiB"), "{error:?}");

    assert_eq!(refused(folder.path()).kind(), ErrorKind::Io);
    assert_eq!(refused(&at("none")).kind(), ErrorKind::NotFound);
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        for path in [&at("pipe"), Path::new("/dev/zero")] {
            assert!(refused(path).to_string().contains("not a regular file"), "{path:?}");
            let error = write_state(path, &state).unwrap_err();
            assert!(error.to_string().contains("not a regular file"), "{path:?}");
        }
    }
    write_state(at("state"), &state).unwrap();
    assert!(model.load_state_file(at("state")).unwrap() > 0);
}

#[test]
fn models_work_after_their_file_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(fixture("small"), at("model.gguf")).unwrap();
    let model = load(at("model.gguf").to_str().unwrap(), ContextParams::default().with_n_ctx(512));
    let other = load(at("model.gguf").to_str().unwrap(), ContextParams::default().with_n_ctx(512));
    let expected = other.embed("a text", &EmbedOptions::default()).unwrap();
    // Windows cannot remove a mapped file.
    if fs::remove_file(at("model.gguf")).is_ok() {
        fs::write(at("model.gguf"), "another").unwrap();
    }
    model.generate("a text", &greedy().with_max_tokens(2)).unwrap();
    let vectors = model.embed("a text", &EmbedOptions::default()).unwrap();
    assert_eq!(vectors.as_slice(), expected.as_slice());
    let state = model.save_state("a text").unwrap();
    assert!(other.load_state(&state).unwrap() > 0);
}

/// A modified state with a correct digest.
fn signed(mut state: Vec<u8>) -> Vec<u8> {
    let digest = Digest::of(&state[40..]);
    state[8..40].copy_from_slice(digest.as_bytes());
    state
}

#[test]
fn forged_states_do_not_affect_other_answers() {
    let tiny = || load(fixture("tiny").to_str().unwrap(), ContextParams::default().with_n_ctx(256));
    let model = tiny();
    let state = tiny().save_state("hello world").unwrap();
    let ask = || model.generate("Zebra 42", &greedy().with_max_tokens(8)).unwrap().text;
    let expected = ask();
    let count = u32::from_le_bytes(state[72..76].try_into().unwrap()) as usize;
    let cells = 76 + 4 * count;

    // After four numbers, there are cells, each with a position, a number of sequences and a sequence.
    let place = |index: usize| cells + 16 + 12 * index;
    assert_eq!(state[place(1)..place(1) + 4], 1_u32.to_le_bytes());
    let clean = tiny();
    for number in [-1, -5, i32::MIN, i32::MAX, 1000] {
        for index in 0..count {
            let mut state = state.clone();
            state[place(index)..place(index) + 4].copy_from_slice(&i32::to_le_bytes(number));
            let error = model.load_state(&signed(state)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{number}: {error}");
            assert_eq!(ask(), expected, "{number}");
            // Cells that it used are reused by another request.
            let prompt = format!("{index} and {number}");
            let answers = [&model, &clean]
                .map(|model| model.generate(&*prompt, &greedy().with_max_tokens(8)).unwrap().text);
            assert_eq!(answers[0], answers[1], "{number} {index}");
        }
    }
    // NaN values, including in cells that are released.
    let mut poisoned = state.clone();
    let start = place(count) + 200;
    poisoned[start..].fill(0xff);
    let _ = model.load_state(&signed(poisoned));
    let _ = model.generate("hello world, and more", &greedy().with_max_tokens(2));
    for _ in 0..3 {
        assert_eq!(ask(), expected);
    }
    assert!(model.load_state(&state).is_ok());
}
