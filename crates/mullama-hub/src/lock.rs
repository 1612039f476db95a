//! File locks between threads and processes.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::{FileExt, TryLockError};

use crate::io_error::io_error;
use crate::{CancelToken, ErrorKind, Result};

const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A file lock. The system releases it when the process ends, for whatever reason.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
    transient: bool,
}

impl Lock {
    /// Waits for the lock on this file, which is not deleted afterwards.
    pub fn permanent(path: &Path) -> Result<Self> {
        Self::take(path, false, &CancelToken::new(), &mut || ())
    }

    /// Waits for the lock on this file, and deletes the file on release where possible. `waiting`
    /// is called at each poll.
    pub fn transient(path: &Path, cancel: &CancelToken, waiting: &mut dyn FnMut()) -> Result<Self> {
        Self::take(path, true, cancel, waiting)
    }

    /// Takes the lock on this file if it is free.
    pub fn free(path: &Path) -> Result<Option<Self>> {
        let cancel = CancelToken::new();
        match Self::take(path, true, &cancel, &mut || cancel.cancel()) {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.kind() == ErrorKind::Cancelled => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn take(
        path: &Path,
        transient: bool,
        cancel: &CancelToken,
        waiting: &mut dyn FnMut(),
    ) -> Result<Self> {
        let fail = |error| io_error("lock", path, error);
        loop {
            cancel.check()?;
            // Opening through a link would create the file elsewhere.
            if std::fs::symlink_metadata(path).is_ok_and(|found| !found.is_file()) {
                let problem =
                    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
                return Err(fail(problem).with_hint("delete it"));
            }
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)
                .map_err(fail)?;
            loop {
                match FileExt::try_lock(&file) {
                    Ok(()) => break,
                    Err(TryLockError::WouldBlock) => {
                        waiting();
                        cancel.sleep(POLL_INTERVAL)?;
                    }
                    Err(TryLockError::Error(error)) => return Err(fail(error)),
                }
            }
            // The previous owner may have deleted the file meanwhile: a lock on a deleted file is
            // useless, so try again.
            if is_at(&file, path) {
                return Ok(Self { file, path: path.to_owned(), transient });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.transient && cfg!(unix) {
            let _ = std::fs::remove_file(&self.path);
        }
        let _ = FileExt::unlock(&self.file);
    }
}

/// Whether the open file is the one at this path.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |data: &std::fs::Metadata| (data.dev(), data.ino());
    matches!((file.metadata(), path.metadata()), (Ok(a), Ok(b)) if id(&a) == id(&b))
}

/// Without inode numbers, deletion cannot be detected, so lock files are not deleted.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn lock_excludes_others_although_its_file_is_recreated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let (inside, entries) = (Arc::new(AtomicU32::new(0)), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let lock = Lock::transient(&path, &CancelToken::new(), &mut || ()).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::sleep(Duration::from_millis(1));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        entries.fetch_add(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(entries.into_inner(), 40);
        assert_eq!(path.exists(), !cfg!(unix));
    }

    #[test]
    fn a_wait_can_be_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let _held = Lock::permanent(&path).unwrap();
        let cancel = CancelToken::new();
        let mut waits = 0;
        let error = Lock::transient(&path, &cancel, &mut || {
            waits += 1;
            cancel.cancel();
        });
        assert_eq!(error.err().unwrap().kind(), ErrorKind::Cancelled);
        assert_eq!(waits, 1);
    }
}
