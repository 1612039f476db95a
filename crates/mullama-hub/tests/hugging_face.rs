//! Pulling from Hugging Face and from URLs.

mod common;

use common::{CHUNK, World};
use mullama_hub::{ErrorKind, Source, pull};
use mullama_test_registry::{COMMIT, Fault, gguf};

fn model(i: usize) -> Vec<u8> {
    gguf(&[("general.architecture", "qwen3"), ("general.size_label", "4B")], 1000 + i)
}

fn world() -> World {
    let world = World::new();
    world.registry.add_repo(
        "user/repo-GGUF",
        &[
            ("README.md", b"# hello".to_vec()),
            ("repo-Q4_K_M.gguf", model(2 * CHUNK)),
            ("repo-Q8_0.gguf", model(2)),
            ("mmproj-F16.gguf", gguf(&[("general.type", "mmproj")], 77)),
            ("BF16/repo-BF16-00001-of-00002.gguf", model(3 * CHUNK)),
            ("BF16/repo-BF16-00002-of-00002.gguf", model(4)),
        ],
    );
    world
}

#[test]
fn a_quantisation_is_pulled_with_its_projector() {
    let world = world();
    let found = world.pull_source("hf.co/user/repo-GGUF").unwrap();
    assert_eq!(found.name.full(), "hf.co/user/repo-GGUF:latest");
    assert_eq!(std::fs::read(&found.path).unwrap(), model(2 * CHUNK));
    assert!(found.projector.is_some());
    assert_eq!(found.config.model_family, "qwen3");
    assert_eq!(found.config.model_type, "4B");
    let found = world.pull_source("hf:user/repo-GGUF:q8_0").unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), model(2));
    assert!(world.store.find(&"hf.co/user/repo-GGUF:Q8_0".parse().unwrap()).is_ok());
    world.check(&["hf.co/user/repo-GGUF", "hf.co/user/repo-GGUF:q8_0"].map(|n| n.parse().unwrap()));
    // A second pull requests only the lists.
    world.registry.take_requests();
    world.pull_source("hf.co/user/repo-GGUF").unwrap();
    assert_eq!(world.registry.sent("/resolve/"), 0);
    // By a `Name`.
    let source = Source::Name("hf.co/user/repo-GGUF:Q8_0".parse().unwrap());
    pull(&world.store, &source, world.options()).unwrap();
}

#[test]
fn all_shards_are_pulled() {
    let world = world();
    let found = world.pull_source("hf.co/user/repo-GGUF:BF16").unwrap();
    assert_eq!(found.shards.len(), 2);
    assert!(found.path.ends_with("model-00001-of-00002.gguf"));
    assert_eq!(std::fs::read(&found.shards[1]).unwrap(), model(4));
    let title = found.manifest.unwrap().layers[0].title().map(str::to_owned);
    assert_eq!(title.as_deref(), Some("repo-BF16-00001-of-00002.gguf"));
}

#[test]
fn single_files_are_pulled_by_url() {
    let world = world();
    let address = "https://huggingface.co/user/repo-GGUF/blob/main/repo-Q8_0.gguf";
    let found = world.pull_source(address).unwrap();
    assert_eq!(found.name.full(), "hf.co/user/repo-GGUF:repo-Q8_0");
    assert_eq!(std::fs::read(&found.path).unwrap(), model(2));
    let at_commit = format!("hf.co/user/repo-GGUF@{COMMIT}:Q8_0");
    world.pull_source(&at_commit).unwrap();
}

