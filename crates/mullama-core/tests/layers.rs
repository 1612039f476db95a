//! Each folder of the core imports only from folders above it in the table of layers, and no files import each other
//! in a cycle.
//!
//! The table is in `docs/architecture.md`, section "Layers of the core".

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The layers in the documentation, lowest first.
fn documented_layers() -> Vec<String> {
    let page = fs::read_to_string(root().join("../../docs/architecture.md")).unwrap();
    let (_, section) = page.split_once("## Layers of the core").expect("the page has the section");
    let section = section.split("\n## ").next().unwrap();
    let first_cell =
        |row: &str| row.strip_prefix("| `")?.split_once('`').map(|(name, _)| name.to_owned());
    section.lines().filter_map(first_cell).collect()
}

/// All source files, by module path: `engine::context`; `engine/mod.rs` is `engine`.
fn modules() -> BTreeMap<String, String> {
    fn visit(dir: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let name = match (prefix, stem) {
                (prefix, "mod") => prefix.to_owned(),
                ("", stem) => stem.to_owned(),
                (prefix, stem) => format!("{prefix}::{stem}"),
            };
            if path.is_dir() {
                visit(&path, &name, found);
            } else {
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    visit(&root().join("src"), "", &mut found);
    found.remove("lib");
    found
}

/// The code of a file without tests and comments.
fn code_of(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap();
    source.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// The paths in a file, relative to the crate's root: those of `use crate::a::{b, c::d}` and `use super::x`, and those
/// written out in expressions.
fn paths(module: &str, is_folder: bool, code: &str) -> BTreeSet<String> {
    let parent =
        |module: &str| module.rsplit_once("::").map_or("", |(parent, _)| parent).to_owned();
    let own = if is_folder { module.to_owned() } else { parent(module) };
    let mut found = BTreeSet::new();
    let mut rest = code;
    while let Some(at) = rest.find("crate::").into_iter().chain(rest.find("super::")).min() {
        let before = rest[..at].chars().next_back();
        let (keyword, after) = rest[at..].split_at("crate::".len());
        rest = after;
        if before.is_some_and(|c| c == ':' || c == '$' || c.is_alphanumeric() || c == '_') {
            continue;
        }
        let (mut base, mut tail) = match keyword {
            "crate::" => (String::new(), after),
            _ if is_folder => (parent(module), after),
            _ => (own.clone(), after),
        };
        while let Some(after) = tail.strip_prefix("super::") {
            (base, tail) = (parent(&base), after);
        }
        for path in expand(tail) {
            found.insert(if base.is_empty() { path } else { format!("{base}::{path}") });
        }
    }
    found
}

/// Expands a tree of imports such as `a::{b, c::{d, e}}` into paths.
fn expand(tree: &str) -> Vec<String> {
    let end = tree.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (head, rest) = tree.split_at(end.unwrap_or(tree.len()));
    if !head.ends_with("::") || !rest.starts_with('{') {
        return vec![head.trim_end_matches("::").to_owned()];
    }
    let (mut depth, mut start, mut found) = (0, 1, Vec::new());
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 1 => {
                let branch = rest[start..at].trim();
                if !branch.is_empty() {
                    found.extend(expand(branch).iter().map(|branch| format!("{head}{branch}")));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// The files from which each file imports. A re-export by a folder counts as the file that defines the item.
fn imports(modules: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let is_folder =
        |name: &str| modules.keys().any(|other| other.starts_with(&format!("{name}::")));
    let codes: BTreeMap<&str, String> =
        modules.iter().map(|(name, source)| (name.as_str(), code_of(source))).collect();
    // The re-exports of each folder: the name, and the path of the definition.
    let mut handed_on = BTreeMap::new();
    for (name, code) in codes.iter().filter(|(name, _)| is_folder(name)) {
        for statement in code.split(';').map(str::trim) {
            let statement = statement.trim_start_matches(|c: char| c != 'p' && c != 'u');
            let Some(tree) = statement
                .strip_prefix("pub use ")
                .or_else(|| statement.strip_prefix("pub(crate) use "))
                .or_else(|| statement.strip_prefix("pub(super) use "))
            else {
                continue;
            };
            for path in expand(tree) {
                let whole = format!("{name}::{path}");
                let last = path.rsplit("::").next().unwrap();
                handed_on.insert(format!("{name}::{last}"), whole);
            }
        }
    }
    // A file takes precedence over a re-export, since a folder may re-export a function with the name of its file.
    let file_of = |path: &str| {
        let mut path = path.to_owned();
        loop {
            if let Some((name, _)) =
                modules.get_key_value(path.as_str()).filter(|(name, _)| !is_folder(name))
            {
                return Some(name.as_str());
            } else if let Some(whole) = handed_on.get(&path) {
                path.clone_from(whole);
                continue;
            } else if let Some((name, _)) = modules.get_key_value(path.as_str()) {
                return Some(name.as_str());
            }
            path.truncate(path.rfind("::")?);
        }
    };
    let imports_of = |(&name, code): (&&'_ str, &String)| {
        let is_handing_on =
            |path: &String| is_folder(name) && path.starts_with(&format!("{name}::"));
        let paths = paths(name, is_folder(name), code).into_iter();
        let found = paths.filter(|path| !is_handing_on(path)).filter_map(|path| file_of(&path));
        found.filter(|other| *other != name).collect()
    };
    modules
        .keys()
        .map(|name| {
            let name = name.as_str();
            (name, imports_of((&name, &codes[name])))
        })
        .collect()
}

#[test]
fn folders_import_only_from_those_below_them() {
    let layers = documented_layers();
    let modules = modules();
    let layer_of = |module: &str| {
        let folder = module.split("::").next().unwrap();
        layers.iter().position(|layer| layer == folder)
    };
    let mut problems = Vec::new();
    for (module, imported) in imports(&modules) {
        let Some(own) = layer_of(module) else {
            problems.push(format!("{module} is in no layer of docs/architecture.md"));
            continue;
        };
        for other in imported.into_iter().filter(|other| layer_of(other).is_none_or(|it| it > own))
        {
            problems.push(format!("{module} imports from {other}, which is above it"));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let folders: BTreeSet<&str> =
        modules.keys().map(|module| module.split("::").next().unwrap()).collect();
    let unknown: Vec<_> = layers.iter().filter(|layer| !folders.contains(layer.as_str())).collect();
    assert!(unknown.is_empty(), "layers without a folder: {unknown:?}");
}

#[test]
fn files_have_no_import_cycles() {
    let modules = modules();
    let mut left = imports(&modules);
    // Removes files that import from no remaining file, until only cycles remain.
    loop {
        let names: BTreeSet<&str> = left.keys().copied().collect();
        let before = left.len();
        left.retain(|_, imported| imported.iter().any(|other| names.contains(other)));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<_> =
        left.iter().map(|(name, imported)| format!("{name} -> {imported:?}")).collect();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn import_paths_are_parsed() {
    assert_eq!(expand("a::{b, c::{d, E}, f}; x"), ["a::b", "a::c::d", "a::c::E", "a::f"]);
    assert_eq!(expand("a::b;"), ["a::b"]);
    let code = code_of(
        "use crate::a::X;\n// crate::b::Y\nfn f() { super::c() }\n#[cfg(test)]\nmod tests { crate::d::Z }",
    );
    let found: Vec<_> = paths("m::n", false, &code).into_iter().collect();
    assert_eq!(found, ["a::X", "m::c"]);
    let modules =
        [("a", "pub(crate) use x::X;"), ("a::x", "use crate::b::Y;"), ("b", "use crate::a::X;")];
    let modules = modules.map(|(name, code)| (name.to_owned(), code.to_owned())).into();
    let found = imports(&modules);
    assert_eq!(found["b"].iter().collect::<Vec<_>>(), [&"a::x"]);
    assert_eq!(found["a::x"].iter().collect::<Vec<_>>(), [&"b"]);
    assert!(found["a"].is_empty());
}
