//! A partial download: the bytes so far, and a map of the completed chunks.
//!
//! `<key>.data` has the final size of the file, with holes. `<key>.map` has a line of JSON followed by one character
//! for each chunk of 1 MiB: `1` if it has been written, else `0`. A chunk is marked after it has been written, so a
//! killed process loses only the chunks that it was receiving.

#![allow(clippy::indexing_slicing, reason = "of buffers and of marks, by its own counts")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::io_error::io_error;

/// Size of a chunk in bytes.
pub(crate) const CHUNK: u64 = 1 << 20;

/// The header of the map, which identifies the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct MapHeader {
    size: u64,
    chunk: u64,
    /// The server's identifier of the version, for files without a known digest.
    version: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Chunk {
    Missing,
    /// A thread is downloading it.
    Taken,
    Done,
}

/// A partially downloaded file.
pub(crate) struct Partial {
    data: PathBuf,
    map: PathBuf,
    /// Offset of the chunks' marks in the map.
    marks: u64,
    pub size: u64,
    state: Mutex<State>,
    /// Signalled when a chunk is done, and when the download stops.
    changed: Condvar,
}

struct State {
    chunks: Vec<Chunk>,
    map: File,
    /// Bytes received, including those of incomplete chunks.
    completed: u64,
    stopped: bool,
}

impl Partial {
    /// Resumes an earlier run or starts a new download. The caller must own the key's lock.
    pub fn open(folder: &Path, key: &str, size: u64, version: Option<&str>) -> Result<Self> {
        let data = folder.join(format!("{key}.data"));
        let map = folder.join(format!("{key}.map"));
        let head = MapHeader { size, chunk: CHUNK, version: version.map(str::to_owned) };
        let count = size.div_ceil(CHUNK) as usize;
        let (marks, chunks) = match Self::marks(&data, &map, &head, count) {
            Some(found) => found,
            None => Self::begin(&data, &map, &head, count)?,
        };
        let file = OpenOptions::new()
            .write(true)
            .open(&map)
            .map_err(|error| io_error("write", &map, error))?;
        let state = State { chunks, map: file, completed: 0, stopped: false };
        let partial = Self { data, map, marks, size, state: state.into(), changed: Condvar::new() };
        let done = partial.done();
        partial.lock().completed = done;
        Ok(partial)
    }

