//! HTTP/1.1 as a client of registries needs it: one exchange at a time, every answer bounded, nothing followed by itself.
//!
//! Redirects, retries and credentials are decisions of the protocol above; here is only how a request is written and an answer read. The
//! parts that look at bytes ([`head`], [`body`], [`url`]) do no I/O of their own and are tested without any.

pub(crate) mod body;
pub(crate) mod head;
pub(crate) mod url;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::error::Error;
use body::Framing;
use head::Head;
use url::Url;

/// Bytes of a connection, plain or inside TLS. Reading and writing fail once the peer has been silent for too long or the user has
/// interrupted: whoever dials sees to that.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// How a connection comes about. The client has one that knows names, proxies and TLS; tests have their own.
pub trait Dial: Send + Sync + std::fmt::Debug {
    /// Connects to the host of `url`.
    ///
    /// # Errors
    /// Whatever keeps it from being reached, named so that a person can act on it.
    fn dial(&self, url: &Url) -> Result<Dialled, Error>;
}

/// A fresh connection and how requests on it are written.
pub struct Dialled {
    pub stream: Box<dyn Stream>,
    /// For a proxy that is asked for whole URLs: the value of `Proxy-Authorization`, if it wants one.
    pub through_proxy: Option<ThroughProxy>,
}

/// What a proxy that passes plain HTTP on must be told with each request.
#[derive(Debug, Clone)]
pub struct ThroughProxy {
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Dialled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialled")
            .field("through_proxy", &self.through_proxy.is_some())
            .finish_non_exhaustive()
    }
}

/// What is sent behind the head.
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    /// A stream whose length is not known beforehand.
    Chunked(&'a mut dyn Read),
    /// A stream of so many bytes.
    Sized(&'a mut dyn Read, u64),
}

impl Payload<'_> {
    /// Whether it can be sent a second time.
    pub(crate) fn is_replayable(&self) -> bool {
        matches!(self, Payload::None | Payload::Bytes(_))
    }
}

/// One request. The host, the length and the agent's name are added when it is written.
pub(crate) struct Request<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload<'a>,
}

/// An answer whose body is still to be read.
pub(crate) struct Response {
    pub(crate) head: Head,
    pub(crate) body: Body,
}

/// A connection with the bytes that were read ahead.
pub(crate) struct Connection {
    stream: Box<dyn Stream>,
    through_proxy: Option<ThroughProxy>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) position: usize,
}

impl Connection {
    pub(crate) fn new(dialled: Dialled) -> Connection {
        let Dialled { stream, through_proxy } = dialled;
        Connection { stream, through_proxy, buffer: Vec::new(), position: 0 }
    }

    /// What was read ahead; reads some if there is nothing. Empty at the end.
    pub(crate) fn fill(&mut self) -> io::Result<&[u8]> {
        if self.position == self.buffer.len() {
            self.buffer.resize(READ_AHEAD, 0);
            self.position = 0;
            match receive(&mut *self.stream, &mut self.buffer) {
                Ok(count) => self.buffer.truncate(count),
                Err(error) => {
                    self.buffer.clear();
                    return Err(error);
                }
            }
        }
        Ok(&self.buffer[self.position..])
    }

