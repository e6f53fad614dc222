//! The dialer of real use: names, proxies, TCP and TLS, in this order. Plain standard-library sockets; nothing of one operating system.

mod certificates;
mod proxy;
mod resolve;
mod tcp;
mod tls;

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use onggi_image::excerpt;

use crate::config::Config;
use crate::error::Error;
use crate::http::head::{self, Head};
use crate::http::url::{Origin, Scheme, Url};
use crate::http::{Dial, Dialled, Stream, ThroughProxy};
use crate::watch::Watch;
use certificates::SystemRoots;
pub use proxy::Proxies;
use proxy::Proxy;
use tcp::Patient;

/// Connects to registries and to where they send their clients.
#[derive(Debug)]
pub(crate) struct Dialer {
    config: Arc<Config>,
    watch: Arc<dyn Watch>,
    /// Read when the first TLS connection is made, and never for a registry on this machine that speaks plain HTTP.
    system_roots: OnceLock<SystemRoots>,
    tls: Mutex<HashMap<String, Arc<rustls::ClientConfig>>>,
}

impl Dialer {
    pub(crate) fn new(config: Arc<Config>, watch: Arc<dyn Watch>) -> Dialer {
        Dialer { config, watch, system_roots: OnceLock::new(), tls: Mutex::default() }
    }

    fn tls_config(&self, origin: &Origin) -> Result<Arc<rustls::ClientConfig>, Error> {
        let authority = origin.authority();
        let mut known = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = known.get(&authority) {
            return Ok(Arc::clone(config));
        }
        let roots = self.system_roots.get_or_init(certificates::system_roots);
        let own = certificates::of_host(&self.config.certificate_directories, &authority)?;
        let config = tls::config(roots, own, self.config.is_insecure(&authority), &authority)?;
        known.insert(authority, Arc::clone(&config));
        Ok(config)
    }

    fn connect(&self, origin: &Origin, is_proxy: bool) -> Result<Patient, Error> {
        let addresses = resolve::resolve(&origin.host, &*self.watch);
        let addresses = addresses.map_err(|error| match error {
            Error::NoSuchHost { .. } | Error::Lookup { .. } if is_proxy => {
                Error::ProxyName { proxy: origin.authority(), source: Box::new(error) }
            }
            other => other,
        })?;
        tcp::connect(origin, &addresses, is_proxy, self.config.silence, &self.watch)
    }
}

impl Dial for Dialer {
    fn dial(&self, url: &Url) -> Result<Dialled, Error> {
        let origin = &url.origin;
        let proxy = self.config.proxies.for_origin(origin)?;
        let plain = match &proxy {
            None => self.connect(origin, false)?,
            Some(proxy) => {
                let mut stream = self.connect(&proxy.origin, true)?;
                if origin.scheme == Scheme::Http {
                    let authorization = proxy.authorization.clone();
                    let through_proxy = Some(ThroughProxy { authorization });
                    return Ok(Dialled { stream: Box::new(stream), through_proxy });
                }
                tunnel(&mut stream, proxy, origin)?;
                stream
            }
        };
        let stream: Box<dyn Stream> = match origin.scheme {
            Scheme::Http => Box::new(plain),
            Scheme::Https => tls::connect(plain, self.tls_config(origin)?, url)?,
        };
        Ok(Dialled { stream, through_proxy: None })
    }
}

/// Asks a proxy for a connection to the origin (RFC 9110, section 9.3.6).
fn tunnel(stream: &mut Patient, proxy: &Proxy, origin: &Origin) -> Result<(), Error> {
    let host = if origin.host.contains(':') { format!("[{}]", origin.host) } else { origin.host.clone() };
    let authority = format!("{host}:{}", origin.port);
    let mut request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some(value) = &proxy.authorization {
        request.push_str(&format!("Proxy-Authorization: {value}\r\n"));
    }
    request.push_str("\r\n");
    let refused = |reason| Error::Proxy { proxy: proxy.origin.authority(), host: origin.authority(), reason };
    stream.write_all(request.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let mut answer = Vec::new();
    loop {
        // One byte at a time: what follows the head is not the proxy's any more.
        let mut byte = [0];
        match std::io::Read::read(stream, &mut byte) {
            Ok(0) => return Err(refused("it closed the connection".to_owned())),
            Ok(_) => answer.push(byte[0]),
            Err(error) => return Err(refused(error.to_string())),
        }
        if !answer.ends_with(b"\r\n\r\n") {
            if answer.len() > head::LIMIT {
                return Err(refused("its answer is too long".to_owned()));
            }
            continue;
        }
        return match Head::parse(&answer) {
            Ok(Some((head, _))) if head.is_success() => Ok(()),
            Ok(Some((head, _))) => {
                Err(refused(format!("it answered {} {}", head.status, excerpt(&head.reason))))
            }
            _ => Err(refused("its answer is not HTTP".to_owned())),
        };
    }
}
