//! Memory, which the system may refuse.

use std::hint::black_box;

use crate::{Error, ErrorKind, Result, units};

/// What is left for the many small things that are allocated beside a large one. A program that gets none of these
/// is ended, so that there are enough is looked at before.
const HEADROOM: usize = 32 << 20;

/// Fails where there are not so many bytes to be had, and some to spare: of memory, or of addresses.
pub fn check_memory(bytes: usize) -> Result<()> {
    let wanted = bytes.saturating_add(HEADROOM);
    let mut memory = Vec::<u8>::new();
    // It is given back untouched, and so takes addresses alone.
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
    fn what_is_not_there_is_refused() {
        assert!(check_memory(0).is_ok());
        let error = check_memory(usize::MAX / 4).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
