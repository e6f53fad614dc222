//! Registries that drip, hang up, lie, swell and send elsewhere: each ends in an error that says what, in good time, and no secret leaves.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onggi_error::Diagnose as _;
use onggi_image::{Digest, Reference, media_type};
use onggi_registry::{
    Access, AuthFiles, Client, Config, Credential, Dial, Dialled, Error, Proxies, Shown, Url, Watch,
};
use onggi_testkit::http::{Request, Server, respond};

mod common;

use common::{name, serving};

fn config() -> Config {
    common::config(Duration::from_millis(400))
}

fn client() -> Client {
    common::client(config())
}

fn logged_in(server: &Server) -> Client {
    let (user, password) = ("me".to_owned(), "s3cret".to_owned());
    client().with_credential(&server.host(), Credential::Password { user, password })
}

fn fetch_manifest(client: &Client, server: &Server) -> Result<Vec<u8>, Error> {
    client.repository(&name(server), Access::Pull)?.manifest("1").map(|fetched| fetched.bytes)
}

fn fetch_blob(client: &Client, server: &Server, digest: &Digest, size: u64) -> Result<Vec<u8>, Error> {
    let repository = client.repository(&name(server), Access::Pull)?;
    let mut blob = repository.blob(digest, size);
    let mut bytes = Vec::new();
    match blob.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) => Err(blob.failure().unwrap_or_else(|| panic!("{error}"))),
    }
}

fn not_found(stream: &mut TcpStream) {
    let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#;
    respond(stream, "404 Not Found", &[("Content-Type", "application/json")], body);
}

fn manifest(stream: &mut TcpStream, bytes: &[u8]) {
    respond(stream, "200 OK", &[("Content-Type", media_type::OCI_MANIFEST)], bytes);
}

/// A config and a manifest of one layer with these bytes.
fn image(layer: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        Digest::of(layer)
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{}","config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
        media_type::OCI_MANIFEST,
        media_type::OCI_CONFIG,
        Digest::of(config.as_bytes()),
        config.len(),
        media_type::OCI_LAYER,
        Digest::of(layer),
        layer.len()
    );
    (config.into_bytes(), manifest.into_bytes())
}

#[test]
fn answers_that_are_too_much() {
    let endless = |head: &'static str| {
        serving(move |_, stream| {
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b' '; 65536]).is_ok() {}
        })
    };
    let typed = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n\r\n";
    for (head, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", "larger than 4194304 bytes"),
        (typed, "larger than 4194304 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "too long"),
        ("HTTP/1.1 200 OK\r\nX: ", "head is longer"),
        ("HTTP/1.1 404 Not Found\r\n\r\n", "manifest unknown"),
    ] {
        let server = endless(head);
        let error = fetch_manifest(&client(), &server).unwrap_err();
        assert!(error.to_string().contains(expected), "{head:?}: {error}");
    }
}

