//! What the command does where the system has no memory for it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Write as _, stderr};

use mullama::ErrorKind;

use crate::terminal::end;

/// The system's allocator. Where it has no room for a small thing there is nothing that the command could go on
/// with: it ends with the status of that, where Rust would end it by a signal.
pub struct OrEnd;

/// Larger things are refused to whoever asks: some can do without.
const SMALL: usize = 16 << 20;

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for OrEnd {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises, here and below.
        or_end(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        or_end(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn or_end(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() && size < SMALL {
        let _ = stderr().write_all(b"error: there is no more memory\n");
        end(ErrorKind::OutOfMemory.exit_status().into());
    }
    pointer
}
