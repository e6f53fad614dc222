//! A large blob by several requests at once, for the sake of connections that are slower than the line: registries and their storage
//! often hold each to some megabytes a second.
//!
//! The first request asks for the first part alone. A registry that answers with the whole blob does not give parts, and the blob comes by that one
//! answer. Each request is for one range: several in one are refused by many. The parts wait in memory, a few at most, until
//! it is their turn; each is taken up where it broke like any blob.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use onggi_image::Digest;

use crate::blob::Blob;
use crate::client::Client;
use crate::error::Error;
use crate::repository::Repository;

/// Bytes that one request asks for.
const PART: u64 = 4 << 20;
/// A smaller blob comes by one request: a second costs a turn to the registry, and often one to its storage.
const FROM: u64 = 4 * PART;
/// Parts of a blob that are in memory or on their way: 16 MiB.
const AHEAD: u64 = 4;
/// Requests for parts at once, of all blobs of a client together. Each blob may always have one.
const REQUESTS: usize = 6;
/// Bytes that are handed over at once.
const PIECE: usize = 128 << 10;

impl Repository<'_> {
    /// Gives a blob that should have `size` bytes to `consume`, from its first byte to its last. Whoever reads checks the digest.
    ///
    /// # Errors
    /// Why the registry does not give it; otherwise what `consume` says.
    pub fn fetch_blob<T, E: From<Error>>(
        &self,
        digest: &Digest,
        size: u64,
        consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        if size < FROM {
            return whole(self.blob(digest, size), consume);
        }
        let mut first = self.blob_part(digest, size, 0..PART);
        match first.begin() {
            Ok(true) => {}
            Ok(false) => return whole(first, consume),
            // Not what the protocol says of a range that is not wanted, but it is said.
            Err(Error::Status { status: 400 | 416 | 501, .. }) => {
                return whole(self.blob(digest, size), consume);
            }
            Err(error) => return Err(error.into()),
        }
        let parts = Parts {
            repository: self,
            digest,
            size,
            state: Mutex::default(),
            arrived: Condvar::new(),
            room: Condvar::new(),
        };
        parts.through(first, consume)
    }
}

/// By the one request that the blob is.
fn whole<T, E: From<Error>>(
    mut blob: Blob<'_>,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
) -> Result<T, E> {
    // What the consumer saw was only that its input ended.
    consume(&mut blob).map_err(|error| blob.failure().map_or(error, E::from))
}

struct Parts<'p> {
    repository: &'p Repository<'p>,
    digest: &'p Digest,
    size: u64,
    state: Mutex<State>,
    /// Told when there is something to read.
    arrived: Condvar,
    /// Told when another part may be asked for.
    room: Condvar,
}

#[derive(Default)]
struct State {
    /// The next part that nobody has asked for; the first is asked for already.
    next: u64,
    /// The part that is being read.
    reading: u64,
    parts: BTreeMap<u64, Part>,
    /// Pieces that have been read, to be filled again.
    spare: Vec<Vec<u8>>,
    failure: Option<Error>,
    /// Nobody reads any more, or one of the requests has failed for good.
    stopped: bool,
}

#[derive(Default)]
struct Part {
    pieces: VecDeque<Vec<u8>>,
    ended: bool,
}

