//! Pictures in messages.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use mullama::{
    ChatCompletion, ChatOptions, Content, ContentPart, ContextParams, ErrorKind, MediaLimits,
    Message, Model, ModelParams, PlanOptions, plan,
};
use mullama_testkit::gguf::{File, TensorType, Value};
use mullama_testkit::{fixture, raw_answer};
use serde_json::json;

fn load_with(model: &Path, projector: &Path, context: ContextParams) -> mullama::Result<Model> {
    let params = ModelParams::default().with_projector(projector.to_string_lossy());
    Model::load(model, params, context.with_n_threads(1))
}

fn load(model: &str, projector: &str) -> Model {
    load_with(&fixture(model), &fixture(projector), ContextParams::default()).unwrap()
}

/// Models and their projectors, of every kind.
const PAIRS: [(&str, &str); 6] = [
    ("tiny", "projector"),
    ("windowed", "projector-gemma3"),
    ("tiled", "projector-idefics3"),
    ("tiny", "projector-pixtral"),
    ("tiny", "projector-internvl"),
    ("tiny", "projector-llama4"),
];

/// A picture of 24 x 20 pixels. Different numbers have different pixels.
fn pixels(number: u8) -> Vec<u8> {
    (0..24_u32 * 20 * 3).map(|index| (index * u32::from(number) % 251) as u8).collect()
}

fn picture(number: u8) -> ContentPart {
    ContentPart::image_pixels(24, 20, 3, &pixels(number)).unwrap()
}

fn message(parts: impl Into<Vec<ContentPart>>) -> Message {
    let mut message = Message::user("");
    message.content = Some(Content::Parts(parts.into()));
    message
}

/// A question about a picture.
fn question(number: u8) -> Message {
    message([picture(number), ContentPart::text("What is in this picture?")])
}

fn options() -> ChatOptions {
    ChatOptions::default()
        .with_temperature(0.0)
        .with_ignore_eos(true)
        .with_max_tokens(8)
        .with_logprobs(N_TOP as u32)
}

/// Number of most likely tokens that are compared.
const N_TOP: usize = 8;

/// Tokens with the log probabilities of the most likely ones at their positions, which differ between pictures even if
/// the tokens are the same.
type Seen = Vec<(i32, Vec<f32>)>;

fn seen(answer: &ChatCompletion) -> Seen {
    let tops = answer.logprobs.iter().flatten();
    tops.map(|token| (token.token, token.top.iter().map(|top| top.logprob).collect())).collect()
}

fn is_alike(one: &Seen, other: &Seen) -> bool {
    let close = |(a, b): (&f32, &f32)| (a - b).abs() < 0.01;
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| a.0 == b.0 && a.1.iter().zip(&b.1).all(close))
}

fn ask(model: &Model, messages: &[Message]) -> ChatCompletion {
    model.chat(messages, &options()).unwrap()
}

#[test]
fn images_affect_answers_and_are_cached() {
    let model = load("tiny", "projector");
    assert!(model.capabilities().vision);
    let first = ask(&model, &[question(3)]);
    assert_eq!(first.usage.image_tokens, 16);
    assert_eq!(first.usage.cached_tokens, 0);
    let other = ask(&model, &[question(7)]);
    assert!(!is_alike(&seen(&first), &seen(&other)), "another picture");
    assert!(other.usage.cached_tokens < 16, "what comes before the picture alone");
    let again = ask(&model, &[question(3)]);
    assert!(is_alike(&seen(&again), &seen(&first)));
    assert_eq!(again.usage.cached_tokens, again.usage.prompt_tokens - 1);
    let rest = message([picture(3), ContentPart::text("And how many?")]);
    assert!(ask(&model, &[rest]).usage.cached_tokens > 16, "the picture is there already");
}

#[test]
fn image_answers_match_a_raw_loop() {
    for (model, projector) in PAIRS {
        let loaded = load(model, projector);
        let mut others: Vec<Seen> = Vec::new();
        for number in [3, 7, 11] {
            let raw = raw_answer(
                &fixture(model),
                &fixture(projector),
                (
                    "<|im_start|>user\nLook: ",
                    (24, 20, &pixels(number)),
                    "What is it?<|im_end|>\n<|im_start|>assistant\n",
                ),
                8,
                N_TOP,
            );
            let parts =
                [ContentPart::text("Look: "), picture(number), ContentPart::text("What is it?")];
            let answer = seen(&ask(&loaded, &[message(parts)]));
            assert!(is_alike(&answer, &raw), "{projector} {number}: {answer:?} {raw:?}");
            assert!(others.iter().all(|other| !is_alike(other, &raw)), "{projector} {number}");
            others.push(raw);
        }
    }
}

