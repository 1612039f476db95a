//! Pulling with Ollama's protocol, and recovery from failures.

mod common;

use std::time::{Duration, Instant};

use common::{CHUNK, World};
use mullama_hub::{CancelToken, ErrorKind, Phase, Progress, Source, fetch_header, pull};
use mullama_test_registry::{Fault, Registry, gguf};
use serde_json::json;

#[test]
fn a_model_is_pulled_and_found() {
    let world = World::with_model(20 * CHUNK + 7);
    let model = world.pull("library/m").unwrap();
    assert_eq!(model.name, world.name("library/m"));
    assert_eq!(model.template.as_deref(), Some("{{ .Prompt }}"));
    assert_eq!(model.system.as_deref(), Some("Be brief."));
    assert_eq!(model.parameters.get("temperature"), Some(&json!(0.5)));
    assert_eq!(model.licenses, ["MIT"]);
    assert_eq!(model.config.model_family, "test");
    assert!(std::fs::read(&model.path).unwrap().starts_with(b"GGUF"));
    assert_eq!(model.shards, std::slice::from_ref(&model.path));
    world.check(&[world.name("library/m")]);
    let entry = &world.store.list().unwrap()[0];
    assert_eq!((entry.size, entry.id.len()), (model.size, 12));
    assert!(world.files().iter().all(|file| !file.starts_with("downloads/")));
    // A second pull requests only the manifest.
    world.registry.take_requests();
    world.pull("library/m").unwrap();
    let seen = world.registry.take_requests();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn names_without_a_host_use_the_configured_registry() {
    let world = World::with_model(10);
    let model = world.pull_source("m").unwrap();
    assert_eq!(model.name.full(), "registry.ollama.ai/library/m:latest");
    assert!(world.store.find(&"M:LATEST".parse().unwrap()).is_ok(), "case makes no difference");
}

#[test]
fn names_may_be_urls() {
    let world = World::with_model(10);
    for end in ["", ":latest"] {
        let model = world.pull_source(&format!("{}/library/m{end}", world.registry.url())).unwrap();
        assert_eq!(model.name, world.name("library/m"));
    }
    world.check(&[world.name("library/m")]);
}

#[test]
fn parts_download_in_parallel_without_overlap() {
    let size = 40 * CHUNK;
    let world = World::with_model(size);
    world.registry.fault("/blobs/", 99, Fault::Slow(200 << 20));
    let model = world.pull("library/m").unwrap();
    let seen = world.registry.take_requests();
    let ranges: Vec<_> = seen.iter().filter_map(|seen| seen.range.clone()).collect();
    assert!(ranges.len() > 3, "{ranges:?}");
    let bytes: u64 = seen.iter().filter(|seen| seen.range.is_some()).map(|seen| seen.sent).sum();
    assert_eq!(bytes, std::fs::metadata(&model.path).unwrap().len());
}

#[test]
fn progress_is_monotonic_and_complete() {
    let world = World::with_model(30 * CHUNK);
    world.registry.fault("/blobs/", 99, Fault::Slow(10 << 20));
    let mut seen: Vec<Progress> = Vec::new();
    let options = world.options().with_progress(|now| seen.push(now.clone()));
    let model = pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap();
    assert!(seen.windows(2).all(|pair| pair[0].completed <= pair[1].completed), "{seen:?}");
    assert!(seen.iter().any(|p| p.speed > 0 && p.eta.is_some()), "{seen:?}");
    assert_eq!(seen[0].phase, Phase::Resolving);
    let last = seen.last().unwrap();
    assert_eq!((last.phase, last.completed, last.total), (Phase::Done, model.size, model.size));
}

#[test]
fn dropped_connections_are_resumed() {
    let world = World::with_model(20 * CHUNK);
    world.registry.fault("/blobs/", 3, Fault::Drop(3 * CHUNK as u64 + 9));
    world.registry.fault("/manifests/", 1, Fault::Drop(20));
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
}

#[test]
fn resuming_skips_downloaded_bytes() {
    let size = 32 * CHUNK;
    let world = World::with_model(size);
    let mut options = world.options();
    options.connections = 1;
    options.retries = 0;
    world.registry.fault("/blobs/", 99, Fault::Drop(5 * CHUNK as u64 + 9));
    let source = Source::Name(world.name("library/m"));
    let error = pull(&world.store, &source, options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Download, "{error:?}");
    world.check(&[]);
    world.registry.clear_faults();
    world.registry.take_requests();
    world.pull("library/m").unwrap();
    let again = world.registry.sent("/blobs/") - 500;
    assert!(again <= size as u64 - 5 * CHUNK as u64, "{again}");
}

#[test]
fn wrong_digests_are_never_stored() {
    for size in [100, 12 * CHUNK] {
        let world = World::with_model(size);
        world.registry.fault("/blobs/", 99, Fault::Corrupt);
        let error = world.pull("library/m").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Download);
        assert!(error.to_string().contains("another digest"), "{error}");
        world.check(&[]);
        world.registry.clear_faults();
        world.pull("library/m").unwrap();
        world.check(&[world.name("library/m")]);
    }
}

