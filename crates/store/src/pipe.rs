//! A layer's stream on its way in, on two threads: one reads, hashes what comes and decompresses it, the other hashes the tar and does with it what it is for.
//!
//! Decompressing costs about as much as everything behind it, so a layer takes half the time so. Both digests are checked before the consumer is told
//! that the tar has ended: what it does after that is done with a layer that is what it was said to be.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use onggi_archive::compress::Decompressor;
use onggi_image::{Algorithm, Digest, Hasher};
use onggi_sys::fault;

use crate::error::Error;
use crate::layers::Expected;
use crate::streamed::StreamedFile;
use crate::types::Progress;

/// Bytes of a piece that is handed over, and how many wait between the threads: two megabytes, for which a decompressor needs the time in which
/// the other side has the kernel begin to write a stretch of the tar.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

/// Drives a stream to its end through `consume`, which runs on a thread of its own and must take all pieces. Returns its answer and the digest of the tar.
/// `copy` gets the stream as it comes, and is on the disk before the consumer is told of the end.
pub(crate) fn pump<T: Send>(
    stream: &mut dyn Read,
    expected: &Expected<'_>,
    copy: Option<Copy>,
    progress: &dyn Progress,
    consume: impl FnOnce(&mut Pieces<'_>) -> Result<T, Error> + Send,
) -> Result<(T, Digest), Error> {
    let (full, pieces) = sync_channel(WAITING);
    let (used, empty) = channel();
    std::thread::scope(|scope| {
        let consumer = std::thread::Builder::new().name("layer".to_owned()).spawn_scoped(scope, move || {
            let hasher = Hasher::new(expected.diff_id.map_or(Algorithm::Sha256, Digest::algorithm));
            let mut pieces =
                Pieces { pieces, used, expected, current: Vec::new(), hasher: Some(hasher), digest: None };
            let answer = consume(&mut pieces)?;
            let digest = pieces.digest.ok_or_else(|| cut_off(expected.what))?;
            Ok((answer, digest))
        });
        let consumer = consumer.map_err(Error::io("start a thread for", expected.what))?;
        let produced = produce(stream, expected, copy, progress, full, &empty);
        let consumed = match consumer.join() {
            Ok(consumed) => consumed,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Without the producer's failure the consumer has ended for a reason of its own.
        produced.and(consumed)
    })
}

/// Reads to the end. That the consumer has gone is no failure here: its own error says why.
fn produce(
    stream: &mut dyn Read,
    expected: &Expected<'_>,
    copy: Option<Copy>,
    progress: &dyn Progress,
    full: SyncSender<Option<Vec<u8>>>,
    empty: &Receiver<Vec<u8>>,
) -> Result<(), Error> {
    let what = expected.what;
    let algorithm = expected.blob.map_or(Algorithm::Sha256, |(digest, _)| digest.algorithm());
    let mut input = HashingReader {
        stream,
        // The digest of a stream that nobody has announced is not needed.
        hasher: expected.blob.map(|_| Hasher::new(algorithm)),
        count: 0,
        copy,
        progress: &|count| {
            progress.layer(what, count, expected.total);
            if progress.is_cancelled() { Err(std::io::Error::other("cancelled")) } else { Ok(()) }
        },
    };
    let mut tar = match Decompressor::new(&mut input, expected.ceiling) {
        Ok(tar) => tar,
        Err(error) => {
            let failed = input.copy.and_then(|copy| copy.failed);
            return Err(failed.unwrap_or_else(|| Error::archive(what)(error)));
        }
    };
    loop {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match tar.read(&mut piece[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => {
                    drop(tar);
                    let failed = input.copy.and_then(|copy| copy.failed);
                    return Err(failed.unwrap_or_else(|| Error::Input { what: what.to_owned(), source }));
                }
            }
        }
        piece.truncate(filled);
        if filled > 0 && full.send(Some(piece)).is_err() {
            return Ok(());
        }
        if filled < PIECE {
            break;
        }
    }
    drop(tar);
    if let Some((wanted, size)) = expected.blob {
        if input.count != size {
            return Err(Error::WrongSize { what: what.to_owned(), wanted: size, found: input.count });
        }
        check_digest(what, wanted, input.hasher.map(Hasher::finish))?;
    }
    if let Some(copy) = input.copy {
        fault::point("store.layer.blob-written");
        copy.file.sync()?;
        fault::point("store.layer.blob-synced");
    }
    let _ = full.send(None);
    Ok(())
}

/// What the consumer takes.
pub(crate) struct Pieces<'a> {
    pieces: Receiver<Option<Vec<u8>>>,
    used: Sender<Vec<u8>>,
    expected: &'a Expected<'a>,
    current: Vec<u8>,
    hasher: Option<Hasher>,
    digest: Option<Digest>,
}

impl Pieces<'_> {
    /// The next bytes of the tar; nothing at its end, when its digest has been found to be the right one.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, Error> {
        let used = std::mem::take(&mut self.current);
        if !used.is_empty() {
            // The producer may have read all already.
            let _ = self.used.send(used);
        }
        match self.pieces.recv() {
            Ok(Some(piece)) => {
                self.current = piece;
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&self.current);
                }
                Ok(Some(&self.current))
            }
            Ok(None) => {
                let found = self.hasher.take().map(Hasher::finish);
                if let Some(wanted) = self.expected.diff_id {
                    check_digest(&format!("{}, uncompressed,", self.expected.what), wanted, found.clone())?;
                }
                self.digest = found;
                Ok(None)
            }
            Err(_) => Err(cut_off(self.expected.what)),
        }
    }
}

