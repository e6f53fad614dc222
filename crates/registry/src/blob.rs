//! A blob as a stream that outlives its connections: where one breaks off, the next goes on.

use std::io::{self, Read};

use onggi_image::Digest;

use crate::error::Error;
use crate::http::Body;
use crate::http::head::Head;
use crate::repository::Repository;
use crate::watch::pause;

/// Reads exactly the announced number of bytes. Whoever reads checks the digest: it is of all the bytes, whichever connections they came by.
pub struct Blob<'r> {
    repository: &'r Repository<'r>,
    digest: Digest,
    size: u64,
    offset: u64,
    body: Option<Body>,
    /// Attempts that have failed since the last byte came.
    failures: u32,
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
        Blob {
            repository: self,
            digest: digest.clone(),
            size,
            offset: 0,
            body: None,
            failures: 0,
            failure: None,
        }
    }
}

impl Blob<'_> {
    /// What made a read fail, in full: an `io::Error` holds only its text.
    pub fn failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    fn what(&self) -> String {
        format!("the blob {}", self.digest)
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        loop {
            match self.read_once(buffer) {
                Ok(count) => {
                    if count > 0 {
                        self.failures = 0;
                    }
                    return Ok(count);
                }
                Err(error) => {
                    self.body = None;
                    self.failures += 1;
                    let client = self.repository.client;
                    let (error, wait) = client.pause_after(
                        error,
                        self.failures,
                        self.repository.attempts,
                        self.offset > 0,
                    )?;
                    client.watch.retrying(&self.what(), wait, &error);
                    pause(&*client.watch, wait)?;
                }
            }
        }
    }

    fn read_once(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let url = self.repository.url(&format!("blobs/{}", self.digest));
        let failed = |source| Error::exchange("read", &url, source);
        if self.body.is_none() {
            self.body = Some(self.open()?);
        }
        let Some(body) = &mut self.body else { return Ok(0) };
        if self.offset == self.size {
            // One more byte would be one too many; none lets the connection be used again.
            let more = body.read(&mut [0]).unwrap_or(0);
            if more > 0 {
                return Err(Error::WrongSize { what: self.what(), wanted: self.size, found: self.size + 1 });
            }
            return Ok(0);
        }
        let most = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX).min(buffer.len());
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
    fn open(&self) -> Result<Body, Error> {
        let response = self.repository.open_blob(&self.digest, self.offset)?;
        let url = self.repository.url(&format!("blobs/{}", self.digest));
        let (head, mut body) = (response.head, response.body);
        // A server that does not know ranges begins anew.
        let mut skip = match head.status {
            206 => match range_start(&head) {
                Some(start) if start <= self.offset => self.offset - start,
                _ => return Err(Error::bad_answer(&url, "it gives another range than was asked for")),
            },
            _ => self.offset,
        };
        let wanted = self.size - self.offset + skip;
        if let Some(length) = body.length().filter(|length| *length != wanted) {
            let found = self.offset - skip + length;
            return Err(Error::WrongSize { what: self.what(), wanted: self.size, found });
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
        if let Some(body) = self.body.take().filter(|_| self.offset == self.size) {
            self.repository.client.recycle(body);
        }
    }
}

/// `Content-Range: bytes 5-9/10`
fn range_start(head: &Head) -> Option<u64> {
    let range = head.header("content-range")?.strip_prefix("bytes ")?;
    range.split_once('-')?.0.trim().parse().ok()
}