#[test]
fn damaged_partial_downloads_are_fetched_again() {
    let world = World::with_model(16 * CHUNK);
    let mut options = world.options();
    options.retries = 0;
    options.connections = 1;
    world.registry.fault("/blobs/", 99, Fault::Drop(4 * CHUNK as u64));
    pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap_err();
    world.registry.clear_faults();
    let data = world.files().into_iter().find(|file| file.contains(".data")).unwrap();
    let path = world.store.root().join(data);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[CHUNK + 3] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
}

#[test]
fn a_wrong_length_is_an_error() {
    for size in [100, 12 * CHUNK] {
        let world = World::with_model(size);
        world.registry.fault("/blobs/", 99, Fault::Shorter(5));
        let error = world.pull("library/m").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Download, "{error:?}");
        world.check(&[]);
    }
}

#[test]
fn stalled_requests_are_retried() {
    let world = World::with_model(3 * CHUNK);
    let mut options = world.options();
    options.timeout = Duration::from_millis(400);
    world.registry.fault("/manifests/", 1, Fault::Stall(Duration::from_secs(5)));
    world.registry.fault("/blobs/", 1, Fault::Stall(Duration::from_secs(5)));
    let start = Instant::now();
    pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn stall_timeout_includes_retries() {
    for path in ["/manifests/", "/blobs/"] {
        let world = World::with_model(3 * CHUNK);
        let mut options = world.options();
        (options.retries, options.connections) = (100, 1);
        options.timeout = Duration::from_millis(400);
        world.registry.fault(path, 999, Fault::Stall(Duration::from_secs(60)));
        let error =
            pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Download, "{error:?}");
        let seen = world.registry.take_requests();
        let asked = seen.iter().filter(|seen| seen.path.contains(path)).count();
        assert!((1..=3).contains(&asked), "{seen:?}");
    }
}

#[test]
fn slow_servers_are_abandoned() {
    for path in ["/manifests/", "/blobs/"] {
        let world = World::with_model(3 * CHUNK);
        let options = |least_rate| {
            let mut options = world.options();
            (options.least_rate, options.rate_period) = (least_rate, Duration::from_millis(200));
            options
        };
        let source = Source::Name(world.name("library/m"));
        world.registry.fault(path, 999, Fault::Trickle(Duration::from_millis(5)));
        let error = pull(&world.store, &source, options(10_000)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Download, "{error:?}");
        assert!(error.to_string().contains("bytes per second"), "{error}");
        assert!(error.hint().unwrap().contains("MULLAMA_PULL_LEAST_RATE"), "{error:?}");
        world.registry.clear_faults();
        pull(&world.store, &source, options(1)).unwrap();
        world.check(&[world.name("library/m")]);
    }
    // The same limits apply to headers for plans.
    let world = World::with_model(3 * CHUNK);
    let mut options = world.options();
    (options.least_rate, options.rate_period) = (10_000, Duration::from_millis(200));
    world.registry.fault("/blobs/", 999, Fault::Trickle(Duration::from_millis(5)));
    let source = Source::Name(world.name("library/m"));
    let error = fetch_header(&source, &world.folder.path().join("headers"), &options).unwrap_err();
    assert!(error.to_string().contains("bytes per second"), "{error}");
}

