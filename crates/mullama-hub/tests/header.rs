//! Downloading headers without weights, and the cache of headers.

mod common;

use std::fs;
use std::path::Path;

use common::{CHUNK, World};
use mullama_hub::{Source, fetch_header};
use mullama_test_registry::gguf;

/// A repository with a split model.
fn world() -> World {
    let world = World::new();
    let shard = |i: usize| gguf(&[("general.architecture", "llama")], 2 * CHUNK + i);
    world.registry.add_repo(
        "user/m-GGUF",
        &[("m-Q8_0-00001-of-00002.gguf", shard(1)), ("m-Q8_0-00002-of-00002.gguf", shard(2))],
    );
    world
}

#[test]
fn damaged_cached_headers_are_fetched_again() {
    let world = world();
    let folder = world.folder.path().join("headers");
    let source = Source::parse("hf.co/user/m-GGUF").unwrap();
    let fetch = || fetch_header(&source, &folder, &world.options()).unwrap();
    let first = fetch();
    let second = first.with_file_name("model-00002-of-00002.gguf");
    let whole = [fs::read(&first).unwrap(), fs::read(&second).unwrap()];
    world.registry.take_requests();
    assert_eq!(fetch(), first);
    assert_eq!(world.registry.sent("/resolve/"), 0, "what is whole is kept");
    let cut =
        |path: &Path| fs::File::options().write(true).open(path).unwrap().set_len(40).unwrap();
    let model = first.parent().unwrap();
    let damages: [&dyn Fn(); 7] = [
        &|| fs::write(&first, "").unwrap(),
        &|| fs::write(&second, "GGUF").unwrap(),
        &|| cut(&first),
        &|| fs::write(&first, vec![0; whole[0].len()]).unwrap(),
        &|| fs::remove_file(&second).unwrap(),
        &|| {
            fs::remove_file(&first).unwrap();
            fs::create_dir(&first).unwrap();
        },
        &|| {
            fs::remove_dir_all(model).unwrap();
            fs::write(model, "").unwrap();
        },
    ];
    for (index, damage) in damages.iter().enumerate() {
        damage();
        assert_eq!(fetch(), first, "{index}");
        assert!(fs::read(&first).unwrap() == whole[0], "{index}");
        assert!(fs::read(&second).unwrap() == whole[1], "{index}");
    }
}