#[test]
fn peers_that_are_silent_or_drip() {
    let dripping = |text: &'static str| {
        serving(move |_, stream| {
            for byte in text.bytes().cycle() {
                if stream.write_all(&[byte]).is_err() {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
        })
    };
    for text in ["HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx", "HTTP/1.1 200 OK\r\nX: y\r\n"] {
        let (server, began) = (dripping(text), Instant::now());
        let error = fetch_manifest(&client(), &server).unwrap_err();
        assert!(matches!(error, Error::Exchange { .. } | Error::BadAnswer { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    let silent = serving(|_, stream| {
        let _ = stream.read(&mut [0]);
    });
    let error = fetch_manifest(&client(), &silent).unwrap_err();
    assert!(error.to_string().contains("next to nothing, came for 0.4 seconds"), "{error}");
}

#[test]
fn what_is_no_http_is_named() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 two hundred\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    ] {
        let server = serving(move |_, stream| {
            let _ = stream.write_all(garbage.as_bytes());
        });
        let error = fetch_manifest(&client(), &server).unwrap_err();
        assert!(matches!(error, Error::BadAnswer { .. }), "{garbage:?}: {error}");
    }
}

#[test]
fn a_blob_goes_on_where_its_connection_broke() {
    let data: Vec<u8> = (0..300_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let digest = Digest::of(&data);
    for knows_ranges in [true, false] {
        let served = data.clone();
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&attempts);
        let server = serving(move |request, stream| {
            let attempt = counted.fetch_add(1, Ordering::SeqCst);
            let range = request
                .header("range")
                .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            let start: usize = range.filter(|_| knows_ranges).unwrap_or(0);
            let rest = &served[start..];
            let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
            let mut head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", rest.len());
            if start > 0 {
                head.push_str(&format!(
                    "Content-Range: bytes {start}-{}/{}\r\n",
                    served.len() - 1,
                    served.len()
                ));
            }
            head.push_str("\r\n");
            let _ = stream.write_all(head.as_bytes());
            // Each connection gives something and breaks; the fourth does not.
            let part = if attempt < 3 { (40_000 * (attempt + 1)).min(rest.len()) } else { rest.len() };
            let _ = stream.write_all(&rest[..part]);
        });
        let bytes = fetch_blob(&client(), &server, &digest, data.len() as u64).unwrap();
        assert!(bytes == data, "ranges: {knows_ranges}");
        assert_eq!(attempts.load(Ordering::SeqCst), 4, "ranges: {knows_ranges}");
    }
}

#[test]
fn a_server_that_never_gives_a_byte_more_is_left() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    let server = serving(move |_, stream| {
        counted.fetch_add(1, Ordering::SeqCst);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
    });
    let error = fetch_blob(&client(), &server, &Digest::of(b"x"), 10).unwrap_err();
    assert!(error.to_string().contains("in the middle"), "{error}");
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
}

#[test]
fn lies_about_length_and_ranges() {
    let answers: [(&'static str, &'static str); 4] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "is 5 bytes, not 3"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhe", "is 2 bytes, not 3"),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello", "is 4 bytes, not 3"),
        (
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 7-9/10\r\nContent-Length: 3\r\n\r\nabc",
            "another range",
        ),
    ];
    for (answer, expected) in answers {
        let server = serving(move |_, stream| {
            let _ = stream.write_all(answer.as_bytes());
        });
        let error = fetch_blob(&client(), &server, &Digest::of(b"hel"), 3).unwrap_err();
        assert!(error.to_string().contains(expected), "{answer:?}: {error}");
    }
}

#[test]
fn lies_about_digests_and_kinds() {
    let (config, good) = image(b"layer");
    let wanted = Digest::of(&good);
    let as_index =
        String::from_utf8(good.clone()).unwrap().replace(r#""layers""#, r#""manifests":[],"layers""#);
    let one = r#"{"schemaVersion":1,"name":"x","fsLayers":[]}"#;
    type Served = (&'static str, Vec<u8>, Vec<(&'static str, String)>, &'static str);
    let oci = media_type::OCI_MANIFEST.to_owned();
    let table: Vec<Served> = vec![
        ("1", good.clone(), vec![("Docker-Content-Digest", Digest::of(b"x").to_string())], "has the digest"),
        ("1", good.clone(), vec![("Content-Type", "text/html".to_owned())], "text/html"),
        ("1", good.clone(), vec![("Content-Type", media_type::OCI_INDEX.to_owned())], "announced"),
        ("1", as_index.into_bytes(), vec![("Content-Type", oci.clone())], "both"),
        ("1", one.as_bytes().to_vec(), vec![], "version 1 is not supported"),
        ("1", b"<html>".to_vec(), vec![("Content-Type", oci.clone())], "not valid"),
        (
            "1",
            b"<html>".to_vec(),
            vec![("Content-Type", "text/html; charset=utf-8".to_owned())],
            "a web page",
        ),
        ("by digest", b"{}".to_vec(), vec![("Content-Type", oci)], "has the digest"),
    ];
    for (reference, bytes, headers, expected) in table {
        let shown = String::from_utf8_lossy(&bytes).into_owned();
        let (config, bytes) = (config.clone(), bytes);
        let server = serving(move |request, stream| {
            let headers: Vec<(&str, &str)> =
                headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            if request.target.contains("/blobs/") {
                respond(stream, "200 OK", &[], &config);
            } else {
                respond(stream, "200 OK", &headers, &bytes);
            }
        });
        let client = client();
        let repository = client.repository(&name(&server), Access::Pull).unwrap();
        let reference = if reference == "1" { "1".to_owned() } else { wanted.to_string() };
        let error = repository.image(&reference, None).unwrap_err().to_string();
        assert!(error.contains(expected), "{shown:.60}: {error}");
    }
}

#[test]
fn an_honest_image_is_found() {
    let (config, good) = image(b"layer");
    let (served_config, served) = (config.clone(), good.clone());
    let server = serving(move |request, stream| match () {
        () if request.target.contains("/blobs/") => respond(stream, "200 OK", &[], &served_config),
        () if request.is("GET", "/v2/team/app/manifests/1") => manifest(stream, &served),
        () => not_found(stream),
    });
    let client = client();
    let repository = client.repository(&name(&server), Access::Pull).unwrap();
    let image = repository.image("1", None).unwrap();
    assert_eq!(
        (image.raw_manifest, image.raw_config, image.digest),
        (good.clone(), config, Digest::of(&good))
    );
    let error = repository.manifest("2").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("manifest for {}/team/app:2 not found: manifest unknown: manifest unknown", server.host())
    );
}

