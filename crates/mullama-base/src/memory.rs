//! Checks whether memory is available.

use std::hint::black_box;

use crate::{Error, ErrorKind, Result, units};

/// Reserve in bytes for small allocations next to a large one. If one of them fails, the process aborts, so the check
/// includes them.
const HEADROOM: usize = 32 << 20;

/// Fails if the given number of bytes, plus a reserve, cannot be allocated, for lack of memory or address space.
pub fn check_memory(bytes: usize) -> Result<()> {
    let wanted = bytes.saturating_add(HEADROOM);
    let mut memory = Vec::<u8>::new();
    // The pages are never touched, so this only uses address space.
    let refused = memory.try_reserve_exact(wanted).is_err();
    black_box(&mut memory);
    if !refused {
        return Ok(());
    }
    let message = format!("not enough memory: {} more are needed", units::memory(wanted as u64));
    Err(Error::new(ErrorKind::OutOfMemory, message)
        .with_hint("end other programs, or raise the limit of address space (ulimit -v)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocations_beyond_available_memory_are_rejected() {
        assert!(check_memory(0).is_ok());
        let error = check_memory(usize::MAX / 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
