//! One repository of one registry: how a request gets its authorization, follows a redirect, and what its failures are called.

use std::collections::HashSet;

use onggi_image::{DOCUMENT_LIMIT, Descriptor, Digest, media_type};
use serde::Deserialize;

use crate::answer;
use crate::auth::challenge;
use crate::client::{Access, Client, challenges};
use crate::error::{Error, Shown};
use crate::http::url::{Origin, Scheme, Url};
use crate::http::{Payload, Request, Response};

/// See the module's text.
#[derive(Debug, Clone)]
pub struct Repository<'c> {
    pub(crate) client: &'c Client,
    /// What credentials are filed under: `docker.io`, `localhost:5000`.
    pub(crate) registry: String,
    pub(crate) origin: Origin,
    /// Within the registry: `library/debian`.
    pub(crate) name: String,
    scopes: Vec<String>,
    access: Access,
    /// How often what fails in passing is tried.
    pub(crate) attempts: u32,
}

/// A manifest or an index as it came, with what it is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    pub bytes: Vec<u8>,
    /// Without parameters; empty if the registry did not say.
    pub media_type: String,
    pub digest: Digest,
}

/// A request to a repository.
pub(crate) struct Call<'a> {
    pub(crate) method: &'static str,
    pub(crate) url: Url,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Payload<'a>,
}

/// What a network that wants a log-in in a browser answers in everybody's place.
const WEB_PAGE: &str = "text/html";

/// What is understood, so that a registry does not give what is older.
const MANIFESTS: [&str; 4] =
    [media_type::OCI_INDEX, media_type::DOCKER_INDEX, media_type::OCI_MANIFEST, media_type::DOCKER_MANIFEST];
/// As many as a registry and its storage need, and some more.
const MOST_REDIRECTS: u32 = 5;
/// Pages of a list of tags: some registries give 50 on each, whatever they are asked for.
const MOST_PAGES: usize = 2000;
const MOST_TAGS: usize = 100_000;

