//! The store: listing, copying, removing, and damaged or read-only stores.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{CHUNK, World};
use mullama_hub::{
    Caches, CreateOptions, ErrorKind, LayerKind, Modelfile, Name, Origin, Source, Store, pull,
};
use mullama_test_registry::gguf;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A store with the model `m`, created from a file.
fn with_m() -> World {
    let world = World::new();
    let path = world.folder.path().join("m.gguf");
    fs::write(&path, gguf(&[("general.architecture", "llama")], 5000)).unwrap();
    let file = Modelfile::parse("FROM m.gguf\nSYSTEM Be brief.\nPARAMETER stop x").unwrap();
    let options = CreateOptions::default().with_folder(world.folder.path());
    world.store.create(&name("m"), &file, options).unwrap();
    world
}

#[test]
fn reading_an_empty_store_creates_no_files() {
    let world = World::new();
    assert_eq!(world.store.list().unwrap(), []);
    let error = world.store.find(&name("llama3.2:1b")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.hint().unwrap().contains("`mullama pull llama3.2:1b`"), "{error:?}");
    assert_eq!(world.store.remove(&name("m")).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!world.store.root().exists());
}

#[test]
fn copies_share_blobs_until_the_last_is_removed() {
    let world = with_m();
    world.store.copy(&name("m"), &name("me/copy:1")).unwrap();
    world.check(&[name("m"), name("me/copy:1")]);
    let (one, two) =
        (world.store.find(&name("m")).unwrap(), world.store.find(&name("me/copy:1")).unwrap());
    assert_eq!((one.path.clone(), one.id), (two.path, two.id));
    assert_eq!(world.store.remove(&name("m")).unwrap().freed, 0);
    assert!(one.path.exists());
    let removed = world.store.remove(&name("me/copy:1")).unwrap();
    assert_eq!(removed.freed, one.size);
    world.check(&[]);
    assert_eq!(world.files(), ["lock"], "nothing is left");
    let error = world.store.copy(&name("gone"), &name("x")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[test]
fn removal_preserves_blobs_of_other_models() {
    let world = with_m();
    let file = Modelfile::parse("FROM m\nSYSTEM Be verbose.").unwrap();
    let other = world.store.create(&name("n"), &file, CreateOptions::default()).unwrap();
    world.store.remove(&name("m")).unwrap();
    world.check(&[name("n")]);
    assert_eq!(world.store.find(&name("n")).unwrap().id, other.id);
}

#[test]
fn a_damaged_model_is_not_listed_and_can_be_removed() {
    let world = with_m();
    let whole = world.store.find(&name("m")).unwrap();
    world.store.copy(&name("m"), &name("good")).unwrap();
    let manifest = world.store.root().join("manifests/registry.ollama.ai/library/m/latest");
    let text = fs::read_to_string(&manifest).unwrap();
    for damaged in [&text[..text.len() - 1], "", "{}"] {
        fs::write(&manifest, damaged).unwrap();
        world.check(&[name("good")]);
        assert_eq!(world.store.find(&name("m")).unwrap_err().kind(), ErrorKind::InvalidModel);
    }
    // Files that a damaged manifest refers to are not deleted with other models.
    fs::write(&manifest, &text[..text.len() - 1]).unwrap();
    assert_eq!(world.store.remove(&name("good")).unwrap().freed, 0);
    world.store.remove(&name("m")).unwrap();
    assert!(whole.path.exists());
    // A blob that is truncated or missing.
    let world = with_m();
    let whole = world.store.find(&name("m")).unwrap();
    fs::write(&whole.path, "short").unwrap();
    assert_eq!(world.store.list().unwrap(), []);
    let error = world.store.find(&name("m")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidModel);
    assert_eq!(error.hint(), Some("pull or create the model again"));
    assert!(error.to_string().starts_with("m:latest is damaged: blob sha256:"), "{error}");
    fs::remove_file(&whole.path).unwrap();
    assert_eq!(world.store.list().unwrap(), []);
}

#[test]
fn invalid_manifests_are_ignored() {
    let world = with_m();
    let root = world.store.root().join("manifests");
    fs::write(root.join(".DS_Store"), "x").unwrap();
    fs::write(root.join("file"), "x").unwrap();
    fs::create_dir_all(root.join("a/b/c/d/e")).unwrap();
    fs::create_dir_all(root.join("a/b.c/d")).unwrap();
    fs::write(root.join("a/b.c/d/e"), "{}").unwrap();
    world.check(&[name("m")]);
}

#[test]
fn similar_names_are_suggested() {
    let world = with_m();
    for other in ["llama3.2:1b", "qwen3:4b", "me/llama3.2"] {
        world.store.copy(&name("m"), &name(other)).unwrap();
    }
    assert_eq!(world.store.suggest(&name("lama3.2:1b"))[0], name("llama3.2:1b"));
    assert_eq!(world.store.suggest(&name("qwen3"))[0], name("qwen3:4b"));
    assert_eq!(world.store.suggest(&name("gemma")), []);
    let error = world.store.find(&name("llama3.2:3b")).unwrap_err();
    assert!(error.hint().unwrap().starts_with("did you mean llama3.2:1b?"), "{error:?}");
}

#[test]
fn names_are_case_insensitive() {
    let world = with_m();
    assert!(world.store.find(&name("M:Latest")).is_ok());
    world.store.copy(&name("m"), &name("Me/M")).unwrap();
    world.store.copy(&name("m"), &name("me/m")).unwrap();
    assert_eq!(world.store.list().unwrap().len(), 2);
    world.store.remove(&name("ME/M")).unwrap();
    world.check(&[name("m")]);
}

#[cfg(unix)]
#[test]
fn read_only_stores_are_readable() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = with_m();
    let mut folders = vec![world.store.root().to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let mode = if entry.path().is_dir() { 0o555 } else { 0o444 };
            fs::set_permissions(entry.path(), fs::Permissions::from_mode(mode)).unwrap();
            folders.extend(entry.path().is_dir().then(|| entry.path()));
        }
    }
    world.check(&[name("m")]);
    assert!(world.store.find(&name("m")).is_ok());
    // Root may write nevertheless; `processes.rs` tests a read-only mount.
    let probe = world.store.root().join("probe");
    if fs::write(&probe, "").is_err() {
        world.add("library/n:latest", 10);
        for error in [
            world.pull("library/n").unwrap_err(),
            world.store.remove(&name("m")).unwrap_err(),
            world.store.copy(&name("m"), &name("n")).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.hint().unwrap().contains("MULLAMA_MODELS"));
        }
        world.check(&[name("m")]);
    }
    let _ = fs::set_permissions(world.store.root(), fs::Permissions::from_mode(0o755));
}

