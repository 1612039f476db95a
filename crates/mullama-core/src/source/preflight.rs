//! Rejects model files that would make the engine abort the process.
//!
//! The engine validates many properties of a file and asserts others. An assertion that fails while loading is caught
//! (`mullama_sys::shim`). One that fails on the compute threads cannot be caught, nor can a null pointer access. The
//! rules here follow the kernels of the CPU backend: `ops.cpp` and `binary-ops.cpp` of ggml-cpu for norms, epsilon and
//! rotary dimensions, the `vec_dot` table of `ggml-cpu.c` for the types of matrices.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::path::Path;

use super::overrides;
use crate::options::{ModelParams, check_template};
use crate::{Error, ErrorKind, Result};
use mullama_base::{Text, similarity};
use mullama_gguf::{Document, GgufHeader, MetadataValue, TensorInfo, TensorType};
use mullama_sys::{FLOAT_TENSORS, shim};
use serde_json::Value;

/// Types that can be stored but not used for weights.
const NON_WEIGHT_TYPES: [TensorType; 5] =
    [TensorType::I8, TensorType::I16, TensorType::I32, TensorType::I64, TensorType::F64];

/// Types of intermediate results, which do not occur in files.
const TRANSIENT_TYPES: [TensorType; 2] = [TensorType::Q8_1, TensorType::Q8_K];

/// Metadata that the engine divides by, with the architectures for which 0 is nevertheless valid.
const DIVISORS: [(&str, &[&str]); 11] = [
    ("rope.dimension_count", &[]),
    ("full_attention_interval", &[]),
    ("interleave_moe_layer_step", &["llama4"]),
    ("ssm.group_count", &["plamo2"]),
    ("ssm.time_step_rank", &[]),
    ("wkv.head_size", &[]),
    ("experts_per_group", &[]),
    ("conv_group_size", &[]),
    ("block_size", &[]),
    ("attention.output_group_count", &[]),
    ("decision.head_count", &[]),
];

/// Architectures without attention heads.
const WITHOUT_HEADS: [&str; 7] =
    ["mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7", "arwkv7", "wavtokenizer-dec"];

/// Tensors of a layer that the engine requires without checking; if they are missing, it dereferences a null pointer.
struct Needed {
    architectures: &'static [&'static str],
    /// The rule applies to layers with all of these tensors.
    where_it_has: &'static [&'static str],
    /// Such a layer must have all tensors of one of these groups.
    one_of: &'static [&'static [&'static str]],
}

const NEEDED: [Needed; 5] = [
    Needed {
        architectures: &["phi3", "pockettts"],
        where_it_has: &["attn_output.weight"],
        one_of: &[&["attn_qkv.weight"], &["attn_q.weight", "attn_k.weight", "attn_v.weight"]],
    },
    Needed {
        architectures: &["falcon-h1", "granitehybrid", "nemotron_h", "nemotron_h_moe"],
        where_it_has: &["ssm_conv1d.weight"],
        one_of: &[&["ssm_conv1d.bias"]],
    },
    Needed {
        architectures: &["qwen3next"],
        where_it_has: &["ssm_conv1d.weight"],
        one_of: &[&["attn_qkv.weight"], &["ssm_in.weight"]],
    },
    Needed {
        architectures: &["qwen3next"],
        where_it_has: &["ssm_conv1d.weight", "attn_qkv.weight"],
        one_of: &[&["attn_gate.weight"]],
    },
    Needed {
        architectures: &["qwen35", "qwen35moe"],
        where_it_has: &["ssm_conv1d.weight"],
        one_of: &[&["attn_qkv.weight", "attn_gate.weight"]],
    },
];

/// Maximum length of an embedding. Models have several thousand values.
const MAX_EMBEDDING: i64 = 1 << 20;

/// Maximum size of an attention head. Models have up to 576 values. For a quantised cache, the engine makes matrices of
/// the square of it (`attn_rot_hadamard` in llama-kv-cache.cpp).
const MAX_HEAD: i64 = 4096;

/// Keys of the sizes of heads.
const HEAD_SIZES: [&str; 2] = [".attention.key_length", ".attention.value_length"];

/// Maximum length of a token in bytes. The longest tokens of models have some hundred bytes. The engine recurses once
/// per byte and takes quadratic time.
const MAX_TOKEN: u64 = 4096;

