//! The server of names where containers meet it: in a network namespace, at 127.0.0.11, port 53.
#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

mod common;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Room, leave_network, output, without_root};
use onggi_net::endpoint::{self, Directory, Endpoint, VERSION};
use onggi_net::names::listen::listen;
use onggi_net::names::resolve::{Config, Network};
use onggi_net::names::server::Server;
use rustix::event::{PollFd, PollFlags, Timespec};

/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// A query for the addresses of `name`.
fn query(id: u8, name: &str, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

fn ask(name: &str) -> Vec<u8> {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    // Connected, as the C libraries have it: the answer has to come from where the question went.
    socket.connect("127.0.0.11:53").unwrap();
    socket.send(&query(7, name, 1)).unwrap();
    let mut reply = vec![0; 512];
    let count = socket.recv(&mut reply).unwrap();
    reply.truncate(count);
    reply
}

fn ask_by_stream(name: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let query = query(7, name, 1);
    stream.write_all(&[0, u8::try_from(query.len()).unwrap()]).unwrap();
    stream.write_all(&query).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).unwrap();
    reply
}

/// Serves the room while `inside` runs there.
fn while_serving(room: &Room, run_root: &Path, inside: impl FnOnce() + Send) {
    let network = Network { id: "1".repeat(64), name: "shop".into(), internal: false };
    let servers = vec!["127.0.0.1".parse().unwrap()];
    let config = Config {
        run_root: run_root.into(),
        networks: vec![network],
        servers,
        dotted_only: false,
        asks_others: false,
    };
    let mut server = Server::new(listen(room.as_fd()).unwrap(), config, Path::new("/nonexistent")).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            room.run(inside);
            done.store(true, Ordering::Release);
        });
        let begun = Instant::now();
        while !done.load(Ordering::Acquire) && !client.is_finished() {
            let tick = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let descriptor = server.descriptor();
            rustix::event::poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&tick)).unwrap();
            server.serve(begun.elapsed().as_nanos().try_into().unwrap());
        }
        client.join().unwrap();
    });
}

fn web(run_root: &Path) {
    let endpoint = Endpoint {
        version: VERSION,
        network: "1".repeat(64),
        network_name: "shop".into(),
        container: "c".repeat(64),
        names: vec!["web".into()],
        ipv4: Some(Ipv4Addr::new(10, 200, 0, 2)),
        ipv6: None,
        mac: "02:42:0a:c8:00:02".into(),
        interface: "og0".into(),
        inside: "eth0".to_owned(),
        ports: Vec::new(),
    };
    endpoint::claim(&Directory::new(run_root, &endpoint.network), &endpoint).unwrap();
}

#[test]
fn the_server_is_met_at_port_53_and_leaves_the_port_to_others() {
    if without_root() {
        return;
    }
    let run_root = tempfile::tempdir().unwrap();
    web(run_root.path());
    let room = Room::new();
    while_serving(&room, run_root.path(), || {
        // A container may run a server of names of its own.
        let own = UdpSocket::bind("0.0.0.0:53").unwrap();
        let _own_streams = std::net::TcpListener::bind("0.0.0.0:53").unwrap();
        for reply in [ask("web"), ask("WEB.shop"), ask_by_stream("web")] {
            assert!(reply.ends_with(&[0, 4, 10, 200, 0, 2]), "{reply:?}");
        }
        own.set_nonblocking(true).unwrap();
        assert!(own.recv(&mut [0; 512]).is_err(), "our questions went to the container's own server");
    });
}

#[test]
fn another_server_takes_the_place_of_a_dead_one() {
    if without_root() {
        return;
    }
    let run_root = tempfile::tempdir().unwrap();
    web(run_root.path());
    let room = Room::new();
    let dead = listen(room.as_fd()).unwrap();
    let before = room.run(|| output("nft", &["list", "table", "ip", "onggi-names"]));
    assert_eq!(before.matches("dnat to 127.0.0.11:").count(), 2, "{before}");
    drop(dead);
    while_serving(&room, run_root.path(), || {
        assert!(ask("web").ends_with(&[10, 200, 0, 2]));
        let after = output("nft", &["list", "table", "ip", "onggi-names"]);
        assert_eq!(after.matches("dnat to 127.0.0.11:").count(), 2, "{after}");
    });
}

#[test]
fn other_names_are_asked_for_where_the_server_is() {
    if without_root() {
        return;
    }
    // The host of this test, with a server of its own; containers do not see it.
    leave_network();
    let upstream = UdpSocket::bind("127.0.0.1:53").unwrap();
    upstream.set_read_timeout(Some(PATIENCE)).unwrap();
    let run_root = tempfile::tempdir().unwrap();
    let room = Room::new();
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| {
            let mut bytes = vec![0; 512];
            let (count, from) = upstream.recv_from(&mut bytes).unwrap();
            bytes.truncate(count);
            bytes[2] |= 0x80;
            bytes[3] = 3;
            upstream.send_to(&bytes, from).unwrap();
        });
        while_serving(&room, run_root.path(), || {
            let reply = ask("example.com");
            assert_eq!((reply[1], reply[3] & 15), (7, 3), "the upstream's word is passed on");
        });
        answers.join().unwrap();
    });
}