#[test]
fn credentials_stay_with_their_registry() {
    // Whatever is asked of the other server must come without a secret, also when it demands one.
    let other = Server::new(|request, stream| {
        let challenge = [("WWW-Authenticate", "Basic realm=\"give it to me\"")];
        match request.target.as_str() {
            "/storage" => respond(stream, "200 OK", &[], b"hel"),
            _ => respond(stream, "401 Unauthorized", &challenge, b""),
        }
    });
    for target in ["/storage", "/challenge"] {
        let location = format!("http://{}{target}", other.host());
        let server = serving(move |request, stream| match request.header("authorization") {
            None => respond(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"r\"")], b""),
            Some(_) => respond(stream, "307 Temporary Redirect", &[("Location", &location)], b""),
        });
        let fetched = fetch_blob(&logged_in(&server), &server, &Digest::of(b"hel"), 3);
        assert_eq!(fetched.is_ok(), target == "/storage");
        assert!(
            server.seen().iter().any(|request| request.header("authorization") == Some("Basic bWU6czNjcmV0"))
        );
    }
    assert!(other.seen().len() >= 2);
    for request in other.seen() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
}

/// Connects as if the server spoke TLS: what matters here is what is said, not how it is hidden.
#[derive(Debug)]
struct AsIfTls;

impl Dial for AsIfTls {
    fn dial(&self, url: &Url) -> Result<Dialled, Error> {
        let stream = TcpStream::connect((url.origin.host.as_str(), url.origin.port)).expect("it listens");
        Ok(Dialled { stream: Box::new(stream), through_proxy: None })
    }
}

#[test]
fn a_password_of_tls_never_goes_where_it_would_be_read() {
    let listens = Server::new(|_, stream| respond(stream, "200 OK", &[], br#"{"token":"abc"}"#));
    let (_, good) = image(b"layer");
    for (scheme, goes) in [("http", false), ("https", true)] {
        let challenge = format!(r#"Bearer realm="{scheme}://{}/tok",service="x""#, listens.host());
        let good = good.clone();
        let server = serving(move |request, stream| match request.header("authorization") {
            None => respond(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""),
            Some(_) => manifest(stream, &good),
        });
        let client = logged_in(&server).with_dial(Arc::new(AsIfTls));
        for outcome in [fetch_manifest(&client, &server).map(|_| ()), client.log_in(&server.host())] {
            match outcome {
                Ok(()) => assert!(goes),
                Err(error) => assert!(!goes && matches!(error, Error::Realm { .. }), "{error}"),
            }
        }
        assert_eq!(listens.seen().is_empty(), !goes, "{:?}", listens.seen());
    }
    let asked = listens.seen();
    assert_eq!(asked[0].header("authorization"), Some("Basic bWU6czNjcmV0"));
}

#[test]
fn redirects_end() {
    let server = serving(|request, stream| {
        let next = format!("{}x", request.target);
        respond(stream, "302 Found", &[("Location", &next)], b"");
    });
    let error = fetch_manifest(&client(), &server).unwrap_err();
    assert!(error.to_string().contains("redirects without end"), "{error}");
    assert!(server.seen().len() < 10);
}

#[test]
fn tokens_are_asked_for_by_scope_and_used_again() {
    let (config, good) = image(b"layer");
    let realm = Server::new(|request, stream| {
        let good = request.header("authorization") == Some("Basic bWU6czNjcmV0")
            && request.target == "/token?service=test&scope=repository%3Ateam%2Fapp%3Apull&account=me";
        match good {
            true => respond(stream, "200 OK", &[], br#"{"token":"abc","expires_in":300}"#),
            false => {
                respond(stream, "401 Unauthorized", &[], br#"{"details":"incorrect username or password"}"#);
            }
        }
    });
    let challenge = format!(
        r#"Bearer realm="http://{}/token",service="test",scope="repository:team/app:pull""#,
        realm.host()
    );
    let server = serving(move |request, stream| match request.header("authorization") {
        Some("Bearer abc") if request.target.contains("/blobs/") => respond(stream, "200 OK", &[], &config),
        Some("Bearer abc") => manifest(stream, &good),
        _ => respond(stream, "401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""),
    });
    let client = logged_in(&server);
    client.repository(&name(&server), Access::Pull).unwrap().image("1", None).unwrap();
    assert_eq!(realm.seen().len(), 1, "one token is enough for both requests");
    let error = fetch_manifest(&self::client(), &server).unwrap_err();
    assert!(matches!(&error, Error::Unauthorized { shown: Shown::Nothing, .. }), "{error}");
}

#[test]
fn a_refusal_after_the_token_is_told_as_docker_tells_it() {
    let server = serving(|request, stream| match request.header("authorization") {
        None => respond(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"r\"")], b""),
        Some(_) => respond(
            stream,
            "403 Forbidden",
            &[],
            br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#,
        ),
    });
    let error = fetch_manifest(&logged_in(&server), &server).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "pull access denied for {}/team/app, repository does not exist or may require 'onggi login': denied: requested access to the resource is denied",
            server.host()
        )
    );
    let error = logged_in(&server).log_in(&server.host()).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { shown: Shown::Given, .. }), "{error}");
}

