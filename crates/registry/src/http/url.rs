//! URLs as registries use them: http or https, a host, maybe a port, a target. Anything else is refused rather than guessed.

use std::fmt;
use std::net::IpAddr;

use onggi_image::excerpt;

use crate::error::Error;

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4).
const LONGEST_HOST: usize = 253;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn name(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// The part of a URL that says who is spoken to. Credentials belong to one origin.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub scheme: Scheme,
    /// A name or an address, lower case, without brackets.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// The origin for a registry as names of images spell it: `ghcr.io`, `localhost:5000`, `[::1]:5000`.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn of_registry(scheme: Scheme, registry: &str) -> Result<Origin, Error> {
        Url::parse(&format!("{}://{registry}/", scheme.name())).map(|url| url.origin)
    }

    /// Whether it is this very machine: the only one that is spoken to in plain without being told so.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// Host and port, the port left out where it goes without saying.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == self.scheme.default_port() { host } else { format!("{host}:{}", self.port) }
    }
}

/// A whole URL without user names or fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub origin: Origin,
    /// Path and query, beginning with `/`.
    target: String,
}

impl Url {
    /// # Errors
    /// [`Error::Url`] for another scheme, a user name in it, or characters that a URL does not have.
    pub fn parse(text: &str) -> Result<Url, Error> {
        // A query can hold secrets.
        let wrong = |reason| Error::Url { text: excerpt(without_query(text)), reason };
        // A line end would begin a header of its own.
        if !text.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
            return Err(wrong("it has characters that must be escaped"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong("it has no scheme"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(wrong("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(wrong("it has a user name in it"));
        }
        let (host, port) = split_port(authority).ok_or_else(|| wrong("its host cannot be read"))?;
        let port = match port {
            None => scheme.default_port(),
            Some(port) => port.parse().map_err(|_| wrong("its port is no number below 65536"))?,
        };
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':');
        if host.is_empty() || host.len() > LONGEST_HOST || !host.bytes().all(valid) {
            return Err(wrong("its host cannot be read"));
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Ok(Url { origin: Origin { scheme, host: host.to_ascii_lowercase(), port }, target })
    }

    /// A target on an origin. The path must begin with `/`.
    #[must_use]
    pub(crate) fn on(origin: &Origin, target: String) -> Url {
        Url { origin: origin.clone(), target }
    }

    /// What a `Location` or a `Link` means here (RFC 3986, section 5, without dot segments: no registry sends them).
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn join(&self, location: &str) -> Result<Url, Error> {
        let scheme = self.origin.scheme.name();
        let path = without_query(&self.target);
        if location.contains("://") && location.find("://") < location.find(['/', '?', '#']).map(|at| at + 1)
        {
            Url::parse(location)
        } else if let Some(rest) = location.strip_prefix("//") {
            Url::parse(&format!("{scheme}://{rest}"))
        } else if location.starts_with('/') {
            Url::parse(&format!("{scheme}://{}{location}", self.origin.authority()))
        } else if location.starts_with('?') {
            Url::parse(&format!("{scheme}://{}{path}{location}", self.origin.authority()))
        } else {
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            Url::parse(&format!("{scheme}://{}{directory}/{location}", self.origin.authority()))
        }
    }

    /// The same with one more parameter, whose value is escaped.
    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Url {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&escape(value));
        self
    }

    pub(crate) fn authority(&self) -> String {
        self.origin.authority()
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// For messages: without the query, which may hold signatures and tokens.
    pub(crate) fn shown(&self) -> String {
        let path = excerpt(without_query(&self.target));
        format!("{}://{}{path}", self.origin.scheme.name(), self.authority())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", self.origin.scheme.name(), self.authority(), self.target)
    }
}

/// A value of a query: everything but what RFC 3986 calls unreserved becomes `%XX`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => (!port.contains(':')).then_some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn without_query(url: &str) -> &str {
    url.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_and_written() {
        for (text, shown) in [
            ("https://ghcr.io/v2/", "https://ghcr.io/v2/"),
            ("HTTPS://GHCR.io", "https://ghcr.io/"),
            ("https://a:443/x?y=z#f", "https://a/x?y=z"),
            ("http://[::1]:5000/v2/", "http://[::1]:5000/v2/"),
            ("http://a?b", "http://a/?b"),
        ] {
            assert_eq!(Url::parse(text).unwrap().to_string(), shown);
        }
        for wrong in [
            "",
            "a",
            "ftp://a/",
            "http://",
            "http://a b/",
            "http://a/\r\nX: y",
            "http://u:p@a/",
            "http://a:x/",
            "http://a:70000/",
            "http://[::1/",
            "http://::1/",
            "http://ä/",
            &format!("http://{}/", "a".repeat(254)),
            "file:///etc/passwd",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = Url::parse("https://r.io:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (location, whole) in [
            ("https://cdn.io/b?s=a/b://c", "https://cdn.io/b?s=a/b://c"),
            ("//cdn.io/b", "https://cdn.io/b"),
            ("/v2/b", "https://r.io:5000/v2/b"),
            ("/redirect?to=https://x/", "https://r.io:5000/redirect?to=https://x/"),
            ("?state=2", "https://r.io:5000/v2/a/blobs/uploads/?state=2"),
            ("uuid", "https://r.io:5000/v2/a/blobs/uploads/uuid"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), whole, "{location}");
        }
        assert_eq!(
            base.with("digest", "sha256:a b").target(),
            "/v2/a/blobs/uploads/?x=1&digest=sha256%3Aa%20b"
        );
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (host, loopback) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.8.9.1", true),
            ("[::1]:80", true),
            ("127.0.0.1.nip.io", false),
            ("localhost.example", false),
            ("10.0.0.1", false),
        ] {
            let origin = Origin::of_registry(Scheme::Https, host).unwrap();
            assert_eq!(origin.is_loopback(), loopback, "{host}");
        }
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_or_smuggles_lines(text in "\\PC{0,60}", location in "\\PC{0,60}") {
            if let Ok(url) = Url::parse(&format!("http://{text}")) {
                prop_assert_eq!(&Url::parse(&url.to_string()).unwrap(), &url);
                if let Ok(joined) = url.join(&location) {
                    prop_assert!(joined.to_string().bytes().all(|byte| byte > 0x20 && byte < 0x7f));
                }
            }
        }
    }
}
