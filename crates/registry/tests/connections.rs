//! Connections are used again while their server keeps them, and replaced when it does not: by a transport that is a script.

use std::collections::VecDeque;
use std::io::{self, Cursor, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use onggi_image::{Reference, media_type};
use onggi_registry::{Access, AuthFiles, Client, Config, Dial, Dialled, Error, Unwatched, Url};

/// Gives what it was told to give, and swallows what is written.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The next connection's script each time.
#[derive(Debug)]
struct Scripts(Mutex<VecDeque<Vec<u8>>>);

impl Dial for Scripts {
    fn dial(&self, url: &Url) -> Result<Dialled, Error> {
        let mut scripts = self.0.lock().expect("nobody panics with it");
        let script = scripts.pop_front().unwrap_or_else(|| panic!("one connection too many, to {url}"));
        Ok(Dialled { stream: Box::new(Script(Cursor::new(script))), through_proxy: None })
    }
}

/// Fetches a manifest so many times; how many connections were not needed.
fn fetch(times: usize, scripts: Vec<Vec<u8>>) -> Result<usize, Error> {
    let files = AuthFiles { read: Vec::new(), write: PathBuf::new() };
    let scripts = Arc::new(Scripts(Mutex::new(scripts.into())));
    let config = Config { attempts: 1, ..Config::default() };
    let client =
        Client::new(config, files, Arc::new(Unwatched)).with_dial(Arc::clone(&scripts) as Arc<dyn Dial>);
    let name = Reference::parse("registry.test/app:1").expect("a name");
    for _ in 0..times {
        client.repository(&name, Access::Pull)?.manifest("1")?;
    }
    let left = scripts.0.lock().expect("nobody panics with it").len();
    Ok(left)
}

fn answer(extra: &str) -> Vec<u8> {
    let kind = media_type::OCI_MANIFEST;
    format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n{extra}\r\n{{}}").into_bytes()
}

#[test]
fn one_connection_serves_many_requests() {
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_vec();
    let all = [answer(""), chunked, answer("Connection: keep-alive\r\n")].concat();
    assert_eq!(fetch(3, vec![all, Vec::new()]).unwrap(), 1);
}

#[test]
fn one_that_the_server_has_closed_is_replaced() {
    assert_eq!(fetch(2, vec![answer(""), answer(""), Vec::new()]).unwrap(), 1);
    assert_eq!(fetch(2, vec![answer("Connection: close\r\n"), answer(""), Vec::new()]).unwrap(), 1);
}

#[test]
fn a_fresh_one_that_gives_nothing_is_an_error() {
    let error = fetch(1, vec![Vec::new()]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "read the answer of https://registry.test/v2/app/manifests/1: the connection was closed"
    );
}
