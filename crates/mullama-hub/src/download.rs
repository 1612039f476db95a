//! Downloads a file into the store: parts in parallel, resumed where an earlier run stopped, hashed as they arrive. The
//! blob becomes visible after its digest is verified.

#![allow(clippy::indexing_slicing, reason = "of buffers and of marks, by its own counts")]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Builder, ScopedJoinHandle};
use std::time::{Duration, Instant};

use mullama_base::{check_memory, thread_error};

use crate::address::{same_origin, shown};
use crate::client::{Client, Failure, Request, Response, failed, interrupted};
use crate::digest::Hasher;
use crate::io_error::{io_error, unreadable};
use crate::lock::Lock;
use crate::partial::{CHUNK, Partial};
use crate::progress::{INTERVAL, Meter, Phase};
use crate::{Digest, Error, ErrorKind, Result, Store};

/// Minimum and maximum size of a part, in bytes.
const REQUEST_BYTES: Range<u64> = 8 * CHUNK..64 * CHUNK;
/// If a part takes less time than this, the connection requests twice as much next time, to amortise the overhead of a
/// request.
const SHORT_REQUEST: Duration = Duration::from_millis(250);
const BUFFER_BYTES: usize = 128 << 10;
/// Maximum number of received chunks that wait in memory to be hashed; others are read back from the file.
const MAX_UNHASHED_CHUNKS: usize = 8;
/// A file whose download took longer than this is synced to disk, so that it survives a power failure. At such a rate
/// the disk has already written most of it, so syncing is quick; after a faster download it would take about as long
/// as the transfer.
const SYNC_THRESHOLD: Duration = Duration::from_secs(1);
/// Interval after which another connection is opened, unless `MAX_RAMP_BYTES` bytes arrived within it: then the CPU is the
/// bottleneck.
const RAMP_INTERVAL: Duration = Duration::from_millis(100);
const MAX_RAMP_BYTES: u64 = 32 << 20;

/// A file to download.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    pub url: String,
    /// Bearer token for the origin of `url` only.
    pub bearer: Option<String>,
    pub size: u64,
    /// The expected digest. If unknown, the blob is named by the digest of the received bytes.
    pub digest: Option<Digest>,
    /// The server's identifier of the version, for files without a known digest.
    pub version: Option<String>,
}

impl Remote {
    /// The name of the partial file.
    fn key(&self) -> String {
        match &self.digest {
            Some(digest) => digest.file_name(),
            None => format!("url-{}", Digest::of(self.url.as_bytes()).hex()),
        }
    }

    /// Number of bytes not yet downloaded.
    pub fn missing(&self, store: &Store) -> u64 {
        if self.digest.is_some_and(|digest| store.has_blob(&digest, self.size)) {
            return 0;
        }
        let version = self.version.as_deref();
        self.size - Partial::leftover_bytes(&store.downloads(), &self.key(), self.size, version)
    }
}

/// Downloads the file unless the store has it. If another pull is downloading it, waits for that one.
pub(crate) fn fetch(
    store: &Store,
    client: &Client,
    remote: &Remote,
    connections: usize,
    meter: &mut Meter<'_>,
) -> Result<Digest> {
    let here = |digest: &Digest| store.has_blob(digest, remote.size);
    let finish = |digest: Digest, meter: &mut Meter<'_>| {
        meter.base += remote.size;
        Ok(digest)
    };
    if let Some(digest) = remote.digest.filter(here) {
        return finish(digest, meter);
    }
    let (folder, key) = (store.downloads(), remote.key());
    let version = remote.version.as_deref();
    let lock = folder.join(format!("{key}.lock"));
    let _lock = Lock::transient(&lock, &client.cancel, &mut || {
        let done = Partial::leftover_bytes(&folder, &key, remote.size, version);
        meter.report(Phase::Waiting, done);
    })?;
    meter.restart();
    // The pull that owned the lock may have completed the file.
    if let Some(digest) = remote.digest.filter(here) {
        return finish(digest, meter);
    }
    let mut again = true;
    loop {
        let partial = Partial::open(&folder, &key, remote.size, version)?;
        let resumed = partial.done() > 0;
        store.check_space(remote.size - partial.done())?;
        let start = Instant::now();
        let digest = transfer(client, remote, &partial, connections, meter)?;
        match remote.digest {
            Some(expected) if expected != digest => {
                partial.discard();
                // An earlier run or the disk may have damaged it, so retry once. A complete fresh download would not
                // differ.
                if resumed && std::mem::take(&mut again) {
                    let url = shown(&remote.url);
                    log::warn!("{url}: the partial download was damaged; starting over");
                    meter.restart();
                    continue;
                }
                return Err(failed(
                    &remote.url,
                    "the downloaded data is damaged: it has another digest",
                )
                .with_context("expected", expected)
                .with_context("actual", digest)
                .with_hint("try again later; the server's copy may be damaged"));
            }
            _ => partial.finish(&store.blob(&digest), start.elapsed() > SYNC_THRESHOLD)?,
        }
        return finish(digest, meter);
    }
}

