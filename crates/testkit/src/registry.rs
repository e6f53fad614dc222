//! A real registry (Debian's `docker-registry`) of a test's own: in plain or with TLS, for everybody, with passwords, or with tokens and a small
//! server that makes them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use tempfile::TempDir;

use crate::http::{Request, Server, respond};

/// Whom a registry lets in. The user is `me`, the password `s3cret`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistryAccess {
    Everybody,
    Password,
    Token,
}

/// A registry on a port of its own, until it is dropped.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    address: String,
    directory: TempDir,
    log: Option<JoinHandle<()>>,
    /// Makes the tokens.
    _tokens: Option<Server>,
}

/// `me:s3cret`, as `htpasswd -B` writes it.
const PASSWORDS: &str = "me:$2y$05$esL4heoIRoA/wIo4BL5C6eST5CnFVjoxJYHTwH8kwwyhaY89U8RnK\n";

impl Registry {
    /// One that speaks plain HTTP to everybody.
    #[must_use]
    pub fn plain() -> Registry {
        Registry::start(false, RegistryAccess::Everybody)
    }

    /// One that speaks TLS, with a certificate that it has signed itself.
    #[must_use]
    pub fn with_tls(access: RegistryAccess) -> Registry {
        Registry::start(true, access)
    }

    /// One that speaks plain HTTP and asks for tokens, which its server gives in plain HTTP as well: one with TLS could send nobody there.
    #[must_use]
    pub fn with_tokens() -> Registry {
        Registry::start(false, RegistryAccess::Token)
    }

    fn start(tls: bool, access: RegistryAccess) -> Registry {
        let directory = tempfile::Builder::new().prefix("onggi-registry-").tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        if tls || access == RegistryAccess::Token {
            certify(directory.path());
        }
        let mut config = json!({
            "version": "0.1",
            "storage": { "filesystem": { "rootdirectory": path("data") }, "delete": { "enabled": true } },
            "http": { "addr": "127.0.0.1:0" },
        });
        if tls {
            config["http"]["tls"] = json!({ "certificate": path("cert.pem"), "key": path("key.pem") });
        }
        let mut tokens = None;
        match access {
            RegistryAccess::Everybody => {}
            RegistryAccess::Password => {
                fs::write(path("htpasswd"), PASSWORDS).expect("a file of passwords");
                config["auth"] = json!({ "htpasswd": { "realm": "test", "path": path("htpasswd") } });
            }
            RegistryAccess::Token => {
                let place = directory.path().to_owned();
                let server = Server::new(move |request, stream| give_token(&place, request, stream));
                let realm = format!("http://{}/token", server.host());
                let bundle = path("cert.pem");
                config["auth"] = json!({ "token": { "realm": realm, "service": "test", "issuer": "test", "rootcertbundle": bundle } });
                tokens = Some(server);
            }
        }
        // JSON is YAML.
        fs::write(path("config.yml"), config.to_string()).expect("its configuration");
        let mut child = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker-registry: ./test installs it");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let address = loop {
            let mut line = String::new();
            let count = log.read_line(&mut line).expect("its log is text");
            assert!(count > 0, "docker-registry ended before it listened");
            if let Some((_, after)) = line.split_once("listening on ") {
                break after.split([',', '"', ' ', '\n']).next().unwrap_or_default().to_owned();
            }
        };
        // Nobody reads the rest, and a full pipe would stop it.
        let log = std::thread::spawn(move || {
            // It ends with the registry, or fails with it.
            let _ = std::io::copy(&mut log, &mut std::io::sink());
        });
        Registry { child, address, directory, log: Some(log), _tokens: tokens }
    }

    /// `127.0.0.1:41234`
    #[must_use]
    pub fn host(&self) -> &str {
        &self.address
    }

    /// Has programs that look for certificates under `directory/certs.d` trust this registry.
    ///
    /// # Panics
    /// If it has no certificate.
    pub fn trust_in(&self, directory: &Path) {
        let place = directory.join("certs.d").join(self.host());
        fs::create_dir_all(&place).expect("a directory for certificates");
        fs::copy(self.certificate(), place.join("ca.crt")).expect("its certificate");
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It keeps nothing that matters.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

/// A key and a certificate that is its own authority, as people make them for a registry of their own.
fn certify(directory: &Path) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(directory)
        .output()
        .expect("openssl: ./test installs it");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

/// What a token server answers: a token for the scopes that are asked for, if the password is right.
fn give_token(directory: &Path, request: &Request, stream: &mut TcpStream) {
    let right = format!("Basic {}", STANDARD.encode("me:s3cret"));
    if request.header("authorization") != Some(&right) {
        respond(stream, "401 Unauthorized", &[], br#"{"details":"incorrect username or password"}"#);
        return;
    }
    let query = request.target.split_once('?').map_or("", |(_, query)| query);
    let scopes = query.split('&').filter_map(|pair| pair.strip_prefix("scope="));
    let access = scopes.map(|scope| {
        let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let parts: Vec<&str> = scope.split(':').collect();
        json!({ "type": parts[0], "name": parts[1], "actions": parts[2].split(',').collect::<Vec<_>>() })
    });
    let access: Vec<_> = access.collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let pem = fs::read_to_string(directory.join("cert.pem")).expect("its certificate");
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let header = json!({ "typ": "JWT", "alg": "RS256", "x5c": [body] });
    let claims = json!({
        "iss": "test", "sub": "me", "aud": "test", "jti": "1", "iat": now, "nbf": now - 60, "exp": now + 300, "access": access,
    });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let mut signer = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign", "key.pem"])
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl");
    signer.stdin.take().expect("it is piped").write_all(signed.as_bytes()).expect("openssl reads");
    let mut signature = Vec::new();
    signer.stdout.take().expect("it is piped").read_to_end(&mut signature).expect("openssl writes");
    signer.wait().expect("openssl ends");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    respond(stream, "200 OK", &[], json!({ "token": token, "expires_in": 300 }).to_string().as_bytes());
}