#[test]
fn servers_without_range_support_work() {
    let world = World::with_model(20 * CHUNK + 1);
    world.registry.fault("/blobs/", 99, Fault::NoRanges);
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
}

#[test]
fn http_statuses_map_to_error_kinds() {
    for (status, kind) in [
        (404, ErrorKind::NotFound),
        (403, ErrorKind::Download),
        (418, ErrorKind::Download),
        (500, ErrorKind::Download),
    ] {
        let world = World::with_model(10);
        world.registry.fault("/manifests/", 99, Fault::Status(status, vec![]));
        let mut options = world.options();
        options.retries = 1;
        let source = Source::Name(world.name("library/m"));
        let error = pull(&world.store, &source, options).unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        let tries = world.registry.take_requests().len();
        assert_eq!(tries, if status == 500 { 2 } else { 1 });
    }
    let world = World::with_model(10);
    let error = world.pull("library/other").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().is_some());
}

#[test]
fn transient_failures_are_retried() {
    let world = World::with_model(2 * CHUNK);
    let wait = vec![("retry-after", "1".to_owned())];
    world.registry.fault("/manifests/", 1, Fault::Status(429, wait));
    world.registry.fault("/blobs/", 2, Fault::Status(503, vec![]));
    let start = Instant::now();
    world.pull("library/m").unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));
    // A delay of an hour is refused.
    let wait = vec![("retry-after", "3600".to_owned())];
    world.registry.fault("/manifests/", 9, Fault::Status(429, wait));
    let error = world.pull("library/m").unwrap_err();
    assert!(error.hint().unwrap().contains("3600"), "{error:?}");
}