#[test]
fn several_images_and_turns_are_supported() {
    let model = load("tiny", "projector");
    let two = message([picture(3), picture(7), ContentPart::text("Which is larger?")]);
    let answer = ask(&model, std::slice::from_ref(&two));
    assert_eq!(answer.usage.image_tokens, 32);
    let swapped = message([picture(7), picture(3), ContentPart::text("Which is larger?")]);
    assert!(!is_alike(&seen(&ask(&model, &[swapped])), &seen(&answer)));
    let turns = [two, answer.message.clone(), question(11)];
    let next = ask(&model, &turns);
    assert_eq!(next.usage.image_tokens, 48);
    assert!(next.usage.cached_tokens > 32);
    let mut chat = model.start_chat().with_options(options());
    chat.send(question(3)).unwrap();
    assert_eq!(chat.send("And now?").unwrap().usage.image_tokens, 16);
}

#[test]
fn concurrent_requests_share_an_image() {
    for (model, projector) in PAIRS {
        let model = load_with(
            &fixture(model),
            &fixture(projector),
            ContextParams::default().with_n_parallel(8),
        )
        .unwrap();
        let other = seen(&ask(&model, &[question(5)]));
        let before = model.stats().unwrap();
        let answers: Vec<_> = thread::scope(|scope| {
            let asked: Vec<_> =
                (0..8).map(|_| scope.spawn(|| ask(&model, &[question(9)]))).collect();
            asked.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        for answer in &answers {
            assert!(is_alike(&seen(answer), &seen(&answers[0])));
            assert!(!is_alike(&seen(answer), &other));
        }
        let after = model.stats().unwrap();
        let prompt = u64::from(answers[0].usage.prompt_tokens);
        let computed = after.prompt_tokens - before.prompt_tokens;
        assert!(computed < 2 * prompt, "{computed} tokens of eight prompts of {prompt}");
    }
}

#[test]
fn images_and_texts_share_the_kv_cache() {
    // There is room for two requests at a time.
    let context = ContextParams::default().with_n_ctx(256).with_n_parallel(4);
    let model = load_with(&fixture("tiny"), &fixture("projector"), context).unwrap();
    let question = |number: u8| {
        let mut parts = [1, 2, 3, 4].map(|other| picture(number * other)).to_vec();
        parts.push(ContentPart::text("Which is it?"));
        message(parts)
    };
    let alone: Vec<_> = (1..=4).map(|number| seen(&ask(&model, &[question(number)]))).collect();
    thread::scope(|scope| {
        for round in 0..3 {
            for (number, expected) in (1..=4).zip(&alone) {
                let model = &model;
                scope.spawn(move || {
                    if round == 1 {
                        ask(model, &[Message::user("Tell me of pictures.")]);
                    }
                    assert!(is_alike(&seen(&ask(model, &[question(number)])), expected));
                });
            }
        }
    });
}

#[test]
fn dropped_requests_do_not_affect_others() {
    let model = load("tiny", "projector");
    for number in 1..20 {
        drop(model.stream_chat(&[question(number)], &options()).unwrap());
    }
    let fresh = ask(&load("tiny", "projector"), &[question(3)]);
    assert!(is_alike(&seen(&ask(&model, &[question(3)])), &seen(&fresh)));
    let closed = load("tiny", "projector");
    let stream = closed.stream_chat(&[question(3)], &options()).unwrap();
    closed.close();
    drop(stream);
}

#[test]
fn projector_next_to_the_model_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join("tiny-Q4_K_M.gguf");
    fs::copy(fixture("tiny"), &model).unwrap();
    let sees = |params: ModelParams| {
        let context = ContextParams::default().with_n_threads(1);
        Model::load(&model, params, context).unwrap().capabilities().vision
    };
    assert!(!sees(ModelParams::default()));
    // Another model's projector, and a file that is not a projector.
    fs::copy(fixture("small"), dir.path().join("mmproj-other.gguf")).unwrap();
    assert!(!sees(ModelParams::default()));
    fs::copy(fixture("projector"), dir.path().join("mmproj-tiny-F16.gguf")).unwrap();
    assert!(sees(ModelParams::default()));
    assert!(sees(ModelParams::default().with_projector("auto")));
    assert!(!sees(ModelParams::default().with_projector("none")));
}

#[test]
fn mismatched_projectors_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let written = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = fs::read(fixture("projector")).unwrap();
    for (model, projector, kind, said) in [
        (
            "small",
            fixture("projector"),
            ErrorKind::InvalidModel,
            "have 64 numbers and the model's have 256",
        ),
        ("tiny", fixture("tiny"), ErrorKind::InvalidModel, "architecture llama, not a projector"),
        ("tiny", dir.path().join("none.gguf"), ErrorKind::NotFound, "none.gguf"),
        ("tiny", written("cut.gguf", &good[..good.len() - 4096]), ErrorKind::InvalidModel, ""),
        ("tiny", written("short.gguf", &good[..100]), ErrorKind::InvalidModel, ""),
        ("tiny", written("text.gguf", b"This is a text."), ErrorKind::InvalidModel, ""),
    ] {
        let error = load_with(&fixture(model), &projector, ContextParams::default()).err().unwrap();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    // Its vocabulary lacks the tokens around pictures of this projector.
    let model = load("tiny", "projector-idefics3");
    let error = model.chat(&[question(3)], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert!(error.to_string().contains("vocabulary"), "{error}");
}

/// A change to a projector's file.
type Edit<'a> = &'a dyn Fn(&mut File);

/// Loading refuses projectors that kernels do not support, or whose preprocessing would not end.
#[test]
fn projectors_that_crash_the_engine_are_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("projector.gguf");
    let narrow = |file: &mut File| {
        let tensor = file.header.tensors.iter_mut();
        let places = tensor.filter(|tensor| tensor.name == "v.position_embd.weight");
        places.for_each(|tensor| tensor.ty = TensorType::F16.number());
    };
    let number = |key: &'static str, value: u32| {
        move |file: &mut File| file.header.set(key, Value::u32(value))
    };
    let cases: [(&str, &str, Edit<'_>, &str); 5] = [
        ("windowed", "projector-gemma3", &narrow, "v.position_embd.weight has type"),
        (
            "tiled",
            "projector-idefics3",
            &number("clip.vision.preproc_image_size", 1 << 14),
            "from 32 to 512",
        ),
        (
            "tiny",
            "projector-internvl",
            &number("clip.vision.preproc_max_tiles", 1 << 30),
            "from 1 to 256",
        ),
        ("tiny", "projector-pixtral", &number("clip.vision.spatial_merge_size", 3), "merged by 3"),
        ("tiny", "projector-llama4", &number("clip.vision.projector.scale_factor", 0), "from 1 to"),
    ];
    for (model, projector, edit, said) in cases {
        let mut file = File::decode(&fs::read(fixture(projector)).unwrap()).unwrap();
        edit(&mut file);
        let size = file.header.lay_out().unwrap();
        file.data.resize(size as usize, 0);
        fs::write(&path, file.encode()).unwrap();
        let error = load_with(&fixture(model), &path, ContextParams::default()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// A projector with any header is either used or refused.
#[test]
fn damaged_projectors_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("projector.gguf");
    let mut state = 5_u64;
    let mut random = move |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut used = 0;
    for (name, model) in [("projector", "tiny"), ("projector-gemma3", "windowed")] {
        let good = fs::read(fixture(name)).unwrap();
        let header = mullama::GgufHeader::read(fixture(name)).unwrap().data_offset as usize;
        for _ in 0..150 {
            let mut bytes = good.clone();
            for _ in 0..=random(2) {
                let place = random(header);
                bytes[place] = if random(2) == 0 { random(4) as u8 } else { random(256) as u8 };
            }
            fs::write(&path, &bytes).unwrap();
            let Ok(model) = load_with(&fixture(model), &path, ContextParams::default()) else {
                continue;
            };
            used += usize::from(model.chat(&[question(3)], &options()).is_ok());
        }
    }
    assert!(used > 0, "some damage does not matter");
}

#[test]
fn invalid_images_are_rejected_with_their_place() {
    let model = load("tiny", "projector");
    let png = match picture(3) {
        ContentPart::ImageUrl { image_url } => image_url["url"].as_str().unwrap().to_owned(),
        _ => unreachable!(),
    };
    for (url, said) in [
        (json!("http://127.0.0.1:1/cat.png"), "nothing is fetched"),
        (json!({"url": "file:///etc/hostname"}), "no file is opened"),
        (json!("data:image/png;base64,A*B="), "not base64"),
        (json!("data:image/png;base64,VGhpcyBpcyBhIHRleHQu"), "not an image in a supported format"),
        (json!("data:image/png;base64,"), "no data"),
        (json!(&png[.."data:;base64,".len() + 200]), "damaged"),
        (json!({"detail": "low"}), "expected an address"),
        (json!(3), "expected an address"),
    ] {
        let part = json!({"type": "image_url", "image_url": url});
        let messages = json!([{"role": "user", "content": ["What is this?", part]}]);
        let messages = Message::list_from_json(messages).unwrap();
        let error = model.chat(&messages, &options()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let text = error.to_string();
        assert!(
            text.starts_with("messages[0].content[1].image_url: ") && text.contains(said),
            "{text}"
        );
    }
    let many = message(vec![picture(3); 1000]);
    let error = model.chat(&[many], &options()).unwrap_err();
    assert!(error.to_string().contains("1000 pictures; the limit is 256"), "{error}");
    let limits = MediaLimits::default().with_pixels(479).with_pictures(1);
    let params = ModelParams::default()
        .with_projector(fixture("projector").to_string_lossy())
        .with_media_limits(limits);
    let context = ContextParams::default().with_n_threads(1);
    let strict = Model::load(fixture("tiny"), params, context).unwrap();
    assert_eq!(strict.capabilities().media_limits, Some(limits));
    let error = strict.chat(&[question(3)], &options()).unwrap_err();
    assert!(error.to_string().contains("24 x 20 pixels; at most 479 are allowed"), "{error}");
    let error = strict.chat(&[message(vec![picture(3); 2])], &options()).unwrap_err();
    assert!(error.to_string().contains("2 pictures; the limit is 1"), "{error}");
    let narrow = ContentPart::image_pixels(1000, 2, 1, &[0; 2000]).unwrap();
    let error = model.chat(&[message([narrow, ContentPart::text("?")])], &options()).unwrap_err();
    assert!(error.to_string().contains("at most 32 times the other"), "{error}");
    assert!(error.to_string().starts_with("messages[0].content[0].image_url: "), "{error}");
}

#[test]
fn images_must_fit_the_context() {
    let context = ContextParams::default().with_n_ctx(256);
    let model = load_with(&fixture("tiny"), &fixture("projector"), context).unwrap();
    let mut parts = vec![picture(3); 20];
    parts.push(ContentPart::text("What are they?"));
    let error = model.chat(&[message(parts)], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    assert!(error.to_string().contains("320 of them of pictures"), "{error}");

    // A picture with more tiles than fit into the context.
    let dir = tempfile::tempdir().unwrap();
    let tiles = dir.path().join("tiles.gguf");
    let mut file = File::decode(&fs::read(fixture("projector-idefics3")).unwrap()).unwrap();
    file.header.set("clip.vision.preproc_image_size", Value::u32(512));
    fs::write(&tiles, file.encode()).unwrap();
    let model = load_with(&fixture("tiled"), &tiles, ContextParams::default()).unwrap();
    let error = model.chat(&[question(3)], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextOverflow);
    let count: usize = error.get("image_tokens").unwrap().parse().unwrap();
    assert!(count > 512, "{count}");
    let said = format!("24 x 20 pixels takes {count} tokens and the context has 512");
    assert!(error.to_string().contains(&said), "{error}");

    let context = ContextParams::default().with_n_ubatch(2);
    let model = load_with(&fixture("windowed"), &fixture("projector-gemma3"), context).unwrap();
    let error = model.chat(&[question(3)], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("4 tokens that must be computed together"), "{error}");
}

#[test]
fn models_without_a_projector_accept_only_text() {
    let model =
        Model::load("demo", ModelParams::default(), ContextParams::default().with_n_threads(1))
            .unwrap();
    assert!(!model.capabilities().vision);
    let error = model.chat(&[question(3)], &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("takes text only"), "{error}");
    let error = model.apply_chat_template(&[question(3)], &options(), true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let model = load("tiny", "projector");
    let prompt = model.apply_chat_template(&[question(3)], &options(), true).unwrap();
    assert!(prompt.contains("user\n<image>What is in this picture?"), "{prompt}");
}

#[test]
fn image_requests_can_be_awaited() {
    let model = load("tiny", "projector");
    let answer = futures_executor::block_on(model.chat_async(&[question(3)], &options())).unwrap();
    assert!(is_alike(&seen(&answer), &seen(&ask(&model, &[question(3)]))));
}

/// The placeholders of pictures are not tokens of a draft model, and must not be copied.
#[test]
fn image_requests_do_not_use_the_draft_model() {
    let params = ModelParams::default()
        .with_projector(fixture("projector").to_string_lossy())
        .with_draft_model(fixture("tiny").to_string_lossy());
    let context = ContextParams::default().with_n_threads(1);
    let model = Model::load(fixture("tiny"), params, context).unwrap();
    let plain = load("tiny", "projector");
    let long = || options().with_max_tokens(24);
    let text = [Message::user("one two one two one two")];
    for (messages, is_drafted) in [
        (vec![question(3)], false),
        (text.to_vec(), true),
        (vec![question(7), Message::assistant("A cat."), question(7)], false),
        (text.to_vec(), true),
    ] {
        let answer = model.chat(&messages, &long()).unwrap();
        assert_eq!(answer.usage.drafted_tokens > 0, is_drafted, "{messages:?}");
        let expected = plain.chat(&messages, &long()).unwrap();
        assert!(is_alike(&seen(&answer), &seen(&expected)));
        let copied = plain.chat(&messages, &long().with_prompt_lookup(8)).unwrap();
        assert!(is_alike(&seen(&copied), &seen(&expected)));
    }
    thread::scope(|scope| {
        for number in 1..=6 {
            let (model, plain, text) = (&model, &plain, &text);
            scope.spawn(move || {
                let messages = if number % 2 == 0 { text } else { &[question(number)] };
                let answer = model.chat(messages, &long()).unwrap();
                let expected = plain.chat(messages, &long()).unwrap();
                assert!(is_alike(&seen(&answer), &seen(&expected)));
            });
        }
    });
}

#[test]
fn images_come_from_files_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cat.bmp");
    let error = Message::user("?").with_image_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let file = b"anything";
    fs::write(&path, file).unwrap();
    let message = Message::user("What is this?").with_image_file(&path).unwrap();
    assert_eq!(message, Message::user("What is this?").with_image(file));
}

/// `projector_memory.rs` measures the memory.
#[test]
fn plan_and_placement_agree_on_the_projector() {
    let host = |model: &Model| model.placement().devices.last().unwrap().clone();
    let planned = |model: &str, projector: &Path| {
        let params = ModelParams::default().with_projector(projector.to_string_lossy());
        let options = PlanOptions::default().with_model(params).with_devices([]);
        plan(fixture(model), &options).unwrap()
    };
    for (model, projector) in PAIRS {
        let placed = host(&load(model, projector));
        assert!(placed.projector > 50_000, "{projector}: {placed:?}");
        let plan = planned(model, &fixture(projector));
        let host = &plan.host;
        assert_eq!(
            [host.kv, host.compute, host.projector],
            [placed.kv, placed.compute, placed.projector],
            "{projector}"
        );
        assert!(plan.to_string().contains("PROJECTOR"), "{plan}");
    }
    let without = planned("tiny", Path::new("none"));
    assert_eq!(without.host.projector, 0);
    assert!(!without.to_string().contains("rojector"), "{without}");
}

#[test]
fn plans_count_projector_memory() {
    let params = ModelParams::default().with_projector(fixture("projector").to_string_lossy());
    let with = |bytes: u64| {
        let options = PlanOptions::default()
            .with_model(params.clone())
            .with_devices([])
            .with_host_memory(bytes);
        plan(fixture("tiny"), &options).unwrap()
    };
    let roomy = with(1 << 40);
    let needed = roomy.host.kv + roomy.host.compute + roomy.host.projector;
    assert!(with(needed).fits);
    let asked = params.clone();
    let options = PlanOptions::default()
        .with_model(asked)
        .with_context(ContextParams::default().with_n_ctx(roomy.context_size))
        .with_devices([])
        .with_host_memory(needed - 1);
    let refusal = plan(fixture("tiny"), &options).unwrap().refusal.unwrap();
    assert!(refusal.contains("the projector takes"), "{refusal}");
}

/// A state contains tokens; placeholders of pictures cannot be saved.
#[test]
fn states_contain_no_images() {
    let model = load("tiny", "projector");
    let expected = seen(&ask(&model, &[question(3)]));
    let error = model.save_state(vec![1, -5, 7]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let text = "hello world, this is a somewhat longer text";
    let state = model.save_state(text).unwrap();
    assert!(is_alike(&seen(&ask(&model, &[question(3)])), &expected));
    let other = load("tiny", "projector");
    assert!(other.load_state(&state).unwrap() > 4);
    assert!(is_alike(&seen(&ask(&other, &[question(3)])), &expected));
}