/// Maximum sum of the squared lengths of all tokens for a tokenizer (plamo2) that stores every suffix of every token.
const MAX_ENDS: u64 = 1 << 28;

/// The most floats that a kernel of RWKV 7 processes in a step (`GGML_F32_STEP` of AVX-512, in simd-mappings.h). It is a
/// multiple of the steps of other instruction sets.
const WKV7_STEP: i64 = 64;

/// Checks a header by the rules above, with and without the given metadata overrides.
pub(crate) fn check(
    path: &Path,
    header: &GgufHeader,
    vocab_only: bool,
    overrides: Option<&BTreeMap<String, Value>>,
) -> Result<()> {
    check_header(path, header, vocab_only)?;
    let Some(overrides) = overrides.filter(|overrides| !overrides.is_empty()) else {
        return Ok(());
    };
    let mut overridden = header.clone();
    overridden.metadata.retain(|(key, _)| !overrides.contains_key(key));
    let values = overrides.iter().filter_map(|(key, value)| {
        // The engine accepts no others.
        Some((key.clone(), overrides::value_of(key, value)?))
    });
    overridden.metadata.extend(values);
    check_header(path, &overridden, vocab_only).map_err(|error| {
        Error::option("metadata_overrides", error.to_string()).with_context("path", path.display())
    })
}

fn check_header(path: &Path, header: &GgufHeader, vocab_only: bool) -> Result<()> {
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
    let problem = head_problem(header)
        .filter(|_| !vocab_only)
        .or_else(|| rope_problem(header))
        .or_else(|| wkv_problem(header))
        .or_else(|| divisor_problem(header))
        .or_else(|| layer_problem(header))
        .or_else(|| token_problem(header));
    if let Some(problem) = problem {
        return refuse(problem);
    }
    let problem = match header.text("tokenizer.ggml.model") {
        Some("plamo2") => plamo_problem(&tokens(path)?),
        Some("rwkv") => rwkv_problem(&tokens(path)?),
        _ => None,
    };
    if let Some(problem) = problem {
        return refuse(problem.to_owned());
    }
    if let Some(size) = header.architecture_number("vocab_size")
        && let Some(embedding) = header.tensors.iter().find(|t| t.name == "token_embd.weight")
        && embedding.shape.get(1).is_some_and(|rows| size > *rows as i64)
    {
        return refuse(format!("vocab_size is {size}, more than token_embd.weight has rows"));
    }
    Ok(())
}

/// Rejects model options that have no effect or were probably meant differently.
pub(crate) fn check_options(header: &GgufHeader, params: &ModelParams) -> Result<()> {
    check_patterns(header, params)?;
    params.chat_template.as_deref().map_or(Ok(()), check_template)?;
    overrides::check(header, params.metadata_overrides.as_ref())
}

/// Rejects tensor name patterns that match no tensor.
fn check_patterns(header: &GgufHeader, params: &ModelParams) -> Result<()> {
    let patterns = params.tensor_overrides.iter().flat_map(|overrides| &overrides.0);
    for (pattern, _) in patterns {
        // Invalid patterns are rejected where devices are resolved.
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
                "the model is not a mixture of experts and has no such tensors".to_owned()
            } else {
                let near = nearest_tensors(header, pattern).join(", ");
                format!("similar names are {near}; `mullama show --tensors` lists all")
            };
            return Err(Error::option("tensor_overrides", problem).with_hint(hint));
        }
    }
    Ok(())
}

/// The tensor names most similar to a pattern, one per kind of tensor: the same tensor of all layers is one kind.
fn nearest_tensors<'a>(header: &'a GgufHeader, pattern: &str) -> Vec<&'a str> {
    /// Number of kinds to return.
    const MAX_LISTED: usize = 3;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words: Vec<_> = pattern.split(|c| !is_word(c)).filter(|word| word.len() > 2).collect();
    let mut kinds = BTreeMap::new();
    for tensor in &header.tensors {
        let parts: Vec<_> =
            tensor.name.split('.').filter(|part| part.parse::<u32>().is_err()).collect();
        kinds.entry(parts.join(".")).or_insert(tensor.name.as_str());
    }
    let alike = |name: &str| {
        let of_word =
            |word: &&str| name.split('.').map(|part| similarity(word, part)).fold(0.0, f64::max);
        words
            .iter()
            .filter(|word| **word != "blk" && **word != "weight")
            .map(of_word)
            .fold(0.0, f64::max)
    };
    let mut names: Vec<_> = kinds.into_values().collect();
    names.sort_by(|a, b| alike(b).total_cmp(&alike(a)));
    names.truncate(MAX_LISTED);
    names
}