#[test]
fn a_challenge_is_answered_with_a_token() {
    let world = World::with_model(3 * CHUNK);
    world.registry.require_token("secret");
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
    // A wrong token, and no other available.
    let world = World::with_model(10);
    world.registry.require_token("secret");
    world.registry.fault("/token", 9, Fault::Status(401, vec![]));
    let error = world.pull("library/m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Download);
    assert_eq!(error.get("status"), Some("401"));
    // A token from the caller.
    let mut options = world.options();
    options.token = Some("secret".to_owned());
    pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap();
}

#[test]
fn tokens_are_requested_only_from_the_registry() {
    let (world, elsewhere) = (World::with_model(10), Registry::start());
    let realm = format!("Bearer realm=\"{}/token?key=secret\",service=\"x\"", elsewhere.url());
    let challenge = vec![("www-authenticate", realm)];
    world.registry.fault("/manifests/", 9, Fault::Status(401, challenge));
    let error = world.pull("library/m").unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
    assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    assert!(elsewhere.take_requests().is_empty());
}

#[test]
fn credentials_are_not_sent_to_other_hosts() {
    let (world, cdn) = (World::with_model(20 * CHUNK), World::with_model(20 * CHUNK));
    world.registry.require_token("secret");
    world.registry.fault("/blobs/", 99, Fault::Redirect(format!("{}*", cdn.registry.url())));
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
    let seen = cdn.registry.take_requests();
    assert!(seen.len() > 2 && seen.iter().all(|seen| seen.authorization.is_none()), "{seen:?}");
    // Once the target of the redirect is known, parts are requested from it directly.
    let asked = world.registry.take_requests();
    let blobs = asked.iter().filter(|seen| seen.path.contains("/blobs/"));
    assert!(blobs.count() <= 8 + 5, "{asked:?}");
}

#[test]
fn expired_download_urls_are_renewed() {
    let (world, cdn) = (World::with_model(40 * CHUNK), World::with_model(40 * CHUNK));
    world.registry.fault("/blobs/", 99, Fault::Redirect(format!("{}*", cdn.registry.url())));
    // Affects requests after the first ones, which are for the small files and the first parts.
    let mut options = world.options();
    options.connections = 1;
    cdn.registry.fault("/blobs/", 6, Fault::Slow(1 << 30));
    cdn.registry.fault("/blobs/", 1, Fault::Status(403, vec![]));
    pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap();
    world.check(&[world.name("library/m")]);
}

#[test]
fn redirect_locations_are_resolved() {
    let path = "/v2/library/m/manifests/latest";
    for (location, asked) in [
        ("latest", path),
        ("../manifests/latest#there", path),
        ("./../../../x/../library/m/manifests/latest", path),
        ("../../../../../../v2/library/m/manifests/latest", path),
        ("/v2//../library/m/manifests/latest", path),
        ("?page=2", "/v2/library/m/manifests/latest?page=2"),
        ("", path),
        ("#there", path),
        ("//HOST/v2/library/m/manifests/latest", path),
        ("HTTP://HOST/v2/library/m/manifests/latest", path),
    ] {
        let world = World::with_model(10);
        world.registry.require_token("secret");
        let location = location.replace("HOST", &world.registry.host());
        world.registry.fault("/manifests/", 1, Fault::Redirect(location.clone()));
        let mut options = world.options();
        options.token = Some("secret".to_owned());
        let pulled = pull(&world.store, &Source::Name(world.name("library/m")), options);
        assert!(pulled.is_ok(), "{location}: {pulled:?}");
        // Redirects within the same origin are followed with credentials.
        let seen = world.registry.take_requests();
        assert_eq!(seen[1].path, asked, "{location}");
        assert_eq!(seen[1].authorization.as_deref(), Some("Bearer secret"), "{location}");
    }
}

#[test]
fn credentials_follow_redirects_to_the_same_host_only() {
    // The requested host, the host that it redirects to, and whether both are the same.
    for (asked, other, same) in [
        ("127.0.0.1", "127.0.0.1", true),
        ("127.0.0.1", "localhost", false),
        ("localhost", "127.0.0.1", false),
        ("localhost", "LOCALHOST", true),
        ("LocalHost", "localhost", true),
    ] {
        let world = World::with_model(10);
        let port = world.registry.host().rsplit_once(':').unwrap().1.to_owned();
        world.registry.fault("/manifests/", 1, Fault::Redirect(format!("http://{other}:{port}*")));
        let mut options = world.options();
        options.token = Some("secret".to_owned());
        let name = format!("{asked}:{port}/library/m").parse().unwrap();
        pull(&world.store, &Source::Name(name), options).unwrap();
        let seen = world.registry.take_requests();
        assert_eq!(seen[0].authorization.as_deref(), Some("Bearer secret"));
        assert_eq!(seen[1].authorization.is_some(), same, "from {asked} to {other}: {seen:?}");
    }
}

#[test]
fn parts_have_credentials_after_same_host_redirects() {
    let world = World::new();
    let weights = gguf(&[("general.architecture", "llama")], 40 * CHUNK);
    let digest = mullama_test_registry::digest(&weights);
    world.registry.add_model("library/m:latest", &[("model", weights)]);
    world.registry.require_token("secret");
    world.registry.fault(&digest, 1, Fault::Redirect("?signed".to_owned()));
    let mut options = world.options();
    options.token = Some("secret".to_owned());
    options.connections = 1;
    pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap();
    let seen = world.registry.take_requests();
    let parts: Vec<_> = seen.iter().filter(|seen| seen.path.ends_with("?signed")).collect();
    assert!(parts.len() > 1, "{seen:?}");
    assert!(seen.iter().all(|seen| seen.authorization.is_some()), "{seen:?}");
}

#[test]
fn redirects_are_limited_and_validated() {
    let world = World::with_model(10);
    world.registry.fault("/manifests/", 99, Fault::Redirect(format!("{}*", world.registry.url())));
    let error = world.pull("library/m").unwrap_err();
    assert!(error.to_string().contains("redirects more than"), "{error}");
    for bad in ["ftp://x/", "http://example.com/x", "\u{1}", "http://"] {
        world.registry.clear_faults();
        world.registry.fault("/manifests/", 99, Fault::Redirect(bad.to_owned()));
        assert_eq!(world.pull("library/m").unwrap_err().kind(), ErrorKind::Download, "{bad}");
    }
}

#[test]
fn hostile_manifests_are_rejected_without_changes() {
    let world = World::new();
    let weights = gguf(&[], 10);
    let digest = mullama_test_registry::digest(&weights);
    world.registry.add_blob(weights.clone());
    let layer = |ty: &str, digest: &str, size: u64| {
        let ty = format!("application/vnd.ollama.image.{ty}");
        json!({ "mediaType": ty, "digest": digest, "size": size })
    };
    let manifest = |layers: serde_json::Value| {
        let config = layer("license", &digest, weights.len() as u64);
        json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().into_bytes()
    };
    let good = manifest(json!([layer("model", &digest, weights.len() as u64)]));
    let with = |from: &str, to: &str| {
        String::from_utf8(good.clone()).unwrap().replace(from, to).into_bytes()
    };
    for (case, bytes, kind) in [
        ("version", with("\"schemaVersion\":2", "\"schemaVersion\":1"), ErrorKind::InvalidModel),
        (
            "manifest type",
            with("\"schemaVersion\":2", "\"schemaVersion\":2,\"mediaType\":\"text/html\""),
            ErrorKind::InvalidModel,
        ),
        ("config", manifest(json!([layer("license", &digest, 1 << 40)])), ErrorKind::InvalidModel),
        ("negative", with("\"size\":", "\"size\":-"), ErrorKind::InvalidModel),
        (
            "two sizes",
            manifest(json!([
                layer("model", &digest, weights.len() as u64),
                layer("adapter", &digest, weights.len() as u64 + 1)
            ])),
            ErrorKind::Download,
        ),
        (
            "path",
            manifest(json!([layer("model", "sha256:../../../x", 1)])),
            ErrorKind::InvalidModel,
        ),
        ("giant", manifest(json!([layer("model", &digest, 1 << 60)])), ErrorKind::Io),
        ("overflow", manifest(json!([layer("model", &digest, u64::MAX)])), ErrorKind::InvalidModel),
        ("type", manifest(json!([layer("trojan", &digest, 1)])), ErrorKind::InvalidModel),
        ("empty", manifest(json!([])), ErrorKind::InvalidModel),
        ("page", b"<html>sign in</html>".to_vec(), ErrorKind::InvalidModel),
        ("long", vec![b' '; 5 << 20], ErrorKind::Download),
    ] {
        world.registry.add_manifest("library/evil:latest", bytes);
        let error = world.pull("library/evil").expect_err(case);
        assert_eq!(error.kind(), kind, "{case}: {error:?}");
        world.check(&[]);
    }
    assert!(!world.folder.path().join("x").exists());
}

#[test]
fn manifest_titles_are_not_used_as_paths() {
    let world = World::with_model(10);
    let weights = gguf(&[], 10);
    let title = "../../../../x.gguf";
    let layer = json!({
        "mediaType": "application/vnd.ollama.image.model",
        "digest": mullama_test_registry::digest(&weights),
        "size": weights.len(),
        "annotations": { "org.opencontainers.image.title": title, "from": title },
        "from": title,
    });
    world.registry.add_blob(weights.clone());
    let manifest = json!({ "schemaVersion": 2, "config": layer, "layers": [layer] });
    world.registry.add_manifest("library/m:latest", manifest.to_string().into_bytes());
    let model = world.pull("library/m").unwrap();
    assert!(model.path.starts_with(world.store.root().join("blobs")), "{:?}", model.path);
    assert_eq!(model.manifest.unwrap().layers[0].title(), Some(title));
    assert!(!world.folder.path().join("x.gguf").exists());
    assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), 1);
    world.check(&[world.name("library/m")]);
}

