//! Registries whose answers never end, and those that answer at such length: each is left after a known number of requests, and what is told of it is short.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use onggi_error::Diagnose as _;
use onggi_image::{Digest, media_type};
use onggi_registry::{Access, Error, Repository};
use onggi_testkit::http::{Server, respond};

mod common;

use common::{client, config, name, serving};

/// More than any error text of ours has.
const SHORT: usize = 1500;

fn with<T>(server: &Server, access: Access, act: impl FnOnce(&Repository<'_>) -> T) -> T {
    let client = client(config(Duration::from_secs(5)));
    act(&client.repository(&name(server), access).expect("it is reached"))
}

fn requests(server: &Server) -> usize {
    server.seen().iter().filter(|request| request.target.starts_with("/v2/")).count()
}

#[test]
fn an_answer_that_is_only_announced_is_given_up() {
    for interim in ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </x>"] {
        let server =
            serving(
                move |_, stream| {
                    while stream.write_all(format!("HTTP/1.1 {interim}\r\n\r\n").as_bytes()).is_ok() {}
                },
            );
        let error = with(&server, Access::Pull, |repository| repository.manifest("1")).unwrap_err();
        assert!(error.to_string().contains("again and again"), "{error}");
        assert_eq!(requests(&server), 1, "{interim}");
    }
    // A few are what the protocol allows.
    let server = serving(|_, stream| {
        let _ = stream.write_all("HTTP/1.1 103 Early Hints\r\n\r\n".repeat(5).as_bytes());
        respond(stream, "200 OK", &[], b"{}");
    });
    with(&server, Access::Pull, |repository| repository.manifest("1")).unwrap();
}

