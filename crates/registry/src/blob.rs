//! A blob as a stream that outlives its connections: where one breaks off, the next goes on.

use std::io::{self, Read};
use std::ops::Range;

use onggi_image::Digest;

use crate::error::Error;
use crate::http::Body;
use crate::http::head::Head;
use crate::repository::Repository;
use crate::watch::pause;

/// Bytes that a connection must bring for the patience with the next ones to begin anew: a server that gives one byte to each connection
/// would otherwise be asked as often as the blob has bytes.
const ENOUGH: u64 = 16 << 10;

/// Reads exactly the announced number of bytes. Whoever reads checks the digest: it is of all the bytes, whichever connections they came by.
pub struct Blob<'r> {
    repository: &'r Repository<'r>,
    digest: Digest,
    /// Of the whole blob.
    size: u64,
    offset: u64,
    /// Where to stop: at `size`, or where another request goes on.
    end: u64,
    body: Option<Body>,
    /// The answer holds what was asked for, and not the whole blob in its place.
    partial: bool,
    /// Attempts that have failed since enough has come to go on, and what has come since the last of them.
    failures: u32,
    since: u64,
    failure: Option<Error>,
}

impl std::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Blob");
        debug
            .field("digest", &self.digest)
            .field("size", &self.size)
            .field("offset", &self.offset)
            .finish_non_exhaustive()
    }
}

impl<'r> Repository<'r> {
    /// A blob that should have `size` bytes. It is asked for with the first read.
    #[must_use]
    pub fn blob(&'r self, digest: &Digest, size: u64) -> Blob<'r> {
        self.blob_part(digest, size, 0..size)
    }

    /// A part of such a blob.
    pub(crate) fn blob_part(&'r self, digest: &Digest, size: u64, part: Range<u64>) -> Blob<'r> {
        Blob {
            repository: self,
            digest: digest.clone(),
            size,
            offset: part.start,
            end: part.end,
            body: None,
            partial: false,
            failures: 0,
            since: 0,
            failure: None,
        }
    }
}

impl Blob<'_> {
    /// What made a read fail, in full: an `io::Error` holds only its text.
    pub fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    /// Asks for the part, and says whether the registry gives parts. If it does not, what is read from now on is the whole blob.
    pub(crate) fn begin(&mut self) -> Result<bool, Error> {
        while self.body.is_none() {
            match self.open() {
                Ok(body) => self.body = Some(body),
                Err(error) => self.wait_after(error)?,
            }
        }
        if !self.partial {
            self.end = self.size;
        }
        Ok(self.partial)
    }

    fn what(&self) -> String {
        format!("the blob {}", self.digest)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.read_once(buffer) {
                Ok(count) => {
                    self.since += count as u64;
                    if self.since >= ENOUGH {
                        self.failures = 0;
                    }
                    return Ok(count);
                }
                Err(error) => self.wait_after(error)?,
            }
        }
    }

    /// Waits before the next attempt, or gives the error back if there is to be none.
    fn wait_after(&mut self, error: Error) -> Result<(), Error> {
        self.body = None;
        self.since = 0;
        self.failures += 1;
        let client = self.repository.client;
        let Repository { attempts, origin, .. } = self.repository;
        let (error, wait) = client.pause_after(error, self.failures, *attempts, origin)?;
        client.watch.retrying(&self.what(), wait, &error);
        pause(&*client.watch, wait)
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let url = self.repository.url(&format!("blobs/{}", self.digest));
        let failed = |source| Error::exchange("read", &url, source);
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let Some(body) = &mut self.body else { return Ok(0) };
        if self.offset == self.end {
            // One more byte would be one too many; none lets the connection be used again.
            let whole = self.partial || self.end == self.size;
            let more = if whole { body.read(&mut [0]).unwrap_or(0) } else { 0 };
            if more > 0 {
                return Err(Error::WrongSize { what: self.what(), wanted: self.size, found: self.size + 1 });
            }
            return Ok(0);
        }
        let most = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX).min(buffer.len());
        match body.read(&mut buffer[..most]).map_err(failed)? {
            0 if most > 0 => {
                let reason = "the connection ended in the middle of the answer";
                Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, reason)))
            }
            count => {
                self.offset += count as u64;
                Ok(count)
            }
        }
    }

    /// Asks for what is still missing.
    fn open(&mut self) -> Result<Body, Error> {
        let end = (self.end < self.size).then_some(self.end);
        let response = self.repository.open_blob(&self.digest, self.offset, end)?;
        let url = self.repository.url(&format!("blobs/{}", self.digest));
        let (head, mut body) = (response.head, response.body);
        self.partial = head.status == 206;
        // A server that does not know ranges begins anew.
        let (mut skip, last) = match ContentRange::of(&head) {
            _ if !self.partial => (self.offset, self.size),
            Some(range) if range.start <= self.offset && range.end == self.end => {
                if let Some(total) = range.total.filter(|total| *total != self.size) {
                    return Err(Error::WrongSize { what: self.what(), wanted: self.size, found: total });
                }
                (self.offset - range.start, self.end)
            }
            _ => return Err(Error::bad_answer(&url, "it gives another range than was asked for")),
        };
        let wanted = last - self.offset + skip;
        if let Some(length) = body.length().filter(|length| *length != wanted) {
            let found = self.offset - skip + length;
            return Err(Error::WrongSize { what: self.what(), wanted: last, found });
        }
        let mut buffer = vec![0; 64 << 10];
        while skip > 0 {
            let most = usize::try_from(skip).unwrap_or(usize::MAX).min(buffer.len());
            match body.read(&mut buffer[..most]).map_err(|source| Error::exchange("read", &url, source))? {
                0 => return Err(Error::exchange("read", &url, io::ErrorKind::UnexpectedEof.into())),
                count => skip -= count as u64,
            }
        }
        Ok(body)
    }
}

impl Read for Blob<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.try_read(buffer).map_err(|error| {
            let text = error.to_string();
            self.failure = Some(error);
            // Neither `Interrupted`, after which readers go on, nor what a decompressor takes for damage of its own.
            io::Error::new(io::ErrorKind::ConnectionAborted, text)
        })
    }
}

impl Drop for Blob<'_> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|_| self.offset == self.end) {
            self.repository.client.recycle(body);
        }
    }
}

/// `Content-Range: bytes 5-9/10` (RFC 9110, section 14.4): from 5 to before 10, of 10.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    end: u64,
    /// `None` for `*`: the server does not know.
    total: Option<u64>,
}

impl ContentRange {
    fn of(head: &Head) -> Option<ContentRange> {
        ContentRange::parse(head.header("content-range")?)
    }

    fn parse(text: &str) -> Option<ContentRange> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (start, last) = range.trim().split_once('-')?;
        let (start, last): (u64, u64) = (start.parse().ok()?, last.parse().ok()?);
        let total = if total.trim() == "*" { None } else { Some(total.trim().parse().ok()?) };
        let end = last.checked_add(1)?;
        (start < end && total.is_none_or(|total| end <= total)).then_some(ContentRange { start, end, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_strictly() {
        let range = |start, end, total| Some(ContentRange { start, end, total });
        for (text, expected) in [
            ("bytes 5-9/10", range(5, 10, Some(10))),
            ("bytes 0-0/*", range(0, 1, None)),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("bytes */10", None),
            ("bytes 0-18446744073709551615/*", None),
            ("items 0-1/2", None),
        ] {
            assert_eq!(ContentRange::parse(text), expected, "{text}");
        }
    }
}
