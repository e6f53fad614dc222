//! What the client is told about registries: plain data, from wherever the caller's settings come.

use std::path::PathBuf;
use std::time::Duration;

use crate::net::Proxies;

/// How registries are reached.
#[derive(Debug, Clone)]
pub struct Config {
    /// Registries by host (and port, unless it is 443) that may be spoken to in plain HTTP, and whose certificates are not looked at.
    pub insecure: Vec<String>,
    /// Other places that have what a registry has, by the registry's host: asked first, in this order, and never given the registry's credentials.
    /// Each is a host with an optional port and `http://` or `https://` before it.
    pub mirrors: Vec<(String, Vec<String>)>,
    /// Directories like `/etc/docker/certs.d`, the one that wins first.
    pub certificate_directories: Vec<PathBuf>,
    pub proxies: Proxies,
    /// How long a peer may be silent.
    pub silence: Duration,
    /// How often what fails in passing is tried, and how long the first pause is; each further one is twice as long.
    pub attempts: u32,
    pub first_pause: Duration,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            insecure: Vec::new(),
            mirrors: Vec::new(),
            certificate_directories: Vec::new(),
            proxies: Proxies::default(),
            silence: Duration::from_secs(60),
            attempts: 5,
            first_pause: Duration::from_millis(500),
        }
    }
}

impl Config {
    /// Whether the setting says so for this host.
    #[must_use]
    pub fn is_insecure(&self, authority: &str) -> bool {
        self.insecure.iter().any(|entry| entry.eq_ignore_ascii_case(authority))
    }

    pub(crate) fn mirrors_of(&self, registry: &str) -> &[String] {
        let found = self.mirrors.iter().find(|(known, _)| known == registry);
        found.map_or(&[], |(_, mirrors)| mirrors.as_slice())
    }
}
