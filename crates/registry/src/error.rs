//! What can go wrong between here and a registry, in words that say what to do about it. Where Docker's clients know a text, it is Docker's.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use onggi_error::{Diagnose, Kind};
use onggi_image::{Digest, Platform, excerpt};

use crate::http::url::Url;

/// A failed act with a registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the URL {text:?} cannot be used: {reason}")]
    Url { text: String, reason: &'static str },
    #[error("the proxy {text:?} cannot be used: {reason}")]
    ProxySetting { text: String, reason: &'static str },
    #[error("{}: {reason}", path.display())]
    CertificateFile { path: PathBuf, reason: String },

    #[error("lookup {host}: no such host")]
    NoSuchHost { host: String },
    #[error("lookup {host}: asking the name server {server}: {reason}")]
    Lookup { host: String, server: IpAddr, reason: String },
    #[error("connect to {}{address}: {}", if *is_proxy { "the proxy " } else { "" }, reason(source))]
    Connect { address: String, is_proxy: bool, source: io::Error },
    /// `proxy` is how its address is written in the environment, without a password.
    #[error("the proxy {proxy}: {source}")]
    ProxyName { proxy: String, source: Box<Error> },
    #[error("the proxy {proxy} does not connect to {host}: {reason}")]
    Proxy { proxy: String, host: String, reason: String },
    #[error("TLS with {host}: {problem}")]
    Tls { host: String, problem: TlsProblem },
    #[error("{act} {url}: {}", reason(source))]
    Exchange { act: &'static str, url: String, source: io::Error },
    /// Of a registry that has answered before.
    #[error(transparent)]
    Lost { source: Box<Error> },
    #[error("{url}: no whole answer came within {} seconds", time.as_secs_f64())]
    Stalled { url: String, time: Duration },
    #[error("the answer of {url} makes no sense: {reason}")]
    BadAnswer { url: String, reason: String },
    #[error("{what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },

    #[error("{registry}: {message}")]
    Unauthorized { registry: String, message: String, shown: Shown },
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'onggi login': {message}"
    )]
    PullDenied { registry: String, repository: String, message: String, shown: Shown },
    #[error("push to {repository} denied: {message}")]
    PushDenied { registry: String, repository: String, message: String, shown: Shown },
    #[error("manifest for {reference} not found: manifest unknown: {message}")]
    ManifestUnknown { reference: String, message: String },
    #[error("repository {repository} not found: {message}")]
    RepositoryUnknown { repository: String, message: String },
    #[error("{repository} has no blob {digest}")]
    BlobUnknown { repository: String, digest: Digest },
    #[error("toomanyrequests: {registry}: {message}")]
    RateLimited { registry: String, message: String, wait: Option<Duration> },
    #[error("{url} answers {status}: {message}")]
    Status { url: String, status: u16, message: String, wait: Option<Duration> },
    #[error("{from} redirects to {to}, {reason}")]
    Redirect { from: String, to: String, reason: &'static str },
    #[error("{registry} asks for credentials at {realm}, {reason}")]
    Realm { registry: String, realm: String, reason: &'static str },

    #[error("{what} has the digest {found}, not {wanted}")]
    WrongDigest { what: String, wanted: Digest, found: Digest },
    #[error("{what} is {found} bytes, not {wanted}")]
    WrongSize { what: String, wanted: u64, found: u64 },
    #[error("{what}: {source}")]
    Image { what: String, source: onggi_image::Error },
    #[error(
        "no matching manifest for {wanted} in the manifest list entries of {reference}; it has {}",
        Platform::list(others)
    )]
    NoPlatform { reference: String, wanted: Box<Platform>, others: Vec<Platform> },
    /// What was to be sent cannot be read.
    #[error("reading {what}: {reason}")]
    Source { what: String, reason: String },
    #[error("{what} is not supported")]
    Unsupported { what: String },

    #[error("{act} {}: {}", path.display(), reason(source))]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{} cannot be read: {reason}", path.display())]
    AuthFile { path: PathBuf, reason: String },
    #[error("the credential helper docker-credential-{helper}: {reason}")]
    Helper { helper: String, reason: String },

    #[error("interrupted")]
    Interrupted,
}