/// Downloads the missing chunks, and hashes the whole file.
fn transfer(
    client: &Client,
    remote: &Remote,
    partial: &Partial,
    connections: usize,
    meter: &mut Meter<'_>,
) -> Result<Digest> {
    let transfer = Transfer {
        client,
        remote,
        partial,
        part: {
            let share = remote.size / (4 * connections as u64).max(1);
            (share.clamp(REQUEST_BYTES.start, REQUEST_BYTES.end) / CHUNK) as usize
        },
        redirect: Mutex::default(),
        whole: AtomicBool::new(false),
        error: Mutex::default(),
        unhashed: Mutex::default(),
    };
    check_memory(0)?;
    thread::scope(|scope| {
        let most = partial.count_chunks().div_ceil(transfer.part).clamp(1, connections);
        let spawn = || Builder::new().spawn_scoped(scope, || transfer.download_parts());
        let refused = |error: io::Error| thread_error("a thread", &error).with_source(error);
        let hasher = Builder::new().spawn_scoped(scope, || transfer.hash()).map_err(refused)?;
        let (mut since, mut before) = (Instant::now(), partial.completed());
        let mut workers = Vec::from_iter(spawn().map_err(|error| transfer.fail(refused(error))));
        let mut poll = |phase: Phase| {
            meter.report(phase, partial.completed());
            thread::sleep(INTERVAL / 50);
        };
        while !workers.iter().all(ScopedJoinHandle::is_finished) {
            poll(Phase::Downloading);
            if workers.len() < most && since.elapsed() > RAMP_INTERVAL {
                let now = partial.completed();
                if now.saturating_sub(before) < MAX_RAMP_BYTES {
                    // If no more threads can be created, the existing ones do the work.
                    workers.extend(spawn());
                }
                (since, before) = (Instant::now(), now);
            }
        }
        if transfer.whole.load(Ordering::Relaxed) && transfer.error().is_none() {
            match Builder::new().spawn_scoped(scope, || transfer.stream()) {
                Ok(single) => {
                    while !single.is_finished() {
                        poll(Phase::Downloading);
                    }
                }
                Err(error) => transfer.fail(refused(error)),
            }
        }
        partial.stop();
        while !hasher.is_finished() {
            poll(Phase::Verifying);
        }
        let digest = hasher.join();
        if let Some(error) = transfer.error() {
            return Err(error);
        }
        match digest {
            Ok(digest) => digest,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

struct Transfer<'a> {
    client: &'a Client,
    remote: &'a Remote,
    partial: &'a Partial,
    /// Number of chunks in a connection's first part.
    part: usize,
    /// The URL of the last redirect. Used directly until it is refused.
    redirect: Mutex<Option<String>>,
    /// Whether the server ignores range requests.
    whole: AtomicBool,
    error: Mutex<Option<Error>>,
    unhashed: Mutex<UnhashedChunks>,
}

/// Received chunks that are not hashed yet, so that they need not be read back.
#[derive(Default)]
struct UnhashedChunks {
    chunks: BTreeMap<usize, Vec<u8>>,
    /// Reusable buffers.
    spare: Vec<Vec<u8>>,
}

impl UnhashedChunks {
    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| vec![0; CHUNK as usize])
    }

    /// Stores a chunk and returns a buffer for the next one. If there are too many, evicts the last one in the file,
    /// because earlier chunks are hashed sooner.
    fn add_chunk(&mut self, chunk: usize, buffer: Vec<u8>) -> Vec<u8> {
        self.chunks.insert(chunk, buffer);
        if self.chunks.len() > MAX_UNHASHED_CHUNKS
            && let Some((_, last)) = self.chunks.pop_last()
        {
            return last;
        }
        self.buffer()
    }
}

impl Transfer<'_> {
    /// Downloads parts until none are left.
    fn download_parts(&self) {
        let (mut part, most) = (self.part, (REQUEST_BYTES.end / CHUNK) as usize);
        while let Some(range) = self.partial.take(part) {
            let begun = Instant::now();
            let result = self.fetch(range.clone());
            if begun.elapsed() < SHORT_REQUEST {
                part = (2 * part).min(most);
            }
            self.partial.release(range);
            if let Err(error) = result {
                self.fail(error);
            }
            if self.whole.load(Ordering::Relaxed) {
                return;
            }
        }
    }

    fn fail(&self, error: Error) {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        self.partial.stop();
    }

    fn unhashed(&self) -> MutexGuard<'_, UnhashedChunks> {
        self.unhashed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self) -> Option<Error> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Downloads these chunks. After a failure, resumes at the first missing one.
    fn fetch(&self, range: Range<usize>) -> Result<()> {
        let mut next = range.start;
        self.client.retry(|| {
            let before = next;
            let result = self.attempt(&mut next, range.end);
            (next > before, result)
        })
    }

    fn attempt(&self, next: &mut usize, end: usize) -> Result<(), Failure> {
        if *next == end || self.partial.is_stopped() || self.whole.load(Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = (self.partial.range_of(*next).start, self.partial.range_of(end - 1).end);
        let known = self.redirect.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let url = known.as_deref().unwrap_or(&self.remote.url);
        let request = Request {
            url,
            bearer: self.remote.bearer.as_deref().filter(|_| same_origin(url, &self.remote.url)),
            range: Some(bytes),
            if_range: self.remote.version.as_deref(),
            ..Request::default()
        };
        let mut response = match self.client.send(&request, false) {
            Ok(response) => response,
            // The redirected URL may have expired.
            Err(Failure::Permanent(error))
                if known.is_some() && !self.client.cancel.is_cancelled() =>
            {
                *self.redirect.lock().unwrap_or_else(PoisonError::into_inner) = None;
                return Err(Failure::Transient(error, None));
            }
            Err(failure) => return Err(failure),
        };
        self.check(&response, bytes)?;
        if self.whole.load(Ordering::Relaxed) {
            return Ok(());
        }
        if known.is_none() && response.url != self.remote.url {
            *self.redirect.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(response.url.clone());
        }
        let url = response.url.clone();
        self.receive(&mut response.reader(), &url, next, end)
    }

    /// Checks that the response contains the requested bytes.
    fn check(&self, response: &Response, (first, end): (u64, u64)) -> Result<(), Failure> {
        let refuse = |problem: String| Err(Failure::Permanent(failed(&response.url, &problem)));
        let size = self.remote.size;
        if self.remote.version.is_some() && self.remote.version != version(response) {
            return refuse("the file has changed meanwhile".to_owned());
        }
        if response.status == 200 {
            match response.length() {
                Some(length) if length != size => {
                    return refuse(format!("the file has {length} bytes, not {size}"));
                }
                // The request was for the whole file.
                _ if first == 0 && end == size => {}
                _ => self.whole.store(true, Ordering::Relaxed),
            }
            return Ok(());
        }
        match response.content_range() {
            Some((_, total)) if total != size => {
                refuse(format!("the file has {total} bytes, not {size}"))
            }
            Some((start, _)) if start == first => Ok(()),
            _ => refuse("it sends another range than requested".to_owned()),
        }
    }

    /// Writes the body into the chunks from `next` on.
    fn receive(
        &self,
        body: &mut impl Read,
        url: &str,
        next: &mut usize,
        end: usize,
    ) -> Result<(), Failure> {
        let path = self.partial.path();
        let io = |error| Failure::Permanent(io_error("write", path, error));
        let mut file = OpenOptions::new().write(true).open(path).map_err(io)?;
        let mut buffer = self.unhashed().buffer();
        while *next < end {
            let range = self.partial.range_of(*next);
            // A server without range support sends chunks that are already there.
            let keep = !self.partial.is_done(*next);
            let length = (range.end - range.start) as usize;
            let (mut filled, mut written) = (0, 0);
            if keep {
                file.seek(SeekFrom::Start(range.start)).map_err(io)?;
            }
            while filled < length {
                let stopped = self.partial.is_stopped() || self.client.cancel.is_cancelled();
                let most = length.min(filled + BUFFER_BYTES);
                match if stopped { Ok(0) } else { body.read(&mut buffer[filled..most]) } {
                    Ok(count) if count > 0 => {
                        filled += count;
                        if keep {
                            self.partial.count(count as i64);
                        }
                        // Written in small pieces, while the data is still in the CPU cache.
                        if keep && (filled == length || filled - written >= BUFFER_BYTES) {
                            file.write_all(&buffer[written..filled]).map_err(io)?;
                            written = filled;
                        }
                    }
                    result => {
                        if keep {
                            self.partial.count(-(filled as i64));
                        }
                        self.client.cancel.check().map_err(Failure::Permanent)?;
                        return if stopped { Ok(()) } else { Err(broken(url, result.err())) };
                    }
                }
            }
            if keep {
                buffer = self.unhashed().add_chunk(*next, buffer);
                self.partial.mark(*next).map_err(Failure::Permanent)?;
            }
            *next += 1;
        }
        // A connection is only reused after its response has been read to the end.
        let _ = body.read(&mut buffer[..1]);
        self.unhashed().spare.push(buffer);
        Ok(())
    }

    /// Downloads the whole file in one response, from a server without range support.
    fn stream(&self) {
        let mut best = 0;
        let result = self.client.retry(|| {
            let mut next = 0;
            let request = Request {
                url: &self.remote.url,
                bearer: self.remote.bearer.as_deref(),
                ..Request::default()
            };
            let result = self.client.send(&request, false).and_then(|mut response| {
                self.check(&response, (0, self.remote.size))?;
                let (url, end) = (response.url.clone(), self.partial.count_chunks());
                self.receive(&mut response.reader(), &url, &mut next, end)
            });
            let before = best;
            best = best.max(next);
            (next > before, result)
        });
        if let Err(error) = result {
            self.fail(error);
        }
    }

    /// Hashes the chunks in order, as they are completed.
    fn hash(&self) -> Result<Digest> {
        let path = self.partial.path();
        let fail = |error| {
            let error = unreadable(path, error);
            self.fail(error.clone());
            error
        };
        let mut file = File::open(path).map_err(fail)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        for chunk in 0..self.partial.count_chunks() {
            if !self.partial.wait_for(chunk) {
                return Err(Error::new(ErrorKind::Download, "the download was not completed"));
            }
            let range = self.partial.range_of(chunk);
            let mut left = range.end - range.start;
            let unhashed = self.unhashed().chunks.remove(&chunk);
            if let Some(unhashed) = unhashed {
                hasher.update(&unhashed[..left as usize]);
                self.unhashed().spare.push(unhashed);
                left = 0;
            } else {
                file.seek(SeekFrom::Start(range.start)).map_err(fail)?;
            }
            while left > 0 {
                let most = left.min(BUFFER_BYTES as u64) as usize;
                file.read_exact(&mut buffer[..most]).map_err(fail)?;
                hasher.update(&buffer[..most]);
                left -= most as u64;
            }
            self.client.cancel.check()?;
        }
        Ok(hasher.finish())
    }
}

/// The server's identifier of a version: a strong entity tag, or the modification date.
pub(crate) fn version(response: &Response) -> Option<String> {
    let tag = response.header("etag").filter(|tag| !tag.starts_with("W/"));
    tag.or_else(|| response.header("last-modified")).map(str::to_owned)
}

fn broken(url: &str, error: Option<io::Error>) -> Failure {
    error.map_or_else(
        || {
            let problem = "the connection was closed in the middle of the file";
            Failure::Transient(failed(url, problem), None)
        },
        |error| interrupted(url, error),
    )
}