#[test]
fn files_are_pulled_by_path() {
    let world = world();
    for (tag, name, files) in [
        ("repo-Q8_0.gguf", "repo-Q8_0", 1),
        ("REPO-q8_0.gguf", "REPO-q8_0", 1),
        ("BF16/repo-BF16-00001-of-00002.gguf", "repo-BF16-00001-of-00002", 2),
        ("repo-BF16-00001-of-00002.gguf", "repo-BF16-00001-of-00002", 2),
    ] {
        let found = world.pull_source(&format!("hf.co/user/repo-GGUF:{tag}")).expect(tag);
        assert_eq!(found.name.full(), format!("hf.co/user/repo-GGUF:{name}"));
        assert_eq!(found.shards.len(), files, "{tag}");
        // Pulling the name that a list shows downloads nothing.
        world.registry.take_requests();
        let again = pull(&world.store, &Source::Name(found.name.clone()), world.options()).unwrap();
        assert_eq!((again.path, world.registry.sent("/resolve/")), (found.path, 0), "{tag}");
    }
}

#[test]
fn companion_files_are_not_pulled() {
    let world = World::new();
    world.registry.add_repo(
        "user/m-GGUF",
        &[
            ("draft-m-Q4_K_M.gguf", model(1)),
            ("m-Q4_K_M.gguf", model(2)),
            ("lora/m-Q4_K_M.gguf", model(3)),
            ("m.imatrix.gguf", model(4)),
        ],
    );
    let found = world.pull_source("hf.co/user/m-GGUF").unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), model(2));
}

#[test]
fn missing_tags_list_available_ones() {
    let world = world();
    let error = world.pull_source("hf.co/user/repo-GGUF:Q2_K").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.hint(), Some("it has BF16, Q4_K_M, Q8_0"));
    let error = world.pull_source("hf.co/user/other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = world.pull_source("hf.co/user/repo-GGUF@v2:Q8_0").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    world.check(&[]);
}

#[test]
fn token_is_sent_only_to_hugging_face() {
    let (here, cdn) = (world(), world());
    here.registry.require_token("hf_secret");
    let error = here.pull_source("hf.co/user/repo-GGUF").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Download);
    assert!(error.hint().unwrap().contains("HF_TOKEN"), "{error:?}");
    let mut options = here.options();
    options.endpoints.hugging_face_token = Some("wrong".to_owned());
    let source = Source::parse("hf.co/user/repo-GGUF").unwrap();
    let error = pull(&here.store, &source, options).unwrap_err();
    assert!(error.to_string().contains("token is not valid"), "{error:?}");

    let mut options = here.options();
    options.endpoints.hugging_face_token = Some("hf_secret".to_owned());
    assert!(!format!("{:?}", options.endpoints).contains("hf_secret"));
    here.registry.fault("/resolve/", 99, Fault::Redirect(format!("{}*", cdn.registry.url())));
    pull(&here.store, &source, options).unwrap();
    let seen = cdn.registry.take_requests();
    assert!(!seen.is_empty() && seen.iter().all(|seen| seen.authorization.is_none()));
}

#[test]
fn gated_repositories_hint_at_their_terms() {
    let world = world();
    world.registry.fault("/api/", 9, Fault::Status(403, vec![]));
    let error = world.pull_source("hf.co/user/repo-GGUF").unwrap_err();
    assert!(error.hint().unwrap().contains("accept them at"), "{error:?}");
}

#[test]
fn invalid_api_responses_are_errors() {
    for (path, answer) in [
        ("/api/models/user/repo-GGUF/refs", "[]"),
        (
            "/api/models/user/repo-GGUF/refs",
            r#"{"branches":[{"name":"main","targetCommit":"../x"}]}"#,
        ),
        (&format!("/api/models/user/repo-GGUF/tree/{COMMIT}"), "<html>"),
        (
            &format!("/api/models/user/repo-GGUF/tree/{COMMIT}"),
            r#"[{"type":"file","path":"m.gguf","size":5,"lfs":{"oid":"../../x","size":5}}]"#,
        ),
        (
            &format!("/api/models/user/repo-GGUF/tree/{COMMIT}"),
            r#"[{"type":"file","path":"../../m.gguf","size":18446744073709551615}]"#,
        ),
    ] {
        let world = world();
        world.registry.add_file(path, answer);
        world.pull_source("hf.co/user/repo-GGUF").expect_err(answer);
        world.check(&[]);
    }
}

