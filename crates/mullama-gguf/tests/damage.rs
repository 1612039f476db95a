//! Headers with every kind of damage: each causes an error that describes it.

use mullama_gguf::{
    Document, ErrorKind, GgufHeader, MAX_HEADER_SIZE, MetadataValue, RawTensor, TensorType, Value,
};

/// A model with a value of each type, tensors of several types, and data.
fn model() -> Document {
    let mut document = Document::default();
    document.set("general.architecture", Value::string("llama"));
    document.set("general.file_type", Value::u32(15));
    document.set("llama.block_count", Value::u32(2));
    document.set("llama.rope.freq_base", Value::f32(10_000.0));
    document.set("tokenizer.ggml.add_bos_token", Value::bool(true));
    document.set("tokenizer.ggml.tokens", Value::strings(["a", "bc", "", "ünï"]));
    document.set("tokenizer.ggml.scores", Value::f32s([0.0, 1.0, 2.0, 3.0]));
    document.set("tokenizer.ggml.token_type", Value::i32s([1, 1, 3, 6]));
    document.set("split.count", Value::u16(1));
    document.add_tensor("token_embd.weight", TensorType::F16, &[64, 4]);
    document.add_tensor("output_norm.weight", TensorType::F32, &[64, 1]);
    document.add_tensor("blk.0.attn_q.weight", TensorType::Q4_K, &[256, 2]);
    document.add_tensor("blk.0.ffn_up_exps.weight", TensorType::Q8_0, &[32, 3, 2]);
    document.lay_out().unwrap();
    document
}

/// The bytes of the file, with tensor data of zeros.
fn file(document: &Document) -> Vec<u8> {
    let mut bytes = document.encode();
    let length = bytes.len() + document.clone().lay_out().unwrap() as usize;
    bytes.resize(length, 0);
    bytes
}

fn read(bytes: &[u8]) -> mullama_gguf::Result<GgufHeader> {
    GgufHeader::from_reader(bytes, bytes.len() as u64, "model.gguf")
}

/// The error message for a file that must be refused.
fn refusal(bytes: &[u8]) -> String {
    let error = read(bytes).expect_err("a damaged file is refused");
    assert_eq!(error.kind(), ErrorKind::InvalidModel, "{error:?}");
    assert!(error.to_string().starts_with("model.gguf "), "{error}");
    assert!(error.hint().is_some(), "{error:?}");
    error.to_string()
}

fn refusal_of(change: impl FnOnce(&mut Document)) -> String {
    let mut document = model();
    let data = document.clone().lay_out().unwrap() as usize;
    change(&mut document);
    let mut bytes = document.encode();
    bytes.resize(bytes.len() + data, 0);
    refusal(&bytes)
}

#[test]
fn valid_files_are_read() {
    let bytes = file(&model());
    let header = read(&bytes).unwrap();
    assert_eq!((header.version, header.file_size), (3, bytes.len() as u64));
    assert_eq!(header.text("general.architecture"), Some("llama"));
    assert_eq!(header.architecture_number("block_count"), Some(2));
    assert_eq!(header.quantisation(), Some("Q4_K_M"));
    assert_eq!(header.get("llama.rope.freq_base"), Some(&MetadataValue::Float(10_000.0)));
    assert_eq!(header.get("tokenizer.ggml.add_bos_token"), Some(&MetadataValue::Bool(true)));
    let tokens = header.get("tokenizer.ggml.tokens");
    assert!(matches!(tokens, Some(MetadataValue::Array { length: 4, .. })), "{tokens:?}");
    let about: Vec<_> =
        header.tensors.iter().map(|t| (t.ty.name(), t.shape.as_slice(), t.size)).collect();
    let expected: [(&str, &[u64], u64); 4] = [
        ("f16", &[64, 4], 512),
        ("f32", &[64], 256),
        ("q4_K", &[256, 2], 288),
        ("q8_0", &[32, 3, 2], 204),
    ];
    assert_eq!(about, expected);
    let last = header.tensors.last().unwrap();
    assert_eq!(header.data_offset % header.alignment, 0);
    assert_eq!(
        (header.data_offset + last.offset + last.size).next_multiple_of(32),
        header.file_size
    );
    let json = serde_json::to_value(&header).unwrap();
    assert_eq!(json["tensors"][2]["ty"], "q4_K");
    assert_eq!(json["metadata"][5][1]["length"], 4);
    assert_eq!(json.as_object().unwrap().len(), 4);

    assert_eq!(Document::decode(&bytes).unwrap(), model());
    assert_eq!(Document::decode(&bytes).unwrap().encode(), model().encode());
}

