//! The header reader returns the same as the engine's.

use std::ffi::CStr;
use std::fs;
use std::ptr;

use mullama_gguf::{GgufHeader, MetadataValue};
use mullama_sys as sys;
use mullama_testkit::gguf::File;
use mullama_testkit::{broken, fixture};

/// The compared parts of a header.
#[derive(Debug, PartialEq)]
struct Read {
    alignment: u64,
    data_offset: u64,
    keys: Vec<String>,
    /// Name, type, offset and size.
    tensors: Vec<(String, u32, u64, u64)>,
}

/// Reads a header with the engine; `None` if it rejects the file.
fn by_the_engine(bytes: &[u8]) -> Option<Read> {
    // SAFETY: the engine's strings are NUL-terminated, and live as long as their header.
    let text = |text| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    // SAFETY: the length is that of `bytes`; indices are below the counts; the header is freed once, after use.
    unsafe {
        let params = sys::gguf_init_params { no_alloc: true, ctx: ptr::null_mut() };
        let header = sys::gguf_init_from_buffer(bytes.as_ptr().cast(), bytes.len(), params);
        if header.is_null() {
            return None;
        }
        let keys = (0..sys::gguf_get_n_kv(header)).map(|i| text(sys::gguf_get_key(header, i)));
        let tensors = (0..sys::gguf_get_n_tensors(header)).map(|i| {
            let name = text(sys::gguf_get_tensor_name(header, i));
            let ty = sys::gguf_get_tensor_type(header, i);
            let size = sys::gguf_get_tensor_size(header, i) as u64;
            (name, ty, sys::gguf_get_tensor_offset(header, i) as u64, size)
        });
        let read = Read {
            alignment: sys::gguf_get_alignment(header) as u64,
            data_offset: sys::gguf_get_data_offset(header) as u64,
            keys: keys.collect(),
            tensors: tensors.collect(),
        };
        sys::gguf_free(header);
        Some(read)
    }
}

/// Returns whether the header is accepted. If it is, the engine must read the same.
fn agrees(bytes: &[u8], about: &str) -> bool {
    let Ok(header) = GgufHeader::from_reader(bytes, bytes.len() as u64, "it") else { return false };
    let theirs = by_the_engine(bytes).unwrap_or_else(|| panic!("{about}: the engine refuses it"));
    let tensors = header.tensors.iter();
    let ours = Read {
        alignment: header.alignment,
        data_offset: header.data_offset,
        keys: header.metadata.iter().map(|(key, _)| key.clone()).collect(),
        tensors: tensors.map(|t| (t.name.clone(), t.ty.number(), t.offset, t.size)).collect(),
    };
    // The engine returns names up to the first NUL.
    if !format!("{ours:?}").contains("\\0") {
        assert_eq!(ours, theirs, "{about}");
    }
    true
}

#[test]
fn engine_and_reader_agree_on_headers() {
    // SAFETY: the callback is a function.
    unsafe { sys::llama_log_set(Some(hear_nothing), ptr::null_mut()) };
    for name in ["vocab", "tiny", "encoder", "moe", "recurrent", "small"] {
        let bytes = fs::read(fixture(name)).unwrap();
        assert!(agrees(&bytes, name));
    }
    let good = fs::read(fixture("tiny")).unwrap();
    let refused = broken::variants(&good).unwrap().filter(|file| !agrees(&file.bytes, file.name));
    assert!(refused.count() > 40);

    // Changes each byte of the header of a file with a short vocabulary to several other values.
    let mut file = File::decode(&good).unwrap();
    for key in ["tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges"] {
        file.header.set(key, mullama_testkit::gguf::Value::strings(["a", "b"]));
    }
    let bytes = file.encode();
    let end = file.header.encode().len();
    let mut read = 0;
    for place in 0..end {
        for change in [1, 2, 0x20, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[place] ^= change;
            read += u32::from(agrees(&damaged, &format!("byte {place} ^ {change}")));
        }
    }
    assert!(read > 1000, "{read}");
}

#[test]
fn written_texts_are_read_back() {
    let bytes = fs::read(fixture("tiny")).unwrap();
    let header = GgufHeader::from_reader(&bytes[..], bytes.len() as u64, "it").unwrap();
    assert_eq!(header.text("tokenizer.chat_template"), Some(mullama_testkit::CHAT_TEMPLATE));
    let tokens = header.get("tokenizer.ggml.tokens");
    assert!(matches!(tokens, Some(MetadataValue::Array { length: 512, .. })), "{tokens:?}");
}

unsafe extern "C" fn hear_nothing(
    _level: sys::ggml_log_level,
    _text: *const std::ffi::c_char,
    _data: *mut std::ffi::c_void,
) {
}
