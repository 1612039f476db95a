//! Secrets in URLs are never shown or stored.

mod common;

use std::sync::Mutex;
use std::time::Duration;

use common::{CHUNK, World};
use mullama_hub::{Source, fetch_header, pull};
use mullama_test_registry::{Fault, gguf};

const SECRET: &str = "sEcReT";

static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Collects what mullama logs.
struct Collector;

impl log::Log for Collector {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("mullama")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            LOGGED.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// The names and contents of all files below a folder.
fn kept(folder: &std::path::Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        all.extend(entry.file_name().as_encoded_bytes());
        if entry.file_type().unwrap().is_dir() {
            all.extend(kept(&entry.path()));
        } else {
            all.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    all
}

fn faults() -> Vec<Fault> {
    let to = |address: &str| Fault::Redirect(address.replace("SECRET", SECRET));
    vec![
        Fault::Status(403, vec![]),
        Fault::Status(404, vec![]),
        Fault::Status(500, vec![]),
        Fault::Drop(10),
        Fault::Corrupt,
        Fault::Shorter(3),
        Fault::Stall(Duration::from_secs(5)),
        Fault::Trickle(Duration::from_millis(5)),
        to("http://u:SECRET@models.invalid/x?X-Amz-Signature=SECRET"),
        to("https://127.0.0.1:1/x?X-Amz-Signature=SECRET"),
        to("ftp://127.0.0.1/x?X-Amz-Signature=SECRET"),
        to("http://127.0.0.1:99999/x?X-Amz-Signature=SECRET"),
        to("http://127.0.0.1:1/x y|z^?X-Amz-Signature=SECRET"),
        to("http:?X-Amz-Signature=SECRET"),
        to("?X-Amz-Signature=SECRET"),
    ]
}

#[test]
fn url_secrets_are_never_shown_or_stored() {
    log::set_logger(&Collector).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    for fault in faults() {
        let (world, cdn) = (World::with_model(2 * CHUNK), World::with_model(2 * CHUNK));
        let model = gguf(&[("general.architecture", "llama")], 2 * CHUNK);
        for registry in [&world.registry, &cdn.registry] {
            registry.add_file("/files/m.gguf", model.clone());
        }
        // Redirects to a signed URL on another server.
        for path in ["/blobs/", "/manifests/"] {
            let signed = format!("{}/library/m?X-Amz-Signature={SECRET}", cdn.registry.url());
            world.registry.fault(path, 9, Fault::Redirect(signed));
        }
        for path in ["/library/", "/files/"] {
            cdn.registry.fault(path, 999, fault.clone());
        }
        let folder = world.folder.path().join("headers");
        let signed = |site: &str| format!("{site}/files/m.gguf?X-Amz-Signature={SECRET}");
        let with_user = cdn.registry.url().replace("//", &format!("//user:{SECRET}@"));
        for source in [
            Source::Name(world.name("library/m")),
            Source::parse(&signed(&cdn.registry.url())).unwrap(),
            Source::parse(&signed(&with_user)).unwrap(),
        ] {
            let mut shown = Vec::new();
            let options = |with_progress: bool| {
                let mut options = world.options();
                (options.retries, options.connections) = (1, 1);
                (options.timeout, options.rate_period) =
                    (Duration::from_millis(300), Duration::from_millis(100));
                options.least_rate = 10_000;
                assert!(with_progress || options.progress.is_none());
                options
            };
            let pulled = pull(
                &world.store,
                &source,
                options(true).with_progress(|progress| shown.push(format!("{progress:?}"))),
            );
            let planned = fetch_header(&source, &folder, &options(false));
            shown.push(source.to_string());
            shown.extend(pulled.err().map(|error| format!("{error:?} {}", error.report())));
            shown.extend(planned.err().map(|error| format!("{error:?} {}", error.report())));
            shown.extend(LOGGED.lock().unwrap().drain(..));
            let told: Vec<_> = shown.iter().filter(|text| text.contains(SECRET)).collect();
            assert!(told.is_empty(), "{fault:?}: {told:#?}");
        }
        let kept = kept(world.folder.path());
        assert!(!kept.windows(SECRET.len()).any(|bytes| bytes == SECRET.as_bytes()), "{fault:?}");
    }
    for text in [
        format!("ftp://u:{SECRET}@h/m.gguf?x={SECRET}"),
        format!("http://?x={SECRET}"),
        format!("https://ollama.com/a/b/c/d?x={SECRET}"),
        format!("https://huggingface.co/a?x={SECRET}"),
        format!("https://huggingface.co/a/b/blob/main/x.txt?x={SECRET}"),
    ] {
        let error = Source::parse(&text).unwrap_err();
        assert!(!format!("{error:?} {}", error.report()).contains(SECRET), "{error:?}");
    }
}