#[test]
fn numbers_of_each_type_are_read() {
    let mut document = Document::default();
    let types: [(u32, &[u8], MetadataValue); 9] = [
        (0, &[200], MetadataValue::Int(200)),
        (1, &[0xff], MetadataValue::Int(-1)),
        (2, &[0xff, 0xff], MetadataValue::Int(65_535)),
        (3, &[0xfe, 0xff], MetadataValue::Int(-2)),
        (5, &[0xff; 4], MetadataValue::Int(-1)),
        (10, &[0xff; 8], MetadataValue::Uint(u64::MAX)),
        (10, &[1, 0, 0, 0, 0, 0, 0, 0], MetadataValue::Int(1)),
        (11, &[0xff; 8], MetadataValue::Int(-1)),
        (12, &[0, 0, 0, 0, 0, 0, 0xf0, 0x3f], MetadataValue::Float(1.0)),
    ];
    for (index, (ty, bytes, _)) in types.iter().enumerate() {
        document.set(index.to_string(), Value { ty: *ty, bytes: bytes.to_vec() });
    }
    let header = read(&file(&document)).unwrap();
    for ((_, _, expected), (_, value)) in types.iter().zip(&header.metadata) {
        assert_eq!(value, expected);
    }
}

#[test]
fn truncated_files_are_incomplete() {
    let bytes = file(&model());
    let header = read(&bytes).unwrap();
    let data = header.data_offset as usize;
    let last = header.tensors.last().unwrap();
    let end = data + (last.offset + last.size) as usize;
    for length in 0..bytes.len() {
        let cut = &bytes[..length];
        // The padding after the last tensor may be missing.
        if length >= end {
            assert!(read(cut).is_ok(), "{length}");
            continue;
        }
        let said = refusal(cut);
        assert!(said.contains("incomplete"), "cut at {length}: {said}");
        // A prefix of a longer file needs more bytes.
        let begun = GgufHeader::from_prefix(cut, bytes.len() as u64, "model.gguf").unwrap();
        let whole = header_end(&bytes);
        assert_eq!(begun.is_some(), length >= whole, "{length}");
        if let Some(begun) = begun {
            assert_eq!(begun.data_offset, header.data_offset);
            assert_eq!(begun.tensors, header.tensors);
        }
        // The metadata may be complete even though the tensors are not.
        let _ = Document::decode(cut);
    }
}

/// The end of the list of tensors.
fn header_end(bytes: &[u8]) -> usize {
    let name = b"blk.0.ffn_up_exps.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    at + name.len() + 4 + 3 * 8 + 4 + 8
}

#[test]
fn single_bit_flips_never_panic() {
    let bytes = file(&model());
    let end = header_end(&bytes);
    let mut refused = 0;
    for place in 0..end {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1 << bit;
            match read(&damaged) {
                Ok(_) => {}
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::InvalidModel);
                    refused += 1;
                }
            }
            let _ = Document::decode(&damaged);
        }
    }
    assert!(refused > end * 2, "{refused} of {}", end * 8);
}

#[test]
fn oversized_counts_and_lengths_are_rejected() {
    let bytes = file(&model());
    let first_key = 24;
    for place in [8, 16, first_key] {
        for huge in [1 << 20, 1 << 32, 1 << 40, 1 << 63, u64::MAX / 2, u64::MAX] {
            let mut damaged = bytes.clone();
            damaged[place..place + 8].copy_from_slice(&u64::to_le_bytes(huge));
            let said = refusal(&damaged);
            let expected = if place == first_key { "length" } else { "more than" };
            assert!(said.contains(expected), "{said}");
            // The limit does not depend on the size of the file.
            let long = GgufHeader::from_prefix(&damaged, u64::MAX, "m");
            assert!(long.is_err() || huge < MAX_HEADER_SIZE, "{huge} at {place}");
        }
    }
}

