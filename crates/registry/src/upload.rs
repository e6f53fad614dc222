//! Giving blobs and manifests to a repository (distribution-spec, "Pushing").

use std::io::Read;

use onggi_image::{Digest, Hasher};

use crate::answer;
use crate::error::Error;
use crate::http::url::Url;
use crate::http::{Payload, Response};
use crate::repository::{Call, Repository};

impl Repository<'_> {
    /// Whether the repository has a blob.
    ///
    /// # Errors
    /// [`Error::PushDenied`] and what keeps the registry from being reached.
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        self.has(&format!("blobs/{digest}"), &[])
    }

    /// Whether the repository has this very manifest, by digest.
    ///
    /// # Errors
    /// As [`Repository::has_blob`].
    pub fn has_manifest(&self, digest: &Digest, media_type: &str) -> Result<bool, Error> {
        self.has(&format!("manifests/{digest}"), &[("Accept", media_type.to_owned())])
    }

    fn has(&self, what: &str, headers: &[(&'static str, String)]) -> Result<bool, Error> {
        let url = self.url(what);
        self.retried(url.target(), || {
            let headers = headers.to_vec();
            let response =
                self.call(Call { method: "HEAD", url: url.clone(), headers, payload: Payload::None })?;
            match response.head.status {
                200 => {
                    self.client.recycle(response.body);
                    Ok(true)
                }
                404 => {
                    self.client.recycle(response.body);
                    Ok(false)
                }
                _ => Err(self.failure(&url, response)),
            }
        })
    }

    /// Takes a blob over from another repository of this registry. `false`: the registry would not; nothing is changed then.
    ///
    /// # Errors
    /// As [`Repository::has_blob`].
    pub fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        let both = self.also_reading(from);
        let url = self.url("blobs/uploads/").with("mount", &digest.to_string()).with("from", from);
        let call = Call { method: "POST", url: url.clone(), headers: Vec::new(), payload: Payload::None };
        let response = match both.call(call) {
            Ok(response) => response,
            // A token for both is more than some may have.
            Err(Error::Unauthorized { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        match response.head.status {
            201 => {
                self.finish(response)?;
                Ok(true)
            }
            202 => {
                let location = self.location(&url, &response)?;
                self.finish(response)?;
                self.cancel(location);
                Ok(false)
            }
            401 | 403 | 404 | 405 => Ok(false),
            _ => Err(self.failure(&url, response)),
        }
    }

    /// Uploads a blob. `open` gives its bytes from the beginning, each time it is asked; `digest`, if it is known, is what they must hash to. Returns
    /// the digest and the size.
    ///
    /// # Errors
    /// As [`Repository::has_blob`]; [`Error::WrongDigest`] if the bytes are others; what `open` says.
    pub fn upload<'s>(
        &self,
        what: &str,
        digest: Option<&Digest>,
        open: &mut dyn FnMut() -> Result<Box<dyn Read + 's>, Error>,
    ) -> Result<(Digest, u64), Error> {
        self.retried(what, || {
            let url = self.url("blobs/uploads/");
            let call = Call { method: "POST", url: url.clone(), headers: Vec::new(), payload: Payload::None };
            let response = self.call(call)?;
            if response.head.status != 202 {
                return Err(self.failure(&url, response));
            }
            let location = self.location(&url, &response)?;
            self.finish(response)?;
            let mut stream = Hashing {
                inner: open()?,
                hasher: Some(Hasher::new(algorithm(digest))),
                count: 0,
                failed: None,
            };
            let sent = self.send_pieces(&location, &mut stream);
            if let Some(error) = stream.failed.take() {
                self.cancel(location);
                return Err(Error::Source { what: what.to_owned(), reason: error.to_string() });
            }
            let location = sent?;
            let found = stream.hasher.take().map(Hasher::finish);
            let found = found.unwrap_or_else(|| Digest::of(b""));
            if let Some(wanted) = digest.filter(|wanted| **wanted != found) {
                self.cancel(location);
                return Err(Error::WrongDigest { what: what.to_owned(), wanted: wanted.clone(), found });
            }
            let url = location.with("digest", &found.to_string());
            let headers = vec![("Content-Type", "application/octet-stream".to_owned())];
            let response =
                self.call(Call { method: "PUT", url: url.clone(), headers, payload: Payload::None })?;
            if !matches!(response.head.status, 201 | 204) {
                return Err(self.failure(&url, response));
            }
            self.finish(response)?;
            Ok((found, stream.count))
        })
    }

    /// Sends all bytes in one request, in chunks, as `docker push` does: their number need not be known. Answers where to go on.
    fn send_pieces(&self, location: &Url, stream: &mut dyn Read) -> Result<Url, Error> {
        let headers = vec![("Content-Type", "application/octet-stream".to_owned())];
        let payload = Payload::Chunked(stream);
        let response = self.call(Call { method: "PATCH", url: location.clone(), headers, payload })?;
        if !matches!(response.head.status, 202 | 204) {
            return Err(self.failure(location, response));
        }
        let next = self.location(location, &response)?;
        self.finish(response)?;
        Ok(next)
    }

    /// Gives a manifest its tag (or, by digest, only its place). The bytes are the manifest: nothing of them changes.
    ///
    /// # Errors
    /// [`Error::WrongDigest`] if the registry understood other bytes; as [`Repository::has_blob`].
    pub fn put_manifest(&self, reference: &str, media_type: &str, bytes: &[u8]) -> Result<Digest, Error> {
        let url = self.url(&format!("manifests/{reference}"));
        let digest = Digest::of(bytes);
        self.retried(url.target(), || {
            let headers = vec![("Content-Type", media_type.to_owned())];
            let payload = Payload::Bytes(bytes);
            let response = self.call(Call { method: "PUT", url: url.clone(), headers, payload })?;
            if !response.head.is_success() {
                return Err(self.failure(&url, response));
            }
            let said =
                response.head.header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
            self.finish(response)?;
            match said.filter(|said| !said.matches(bytes)) {
                Some(found) => {
                    let what = format!("the manifest as {} understood it", self.registry);
                    Err(Error::WrongDigest { what, wanted: digest.clone(), found })
                }
                None => Ok(digest.clone()),
            }
        })
    }

    /// Reads the rest of an answer, so that its connection can be used again.
    fn finish(&self, response: Response) -> Result<(), Error> {
        self.client.document("the registry's answer", response, answer::LIMIT).map(|_| ())
    }

    fn location(&self, url: &Url, response: &Response) -> Result<Url, Error> {
        let location = response.head.header("location");
        let location =
            location.ok_or_else(|| Error::bad_answer(url, "it does not say where to upload to"))?;
        self.allowed(url, url.join(location)?)
    }

    /// Tells the registry that nothing more will come. It forgets an upload by itself as well, after a while.
    fn cancel(&self, location: Url) {
        let call = Call { method: "DELETE", url: location, headers: Vec::new(), payload: Payload::None };
        let _ = self.call(call);
    }
}

fn algorithm(digest: Option<&Digest>) -> onggi_image::Algorithm {
    digest.map_or(onggi_image::Algorithm::Sha256, Digest::algorithm)
}

/// Hashes and counts what is sent, and keeps a failure of the source apart from one of the connection.
struct Hashing<'s> {
    inner: Box<dyn Read + 's>,
    hasher: Option<Hasher>,
    count: u64,
    failed: Option<std::io::Error>,
}

impl Read for Hashing<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&buffer[..count]);
                }
                self.count += count as u64;
                Ok(count)
            }
            Err(error) => {
                let copy = std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error.to_string());
                self.failed = Some(error);
                Err(copy)
            }
        }
    }
}