    /// Reads into a buffer: what was read ahead, and past the reading ahead if there is nothing and the buffer is large. Nothing at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position == self.buffer.len() && buffer.len() >= READ_STRAIGHT {
            return receive(&mut *self.stream, buffer);
        }
        let available = self.fill()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.position += count;
    }

    /// Writes the request and reads the answer's head.
    pub(crate) fn exchange(mut self, request: &mut Request<'_>, limits: &Limits) -> Result<Response, Error> {
        let url = request.url.clone();
        let sent = self.send(request);
        if let Err(error @ Error::Source { .. }) = sent {
            // The server still waits for the rest, and nobody should wait for its answer.
            return Err(error);
        }
        // A server may answer, and hang up, before it has read all: what it says matters more than the broken pipe.
        let head = match (self.receive_head(&url, limits), sent) {
            (Ok(head), _) => head,
            (Err(_), Err(error)) => return Err(error),
            (Err(error), Ok(())) => return Err(error),
        };
        let framing = Framing::of(&head, request.method).map_err(|reason| Error::bad_answer(&url, reason))?;
        let reusable = head.keep_alive() && framing.has_end();
        Ok(Response { body: Body { connection: Some(self), framing, reusable, url }, head })
    }

    fn send(&mut self, request: &mut Request<'_>) -> Result<(), Error> {
        let url = &request.url;
        let failed = |source| Error::exchange("send a request to", url, source);
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, self.target(url));
        let mut header = |name: &str, value: &str| {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        };
        header("Host", &url.authority());
        header("User-Agent", AGENT);
        for (name, value) in &request.headers {
            header(name, value);
        }
        if let Some(value) = self.through_proxy.as_ref().and_then(|proxy| proxy.authorization.as_deref()) {
            header("Proxy-Authorization", value);
        }
        match &request.payload {
            Payload::None if matches!(request.method, "GET" | "HEAD") => {}
            Payload::None => header("Content-Length", "0"),
            Payload::Bytes(bytes) => header("Content-Length", &bytes.len().to_string()),
            Payload::Chunked(_) => header("Transfer-Encoding", "chunked"),
            Payload::Sized(_, size) => header("Content-Length", &size.to_string()),
        }
        text.push_str("\r\n");
        self.stream.write_all(text.as_bytes()).map_err(failed)?;
        match &mut request.payload {
            Payload::None => {}
            Payload::Bytes(bytes) => self.stream.write_all(bytes).map_err(failed)?,
            Payload::Chunked(reader) => {
                copy(url, reader, |bytes| body::write_chunk(&mut self.stream, bytes))?;
                self.stream.write_all(b"0\r\n\r\n").map_err(failed)?;
            }
            Payload::Sized(reader, size) => {
                let mut written = 0;
                copy(url, &mut (&mut **reader).take(*size), |bytes| {
                    written += bytes.len() as u64;
                    self.stream.write_all(bytes)
                })?;
                if written < *size {
                    let reason = format!("it is {written} bytes and not {size}");
                    return Err(Error::Source { what: format!("what is sent to {}", url.shown()), reason });
                }
            }
        }
        self.stream.flush().map_err(failed)
    }

    fn target(&self, url: &Url) -> String {
        if self.through_proxy.is_some() { url.to_string() } else { url.target().to_owned() }
    }

    /// Reads until the head is whole. Answers that only say "go on" are skipped.
    fn receive_head(&mut self, url: &Url, limits: &Limits) -> Result<Head, Error> {
        let deadline = Instant::now() + limits.head_time;
        let (mut bytes, mut interim) = (Vec::new(), 0);
        loop {
            let more = self.fill().map_err(|source| Error::exchange("read the answer of", url, source))?;
            if more.is_empty() {
                let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed");
                return Err(Error::exchange("read the answer of", url, source));
            }
            let taken = more.len();
            let before = bytes.len();
            bytes.extend_from_slice(more);
            match Head::parse(&bytes) {
                Ok(Some((head, length))) => {
                    self.consume(length - before);
                    if !head.is_interim() {
                        return Ok(head);
                    }
                    interim += 1;
                    if interim > MOST_INTERIM {
                        return Err(Error::bad_answer(url, "it says again and again that it will answer"));
                    }
                    bytes.clear();
                }
                Ok(None) => self.consume(taken),
                Err(reason) => return Err(Error::bad_answer(url, reason)),
            }
            if bytes.len() > head::LIMIT {
                return Err(Error::bad_answer(url, format!("its head is longer than {} bytes", head::LIMIT)));
            }
            if Instant::now() > deadline {
                return Err(Error::stalled(url, limits.head_time));
            }
        }
    }
}

/// Answers like `100 Continue` before the true one. A request of ours expects none; a server that works for long may send some.
const MOST_INTERIM: u32 = 32;

/// How long parts of an answer may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// For the whole head.
    pub(crate) head_time: Duration,
    /// For a document: a manifest, a token.
    pub(crate) document_time: Duration,
}

const AGENT: &str = concat!("onggi/", env!("CARGO_PKG_VERSION"));
const READ_AHEAD: usize = 64 << 10;
/// Into a buffer of so many bytes it is worth a call of its own that nothing is copied once more.
const READ_STRAIGHT: usize = 16 << 10;

/// Reads once, whatever signals come.
fn receive(stream: &mut dyn Stream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A TLS peer that closes without a word: the framing knows whether something is missing.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
            other => return other,
        }
    }
}

/// The body of an answer. It ends where its framing says; a connection that ends earlier is an error.
pub(crate) struct Body {
    connection: Option<Connection>,
    framing: Framing,
    reusable: bool,
    url: Url,
}

impl Body {
    /// The connection, if the body was read to its end and the server keeps it open.
    pub(crate) fn into_connection(mut self) -> Option<Connection> {
        (self.reusable && self.framing.is_at_end()).then(|| self.connection.take()).flatten()
    }

    /// Whose connection it is.
    pub(crate) fn origin(&self) -> &url::Origin {
        &self.url.origin
    }

    /// Bytes that the server has announced.
    pub(crate) fn length(&self) -> Option<u64> {
        self.framing.length()
    }

    /// The whole body, if it is not longer than `limit` bytes and does not take too long.
    pub(crate) fn document(&mut self, what: &str, limit: u64, limits: &Limits) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge { what: what.to_owned(), limit };
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let deadline = Instant::now() + limits.document_time;
        let (mut bytes, mut buffer) = (Vec::new(), [0; 16 << 10]);
        loop {
            let read = self.read(&mut buffer);
            match read.map_err(|source| Error::exchange("read the answer of", &self.url, source))? {
                0 => return Ok(bytes),
                count => bytes.extend_from_slice(&buffer[..count]),
            }
            if bytes.len() as u64 > limit {
                return Err(too_large());
            }
            if Instant::now() > deadline {
                return Err(Error::stalled(&self.url, limits.document_time));
            }
        }
    }
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.connection {
            Some(connection) => self.framing.read(connection, buffer),
            None => Ok(0),
        }
    }
}

/// As `io::copy`, with pieces of a known size. What cannot be read is [`Error::Source`]; what cannot be written, the connection's failure.
fn copy(
    url: &Url,
    reader: &mut dyn Read,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), Error> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                write(&buffer[..count])
                    .map_err(|source| Error::exchange("send a request to", url, source))?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let what = format!("what is sent to {}", url.shown());
                return Err(Error::Source { what, reason: error.to_string() });
            }
        }
    }
}