#[test]
fn trailers_and_extensions_of_chunks_end() {
    for (end, expected) in [("0\r\n", "trailer is too long"), ("1;", "line of its chunks is too long")] {
        let server = serving(move |_, stream| {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = stream.write_all([head, end].concat().as_bytes());
            let more = if end.ends_with('\n') { "a: b\r\n" } else { "extension" };
            while stream.write_all(more.as_bytes()).is_ok() {}
        });
        let error = with(&server, Access::Pull, |repository| repository.manifest("1")).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_byte_for_each_connection_is_not_enough() {
    let server = serving(|request, stream| {
        let start = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let start: u64 = start.and_then(|start| start.parse().ok()).unwrap_or(0);
        let answer = format!(
            "HTTP/1.1 206 x\r\nContent-Length: {}\r\nContent-Range: bytes {start}-999/1000\r\n\r\nx",
            1000 - start
        );
        let head =
            if start == 0 { "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nx".to_owned() } else { answer };
        let _ = stream.write_all(head.as_bytes());
    });
    let failed = with(&server, Access::Pull, |repository| {
        let mut blob = repository.blob(&Digest::of(b"x"), 1000);
        let read = blob.read_to_end(&mut Vec::new());
        read.map_err(|_| blob.failure().expect("it says why"))
    });
    assert!(matches!(failed, Err(Error::Exchange { .. })), "{failed:?}");
    assert_eq!(requests(&server), 3);
}

#[test]
fn lists_of_tags_end_and_say_each_once() {
    let page = |stream: &mut TcpStream, next: Option<String>, tags: &str| {
        let link = next.map(|next| format!("<{next}>; rel=\"next\""));
        let link: Vec<_> = link.iter().map(|link| ("Link", link.as_str())).collect();
        respond(stream, "200 OK", &link, format!(r#"{{"tags":[{tags}]}}"#).as_bytes());
    };
    // The method itself would be one of a single lifetime.
    #[expect(clippy::redundant_closure_for_method_calls)]
    let tags = |server: &Server| with(server, Access::Pull, |repository| repository.tags());

    let twice = serving(move |request, stream| {
        let next = (!request.target.contains("page=2")).then(|| "?n=1000&page=2".to_owned());
        page(stream, next, r#""b","a","b""#);
    });
    assert_eq!(tags(&twice).unwrap(), ["b", "a"]);
    assert_eq!(requests(&twice), 2);

    let itself = serving(move |request, stream| page(stream, Some(request.target.clone()), r#""1""#));
    let error = tags(&itself).unwrap_err();
    assert!(error.to_string().contains("leads back"), "{error}");
    assert_eq!(requests(&itself), 1);

    let on_and_on =
        serving(move |request, stream| page(stream, Some(format!("{}x", request.target)), r#""1""#));
    let error = tags(&on_and_on).unwrap_err();
    assert!(error.to_string().contains("has no end"), "{error}");

    let many = serving(move |request, stream| {
        let from = request.target.len() * 10_000;
        let tags: Vec<String> = (from..from + 10_000).map(|tag| format!("\"{tag}\"")).collect();
        page(stream, Some(format!("{}x", request.target)), &tags.join(","));
    });
    let error = tags(&many).unwrap_err();
    assert!(error.to_string().contains("more than 100000 tags"), "{error}");
    assert_eq!(requests(&many), 11);
}

#[test]
fn nothing_is_deleted_at_another_host() {
    let other = Server::new(|_, stream| respond(stream, "202 Accepted", &[], b""));
    let elsewhere = format!("http://{}/v2/x/y", other.host());
    for (location, cancelled) in [(elsewhere.as_str(), false), ("/v2/team/app/blobs/uploads/1", true)] {
        let there = location.to_owned();
        let server = serving(move |_, stream| respond(stream, "202 Accepted", &[("Location", &there)], b""));
        let mounted =
            with(&server, Access::Push, |repository| repository.mount(&Digest::of(b"x"), "team/base"));
        assert!(!mounted.unwrap());
        let told = server.seen().iter().any(|request| request.is("DELETE", "/v2/team/app/blobs/uploads/1"));
        assert_eq!(told, cancelled, "{location}");
        // Neither is an upload that turns out to have nothing to send.
        let failed = with(&server, Access::Push, |repository| {
            let mut open = || Ok(Box::new(&b"x"[..]) as Box<dyn std::io::Read>);
            repository.upload("it", Some((&Digest::of(b"other"), 1)), &mut open)
        });
        assert!(matches!(failed, Err(Error::WrongDigest { .. })), "{failed:?}");
    }
    assert!(!other.seen().iter().any(|request| request.method == "DELETE"), "{:?}", other.seen());
}

#[test]
fn what_is_told_of_a_long_answer_is_short() {
    let long = "x".repeat(60_000);
    let entry = |number: usize| {
        let digest = Digest::of(&number.to_le_bytes());
        format!(
            r#"{{"mediaType":"{}","digest":"{digest}","size":9,"platform":{{"os":"plan9","architecture":"a{number}"}}}}"#,
            media_type::OCI_MANIFEST
        )
    };
    let entries: Vec<String> = (0..15_000).map(entry).collect();
    let index = |entries: &str| {
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{entries}]}}"#, media_type::OCI_INDEX)
    };
    let one_long = entry(0).replace("plan9", &long);
    let manifest = |layer: &str| {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"{long}","config":{{"mediaType":"{long}","digest":"{}","size":2}},"layers":[{layer}]}}"#,
            media_type::OCI_MANIFEST,
            Digest::of(b"{}"),
        )
    };
    let typed = |kind: &'static str| vec![("Content-Type", kind.to_owned())];
    let realm = vec![("WWW-Authenticate", format!("Bearer realm=\"ftp://{long}\""))];
    let host = vec![("WWW-Authenticate", format!("Bearer realm=\"http://{long}/\""))];
    let location = vec![("Location", format!("http://{long}/"))];
    let path = vec![("Location", format!("/v2/{long}"))];
    type Served = (String, Vec<(&'static str, String)>, String, &'static str);
    let table: Vec<Served> = vec![
        (
            "200 OK".to_owned(),
            typed(media_type::OCI_INDEX),
            index(&entries.join(",")),
            "plan9/a19 and 14980 more",
        ),
        ("200 OK".to_owned(), typed(media_type::OCI_INDEX), index(&one_long), "xxx…"),
        ("200 OK".to_owned(), typed(media_type::OCI_MANIFEST), manifest(""), "an artifact of the type"),
        ("200 OK".to_owned(), vec![("Content-Type", long.clone())], "{}".to_owned(), "xxx…"),
        (
            "200 OK".to_owned(),
            typed(media_type::OCI_MANIFEST),
            format!(r#"{{"schemaVersion":"{long}"}}"#),
            "xxx…",
        ),
        ("401 Unauthorized".to_owned(), realm, String::new(), "xxx…"),
        ("401 Unauthorized".to_owned(), host, String::new(), "xxx…"),
        ("307 Temporary Redirect".to_owned(), location, String::new(), "xxx…"),
        ("307 Temporary Redirect".to_owned(), path, String::new(), "redirects without end"),
        (format!("400 {long}"), Vec::new(), String::new(), "xxx…"),
        ("200 OK\r\nContent-Length: ".to_owned() + &long, Vec::new(), String::new(), "two lengths"),
        ("200 OK\r\nTransfer-Encoding: ".to_owned() + &long, Vec::new(), String::new(), "two ways"),
    ];
    for (status, headers, body, expected) in table {
        let server = serving(move |_, stream| {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            respond(stream, &status, &headers, body.as_bytes());
        });
        let error = with(&server, Access::Pull, |repository| repository.image("1", None)).unwrap_err();
        let text = format!("{error} {}", error.hint().unwrap_or_default());
        assert!(
            text.contains(expected) && text.len() < SHORT,
            "{expected}: {} bytes: {text:.600}",
            text.len()
        );
    }
    let path = format!("/v2/{long}");
    let uploads = serving(move |request, stream| match request.method.as_str() {
        "POST" => respond(stream, "202 Accepted", &[("Location", &path)], b""),
        _ => respond(stream, "400 Bad Request", &[], b""),
    });
    let mut open = || Ok(Box::new(&b"x"[..]) as Box<dyn std::io::Read>);
    let pushed = with(&uploads, Access::Push, |repository| {
        repository.upload("it", Some((&Digest::of(b"x"), 1)), &mut open)
    });
    let text = pushed.unwrap_err().to_string();
    assert!(text.contains("xxx…") && text.len() < SHORT, "{} bytes", text.len());
}

#[test]
fn a_wait_that_nobody_waits_is_told_and_not_tried() {
    for (status, wait) in [
        ("429 Too Many Requests", "99999999999999999999"),
        ("429 Too Many Requests", "Fri, 31 Dec 9999 00:00:00 GMT"),
        ("503 Service Unavailable", "7200"),
    ] {
        let server = serving(move |_, stream| respond(stream, status, &[("Retry-After", wait)], b""));
        let error = with(&server, Access::Pull, |repository| repository.manifest("1")).unwrap_err();
        assert_eq!(requests(&server), 1, "{status} {wait}");
        let expected = if wait == "7200" { "wait 7200 seconds" } else { "longer than a day" };
        assert!(error.hint().is_some_and(|hint| hint.contains(expected)), "{error} {:?}", error.hint());
    }
}