impl<'c> Repository<'c> {
    pub(crate) fn new(
        client: &'c Client,
        registry: &str,
        origin: Origin,
        name: &str,
        access: Access,
    ) -> Repository<'c> {
        let verbs = if access == Access::Push { "pull,push" } else { "pull" };
        let scopes = if name.is_empty() { Vec::new() } else { vec![format!("repository:{name}:{verbs}")] };
        Repository {
            client,
            registry: registry.to_owned(),
            origin,
            name: name.to_owned(),
            scopes,
            access,
            attempts: client.config.attempts,
        }
    }

    /// The same, given up sooner: there is another place to go.
    #[must_use]
    pub fn impatient(self) -> Repository<'c> {
        Repository { attempts: self.attempts.min(2), ..self }
    }

    /// The client that it belongs to.
    #[must_use]
    pub fn client(&self) -> &'c Client {
        self.client
    }

    /// As [`Client::retried`], as often as this repository is worth.
    pub(crate) fn retried<T>(&self, what: &str, act: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        self.client.retried(what, &self.origin, self.attempts, act)
    }

    /// The same, also allowed to read another repository of this registry: to mount what is there.
    pub(crate) fn also_reading(&self, other: &str) -> Repository<'c> {
        let mut both = self.clone();
        both.scopes.push(format!("repository:{other}:pull"));
        both
    }

    /// The registry's host and the repository: for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        format!("{}/{}", self.registry, self.name)
    }

    /// Whether the registry is there, speaks the protocol and takes our credentials.
    pub(crate) fn ping(&self) -> Result<(), Error> {
        let url = Url::on(&self.origin, "/v2/".to_owned());
        let call = Call { method: "GET", url: url.clone(), headers: Vec::new(), payload: Payload::None };
        let response = self.call(call)?;
        match response.head.status {
            200 => {
                self.client.document("the registry's answer", response, answer::LIMIT)?;
                Ok(())
            }
            404 => Err(Error::bad_answer(&url, "it is no registry: it has no /v2/")),
            _ => Err(self.failure(&url, response)),
        }
    }

    /// The manifest or index that a tag or digest stands for. By digest, the bytes are what it says.
    ///
    /// # Errors
    /// [`Error::ManifestUnknown`], [`Error::PullDenied`], [`Error::TooLarge`], [`Error::WrongDigest`], and what keeps a registry from being reached.
    pub fn manifest(&self, reference: &str) -> Result<Fetched, Error> {
        let what = format!("the manifest {}:{reference}", self.shown());
        self.retried(&what, || self.try_manifest(reference, &what))
    }

    /// The digest of what a tag stands for, without fetching it; `None` if the registry does not say.
    ///
    /// # Errors
    /// As [`Repository::manifest`].
    pub fn manifest_digest(&self, reference: &str) -> Result<Option<Digest>, Error> {
        let call = self.for_manifest("HEAD", reference);
        let url = call.url.clone();
        let response = self.call(call)?;
        if !response.head.is_success() {
            return Err(self.failure(&url, response));
        }
        let said = response.head.header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
        self.client.recycle(response.body);
        Ok(said)
    }

    fn for_manifest(&self, method: &'static str, reference: &str) -> Call<'static> {
        Call {
            method,
            url: self.url(&format!("manifests/{reference}")),
            headers: vec![("Accept", MANIFESTS.join(", "))],
            payload: Payload::None,
        }
    }

    fn try_manifest(&self, reference: &str, what: &str) -> Result<Fetched, Error> {
        let call = self.for_manifest("GET", reference);
        let url = call.url.clone();
        let response = self.call(call)?;
        if !response.head.is_success() {
            return Err(match self.failure(&url, response) {
                Error::Status { status: 404, message, .. } => Error::ManifestUnknown {
                    reference: self.with_reference(reference),
                    message: message.strip_prefix("manifest unknown: ").unwrap_or(&message).to_owned(),
                },
                other => other,
            });
        }
        let head = response.head.clone();
        if head.header("content-type").is_some_and(|kind| kind.starts_with(WEB_PAGE)) {
            return Err(Error::bad_answer(&url, format!("it is a web page ({WEB_PAGE}), no manifest")));
        }
        let bytes = self.client.document(what, response, DOCUMENT_LIMIT)?;
        let said = head.header("docker-content-digest").and_then(|text| Digest::parse(text).ok());
        let wanted = Digest::parse(reference).ok();
        for wanted in wanted.iter().chain(&said) {
            if !wanted.matches(&bytes) {
                return Err(Error::WrongDigest {
                    what: what.to_owned(),
                    wanted: wanted.clone(),
                    found: Digest::of(&bytes),
                });
            }
        }
        let media_type = head.header("content-type").unwrap_or_default();
        Ok(Fetched {
            media_type: media_type.split(';').next().unwrap_or_default().trim().to_owned(),
            digest: wanted.unwrap_or_else(|| Digest::of(&bytes)),
            bytes,
        })
    }

    /// A small blob, whole and verified: a config.
    ///
    /// # Errors
    /// [`Error::TooLarge`] above the limit of documents, [`Error::WrongSize`], [`Error::WrongDigest`], [`Error::BlobUnknown`].
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
        let what = format!("the blob {}", descriptor.digest);
        if descriptor.size > DOCUMENT_LIMIT {
            return Err(Error::TooLarge { what, limit: DOCUMENT_LIMIT });
        }
        let bytes = self.retried(&what, || {
            let response = self.open_blob(&descriptor.digest, 0, None)?;
            self.client.document(&what, response, DOCUMENT_LIMIT)
        })?;
        let found = bytes.len() as u64;
        if found != descriptor.size {
            return Err(Error::WrongSize { what, wanted: descriptor.size, found });
        }
        if !descriptor.digest.matches(&bytes) {
            return Err(Error::WrongDigest {
                what,
                wanted: descriptor.digest.clone(),
                found: Digest::of(&bytes),
            });
        }
        Ok(bytes)
    }

    /// All tags, each once, in the registry's order.
    ///
    /// # Errors
    /// As [`Repository::manifest`]; [`Error::BadAnswer`] for a list that comes back to itself, or is longer than any honest one.
    pub fn tags(&self) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            #[serde(default)]
            tags: Option<Vec<String>>,
        }
        let what = format!("the tags of {}", self.shown());
        let (mut tags, mut known, mut asked) = (Vec::new(), HashSet::new(), HashSet::new());
        let mut next = Some(self.url("tags/list?n=1000"));
        while let Some(url) = next.take() {
            if !asked.insert(url.to_string()) {
                return Err(Error::bad_answer(&url, "its list of tags leads back to where it was before"));
            }
            if asked.len() > MOST_PAGES {
                return Err(Error::bad_answer(&url, "its list of tags has no end"));
            }
            let (bytes, link) = self.retried(&what, || {
                let call =
                    Call { method: "GET", url: url.clone(), headers: Vec::new(), payload: Payload::None };
                let response = self.call(call)?;
                if !response.head.is_success() {
                    return Err(match self.failure(&url, response) {
                        Error::Status { status: 404, message, .. } => {
                            Error::RepositoryUnknown { repository: self.familiar(), message }
                        }
                        other => other,
                    });
                }
                let link = response.head.header("link").map(str::to_owned);
                Ok((self.client.document(&what, response, DOCUMENT_LIMIT)?, link))
            })?;
            let page: Page = serde_json::from_slice(&bytes)
                .map_err(|error| Error::bad_answer(&url, format!("it is no list of tags: {error}")))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| known.insert(tag.clone())));
            if tags.len() > MOST_TAGS {
                return Err(Error::bad_answer(&url, format!("it has more than {MOST_TAGS} tags")));
            }
            // `</v2/a/tags/list?last=x>; rel="next"`
            let target =
                link.as_deref().and_then(|link| link.split_once('<')?.1.split_once('>')).map(|(to, _)| to);
            next =
                target.map(|target| url.join(target)).transpose()?.filter(|next| next.origin == self.origin);
        }
        Ok(tags)
    }

    /// Begins to read a blob at an offset, to its end or to before `end`. The answer is a success: that part, or the whole blob of a
    /// registry that does not give parts.
    pub(crate) fn open_blob(
        &self,
        digest: &Digest,
        offset: u64,
        end: Option<u64>,
    ) -> Result<Response, Error> {
        let mut headers = vec![("Accept", "*/*".to_owned())];
        match end {
            Some(end) => headers.push(("Range", format!("bytes={offset}-{}", end.saturating_sub(1)))),
            None if offset > 0 => headers.push(("Range", format!("bytes={offset}-"))),
            None => {}
        }
        let url = self.url(&format!("blobs/{digest}"));
        let response =
            self.call(Call { method: "GET", url: url.clone(), headers, payload: Payload::None })?;
        match response.head.status {
            200 | 206 => Ok(response),
            404 => Err(Error::BlobUnknown { repository: self.shown(), digest: digest.clone() }),
            _ => Err(self.failure(&url, response)),
        }
    }

    /// A request with whatever authorization it takes; redirects are followed. Every other answer is the caller's to judge.
    pub(crate) fn call(&self, mut call: Call<'_>) -> Result<Response, Error> {
        let mut answered = false;
        loop {
            let authorization = self.client.authorization(&self.registry, &self.scopes);
            let response = self.send(&mut call, authorization)?;
            if response.head.is_redirect() && matches!(call.method, "GET" | "HEAD") {
                return self.follow(call, response);
            }
            if response.head.status != 401 || answered || !call.payload.is_replayable() {
                return Ok(response);
            }
            answered = true;
            let (challenges, origin) = (challenges(&response), &self.origin);
            if !self.client.authorize(&self.registry, &self.name, origin, &self.scopes, &challenges)? {
                return Ok(response);
            }
        }
    }

    /// `authorization` goes to this repository's own registry only.
    fn send(&self, call: &mut Call<'_>, authorization: Option<String>) -> Result<Response, Error> {
        let mut headers = call.headers.clone();
        if call.url.origin == self.origin {
            headers.extend(authorization.map(|value| ("Authorization", value)));
        }
        let payload = match &mut call.payload {
            Payload::None => Payload::None,
            Payload::Bytes(bytes) => Payload::Bytes(bytes),
            Payload::Chunked(reader) => Payload::Chunked(&mut **reader),
            Payload::Sized(reader, size) => Payload::Sized(&mut **reader, *size),
        };
        self.client.exchange(&mut Request { method: call.method, url: call.url.clone(), headers, payload })
    }

    fn follow(&self, mut call: Call<'_>, mut response: Response) -> Result<Response, Error> {
        for _ in 0..MOST_REDIRECTS {
            let location = response.head.header("location").map(str::to_owned);
            let Some(location) = location else {
                return Err(Error::bad_answer(&call.url, "it redirects to nowhere"));
            };
            let target = self.allowed(&call.url, call.url.join(&location)?)?;
            self.client.recycle(response.body);
            call.url = target;
            let authorization = self.client.authorization(&self.registry, &self.scopes);
            response = self.send(&mut call, authorization)?;
            if matches!(response.head.status, 401 | 403) && call.url.origin != self.origin {
                return Err(self.elsewhere(&call.url, response));
            }
            if !response.head.is_redirect() {
                return Ok(response);
            }
        }
        Err(Error::bad_answer(&call.url, "it redirects without end"))
    }

    /// Whether a registry may send us there: never from TLS to plain.
    pub(crate) fn allowed(&self, from: &Url, to: Url) -> Result<Url, Error> {
        let plain = to.origin.scheme == Scheme::Http && self.origin.scheme == Scheme::Https;
        if plain && !self.client.config.is_insecure(&to.origin.authority()) {
            let reason = "where everything would travel in plain text";
            return Err(Error::Redirect { from: from.shown(), to: to.shown(), reason });
        }
        Ok(to)
    }

    /// The error for a host that the registry has sent us to and that does not let us in. No credentials of ours would.
    fn elsewhere(&self, url: &Url, response: Response) -> Error {
        let head = response.head.clone();
        let bytes = self.client.document("the answer", response, answer::LIMIT).unwrap_or_default();
        let message = answer::message(&head, &bytes);
        Error::Status { url: url.shown(), status: head.status, message, wait: None }
    }

    /// The error for an answer that is no success.
    pub(crate) fn failure(&self, url: &Url, response: Response) -> Error {
        let head = response.head.clone();
        // What cannot be read says no less than its status.
        let bytes =
            self.client.document("the registry's answer", response, answer::LIMIT).unwrap_or_default();
        let message = answer::message(&head, &bytes);
        let shown = if head.status == 401 && challenge::parse(head.all("www-authenticate")).is_empty() {
            Shown::NotAsked
        } else {
            self.client.shown(&self.registry, &self.name)
        };
        let (registry, repository) = (self.registry.clone(), self.familiar());
        match (head.status, self.access) {
            (401 | 403, _) if self.name.is_empty() => Error::Unauthorized { registry, message, shown },
            (401 | 403, Access::Pull) => Error::PullDenied { registry, repository, message, shown },
            (401 | 403, Access::Push) => Error::PushDenied { registry, repository, message, shown },
            (429, _) => self.client.rate_limited(&self.registry, &head, &bytes),
            (status, _) => Error::Status { url: url.shown(), status, message, wait: answer::wait(&head) },
        }
    }

    /// As people know it: Docker Hub's part goes without saying.
    fn familiar(&self) -> String {
        match self.name.strip_prefix("library/") {
            Some(official) if self.registry == "docker.io" => official.to_owned(),
            _ if self.registry == "docker.io" => self.name.clone(),
            _ => self.shown(),
        }
    }

    pub(crate) fn with_reference(&self, reference: &str) -> String {
        let separator = if reference.contains(':') { '@' } else { ':' };
        format!("{}{separator}{reference}", self.familiar())
    }

    pub(crate) fn url(&self, rest: &str) -> Url {
        Url::on(&self.origin, format!("/v2/{}/{rest}", self.name))
    }
}
