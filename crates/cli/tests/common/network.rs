//! Servers in containers, and asking them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use onggi_testkit::{PATIENCE, Process, TestEnv};

/// A server that answers each connection with one word, and does so when this returns.
pub(crate) fn serve(onggi: &TestEnv, name: &str, flags: &[&str]) {
    let script = format!("mkdir -p /w && echo {name} > /w/index.html && exec httpd -f -p 80 -h /w");
    let words = [&["run", "-d", "--name", name][..], flags, &["busybox", "sh", "-c", &script]].concat();
    onggi.ok(words);
    if !onggi.is_ordinary() {
        assert_eq!(fetch(&format!("{}:80", address(onggi, name))), name);
        return;
    }
    // The host does not reach into an ordinary user's networks but by ports.
    let deadline = Instant::now() + PATIENCE;
    while !reaches(onggi, name, "127.0.0.1") {
        assert!(Instant::now() < deadline, "{name} does not answer");
    }
}

/// What is answered at this address of the host's; waits until somebody listens behind it.
pub(crate) fn fetch(address: &str) -> String {
    let address: SocketAddr = address.parse().expect("an address");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        let fetched = TcpStream::connect_timeout(&address, Duration::from_secs(5)).and_then(|mut stream| {
            // A relay takes connections before anybody listens behind it.
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut text)
        });
        match fetched {
            Ok(count) if count > 0 => return text.lines().last().unwrap_or_default().to_owned(),
            _ if Instant::now() > deadline => panic!("{address} does not answer: {fetched:?}"),
            _ => std::thread::yield_now(),
        }
    }
}

/// The port of the host's at which a container's is reached.
pub(crate) fn port(onggi: &TestEnv, name: &str, of: &str) -> String {
    let place = onggi.ok(["port", name, of]);
    let line = place.lines().next().expect("it is published");
    line.rsplit_once(':').expect("a port").1.to_owned()
}

pub(crate) fn address(onggi: &TestEnv, name: &str) -> String {
    onggi.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
}

/// Tried from inside a container: whether a server at an address answers.
pub(crate) fn reaches(onggi: &TestEnv, from: &str, address: &str) -> bool {
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 80");
    onggi.run(["exec", from, "sh", "-c", &script]).stdout.contains("200 OK")
}

/// The monitor of a container, also one that has adopted it and so is nobody's parent.
pub(crate) fn watcher(onggi: &TestEnv, name: &str) -> Process {
    let id = onggi.inspect(name, "{{.Id}}");
    let place = onggi.run_root().join("sandboxes").join(id).join("monitor.json");
    let text = std::fs::read_to_string(&place).expect("it is watched");
    let pid = text.split("\"pid\":").nth(1).and_then(|rest| rest.split([',', '}']).next()).expect("a pid");
    Process::open(pid.trim().parse().expect("a number")).expect("it lives")
}
