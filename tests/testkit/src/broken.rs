//! Model files that a loader must reject, each with one defect.
//!
//! The engine itself rejects most of them with a null pointer and a line in its log. With others,
//! it ends the process ([`Verdict::Dies`]): these must be detected before they reach it. It accepts
//! a few, which need not be rejected but must do no harm.

mod defects;

use std::io;

use crate::gguf::{ALIGNMENT, File, RawTensor, Value};
use crate::probe::Verdict;

/// A broken file.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The name of the defect, usable as a file name.
    pub name: &'static str,
    /// The contents of the file.
    pub bytes: Vec<u8>,
    /// Words in lower case, of which a good error message contains at least one.
    pub expect: &'static [&'static str],
    /// The behaviour of the bare engine for the file.
    pub engine: Verdict,
}

/// Returns variants of a valid file, one for each known defect.
///
/// `good` must be the preset `tiny`, on whose shape some defects rely. Fails if it is unreadable.
pub fn variants(good: &[u8]) -> io::Result<impl Iterator<Item = Broken>> {
    let file = File::decode(good)?;
    Ok(defects::all().map(move |defect| Broken {
        name: defect.name,
        bytes: defect.edit.apply(file.clone()),
        expect: defect.expect,
        engine: defect.engine,
    }))
}

struct Defect {
    name: &'static str,
    expect: &'static [&'static str],
    engine: Verdict,
    edit: Edit,
}

enum Edit {
    /// Changes a hyper-parameter.
    Number(&'static str, u32),
    /// Removes a metadata entry.
    Missing(&'static str),
    File(fn(&mut File)),
    /// Receives the bytes of the valid file and the length of its header.
    Bytes(fn(&mut Vec<u8>, usize)),
}

impl Edit {
    fn apply(&self, mut file: File) -> Vec<u8> {
        match *self {
            Self::Number(key, value) => file.set_u32(key, value),
            Self::Missing(key) => file.remove(key),
            Self::File(edit) => edit(&mut file),
            Self::Bytes(edit) => {
                let header = file.header.encode().len();
                let mut bytes = file.encode();
                edit(&mut bytes, header);
                return bytes;
            }
        }
        file.encode()
    }
}

/// Helpers for edits.
impl File {
    fn set(&mut self, key: &str, value: Value) {
        self.header.set(key, value);
    }

    fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, Value::u32(value));
    }

    fn remove(&mut self, key: &str) {
        self.header.remove(key);
    }

    fn tensor(&mut self, name: &str) -> &mut RawTensor {
        let mut tensors = self.header.tensors.iter_mut();
        tensors.find(|tensor| tensor.name == name).expect("a llama model has this tensor")
    }

    fn rename(&mut self, tensor: &str, name: &str) {
        name.clone_into(&mut self.tensor(tensor).name);
    }

    /// Changes the shape of a tensor, whose size becomes `bytes`, and moves the following tensors.
    fn resize(&mut self, name: &str, shape: &[u64], bytes: u64) {
        let start = self.tensor(name).offset;
        let next = self.header.tensors.iter().map(|tensor| tensor.offset);
        let end = next.filter(|offset| *offset > start).min().unwrap_or(self.data.len() as u64);
        let padded = bytes.next_multiple_of(ALIGNMENT);
        let zeros = vec![0; padded as usize];
        self.data.splice(start as usize..end as usize, zeros);
        for tensor in &mut self.header.tensors {
            if tensor.offset > start {
                tensor.offset = tensor.offset + padded - (end - start);
            }
        }
        self.tensor(name).shape = shape.to_vec();
    }

    /// Like [`Self::resize`], for matrices of 16-bit floats.
    fn resize_f16(&mut self, name: &str, shape: [u64; 2]) {
        self.resize(name, &shape, shape[0] * shape[1] * 2);
    }
}
