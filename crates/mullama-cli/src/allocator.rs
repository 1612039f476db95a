//! Ends the command when memory for small allocations runs out.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Write as _, stderr};

use mullama::ErrorKind;

use crate::terminal::end;

/// The system's allocator. If a small allocation fails, the command cannot continue. It ends with the exit status for
/// lack of memory, whereas Rust would abort with a signal.
pub struct ExitOnOutOfMemory;

/// Size in bytes from which failed allocations are returned to the caller, who may be able to handle them.
const MAX_FATAL_SIZE: usize = 16 << 20;

// SAFETY: all calls are forwarded to the system's allocator.
unsafe impl GlobalAlloc for ExitOnOutOfMemory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller guarantees the requirements, here and below.
        exit_if_null(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        exit_if_null(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        exit_if_null(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn exit_if_null(pointer: *mut u8, size: usize) -> *mut u8 {
    if pointer.is_null() && size < MAX_FATAL_SIZE {
        let _ = stderr().write_all(b"error: there is no more memory\n");
        end(ErrorKind::OutOfMemory.exit_status().into());
    }
    pointer
}
