//! Tokens: what a token server is asked and what it answers (distribution/docs/spec/auth).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onggi_image::excerpt;
use serde::Deserialize;

use super::Credential;
use super::challenge::Challenge;
use crate::error::Error;
use crate::http::url::{Origin, Scheme, Url, escape};

/// The longest answer of a token server.
pub(crate) const LIMIT: u64 = 1 << 20;
/// A token that does not say how long it is good for is good for a minute.
const DEFAULT_LIFE: u64 = 60;
/// A token is not shown in its last seconds.
const MARGIN: Duration = Duration::from_secs(10);

/// What goes into the `Authorization` header, and until when.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) value: String,
    expires: Option<Instant>,
}

impl Authorization {
    pub(crate) fn basic(user: &str, password: &str) -> Authorization {
        let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Authorization { value, expires: None }
    }

    pub(crate) fn bearer(token: &str) -> Authorization {
        Authorization { value: format!("Bearer {token}"), expires: None }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

/// What to ask the token server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenRequest {
    pub(crate) url: Url,
    pub(crate) authorization: Option<String>,
    /// For a POST; a GET otherwise.
    pub(crate) form: Option<String>,
}

/// The request for a challenge. The registry says where its tokens are made, and it alone: the challenge must have come from the very origin
/// that the credentials are for. The realm may be another host's, as the protocol has it (Docker Hub's is), but never one where a secret of a
/// registry with TLS would travel in plain, be it this very machine: any user of it may listen at such a port.
///
/// A registry on this machine speaks plain HTTP without having been named in the settings. It sends nobody to another machine in plain unless that one
/// is named, which `insecure` says of a host.
pub(crate) fn request(
    challenge: &Challenge,
    scopes: &[String],
    registry: &Origin,
    credential: Option<&Credential>,
    insecure: impl FnOnce(&Origin) -> bool,
) -> Result<Option<TokenRequest>, Error> {
    let Challenge::Bearer { realm, service, .. } = challenge else { return Ok(None) };
    let refused = |reason| Error::Realm { registry: registry.authority(), realm: excerpt(realm), reason };
    let url = Url::parse(realm).map_err(|_| refused("which is no URL"))?;
    if url.origin.scheme == Scheme::Http {
        let leaves = registry.is_loopback() && !url.origin.is_loopback();
        if registry.scheme == Scheme::Https || leaves && !insecure(&url.origin) {
            return Err(refused("where they would travel in plain text"));
        }
    }
    if let Some(Credential::Identity { token }) = credential {
        let mut form = format!("grant_type=refresh_token&refresh_token={}&client_id=onggi", escape(token));
        form.push_str(
            &service.as_ref().map_or(String::new(), |service| format!("&service={}", escape(service))),
        );
        if !scopes.is_empty() {
            form.push_str(&format!("&scope={}", escape(&scopes.join(" "))));
        }
        return Ok(Some(TokenRequest { url, authorization: None, form: Some(form) }));
    }
    let mut url = url;
    if let Some(service) = service {
        url = url.with("service", service);
    }
    for scope in scopes {
        url = url.with("scope", scope);
    }
    let authorization = match credential {
        Some(Credential::Password { user, password }) => {
            url = url.with("account", user);
            Some(Authorization::basic(user, password).value)
        }
        _ => None,
    };
    Ok(Some(TokenRequest { url, authorization, form: None }))
}

/// The token in an answer.
pub(crate) fn parse(bytes: &[u8]) -> Option<Authorization> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        token: Option<String>,
        #[serde(default)]
        access_token: Option<String>,
        #[serde(default)]
        expires_in: Option<u64>,
    }
    let answer: Answer = serde_json::from_slice(bytes).ok()?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty())?;
    // What becomes a header must not begin another.
    if !token.bytes().all(|byte| (0x21..0x7f).contains(&byte)) {
        return None;
    }
    let life = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_LIFE).clamp(1, 1 << 20));
    let life = life.saturating_sub(MARGIN).max(life / 2);
    Some(Authorization { expires: Some(Instant::now() + life), ..Authorization::bearer(&token) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: Some("s v".to_owned()), scope: None }
    }

    #[test]
    fn token_servers_are_asked_in_their_way() {
        let registry = Origin::of_registry(Scheme::Https, "r.io").unwrap();
        let password = Credential::Password { user: "me".to_owned(), password: "pw".to_owned() };
        let identity = Credential::Identity { token: "t/1".to_owned() };
        let scopes = ["repository:a/b:pull".to_owned()];
        let ask = |credential| {
            let challenge = bearer("https://auth.io/token?x=1");
            request(&challenge, &scopes, &registry, credential, |_| false).unwrap().unwrap()
        };
        let anonymous = ask(None);
        assert_eq!(
            anonymous.url.to_string(),
            "https://auth.io/token?x=1&service=s%20v&scope=repository%3Aa%2Fb%3Apull"
        );
        assert_eq!(anonymous.authorization, None);
        let known = ask(Some(&password));
        assert_eq!(known.authorization.as_deref(), Some("Basic bWU6cHc="));
        assert!(known.url.to_string().ends_with("&account=me"));
        let refreshed = ask(Some(&identity));
        assert_eq!(
            refreshed.form.as_deref(),
            Some(
                "grant_type=refresh_token&refresh_token=t%2F1&client_id=onggi&service=s%20v&scope=repository%3Aa%2Fb%3Apull"
            )
        );
        assert_eq!(request(&Challenge::Basic, &scopes, &registry, None, |_| false).unwrap(), None);
    }

    #[test]
    fn credentials_do_not_travel_in_plain() {
        for (scheme, registry, realm, goes) in [
            (Scheme::Https, "r.io", "https://auth.io/", true),
            (Scheme::Https, "r.io", "https://localhost:5001/", true),
            (Scheme::Https, "r.io", "http://auth.io/", false),
            (Scheme::Https, "r.io", "http://named.io/", false),
            (Scheme::Https, "r.io", "http://localhost:5001/", false),
            (Scheme::Https, "localhost:5000", "http://127.0.0.1:5001/", false),
            (Scheme::Https, "localhost:5000", "http://localhost:5000/", false),
            (Scheme::Https, "r.io", "file:///x", false),
            // In the settings, or it would not be spoken to in plain.
            (Scheme::Http, "r.io", "http://auth.io/", true),
            (Scheme::Http, "localhost:5000", "http://127.0.0.1:5001/", true),
            (Scheme::Http, "localhost:5000", "https://auth.io/", true),
            (Scheme::Http, "localhost:5000", "http://auth.io/", false),
            (Scheme::Http, "localhost:5000", "http://named.io/", true),
        ] {
            let registry = Origin::of_registry(scheme, registry).unwrap();
            let named = |origin: &Origin| origin.host == "named.io";
            let asked = request(&bearer(realm), &[], &registry, None, named);
            assert_eq!(asked.is_ok(), goes, "{registry:?} {realm}");
            assert!(goes || matches!(asked, Err(Error::Realm { .. })));
        }
    }

    #[test]
    fn tokens_are_read_and_end() {
        let good = parse(br#"{"access_token":"abc","expires_in":300,"other":1}"#).unwrap();
        assert_eq!(good.value, "Bearer abc");
        assert!(good.is_good());
        for bad in ["", "{}", r#"{"token":""}"#, r#"{"token":"a\r\nX: y"}"#, r#"{"token":1}"#] {
            assert!(parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
