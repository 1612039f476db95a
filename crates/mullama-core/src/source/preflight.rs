//! Refuses model files over which the engine would end the process.
//!
//! The engine checks much of a file and asserts the rest. An assertion that fails while loading is
//! caught (`mullama_sys::shim`); one that fails on the threads that compute, and a read through a null
//! pointer, cannot be. The rules here are those of the CPU backend's kernels: `ops.cpp` and
//! `binary-ops.cpp` of ggml-cpu for norms, epsilon and rotary dimensions, the `vec_dot` table of
//! `ggml-cpu.c` for the types of matrices.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::Path;

use crate::options::ModelParams;
use crate::{Error, ErrorKind, Result};
use mullama_base::{Text, likeness, nearest};
use mullama_gguf::{GgufHeader, MetadataValue, TensorInfo, TensorType};
use mullama_sys::{METADATA_KEYS, shim};
use serde_json::Value;

/// Number formats that are stored but not computed with.
const NOT_FOR_WEIGHTS: [TensorType; 5] =
    [TensorType::I8, TensorType::I16, TensorType::I32, TensorType::I64, TensorType::F64];

/// Number formats of what is computed on the way, which no file has.
const NOT_STORED: [TensorType; 2] = [TensorType::Q8_1, TensorType::Q8_K];

/// Checks a header by the rules above.
pub(crate) fn check(path: &Path, header: &GgufHeader, vocab_only: bool) -> Result<()> {
    let refuse = |problem: String| {
        Err(Error::new(
            ErrorKind::InvalidModel,
            format!("cannot load {}: {problem}", path.display()),
        )
        .with_context("path", path.display())
        .with_hint("the file is damaged, or was made for another program"))
    };
    if header.tensors.is_empty() && !vocab_only {
        let message = format!("cannot load {}: it has a vocabulary and no tensors", path.display());
        return Err(Error::new(ErrorKind::InvalidModel, message)
            .with_context("path", path.display())
            .with_hint(Text::with_names("the option {vocab_only} loads it for tokenising")));
    }
    for tensor in &header.tensors {
        if let Some(problem) = tensor_problem(tensor) {
            return refuse(format!("tensor {} {problem}", tensor.name));
        }
    }
    for (key, value) in &header.metadata {
        if let Some(problem) = metadata_problem(key, value) {
            return refuse(format!("{key} {problem}"));
        }
    }
    if let Some(problem) = head_problem(header) {
        return refuse(problem);
    }
    if let Some(size) = header.architecture_number("vocab_size")
        && let Some(embedding) = header.tensors.iter().find(|t| t.name == "token_embd.weight")
        && embedding.shape.get(1).is_some_and(|rows| size > *rows as i64)
    {
        return refuse(format!("vocab_size is {size}, more than token_embd.weight has rows"));
    }
    Ok(())
}

/// Refuses options of a model that would change nothing, or not what was meant.
pub(crate) fn check_options(header: &GgufHeader, params: &ModelParams) -> Result<()> {
    if let Some(template) = &params.chat_template
        && !["{{", "{%"].iter().any(|mark| template.contains(mark))
    {
        let problem = "it has no {{ }} and no {% %}: give the text of a template (Jinja), not a name or a path";
        return Err(Error::option("chat_template", problem));
    }
    check_patterns(header, params)?;
    check_overrides(header, params.metadata_overrides.as_ref())
}

