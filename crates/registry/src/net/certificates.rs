//! Whom TLS trusts: the system's roots, and what lies in `certs.d/HOST[:PORT]/` as Docker and Podman have it:
//! `*.crt` are authorities for that registry, `NAME.cert` with `NAME.key` is shown to it.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::Error;

/// Where distributions keep their bundle; the first that exists is taken, as Go's programs do.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// What `certs.d` has for one registry.
#[derive(Debug, Default)]
pub(super) struct OfHost {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

/// Whom this host trusts.
#[derive(Debug, Default)]
pub(super) struct SystemRoots {
    pub(super) authorities: Vec<CertificateDer<'static>>,
    /// They were named by a person, and not by the distribution: a server may show one of them as its own.
    pub(super) named: bool,
}

/// The roots that this host trusts: `SSL_CERT_FILE` and `SSL_CERT_DIR` in place of the distribution's bundle, as for OpenSSL. None at all
/// is no error yet: each connection will say that nobody it trusts has signed.
pub(super) fn system_roots() -> SystemRoots {
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let (file, directory) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let mut roots = Vec::new();
    if file.is_none() && directory.is_none() {
        let bundle = BUNDLES.iter().map(Path::new).find(|path| path.exists());
        bundle.into_iter().for_each(|path| roots.extend(read(path).unwrap_or_default()));
        return SystemRoots { authorities: roots, named: false };
    }
    file.iter().for_each(|path| roots.extend(read(path).unwrap_or_default()));
    for entry in directory.into_iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten() {
        roots.extend(read(&entry.path()).unwrap_or_default());
    }
    SystemRoots { authorities: roots, named: true }
}

/// What the directories, the first of them first, have for a registry (`localhost:5000`).
pub(super) fn of_host(directories: &[PathBuf], authority: &str) -> Result<OfHost, Error> {
    let mut found = OfHost::default();
    for directory in directories.iter().map(|directory| directory.join(authority)) {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => found.authorities.extend(read(&path)?),
                Some("cert") if found.client.is_none() => {
                    let key = path.with_extension("key");
                    let private = PrivateKeyDer::from_pem_file(&key);
                    let private = private.map_err(|error| wrong(&key, &error.to_string()))?;
                    found.client = Some((read(&path)?, private));
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(std::iter::Iterator::collect);
    let certificates: Vec<_> = read.map_err(|error| wrong(path, &error.to_string()))?;
    if certificates.is_empty() {
        return Err(wrong(path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn wrong(path: &Path, reason: &str) -> Error {
    Error::CertificateFile { path: path.to_owned(), reason: reason.to_owned() }
}