#[test]
fn url_downloads_resume_and_update() {
    let world = World::new();
    let (first, second) = (model(12 * CHUNK), model(13 * CHUNK));
    world.registry.add_file("/files/m.gguf", first.clone());
    let url = format!("{}/files/m.gguf", world.registry.url());
    world.registry.fault("/files/", 1, Fault::Slow(1 << 30));
    world.registry.fault("/files/", 9, Fault::Drop(3 * CHUNK as u64));
    let mut options = world.options();
    (options.connections, options.retries) = (1, 0);
    pull(&world.store, &Source::parse(&url).unwrap(), options).unwrap_err();
    world.check(&[]);
    world.registry.clear_faults();
    world.registry.take_requests();
    let found = world.pull_source(&url).unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), first);
    assert!(world.registry.sent("/files/") < 10 * CHUNK as u64);
    // The same version is not downloaded again.
    world.registry.take_requests();
    world.pull_source(&url).unwrap();
    assert_eq!(world.registry.sent("/files/"), 1);
    // A new version is downloaded and replaces the old one.
    world.registry.add_file("/files/m.gguf", second.clone());
    let found = world.pull_source(&url).unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), second);
    assert_eq!(world.store.list().unwrap().len(), 1);
    // The model is found by its URL.
    assert!(world.store.find_source(&Source::parse(&url).unwrap()).is_ok());
}

#[test]
fn changed_files_are_not_resumed() {
    let world = World::new();
    let size = 12 * CHUNK;
    let (first, second) = (gguf(&[("a", "1")], size), gguf(&[("a", "2")], size));
    assert_eq!(first.len(), second.len());
    world.registry.add_file("/files/m.gguf", first);
    let url = format!("{}/files/m.gguf", world.registry.url());
    world.registry.fault("/files/", 1, Fault::Slow(1 << 30));
    world.registry.fault("/files/", 9, Fault::Drop(3 * CHUNK as u64));
    let mut options = world.options();
    (options.connections, options.retries) = (1, 0);
    pull(&world.store, &Source::parse(&url).unwrap(), options).unwrap_err();
    world.registry.clear_faults();
    world.registry.add_file("/files/m.gguf", second.clone());
    let found = world.pull_source(&url).unwrap();
    assert_eq!(std::fs::read(&found.path).unwrap(), second);
}

#[test]
fn shards_behind_addresses_are_found() {
    let world = World::new();
    for i in 1..=2 {
        world.registry.add_file(&format!("/files/m-0000{i}-of-00002.gguf"), model(i));
    }
    let url = format!("{}/files/m-00001-of-00002.gguf", world.registry.url());
    assert_eq!(world.pull_source(&url).unwrap().shards.len(), 2);
    // An implausible number of shards is refused without a request.
    world.registry.take_requests();
    let many = format!("{}/files/shard-00001-of-99999.gguf", world.registry.url());
    assert_eq!(world.pull_source(&many).unwrap_err().kind(), ErrorKind::InvalidModel);
    assert!(world.registry.take_requests().is_empty());
    // So is one that a repository lists: only the list is requested.
    let listed = [("shard-00001-of-99999.gguf", model(1)), ("shard-99999-of-99999.gguf", model(2))];
    world.registry.add_repo("user/many", &listed);
    for name in ["hf.co/user/many", "hf:user/many:shard-00001-of-99999.gguf"] {
        let error = world.pull_source(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error}");
        assert!(error.to_string().contains("99999 files"), "{error}");
        let requests = world.registry.take_requests();
        assert!((1..=3).contains(&requests.len()), "{} requests", requests.len());
    }
    let page = format!("{}/files/page.gguf", world.registry.url());
    world.registry.add_file("/files/page.gguf", "<html>");
    assert_eq!(world.pull_source(&page).unwrap_err().kind(), ErrorKind::InvalidModel);
    let gone = format!("{}/files/gone.gguf", world.registry.url());
    assert_eq!(world.pull_source(&gone).unwrap_err().kind(), ErrorKind::NotFound);
}