/// What a consumer is told whose producer has failed; nobody else sees it.
fn cut_off(what: &str) -> Error {
    Error::Input { what: what.to_owned(), source: std::io::ErrorKind::UnexpectedEof.into() }
}

pub(crate) fn check_digest(what: &str, wanted: &Digest, found: Option<Digest>) -> Result<(), Error> {
    match found {
        Some(found) if found != *wanted => {
            Err(Error::WrongDigest { what: what.to_owned(), wanted: wanted.clone(), found })
        }
        _ => Ok(()),
    }
}

/// A file for the stream as it comes.
pub(crate) struct Copy {
    file: StreamedFile,
    /// Why it could not be written: the stream is not to blame.
    failed: Option<Error>,
}

impl Copy {
    pub(crate) fn create(path: &Path) -> Result<Copy, Error> {
        Ok(Copy { file: StreamedFile::create(path)?, failed: None })
    }
}

/// A stream that is counted, and hashed if its digest is wanted, as it is read.
struct HashingReader<'a> {
    stream: &'a mut dyn Read,
    hasher: Option<Hasher>,
    count: u64,
    copy: Option<Copy>,
    progress: &'a dyn Fn(u64) -> std::io::Result<()>,
}

impl Read for HashingReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.stream.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..count]);
        }
        self.count += count as u64;
        if let Some(copy) = &mut self.copy
            && let Err(error) = copy.file.write(&buffer[..count])
        {
            copy.failed = Some(error);
            return Err(std::io::Error::other("the copy cannot be written"));
        }
        (self.progress)(self.count)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Silent;
    use onggi_archive::compress::Ceiling;

    fn all(pieces: &mut Pieces<'_>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.next()? {
            bytes.extend_from_slice(piece);
        }
        Ok(bytes)
    }

    /// Longer than all pieces that can wait, so that each side waits for the other.
    fn bytes() -> Vec<u8> {
        (0..(WAITING + 3) * PIECE + 17).map(|number| (number % 251) as u8).collect()
    }

    fn run<T: Send>(
        wanted: (Option<&Digest>, Option<&Digest>),
        consume: impl FnOnce(&mut Pieces<'_>) -> Result<T, Error> + Send,
    ) -> Result<(T, Digest), Error> {
        let stream = bytes();
        let blob = wanted.0.map(|digest| (digest, stream.len() as u64));
        let expected = Expected {
            what: "it",
            blob,
            diff_id: wanted.1,
            total: None,
            keep: false,
            ceiling: Ceiling::default(),
        };
        pump(&mut stream.as_slice(), &expected, None, &Silent, consume)
    }

    #[test]
    fn everything_arrives_in_order() {
        let right = Digest::of(&bytes());
        for wanted in [(None, None), (Some(&right), Some(&right))] {
            let (taken, digest) = run(wanted, all).unwrap();
            assert!(taken == bytes() && digest == right);
        }
    }

    #[test]
    fn a_wrong_digest_is_told_before_the_end() {
        let (right, wrong) = (Digest::of(&bytes()), Digest::of(b""));
        for wanted in [(Some(&wrong), None), (Some(&right), Some(&wrong)), (None, Some(&wrong))] {
            let mut ended = false;
            let error = run(wanted, |pieces| {
                all(pieces)?;
                ended = true;
                Ok(())
            });
            assert!(matches!(error, Err(Error::WrongDigest { .. })) && !ended, "{error:?}");
        }
    }

    #[test]
    fn the_consumer_s_own_failure_is_told() {
        let error = run((None, None), |pieces| {
            pieces.next()?;
            Err::<(), _>(Error::NoImageInArchive)
        });
        assert!(matches!(error, Err(Error::NoImageInArchive)), "{error:?}");
    }
}
