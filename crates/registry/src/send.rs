//! The bytes of one blob on their way to a repository: whole, in pieces or as a stream, and on from where a connection broke.

use std::io::{self, Read};

use onggi_image::{Algorithm, Digest, Hasher};

use crate::error::Error;
use crate::http::url::Url;
use crate::http::{Payload, Response};
use crate::repository::{Call, Repository};

/// Bytes of a piece for a registry that does not take all at once, unless it wants more.
const PIECE: u64 = 16 << 20;
/// The most that a registry may want of a piece: it is held in memory.
const MOST: u64 = 64 << 20;

/// One blob's upload, through all its attempts.
pub(crate) struct Upload<'u> {
    pub(crate) repository: &'u Repository<'u>,
    pub(crate) what: &'u str,
    pub(crate) blob: Option<(&'u Digest, u64)>,
    /// Where an attempt has broken off.
    pub(crate) broken: Option<Url>,
    /// Send pieces of so many bytes.
    pub(crate) piece: Option<u64>,
}

impl Upload<'_> {
    pub(crate) fn attempt<'s>(
        &mut self,
        open: &mut dyn FnMut() -> Result<Box<dyn Read + 's>, Error>,
    ) -> Result<(Digest, u64), Error> {
        loop {
            let resumed = match self.broken.take() {
                Some(location) => self.resume(location)?,
                None => None,
            };
            let (location, offset) = match resumed {
                Some(resumed) => resumed,
                None => (self.begin()?, 0),
            };
            let mut stream = Hashing::new(open()?, self.blob);
            if let Err(error) = io::copy(&mut (&mut stream).take(offset), &mut io::sink()) {
                return Err(self.source_failed(stream.failed.take(), &error.to_string()));
            }
            self.broken = Some(location.clone());
            let sent = self.send(location.clone(), offset, &mut stream);
            if let Some(failed) = stream.failed.take() {
                self.broken = None;
                self.repository.cancel(location);
                return Err(self.source_failed(Some(failed), ""));
            }
            match sent {
                // What is there of it does not fit after all: from the beginning.
                Err(Error::Status { status: 400 | 404 | 416, .. }) if offset > 0 => self.broken = None,
                // Of a proxy, more often than of a registry.
                Err(Error::Status { status: 413, .. }) if self.piece.is_none() => {
                    self.broken = None;
                    self.piece = Some(PIECE);
                }
                other => return other,
            }
        }
    }

    /// Opens an upload at the registry.
    fn begin(&mut self) -> Result<Url, Error> {
        let url = self.repository.url("blobs/uploads/");
        let call = Call { method: "POST", url: url.clone(), headers: Vec::new(), payload: Payload::None };
        let response = self.repository.call(call)?;
        if response.head.status != 202 {
            return Err(self.repository.failure(&url, response));
        }
        let least = response.head.header("oci-chunk-min-length").and_then(|text| text.parse::<u64>().ok());
        if let (Some(piece), Some(least)) = (&mut self.piece, least) {
            *piece = (*piece).max(least).min(MOST);
        }
        let location = self.repository.location(&url, &response)?;
        self.repository.finish(response)?;
        Ok(location)
    }

    /// Where an upload goes on, and how much of it the registry has; `None` if it has nothing, or has forgotten it.
    fn resume(&self, location: Url) -> Result<Option<(Url, u64)>, Error> {
        let call = Call { method: "GET", url: location.clone(), headers: Vec::new(), payload: Payload::None };
        let response = self.repository.call(call)?;
        if response.head.status != 204 {
            return Ok(None);
        }
        // `0-99`, of a hundred bytes; of none it is `0-0` for some, as it is of one.
        let range = response.head.header("range").map(|text| text.trim_start_matches("bytes="));
        let last = range.and_then(|range| range.strip_prefix("0-")?.parse::<u64>().ok());
        let next = self.repository.location(&location, &response).unwrap_or(location);
        self.repository.finish(response)?;
        let fits = |last: &u64| *last > 0 && self.blob.is_none_or(|(_, size)| *last < size);
        Ok(last.filter(fits).map(|last| (next, last + 1)))
    }

    /// Sends what comes after `offset`, and has the registry close the blob.
    fn send(
        &mut self,
        mut location: Url,
        offset: u64,
        stream: &mut Hashing<'_>,
    ) -> Result<(Digest, u64), Error> {
        match (self.piece, self.blob) {
            (Some(piece), _) => location = self.pieces(location, offset, piece, stream)?,
            (None, Some((digest, size))) if offset == 0 => {
                let url = location.with("digest", &digest.to_string());
                self.put(url, Payload::Sized(stream, size))?;
                return Ok((digest.clone(), size));
            }
            (None, Some((_, size))) if offset == size => {}
            (None, Some((_, size))) => {
                let range = format!("{offset}-{}", size - 1);
                location = self.patch(&location, Some(range), Payload::Sized(stream, size - offset))?;
            }
            (None, None) => location = self.patch(&location, None, Payload::Chunked(stream))?,
        }
        self.broken = Some(location.clone());
        let (digest, size) = stream.finish();
        self.put(location.with("digest", &digest.to_string()), Payload::None)?;
        Ok((digest, size))
    }

    fn pieces(
        &mut self,
        mut location: Url,
        mut offset: u64,
        piece: u64,
        stream: &mut Hashing<'_>,
    ) -> Result<Url, Error> {
        loop {
            let mut bytes = Vec::new();
            let read = stream.by_ref().take(piece).read_to_end(&mut bytes);
            read.map_err(|error| self.source_failed(None, &error.to_string()))?;
            if bytes.is_empty() {
                return Ok(location);
            }
            let end = offset + bytes.len() as u64;
            let range = format!("{offset}-{}", end - 1);
            location = self.patch(&location, Some(range), Payload::Bytes(&bytes))?;
            self.broken = Some(location.clone());
            offset = end;
        }
    }

    /// Sends a part of the blob. Answers where to go on.
    fn patch(&self, location: &Url, range: Option<String>, payload: Payload<'_>) -> Result<Url, Error> {
        let mut headers = vec![("Content-Type", "application/octet-stream".to_owned())];
        headers.extend(range.map(|range| ("Content-Range", range)));
        let call = Call { method: "PATCH", url: location.clone(), headers, payload };
        let response = self.repository.call(call)?;
        let response = self.success(location, response, &[202, 204])?;
        let next = self.repository.location(location, &response)?;
        self.repository.finish(response)?;
        Ok(next)
    }

    fn put(&self, url: Url, payload: Payload<'_>) -> Result<(), Error> {
        let headers = vec![("Content-Type", "application/octet-stream".to_owned())];
        let response = self.repository.call(Call { method: "PUT", url: url.clone(), headers, payload })?;
        self.repository.finish(self.success(&url, response, &[201, 204])?)
    }

    fn success(&self, url: &Url, response: Response, wanted: &[u16]) -> Result<Response, Error> {
        if wanted.contains(&response.head.status) {
            return Ok(response);
        }
        Err(self.repository.failure(url, response))
    }

    fn source_failed(&self, failed: Option<SourceFailure>, reason: &str) -> Error {
        match (failed, self.blob) {
            (Some(SourceFailure::Digest(found)), Some((wanted, _))) => {
                Error::WrongDigest { what: self.what.to_owned(), wanted: wanted.clone(), found }
            }
            (Some(SourceFailure::Read(reason)), _) => Error::Source { what: self.what.to_owned(), reason },
            _ => Error::Source { what: self.what.to_owned(), reason: reason.to_owned() },
        }
    }
}

