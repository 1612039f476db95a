//! Answers of registries, of Hugging Face and of file servers, and names of models. A pulled model is listed, found,
//! written as a Modelfile and removed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use mullama::hub::{Caches, Modelfile, Name, PullOptions, Source, Store, fetch_header, pull};
use mullama_test_registry::{COMMIT, Content, Fault, Registry, gguf};
use mullama_testkit::fixture;
use serde_json::{Value, json};

use crate::grammar::Grammar;
use crate::input::Input;
use crate::mutate;
use crate::outcome::Outcome;
use crate::worker::Fuzz;

const LAYER: &str = "application/vnd.ollama.image.";

struct Server {
    registry: Registry,
    model: Content,
    go: Grammar,
}

pub fn start(_: &Path) -> Fuzz {
    let registry = Registry::start();
    let model = Content::file(&fixture("tiny")).expect("the test kit wrote it");
    registry.add_blob(model.clone());
    let go = Grammar::read(include_str!("../../corpus/go_template.txt"));
    let server = Server { registry, model, go };
    Box::new(move |input| {
        let mut outcome = Outcome::default();
        let name = match input.rng.u8(..3) {
            0 => server.serve_model(input),
            1 => server.serve_repository(input),
            _ => server.serve_file(input),
        };
        server.fail(input);
        server.pull(&name, input, &mut outcome);
        server.registry.clear_faults();
        server.registry.take_requests();
        let mut text = "registry.ollama.ai/library/llama3.2:1b".to_owned();
        for _ in 0..input.rng.usize(1..6) {
            mutate::text(
                &mut text,
                &["hf.co/user/repo:Q4_K_M", "https://host:1/a.gguf?b#c"],
                &mut input.rng,
            );
        }
        input.save("name.txt", &text);
        names(&text, &mut outcome);
        outcome
    })
}

