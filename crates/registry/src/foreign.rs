//! Layers that a registry may not give away: their maker does, at addresses that the manifest names. Those are the image's words, so nothing of ours goes there:
//! no credentials, and none are answered for, whichever host it is (CVE-2020-15157).

use std::io::{self, Read};

use onggi_image::excerpt;

use crate::answer;
use crate::client::Client;
use crate::error::Error;
use crate::http::url::{Scheme, Url};
use crate::http::{Payload, Request, Response};

/// As many as a registry's blobs get.
const MOST_REDIRECTS: u32 = 5;

impl Client {
    /// Gives what is at an address, which should be `size` bytes, to `consume`. Whoever reads checks the digest.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an address without TLS, unless the settings allow its host; what keeps it from being reached; otherwise
    /// what `consume` says.
    pub fn fetch_foreign<T, E: From<Error>>(
        &self,
        address: &str,
        size: u64,
        consume: impl FnOnce(&mut dyn Read) -> Result<T, E>,
    ) -> Result<T, E> {
        let url = Url::parse(address)?;
        let response =
            self.retried(&url.shown(), &url.origin, self.config.attempts, || self.open_foreign(url.clone()))?;
        if let Some(found) = response.body.length().filter(|length| *length != size) {
            return Err(Error::WrongSize { what: url.shown(), wanted: size, found }.into());
        }
        let mut stream = Foreign { inner: response.body.take(size + 1), failure: None, url };
        consume(&mut stream).map_err(|error| stream.failure.map_or(error, E::from))
    }

    fn open_foreign(&self, mut url: Url) -> Result<Response, Error> {
        for _ in 0..=MOST_REDIRECTS {
            if url.origin.scheme == Scheme::Http && !self.config.is_insecure(&url.origin.authority()) {
                return Err(Error::Unsupported {
                    what: format!("{}: a layer's address without TLS", url.shown()),
                });
            }
            let headers = vec![("Accept", "*/*".to_owned())];
            let mut request = Request { method: "GET", url: url.clone(), headers, payload: Payload::None };
            let response = self.exchange(&mut request)?;
            if response.head.status == 200 {
                return Ok(response);
            }
            let location = response.head.header("location").filter(|_| response.head.is_redirect());
            let Some(location) = location else {
                let (status, wait) = (response.head.status, answer::wait(&response.head));
                let message = excerpt(&response.head.reason);
                return Err(Error::Status { url: url.shown(), status, message, wait });
            };
            url = url.join(location)?;
        }
        Err(Error::bad_answer(&url, "it redirects without end"))
    }
}

/// Keeps what made a read fail, in full.
struct Foreign<R> {
    inner: R,
    failure: Option<Error>,
    url: Url,
}

impl<R: Read> Read for Foreign<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|source| {
            let error = Error::exchange("read", &self.url, source);
            let text = error.to_string();
            self.failure = Some(error);
            io::Error::new(io::ErrorKind::ConnectionAborted, text)
        })
    }
}