    /// The marks of an earlier run, if they belong to the same version of the file.
    fn marks(data: &Path, map: &Path, head: &MapHeader, count: usize) -> Option<(u64, Vec<Chunk>)> {
        // Reject links, which would be written through, and pipes, which would block.
        let size = |path: &Path| {
            fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file).map(|data| data.len())
        };
        if size(data)? != head.size {
            return None;
        }
        size(map)?;
        let mut file = BufReader::new(File::open(map).ok()?.take(1 << 30));
        let (mut line, mut marks) = (Vec::new(), Vec::new());
        let length = file.read_until(b'\n', &mut line).ok()?;
        if serde_json::from_slice::<MapHeader>(&line).ok()? != *head {
            return None;
        }
        file.read_to_end(&mut marks).ok()?;
        let of = |mark: &u8| if *mark == b'1' { Chunk::Done } else { Chunk::Missing };
        (marks.len() == count).then(|| (length as u64, marks.iter().map(of).collect()))
    }

    fn begin(data: &Path, map: &Path, head: &MapHeader, count: usize) -> Result<(u64, Vec<Chunk>)> {
        // Delete the old map first: it must never be applied to the new data. Create new files instead of overwriting
        // the existing ones.
        let _ = fs::remove_file(map);
        let _ = fs::remove_file(data);
        File::create_new(data)
            .and_then(|file| file.set_len(head.size))
            .map_err(|error| io_error("write", data, error))?;
        let mut text = serde_json::to_vec(head).unwrap_or_default();
        text.push(b'\n');
        let marks = text.len() as u64;
        text.resize(text.len() + count, b'0');
        File::create_new(map)
            .and_then(|mut file| file.write_all(&text))
            .map_err(|error| io_error("write", map, error))?;
        Ok((marks, vec![Chunk::Missing; count]))
    }

    /// Number of bytes that an earlier run downloaded for this key.
    pub fn leftover_bytes(folder: &Path, key: &str, size: u64, version: Option<&str>) -> u64 {
        let head = MapHeader { size, chunk: CHUNK, version: version.map(str::to_owned) };
        let count = size.div_ceil(CHUNK) as usize;
        let (data, map) = (folder.join(format!("{key}.data")), folder.join(format!("{key}.map")));
        Self::marks(&data, &map, &head, count).map_or(0, |(_, chunks)| done(&chunks, size))
    }

    /// Total size of the completed chunks, in bytes.
    pub fn done(&self) -> u64 {
        done(&self.lock().chunks, self.size)
    }

    /// Number of bytes received, including those of incomplete chunks.
    pub fn completed(&self) -> u64 {
        self.lock().completed
    }

    /// Adds received bytes of an incomplete chunk; negative if the chunk failed.
    pub fn count(&self, bytes: i64) {
        let mut state = self.lock();
        state.completed = state.completed.saturating_add_signed(bytes);
    }

    /// Takes the first run of missing chunks, at most `most` of them.
    pub fn take(&self, most: usize) -> Option<Range<usize>> {
        let mut state = self.lock();
        if state.stopped {
            return None;
        }
        let first = state.chunks.iter().position(|chunk| *chunk == Chunk::Missing)?;
        let run = state.chunks[first..].iter().take(most);
        let end = first + run.take_while(|chunk| **chunk == Chunk::Missing).count();
        state.chunks[first..end].fill(Chunk::Taken);
        Some(first..end)
    }

    /// Releases the chunks of this range that were not completed.
    pub fn release(&self, range: Range<usize>) {
        for chunk in &mut self.lock().chunks[range] {
            if *chunk == Chunk::Taken {
                *chunk = Chunk::Missing;
            }
        }
    }

    /// Marks a chunk as completed, after its bytes have been written.
    pub fn mark(&self, chunk: usize) -> Result<()> {
        let mut state = self.lock();
        let place = self.marks + chunk as u64;
        state
            .map
            .seek(SeekFrom::Start(place))
            .and_then(|_| state.map.write_all(b"1"))
            .map_err(|error| io_error("write", &self.map, error))?;
        state.chunks[chunk] = Chunk::Done;
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    pub fn is_done(&self, chunk: usize) -> bool {
        self.lock().chunks[chunk] == Chunk::Done
    }

    /// Waits until the chunk is completed. Returns false if the download stops before that.
    pub fn wait_for(&self, chunk: usize) -> bool {
        let mut state = self.lock();
        while state.chunks[chunk] != Chunk::Done && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.chunks[chunk] == Chunk::Done
    }

    /// Stops the download.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The range of bytes of a chunk.
    pub fn range_of(&self, chunk: usize) -> Range<u64> {
        let first = chunk as u64 * CHUNK;
        first..(first + CHUNK).min(self.size)
    }

    pub fn count_chunks(&self) -> usize {
        self.lock().chunks.len()
    }

    pub fn path(&self) -> &Path {
        &self.data
    }

    /// Renames the data to `path`. If `sync` is set, syncs it to disk first.
    pub fn finish(&self, path: &Path, sync: bool) -> Result<()> {
        let fail = |error| io_error("write", path, error);
        if sync {
            File::open(&self.data).and_then(|file| file.sync_data()).map_err(fail)?;
        }
        // Delete the map first: together with other data, it would look like a partial download.
        let _ = fs::remove_file(&self.map);
        fs::rename(&self.data, path).map_err(fail)
    }

    /// Deletes the data and the map.
    pub fn discard(&self) {
        let _ = fs::remove_file(&self.map);
        let _ = fs::remove_file(&self.data);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn done(chunks: &[Chunk], size: u64) -> u64 {
    let count = chunks.iter().filter(|chunk| **chunk == Chunk::Done).count() as u64;
    let short = chunks.last().is_some_and(|chunk| *chunk == Chunk::Done);
    // All chunks have the full size except the last.
    let missing = chunks.len() as u64 * CHUNK - size;
    count * CHUNK - if short { missing } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_downloads_resume_after_a_kill() {
        let folder = tempfile::tempdir().unwrap();
        let size = 3 * CHUNK + 5;
        let partial = Partial::open(folder.path(), "k", size, None).unwrap();
        assert_eq!(partial.take(2), Some(0..2));
        assert_eq!(partial.take(9), Some(2..4));
        assert_eq!(partial.take(9), None);
        partial.mark(1).unwrap();
        partial.mark(3).unwrap();
        partial.release(0..2);
        assert_eq!(partial.take(9), Some(0..1));
        assert_eq!(partial.done(), CHUNK + 5);
        drop(partial);
        assert_eq!(Partial::leftover_bytes(folder.path(), "k", size, None), CHUNK + 5);
        let partial = Partial::open(folder.path(), "k", size, None).unwrap();
        assert_eq!((partial.done(), partial.completed()), (CHUNK + 5, CHUNK + 5));
        assert_eq!(partial.take(9), Some(0..1));
        assert_eq!(partial.take(9), Some(2..3));
        partial.mark(0).unwrap();
        partial.mark(2).unwrap();
        assert_eq!(partial.done(), size);
        partial.finish(&folder.path().join("blob"), true).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn foreign_or_damaged_partial_files_are_not_resumed() {
        let folder = tempfile::tempdir().unwrap();
        let (size, at) = (2 * CHUNK, folder.path());
        let fresh = |size, version| {
            Partial::open(at, "k", size, version).unwrap().mark(0).unwrap();
        };
        fresh(size, Some("a"));
        assert_eq!(Partial::leftover_bytes(at, "k", size, Some("a")), CHUNK);
        assert_eq!(Partial::leftover_bytes(at, "k", size, Some("b")), 0);
        assert_eq!(Partial::leftover_bytes(at, "k", size + 1, Some("a")), 0);
        let map = at.join("k.map");
        let whole = fs::read(&map).unwrap();
        for length in 0..whole.len() {
            fs::write(&map, &whole[..length]).unwrap();
            assert_eq!(Partial::leftover_bytes(at, "k", size, Some("a")), 0);
        }
        fs::remove_file(&map).unwrap();
        assert_eq!(Partial::open(at, "k", size, Some("a")).unwrap().done(), 0);
        fs::write(at.join("k.data"), "short").unwrap();
        assert_eq!(Partial::open(at, "k", size, Some("a")).unwrap().done(), 0);
    }
}
