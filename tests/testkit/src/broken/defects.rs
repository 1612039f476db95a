//! The defects, in the order of their places in a file, with the engine's behaviour for each.

use crate::broken::{Defect, Edit};
use crate::gguf::{ALIGNMENT, File, RawTensor, TensorType, Value};
use crate::probe::Stage::{Context, Decode, Load, Tokenize};
use crate::probe::Verdict::{self, Accepts, Dies, ExhaustsMemory, NotFinite, Refuses};

pub fn all() -> impl Iterator<Item = &'static Defect> {
    [CONTAINER, METADATA, TENSORS, HYPER_PARAMETERS, TOKENIZER].into_iter().flatten()
}

type Words = &'static [&'static str];

const fn bytes(
    name: &'static str,
    expect: Words,
    engine: Verdict,
    edit: fn(&mut Vec<u8>, usize),
) -> Defect {
    Defect { name, expect, engine, edit: Edit::Bytes(edit) }
}

const fn file(name: &'static str, expect: Words, engine: Verdict, edit: fn(&mut File)) -> Defect {
    Defect { name, expect, engine, edit: Edit::File(edit) }
}

const fn number(
    name: &'static str,
    expect: Words,
    engine: Verdict,
    key: &'static str,
    value: u32,
) -> Defect {
    Defect { name, expect, engine, edit: Edit::Number(key, value) }
}

const fn missing(name: &'static str, expect: Words, engine: Verdict, key: &'static str) -> Defect {
    Defect { name, expect, engine, edit: Edit::Missing(key) }
}

const MAGIC: Words = &["magic", "not a gguf"];
const TRUNCATED: Words = &["truncated", "incomplete", "ends too early", "not a gguf"];