/// Refuses patterns over the names of tensors that match none.
fn check_patterns(header: &GgufHeader, params: &ModelParams) -> Result<()> {
    let patterns = params.tensor_overrides.iter().flat_map(|overrides| &overrides.0);
    for (pattern, _) in patterns {
        // What is no pattern is refused where devices are resolved.
        let Ok(text) = CString::new(pattern.as_str()) else { continue };
        if shim::check_pattern(&text).is_err() {
            continue;
        }
        let matches = |tensor: &TensorInfo| {
            let name = CString::new(tensor.name.as_str());
            name.is_ok_and(|name| shim::pattern_matches(&text, &name).unwrap_or(false))
        };
        if !header.tensors.iter().any(matches) {
            let problem = format!("`{pattern}` matches no tensor of the model");
            let is_expert = |tensor: &TensorInfo| tensor.name.contains("_exps");
            let hint = if pattern.contains("exp") && !header.tensors.iter().any(is_expert) {
                "the model is no mixture of experts: it has no such tensors".to_owned()
            } else {
                let near = nearest_tensors(header, pattern).join(", ");
                format!("the nearest are {near}; `mullama show --tensors` lists them")
            };
            return Err(Error::option("tensor_overrides", problem).with_hint(hint));
        }
    }
    Ok(())
}

/// The names that are most like a pattern, one of each kind of tensor: those of all layers are one kind.
fn nearest_tensors<'a>(header: &'a GgufHeader, pattern: &str) -> Vec<&'a str> {
    /// Kinds that are named.
    const SHOWN: usize = 3;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<_> = pattern.split(|c| !is_word(c)).filter(|word| word.len() > 2).collect();
    let mut kinds = BTreeMap::new();
    for tensor in &header.tensors {
        let parts: Vec<_> =
            tensor.name.split('.').filter(|part| !part.parse::<u32>().is_ok()).collect();
        kinds.entry(parts.join(".")).or_insert(tensor.name.as_str());
    }
    let alike = |name: &str| {
        let of_word =
            |word: &&str| name.split('.').map(|part| likeness(word, part)).fold(0.0, f64::max);
        words
            .iter()
            .filter(|word| **word != "blk" && **word != "weight")
            .map(of_word)
            .fold(0.0, f64::max)
    };
    let mut names: Vec<_> = kinds.into_values().collect();
    names.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
    names.truncate(SHOWN);
    names
}

/// Refuses values for keys that neither the file nor the engine has.
fn check_overrides(header: &GgufHeader, overrides: Option<&BTreeMap<String, Value>>) -> Result<()> {
    let overrides = overrides.into_iter().flatten();
    let architecture = header.text("general.architecture").unwrap_or_default();
    let of_engine = METADATA_KEYS.iter().map(|key| key.replace("%s", architecture));
    let of_file = header.metadata.iter().map(|(key, _)| key.clone());
    let known: BTreeSet<String> = of_engine.chain(of_file).collect();
    for (key, _) in overrides {
        if !known.contains(key) {
            let problem = format!("neither the model nor the engine has a key `{key}`");
            let error = Error::option("metadata_overrides", problem);
            return Err(match nearest(key, &known) {
                Some(near) => error.with_hint(format!("did you mean `{near}`?")),
                None => error,
            });
        }
    }
    Ok(())
}

fn tensor_problem(tensor: &TensorInfo) -> Option<String> {
    if tensor.shape.contains(&0) {
        return Some("has a shape without elements".to_owned());
    }
    let parts: Vec<&str> = tensor.name.split('.').collect();
    let is = |part: &str| parts.contains(&part);
    if is("weight")
        && parts.iter().any(|part| part.ends_with("_norm"))
        && tensor.ty != TensorType::F32
    {
        return Some(format!("has type {}; norms are f32", tensor.ty));
    }
    if NOT_STORED.contains(&tensor.ty) || (is("weight") && NOT_FOR_WEIGHTS.contains(&tensor.ty)) {
        return Some(format!("has type {}, which weights cannot have", tensor.ty));
    }
    if is("bias") && tensor.ty != TensorType::F32 {
        return Some(format!("has type {}; biases are f32", tensor.ty));
    }
    None
}