#[test]
fn foreign_magic_and_versions_are_rejected() {
    let with = |start: &[u8]| {
        let mut bytes = file(&model());
        bytes[..start.len()].copy_from_slice(start);
        refusal(&bytes)
    };
    assert!(with(b"PK\x03\x04").contains("is not a GGUF file"));
    assert!(with(b"GGML").contains("\"GGML\""));
    for version in [0_u32, 1, 4, 99, 3_u32.swap_bytes(), u32::MAX] {
        let said = with(&[b"GGUF".as_slice(), &version.to_le_bytes()].concat());
        assert!(said.contains(&format!("version {version};")), "{said}");
    }
    // Version 2 is read like version 3.
    let mut bytes = file(&model());
    bytes[4] = 2;
    assert_eq!(read(&bytes).unwrap().version, 2);
}

#[test]
fn invalid_metadata_is_rejected() {
    let set = |key: &str, value: Value| refusal_of(|document| document.set(key, value));
    assert!(set("", Value::u32(1)).contains("key"));
    assert!(set(&"k".repeat(70_000), Value::u32(1)).contains("key"));
    let twice = refusal_of(|document| {
        let pair = document.metadata[0].clone();
        document.metadata.push(pair);
    });
    assert!(twice.contains("general.architecture appears twice"), "{twice}");
    let raw = |ty, bytes: &[u8]| Value { ty, bytes: bytes.to_vec() };
    assert!(set("other", raw(13, &[0; 8])).contains("unknown type 13"));
    assert!(set("other", raw(u32::MAX, &[0; 8])).contains("unknown type"));
    let list = |ty: u32, length: u64| {
        raw(9, &[&ty.to_le_bytes()[..], &length.to_le_bytes(), &[0; 64]].concat())
    };
    assert!(set("other", list(9, 1)).contains("list of lists"));
    assert!(set("other", list(13, 1)).contains("unknown type 13"));
    for length in [1 << 20, 1 << 60, 1 << 61, u64::MAX] {
        for ty in [0, 4, 8, 12] {
            assert!(set("other", list(ty, length)).contains("array"), "{length} of {ty}");
        }
    }
    // A string in an array that is longer than the file.
    let texts = [&8_u32.to_le_bytes()[..], &1_u64.to_le_bytes(), &u64::MAX.to_le_bytes()].concat();
    assert!(set("other", raw(9, &texts)).contains("ends too soon"));
    let long = [&(1_u64 << 40).to_le_bytes()[..], b"text"].concat();
    assert!(set("other", raw(8, &long)).contains("string has a length"));
    for alignment in [0, 3, 48, u32::MAX] {
        assert!(set("general.alignment", Value::u32(alignment)).contains("alignment"));
    }
    for alignment in [Value::u16(32), Value::string("32"), Value::f32(32.0)] {
        assert!(set("general.alignment", alignment).contains("alignment"));
    }
    let wide = set("general.alignment", Value::u32(1 << 31));
    assert!(wide.contains("offset") || wide.contains("incomplete"), "{wide}");
}

#[test]
fn invalid_utf8_is_replaced_in_texts_and_rejected_in_names() {
    let mut document = model();
    document.set("general.name", Value::string([b'a', 0xff, b'b']));
    document.set("tokenizer.ggml.tokens", Value::strings([[0xff, 0xfe]]));
    let bytes = file(&document);
    let header = read(&bytes).unwrap();
    assert_eq!(header.text("general.name"), Some("a\u{fffd}b"));
    // Encoding restores the original bytes.
    assert_eq!(Document::decode(&bytes).unwrap().encode(), document.encode());
    for name in [b"token_embd", b"llama.rope"] {
        let mut damaged = bytes.clone();
        let at = damaged.windows(10).position(|window| window == name).unwrap();
        damaged[at] = 0xff;
        assert!(refusal(&damaged).contains("not valid UTF-8"));
    }
}