#[test]
fn five_hundred_models_are_listed_quickly() {
    let world = with_m();
    for i in 0..499 {
        world.store.copy(&name("m"), &name(&format!("m{i}"))).unwrap();
    }
    let start = Instant::now();
    assert_eq!(world.store.list().unwrap().len(), 500);
    // 13 ms in a release build; the bound is for unoptimised code on a busy machine.
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
}

#[test]
fn create_applies_all_instructions() {
    let world = World::new();
    let at = world.folder.path();
    for (file, metadata) in [
        ("m.gguf", vec![("general.architecture", "llama"), ("general.size_label", "1.2B")]),
        ("mmproj.gguf", vec![("general.architecture", "clip"), ("general.type", "mmproj")]),
        ("lora.gguf", vec![("general.architecture", "llama"), ("general.type", "adapter")]),
        ("small.gguf", vec![("general.architecture", "llama")]),
    ] {
        fs::write(at.join(file), gguf(&metadata, 100 + file.len())).unwrap();
    }
    let text = "FROM ./m.gguf\nFROM ./mmproj.gguf\nADAPTER ./lora.gguf\nDRAFT ./small.gguf\n\
        TEMPLATE {{ .Prompt }}\nSYSTEM Be brief.\nPARAMETER temperature 0.1\nPARAMETER stop a\n\
        PARAMETER stop b\nMESSAGE user hi\nMESSAGE assistant ho\nLICENSE MIT\nRENDERER qwen3\n\
        PARSER qwen3\nREQUIRES 0.14\n";
    let file = Modelfile::parse(text).unwrap();
    let options = || CreateOptions::default().with_folder(at);
    let model = world.store.create(&name("made"), &file, options()).unwrap();
    world.check(&[name("made")]);
    assert_eq!(fs::read(&model.path).unwrap(), fs::read(at.join("m.gguf")).unwrap());
    assert!(model.projector.is_some() && model.draft.is_some() && model.adapters.len() == 1);
    assert_eq!(model.system.as_deref(), Some("Be brief."));
    assert_eq!(model.messages.len(), 2);
    let config = &model.config;
    assert_eq!(
        (config.model_family.as_str(), config.model_type.as_str(), config.file_type.as_str()),
        ("llama", "1.2B", "Q4_K_M")
    );
    assert_eq!(config.renderer.as_deref(), Some("qwen3"));

    // The Modelfile of a model creates the same model, without copying anything.
    let back = Modelfile::of(&model);
    let again = Modelfile::parse(&back.to_text().unwrap()).unwrap();
    assert_eq!(again, back);
    let twin = world.store.create(&name("twin"), &again, CreateOptions::default()).unwrap();
    assert_eq!((&twin.path, &twin.projector), (&model.path, &model.projector));
    assert_eq!((&twin.parameters, &twin.messages), (&model.parameters, &model.messages));

    // Inherits parts of the model, and replaces some.
    let file = Modelfile::parse(
        "FROM made\nPARAMETER temperature 0.9\nPARAMETER stop c\nSYSTEM \"\"\nMESSAGE user yo",
    )
    .unwrap();
    let child = world.store.create(&name("child"), &file, options()).unwrap();
    assert_eq!(child.path, model.path);
    assert_eq!(child.parameters.get("temperature").unwrap(), 0.9);
    assert_eq!(child.parameters.get("stop").unwrap().as_array().unwrap().len(), 1);
    assert_eq!((child.system, child.messages.len()), (None, 1));
    assert_eq!(child.template, model.template);
    assert_eq!(child.licenses, ["MIT"]);
}

