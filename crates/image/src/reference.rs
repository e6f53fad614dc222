//! The names of images by Docker's grammar (`distribution/reference`), normalised as Docker does: `debian` is
//! `docker.io/library/debian:latest`. A [`Reference`] is always whole; its short form is made when it is shown.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::Digest;
use crate::error::{Error, excerpt};

const DEFAULT_DOMAIN: &str = "docker.io";
/// What very old configurations call the default domain.
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// The longest path of a repository, in bytes.
const PATH_LIMIT: usize = 255;
/// The longest tag, in bytes.
const TAG_LIMIT: usize = 128;

/// A whole name of an image: where it lives, what it is called, and which one of those is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Reads a name as a user types it. With neither tag nor digest the tag is `latest`.
    ///
    /// # Errors
    /// [`Error::Reference`], [`Error::ReferenceUppercase`], [`Error::Digest`]; the texts begin as Docker's do.
    pub fn parse(text: &str) -> Result<Reference, Error> {
        let mut reference = Reference::parse_bare(text)?;
        if reference.tag.is_none() && reference.digest.is_none() {
            reference.tag = Some(DEFAULT_TAG.to_owned());
        }
        Ok(reference)
    }

    /// As [`Reference::parse`], but what has no tag stays without one: the name of a repository, for lists and filters.
    ///
    /// # Errors
    /// As [`Reference::parse`].
    pub fn parse_bare(text: &str) -> Result<Reference, Error> {
        let wrong = |reason| Error::Reference { text: excerpt(text), reason };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            // It would be mistaken for an id wherever both are allowed.
            return Err(wrong("64 hexadecimal digits are an id, not a name"));
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(Digest::parse(digest)?)),
            None => (text, None),
        };
        let (domain, rest) = split_domain(name);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let path = match (domain, path.contains('/')) {
            (DEFAULT_DOMAIN, false) => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Error::ReferenceUppercase {
                name: excerpt(path.strip_prefix(OFFICIAL).unwrap_or(&path)),
            });
        }
        if !is_domain(domain) {
            return Err(wrong("the host is not a name, an address or either with a port"));
        }
        if path.len() > PATH_LIMIT {
            return Err(wrong("the repository name is longer than 255 characters"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(wrong("a part of the repository name is not letters, digits and single separators"));
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(wrong("the tag is not 1 to 128 letters, digits, '_', '.' or '-'"));
        }
        Ok(Reference { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
    }

    /// The registry: `docker.io`, `localhost:5000`, `[::1]:5000`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository within the registry: `library/debian`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, whatever the tag or digest?
    #[must_use]
    pub fn same_repository(&self, other: &Reference) -> bool {
        self.domain == other.domain && self.path == other.path
    }

    /// The repository as people see it: `debian`, `owner/name`, `ghcr.io/owner/name`.
    #[must_use]
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return format!("{}/{}", self.domain, self.path);
        }
        match self.path.strip_prefix(OFFICIAL) {
            Some(official) if !official.contains('/') => official.to_owned(),
            // Alone, the beginning of such a path would be read as a host.
            _ if split_domain(&self.path) != (DEFAULT_DOMAIN, &self.path) => {
                format!("{DEFAULT_DOMAIN}/{}", self.path)
            }
            _ => self.path.clone(),
        }
    }

    /// The whole name as people see it: `debian:latest`. Reading it again gives the same reference.
    #[must_use]
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        self.push_suffix(&mut text);
        text
    }

    /// The same repository with this digest in place of tag and digest, as in `RepoDigests`.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Reference {
        Reference { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The same name without its digest, if it has a tag: what a name is kept under.
    #[must_use]
    pub fn without_digest(&self) -> Reference {
        Reference { digest: None, ..self.clone() }
    }

    fn push_suffix(&self, text: &mut String) {
        for (separator, part) in [(':', self.tag.clone()), ('@', self.digest.as_ref().map(Digest::to_string))]
        {
            if let Some(part) = part {
                text.push(separator);
                text.push_str(&part);
            }
        }
    }
}