fn tensor_problem(tensor: &TensorInfo) -> Option<String> {
    if tensor.shape.contains(&0) {
        return Some("has a shape without elements".to_owned());
    }
    let TensorInfo { name, ty, shape, .. } = tensor;
    let is_float = *ty == TensorType::F32;
    let is_index = matches!(ty, TensorType::I32 | TensorType::I64);
    if !is_float && is_float_tensor(name) {
        return Some(format!("has type {ty}; norms and the like are f32"));
    }
    let parts: Vec<&str> = name.split('.').collect();
    let is = |part: &str| parts.contains(&part);
    if !is_float && is("weight") && parts.iter().any(|part| part.ends_with("_norm")) {
        return Some(format!("has type {ty}; norms are f32"));
    }
    if TRANSIENT_TYPES.contains(ty) || (is("weight") && NON_WEIGHT_TYPES.contains(ty)) {
        return Some(format!("has type {ty}, which weights cannot have"));
    }
    if !is_float && is("bias") {
        return Some(format!("has type {ty}; biases are f32"));
    }
    if !is_float && !is_index && shape.len() < 2 {
        return Some(format!("has type {ty}; a list of numbers is f32"));
    }
    None
}

/// Whether the engine requires the tensor to be F32.
fn is_float_tensor(name: &str) -> bool {
    /// The engine adds a single row of this tensor.
    const ADDED: &str = "token_types";
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = name.split('.').map(|part| if is_number(part) { "%d" } else { part });
    let name = parts.collect::<Vec<_>>().join(".");
    FLOAT_TENSORS
        .iter()
        .chain(&[ADDED])
        .filter_map(|known| name.strip_prefix(known))
        .any(|rest| rest.is_empty() || rest.starts_with('.'))
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
        MetadataValue::Int(length)
            if key.ends_with(".embedding_length_out") && !(0..=MAX_EMBEDDING).contains(length) =>
        {
            Some(format!("is {length}; an embedding has at most {MAX_EMBEDDING} numbers"))
        }
        MetadataValue::Int(size)
            if HEAD_SIZES.iter().any(|name| key.contains(name)) && *size > MAX_HEAD =>
        {
            Some(format!("is {size}; a head has at most {MAX_HEAD} values"))
        }
        MetadataValue::Int(dimensions)
            if key.ends_with(".rope.dimension_count") && dimensions % 2 != 0 =>
        {
            Some(format!("is {dimensions}; rotary dimensions come in pairs"))
        }
        MetadataValue::Int(0) if key.ends_with(".context_length") => Some("is 0".to_owned()),
        // The engine stores the last result of one or both parts of the layer.
        MetadataValue::Int(count)
            if key.ends_with(".token_shift_count") && !(1..=2).contains(count) =>
        {
            Some(format!("is {count}; a layer has 1 or 2"))
        }
        _ => None,
    }
}

/// Checks head counts. Lists of counts per layer are left to the engine.
fn head_problem(header: &GgufHeader) -> Option<String> {
    let architecture = header.text("general.architecture")?;
    // Keys with the prefix of another architecture are irrelevant, and the engine may not know this one.
    header.get(&format!("{architecture}.block_count"))?;
    let heads = header.get(&format!("{architecture}.attention.head_count"));
    if !WITHOUT_HEADS.contains(&architecture) && matches!(heads, None | Some(MetadataValue::Int(0)))
    {
        return Some("it has no attention heads: attention.head_count is missing or 0".to_owned());
    }
    let length = header.architecture_number("embedding_length").unwrap_or_default();
    // A list may have as few as one head for a layer; models with lists have embeddings of up to 16384 values.
    let divisor = match heads {
        Some(MetadataValue::Int(heads)) => *heads,
        Some(_) => 4,
        None => 0,
    };
    if header.architecture_number("attention.key_length").is_none()
        && let Some(size) = length.checked_div(divisor)
        && size > MAX_HEAD
    {
        return Some(format!("a head has {size} values, more than {MAX_HEAD}"));
    }
    let heads = header.architecture_number("attention.head_count").filter(|heads| *heads > 0)?;
    let kv = header.architecture_number("attention.head_count_kv").unwrap_or(heads);
    if kv < 1 || kv > heads || heads % kv != 0 {
        return Some(format!(
            "head_count_kv is {kv}, which does not divide the head_count {heads}"
        ));
    }
    None
}