/// What a registry had been shown when it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    Nothing,
    /// What an auth file or a helper keeps.
    Kept,
    /// What a person has just typed.
    Given,
    /// Nothing, since it did not ask for anything that there is.
    NotAsked,
}

/// What TLS found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsProblem {
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    #[error("x509: certificate has expired")]
    Expired,
    #[error("x509: certificate is not yet valid")]
    NotYetValid,
    #[error("x509: certificate is not valid for this name{}", if .0.is_empty() { String::new() } else { format!(", but for {}", .0.join(", ")) })]
    WrongName(Vec<String>),
    #[error("http: server gave HTTP response to HTTPS client")]
    NotTls,
    #[error("{0}")]
    Other(String),
}

/// Without "(os error 111)", which tells a person nothing that the words have not said.
fn reason(error: &io::Error) -> String {
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}

impl Error {
    pub(crate) fn exchange(act: &'static str, url: &Url, source: io::Error) -> Error {
        let inner = source.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        if matches!(inner, Some(Error::Interrupted)) {
            return Error::Interrupted;
        }
        if source.kind() == io::ErrorKind::InvalidData {
            return Error::bad_answer(url, source.to_string());
        }
        Error::Exchange { act, url: url.shown(), source }
    }

    pub(crate) fn bad_answer(url: &Url, reason: impl Into<String>) -> Error {
        // It may quote the answer.
        Error::BadAnswer { url: url.shown(), reason: excerpt(&reason.into()) }
    }

    pub(crate) fn stalled(url: &Url, time: Duration) -> Error {
        Error::Stalled { url: url.shown(), time }
    }

    pub(crate) fn image(what: impl Into<String>) -> impl FnOnce(onggi_image::Error) -> Error {
        let what = what.into();
        move |source| Error::Image { what, source }
    }

    pub(crate) fn file(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::File { act, path, source }
    }

