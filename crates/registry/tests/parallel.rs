//! Large blobs by several requests at once: in order and whole whatever the registry does with ranges, and ended when one side has enough.

use std::io::{self, Read, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use onggi_image::Digest;
use onggi_registry::{Access, Error};
use onggi_testkit::http::{Request, Server, respond};

mod common;

use common::{client, config, name};

/// More than five parts.
const SIZE: usize = (21 << 20) + 17;

fn bytes() -> Vec<u8> {
    (0..SIZE).map(|number| (number / 1000 % 251) as u8).collect()
}

/// The range that is asked for: from, to before.
fn range(request: &Request) -> Option<(usize, usize)> {
    let (start, last) = request.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    Some((start.parse().ok()?, last.parse().map_or(SIZE, |last: usize| last + 1)))
}

fn part(stream: &mut TcpStream, (start, end): (usize, usize), bytes: &[u8]) {
    let said = format!("bytes {start}-{}/{SIZE}", end - 1);
    respond(stream, "206 Partial Content", &[("Content-Range", &said)], bytes);
}

/// Fetches the blob from a server that answers so.
fn fetch<T>(
    answer: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static,
    consume: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
) -> (Result<T, Error>, Vec<Request>) {
    let server = Server::new(answer);
    let client = client(config(Duration::from_secs(5)));
    let repository = client.repository(&name(&server), Access::Pull).expect("it is there");
    let digest = Digest::parse(&format!("sha256:{:064}", 1)).expect("a digest");
    let answer = repository.fetch_blob(&digest, SIZE as u64, consume);
    let requests = server.seen().into_iter().filter(|request| request.target.contains("/blobs/")).collect();
    (answer, requests)
}

fn read_all(stream: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    read.map_err(|error| Error::Source { what: "the stream".to_owned(), reason: error.to_string() })?;
    Ok(all)
}

#[test]
fn parts_come_side_by_side_and_are_read_in_order() {
    let (waiting, bytes_there) = (Arc::new((Mutex::new(0), Condvar::new())), bytes());
    let (fetched, requests) = fetch(
        move |request, stream| {
            let Some(range) = range(request) else { return respond(stream, "404 Not Found", &[], b"") };
            // Nobody gets an answer before three ask at the same time; the first part is asked for alone.
            if range.0 > 0 {
                let mut count = waiting.0.lock().expect("nobody panics with it");
                *count += 1;
                waiting.1.notify_all();
                while *count < 3 {
                    count = waiting.1.wait(count).expect("nobody panics with it");
                }
            }
            part(stream, range, &bytes_there[range.0..range.1]);
        },
        read_all,
    );
    assert!(fetched.expect("it comes") == bytes());
    let mut starts: Vec<_> = requests.iter().filter_map(range).map(|(start, _)| start >> 20).collect();
    starts.sort_unstable();
    assert_eq!(starts, [0, 4, 8, 12, 16, 20]);
}

#[test]
fn a_registry_without_ranges_is_asked_once() {
    let bytes_there = bytes();
    let (fetched, requests) = fetch(move |_, stream| respond(stream, "200 OK", &[], &bytes_there), read_all);
    assert!(fetched.expect("it comes") == bytes());
    assert_eq!(requests.len(), 1);
}

#[test]
fn a_registry_that_refuses_ranges_is_asked_without() {
    for status in ["416 Range Not Satisfiable", "501 Not Implemented", "400 Bad Request"] {
        let bytes_there = bytes();
        let answer = move |request: &Request, stream: &mut TcpStream| match range(request) {
            Some(_) => respond(stream, status, &[], b""),
            None => respond(stream, "200 OK", &[], &bytes_there),
        };
        let (fetched, requests) = fetch(answer, read_all);
        assert!(fetched.expect("it comes") == bytes(), "{status}");
        assert_eq!(requests.len(), 2, "{status}");
    }
}

#[test]
fn a_part_that_breaks_off_goes_on_where_it_broke() {
    let bytes_there = bytes();
    let (fetched, requests) = fetch(
        move |request, stream| {
            let Some((start, end)) = range(request) else { return };
            // Each connection gives three megabytes, and ends.
            let given = &bytes_there[start..end.min(start + (3 << 20))];
            let head = format!(
                "HTTP/1.1 206 x\r\nContent-Range: bytes {start}-{}/{SIZE}\r\nContent-Length: {}\r\n\r\n",
                end - 1,
                end - start
            );
            let _ = stream.write_all(&[head.as_bytes(), given].concat());
        },
        read_all,
    );
    assert!(fetched.expect("it comes") == bytes());
    assert!(requests.iter().filter_map(range).any(|range| range == (7 << 20, 8 << 20)), "{requests:?}");
}

#[test]
fn what_is_no_such_part_is_refused() {
    for (said, expected) in [
        (format!("bytes 0-4194303/{}", SIZE + 1), "is 22020114 bytes, not"),
        (format!("bytes 1-4194303/{SIZE}"), "another range"),
        (format!("bytes 0-9/{SIZE}"), "another range"),
        ("bytes".to_owned(), "another range"),
    ] {
        let answer = {
            let said = said.clone();
            move |_: &Request, stream: &mut TcpStream| {
                respond(stream, "206 x", &[("Content-Range", &said)], &[0; 10]);
            }
        };
        let error = fetch(answer, read_all).0.expect_err("it is refused").to_string();
        assert!(error.contains(expected), "{said}: {error}");
    }
}

#[test]
fn a_part_that_is_gone_ends_all() {
    let bytes_there = bytes();
    let answer = move |request: &Request, stream: &mut TcpStream| match range(request) {
        Some(range) if range.0 < 12 << 20 => part(stream, range, &bytes_there[range.0..range.1]),
        _ => respond(stream, "404 Not Found", &[], b""),
    };
    let error = fetch(answer, read_all).0.expect_err("half of it is gone");
    assert!(matches!(error, Error::BlobUnknown { .. }), "{error}");
}

#[test]
fn whoever_has_enough_ends_it() {
    let bytes_there = bytes();
    let answer = move |request: &Request, stream: &mut TcpStream| {
        let range = range(request).unwrap_or((0, SIZE));
        part(stream, range, &bytes_there[range.0..range.1]);
    };
    let few = |stream: &mut dyn Read| {
        let mut few = [0; 10];
        stream.read_exact(&mut few).map_err(|error: io::Error| Error::Source {
            what: "the stream".to_owned(),
            reason: error.to_string(),
        })?;
        Err::<(), Error>(Error::Unsupported { what: "more than ten bytes".to_owned() })
    };
    let error = fetch(answer, few).0.expect_err("it says so");
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}
