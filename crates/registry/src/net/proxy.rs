//! Which proxy, if any, is asked: `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, by the rules that Go's programs have made common.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::Error;
use crate::http::url::{Origin, Scheme, Url};

/// The proxies of this process, as texts until one is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// For `https://` and for `http://`.
    pub https: Option<String>,
    pub http: Option<String>,
    /// Hosts, domains, addresses and networks that are reached directly.
    pub except: Vec<String>,
}

/// One proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) origin: Origin,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

impl Proxies {
    /// From the environment. Names in lower case win, as curl and Go have it.
    #[must_use]
    pub fn from_environment() -> Proxies {
        let read = |name: &str| {
            let value = std::env::var(name.to_ascii_lowercase()).or_else(|_| std::env::var(name));
            value.ok().filter(|value| !value.is_empty())
        };
        let except = read("NO_PROXY").unwrap_or_default();
        Proxies {
            https: read("HTTPS_PROXY").or_else(|| read("ALL_PROXY")),
            http: read("HTTP_PROXY").or_else(|| read("ALL_PROXY")),
            except: except.split(',').map(|entry| entry.trim().to_ascii_lowercase()).collect(),
        }
    }

    pub(super) fn for_origin(&self, origin: &Origin) -> Result<Option<Proxy>, Error> {
        let proxy = match origin.scheme {
            Scheme::Https => &self.https,
            Scheme::Http => &self.http,
        };
        match proxy {
            Some(text) if !self.excepts(origin) => Proxy::parse(text).map(Some),
            _ => Ok(None),
        }
    }

    fn excepts(&self, origin: &Origin) -> bool {
        let (host, address) = (origin.host.as_str(), origin.host.parse::<IpAddr>().ok());
        let matches = |entry: &String| {
            let (entry, port) = match entry.rsplit_once(':') {
                Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                    (host, port.parse::<u16>().ok())
                }
                _ => (entry.as_str(), None),
            };
            if port.is_some_and(|port| port != origin.port) {
                return false;
            }
            let entry = entry.trim_matches(['[', ']']);
            match address {
                _ if entry == "*" => true,
                Some(address) => entry.parse() == Ok(address) || in_network(address, entry),
                None => {
                    let domain =
                        entry.strip_prefix("*.").or_else(|| entry.strip_prefix('.')).unwrap_or(entry);
                    let below = host.strip_suffix(domain).is_some_and(|front| front.ends_with('.'));
                    !domain.is_empty() && (below || host == entry)
                }
            }
        };
        origin.is_loopback() || self.except.iter().any(matches)
    }
}

impl Proxy {
    fn parse(text: &str) -> Result<Proxy, Error> {
        let wrong = |reason| Error::ProxySetting { text: without_password(text), reason };
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let (scheme, rest) = whole.split_once("://").unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(wrong("only proxies that are spoken to in plain HTTP (http://) are built"));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let url = Url::parse(&format!("http://{host}/")).map_err(|_| wrong("it is no address of a proxy"))?;
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((user, ""));
            format!("Basic {}", STANDARD.encode(format!("{}:{}", unescape(name), unescape(password))))
        });
        Ok(Proxy { origin: url.origin, authorization })
    }
}

fn without_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => text.to_owned(),
    }
}

/// `%41` to `A`; what is no such escape stays.
fn unescape(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(value) => {
                out.push(value);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Whether the address is in a network like `10.0.0.0/8`.
fn in_network(address: IpAddr, network: &str) -> bool {
    let Some((base, bits)) = network.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let prefix = |value: u128, width: u32| if bits == 0 { 0 } else { value >> width.saturating_sub(bits) };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) if bits <= 32 => {
            prefix(u32::from(address).into(), 32) == prefix(u32::from(base).into(), 32)
        }
        (IpAddr::V6(address), IpAddr::V6(base)) if bits <= 128 => {
            prefix(address.into(), 128) == prefix(base.into(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_are_by_name_domain_address_network_and_port() {
        let except =
            "corp.example,.dot.example,*.star.example,10.0.0.0/8,192.168.1.7,[fd00::1],only.example:5000";
        let proxies = Proxies {
            https: Some("proxy:3128".to_owned()),
            http: None,
            except: except.split(',').map(str::to_owned).collect(),
        };
        for (host, direct) in [
            ("ghcr.io", false),
            ("corp.example", true),
            ("r.corp.example", true),
            ("xcorp.example", false),
            ("a.dot.example", true),
            ("dot.example", false),
            ("a.star.example", true),
            ("10.9.8.7:5000", true),
            ("11.9.8.7", false),
            ("192.168.1.7", true),
            ("[fd00::1]", true),
            ("only.example", false),
            ("only.example:5000", true),
            ("localhost:5000", true),
        ] {
            let origin = Origin::of_registry(Scheme::Https, host).unwrap();
            assert_eq!(proxies.for_origin(&origin).unwrap().is_none(), direct, "{host}");
        }
        let all = Proxies { except: vec!["*".to_owned()], ..proxies };
        assert!(all.for_origin(&Origin::of_registry(Scheme::Https, "ghcr.io").unwrap()).unwrap().is_none());
    }

    #[test]
    fn proxies_are_read() {
        let proxy = Proxy::parse("http://us%40er:p:w@proxy.example:3128/").unwrap();
        assert_eq!(proxy.origin.authority(), "proxy.example:3128");
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNAZXI6cDp3"));
        let error = Proxy::parse("socks5://u:secret@h:1").unwrap_err().to_string();
        assert!(error.contains("…@h:1") && !error.contains("secret"), "{error}");
    }
}