#[test]
fn a_refusal_tells_whose_it_is_and_what_it_wants() {
    let hint = |error: &Error| error.hint().unwrap_or_default();
    let refusing = |challenge: &'static str| {
        serving(move |_, stream| respond(stream, "401 Unauthorized", &[("WWW-Authenticate", challenge)], b""))
    };
    for challenge in ["Negotiate", ""] {
        let server = refusing(challenge);
        let error = fetch_manifest(&logged_in(&server), &server).unwrap_err();
        assert!(hint(&error).contains("a way of logging in that is not built"), "{error}: {}", hint(&error));
    }
    let error = fetch_manifest(&client(), &refusing("Basic")).unwrap_err();
    assert!(hint(&error).starts_with("`onggi login "), "{}", hint(&error));
    let server = refusing("Basic");
    let error = logged_in(&server).log_in(&server.host()).unwrap_err();
    assert!(hint(&error).starts_with("are the name and the password right?"), "{}", hint(&error));

    // Another host's refusal is not the registry's, which has let us in.
    let (_, good) = image(b"layer");
    let elsewhere = refusing("Basic");
    let target = format!("http://{}/v2/blob", elsewhere.host());
    let server = serving(move |request, stream| match request.target.contains("/blobs/") {
        true => respond(stream, "307 Temporary Redirect", &[("Location", &target)], b""),
        false => manifest(stream, &good),
    });
    let error = fetch_blob(&logged_in(&server), &server, &Digest::of(b"layer"), 5).unwrap_err();
    assert!(
        error.to_string().contains(&format!("http://{}/v2/blob answers 401", elsewhere.host())),
        "{error}"
    );
    assert!(elsewhere.seen().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn too_many_requests_are_waited_for_if_that_is_not_long() {
    let (_, good) = image(b"layer");
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = serving(move |_, stream| match counted.fetch_add(1, Ordering::SeqCst) {
        0 => respond(stream, "429 Too Many Requests", &[("Retry-After", "0")], b""),
        1 => respond(stream, "503 Service Unavailable", &[], b""),
        _ => manifest(stream, &good),
    });
    fetch_manifest(&client(), &server).unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let server = serving(|_, stream| {
        let body =
            br#"{"errors":[{"code":"TOOMANYREQUESTS","message":"You have reached your pull rate limit."}]}"#;
        respond(stream, "429 Too Many Requests", &[("Retry-After", "7200")], body);
    });
    let error = fetch_manifest(&client(), &server).unwrap_err();
    assert_eq!(server.seen().len(), 1);
    assert!(
        matches!(&error, Error::RateLimited { wait: Some(wait), .. } if wait.as_secs() == 7200),
        "{error:?}"
    );
    assert!(error.to_string().contains("You have reached your pull rate limit."), "{error}");
}

/// Interrupts as soon as it is told to.
#[derive(Debug, Default)]
struct Button(AtomicBool);

impl Watch for Button {
    fn is_interrupted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn an_interrupt_ends_a_read_that_waits() {
    let button = Arc::new(Button::default());
    let pressed = Arc::clone(&button);
    let server = serving(move |_, stream| {
        pressed.0.store(true, Ordering::Relaxed);
        let _ = stream.read(&mut [0]);
    });
    let files = AuthFiles { read: Vec::new(), write: PathBuf::new() };
    let patient = Config { silence: Duration::from_secs(600), ..config() };
    let client = Client::new(patient, files, button);
    let error = fetch_manifest(&client, &server).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
}

#[test]
fn what_cannot_be_reached_is_named() {
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let name = Reference::parse(&format!("{gone}/x")).unwrap();
    let error = client().repository(&name, Access::Pull).unwrap_err();
    assert_eq!(error.to_string(), format!("connect to {gone}: Connection refused"));
}

#[test]
fn proxies_are_asked_in_their_way() {
    let (_, good) = image(b"layer");
    let proxy = Server::new(move |request, stream| {
        let known = request.header("proxy-authorization") == Some("Basic dTpw");
        match (request.method.as_str(), request.target.as_str()) {
            ("GET", "http://registry.test/v2/app/manifests/1") if known => manifest(stream, &good),
            _ => respond(stream, "403 Forbidden", &[], b""),
        }
    });
    let through = Some(format!("http://u:p@{}", proxy.host()));
    let proxies = Proxies { https: through.clone(), http: through, except: Vec::new() };
    let client = common::client(Config { proxies, insecure: vec!["registry.test".to_owned()], ..config() });
    let name = Reference::parse("registry.test/app:1").unwrap();
    client.repository(&name, Access::Pull).unwrap().manifest("1").unwrap();
    assert!(proxy.seen()[0].is("CONNECT", "registry.test:443"), "TLS is tried first: {:?}", proxy.seen());
    let name = Reference::parse("other.test/app:1").unwrap();
    let error = client.repository(&name, Access::Pull).unwrap().manifest("1").unwrap_err();
    let expected =
        format!("the proxy {} does not connect to other.test: it answered 403 Forbidden", proxy.host());
    assert_eq!(error.to_string(), expected);
}

/// Nothing of ours goes to where an image says that its layers are.
#[test]
fn addresses_in_an_image_get_no_credentials() {
    let asks = Server::new(|_, stream| {
        respond(stream, "401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
    });
    let gives = Server::new(|_, stream| respond(stream, "200 OK", &[], b"layer"));
    let there = format!("http://{}/layer", gives.host());
    let sends = {
        let there = there.clone();
        Server::new(move |_, stream| respond(stream, "307 x", &[("Location", there.as_str())], b""))
    };
    let (user, password) = ("me".to_owned(), "s3cret".to_owned());
    let hosts = [&asks, &gives, &sends].map(Server::host);
    let mut client = common::client(Config { insecure: hosts.to_vec(), ..config() });
    for host in &hosts {
        let (user, password) = (user.clone(), password.clone());
        client = client.with_credential(host, Credential::Password { user, password });
    }
    let fetch = |client: &Client, address: &str, size: u64| {
        client.fetch_foreign(address, size, |stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("a layer");
            Ok::<_, Error>(bytes)
        })
    };
    assert_eq!(fetch(&client, &there, 5).unwrap(), b"layer");
    assert_eq!(fetch(&client, &format!("http://{}/layer", sends.host()), 5).unwrap(), b"layer");
    assert!(matches!(fetch(&client, &there, 6), Err(Error::WrongSize { .. })));
    let refused = fetch(&client, &format!("http://{}/layer", asks.host()), 5);
    assert!(matches!(refused, Err(Error::Status { status: 401, .. })), "{refused:?}");
    for server in [&asks, &gives, &sends] {
        assert!(!server.seen().is_empty());
        assert!(server.seen().iter().all(|request| request.header("authorization").is_none()));
    }
    let without_tls = fetch(&logged_in(&gives), &there, 5).unwrap_err();
    assert!(without_tls.to_string().contains("without TLS"), "{without_tls}");
}

/// A registry that keeps one upload: what it has taken so far, as its `state`.
fn taking(
    taken: &Arc<Mutex<Vec<u8>>>,
    spoil: impl Fn(&Request, &mut Vec<u8>, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    let taken = Arc::clone(taken);
    serving(move |request, stream| {
        let mut taken = taken.lock().expect("nobody panics with it");
        if spoil(request, &mut taken, stream) {
            return;
        }
        if request.method == "POST" {
            taken.clear();
        }
        taken.extend_from_slice(&request.body);
        let state = format!("/v2/team/app/blobs/uploads/1?state={}", taken.len());
        let range = format!("0-{}", taken.len().saturating_sub(1));
        let headers = [("Location", state.as_str()), ("Range", range.as_str())];
        let status = match request.method.as_str() {
            "PUT" => "201 Created",
            "POST" | "PATCH" => "202 Accepted",
            _ => "204 No Content",
        };
        respond(stream, status, &headers, b"");
    })
}

/// Uploads those bytes; what happened, as methods with the bytes that came with them.
fn upload(
    server: &Server,
    blob: Option<(&Digest, u64)>,
    bytes: &[u8],
) -> (Result<(Digest, u64), Error>, Vec<String>) {
    let client = client();
    let repository = client.repository(&name(server), Access::Push).expect("a repository");
    let before = server.seen().len();
    let mut open = || Ok(Box::new(bytes) as Box<dyn std::io::Read>);
    let uploaded = repository.upload("it", blob, &mut open);
    let told = |request: &Request| {
        let range = request.header("content-range").map_or(String::new(), |range| format!(" {range}"));
        format!("{} {}{range}", request.method, request.body.len())
    };
    (uploaded, server.seen()[before..].iter().map(told).collect())
}

#[test]
fn pushed_bytes_are_those_that_are_named() {
    let taken = Arc::default();
    let server = taking(&taken, |_, _, _| false);
    let digest = Digest::of(b"layer");
    for (blob, expected) in
        [(Some((&digest, 5)), ["POST 0", "PUT 5"].as_slice()), (None, &["POST 0", "PATCH 5", "PUT 0"])]
    {
        let (uploaded, seen) = upload(&server, blob, b"layer");
        assert_eq!(uploaded.unwrap(), (digest.clone(), 5));
        assert_eq!(seen, expected);
        assert_eq!(*taken.lock().unwrap(), b"layer");
        let escaped = digest.to_string().replace(':', "%3A");
        let last = server.seen().pop().unwrap().target;
        assert!(
            last.starts_with("/v2/team/app/blobs/uploads/1?state=")
                && last.ends_with(&format!("&digest={escaped}")),
            "{last}"
        );
    }
    let other = Digest::of(b"other");
    for (blob, expected) in [
        ((&other, 5), "has the digest"),
        ((&digest, 4), "has the digest"),
        ((&digest, 6), "it is 5 bytes and not 6"),
    ] {
        let (uploaded, seen) = upload(&server, Some(blob), b"layer");
        let error = uploaded.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(seen.last().unwrap(), "DELETE 0", "the upload is given up");
        // Nothing that could pass for it was sent.
        assert!(!seen.iter().any(|seen| seen.starts_with("PUT")), "{seen:?}");
    }
}

#[test]
fn an_upload_goes_on_where_it_broke() {
    let (digest, bytes) = (Digest::of(&[7; 1000]), [7; 1000]);
    // How the registry answers a question after the break, and what is sent then.
    let known = ["GET 0", "PATCH 400 600-999", "PUT 0"];
    let streamed = ["GET 0", "PATCH 400", "PUT 0"];
    let anew = ["GET 0", "POST 0", "PUT 1000"];
    for (blob, forgets, expected) in [
        (Some((&digest, 1000)), false, known.as_slice()),
        (None, false, &streamed),
        (Some((&digest, 1000)), true, &anew),
    ] {
        let (taken, first) = (Arc::default(), AtomicBool::new(true));
        let server = taking(&taken, move |request, taken, stream| {
            let is_blob = request.body.len() == 1000;
            if is_blob && first.swap(false, Ordering::SeqCst) {
                // It keeps a part of it, and hangs up.
                taken.extend_from_slice(&request.body[..600]);
                return true;
            }
            let forgotten = forgets && request.method == "GET";
            if forgotten {
                respond(stream, "404 Not Found", &[], b"");
            }
            forgotten
        });
        let (uploaded, seen) = upload(&server, blob, &bytes);
        assert_eq!(uploaded.unwrap(), (digest.clone(), 1000), "{seen:?}");
        assert_eq!(seen[2..], *expected, "{seen:?}");
        assert_eq!(*taken.lock().unwrap(), bytes);
    }
}

/// Connects, but for as many times as it is told to refuse.
#[derive(Debug, Default)]
struct Refusing(Arc<AtomicUsize>);

impl Dial for Refusing {
    fn dial(&self, url: &Url) -> Result<Dialled, Error> {
        let refuses =
            self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        let address = url.origin.authority();
        if refuses {
            let source = std::io::ErrorKind::ConnectionRefused.into();
            return Err(Error::Connect { address, is_proxy: false, source });
        }
        let stream = TcpStream::connect(&address).expect("it listens");
        Ok(Dialled { stream: Box::new(stream), through_proxy: None })
    }
}

#[test]
fn a_registry_that_goes_in_the_middle_of_a_push_is_waited_for() {
    let (digest, bytes) = (Digest::of(&[7; 1000]), [7u8; 1000]);
    // It goes when the layer comes, for a moment or for good; and before a mount.
    for (refusals, expected) in [(1, Ok(())), (100, Err("does the registry still run"))] {
        let left = Arc::new(AtomicUsize::new(0));
        let (taken, goes) = (Arc::default(), Arc::clone(&left));
        let first = AtomicBool::new(true);
        let server = taking(&taken, move |request, _, stream| {
            let is_blob = request.body.len() == 1000;
            if is_blob && first.swap(false, Ordering::SeqCst) {
                goes.store(refusals, Ordering::SeqCst);
                return true;
            }
            let is_mount = request.target.contains("mount=");
            if is_mount {
                respond(stream, "201 Created", &[], b"");
            }
            is_mount
        });
        let dial = Arc::new(Refusing(Arc::clone(&left)));
        let client = client().with_dial(dial);
        let repository = client.repository(&name(&server), Access::Push).expect("a repository");
        let mut open = || Ok(Box::new(&bytes[..]) as Box<dyn std::io::Read>);
        let uploaded = repository.upload("it", Some((&digest, 1000)), &mut open);
        match (uploaded, expected) {
            (Ok(_), Ok(())) => {
                left.store(2, Ordering::SeqCst);
                assert!(repository.mount(&digest, "team/other").expect("it comes back"));
            }
            (Err(error), Err(expected)) => {
                assert!(error.to_string().contains("onnection refused"), "{error}");
                assert!(error.hint().unwrap_or_default().contains(expected), "{:?}", error.hint());
            }
            (other, expected) => panic!("{other:?}, not {expected:?}"),
        }
    }
    // Who has never answered is not waited for.
    let client = client().with_dial(Arc::new(Refusing(Arc::new(AtomicUsize::new(1)))));
    let repository = client.repository(&Reference::parse("r.test/a:1").expect("a name"), Access::Push);
    let error = repository.expect("a repository").has_blob(&digest).unwrap_err();
    assert!(error.hint().unwrap_or_default().contains("the right host and port"), "{error}");
}

#[test]
fn a_registry_that_finds_it_too_much_gets_pieces() {
    let bytes = vec![7; (33 << 20) + 5];
    let digest = Digest::of(&bytes);
    let taken = Arc::default();
    let server = taking(&taken, |request, _, stream| {
        let too_much = request.body.len() > 20 << 20;
        if too_much {
            respond(stream, "413 Payload Too Large", &[], b"");
        }
        too_much
    });
    let (uploaded, seen) = upload(&server, Some((&digest, bytes.len() as u64)), &bytes);
    assert_eq!(uploaded.unwrap(), (digest, bytes.len() as u64), "{seen:?}");
    let pieces =
        ["PATCH 16777216 0-16777215", "PATCH 16777216 16777216-33554431", "PATCH 1048581 33554432-34603012"];
    assert_eq!(seen[3..6], pieces, "{seen:?}");
    assert!(*taken.lock().unwrap() == bytes);
}