#[test]
fn create_stores_all_shards() {
    let world = World::new();
    let at = world.folder.path();
    for i in 1..=3 {
        let shard = gguf(&[("general.architecture", "llama")], 100 + i);
        fs::write(at.join(format!("big-0000{i}-of-00003.gguf")), shard).unwrap();
    }
    let options = || CreateOptions::default().with_folder(at);
    let file = Modelfile::from_model("big-00001-of-00003.gguf");
    let model = world.store.create(&name("big"), &file, options()).unwrap();
    assert_eq!(model.shards.len(), 3);
    assert!(model.path.ends_with("model-00001-of-00003.gguf"));
    for (i, shard) in model.shards.iter().enumerate() {
        let original = at.join(format!("big-0000{}-of-00003.gguf", i + 1));
        assert_eq!(fs::read(shard).unwrap(), fs::read(original).unwrap());
    }
    // A model created from its own Modelfile links to the same blobs.
    let again = Modelfile::of(&model);
    let twin = world.store.create(&name("twin"), &again, options()).unwrap();
    assert_eq!(twin.shards, model.shards);
    // Deleted links are recreated; removing the last name removes them.
    fs::remove_dir_all(world.store.root().join("shards")).unwrap();
    assert!(world.store.find(&name("big")).unwrap().path.exists());
    world.store.remove(&name("big")).unwrap();
    assert!(world.store.find(&name("twin")).unwrap().path.exists());
    world.store.remove(&name("twin")).unwrap();
    assert_eq!(world.files(), ["lock"]);

    let file = Modelfile::from_model("big-00002-of-00003.gguf");
    let error = world.store.create(&name("x"), &file, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    fs::remove_file(at.join("big-00003-of-00003.gguf")).unwrap();
    let file = Modelfile::from_model("big-00001-of-00003.gguf");
    let error = world.store.create(&name("x"), &file, options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(world.files().iter().all(|file| !file.starts_with("blobs/")), "{:?}", world.files());
}

#[test]
fn built_in_model_name_is_reserved() {
    let world = with_m();
    let built_in = world.folder.path().join("built-in.gguf");
    fs::write(&built_in, gguf(&[("general.architecture", "demo")], 77)).unwrap();
    let refused = |result: Result<(), mullama_hub::Error>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        let shown = error.to_string();
        assert!(shown.contains("built-in") || shown.contains("built in"), "{error}");
    };
    for demo in ["demo", "Demo:latest"] {
        let file = Modelfile::from_model("m");
        refused(world.store.create(&name(demo), &file, CreateOptions::default()).map(|_| ()));
        refused(world.store.copy(&name("m"), &name(demo)));
        refused(world.store.remove(&name(demo)).map(|_| ()));
        refused(pull(&world.store, &Source::parse(demo).unwrap(), world.options()).map(|_| ()));
        let file = Modelfile::from_model(demo);
        let options = || CreateOptions::default().with_built_in(&built_in);
        let made = world.store.create(&name("mine"), &file, options()).unwrap();
        assert_eq!(fs::read(&made.path).unwrap(), fs::read(&built_in).unwrap());
        let error = world.store.create(&name("mine"), &file, CreateOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    }
    world.check(&[name("m"), name("mine")]);
    // A model with the reserved name, from an older version, can be removed.
    let library = world.store.root().join("manifests/registry.ollama.ai/library");
    fs::create_dir(library.join("demo")).unwrap();
    fs::copy(library.join("m/latest"), library.join("demo/latest")).unwrap();
    world.store.remove(&name("demo")).unwrap();
    world.check(&[name("m"), name("mine")]);
}

#[test]
fn folder_with_one_model_is_that_model() {
    let world = World::new();
    let at = world.folder.path();
    let write = |file: &str, ty: &str| {
        let metadata = [("general.architecture", "llama"), ("general.type", ty)];
        fs::write(at.join(file), gguf(&metadata, 100 + file.len())).unwrap();
    };
    let make = || {
        let options = CreateOptions::default().with_folder(at);
        world.store.create(&name("made"), &Modelfile::from_model("."), options)
    };
    assert_eq!(make().unwrap_err().kind(), ErrorKind::InvalidArgument);
    // A projector belongs to the model; adapters and importance matrices are not models.
    write("m-Q4_0.gguf", "model");
    write("mmproj.gguf", "mmproj");
    write("a.gguf", "adapter");
    write("m.imatrix.gguf", "model");
    let made = make().unwrap();
    assert_eq!(fs::read(&made.path).unwrap(), fs::read(at.join("m-Q4_0.gguf")).unwrap());
    assert!(made.projector.is_some());
    // A split model counts once; several models are an error.
    for file in ["M2.GGUF", "s-00001-of-00002.gguf", "s-00002-of-00002.gguf"] {
        write(file, "model");
    }
    let error = make().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let text = error.to_string();
    assert!(text.ends_with(": M2.GGUF, m-Q4_0.gguf, s-00001-of-00002.gguf"), "{text}");
    fs::remove_file(at.join("m-Q4_0.gguf")).unwrap();
    fs::remove_file(at.join("M2.GGUF")).unwrap();
    assert_eq!(make().unwrap().shards.len(), 2);
    write("mmproj-F32.gguf", "mmproj");
    let text = make().unwrap_err().to_string();
    assert!(text.contains("2 projectors") && text.contains("mmproj-F32.gguf"), "{text}");
}

#[test]
fn failed_creation_leaves_no_files() {
    let world = World::new();
    let at = world.folder.path();
    fs::write(at.join("m.gguf"), gguf(&[], 100)).unwrap();
    fs::write(at.join("page.gguf"), "<html>").unwrap();
    fs::write(at.join("m.safetensors"), "x").unwrap();
    fs::create_dir(at.join("folder")).unwrap();
    fs::write(at.join("folder/a.safetensors"), "x").unwrap();
    fs::write(at.join("mmproj.gguf"), gguf(&[("general.type", "mmproj")], 100)).unwrap();
    for (text, kind) in [
        ("FROM ./gone.gguf", ErrorKind::NotFound),
        ("FROM gone", ErrorKind::NotFound),
        ("FROM a b", ErrorKind::UnknownModel),
        ("FROM page.gguf", ErrorKind::InvalidModel),
        ("FROM m.safetensors", ErrorKind::Unsupported),
        ("FROM folder", ErrorKind::Unsupported),
        ("FROM mmproj.gguf", ErrorKind::InvalidModel),
        ("FROM m.gguf\nADAPTER gone.gguf", ErrorKind::NotFound),
        ("FROM m.gguf\nADAPTER page.gguf", ErrorKind::InvalidModel),
        ("FROM m.gguf\nTEMPLATE {{ nosuchfunction .Prompt }}", ErrorKind::Unsupported),
    ] {
        let file = Modelfile::parse(text).unwrap();
        let options = CreateOptions::default().with_folder(at);
        let error = world.store.create(&name("x"), &file, options).expect_err(text);
        assert_eq!(error.kind(), kind, "{text}: {error:?}");
        world.check(&[]);
        assert!(world.files().iter().all(|file| !file.starts_with("blobs/")), "{text}");
    }
}

#[test]
fn models_of_other_programs_are_read_only() {
    let world = World::new();
    let at = world.folder.path();
    // Ollama: a store with the same layout.
    let ollama = Store::at(at.join("ollama"));
    let source = Source::Name(world.name("library/theirs"));
    world.add("library/theirs:latest", 3000);
    pull(&ollama, &source, world.options()).unwrap();
    // Hugging Face: blobs, and links to them.
    let hub = at.join("hub/models--u--r-GGUF");
    let snapshot = hub.join("snapshots/0123");
    fs::create_dir_all(snapshot.join("sub")).unwrap();
    fs::create_dir_all(hub.join("refs")).unwrap();
    fs::write(hub.join("refs/main"), "0123").unwrap();
    let model = gguf(&[("general.architecture", "llama")], 100);
    for file in [
        "r-Q4_K_M.gguf",
        "r-Q8_0.gguf",
        "draft-r-Q8_0.gguf",
        "z-lora-Q4_K_M.gguf",
        "mmproj-F16.gguf",
        "sub/r-F16-00001-of-00002.gguf",
        "sub/r-F16-00002-of-00002.gguf",
        "sub/r-Q2_K-00001-of-00002.gguf",
        "config.json",
    ] {
        fs::write(snapshot.join(file), &model).unwrap();
    }
    fs::create_dir_all(at.join("hub/models--odd")).unwrap();
    // llama.cpp: files in one folder.
    let llama = at.join("llama.cpp");
    fs::create_dir_all(&llama).unwrap();
    for file in [
        "org_repo-GGUF_x-Q4_0.gguf",
        "org_repo-GGUF_draft-x-Q4_0.gguf",
        "a_b_c.gguf",
        "plain.gguf",
        "org_r-GGUF_mmproj-x.gguf",
    ] {
        fs::write(llama.join(file), &model).unwrap();
    }
    let url = r#"{"url":"https://huggingface.co/a_b/c/resolve/main/c.gguf"}"#;
    fs::write(llama.join("a_b_c.gguf.json"), url).unwrap();

    let mut caches = Caches::none();
    caches.ollama.push(ollama.root().to_owned());
    caches.hugging_face.push(at.join("hub"));
    caches.llama_cpp.push(llama);
    let before = tree(at);
    let store = Store::at(at.join("models")).with_caches(caches.clone());
    let mut listed: Vec<(String, Origin)> =
        store.list().unwrap().into_iter().map(|e| (e.name.to_string(), e.origin)).collect();
    listed.sort();
    let mut expected: Vec<(String, Origin)> = vec![(source.to_string(), Origin::Ollama)];
    for tag in ["F16", "Q4_K_M", "Q8_0"] {
        expected.push((format!("hf.co/u/r-GGUF:{tag}"), Origin::HuggingFace));
    }
    for name in ["hf.co/org/repo-GGUF:Q4_0", "hf.co/a_b/c:latest", "llama.cpp/cache/plain:latest"] {
        expected.push((name.to_owned(), Origin::LlamaCpp));
    }
    expected.sort();
    assert_eq!(listed, expected);

    let found = store.find(&source.name().unwrap()).unwrap();
    assert_eq!((found.origin, found.system.as_deref()), (Origin::Ollama, Some("Be brief.")));
    let found = store.find(&name("hf.co/u/r-GGUF")).unwrap();
    assert!(found.path.ends_with("r-Q4_K_M.gguf"), "{found:?}");
    assert!(found.projector.is_some());
    let found = store.find(&name("hf.co/u/r-gguf:f16")).unwrap();
    assert_eq!(found.shards.len(), 2);
    let error = store.remove(&source.name().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(tree(at), before, "reading changed something");

    // A model can be created from a model in a cache.
    for from in [source.to_string(), "hf.co/u/r-GGUF:F16".to_owned()] {
        let made =
            store.create(&name("ours"), &Modelfile::from_model(from), CreateOptions::default());
        assert_eq!(made.unwrap().origin, Origin::Mullama);
    }
    // If Ollama's folder is the store itself, it is not listed twice.
    let same = Store::at(ollama.root()).with_caches(caches);
    assert_eq!(same.list().unwrap().iter().filter(|e| e.origin == Origin::Ollama).count(), 0);
}

fn tree(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// Replaces a file by a pipe without a writer.
#[cfg(unix)]
fn pipe(path: &std::path::Path) {
    let _ = fs::remove_file(path);
    let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(made.success());
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_do_not_block_the_store() {
    let world = with_m();
    let (at, root) = (world.folder.path(), world.store.root());
    world.store.copy(&name("m"), &name("other")).unwrap();
    let library = root.join("manifests/registry.ollama.ai/library");
    // Manifests: a pipe, a device, a folder.
    pipe(&library.join("other/latest"));
    std::os::unix::fs::symlink("/dev/zero", library.join("m/zero")).unwrap();
    fs::create_dir(library.join("m/folder")).unwrap();
    world.check(&[name("m")]);
    for odd in ["other", "m:zero", "m:folder"] {
        let error = world.store.find(&name(odd)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
        assert!(error.to_string().contains("not a regular file"), "{error}");
        world.store.copy(&name(odd), &name("copy")).unwrap_err();
    }
    world.store.prune().unwrap();
    world.store.remove(&name("other")).unwrap();
    world.check(&[name("m")]);
    // Blobs of a model.
    let blob = world.store.find(&name("m")).unwrap().path;
    pipe(&blob);
    assert_eq!(world.store.find(&name("m")).unwrap_err().kind(), ErrorKind::InvalidModel);
    assert_eq!(world.store.list().unwrap(), []);
    // Inputs of a model's creation.
    pipe(&at.join("pipe.gguf"));
    for text in ["FROM pipe.gguf", "FROM m.gguf\nADAPTER pipe.gguf"] {
        let file = Modelfile::parse(text).unwrap();
        let options = CreateOptions::default().with_folder(at);
        let error = world.store.create(&name("x"), &file, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error:?}");
    }
    // Metadata of other programs.
    let hub = at.join("hub/models--u--r-GGUF");
    fs::create_dir_all(hub.join("snapshots/0123")).unwrap();
    fs::create_dir_all(hub.join("refs")).unwrap();
    pipe(&hub.join("refs/main"));
    fs::copy(at.join("m.gguf"), hub.join("snapshots/0123/r-Q8_0.gguf")).unwrap();
    pipe(&hub.join("snapshots/0123/r-Q4_0.gguf"));
    let llama = at.join("llama.cpp");
    fs::create_dir_all(&llama).unwrap();
    fs::copy(at.join("m.gguf"), llama.join("plain.gguf")).unwrap();
    pipe(&llama.join("plain.gguf.json"));
    let mut caches = Caches::none();
    caches.hugging_face.push(at.join("hub"));
    caches.llama_cpp.push(llama);
    let listed = Store::at(at.join("none")).with_caches(caches).list().unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
}

#[cfg(unix)]
#[test]
fn downloads_do_not_follow_links() {
    let size = 12 * CHUNK;
    let weights = gguf(&[("general.architecture", "llama")], size);
    let world = World::new();
    let file = mullama_test_registry::digest(&weights).replace(':', "-");
    let length = weights.len() as u64;
    world.registry.add_model("library/m:latest", &[("model", weights)]);
    let (downloads, precious) =
        (world.store.root().join("downloads"), world.folder.path().join("x"));
    fs::create_dir_all(&downloads).unwrap();
    // Has the final size of the file, so that it could pass for a partial download.
    fs::write(&precious, vec![7; length as usize]).unwrap();
    for end in ["data", "map"] {
        std::os::unix::fs::symlink(&precious, downloads.join(format!("{file}.{end}"))).unwrap();
    }
    world.pull("library/m").unwrap();
    world.check(&[world.name("library/m")]);
    assert_eq!(fs::read(&precious).unwrap(), vec![7; length as usize]);
    world.store.remove(&world.name("library/m")).unwrap();
    // A lock file is not created through a link either.
    let (lock, made) = (downloads.join(format!("{file}.lock")), world.folder.path().join("made"));
    std::os::unix::fs::symlink(&made, &lock).unwrap();
    let error = world.pull("library/m").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    assert!(!made.exists());
    fs::remove_file(&lock).unwrap();
    world.pull("library/m").unwrap();
}

#[test]
fn unused_blobs_are_pruned() {
    let world = World::with_model(12 * CHUNK);
    let mut options = world.options();
    (options.connections, options.retries) = (1, 0);
    world.registry.fault("/blobs/", 99, mullama_test_registry::Fault::Drop(3 << 20));
    let source = Source::Name(world.name("library/m"));
    pull(&world.store, &source, options).unwrap_err();
    world.registry.clear_faults();
    world.add("library/n:latest", 100);
    world.pull("library/n").unwrap();
    assert!(world.files().iter().any(|file| file.starts_with("downloads/")));
    let freed = world.store.prune().unwrap().freed;
    assert!(freed > 12 << 20, "{freed}");
    world.check(&[world.name("library/n")]);
    assert!(
        world.files().iter().all(|file| !file.starts_with("downloads/")),
        "{:?}",
        world.files()
    );
    assert_eq!(world.store.prune().unwrap().freed, 0);
    assert_eq!(World::new().store.prune().unwrap().freed, 0);
}

#[test]
fn concurrent_removal_and_pull_leave_complete_models() {
    let world = World::new();
    world.add("library/a:latest", 2 * CHUNK);
    world.registry.fault("/blobs/", 9999, mullama_test_registry::Fault::Slow(40 << 20));
    // `b` shares the files of `a`, except for its name.
    let model = world.pull("library/a").unwrap();
    assert_eq!(model.manifest.unwrap().of_kind(LayerKind::Model).count(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..10 {
                world.pull("library/a").unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..10 {
                std::thread::sleep(Duration::from_millis(30));
                let _ = world.store.remove(&world.name("library/a"));
            }
        });
    });
    world.pull("library/a").unwrap();
    world.check(&[world.name("library/a")]);
}
