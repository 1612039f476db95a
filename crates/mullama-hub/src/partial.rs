//! A download that is not complete: the bytes so far, and a map of which they are.
//!
//! `<key>.data` is as long as the file will be, with holes. `<key>.map` has a line of JSON and then,
//! for each chunk of 1 MiB, `1` if it has been written, else `0`. A chunk is marked after it has been
//! written, so a process that is killed loses no more than the chunks it was receiving.

#![allow(clippy::indexing_slicing, reason = "of buffers and of marks, by its own counts")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::io_error::io_error;

/// Bytes of a chunk.
pub(crate) const CHUNK: u64 = 1 << 20;

/// What the map is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    size: u64,
    chunk: u64,
    /// The server's mark of the version, where there is no digest to tell versions apart.
    version: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Chunk {
    Missing,
    /// Someone is fetching it.
    Taken,
    Done,
}

/// A file that is being downloaded.
pub(crate) struct Partial {
    data: PathBuf,
    map: PathBuf,
    /// Where the chunks' marks begin in the map.
    marks: u64,
    pub size: u64,
    state: Mutex<State>,
    /// Something was done, or nothing more will be.
    changed: Condvar,
}

struct State {
    chunks: Vec<Chunk>,
    map: File,
    /// Bytes of the chunks that are done, and of what has come of others.
    completed: u64,
    stopped: bool,
}

impl Partial {
    /// Goes on with what an earlier run left, or begins. The caller holds the key's lock.
    pub fn open(folder: &Path, key: &str, size: u64, version: Option<&str>) -> Result<Self> {
        let data = folder.join(format!("{key}.data"));
        let map = folder.join(format!("{key}.map"));
        let head = Head { size, chunk: CHUNK, version: version.map(str::to_owned) };
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

    /// The marks of an earlier run, if they are of the same file.
    fn marks(data: &Path, map: &Path, head: &Head, count: usize) -> Option<(u64, Vec<Chunk>)> {
        // A link that somebody laid there would be written through, and a pipe waited for.
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
        if serde_json::from_slice::<Head>(&line).ok()? != *head {
            return None;
        }
        file.read_to_end(&mut marks).ok()?;
        let of = |mark: &u8| if *mark == b'1' { Chunk::Done } else { Chunk::Missing };
        (marks.len() == count).then(|| (length as u64, marks.iter().map(of).collect()))
    }

    fn begin(data: &Path, map: &Path, head: &Head, count: usize) -> Result<(u64, Vec<Chunk>)> {
        // The old map goes first: it must never be taken for one of the new bytes. Then new files are made,
        // rather than what lies there written over.
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

    /// Bytes that an earlier run left of this key.
    pub fn left_over(folder: &Path, key: &str, size: u64, version: Option<&str>) -> u64 {
        let head = Head { size, chunk: CHUNK, version: version.map(str::to_owned) };
        let count = size.div_ceil(CHUNK) as usize;
        let (data, map) = (folder.join(format!("{key}.data")), folder.join(format!("{key}.map")));
        Self::marks(&data, &map, &head, count).map_or(0, |(_, chunks)| done(&chunks, size))
    }

    /// Bytes of the chunks that are done.
    pub fn done(&self) -> u64 {
        done(&self.lock().chunks, self.size)
    }

    /// Bytes that have come, those of chunks under way included.
    pub fn completed(&self) -> u64 {
        self.lock().completed
    }

    /// Counts bytes of a chunk under way; uncounts them if it failed.
    pub fn count(&self, bytes: i64) {
        let mut state = self.lock();
        state.completed = state.completed.saturating_add_signed(bytes);
    }

    /// Takes the first chunks that nobody has, `most` of them at most.
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

    /// Gives back what of these was not done.
    pub fn give_back(&self, range: Range<usize>) {
        for chunk in &mut self.lock().chunks[range] {
            if *chunk == Chunk::Taken {
                *chunk = Chunk::Missing;
            }
        }
    }

    /// Marks a chunk whose bytes have been written.
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

    /// Waits until the chunk is done; false if it never will be.
    pub fn wait_for(&self, chunk: usize) -> bool {
        let mut state = self.lock();
        while state.chunks[chunk] != Chunk::Done && !state.stopped {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.chunks[chunk] == Chunk::Done
    }

    /// Nobody fetches any more.
    pub fn stop(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    pub fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// The bytes of a chunk.
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

    /// The bytes become the file at `path`, once they have reached the disk if `sync` says so.
    pub fn finish(&self, path: &Path, sync: bool) -> Result<()> {
        let fail = |error| io_error("write", path, error);
        if sync {
            File::open(&self.data).and_then(|file| file.sync_data()).map_err(fail)?;
        }
        // First the map: with it, data that are gone might be taken for a download to go on with.
        let _ = fs::remove_file(&self.map);
        fs::rename(&self.data, path).map_err(fail)
    }

    /// Throws the bytes away.
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
    // All chunks are whole but for the last.
    let missing = chunks.len() as u64 * CHUNK - size;
    count * CHUNK - if short { missing } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_goes_on_where_the_first_was_killed() {
        let folder = tempfile::tempdir().unwrap();
        let size = 3 * CHUNK + 5;
        let partial = Partial::open(folder.path(), "k", size, None).unwrap();
        assert_eq!(partial.take(2), Some(0..2));
        assert_eq!(partial.take(9), Some(2..4));
        assert_eq!(partial.take(9), None);
        partial.mark(1).unwrap();
        partial.mark(3).unwrap();
        partial.give_back(0..2);
        assert_eq!(partial.take(9), Some(0..1));
        assert_eq!(partial.done(), CHUNK + 5);
        drop(partial);
        assert_eq!(Partial::left_over(folder.path(), "k", size, None), CHUNK + 5);
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
    fn what_is_of_another_file_or_damaged_is_not_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let (size, at) = (2 * CHUNK, folder.path());
        let fresh = |size, version| {
            Partial::open(at, "k", size, version).unwrap().mark(0).unwrap();
        };
        fresh(size, Some("a"));
        assert_eq!(Partial::left_over(at, "k", size, Some("a")), CHUNK);
        assert_eq!(Partial::left_over(at, "k", size, Some("b")), 0);
        assert_eq!(Partial::left_over(at, "k", size + 1, Some("a")), 0);
        let map = at.join("k.map");
        let whole = fs::read(&map).unwrap();
        for length in 0..whole.len() {
            fs::write(&map, &whole[..length]).unwrap();
            assert_eq!(Partial::left_over(at, "k", size, Some("a")), 0);
        }
        fs::remove_file(&map).unwrap();
        assert_eq!(Partial::open(at, "k", size, Some("a")).unwrap().done(), 0);
        fs::write(at.join("k.data"), "short").unwrap();
        assert_eq!(Partial::open(at, "k", size, Some("a")).unwrap().done(), 0);
    }
}
