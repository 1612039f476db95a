//! Atomic writes, and reads that accept regular files only.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// Prefix of temporary files. Killed processes leave such files behind.
pub const TEMPORARY_PREFIX: &str = ".tmp";

/// Opens a regular file for reading. Refuses pipes, devices, sockets and folders: opening some of
/// them blocks forever, and reading others never ends.
pub fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        return File::open(path);
    }
    Err(not_regular())
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// Reads a regular file. Fails if it has more than `longest` bytes.
pub fn read_file(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    read_all(open_file(path)?, longest)
}

/// Like [`read_file`], but also reads pipes. Standard input has the name `-`, or one of its names in `/dev`. Blocks
/// until the pipe has a writer, which must close it.
pub fn read_file_or_pipe(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    if STANDARD_INPUT.iter().any(|name| path == Path::new(name)) {
        return read_all(io::stdin(), longest);
    }
    match fs::metadata(path) {
        Ok(found) if is_pipe(&found) => read_all(File::open(path)?, longest),
        _ => read_file(path, longest),
    }
}

/// The names of standard input.
const STANDARD_INPUT: [&str; 4] = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];

#[cfg(unix)]
fn is_pipe(found: &fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&found.file_type())
}

#[cfg(not(unix))]
fn is_pipe(_: &fs::Metadata) -> bool {
    false
}

/// Reads to the end. Fails if there are more than `longest` bytes.
fn read_all(file: impl io::Read, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        let problem = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// A temporary file that is being written. Dropping it deletes the file.
#[derive(Debug)]
pub struct TemporaryFile(NamedTempFile);

impl TemporaryFile {
    /// Creates a file in this folder, with the default permissions of new files.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(TEMPORARY_PREFIX);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // A bare file name has an empty path as its parent.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        builder.tempfile_in(folder).map(Self).map_err(|error| {
            // `tempfile` adds the path of the temporary file, which means nothing to the caller.
            let text = error.to_string();
            let reason = text.split(" at path ").next().unwrap_or_default().to_owned();
            io::Error::new(error.kind(), reason)
        })
    }

    /// The file, for writing.
    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// The path of the temporary file.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Syncs the content to disk, so that it survives a power failure.
    pub fn sync(&self) -> io::Result<()> {
        self.0.as_file().sync_data()
    }

    /// Renames the file to `path`, which must be on the same disk. An existing file is replaced.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.0.persist(path).map(|_| ()).map_err(|error| error.error)
    }
}

/// Writes a file atomically, if it can be recreated: other processes see the old or the new
/// content, but a power failure may leave an empty file.
///
/// An existing file is replaced and its permissions are preserved; for a symbolic link, its target
/// is written, whether or not it exists. Folders, devices and pipes are rejected.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, path) = write_temporary(path, bytes)?;
    draft.publish(&path)
}

/// Like [`write_atomically`], but syncs to disk: after a power failure, the file has the old or the new
/// content.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, path) = write_temporary(path, bytes)?;
    draft.sync()?;
    draft.publish(&path)
}

/// Writes the bytes to a temporary file. Also returns the path to rename it to.
fn write_temporary(path: &Path, bytes: &[u8]) -> io::Result<(TemporaryFile, PathBuf)> {
    let (path, permissions) = destination(path)?;
    let mut draft = TemporaryFile::new_in(path.parent().unwrap_or(Path::new("")))?;
    draft.file().write_all(bytes)?;
    // On Windows, the permissions are only a read-only flag.
    if let Some(permissions) = permissions.filter(|_| cfg!(unix)) {
        draft.file().set_permissions(permissions)?;
    }
    Ok((draft, path))
}

/// Resolves the links of a path. Also returns the permissions of the file, if it exists.
fn destination(path: &Path) -> io::Result<(PathBuf, Option<Permissions>)> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => Ok((fs::canonicalize(path)?, Some(there.permissions()))),
        Ok(_) => Err(not_regular()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut path = path.to_owned();
            // A dangling link. This ends, because a cycle of links is another error.
            while let Ok(target) = fs::read_link(&path) {
                path = path.parent().unwrap_or(Path::new("")).join(target);
            }
            Ok((path, None))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_replaced_atomically() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_atomically(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn failed_writes_leave_no_temporary_files() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("folder");
        fs::create_dir_all(occupied.join("below")).unwrap();
        assert!(write_atomically(&occupied, b"x").is_err());
        let missing = write_atomically(&folder.path().join("none/file"), b"x").unwrap_err();
        assert!(!missing.to_string().contains(TEMPORARY_PREFIX), "{missing}");
        drop(TemporaryFile::new_in(folder.path()).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn only_regular_files_within_the_size_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read_file(&path, 5).unwrap(), b"12345");
        assert_eq!(read_file(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(read_file(folder.path(), 9).is_err());
        assert_eq!(
            open_file(&folder.path().join("none")).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        #[cfg(unix)]
        {
            let pipe = folder.path().join("pipe");
            let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
            assert!(made.success());
            assert!(open_file(&pipe).unwrap_err().to_string().contains("not a regular file"));
            assert!(open_file(Path::new("/dev/zero")).is_err());
        }
    }

    #[cfg(unix)]
    #[test]
    fn writes_follow_links_and_replace_only_regular_files() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        symlink("below/target", at("relative")).unwrap();
        symlink(at("relative"), at("link")).unwrap();
        // First the target does not exist, then it does.
        for bytes in [b"one", b"two"] {
            write_atomically(&at("link"), bytes).unwrap();
            assert_eq!(fs::read(at("below/target")).unwrap(), bytes);
            assert!(at("link").is_symlink() && at("relative").is_symlink());
        }
        symlink("loop", at("loop")).unwrap();
        symlink("/dev/full", at("full")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        for name in ["loop", "full", "pipe", "below"] {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            assert!(write_atomically(&at(name), b"x").is_err(), "{name}");
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before, "{name}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
    }

    #[cfg(unix)]
    #[test]
    fn replacing_a_file_preserves_its_permissions() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        write_atomically(&ours, b"x").unwrap();
        fs::write(&other, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
        fs::set_permissions(&ours, Permissions::from_mode(0o640)).unwrap();
        write_durably(&ours, b"y").unwrap();
        assert_eq!(mode(&ours) & 0o777, 0o640);
    }
}