impl Parts<'_> {
    fn through<T, E: From<Error>>(
        &self,
        first: Blob<'_>,
        consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        self.state().next = 1;
        let answer = std::thread::scope(|scope| {
            let _stop = Stop(self);
            let thread = || std::thread::Builder::new().name("blob".to_owned());
            let leading = thread().spawn_scoped(scope, || {
                self.fetch(0, first);
                self.work(|| true, || {});
            });
            if leading.is_err() {
                // No thread is to be had.
                return consume(&mut self.repository.blob(self.digest, self.size));
            }
            let client = self.repository.client;
            for _ in 1..self.count().min(AHEAD) {
                // With fewer of them it only takes longer.
                let _ = thread().spawn_scoped(scope, || {
                    self.work(|| client.begin_request(), || client.end_request());
                });
            }
            consume(&mut Reader { parts: self, piece: Vec::new(), position: 0 })
        });
        answer.map_err(|error| self.state().failure.take().map_or(error, E::from))
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(PART)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one part after the other while there is room. `may` is asked before each, `done` is told after it.
    fn work(&self, may: impl Fn() -> bool, done: impl Fn()) {
        loop {
            let mut state = self.state();
            let number = loop {
                if state.stopped || state.next == self.count() {
                    return;
                }
                if state.next < state.reading + AHEAD && may() {
                    break state.next;
                }
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            state.next += 1;
            drop(state);
            // One that has not been allowed to may be allowed to now.
            self.room.notify_all();
            let start = number * PART;
            let part = start..self.size.min(start + PART);
            self.fetch(number, self.repository.blob_part(self.digest, self.size, part));
            done();
        }
    }

    fn fetch(&self, number: u64, mut blob: Blob<'_>) {
        loop {
            let spare = {
                let mut state = self.state();
                if state.stopped {
                    return;
                }
                state.spare.pop()
            };
            let mut piece = spare.unwrap_or_default();
            piece.resize(PIECE, 0);
            let filled = fill(&mut blob, &mut piece);
            let mut state = self.state();
            match filled {
                Ok(count) => {
                    let part = state.parts.entry(number).or_default();
                    piece.truncate(count);
                    part.ended = count == 0;
                    if count > 0 {
                        part.pieces.push_back(piece);
                    }
                    self.arrived.notify_all();
                    if count == 0 {
                        return;
                    }
                }
                Err(error) => {
                    let failure = blob.failure().unwrap_or_else(|| Error::Source {
                        what: format!("the blob {}", self.digest),
                        reason: error.to_string(),
                    });
                    state.failure.get_or_insert(failure);
                    state.stopped = true;
                    self.arrived.notify_all();
                    self.room.notify_all();
                    return;
                }
            }
        }
    }
}

/// Ends the requests, also when whoever reads panics.
struct Stop<'p>(&'p Parts<'p>);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.state().stopped = true;
        self.0.room.notify_all();
    }
}

/// Reads until the buffer is full or the blob at its end.
fn fill(blob: &mut Blob<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match blob.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The parts in their order.
struct Reader<'p> {
    parts: &'p Parts<'p>,
    piece: Vec<u8>,
    position: usize,
}

impl Reader<'_> {
    /// Takes the next piece; `false` at the end of the blob.
    fn next(&mut self) -> io::Result<bool> {
        let mut state = self.parts.state();
        let used = std::mem::take(&mut self.piece);
        if used.capacity() > 0 {
            state.spare.push(used);
        }
        loop {
            let reading = state.reading;
            if reading == self.parts.count() {
                return Ok(false);
            }
            let ended = match state.parts.get_mut(&reading) {
                Some(part) => match part.pieces.pop_front() {
                    Some(piece) => {
                        (self.piece, self.position) = (piece, 0);
                        return Ok(true);
                    }
                    None => part.ended,
                },
                None => false,
            };
            if ended {
                state.parts.remove(&reading);
                state.reading += 1;
                self.parts.room.notify_all();
                continue;
            }
            if let Some(failure) = &state.failure {
                // As a blob says it: neither `Interrupted` nor damage.
                return Err(io::Error::new(io::ErrorKind::ConnectionAborted, failure.to_string()));
            }
            state = self.parts.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.piece.len() && !self.next()? {
            return Ok(0);
        }
        let count = buffer.len().min(self.piece.len() - self.position);
        buffer[..count].copy_from_slice(&self.piece[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

/// How many requests for parts are under way beside those that each blob has by right.
#[derive(Debug, Default)]
pub(crate) struct Requests(AtomicUsize);

impl Client {
    fn begin_request(&self) -> bool {
        let more = |busy: usize| (busy < REQUESTS).then_some(busy + 1);
        self.requests.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn end_request(&self) {
        self.requests.0.fetch_sub(1, Ordering::Relaxed);
    }
}