/// Docker's rule for the first part: it is a host if it looks like one (a dot, a port, `localhost`, or capitals, which no path may have).
fn split_domain(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    }
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, "")) => return is_ipv6(address),
            Some((address, port)) => match port.strip_prefix(':') {
                Some(port) => return is_ipv6(address) && is_port(port),
                None => return false,
            },
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(is_label) && port.is_none_or(is_port)
}

fn is_ipv6(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Runs of `[a-z0-9]` between separators: one of `.` and `_`, two `_`, or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends =
        text.bytes().next().is_some_and(alphanumeric) && text.bytes().next_back().is_some_and(alphanumeric);
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LIMIT
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = format!("{}/{}", self.domain, self.path);
        self.push_suffix(&mut text);
        f.write_str(&text)
    }
}

impl FromStr for Reference {
    type Err = Error;
    fn from_str(text: &str) -> Result<Reference, Error> {
        Reference::parse(text)
    }
}

impl Serialize for Reference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Reference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Reference, D::Error> {
        let text = String::deserialize(deserializer)?;
        Reference::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_completed_and_shortened_as_docker_does() {
        for (typed, whole, familiar) in [
            ("debian", "docker.io/library/debian:latest", "debian:latest"),
            ("debian:12", "docker.io/library/debian:12", "debian:12"),
            ("library/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
            ("index.docker.io/library/debian:1", "docker.io/library/debian:1", "debian:1"),
            ("owner/name", "docker.io/owner/name:latest", "owner/name:latest"),
            ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
            ("docker.io/docker.io/c", "docker.io/docker.io/c:latest", "docker.io/docker.io/c:latest"),
            ("ghcr.io/o/n:v1.2-3_x", "ghcr.io/o/n:v1.2-3_x", "ghcr.io/o/n:v1.2-3_x"),
            ("127.0.0.1:80/a", "127.0.0.1:80/a:latest", "127.0.0.1:80/a:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("[2001:db8::1]/a", "[2001:db8::1]/a:latest", "[2001:db8::1]/a:latest"),
            ("HOST/a", "HOST/a:latest", "HOST/a:latest"),
            ("a__b.c-d---e", "docker.io/library/a__b.c-d---e:latest", "a__b.c-d---e:latest"),
            ("debian:_", "docker.io/library/debian:_", "debian:_"),
            ("foo:5000", "docker.io/library/foo:5000", "foo:5000"),
        ] {
            let reference = Reference::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}"));
            assert_eq!(reference.to_string(), whole, "{typed}");
            assert_eq!(reference.familiar(), familiar, "{typed}");
        }
        let pinned = Reference::parse(&format!("debian:12@{DIGEST}")).unwrap();
        assert_eq!(pinned.to_string(), format!("docker.io/library/debian:12@{DIGEST}"));
        assert_eq!(Reference::parse(&format!("a@{DIGEST}")).unwrap().tag(), None);
        assert_eq!(Reference::parse_bare("debian").unwrap().to_string(), "docker.io/library/debian");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        let id = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_path = format!("a/{}", "p".repeat(256));
        for text in [
            "",
            " ",
            "a b",
            ":tag",
            "@",
            "a:",
            "a@",
            "a@sha256:00",
            "a/",
            "/a",
            "a//b",
            "a..b",
            "a___b",
            "a._b",
            "-a",
            "a-",
            "_a",
            "a_",
            "a:-x",
            "a:.x",
            "a:b:c",
            "../a",
            "a/../b",
            "a\0",
            "a\n",
            "host.:5000/a",
            "-host.com/a",
            "h.com:/a",
            "h.com:x/a",
            "[::1/a",
            "[]:5/a",
            "[::1]x/a",
            "ä",
            "a:ü",
            "http://a/b",
            id,
            &long_tag,
            &long_path,
            "docker.io/",
            "localhost:5000/",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?} was accepted");
        }
        let error = Reference::parse("Debian").unwrap_err();
        assert_eq!(error.to_string(), "invalid reference format: repository name (Debian) must be lowercase");
        assert!(Reference::parse(&long_tag[..130]).is_ok());
    }

    proptest! {
        #[test]
        fn both_forms_read_back_the_same(text in r"([a-zA-Z0-9.\[\]:-]{0,12}/)?[a-z0-9._/-]{1,20}(:[\w.-]{0,10})?") {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,80}") {
            let _ = Reference::parse(&text);
        }
    }
}