fn metadata_problem(key: &str, value: &MetadataValue) -> Option<String> {
    match value {
        MetadataValue::Float(epsilon)
            if key.contains(".attention.layer_norm")
                && (!epsilon.is_finite() || *epsilon < 0.0) =>
        {
            Some(format!("is {epsilon}; the epsilon of a norm is a number of 0 or more"))
        }
        MetadataValue::Float(number) if key.contains(".rope.") && !number.is_finite() => {
            Some(format!("is {number}; it must be finite"))
        }
        MetadataValue::Int(dimensions)
            if key.ends_with(".rope.dimension_count") && dimensions % 2 != 0 =>
        {
            Some(format!("is {dimensions}; rotary dimensions come in pairs"))
        }
        MetadataValue::Int(0) if key.ends_with(".context_length") => Some("is 0".to_owned()),
        _ => None,
    }
}

/// Counts that differ from layer to layer are lists, and left to the engine.
fn head_problem(header: &GgufHeader) -> Option<String> {
    let heads = header.architecture_number("attention.head_count").filter(|heads| *heads > 0)?;
    let kv = header.architecture_number("attention.head_count_kv").unwrap_or(heads);
    if kv > heads || (kv > 0 && heads % kv != 0) {
        return Some(format!(
            "head_count_kv is {kv}, which does not divide the head_count {heads}"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_match_nothing_are_refused_with_what_is_near() {
        let header = GgufHeader::read(&mullama_testkit::fixture("moe")).unwrap();
        let check = |pattern: &str| {
            check_patterns(
                &header,
                &ModelParams::default().with_tensor_overrides([(pattern, "CPU")]),
            )
        };
        for matching in ["exps", r"blk\.0\.", r"\.ffn_.*_exps\.", "(?:[0-1]).ffn_(up|down)_exps"] {
            check(matching).unwrap();
        }
        for (wrong, near) in [
            ("ffn_upp_exps", "blk.0.ffn_up_exps.weight"),
            (r"blk\.[0-9]+\.atn_q", "blk.0.attn_q.weight"),
            ("^exps", "blk.0."),
            ("zzz", "blk.0."),
        ] {
            let error = check(wrong).unwrap_err();
            assert!(error.to_string().contains(&format!("`{wrong}` matches no tensor")), "{error}");
            let hint = error.hint().unwrap();
            assert!(hint.contains(near), "{wrong}: {hint}");
        }
        let dense = GgufHeader::read(&mullama_testkit::fixture("small")).unwrap();
        let params = ModelParams::default().with_tensor_overrides([("exps", "CPU")]);
        let error = check_patterns(&dense, &params).unwrap_err();
        assert!(error.hint().unwrap().contains("no mixture of experts"), "{error:?}");
        // What is no pattern is left to where it is read.
        check("(").unwrap();
    }

    #[test]
    fn number_formats_that_no_kernel_computes_with_are_refused() {
        let problem = |name: &str, ty: TensorType| {
            let mut document = mullama_gguf::Document::default();
            document.add_tensor(name, ty, &[256, 2]);
            let bytes = document.encode();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            std::fs::write(&path, [bytes, vec![0; 1 << 13]].concat()).unwrap();
            check(&path, &GgufHeader::read(&path).unwrap(), false)
                .err()
                .map(|error| error.to_string())
        };
        for ty in [TensorType::Q8_1, TensorType::Q8_K] {
            for name in ["token_embd.weight", "blk.0.ssm_in.weight", "anything"] {
                assert!(problem(name, ty).is_some_and(|said| said.contains(ty.name())), "{name}");
            }
        }
        assert!(problem("blk.0.ffn_gate_exps.weight", TensorType::I32).is_some());
        assert!(problem("blk.0.attn_q.bias", TensorType::F16).is_some());
        for (name, ty) in [
            ("blk.0.attn_q.weight", TensorType::Q4_K),
            ("blk.0.attn_q.bias", TensorType::F32),
            ("d2t", TensorType::I64),
        ] {
            assert_eq!(problem(name, ty), None, "{name}");
        }
    }
}
