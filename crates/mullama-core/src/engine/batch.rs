//! The tokens of one step.

use std::ptr;

use mullama_sys as sys;

use crate::Token;

/// A sequence of the context. Each running request has one.
pub(crate) type SeqId = sys::llama_seq_id;

/// The tokens of one step.
#[derive(Default)]
pub(crate) struct Batch {
    tokens: Vec<Token>,
    positions: Vec<sys::llama_pos>,
    sequences: Vec<SeqId>,
    outputs: Vec<i8>,
    // Arrays that the engine's struct requires: one sequence id per token.
    sequence_counts: Vec<i32>,
    sequence_pointers: Vec<*mut SeqId>,
}

impl Batch {
    pub fn clear(&mut self) {
        self.tokens.clear();
        self.positions.clear();
        self.sequences.clear();
        self.outputs.clear();
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Appends a token of a sequence at a position and returns its index in the batch.
    pub fn add(&mut self, token: Token, position: usize, sequence: SeqId, output: bool) -> usize {
        self.tokens.push(token);
        self.positions.push(position as sys::llama_pos);
        self.sequences.push(sequence);
        self.outputs.push(output.into());
        self.tokens.len() - 1
    }

    /// The engine's struct for this batch. If `embeddings` (one row per token) are set, they replace the tokens; the
    /// engine only reads them.
    pub(super) fn raw(&mut self, embeddings: Option<&[f32]>) -> sys::llama_batch {
        self.sequence_counts.resize(self.tokens.len(), 1);
        self.sequence_pointers.clear();
        self.sequence_pointers.extend(self.sequences.iter_mut().map(ptr::from_mut));
        sys::llama_batch {
            n_tokens: self.tokens.len() as i32,
            token: if embeddings.is_some() { ptr::null_mut() } else { self.tokens.as_mut_ptr() },
            embd: embeddings.map_or(ptr::null_mut(), |rows| rows.as_ptr().cast_mut()),
            pos: self.positions.as_mut_ptr(),
            n_seq_id: self.sequence_counts.as_mut_ptr(),
            seq_id: self.sequence_pointers.as_mut_ptr(),
            logits: self.outputs.as_mut_ptr(),
        }
    }
}
