//! One client for all registries of a transfer: connections, tokens and credentials that its repositories share.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use onggi_image::Reference;

use crate::answer;
use crate::auth::challenge::{self, Challenge};
use crate::auth::token::{self, Authorization};
use crate::auth::{AuthFiles, Credential};
use crate::config::Config;
use crate::error::{Error, Shown, TlsProblem};
use crate::http::url::{Origin, Scheme, Url};
use crate::http::{Body, Connection, Dial, Limits, Payload, Request, Response};
use crate::net::Dialer;
use crate::parallel::Requests;
use crate::repository::Repository;
use crate::watch::Watch;

/// What is wanted of a repository; it becomes the scope of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Pull,
    /// Also pull: a push looks at what is there.
    Push,
}

/// See the module's text. Used by all threads of a transfer at once.
#[derive(Debug)]
pub struct Client {
    pub(crate) config: Arc<Config>,
    pub(crate) watch: Arc<dyn Watch>,
    auth_files: AuthFiles,
    dial: Arc<dyn Dial>,
    pub(crate) requests: Requests,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    idle: HashMap<Origin, Vec<Connection>>,
    /// Who has answered: that they cannot be reached later may pass.
    reached: HashSet<Origin>,
    /// How the registries that may be spoken to in plain turned out to speak.
    origins: HashMap<String, Origin>,
    credentials: HashMap<(String, String), Option<Credential>>,
    /// Credentials that were given for this client alone.
    given: HashMap<String, Credential>,
    /// By registry and scopes.
    authorizations: HashMap<(String, String), Authorization>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("origins", &self.origins).finish_non_exhaustive()
    }
}

/// Docker Hub's registry has another name than its images.
const HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

impl Client {
    /// A client with the usual way to connect.
    #[must_use]
    pub fn new(config: Config, auth_files: AuthFiles, watch: Arc<dyn Watch>) -> Client {
        let config = Arc::new(config);
        let dial = Arc::new(Dialer::new(Arc::clone(&config), Arc::clone(&watch)));
        Client { config, watch, auth_files, dial, requests: Requests::default(), state: Mutex::default() }
    }

    /// The same with another way to connect.
    #[must_use]
    pub fn with_dial(self, dial: Arc<dyn Dial>) -> Client {
        Client { dial, ..self }
    }

    /// The same with credentials for a registry that are in no file.
    #[must_use]
    pub fn with_credential(self, registry: &str, credential: Credential) -> Client {
        self.state().given.insert(registry.to_owned(), credential);
        self
    }