    /// Whether the same may succeed in a moment.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Error::Exchange { .. } | Error::Stalled { .. } | Error::RateLimited { .. } => true,
            Error::Connect { source, .. } => {
                matches!(source.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut)
            }
            Error::Status { status, .. } => matches!(status, 408 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Whether the other side could not be reached or spoken to at all.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Error::Lost { .. }
                | Error::NoSuchHost { .. }
                | Error::Lookup { .. }
                | Error::Connect { .. }
                | Error::ProxyName { .. }
                | Error::Proxy { .. }
                | Error::Tls { .. }
                | Error::Exchange { .. }
                | Error::Stalled { .. }
        )
    }

    fn hint_of_connect(address: &str, is_proxy: bool, source: &io::Error) -> Option<String> {
        Some(match source.kind() {
            _ if is_proxy => {
                "is the proxy running? HTTPS_PROXY, HTTP_PROXY and NO_PROXY say when it is asked".to_owned()
            }
            io::ErrorKind::ConnectionRefused => {
                format!("nothing listens there; is {address} the right host and port?")
            }
            io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
                "this host has no way to it: look at its network, or set HTTPS_PROXY if a proxy leads out"
                    .to_owned()
            }
            io::ErrorKind::TimedOut => {
                "a firewall may drop the packets; set HTTPS_PROXY if a proxy leads out".to_owned()
            }
            _ => return None,
        })
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Url { .. }
            | Error::ProxySetting { .. }
            | Error::CertificateFile { .. }
            | Error::AuthFile { .. } => Kind::InvalidInput,
            Error::NoSuchHost { .. }
            | Error::ManifestUnknown { .. }
            | Error::RepositoryUnknown { .. }
            | Error::BlobUnknown { .. } => Kind::NotFound,
            Error::Lookup { .. }
            | Error::Connect { .. }
            | Error::ProxyName { .. }
            | Error::Proxy { .. }
            | Error::Tls { .. }
            | Error::Exchange { .. }
            | Error::Stalled { .. }
            | Error::Status { .. }
            | Error::RateLimited { .. } => Kind::Unavailable,
            Error::BadAnswer { .. }
            | Error::TooLarge { .. }
            | Error::Source { .. }
            | Error::WrongDigest { .. }
            | Error::WrongSize { .. } => Kind::Corrupt,
            Error::Unauthorized { .. }
            | Error::PullDenied { .. }
            | Error::PushDenied { .. }
            | Error::Redirect { .. }
            | Error::Realm { .. } => Kind::PermissionDenied,
            Error::Image { source, .. } => source.kind(),
            Error::Lost { source } => source.kind(),
            Error::NoPlatform { .. } | Error::Unsupported { .. } => Kind::Unsupported,
            Error::File { source, .. } => Kind::of_io(source),
            Error::Helper { .. } => Kind::Unavailable,
            Error::Interrupted => Kind::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        let login = |registry: &str, shown: Shown| match shown {
            Shown::Nothing => format!("`onggi login{}`", login_argument(registry)),
            Shown::Kept => {
                "the credentials that are kept for it are not enough; look at `onggi login`".to_owned()
            }
            Shown::Given => {
                "are the name and the password right? Some registries take a token in place of the password"
                    .to_owned()
            }
            Shown::NotAsked => {
                "it asks for a way of logging in that is not built: there are Basic and Bearer".to_owned()
            }
        };
        Some(match self {
            Error::NoSuchHost { .. } => "is the registry's name spelled right? /etc/resolv.conf names the servers that were asked; where only a proxy leads out, set HTTPS_PROXY".to_owned(),
            Error::Lookup { .. } => "/etc/resolv.conf names the name servers; is the network up? Where only a proxy leads out, set HTTPS_PROXY".to_owned(),
            Error::ProxyName { .. } => "HTTPS_PROXY, HTTP_PROXY or ALL_PROXY names it: http://[USER:PASSWORD@]HOST[:PORT]".to_owned(),
            Error::Proxy { reason, .. } if reason.contains(PROXY_AUTHENTICATION) => "it wants a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT".to_owned(),
            Error::Lost { .. } => "it has answered until now: does the registry still run, and is the network up? What has arrived whole is not sent or fetched again".to_owned(),
            Error::Connect { address, is_proxy, source } => return Error::hint_of_connect(address, *is_proxy, source),
            Error::BadAnswer { .. } => "is it a registry? A network that wants a log-in first answers in its place".to_owned(),
            Error::Proxy { .. } => "HTTPS_PROXY names the proxy, NO_PROXY the hosts that are reached without it".to_owned(),
            Error::Tls { host, problem } => match problem {
                TlsProblem::UnknownAuthority => format!(
                    "put the certificate of its authority into /etc/onggi/certs.d/{host}/ca.crt (or /etc/docker/certs.d); `insecure = {host:?}` under [registry] in onggi.toml looks at no certificate at all"
                ),
                TlsProblem::Expired | TlsProblem::NotYetValid => format!(
                    "this host's clock says {}; if that is wrong, set it (timedatectl set-ntp true), otherwise the registry's certificate must be renewed",
                    jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC")
                ),
                TlsProblem::NotTls => format!("if it is meant to speak plain HTTP, add `insecure = {host:?}` under [registry] in onggi.toml"),
                TlsProblem::WrongName(_) => format!("another host answers for {host}: is the name right, or is there a proxy in between that HTTPS_PROXY should name?"),
                TlsProblem::Other(_) => return None,
            },
            Error::Unauthorized { registry, shown, .. }
            | Error::PullDenied { registry, shown, .. }
            | Error::PushDenied { registry, shown, .. } => login(registry, *shown),
            Error::ManifestUnknown { message, .. } if message.starts_with("name unknown") => "the registry has no repository of this name; is it spelled right?".to_owned(),
            Error::RepositoryUnknown { .. } => "is its name spelled right? A private one may need `onggi login`".to_owned(),
            Error::ManifestUnknown { reference, .. } if reference.contains('@') => "is the digest whole, and was the image pushed to this very repository?".to_owned(),
            Error::ManifestUnknown { .. } => "are the repository and the tag spelled right?".to_owned(),
            Error::RateLimited { wait, registry, .. } => match wait {
                Some(wait) => format!("{}; `onggi login{}` may raise the limit", asked(*wait), login_argument(registry)),
                None => format!("wait a while; `onggi login{}` may raise the limit", login_argument(registry)),
            },
            Error::Status { wait: Some(wait), .. } => asked(*wait),
            Error::NoPlatform { others, .. } if !others.is_empty() => "--platform chooses one of these".to_owned(),
            Error::Realm { .. } => "nothing was sent there; the registry's token server must speak TLS".to_owned(),
            Error::Redirect { .. } => {
                "nothing was sent there; `insecure` under [registry] in onggi.toml is for registries that may speak plain HTTP".to_owned()
            }
            Error::Exchange { .. } | Error::Stalled { .. } => "nothing of it is kept that is not whole; try again, and look at the network if it fails again".to_owned(),
            Error::Status { status: 500.., .. } => "the trouble is the registry's own: try again later, or tell whoever runs it".to_owned(),
            Error::WrongDigest { .. } | Error::WrongSize { .. } => "what was given is not what was asked for, and nothing of it is kept; try again, and tell whoever runs the registry (or the proxy before it) if it stays so".to_owned(),
            Error::TooLarge { .. } => "no image has documents as large; is it one?".to_owned(),
            Error::Unsupported { .. } => "what can be had from registries are images of OCI and Docker's of version 2, with tars for layers (docs/registry.md)".to_owned(),
            Error::BlobUnknown { .. } => "the image is not whole at its registry: whoever has it must push it again".to_owned(),
            Error::Helper { helper, .. } => format!("is docker-credential-{helper} in the PATH and unlocked? The auth file names it under credsStore or credHelpers"),
            Error::Image { source, .. } => return source.hint(),
            _ => return None,
        })
    }
}