#[test]
fn downloads_that_are_not_gguf_are_discarded() {
    let world = World::new();
    world.registry.add_model("library/m:latest", &[("model", vec![b'x'; 2 * CHUNK])]);
    let error = world.pull("library/m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    world.check(&[]);
    assert!(world.files().iter().all(|file| !file.starts_with("blobs/")), "{:?}", world.files());
}

#[test]
fn models_with_invalid_options_are_rejected() {
    for (kind, text) in [("params", "[1]"), ("params", "{"), ("messages", "{}")] {
        let world = World::new();
        world.registry.add_model(
            "library/m:latest",
            &[("model", gguf(&[], 10)), (kind, text.as_bytes().to_vec())],
        );
        let error = world.pull("library/m").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel);
        world.check(&[]);
    }
}

#[test]
fn new_versions_replace_old_ones() {
    let world = World::with_model(2 * CHUNK);
    let old = world.pull("library/m").unwrap();
    world.add("library/m:latest", 3 * CHUNK);
    let new = world.pull("library/m").unwrap();
    assert_ne!(old.id, new.id);
    assert!(!old.path.exists() && new.path.exists());
    world.check(&[world.name("library/m")]);
}

#[test]
fn a_failed_update_leaves_the_old_version() {
    let world = World::with_model(2 * CHUNK);
    let old = world.pull("library/m").unwrap();
    world.add("library/m:latest", 3 * CHUNK);
    world.registry.fault("/blobs/", 99, Fault::Status(404, vec![]));
    world.pull("library/m").unwrap_err();
    assert_eq!(world.store.find(&world.name("library/m")).unwrap().id, old.id);
}