/// Overwrites eight bytes. In a file, the number of tensors is at offset 8, the number of metadata
/// entries at 16, and the length of the first key at 24.
fn patch(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// The first bytes, incomplete downloads, counts.
const CONTAINER: &[Defect] = &[
    bytes("empty_file", TRUNCATED, Refuses(Load), |bytes, _| bytes.clear()),
    bytes("wrong_magic", MAGIC, Refuses(Load), |bytes, _| bytes[0] = b'X'),
    bytes("zip_magic", MAGIC, Refuses(Load), |bytes, _| bytes[..4].copy_from_slice(b"PK\x03\x04")),
    bytes("version_0", &["version"], Refuses(Load), |bytes, _| bytes[4] = 0),
    bytes("version_1", &["version"], Refuses(Load), |bytes, _| bytes[4] = 1),
    bytes("version_99", &["version"], Refuses(Load), |bytes, _| bytes[4] = 99),
    bytes("big_endian", &["version", "endian"], Refuses(Load), |bytes, _| bytes[4..8].reverse()),
    bytes("truncated_magic", TRUNCATED, Refuses(Load), |bytes, _| bytes.truncate(3)),
    bytes("truncated_counts", TRUNCATED, Refuses(Load), |bytes, _| bytes.truncate(20)),
    bytes("truncated_metadata", TRUNCATED, Refuses(Load), |bytes, header| {
        bytes.truncate(header / 2);
    }),
    bytes("truncated_tensor_list", TRUNCATED, Refuses(Load), |bytes, header| {
        bytes.truncate(header - 200);
    }),
    bytes("truncated_before_data", TRUNCATED, Refuses(Load), |bytes, header| {
        bytes.truncate(header);
    }),
    bytes("truncated_data", TRUNCATED, Refuses(Load), |bytes, header| {
        bytes.truncate(usize::midpoint(header, bytes.len()));
    }),
    bytes("last_byte_missing", TRUNCATED, Refuses(Load), |bytes, _| {
        bytes.truncate(bytes.len() - 1);
    }),
    bytes("huge_tensor_count", &["tensor"], Refuses(Load), |bytes, _| patch(bytes, 8, 1 << 40)),
    bytes("negative_tensor_count", &["tensor"], Refuses(Load), |bytes, _| {
        patch(bytes, 8, u64::MAX);
    }),
    bytes("huge_metadata_count", &["metadata", "key"], Refuses(Load), |bytes, _| {
        patch(bytes, 16, 1 << 40);
    }),
    bytes("negative_metadata_count", &["metadata", "key"], Refuses(Load), |bytes, _| {
        patch(bytes, 16, u64::MAX);
    }),
    bytes("huge_string_length", &["string", "length", "key"], Refuses(Load), |bytes, _| {
        patch(bytes, 24, 1 << 40);
    }),
    bytes("max_string_length", &["string", "length", "key"], Refuses(Load), |bytes, _| {
        patch(bytes, 24, u64::MAX);
    }),
];

/// The encoding of metadata, independent of its meaning.
const METADATA: &[Defect] = &[
    file("huge_array_length", &["array", "length", "key"], Refuses(Load), |file| {
        let mut tokens = Value::strings(["a"]);
        patch(&mut tokens.bytes, 4, 1 << 60);
        file.set("tokenizer.ggml.tokens", tokens);
    }),
    file("duplicate_key", &["duplicate", "twice"], Refuses(Load), |file| {
        let pair = file.header.metadata[0].clone();
        file.header.metadata.push(pair);
    }),
    number("empty_key", &["key"], Refuses(Load), "", 1),
    file("unknown_value_type", &["type"], Refuses(Load), |file| {
        file.set("general.other", Value { ty: 99, bytes: vec![0; 8] });
    }),
    file("array_of_arrays", &["type"], Refuses(Load), |file| {
        let mut array = Value::u32s([1]);
        array.bytes[0] = 9;
        file.set("general.other", array);
    }),
    number("alignment_0", &["alignment"], Refuses(Load), "general.alignment", 0),
    // Less than the CPU backend requires of a mapped file.
    number("alignment_1", &["alignment"], Dies(Load), "general.alignment", 1),
    number("alignment_3", &["alignment"], Refuses(Load), "general.alignment", 3),
    number(
        "alignment_huge",
        &["alignment", "truncated", "incomplete"],
        Refuses(Load),
        "general.alignment",
        1 << 31,
    ),
    file("alignment_string", &["alignment"], Refuses(Load), |file| {
        file.set("general.alignment", Value::string("32"));
    }),
    missing("missing_architecture", &["architecture"], Refuses(Load), "general.architecture"),
    file("unknown_architecture", &["architecture"], Refuses(Load), |file| {
        file.set("general.architecture", Value::string("abacus"));
    }),
    number("architecture_number", &["architecture"], Refuses(Load), "general.architecture", 1),
    file("projector_architecture", &["clip", "projector", "architecture"], Refuses(Load), |file| {
        file.set("general.architecture", Value::string("clip"));
    }),
    file("split_others_missing", &["split"], Refuses(Load), |file| {
        file.set("split.count", Value::u16(2));
        file.set("split.no", Value::u16(0));
    }),
    file("split_not_the_first", &["split"], Refuses(Load), |file| {
        file.set("split.count", Value::u16(2));
        file.set("split.no", Value::u16(1));
    }),
    file("split_count_string", &["split", "type"], Refuses(Load), |file| {
        file.set("split.count", Value::string("2"));
    }),
];

/// The list of tensors, and their data.
const TENSORS: &[Defect] = &[
    file("duplicate_tensor", &["duplicate", "twice"], Refuses(Load), |file| {
        file.rename("blk.0.attn_q.weight", "blk.0.attn_output.weight");
    }),
    file("tensor_name_too_long", &["name", "long"], Refuses(Load), |file| {
        file.rename("token_embd.weight", &"x".repeat(64));
    }),
    file("tensor_type_unknown", &["type"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").ty = 200;
    }),
    file("tensor_type_negative", &["type"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").ty = u32::MAX;
    }),
    file("tensor_type_removed", &["type"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").ty = 4; // Q4_2
    }),
    file("tensor_five_dimensions", &["dimension"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").shape = vec![1; 5];
    }),
    file("tensor_no_dimensions", &["dimension", "shape", "offset"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").shape.clear();
    }),
    file("tensor_zero_dimension", &["dimension", "shape", "offset"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").shape[1] = 0;
    }),
    file("tensor_negative_dimension", &["dimension", "elements"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").shape[0] = u64::MAX;
    }),
    file("tensor_size_overflows", &["shape", "size", "overflow"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").shape = vec![1 << 31, 1 << 31, 1 << 31];
    }),
    // The GGUF reader allows one element too many.
    file("tensor_size_at_limit", &["shape", "size", "overflow"], Dies(Load), |file| {
        let last = file.header.tensors.last_mut().expect("a model has tensors");
        last.shape = vec![1 << 31, (1 << 32) - 1];
    }),
    file("tensor_offset_past_end", &["offset"], Refuses(Load), |file| {
        file.tensor("token_embd.weight").offset = 1 << 40;
    }),
    file("last_tensor_offset_past_end", &["offset"], Refuses(Load), |file| {
        let last = file.header.tensors.last_mut().expect("a model has tensors");
        last.offset = u64::MAX - 31;
    }),
    file("tensor_offset_unaligned", &["offset"], Refuses(Load), |file| {
        file.tensor("output_norm.weight").offset += 1;
    }),
    file("tensors_overlap", &["offset"], Refuses(Load), |file| {
        file.tensor("output_norm.weight").offset = 0;
    }),
    file("no_tensors", &["tensor"], Refuses(Load), |file| {
        file.header.tensors.clear();
        file.data.clear();
    }),
    file("missing_token_embd", &["token_embd"], Refuses(Load), |file| {
        file.rename("token_embd.weight", "other.weight");
    }),
    file("missing_block_tensor", &["attn_q"], Refuses(Load), |file| {
        file.rename("blk.1.attn_q.weight", "other.weight");
    }),
    file("extra_tensor", &["tensor"], Refuses(Load), |file| {
        file.header.tensors.push(RawTensor {
            name: "other.weight".to_owned(),
            shape: vec![8],
            ty: 0,
            offset: file.data.len() as u64,
        });
        file.data.extend([0; ALIGNMENT as usize]);
    }),
    file("wrong_shape", &["shape"], Refuses(Load), |file| {
        file.tensor("blk.0.attn_k.weight").shape.reverse();
    }),
    // Types of the same size as those they replace: I16 for F16, I32 for F32.
    file("integer_matrix", &["type"], Dies(Decode), |file| {
        file.tensor("blk.0.attn_q.weight").ty = TensorType::I16.number();
    }),
    file("integer_embedding", &["type"], Dies(Decode), |file| {
        file.tensor("token_embd.weight").ty = TensorType::I16.number();
    }),
    file("integer_norm", &["type"], Dies(Decode), |file| {
        file.tensor("blk.0.attn_norm.weight").ty = TensorType::I32.number();
    }),
    file("half_norm", &["type"], Dies(Decode), |file| {
        file.resize("blk.0.attn_norm.weight", &[64], 128);
        file.tensor("blk.0.attn_norm.weight").ty = TensorType::F16.number();
    }),
    file("quantized_norm", &["type"], Dies(Decode), |file| {
        file.resize("blk.0.attn_norm.weight", &[64], 68);
        file.tensor("blk.0.attn_norm.weight").ty = TensorType::Q8_0.number();
    }),
    file("double_matrix", &["type"], Dies(Decode), |file| {
        file.resize("blk.0.attn_q.weight", &[64, 64], 64 * 64 * 8);
        file.tensor("blk.0.attn_q.weight").ty = TensorType::F64.number();
    }),
    file("weights_not_finite", &["finite", "nan"], NotFinite, |file| file.data.fill(0xff)),
];

const CONTEXT_LENGTH: &str = "llama.context_length";
const WIDTH: &str = "llama.embedding_length";
const BLOCKS: &str = "llama.block_count";
const FEED_FORWARD: &str = "llama.feed_forward_length";
const HEADS: &str = "llama.attention.head_count";
const HEADS_KV: &str = "llama.attention.head_count_kv";
const KEY_LENGTH: &str = "llama.attention.key_length";
const EPSILON: &str = "llama.attention.layer_norm_rms_epsilon";
const ROPE: &str = "llama.rope.dimension_count";
const EXPERTS: &str = "llama.expert_count";
const EXPERTS_USED: &str = "llama.expert_used_count";
const PREDICT: &str = "llama.nextn_predict_layers";

const HYPER_PARAMETERS: &[Defect] = &[
    missing("missing_context_length", &["context_length"], Refuses(Load), CONTEXT_LENGTH),
    number("zero_context_length", &["context"], Refuses(Context), CONTEXT_LENGTH, 0),
    number("huge_context_length", &["context"], Accepts, CONTEXT_LENGTH, u32::MAX),
    missing("missing_embedding_length", &["embedding_length"], Refuses(Load), WIDTH),
    number("zero_embedding_length", &["embedding_length", "rot"], Refuses(Load), WIDTH, 0),
    number("huge_embedding_length", &["embedding_length", "rot"], Refuses(Load), WIDTH, u32::MAX),
    file("string_embedding_length", &["embedding_length"], Refuses(Load), |file| {
        file.set(WIDTH, Value::string("64"));
    }),
    missing("missing_block_count", &["block_count"], Refuses(Load), BLOCKS),
    number("zero_block_count", &["block_count"], Dies(Load), BLOCKS, 0),
    number("fewer_blocks", &["tensor", "block_count"], Refuses(Load), BLOCKS, 1),
    number("more_blocks", &["tensor", "block_count"], Refuses(Load), BLOCKS, 512),
    number("too_many_blocks", &["block_count"], Dies(Load), BLOCKS, 513),
    number("huge_block_count", &["block_count"], Dies(Load), BLOCKS, u32::MAX),
    file("array_block_count", &["block_count"], Refuses(Load), |file| {
        file.set(BLOCKS, Value::u32s([2, 2]));
    }),
    number("zero_feed_forward", &["feed_forward", "ffn"], Refuses(Load), FEED_FORWARD, 0),
    file("zero_feed_forward_tensors", &["feed_forward", "ffn"], Dies(Load), |file| {
        file.set_u32(FEED_FORWARD, 0);
        for block in 0..2 {
            file.resize_f16(&format!("blk.{block}.ffn_gate.weight"), [64, 0]);
            file.resize_f16(&format!("blk.{block}.ffn_up.weight"), [64, 0]);
            file.resize_f16(&format!("blk.{block}.ffn_down.weight"), [0, 64]);
        }
    }),
    missing("missing_head_count", &["head_count", "shape"], Refuses(Load), HEADS),
    number("zero_head_count", &["head_count", "shape"], Refuses(Load), HEADS, 0),
    file("zero_head_count_tensors", &["head_count"], Dies(Load), |file| {
        file.set_u32(HEADS, 0);
        file.set_u32(HEADS_KV, 0);
        file.remove(ROPE);
        for block in 0..2 {
            for part in ["q", "k", "v"] {
                file.resize_f16(&format!("blk.{block}.attn_{part}.weight"), [64, 0]);
            }
            file.resize_f16(&format!("blk.{block}.attn_output.weight"), [0, 64]);
        }
    }),
    number("huge_head_count", &["head_count", "rot"], Refuses(Load), HEADS, u32::MAX),
    number("uneven_head_count", &["head_count", "rot"], Refuses(Load), HEADS, 3),
    file("uneven_head_count_tensors", &["head_count"], Dies(Decode), |file| {
        file.set_u32(HEADS, 3);
        file.set_u32(ROPE, 21);
        for block in 0..2 {
            file.resize_f16(&format!("blk.{block}.attn_q.weight"), [64, 63]);
            file.resize_f16(&format!("blk.{block}.attn_k.weight"), [64, 21]);
            file.resize_f16(&format!("blk.{block}.attn_v.weight"), [64, 21]);
            file.resize_f16(&format!("blk.{block}.attn_output.weight"), [63, 64]);
        }
    }),
    file("head_size_1", &["head_count", "rope"], Dies(Decode), |file| {
        file.set_u32(HEADS, 64);
        file.set_u32(HEADS_KV, 32);
        file.set_u32(ROPE, 1);
    }),
    file("head_counts_array_too_long", &["head_count"], Refuses(Load), |file| {
        file.set(HEADS, Value::u32s([2, 2, 2]));
    }),
    number("zero_head_count_kv", &["head_count_kv", "shape"], Refuses(Load), HEADS_KV, 0),
    number("huge_head_count_kv", &["head_count_kv", "shape"], Refuses(Load), HEADS_KV, u32::MAX),
    // Multiplied by the head size of 32, this wraps around to 32 in 32 bits.
    number("head_count_kv_wraps", &["head_count_kv"], Dies(Context), HEADS_KV, 0xa000_0001),
    file("more_kv_heads_than_heads", &["head_count_kv"], Dies(Context), |file| {
        resize_kv(file, 4);
    }),
    file("kv_heads_do_not_divide_heads", &["head_count_kv"], Dies(Context), |file| {
        resize_kv(file, 3);
    }),
    file("zero_head_count_kv_tensors", &["head_count_kv"], Refuses(Context), |file| {
        resize_kv(file, 0);
    }),
    number("zero_key_length", &["key_length", "rot"], Refuses(Load), KEY_LENGTH, 0),
    missing("missing_norm_epsilon", &["epsilon"], Refuses(Load), EPSILON),
    file("negative_norm_epsilon", &["epsilon"], Dies(Decode), |file| {
        file.set(EPSILON, Value::f32(-1.0));
    }),
    file("norm_epsilon_not_a_number", &["epsilon"], Dies(Decode), |file| {
        file.set(EPSILON, Value::f32(f32::NAN));
    }),
    number("zero_rope_dimensions", &["rope", "rot"], Refuses(Load), ROPE, 0),
    number("odd_rope_dimensions", &["rope", "rot"], Refuses(Load), ROPE, 7),
    file("rope_base_not_a_number", &["rope", "finite"], NotFinite, |file| {
        file.set("llama.rope.freq_base", Value::f32(f32::NAN));
    }),
    file("unknown_rope_scaling", &["rope", "scaling"], Dies(Load), |file| {
        file.set("llama.rope.scaling.type", Value::string("spiral"));
    }),
    number("experts_none_used", &["expert"], Dies(Load), EXPERTS, 4),
    number("experts_used_without_count", &["expert"], Dies(Load), EXPERTS_USED, 2),
    file("more_experts_used_than_exist", &["expert"], Dies(Load), |file| {
        file.set_u32(EXPERTS, 2);
        file.set_u32(EXPERTS_USED, 3);
    }),
    file("huge_expert_count", &["expert"], Dies(Load), |file| {
        file.set_u32(EXPERTS, u32::MAX);
        file.set_u32(EXPERTS_USED, 2);
    }),
    file("missing_expert_tensors", &["expert", "ffn"], Refuses(Load), |file| {
        file.set_u32(EXPERTS, 4);
        file.set_u32(EXPERTS_USED, 2);
    }),
    number("expert_groups_without_experts", &["expert"], Dies(Load), "llama.expert_group_count", 2),
    number("more_predict_layers_than_blocks", &["nextn", "predict"], Dies(Load), PREDICT, 3),
    number("all_blocks_predict", &["nextn", "predict", "tensor"], Refuses(Load), PREDICT, 2),
];

/// Changes the number of KV heads of the model (two heads of size 32), including the tensors.
fn resize_kv(file: &mut File, heads: u32) {
    file.set_u32(HEADS_KV, heads);
    for block in 0..2 {
        for part in ["k", "v"] {
            let name = format!("blk.{block}.attn_{part}.weight");
            file.resize_f16(&name, [64, u64::from(heads) * 32]);
        }
    }
}

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TOKEN_TYPES: &str = "tokenizer.ggml.token_type";
const MERGES: &str = "tokenizer.ggml.merges";

const TOKENIZER: &[Defect] = &[
    missing("missing_tokenizer_model", &["tokenizer"], Refuses(Load), MODEL),
    file("unknown_tokenizer_model", &["tokenizer"], Refuses(Load), |file| {
        file.set(MODEL, Value::string("abacus"));
    }),
    file("unknown_pre_tokenizer", &["tokenizer"], Refuses(Load), |file| {
        file.set("tokenizer.ggml.pre", Value::string("abacus"));
    }),
    missing("missing_tokens", &["token", "vocab"], Refuses(Load), TOKENS),
    file("no_tokens", &["token", "vocab"], Refuses(Load), |file| {
        file.set(TOKENS, Value::strings::<&str>([]));
    }),
    file("no_tokens_no_rows", &["token", "vocab"], Refuses(Decode), |file| {
        file.set(TOKENS, Value::strings::<&str>([]));
        file.resize_f16("token_embd.weight", [64, 0]);
    }),
    file("fewer_tokens_than_rows", &["token", "vocab"], Refuses(Load), |file| {
        file.set(TOKENS, Value::strings(["a", "b"]));
    }),
    file("tokens_are_numbers", &["token"], Refuses(Load), |file| {
        file.set(TOKENS, Value::i32s([1, 2, 3]));
    }),
    file("tokens_not_an_array", &["token"], Refuses(Load), |file| {
        file.set(TOKENS, Value::string("a"));
    }),
    file("duplicate_token", &["token", "duplicate"], Dies(Load), |file| {
        file.set(TOKENS, Value::strings(["a"; 512]));
    }),
    file("empty_tokens", &["token"], Accepts, |file| {
        file.set(TOKENS, Value::strings([""; 512]));
    }),
    file("tokens_not_utf8", &["token", "utf-8"], Accepts, |file| {
        name_tokens(file, |id| vec![0xff, 1 + (id % 200) as u8, 1 + (id / 200) as u8]);
    }),
    // The engine reads tokens up to the first NUL.
    file("tokens_hold_zeros", &["token", "duplicate"], Dies(Load), |file| {
        name_tokens(file, |id| format!("t\0{id}").into());
    }),
    file("tokens_are_no_bytes", &["token", "byte"], Accepts, |file| {
        name_tokens(file, |id| format!("t{id}").into());
    }),
    file("token_types_too_short", &["token"], Refuses(Load), |file| {
        file.set(TOKEN_TYPES, Value::i32s([1, 1]));
    }),
    file("token_types_are_strings", &["token"], Refuses(Load), |file| {
        file.set(TOKEN_TYPES, Value::strings(["a"]));
    }),
    file("byte_tokens_malformed", &["token", "byte", "vocab"], Refuses(Load), |file| {
        file.set(TOKEN_TYPES, Value::i32s([6; 512]));
    }),
    missing("missing_merges", &["merges"], Refuses(Load), MERGES),
    file("merges_are_numbers", &["merges"], Refuses(Load), |file| {
        file.set(MERGES, Value::i32s([1, 2]));
    }),
    file("merges_not_pairs", &["merges"], Accepts, |file| {
        file.set(MERGES, Value::strings(["", " ", "ab", "a b c", "\u{0}"]));
    }),
    number("end_token_out_of_range", &["token"], Accepts, "tokenizer.ggml.eos_token_id", u32::MAX),
    file("sentencepiece_without_bytes", &["token", "byte"], Dies(Tokenize), |file| {
        file.set(MODEL, Value::string("llama"));
    }),
    file("wordpiece_without_its_tokens", &["token"], Accepts, |file| {
        file.set(MODEL, Value::string("bert"));
    }),
    file("unigram_without_begin", &["token"], Dies(Tokenize), |file| {
        file.set(MODEL, Value::string("t5"));
        file.set("tokenizer.ggml.add_bos_token", Value::bool(true));
        file.remove("tokenizer.ggml.bos_token_id");
    }),
    file("rwkv_without_bytes", &["token"], Dies(Tokenize), |file| {
        file.set(MODEL, Value::string("rwkv"));
        name_tokens(file, |id| format!("t{id}").into());
    }),
    file("plamo_without_bytes", &["token", "byte"], Refuses(Load), |file| {
        file.set(MODEL, Value::string("plamo2"));
    }),
    // A model may have no tokenizer, but then it must not receive text.
    file("no_tokenizer", &["tokenizer"], Dies(Tokenize), |file| {
        file.set(MODEL, Value::string("none"));
    }),
    file("no_tokenizer_no_size", &["token", "vocab"], Refuses(Load), |file| {
        file.set(MODEL, Value::string("none"));
        file.remove("llama.vocab_size");
    }),
    file("no_tokenizer_huge_size", &["vocab", "memory"], ExhaustsMemory, |file| {
        file.set(MODEL, Value::string("none"));
        file.set_u32("llama.vocab_size", u32::MAX);
    }),
];

/// Changes the texts of the 512 tokens.
fn name_tokens(file: &mut File, text: fn(usize) -> Vec<u8>) {
    file.set(TOKENS, Value::strings((0..512).map(text)));
}