    /// The repository of a name at its own registry.
    ///
    /// # Errors
    /// [`Error::Url`]; for a registry that may speak plain HTTP, what keeps it from being reached.
    pub fn repository(&self, name: &Reference, access: Access) -> Result<Repository<'_>, Error> {
        let origin = self.origin_of(name.domain())?;
        Ok(Repository::new(self, name.domain(), origin, name.path(), access))
    }

    /// Where to pull a name from, in order: the mirrors of its registry, then the registry itself.
    ///
    /// # Errors
    /// [`Error::Url`] for a mirror that is none. That the registry cannot be reached is told only when it is its turn.
    pub fn sources(&self, name: &Reference) -> Result<Vec<Source>, Error> {
        let mut sources = Vec::new();
        for mirror in self.config.mirrors_of(name.domain()) {
            let said = mirror.contains("://");
            let origin = Url::parse(&if said { mirror.clone() } else { format!("https://{mirror}") })?.origin;
            let (registry, path) = (origin.authority(), name.path().to_owned());
            sources.push(Source::Mirror { registry, origin: said.then_some(origin), path });
        }
        sources.push(Source::Registry(name.clone()));
        Ok(sources)
    }

    /// One of [`Client::sources`], to pull from. A mirror that is named without a scheme is spoken to as a registry of that name would be.
    ///
    /// # Errors
    /// It cannot be reached.
    pub fn repository_at(&self, source: &Source) -> Result<Repository<'_>, Error> {
        match source {
            Source::Registry(name) => self.repository(name, Access::Pull),
            // Credentials by the mirror's own name: it gets none of the registry's.
            Source::Mirror { registry, origin, path } => {
                let origin = origin.clone().map_or_else(|| self.origin_of(registry), Ok)?;
                Ok(Repository::new(self, registry, origin, path, Access::Pull).impatient())
            }
        }
    }

    /// Shows the credentials to a registry.
    ///
    /// # Errors
    /// [`Error::Unauthorized`] if it does not take them; what keeps it from being reached.
    pub fn log_in(&self, registry: &str) -> Result<(), Error> {
        let origin = self.origin_of(registry)?;
        Repository::new(self, registry, origin, "", Access::Pull).ping()
    }

    /// How a registry is spoken to. Plain HTTP only with this very machine, or where the settings allow it, and only if it is no TLS.
    pub(crate) fn origin_of(&self, registry: &str) -> Result<Origin, Error> {
        let host = if registry == HUB.0 { HUB.1 } else { registry };
        let secure = Origin::of_registry(Scheme::Https, host)?;
        if !secure.is_loopback() && !self.config.is_insecure(registry) {
            return Ok(secure);
        }
        if let Some(origin) = self.state().origins.get(registry) {
            return Ok(origin.clone());
        }
        let plain = Origin::of_registry(Scheme::Http, host)?;
        let origin = match self.dial.dial(&Url::on(&secure, "/v2/".to_owned())) {
            Ok(_) => secure,
            Err(
                Error::Tls { problem: TlsProblem::NotTls | TlsProblem::Other(_), .. }
                | Error::Exchange { .. }
                | Error::Proxy { .. },
            ) => plain,
            // Another port may still speak plain.
            Err(Error::Connect { .. }) if plain.port != secure.port => plain,
            Err(error) => return Err(error),
        };
        self.state().origins.insert(registry.to_owned(), origin.clone());
        Ok(origin)
    }

    /// One request, one answer. A connection that the server has closed since it was last used is replaced.
    pub(crate) fn exchange(&self, request: &mut Request<'_>) -> Result<Response, Error> {
        let limits = self.limits();
        let idle = self.state().idle.get_mut(&request.url.origin).and_then(Vec::pop);
        if let Some(connection) = idle {
            let stale = |error: &Error| {
                use io::ErrorKind as E;
                matches!(error, Error::Exchange { source, .. } if matches!(source.kind(),
                    E::UnexpectedEof | E::ConnectionReset | E::ConnectionAborted | E::BrokenPipe))
            };
            let replayable = request.payload.is_replayable();
            match connection.exchange(request, &limits) {
                Err(error) if replayable && stale(&error) => {}
                other => return other,
            }
        }
        let response = Connection::new(self.dial.dial(&request.url)?).exchange(request, &limits)?;
        let mut state = self.state();
        if !state.reached.contains(&request.url.origin) {
            state.reached.insert(request.url.origin.clone());
        }
        Ok(response)
    }

    /// Whether it has answered a request of this client.
    pub(crate) fn has_reached(&self, origin: &Origin) -> bool {
        self.state().reached.contains(origin)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(crate) fn recycle(&self, body: Body) {
        /// As many as a pull uses at once.
        const MOST: usize = 9;
        let origin = body.origin().clone();
        if let Some(connection) = body.into_connection() {
            let mut state = self.state();
            let idle = state.idle.entry(origin).or_default();
            if idle.len() < MOST {
                idle.push(connection);
            }
        }
    }

    /// Reads an answer that is a document, and keeps its connection.
    pub(crate) fn document(&self, what: &str, response: Response, limit: u64) -> Result<Vec<u8>, Error> {
        let mut body = response.body;
        let bytes = body.document(what, limit, &self.limits())?;
        self.recycle(body);
        Ok(bytes)
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits { head_time: self.config.silence * 5, document_time: self.config.silence * 2 }
    }

    /// What was agreed with a registry for these scopes, while it is good.
    pub(crate) fn authorization(&self, registry: &str, scopes: &[String]) -> Option<String> {
        let key = (registry.to_owned(), scopes.join(" "));
        self.state().authorizations.get(&key).filter(|known| known.is_good()).map(|known| known.value.clone())
    }

    /// Answers a registry's challenges. `false`: there is nothing to answer them with.
    pub(crate) fn authorize(
        &self,
        registry: &str,
        repository: &str,
        origin: &Origin,
        scopes: &[String],
        challenges: &[Challenge],
    ) -> Result<bool, Error> {
        let credential = self.credential(registry, repository)?;
        let authorization = match (challenges.first(), &credential) {
            (None, _) => return Ok(false),
            (Some(_), Some(Credential::Registry { token })) => Authorization::bearer(token),
            (Some(Challenge::Basic), Some(Credential::Password { user, password })) => {
                Authorization::basic(user, password)
            }
            (Some(Challenge::Basic), _) => return Ok(false),
            (Some(bearer @ Challenge::Bearer { .. }), credential) => {
                self.token(bearer, scopes, registry, origin, credential.as_ref())?
            }
        };
        let key = (registry.to_owned(), scopes.join(" "));
        self.state().authorizations.insert(key, authorization);
        Ok(true)
    }

    /// What a registry that takes credentials was shown.
    pub(crate) fn shown(&self, registry: &str, repository: &str) -> Shown {
        if self.state().given.contains_key(registry) {
            return Shown::Given;
        }
        match self.credential(registry, repository) {
            Ok(Some(_)) => Shown::Kept,
            _ => Shown::Nothing,
        }
    }

    fn credential(&self, registry: &str, repository: &str) -> Result<Option<Credential>, Error> {
        let key = (registry.to_owned(), repository.to_owned());
        let known = {
            let state = self.state();
            state.given.get(registry).cloned().map(Some).or_else(|| state.credentials.get(&key).cloned())
        };
        if let Some(known) = known {
            return Ok(known);
        }
        // A helper may ask the user: nobody waits for that who does not need it.
        let found = self.auth_files.find(registry, repository, &*self.watch)?;
        self.state().credentials.insert(key, found.clone());
        Ok(found)
    }

    fn token(
        &self,
        challenge: &Challenge,
        scopes: &[String],
        registry: &str,
        origin: &Origin,
        credential: Option<&Credential>,
    ) -> Result<Authorization, Error> {
        let shown = match credential {
            None => Shown::Nothing,
            Some(_) if self.state().given.contains_key(registry) => Shown::Given,
            Some(_) => Shown::Kept,
        };
        let unauthorized =
            |message: String| Error::Unauthorized { registry: registry.to_owned(), message, shown };
        // A login asks for no scope; a server that names one in its challenge knows better.
        let named = match challenge {
            Challenge::Bearer { scope: Some(scope), .. } if scopes.is_empty() => vec![scope.clone()],
            _ => Vec::new(),
        };
        let scopes = if scopes.is_empty() { &named } else { scopes };
        let insecure = |realm: &Origin| self.config.is_insecure(&realm.authority());
        let Some(asked) = token::request(challenge, scopes, origin, credential, insecure)? else {
            return Err(unauthorized("authentication required".to_owned()));
        };
        let mut headers = vec![("Accept", "application/json".to_owned())];
        headers.extend(asked.authorization.map(|value| ("Authorization", value)));
        let (method, payload) = match &asked.form {
            None => ("GET", Payload::None),
            Some(form) => {
                headers.push(("Content-Type", "application/x-www-form-urlencoded".to_owned()));
                ("POST", Payload::Bytes(form.as_bytes()))
            }
        };
        let url = asked.url;
        // Redirects are not followed: whoever the realm sends us to was not named by the registry.
        let response = self.exchange(&mut Request { method, url: url.clone(), headers, payload })?;
        let head = response.head.clone();
        let limit = if head.is_success() { token::LIMIT } else { answer::LIMIT };
        let bytes = self.document("the token server's answer", response, limit)?;
        match head.status {
            200..300 => {
                token::parse(&bytes).ok_or_else(|| Error::bad_answer(&url, "there is no token in it"))
            }
            400 | 401 | 403 => Err(unauthorized(answer::message(&head, &bytes))),
            429 => Err(self.rate_limited(registry, &head, &bytes)),
            status => {
                let (message, wait) = (answer::message(&head, &bytes), answer::wait(&head));
                Err(Error::Status { url: url.shown(), status, message, wait })
            }
        }
    }

    pub(crate) fn rate_limited(&self, registry: &str, head: &crate::http::head::Head, bytes: &[u8]) -> Error {
        let text = answer::message(head, bytes);
        let message = text.strip_prefix("toomanyrequests: ").unwrap_or(&text).to_owned();
        Error::RateLimited { registry: registry.to_owned(), message, wait: answer::wait(head) }
    }

    /// Does `act` until it succeeds or fails in a way that does not pass, with a growing pause between. `origin`: who is asked.
    pub(crate) fn retried<T>(
        &self,
        what: &str,
        origin: &Origin,
        attempts: u32,
        mut act: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut attempt = 1;
        loop {
            match act() {
                Err(error) => {
                    let (error, pause) = self.pause_after(error, attempt, attempts, origin)?;
                    self.watch.retrying(what, pause, &error);
                    crate::watch::pause(&*self.watch, pause)?;
                }
                done => return done,
            }
            attempt += 1;
        }
    }

    /// How long to wait after the so-many-th failure; the error itself if there is no use in waiting. That somebody cannot be reached who has
    /// answered before may pass: registries are started anew, and lines break.
    pub(crate) fn pause_after(
        &self,
        error: Error,
        attempt: u32,
        attempts: u32,
        origin: &Origin,
    ) -> Result<(Error, Duration), Error> {
        /// A registry that wants more patience than this is reported rather than waited for.
        const LONGEST: Duration = Duration::from_secs(60);
        let lost = error.is_unreachable() && self.has_reached(origin);
        let passing = error.is_passing();
        if attempt >= attempts || !(passing || lost) || self.watch.is_interrupted() {
            return Err(if lost && !passing { Error::Lost { source: Box::new(error) } } else { error });
        }
        let asked = match &error {
            Error::RateLimited { wait, .. } | Error::Status { wait, .. } => *wait,
            _ => None,
        };
        if asked.is_some_and(|asked| asked > LONGEST) {
            return Err(error);
        }
        Ok((error, asked.unwrap_or(self.config.first_pause * (1 << (attempt - 1)).min(64))))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a name may be pulled from.
#[derive(Debug)]
pub enum Source {
    Mirror {
        registry: String,
        /// If the settings say how it is spoken to.
        origin: Option<Origin>,
        path: String,
    },
    Registry(Reference),
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Mirror { registry, path, .. } => write!(out, "the mirror {registry}/{path}"),
            Source::Registry(name) => write!(out, "{name}"),
        }
    }
}

pub(crate) fn challenges(response: &Response) -> Vec<Challenge> {
    challenge::parse(response.head.all("www-authenticate"))
}