/// The status of a proxy that wants credentials (RFC 9110, section 15.5.8).
const PROXY_AUTHENTICATION: &str = "407";

fn asked(wait: Duration) -> String {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    if wait > DAY {
        "it asks to wait longer than a day".to_owned()
    } else {
        format!("it asks to wait {} seconds", wait.as_secs())
    }
}

/// Docker Hub goes without saying.
fn login_argument(registry: &str) -> String {
    if registry == "docker.io" { String::new() } else { format!(" {registry}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_s_hint_is_the_next_thing_to_do() {
        let unknown =
            |message: &str| Error::ManifestUnknown { reference: "a/b:1".into(), message: message.into() };
        let no_host = || Error::NoSuchHost { host: "proxy.test".into() };
        let proxy =
            |reason: &str| Error::Proxy { proxy: "p:1".into(), host: "r.test".into(), reason: reason.into() };
        let tls = |problem| Error::Tls { host: "r.test".into(), problem };
        let status = |status| Error::Status {
            url: "https://r.test/".into(),
            status,
            message: String::new(),
            wait: None,
        };
        let digest = || Digest::of(b"");
        let bad = Error::BadAnswer { url: "https://r.test/".into(), reason: "x".into() };
        for (error, expected) in [
            (unknown("manifest unknown"), "the repository and the tag spelled right"),
            (
                Error::ManifestUnknown { reference: "a/b@sha256:0".into(), message: String::new() },
                "is the digest whole",
            ),
            (Error::RepositoryUnknown { repository: "a".into(), message: String::new() }, "spelled right"),
            (unknown("name unknown: repository name not known"), "no repository of this name"),
            (no_host(), "set HTTPS_PROXY"),
            (
                Error::ProxyName { proxy: "proxy.test:80".into(), source: Box::new(no_host()) },
                "http://[USER:PASSWORD@]",
            ),
            (proxy("it answered 407 Proxy Authentication Required"), "wants a password"),
            (proxy("it answered 403 Forbidden"), "NO_PROXY"),
            (tls(TlsProblem::WrongName(vec!["else.test".into()])), "another host answers for r.test"),
            (tls(TlsProblem::NotYetValid), "timedatectl"),
            (bad, "wants a log-in"),
            (status(503), "try again later"),
            (
                Error::WrongDigest { what: "x".into(), wanted: digest(), found: digest() },
                "nothing of it is kept",
            ),
            (Error::BlobUnknown { repository: "a".into(), digest: digest() }, "push it again"),
            (Error::Stalled { url: "https://r.test/".into(), time: Duration::from_secs(60) }, "try again"),
        ] {
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(expected), "{error}: {hint}");
        }
        let named = Error::ProxyName { proxy: "proxy.test:80".into(), source: Box::new(no_host()) };
        assert_eq!(named.to_string(), "the proxy proxy.test:80: lookup proxy.test: no such host");
    }
}
