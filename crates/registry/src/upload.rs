//! Giving blobs and manifests to a repository (distribution-spec, "Pushing"). How a blob's bytes travel is in the module `send`.

use std::io::Read;

use onggi_image::Digest;

use crate::answer;
use crate::error::Error;
use crate::http::url::Url;
use crate::http::{Payload, Response};
use crate::repository::{Call, Repository};
use crate::send::Upload;

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
        let sent = self.retried(url.target(), || {
            let (url, headers) = (url.clone(), Vec::new());
            both.call(Call { method: "POST", url, headers, payload: Payload::None })
        });
        let response = match sent {
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

    /// Uploads a blob. `open` gives its bytes from the beginning, each time it is asked; `blob`, if it is known, is the digest and the size that they
    /// must have. Returns both.
    ///
    /// One whose size is known goes in one request, or in pieces to a registry that finds that too much; another as a stream. After a
    /// break it goes on where the registry says that it broke.
    ///
    /// # Errors
    /// As [`Repository::has_blob`]; [`Error::WrongDigest`] if the bytes are others; what `open` says.
    pub fn upload<'s>(
        &self,
        what: &str,
        blob: Option<(&Digest, u64)>,
        open: &mut dyn FnMut() -> Result<Box<dyn Read + 's>, Error>,
    ) -> Result<(Digest, u64), Error> {
        let mut upload = Upload { repository: self, what, blob, broken: None, piece: None };
        self.retried(what, || upload.attempt(open))
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
    pub(crate) fn finish(&self, response: Response) -> Result<(), Error> {
        self.client.document("the registry's answer", response, answer::LIMIT).map(|_| ())
    }

    pub(crate) fn location(&self, url: &Url, response: &Response) -> Result<Url, Error> {
        let location = response.head.header("location");
        let location =
            location.ok_or_else(|| Error::bad_answer(url, "it does not say where to upload to"))?;
        self.allowed(url, url.join(location)?)
    }

    /// Tells the registry that nothing more will come. It forgets an upload by itself as well, after a while; so does whoever keeps the blobs for
    /// it elsewhere, and a registry has nothing deleted by us at another host.
    pub(crate) fn cancel(&self, location: Url) {
        if location.origin != self.origin {
            return;
        }
        let call = Call { method: "DELETE", url: location, headers: Vec::new(), payload: Payload::None };
        let _ = self.call(call);
    }
}