impl Server {
    /// Serves a manifest and its blobs, with a defect.
    fn serve_model(&self, input: &mut Input) -> String {
        let rng = &mut input.rng;
        let small = Content::from(gguf(&[("general.architecture", "llama")], 500));
        let mut parameters =
            json!({"temperature": 0.5, "stop": ["x", "y"], "num_ctx": 128, "num_thread": 64});
        let mut messages =
            json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
        let mut config = json!({"model_format": "gguf", "model_family": "llama", "renderer": null});
        for value in [&mut parameters, &mut messages, &mut config] {
            if rng.u8(..3) == 0 {
                mutate::json(value, rng);
            }
        }
        let mut template = self.go.make("template", rng);
        if rng.bool() {
            mutate::text(&mut template, &[], rng);
        }
        let blob = |ty: String, content: &Content| {
            self.registry.add_blob(content.clone());
            json!({"mediaType": ty, "digest": content.digest(), "size": content.len()})
        };
        let text = |kind: &str, text: String| {
            blob(format!("{LAYER}{kind}"), &Content::from(text.as_str()))
        };
        let model = if rng.bool() { &self.model } else { &small };
        let layers = [
            blob(format!("{LAYER}model"), model),
            text("template", template),
            text("system", mutate::words(rng)),
            text("license", mutate::words(rng)),
            text("params", parameters.to_string()),
            text("messages", messages.to_string()),
        ];
        let config = Content::from(config.to_string().as_str());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": blob("application/vnd.docker.container.image.v1+json".to_owned(), &config),
            "layers": layers,
        });
        for _ in 0..rng.usize(..3) {
            mutate::json(&mut manifest, rng);
        }
        let bytes = Self::damaged(&manifest, input);
        input.save("manifest.json", &bytes);
        self.registry.add_manifest("library/it:latest", bytes);
        format!("http://{}/library/it:latest", self.registry.host()).replace("http://", "")
    }

    /// Serves a file listing of Hugging Face.
    fn serve_repository(&self, input: &mut Input) -> String {
        let rng = &mut input.rng;
        let names = [
            "it-Q4_K_M.gguf",
            "it-Q8_0-00001-of-00002.gguf",
            "it-Q8_0-00002-of-00002.gguf",
            "README.md",
        ];
        let content = Content::from(gguf(&[("general.architecture", "llama")], 300));
        self.registry.add_repo("user/it-GGUF", &names.map(|name| (name, content.clone())));
        let mut tree = json!(names.map(|name| json!({
            "type": "file", "path": name, "size": content.len(), "oid": "0",
            "lfs": {"oid": content.digest().replace("sha256:", ""), "size": content.len()},
        })));
        let mut refs = json!({"branches": [{"name": "main", "ref": "refs/heads/main", "targetCommit": COMMIT}], "tags": []});
        for _ in 0..rng.usize(..3) {
            mutate::json(if rng.u8(..4) == 0 { &mut refs } else { &mut tree }, rng);
        }
        let (tree, refs) = (Self::damaged(&tree, input), Self::damaged(&refs, input));
        input.save("tree.json", &tree);
        input.save("refs.json", &refs);
        self.registry.add_json(&format!("/api/models/user/it-GGUF/tree/{COMMIT}"), tree);
        self.registry.add_json("/api/models/user/it-GGUF/refs", refs);
        let names = ["hf.co/user/it-GGUF:Q4_K_M", "hf.co/user/it-GGUF:Q8_0", "hf.co/user/it-GGUF"];
        mutate::pick(&names, &mut input.rng).to_owned()
    }

    fn serve_file(&self, input: &mut Input) -> String {
        let mut file = gguf(&[("general.architecture", "llama")], 400);
        for _ in 0..input.rng.usize(..4) {
            mutate::bytes(&mut file, &[], &mut input.rng);
        }
        input.save("it.gguf", &file);
        self.registry.add_file("/files/it.gguf", file);
        format!("{}/files/it.gguf", self.registry.url())
    }

    fn damaged(value: &Value, input: &mut Input) -> Vec<u8> {
        let mut bytes = value.to_string().into_bytes();
        if input.rng.u8(..6) == 0 {
            mutate::bytes(&mut bytes, &[], &mut input.rng);
        }
        bytes
    }

    /// Makes some requests fail.
    fn fail(&self, input: &mut Input) {
        let rng = &mut input.rng;
        if rng.bool() {
            return;
        }
        let number = mutate::limit(rng);
        let odd = |name: &'static str, value: String| vec![(name, value)];
        let fault = match rng.u8(..9) {
            0 => Fault::Status(
                mutate::pick(&[100, 204, 206, 302, 401, 404, 416, 429, 500, 999], rng),
                Vec::new(),
            ),
            1 => Fault::Status(
                401,
                odd(
                    "www-authenticate",
                    format!("Bearer realm=\"{}\",{}", self.registry.url(), number),
                ),
            ),
            2 => Fault::Status(
                206,
                odd("content-range", format!("bytes {number}-{number}/{number}")),
            ),
            3 => Fault::Status(503, odd("retry-after", number.to_string())),
            4 => Fault::Drop(number % 400),
            5 => Fault::Corrupt,
            6 => Fault::Shorter(number % 400),
            7 => Fault::NoRanges,
            _ => {
                let places = [
                    "/",
                    "//",
                    "http://",
                    "file:///etc/passwd",
                    "http://[::1",
                    "http://127.0.0.1:1/x",
                    "",
                ];
                Fault::Redirect(mutate::pick(&places, rng).to_owned())
            }
        };
        let paths = ["/", "manifests", "blobs", "tree", "refs", "resolve", "files"];
        self.registry.fault(mutate::pick(&paths, rng), rng.u32(1..3), fault);
    }

    fn pull(&self, name: &str, input: &Input, outcome: &mut Outcome) {
        let mut options = PullOptions::default();
        options.endpoints.registry = self.registry.url();
        options.endpoints.hugging_face = self.registry.url();
        options.endpoints.hugging_face_token = None;
        (options.timeout, options.retries, options.insecure) = (Duration::from_secs(2), 0, true);
        let Some(source) = outcome.decide("source", Source::parse(name)) else { return };
        outcome.see("header", fetch_header(&source, &input.path("headers"), &options));
        let store = Store::at(input.path("store")).with_caches(Caches::none());
        outcome.decide("pull", pull(&store, &source, options));
        if let Some(entries) = outcome.see("list", store.list()) {
            for entry in entries {
                if let Some(model) = outcome.see("find", store.find(&entry.name)) {
                    outcome.see("template", model.jinja());
                    outcome.see("Modelfile", Modelfile::of(&model).to_text());
                }
                outcome.see("remove", store.remove(&entry.name));
            }
        }
        outcome.see("prune", store.prune());
        let _ = fs::remove_dir_all(input.path("store"));
    }
}

/// Checks that a parsed name is equal after it was written and parsed again.
fn names(text: &str, outcome: &mut Outcome) {
    outcome.see("source", Source::parse(text));
    if let Ok(name) = Name::parse(text)
        && Name::parse(&name.full()).ok().as_ref() != Some(&name)
    {
        outcome.wrong(format!("{} is another name", name.full()));
    }
}