/// At most the whole head can be rotated.
fn rope_problem(header: &GgufHeader) -> Option<String> {
    let number = |key| header.architecture_number(key);
    let rotated = number("rope.dimension_count")?;
    let by_heads = || {
        let heads = number("attention.head_count").filter(|heads| *heads > 0)?;
        Some(number("embedding_length")? / heads)
    };
    let size = number("attention.key_length").or_else(by_heads)?;
    (rotated > size).then(|| format!("rope.dimension_count is {rotated}, and a head has {size}"))
}

fn token_problem(header: &GgufHeader) -> Option<String> {
    match header.get("tokenizer.ggml.tokens") {
        Some(MetadataValue::Array { longest, .. }) if *longest > MAX_TOKEN => {
            Some(format!("a token has {longest} bytes, more than {MAX_TOKEN}"))
        }
        _ => None,
    }
}

/// RWKV divides the embedding into heads. The size of its state is the product of both numbers.
fn wkv_problem(header: &GgufHeader) -> Option<String> {
    let size = header.architecture_number("wkv.head_size")?;
    let length = header.architecture_number("embedding_length")?;
    if size > length {
        return Some(format!("wkv.head_size is {size}, more than the embedding_length {length}"));
    }
    // ggml_compute_forward_rwkv_wkv7_f32 reads and writes whole steps of vectors, past the end of other heads.
    let is_stepped = matches!(header.text("general.architecture"), Some("rwkv7" | "arwkv7"));
    (is_stepped && size % WKV7_STEP != 0)
        .then(|| format!("wkv.head_size is {size}, and must be a multiple of {WKV7_STEP}"))
}

/// The texts of all tokens, which a header does not contain.
fn tokens(path: &Path) -> Result<Vec<Vec<u8>>> {
    let document = Document::read(path)?;
    let tokens = document.metadata.iter().find(|(key, _)| key == "tokenizer.ggml.tokens");
    let texts = tokens.map_or_else(Vec::new, |(_, value)| value.texts());
    Ok(texts.into_iter().map(<[u8]>::to_vec).collect())
}

fn plamo_problem(tokens: &[Vec<u8>]) -> Option<&'static str> {
    let squares: u64 = tokens.iter().map(|token| (token.len() as u64).pow(2)).sum();
    (squares > MAX_ENDS).then_some("its tokens are too long for a tokenizer of kind plamo2")
}

/// The engine tokenises a line feed while loading. If there are tokens that begin with a line feed, but none that is a
/// single line feed, the RWKV tokenizer loops forever on this byte.
fn rwkv_problem(tokens: &[Vec<u8>]) -> Option<&'static str> {
    let with_line_feeds: Vec<_> = tokens
        .iter()
        .map(|token| unescape_rwkv(token))
        .filter(|token| token.starts_with(b"\n"))
        .collect();
    (!with_line_feeds.is_empty() && !with_line_feeds.iter().any(|token| token.len() == 1))
        .then_some("tokens begin with a line feed, and none is a line feed alone")
}

/// Unescapes a token of RWKV like `llama_unescape_rwkv_token` in `llama-vocab.cpp`: hexadecimal digits are not
/// validated, and an incomplete escape sequence is dropped.
fn unescape_rwkv(token: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| byte.wrapping_sub(if byte >= b'a' { b'a' - 10 } else { b'0' });
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        match rest {
            [b'x', high, low, after @ ..] => {
                bytes.push((digit(*high) << 4).wrapping_add(digit(*low)));
                rest = after;
            }
            [] | [b'x', ..] => break,
            [escaped, after @ ..] => {
                bytes.push(match escaped {
                    b't' => b'\t',
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => *other,
                });
                rest = after;
            }
        }
    }
    bytes
}

