//! TLS over a connection, and what its failures mean for a person.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, InvalidMessage, RootCertStore,
    SignatureScheme, StreamOwned,
};

use super::certificates::{OfHost, SystemRoots};
use super::tcp::Patient;
use crate::error::{Error, TlsProblem};
use crate::http::Stream;
use crate::http::url::Url;

/// As many names of a certificate as a person reads.
const MOST_NAMES: usize = 4;

/// How the registry at `authority` is trusted: by the system's roots and its own authorities; by nothing at all if it is set as insecure.
pub(super) fn config(
    system: &SystemRoots,
    own: OfHost,
    insecure: bool,
    authority: &str,
) -> Result<Arc<ClientConfig>, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Tls {
        host: authority.to_owned(),
        problem: TlsProblem::Other(error.to_string()),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    // Bundles hold what no verifier reads any more; the rest of them is still good.
    roots.add_parsable_certificates(system.authorities.iter().cloned());
    let (added, _) = roots.add_parsable_certificates(own.authorities.iter().cloned());
    if added < own.authorities.len() {
        return Err(failed(&"a certificate in its certs.d directory cannot be read"));
    }
    let chain = match roots.is_empty() {
        // The builder wants at least one.
        true => None,
        false => {
            let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            Some(builder.build().map_err(|error| failed(&error))?)
        }
    };
    let mut pinned = own.authorities;
    if system.named {
        pinned.extend(system.authorities.iter().cloned());
    }
    let verifier = Verifier { chain, pinned, insecure, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    Ok(Arc::new(match own.client {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(|error| failed(&error))?,
        None => builder.with_no_client_auth(),
    }))
}

/// Shakes hands, so that what is wrong is known as TLS's before a request is sent.
pub(super) fn connect(
    stream: Patient,
    config: Arc<ClientConfig>,
    url: &Url,
) -> Result<Box<dyn Stream>, Error> {
    let host = url.origin.authority();
    let failed = |problem| Error::Tls { host: host.clone(), problem };
    let name = ServerName::try_from(url.origin.host.clone())
        .map_err(|_| failed(TlsProblem::Other("its name cannot be in a certificate".to_owned())))?;
    let connection =
        ClientConnection::new(config, name).map_err(|error| failed(TlsProblem::Other(error.to_string())))?;
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        if let Err(error) = stream.conn.complete_io(&mut stream.sock) {
            return Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(tls) => failed(problem(tls)),
                None if error.kind() == io::ErrorKind::UnexpectedEof => {
                    failed(TlsProblem::Other("the connection was closed during the handshake".to_owned()))
                }
                None => Error::exchange("shake hands with", url, error),
            });
        }
    }
    Ok(Box::new(stream))
}

/// `DnsName("ghcr.io")` to `ghcr.io`: rustls gives names as it prints them for its own developers.
fn bare(name: &str) -> String {
    let inner = name.split_once('(').map_or(name, |(_, inner)| inner.trim_end_matches(')'));
    inner.trim_matches('"').to_owned()
}

fn problem(error: &rustls::Error) -> TlsProblem {
    use CertificateError as C;
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return match error {
            // "HTTP/1.1 400 Bad Request" where a record of TLS should begin.
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => TlsProblem::NotTls,
            other => TlsProblem::Other(other.to_string()),
        };
    };
    match certificate {
        C::UnknownIssuer => TlsProblem::UnknownAuthority,
        C::NotValidYet | C::NotValidYetContext { .. } => TlsProblem::NotYetValid,
        C::Expired | C::ExpiredContext { .. } => TlsProblem::Expired,
        C::NotValidForName => TlsProblem::WrongName(Vec::new()),
        C::NotValidForNameContext { presented, .. } => {
            TlsProblem::WrongName(presented.iter().take(MOST_NAMES).map(|name| bare(name)).collect())
        }
        other => {
            let text = other.to_string();
            // webpki: an authority that is its own server. It is trusted once it is known, see `Verifier`.
            if text.contains("CaUsedAsEndEntity") {
                TlsProblem::UnknownAuthority
            } else {
                TlsProblem::Other(text)
            }
        }
    }
}

/// The usual verification by chains, with one addition: a server's certificate that lies in `certs.d` itself, or in `SSL_CERT_FILE` or `SSL_CERT_DIR`, byte
/// for byte, is trusted for its name and its time. People make such certificates with one command of openssl, which marks them as authorities,
/// and chains refuse an authority as a server.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    pinned: Vec<CertificateDer<'static>>,
    insecure: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        use TlsProblem as P;
        let verified = match &self.chain {
            Some(chain) => chain.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        };
        match verified {
            // The chain looks at the time before it looks at who has signed.
            Err(error)
                if !matches!(problem(&error), P::Expired | P::NotYetValid | P::WrongName(_))
                    && self.pinned.iter().any(|pinned| pinned == certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
