//! Extracts tables from the engine's sources: the metadata keys that it reads, which of them are floating-point numbers,
//! and the tensors that must be F32.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{env, fs};

use crate::engine::Engine;

/// Operations on tensors that need not be F32.
const OF_ANY_TYPE: [&str; 5] = ["MUL_MAT", "MUL_MAT_ID", "GET_ROWS", "IM2COL", "NONE"];

/// Writes each table as a list for the library to include. `%s` stands for an architecture, `%d` for a number.
pub fn write(engine: &Engine) {
    let path = engine.sources.join("src/llama-arch.cpp");
    let text = fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let keys: Vec<&str> =
        entries(&text, "LLM_KV_NAMES").filter_map(|entry| entry.split('"').nth(1)).collect();
    assert!(keys.contains(&"%s.context_length"), "llama.cpp has changed its table of keys");
    write_list("metadata_keys.rs", &keys);
    write_list("float_keys.rs", &float_keys(engine, &text));

    // Each entry of both tables begins with the tensor:
    // `{LLM_TENSOR_ATTN_NORM, {LLM_TENSOR_LAYER_REPEATING, GGML_OP_MUL}}`.
    let tensor =
        |entry: &str| entry.trim_start_matches(['{', ' ']).split(',').next().map(str::to_owned);
    let (mut of_any_type, mut others) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries(&text, "LLM_TENSOR_INFOS") {
        let operation = entry.split("GGML_OP_").nth(1).and_then(|rest| rest.split('}').next());
        let (Some(operation), Some(tensor)) = (operation, tensor(entry)) else { continue };
        let set = if OF_ANY_TYPE.contains(&operation) { &mut of_any_type } else { &mut others };
        set.insert(tensor);
    }
    let names_of = |tensors: &BTreeSet<String>| -> BTreeSet<&str> {
        let named = |entry: &&str| tensor(entry).is_some_and(|tensor| tensors.contains(&tensor));
        let names = entries(&text, "LLM_TENSOR_NAMES").filter(named);
        names.filter_map(|entry| entry.split('"').nth(1)).collect()
    };
    let (of_any_type, others) = (names_of(&of_any_type), names_of(&others));
    let floats: Vec<&str> = others.difference(&of_any_type).copied().collect();
    for name in ["blk.%d.attn_norm", "blk.%d.ssm_conv1d", "rope_freqs"] {
        assert!(floats.contains(&name), "llama.cpp has changed its tables of tensors: {name}");
    }
    assert!(!floats.contains(&"blk.%d.attn_q"), "llama.cpp has changed its tables of tensors");
    write_list("float_tensors.rs", &floats);
}

/// The metadata keys whose values the engine reads into variables of type `float`.
fn float_keys<'a>(engine: &Engine, names: &'a str) -> Vec<&'a str> {
    let folder = engine.sources.join("src");
    let read = |path: PathBuf| {
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()))
    };
    // `float f_norm_eps;` and `std::array<float, LLAMA_MAX_LAYERS> xielu_eps;`
    let declarations = read(folder.join("llama-hparams.h")) + "float ropescale;";
    let variables: BTreeSet<&str> = declarations
        .split(['\n', ';'])
        .filter(|line| line.contains("float"))
        .filter_map(|line| line.split('=').next()?.split_whitespace().last())
        .collect();
    let mut found = BTreeSet::new();
    for folder in [folder.clone(), folder.join("models")] {
        let files = fs::read_dir(&folder).expect("the engine has its sources");
        for file in files.filter_map(Result::ok).map(|entry| entry.path()) {
            if file.extension().is_none_or(|extension| extension != "cpp") {
                continue;
            }
            // `ml.get_key(LLM_KV_ATTENTION_LAYERNORM_EPS, hparams.f_norm_eps);`
            for call in read(file).split("get_key").skip(1) {
                let call = call.trim_start_matches("_or_arr").trim_start_matches('(');
                let mut arguments = call.split([',', ')']).map(str::trim);
                let (Some(key), Some(variable)) = (arguments.next(), arguments.next()) else {
                    continue;
                };
                if variables.contains(variable.trim_start_matches("hparams.")) {
                    found.insert(key.to_owned());
                }
            }
        }
    }
    let named = entries(names, "LLM_KV_NAMES").filter(|entry| {
        let key = entry.trim_start_matches(['{', ' ']).split(',').next();
        key.is_some_and(|key| found.contains(key.trim()))
    });
    let keys: Vec<&str> = named.filter_map(|entry| entry.split('"').nth(1)).collect();
    for key in ["%s.rope.freq_base", "%s.rope.scaling.factor", "%s.attention.layer_norm_epsilon"] {
        assert!(keys.contains(&key), "llama.cpp reads {key} in another way");
    }
    assert!(!keys.contains(&"%s.context_length"), "llama.cpp reads lengths in another way");
    keys
}

/// The lines of a table, one per entry.
fn entries<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (_, table) = text
        .split_once(&format!("{name} = {{"))
        .unwrap_or_else(|| panic!("llama.cpp has no table {name} any more"));
    let (table, _) = table.split_once("\n};").expect("the table ends");
    table
        .lines()
        .map(str::trim_start)
        .filter(|line| line.starts_with("{LLM_") || line.starts_with("{ LLM_"))
}

fn write_list(file: &str, texts: &[&str]) {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(out.join(file), format!("&{texts:?}")).expect("OUT_DIR can be written");
}