#[test]
fn invalid_tensor_entries_are_rejected() {
    let tensor = |change: fn(&mut RawTensor)| refusal_of(|d| change(&mut d.tensors[0]));
    let unknown = tensor(|tensor| tensor.ty = 200);
    assert!(unknown.contains("token_embd.weight has the unknown type 200"), "{unknown}");
    assert!(tensor(|tensor| tensor.ty = 4).contains("type"));
    assert!(tensor(|tensor| tensor.name = "x".repeat(64)).contains("too long"));
    assert!(tensor(|tensor| tensor.name = "blk.0.attn_q.weight".into()).contains("twice"));
    assert!(tensor(|tensor| tensor.shape = vec![1; 5]).contains("5 dimensions"));
    assert!(tensor(|tensor| tensor.shape = vec![u64::MAX]).contains("too many elements"));
    assert!(tensor(|tensor| tensor.shape = vec![1 << 31; 3]).contains("shape"));
    assert!(tensor(|tensor| tensor.shape = vec![1 << 31, 1 << 31]).contains("offset"));
    let wide = refusal_of(|document| document.tensors[1].shape = vec![1 << 31, 1 << 31]);
    assert!(wide.contains("overflow"), "{wide}");
    assert!(tensor(|tensor| tensor.shape = vec![0, u64::MAX, u64::MAX]).contains("elements"));
    assert!(tensor(|tensor| tensor.shape.clear()).contains("offset"));
    assert!(tensor(|tensor| tensor.shape[1] = 0).contains("offset"));
    assert!(tensor(|tensor| tensor.offset = 1).contains("offset 1"));
    assert!(tensor(|tensor| tensor.offset = u64::MAX).contains("offset"));
    let row = refusal_of(|document| document.tensors[2].shape = vec![255, 2]);
    assert!(row.contains("rows") && row.contains("256"), "{row}");
    let last = refusal_of(|document| document.tensors[3].shape = vec![32, 1 << 40]);
    assert!(last.contains("is incomplete") && last.contains("ffn_up_exps"), "{last}");
    let beyond = refusal_of(|document| {
        document.tensors.truncate(2);
        document.tensors[1].shape = vec![(1 << 62) - 256];
    });
    assert!(beyond.contains("ends at byte 2^64"), "{beyond}");
}

#[test]
fn custom_alignment_is_respected() {
    let mut document = model();
    document.alignment = 256;
    document.set("general.alignment", Value::u32(256));
    document.lay_out().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.gguf");
    document.write_sparse(&path).unwrap();
    let header = GgufHeader::read(&path).unwrap();
    assert_eq!((header.alignment, header.data_offset % 256), (256, 0));
    assert_eq!(Document::read(&path).unwrap(), document);
}

#[test]
fn metadata_is_read_despite_unknown_tensor_types() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.gguf");
    let mut document = model();
    document.tensors[0].ty = 77;
    std::fs::write(&path, document.encode()).unwrap();
    let header = GgufHeader::read_metadata(&path).unwrap();
    assert_eq!(header.text("general.architecture"), Some("llama"));
    assert!(header.tensors.is_empty());
    let error = GgufHeader::read(&path).unwrap_err();
    assert!(error.to_string().contains("new.gguf") && error.get("path").is_some(), "{error:?}");
    assert_eq!(Document::decode(&document.encode()).unwrap().tensors[0].ty, 77);
    assert!(document.lay_out().is_err());
}

#[test]
fn unreadable_paths_report_their_kind() {
    let folder = tempfile::tempdir().unwrap();
    let kind = |path: &std::path::Path| GgufHeader::read(path).unwrap_err().kind();
    assert_eq!(kind(folder.path()), ErrorKind::InvalidModel);
    assert_eq!(kind(&folder.path().join("missing.gguf")), ErrorKind::NotFound);
    let empty = folder.path().join("empty.gguf");
    std::fs::write(&empty, "").unwrap();
    assert_eq!(kind(&empty), ErrorKind::InvalidModel);
    assert_eq!(kind(&empty.join("below.gguf")), ErrorKind::NotFound);
}

#[test]
fn the_files_of_a_split_model_are_read_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |index| folder.path().join(format!("m-{index:05}-of-00002.gguf"));
    let mut document = model();
    document.set("split.count", Value::u16(2));
    document.write_sparse(path(1)).unwrap();
    assert_eq!(GgufHeader::read_split(path(1)).unwrap_err().kind(), ErrorKind::NotFound);
    let mut second = Document::default();
    second.add_tensor("output.weight", TensorType::F16, &[64, 4]);
    second.write_sparse(path(2)).unwrap();
    let header = GgufHeader::read_split(path(1)).unwrap();
    assert_eq!(header.tensors.len(), 5);
    let size = |index| std::fs::metadata(path(index)).unwrap().len();
    assert_eq!(header.file_size, size(1) + size(2));
    // A file with another name is not a shard.
    assert!(header.other_shards(&folder.path().join("m.gguf")).is_empty());
}