#[test]
fn a_pull_can_be_cancelled_at_any_moment() {
    let world = World::with_model(30 * CHUNK);
    world.registry.fault("/blobs/", 99, Fault::Slow(5 << 20));
    let source = Source::Name(world.name("library/m"));
    let cancel = CancelToken::new();
    let other = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        other.cancel();
        Instant::now()
    });
    let options = world.options().with_cancel(&cancel);
    let error = pull(&world.store, &source, options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled, "{error:?}");
    assert!(thread.join().unwrap().elapsed() < Duration::from_secs(1));
    // Also while a server is silent.
    let world = World::with_model(10);
    world.registry.fault("/manifests/", 1, Fault::Stall(Duration::from_secs(20)));
    let cancel = CancelToken::new();
    let other = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        other.cancel();
    });
    let start = Instant::now();
    let options = world.options().with_cancel(&cancel);
    let error = pull(&world.store, &Source::Name(world.name("library/m")), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn threads_that_pull_the_same_model_download_it_once() {
    let world = World::with_model(20 * CHUNK);
    world.registry.fault("/blobs/", 999, Fault::Slow(20 << 20));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| world.pull("library/m").unwrap());
        }
    });
    let size = world.store.list().unwrap()[0].size;
    let sent = world.registry.sent("/blobs/");
    // Small files are downloaded by each pull.
    assert!(sent < size + 6 * 500, "{sent} for {size}");
    world.check(&[world.name("library/m")]);
}

#[test]
fn plain_http_is_limited_to_loopback() {
    let world = World::with_model(10);
    let mut options = world.options();
    options.endpoints.registry = "http://registry.test".to_owned();
    let error = pull(&world.store, &Source::parse("m").unwrap(), options).unwrap_err();
    assert!(error.to_string().contains("not be encrypted"), "{error}");
}