/// Why what is to be sent cannot be.
#[derive(Debug)]
enum SourceFailure {
    Read(String),
    /// It has another digest than the one that it goes by.
    Digest(Digest),
}

/// Hashes and counts what is sent, and keeps a failure of the source apart from one of the connection. The last bytes of a blob with another digest than the
/// one that is announced are not given away, so that no registry can take it for whole.
struct Hashing<'s> {
    inner: Box<dyn Read + 's>,
    hasher: Hasher,
    count: u64,
    blob: Option<(&'s Digest, u64)>,
    failed: Option<SourceFailure>,
}

impl<'s> Hashing<'s> {
    fn new(inner: Box<dyn Read + 's>, blob: Option<(&'s Digest, u64)>) -> Hashing<'s> {
        let algorithm = blob.map_or(Algorithm::Sha256, |(digest, _)| digest.algorithm());
        Hashing { inner, hasher: Hasher::new(algorithm), count: 0, blob, failed: None }
    }

    fn finish(&mut self) -> (Digest, u64) {
        (self.hasher.clone().finish(), self.count)
    }

    fn fail(&mut self, failure: SourceFailure) -> io::Error {
        self.failed = Some(failure);
        io::Error::new(io::ErrorKind::ConnectionAborted, "what is to be sent cannot be read")
    }
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Err(error) => return Err(self.fail(SourceFailure::Read(error.to_string()))),
        };
        self.hasher.update(&buffer[..count]);
        self.count += count as u64;
        let Some((wanted, size)) = self.blob.filter(|_| !buffer.is_empty()) else { return Ok(count) };
        if self.count > size || count == 0 && self.count < size {
            let reason = format!("it is {} bytes and not {size}", self.count);
            return Err(self.fail(SourceFailure::Read(reason)));
        }
        if self.count == size && count > 0 {
            let (found, _) = self.finish();
            if found != *wanted {
                return Err(self.fail(SourceFailure::Digest(found)));
            }
        }
        Ok(count)
    }
}