/// Checks that layers have the required tensors. Split models are left to the engine, since other files contain some of
/// the layers.
fn layer_problem(header: &GgufHeader) -> Option<String> {
    let architecture = header.text("general.architecture")?;
    let rules = NEEDED.iter().filter(|rule| rule.architectures.contains(&architecture));
    let is_split = matches!(header.get("split.count"), Some(MetadataValue::Int(2..)));
    let mut layers = BTreeMap::<&str, BTreeSet<&str>>::new();
    for tensor in header.tensors.iter().filter(|_| !is_split) {
        if let Some((layer, name)) =
            tensor.name.strip_prefix("blk.").and_then(|name| name.split_once('.'))
        {
            layers.entry(layer).or_default().insert(name);
        }
    }
    for Needed { where_it_has, one_of, .. } in rules {
        for (layer, names) in &layers {
            let has = |wanted: &[&str]| wanted.iter().all(|name| names.contains(name));
            if has(where_it_has) && !one_of.iter().any(|wanted| has(wanted)) {
                return Some(format!("layer {layer} lacks {}", one_of[0].join(", ")));
            }
        }
    }
    None
}

fn divisor_problem(header: &GgufHeader) -> Option<String> {
    let architecture = header.text("general.architecture")?;
    DIVISORS
        .iter()
        .filter(|(_, but)| !but.contains(&architecture))
        .find(|(key, _)| header.architecture_number(key) == Some(0))
        .map(|(key, _)| format!("{key} is 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_of_rwkv_are_unescaped_as_the_engine_does() {
        for (token, bytes) in [
            (r"\n\t\r\\\q", b"\n\t\r\\q".as_slice()),
            (r"\x0a\xff|", b"\n\xff|"),
            // The engine's result for an invalid digit.
            (r"\x0:", b"\n"),
            (r"a\", b"a"),
            (r"a\x0", b"a"),
        ] {
            assert_eq!(unescape_rwkv(token.as_bytes()), bytes, "{token}");
        }
        for (tokens, is_refused) in [
            (&["\n", "\n\n"][..], false),
            (&[r"\n", "\na"], false),
            (&["a", "b"], false),
            (&[r"\x0a\x0a", "a"], true),
            (&["\na"], true),
        ] {
            let tokens: Vec<_> = tokens.iter().map(|token| token.as_bytes().to_vec()).collect();
            assert_eq!(rwkv_problem(&tokens).is_some(), is_refused, "{tokens:?}");
        }
    }

    #[test]
    fn unmatched_patterns_get_suggestions() {
        let header = GgufHeader::read(mullama_testkit::fixture("moe")).unwrap();
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
        let dense = GgufHeader::read(mullama_testkit::fixture("small")).unwrap();
        let params = ModelParams::default().with_tensor_overrides([("exps", "CPU")]);
        let error = check_patterns(&dense, &params).unwrap_err();
        assert!(error.hint().unwrap().contains("not a mixture of experts"), "{error:?}");
        // Invalid patterns are rejected elsewhere.
        check("(").unwrap();
    }

    #[test]
    fn number_formats_that_no_kernel_computes_with_are_refused() {
        let problem = |name: &str, ty: TensorType| {
            let mut document = Document::default();
            document.add_tensor(name, ty, &[256, 2]);
            let bytes = document.encode();
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("model.gguf");
            std::fs::write(&path, [bytes, vec![0; 1 << 13]].concat()).unwrap();
            check_header(&path, &GgufHeader::read(&path).unwrap(), false)
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
        for name in
            ["blk.11.ssm_conv1d.weight", "blk.0.ssm_a", "token_types.weight", "rope_freqs.weight"]
        {
            for ty in [TensorType::F16, TensorType::Q8_0, TensorType::I32] {
                assert!(problem(name, ty).is_some(), "{name}");
            }
            assert_eq!(problem(name, TensorType::F32), None, "{name}");
        }
        for (name, ty) in [
            ("blk.0.attn_q.weight", TensorType::Q4_K),
            ("blk.0.attn_q.bias", TensorType::F32),
            ("d2t", TensorType::I64),
        ] {
            assert_eq!(problem(name, ty), None, "{name}");
        }
    }
}
