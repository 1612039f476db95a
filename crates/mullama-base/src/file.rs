//! Files that are there whole or not at all, and files that are none.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

/// How the names of files begin that are still being written. A process that is killed leaves such.
pub const TEMPORARY: &str = ".tmp";

/// Opens a file to read it. A pipe, a device, a socket and a folder are refused: opening some of them
/// waits for ever, and others never end.
pub fn open_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path)?.is_file() {
        return File::open(path);
    }
    Err(not_regular())
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")
}

/// Reads a file that should have at most `longest` bytes.
pub fn read_file(path: &Path, longest: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(path)?.take(longest.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        let problem = format!("it is longer than {longest} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

/// A file that is being written, under a name that nobody looks for. Dropping it removes it.
#[derive(Debug)]
pub struct Draft(NamedTempFile);

impl Draft {
    /// A new file in this folder, with the permissions of any new file.
    pub fn new_in(folder: &Path) -> io::Result<Self> {
        let mut builder = Builder::new();
        builder.prefix(TEMPORARY);
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // An empty path is what a bare file name has for its folder.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        builder.tempfile_in(folder).map(Self).map_err(|error| {
            // `tempfile` adds the name that it made up, which is not the caller's.
            let text = error.to_string();
            let reason = text.split(" at path ").next().unwrap_or_default().to_owned();
            io::Error::new(error.kind(), reason)
        })
    }

    /// The file, to write to.
    pub fn file(&mut self) -> &mut File {
        self.0.as_file_mut()
    }

    /// Where it lies until it is published.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Waits until its content is on the disk, so that it survives a power failure.
    pub fn sync(&self) -> io::Result<()> {
        self.0.as_file().sync_data()
    }

    /// Gives it its name, on the same disk. A file of that name is replaced.
    pub fn publish(self, path: &Path) -> io::Result<()> {
        self.0.persist(path).map(|_| ()).map_err(|error| error.error)
    }
}

/// Writes a file that can be made again: other processes see all of it or what was there before, but
/// a power failure may leave an empty one.
///
/// An existing file is replaced and its permissions are preserved; for a symbolic link, its target
/// is written, whether or not it exists. Folders, devices and pipes are rejected.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, path) = written(path, bytes)?;
    draft.publish(&path)
}

/// As [`write_whole`], and a power failure leaves the old file or the new one. It waits for the disk.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (draft, path) = written(path, bytes)?;
    draft.sync()?;
    draft.publish(&path)
}

/// The bytes, and the path that they are for.
fn written(path: &Path, bytes: &[u8]) -> io::Result<(Draft, PathBuf)> {
    let (path, permissions) = destination(path)?;
    let mut draft = Draft::new_in(path.parent().unwrap_or(Path::new("")))?;
    draft.file().write_all(bytes)?;
    // On Windows they only say that a file must not be replaced.
    if let Some(permissions) = permissions.filter(|_| cfg!(unix)) {
        draft.file().set_permissions(permissions)?;
    }
    Ok((draft, path))
}

/// Where links lead that a path goes through, and the permissions of the file that is there.
fn destination(path: &Path) -> io::Result<(PathBuf, Option<Permissions>)> {
    match fs::metadata(path) {
        Ok(there) if there.is_file() => Ok((fs::canonicalize(path)?, Some(there.permissions()))),
        Ok(_) => Err(not_regular()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut path = path.to_owned();
            // A link to what is not there. It leads to itself nowhere, or that were another error.
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
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_whole(&path, b"one").unwrap();
        write_durably(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("folder");
        fs::create_dir_all(occupied.join("below")).unwrap();
        assert!(write_whole(&occupied, b"x").is_err());
        let missing = write_whole(&folder.path().join("none/file"), b"x").unwrap_err();
        assert!(!missing.to_string().contains(TEMPORARY), "{missing}");
        drop(Draft::new_in(folder.path()).unwrap());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_file_or_too_long_is_not_read() {
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
    fn links_are_followed_and_what_is_no_file_stays() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        symlink("below/target", at("relative")).unwrap();
        symlink(at("relative"), at("link")).unwrap();
        // The target is not there, then it is.
        for bytes in [b"one", b"two"] {
            write_whole(&at("link"), bytes).unwrap();
            assert_eq!(fs::read(at("below/target")).unwrap(), bytes);
            assert!(at("link").is_symlink() && at("relative").is_symlink());
        }
        symlink("loop", at("loop")).unwrap();
        symlink("/dev/full", at("full")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap();
        assert!(made.success());
        for name in ["loop", "full", "pipe", "below"] {
            let before = fs::symlink_metadata(at(name)).unwrap().file_type();
            assert!(write_whole(&at(name), b"x").is_err(), "{name}");
            assert_eq!(fs::symlink_metadata(at(name)).unwrap().file_type(), before, "{name}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 6);
    }

    #[cfg(unix)]
    #[test]
    fn permissions_are_those_of_any_new_file_or_of_the_old_one() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (ours, other) = (folder.path().join("ours"), folder.path().join("other"));
        write_whole(&ours, b"x").unwrap();
        fs::write(&other, b"x").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&other));
        fs::set_permissions(&ours, Permissions::from_mode(0o640)).unwrap();
        write_durably(&ours, b"y").unwrap();
        assert_eq!(mode(&ours) & 0o777, 0o640);
    }
}
