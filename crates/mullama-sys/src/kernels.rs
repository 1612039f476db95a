//! Our own kernels in the CPU module (`kernels/kernels.h`).

use std::ffi::{CStr, c_char, c_int};

/// `mullama_kernels` in the header.
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

/// The kernels of the loaded CPU module.
#[derive(Debug, Clone, Copy)]
pub struct Kernels(&'static Table);

impl Kernels {
    /// Returns the kernels, if the module has them. Modules must have been loaded.
    pub fn find() -> Option<Self> {
        // SAFETY: the registry is only read; the table is a constant of the module, which is never unloaded.
        unsafe { mullama_kernels_find().as_ref() }.map(Self)
    }

    /// The instruction set that they are compiled for: `AVX2`, `AVX-512 VNNI`.
    pub fn instruction_set(self) -> &'static str {
        // SAFETY: an ASCII constant of the module.
        unsafe { CStr::from_ptr(self.0.instruction_set) }.to_str().unwrap_or_default()
    }

    /// Whether the calling thread uses our kernels instead of the engine's.
    pub fn chosen(self) -> bool {
        (self.0.chosen)() != 0
    }

    /// Selects our kernels or the engine's for models that the calling thread loads from now on, and for the attention
    /// of contexts that it computes with. None restores the default from `MULLAMA_KERNELS`.
    pub fn choose(self, own: Option<bool>) {
        (self.0.choose)(own.map_or(-1, c_int::from));
    }
}
