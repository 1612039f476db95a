//! The kernels of our own in the module that computes on the processor (`kernels/kernels.h`).

use std::ffi::{CStr, c_char, c_int};

/// `mullama_kernels` of the header.
#[derive(Debug)]
#[repr(C)]
struct Table {
    name: [c_char; 16],
    instruction_set: *const c_char,
    chosen: extern "C" fn() -> c_int,
    choose: extern "C" fn(c_int),
}

unsafe extern "C" {
    fn mullama_kernels_find() -> *const Table;
}

/// The kernels of the module that is loaded.
#[derive(Debug, Clone, Copy)]
pub struct Kernels(&'static Table);

impl Kernels {
    /// The kernels, where the module has any. Modules must have been loaded.
    pub fn find() -> Option<Self> {
        // SAFETY: the registry is only read; the table is a constant of the module, which is never unloaded.
        unsafe { mullama_kernels_find().as_ref() }.map(Self)
    }

    /// The instructions that they are compiled for: `AVX2`, `AVX-512 VNNI`.
    pub fn instruction_set(self) -> &'static str {
        // SAFETY: a constant of the module, in ASCII.
        unsafe { CStr::from_ptr(self.0.instruction_set) }.to_str().unwrap_or_default()
    }

    /// Whether what this thread asks of the engine is done by them, and not by the engine's own.
    pub fn chosen(self) -> bool {
        (self.0.chosen)() != 0
    }

    /// Chooses them, or the engine's own, for what this thread asks from now on: models that it loads, and the attention
    /// of contexts that it computes with. Nothing takes a choice back, and leaves it to `MULLAMA_KERNELS`.
    pub fn choose(self, own: Option<bool>) {
        (self.0.choose)(own.map_or(-1, c_int::from));
    }
}
