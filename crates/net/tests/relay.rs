//! The relay in the kernel: this thread's namespace is the host, a second one is the user's own, a third is a container there, and a
//! fourth a machine beyond the host.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use common::{Room, leave_network, output, without_root};
use onggi_net::endpoint::Protocol;
use onggi_net::home::Home;
use onggi_net::port;
use onggi_net::relay::{Place, Relay, way_back};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const PATIENCE: Duration = Duration::from_secs(10);

struct Rooms {
    home: Room,
    container: Room,
    beyond: Room,
}

impl Rooms {
    fn new() -> Rooms {
        leave_network();
        let rooms = Rooms { home: Room::new(), container: Room::new(), beyond: Room::new() };
        wire(&rooms.beyond, ["192.0.2.1/24", "2001:db8::1/64"], ["192.0.2.9/24", "2001:db8::9/64"]);
        rooms
            .home
            .run(|| wire(&rooms.container, ["10.9.0.1/24", "fd09::1/64"], ["10.9.0.2/24", "fd09::2/64"]));
        rooms.container.run(|| {
            output("ip", &["route", "add", "default", "via", "10.9.0.1"]);
            output("ip", &["route", "add", "default", "via", "fd09::1"]);
        });
        rooms.home.run(|| way_back::prepare(true)).unwrap();
        // As each start does.
        rooms.home.run(|| way_back::prepare(true)).unwrap();
        rooms
    }

    /// A relay that is served on a thread of its own, from these ports of the host to port 80 of the container.
    fn relay(&self, protocol: Protocol, ports: &[u16]) {
        let places = ports.iter().flat_map(|&port| {
            [("0.0.0.0", "10.9.0.2"), ("::", "fd09::2")].map(|(host, target)| Place {
                protocol,
                host: SocketAddr::new(host.parse().unwrap(), port),
                target: SocketAddr::new(target.parse().unwrap(), 80),
            })
        });
        let sockets = places.map(|place| (port::open(protocol, place.host).unwrap(), place)).collect();
        let mut relay = Relay::new(Home::behind(self.home.as_fd().try_clone_to_owned().unwrap())).unwrap();
        relay.listen(sockets).unwrap();
        let began = Instant::now();
        std::thread::spawn(move || {
            loop {
                let wait = if relay.deadline() == Some(0) { 0 } else { 100_000_000 };
                let wait = Timespec { tv_sec: 0, tv_nsec: wait };
                let descriptor = relay.descriptor();
                let _ = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&wait));
                relay.serve(u64::try_from(began.elapsed().as_nanos()).unwrap());
            }
        });
    }

    /// The container answers each connection with where it comes from, and then with what it hears.
    fn answer(&self) {
        let listener = self.container.run(|| TcpListener::bind("[::]:80")).unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                std::thread::spawn(move || {
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    stream.write_all(format!("{peer}\n").as_bytes()).unwrap();
                    let mut hears = stream.try_clone().unwrap();
                    std::io::copy(&mut hears, &mut stream).unwrap();
                });
            }
        });
    }
}

/// A pair of links between this namespace and a room.
fn wire(room: &Room, ours: [&str; 2], theirs: [&str; 2]) {
    output("ip", &["link", "add", "wire", "type", "veth", "peer", "name", "wire0"]);
    let path = format!("/proc/{}/fd/{}", std::process::id(), room.as_fd().as_raw_fd());
    output("ip", &["link", "set", "wire0", "netns", &path]);
    let set = |link: &str, addresses: [&str; 2]| {
        for address in addresses {
            output("ip", &["address", "add", address, "dev", link, "nodad"]);
        }
        output("ip", &["link", "set", link, "up"]);
    };
    set("wire", ours);
    room.run(|| set("wire0", theirs));
    output("ip", &["link", "show", "wire"]);
}

fn talk(stream: &mut TcpStream, bytes: &[u8]) -> (String, Vec<u8>) {
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.to_vec();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    let line = received.iter().position(|byte| *byte == b'\n').unwrap();
    let rest = received.split_off(line + 1);
    (String::from_utf8(received).unwrap().trim_end().to_owned(), rest)
}

#[test]
fn the_container_hears_of_the_client_and_each_side_ends_by_itself() {
    if without_root() {
        return;
    }
    let rooms = Rooms::new();
    rooms.answer();
    rooms.relay(Protocol::Tcp, &[8080, 8081]);
    let bytes: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for address in ["192.0.2.1:8080", "[2001:db8::1]:8080"] {
        let mut stream = rooms.beyond.run(|| TcpStream::connect(address)).unwrap();
        let (heard, received) = talk(&mut stream, &bytes);
        assert_eq!(heard, stream.local_addr().unwrap().to_string());
        assert!(received == bytes, "{} bytes", received.len());
    }
    // Loopback means something else in the container: there it is the network's gateway.
    let mut local = TcpStream::connect("127.0.0.1:8080").unwrap();
    assert!(talk(&mut local, b"").0.starts_with("10.9.0.1:"));
}

#[test]
fn many_at_once_have_their_turns() {
    if without_root() {
        return;
    }
    let rooms = Rooms::new();
    rooms.answer();
    rooms.relay(Protocol::Tcp, &[8080]);
    let mut streams: Vec<TcpStream> =
        (0..100).map(|_| rooms.beyond.run(|| TcpStream::connect("192.0.2.1:8080")).unwrap()).collect();
    let bytes = vec![7; 300_000];
    // The first one begins when all are there, and none has ended.
    for stream in &mut streams {
        let (heard, received) = talk(stream, &bytes);
        assert_eq!((heard, received.len()), (stream.local_addr().unwrap().to_string(), bytes.len()));
    }
}

#[test]
fn where_nobody_listens_the_connection_is_reset() {
    if without_root() {
        return;
    }
    let rooms = Rooms::new();
    rooms.relay(Protocol::Tcp, &[8080]);
    let mut stream = rooms.beyond.run(|| TcpStream::connect("192.0.2.1:8080")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn datagrams_go_to_and_fro_for_each_client() {
    if without_root() {
        return;
    }
    let rooms = Rooms::new();
    let server = rooms.container.run(|| UdpSocket::bind("[::]:80")).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((count, peer)) = server.recv_from(&mut buffer) {
            let from = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let text = format!("{from} {}", String::from_utf8_lossy(&buffer[..count]));
            let _ = server.send_to(text.as_bytes(), peer);
        }
    });
    rooms.relay(Protocol::Udp, &[5353]);
    let client = |bound: &str, to: &str| {
        let socket = rooms.beyond.run(|| UdpSocket::bind(bound)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    };
    let clients = [
        client("192.0.2.9:0", "192.0.2.1:5353"),
        client("192.0.2.9:0", "192.0.2.1:5353"),
        client("[2001:db8::9]:0", "[2001:db8::1]:5353"),
    ];
    for word in ["first", "second"] {
        for client in &clients {
            client.send(word.as_bytes()).unwrap();
            let mut buffer = [0; 2000];
            let count = client.recv(&mut buffer).unwrap();
            let expected = format!("{} {word}", client.local_addr().unwrap());
            assert_eq!(String::from_utf8_lossy(&buffer[..count]), expected);
        }
    }
    // The place is held, though single clients' sockets stand beside it.
    let taken = port::open(Protocol::Udp, "0.0.0.0:5353".parse().unwrap()).unwrap_err();
    assert!(taken.to_string().contains("port is already allocated"), "{taken}");
}
