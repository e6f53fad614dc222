//! The server between real sockets of this host's loopback, with a clock that only tests move.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use super::super::exchange::LARGEST_QUERY;
use super::super::message::kind::{A, AAAA};
use super::super::resolve::Network;
use super::super::testing::{query, with_edns};
use super::*;
use crate::endpoint::{Directory, Endpoint, VERSION};

/// What takes longer is broken.
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: u64 = 1_000_000_000;

struct Sandbox {
    server: Server,
    now: u64,
    datagrams: SocketAddr,
    streams: SocketAddr,
    run_root: tempfile::TempDir,
}

impl Sandbox {
    fn new(upstream: &[SocketAddr], internal: bool) -> Sandbox {
        let run_root = tempfile::tempdir().unwrap();
        let network = Network { id: "1".repeat(64), name: "shop".into(), internal };
        let config =
            Config { run_root: run_root.path().to_owned(), networks: vec![network], ..Config::default() };
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        let streams = TcpListener::bind("127.0.0.1:0").unwrap();
        streams.set_nonblocking(true).unwrap();
        let addresses = (datagrams.local_addr().unwrap(), streams.local_addr().unwrap());
        let sockets = Sockets { datagrams: datagrams.into(), streams: streams.into() };
        let mut server = Server::new(sockets, config, Path::new("/nonexistent")).unwrap();
        server.servers = Servers::Given(upstream.to_vec());
        Sandbox { server, now: SECOND, datagrams: addresses.0, streams: addresses.1, run_root }
    }

    fn has(&self, container: &str, name: &str, ipv4: Ipv4Addr) {
        let directory = Directory::new(self.run_root.path(), &"1".repeat(64));
        let endpoint = Endpoint {
            version: VERSION,
            network: "1".repeat(64),
            network_name: "shop".into(),
            container: container.into(),
            names: vec![name.into()],
            ipv4: Some(ipv4),
            ipv6: None,
            mac: "02:42:0a:c8:00:02".into(),
            interface: "og0".into(),
            inside: "eth0".into(),
            ports: Vec::new(),
        };
        let names = directory.name(name).unwrap();
        std::fs::create_dir_all(&names).unwrap();
        std::fs::write(names.join(container), serde_json::to_vec(&endpoint).unwrap()).unwrap();
    }

    /// Waits until there is something to do, and does it.
    fn turn(&mut self) {
        let timeout = Timespec { tv_sec: 20, tv_nsec: 0 };
        let descriptor = self.server.descriptor();
        let ready =
            rustix::event::poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)).unwrap();
        assert!(ready > 0, "the server has nothing to do");
        self.server.serve(self.now);
    }

    fn wait(&mut self, nanoseconds: u64) {
        self.now += nanoseconds;
        self.server.serve(self.now);
    }

    /// A client of this sandbox.
    fn client(&self) -> UdpSocket {
        let socket = socket();
        socket.connect(self.datagrams).unwrap();
        socket
    }

    fn stream(&mut self) -> TcpStream {
        let stream = TcpStream::connect(self.streams).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.turn();
        stream
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 65536];
    let count = socket.recv(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

fn nothing(socket: &UdpSocket) {
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 512]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    socket.set_nonblocking(false).unwrap();
}

/// In one piece: the kernel would hold a second one back until the first is acknowledged.
fn write(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
}

fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).unwrap();
    message
}

fn id(message: &[u8]) -> u16 {
    u16::from_be_bytes([message[0], message[1]])
}

fn code(message: &[u8]) -> u8 {
    assert!(message[2] & 0x80 != 0, "this is no reply");
    message[3] & 15
}

fn is_truncated(message: &[u8]) -> bool {
    message[2] & 2 != 0
}

/// An answer with this code, padded with whatever.
fn answer(query: &[u8], code: u8, padding: usize) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x80 | code;
    answer.extend(vec![0xAA; padding]);
    answer
}

#[test]
fn local_names_are_answered_at_once() {
    let mut sandbox = Sandbox::new(&[], false);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let client = sandbox.client();
    client.send(&query(7, "Web", A)).unwrap();
    sandbox.turn();
    let reply = receive(&client);
    assert_eq!((id(&reply), code(&reply), reply[7]), (7, 0, 1));
    assert!(reply.ends_with(&[0, 4, 10, 200, 0, 2]));
    client.send(&query(8, "web", AAAA)).unwrap();
    sandbox.turn();
    let reply = receive(&client);
    assert_eq!((id(&reply), code(&reply), reply[7]), (8, 0, 0));
    assert_eq!(sandbox.server.deadline(), None);
}

#[test]
fn both_families_asked_for_at_once_are_both_answered() {
    // As musl does: two queries from one socket, and both answers awaited.
    let mut sandbox = Sandbox::new(&[], false);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let client = sandbox.client();
    client.send(&query(1, "web", A)).unwrap();
    client.send(&query(2, "web", AAAA)).unwrap();
    sandbox.turn();
    let mut ids = [receive(&client), receive(&client)].map(|reply| (id(&reply), code(&reply), reply[7]));
    ids.sort_unstable();
    assert_eq!(ids, [(1, 0, 1), (2, 0, 0)]);
}

#[test]
fn a_stream_carries_one_query_after_the_other() {
    let mut sandbox = Sandbox::new(&[], false);
    for number in 1..=100 {
        sandbox.has(&format!("c{number}"), "app", Ipv4Addr::new(10, 200, 0, number));
    }
    let client = sandbox.client();
    client.send(&query(1, "app", A)).unwrap();
    sandbox.turn();
    assert!(is_truncated(&receive(&client)));
    let mut stream = sandbox.stream();
    write(&mut stream, &query(2, "app", A));
    write(&mut stream, &query(3, "app", A));
    for id_wanted in [2, 3] {
        sandbox.turn();
        let reply = read(&mut stream);
        assert_eq!((id(&reply), reply[7], is_truncated(&reply)), (id_wanted, 100, false));
    }
}

#[test]
fn other_names_are_forwarded_under_another_id() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let client = sandbox.client();
    let mut ids = std::collections::HashSet::new();
    let mut ports = std::collections::HashSet::new();
    for number in 0..20 {
        client.send(&with_edns(query(number, "Example.com", A), 1232)).unwrap();
        sandbox.turn();
        let mut asked = vec![0; 512];
        let (count, from) = upstream.recv_from(&mut asked).unwrap();
        asked.truncate(count);
        // But for the id it is the client's very query.
        assert_eq!(asked[2..], with_edns(query(number, "Example.com", A), 1232)[2..]);
        ids.insert(id(&asked));
        ports.insert(from.port());
        upstream.send_to(&answer(&asked, 3, 0), from).unwrap();
        sandbox.turn();
        let reply = receive(&client);
        assert_eq!((id(&reply), code(&reply)), (number, 3));
    }
    assert!(ids.len() > 15 && ports.len() > 15, "{ids:?} {ports:?}");
    assert!(sandbox.server.exchanges.is_empty());
}

#[test]
fn who_answers_in_the_servers_place_is_not_heard() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let client = sandbox.client();
    client.send(&query(1, "example.com", A)).unwrap();
    sandbox.turn();
    let mut asked = vec![0; 512];
    let (count, from) = upstream.recv_from(&mut asked).unwrap();
    asked.truncate(count);
    let mut other_id = answer(&asked, 0, 0);
    other_id[0] ^= 1;
    let mut other_name = answer(&asked, 0, 0);
    other_name[13] ^= 1;
    // The kernel keeps what comes from elsewhere from a connected socket.
    socket().send_to(&answer(&asked, 0, 0), from).unwrap();
    for false_answer in [&other_id, &other_name, &asked, &vec![0; 3]] {
        upstream.send_to(false_answer, from).unwrap();
        sandbox.turn();
    }
    nothing(&client);
    upstream.send_to(&answer(&asked, 5, 0), from).unwrap();
    sandbox.turn();
    assert_eq!(code(&receive(&client)), 5);
}

#[test]
fn each_server_has_its_time_and_then_it_is_a_failure() {
    let upstream = [socket(), socket(), socket()];
    let addresses = [0, 1, 2].map(|at: usize| upstream[at].local_addr().unwrap());
    let mut sandbox = Sandbox::new(&addresses, false);
    let client = sandbox.client();
    client.send(&query(1, "example.com", A)).unwrap();
    sandbox.turn();
    for server in &upstream {
        receive(server);
        assert_eq!(sandbox.server.deadline(), Some(sandbox.now + 4 * SECOND));
        sandbox.wait(4 * SECOND - 1);
        upstream.iter().for_each(nothing);
        nothing(&client);
        sandbox.wait(1);
    }
    let reply = receive(&client);
    assert_eq!((id(&reply), code(&reply)), (1, 2));
    assert_eq!(sandbox.server.deadline(), None);
}

#[test]
fn a_server_that_cannot_say_is_followed_by_the_next() {
    let (closed, failing, last) = (socket().local_addr().unwrap(), socket(), socket());
    let servers = [closed, failing.local_addr().unwrap(), last.local_addr().unwrap()];
    let mut sandbox = Sandbox::new(&servers, false);
    let client = sandbox.client();
    client.send(&query(1, "example.com", A)).unwrap();
    sandbox.turn();
    // Nobody listens at the first one, which the kernel says.
    sandbox.turn();
    for (server, code) in [(&failing, 5), (&last, 2)] {
        nothing(&client);
        let mut asked = vec![0; 512];
        let (count, from) = server.recv_from(&mut asked).unwrap();
        server.send_to(&answer(&asked[..count], code, 0), from).unwrap();
        sandbox.turn();
    }
    // The last one's word is passed on.
    assert_eq!(code(&receive(&client)), 2);
}

#[test]
fn without_servers_it_is_a_failure_at_once() {
    let mut sandbox = Sandbox::new(&[], false);
    let client = sandbox.client();
    client.send(&query(1, "example.com", A)).unwrap();
    sandbox.turn();
    assert_eq!(code(&receive(&client)), 2);
    let mut stream = sandbox.stream();
    write(&mut stream, &query(2, "example.com", A));
    sandbox.turn();
    assert_eq!(code(&read(&mut stream)), 2);
}

#[test]
fn an_internal_network_asks_nobody() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], true);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let client = sandbox.client();
    for (name, wanted) in [("example.com", 2), ("secret.example.com", 2), ("web", 0)] {
        client.send(&query(1, name, A)).unwrap();
        sandbox.turn();
        assert_eq!(code(&receive(&client)), wanted, "{name}");
    }
    nothing(&upstream);
}

#[test]
fn a_long_answer_goes_by_stream() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    datagrams.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sandbox = Sandbox::new(&[address], false);
    let client = sandbox.client();
    let wanted = query(1, "example.com", A);
    // A server that sends more than the client takes, and one that sends more than anybody takes.
    for padding in [600, 5000] {
        client.send(&wanted).unwrap();
        sandbox.turn();
        let mut asked = vec![0; 512];
        let (count, from) = datagrams.recv_from(&mut asked).unwrap();
        datagrams.send_to(&answer(&asked[..count], 0, padding), from).unwrap();
        sandbox.turn();
        let reply = receive(&client);
        assert!(is_truncated(&reply) && reply.len() == wanted.len(), "{padding}");
    }
    let mut stream = sandbox.stream();
    write(&mut stream, &wanted);
    sandbox.turn();
    let (mut theirs, _) = upstream.accept().unwrap();
    sandbox.turn();
    let asked = read(&mut theirs);
    assert_eq!(asked[2..], wanted[2..]);
    // In two pieces, and nothing is passed on before it is whole.
    let whole = answer(&asked, 0, 30_000);
    theirs.write_all(&u16::try_from(whole.len()).unwrap().to_be_bytes()).unwrap();
    theirs.write_all(&whole[..10_000]).unwrap();
    sandbox.turn();
    theirs.write_all(&whole[10_000..]).unwrap();
    while !sandbox.server.exchanges.is_empty() {
        sandbox.turn();
    }
    let reply = read(&mut stream);
    assert_eq!((id(&reply), reply.len(), &reply[2..]), (1, whole.len(), &whole[2..]));
}

#[test]
fn a_server_that_hangs_up_is_followed_by_the_next() {
    let upstream = [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let servers = [0, 1].map(|at: usize| upstream[at].local_addr().unwrap());
    let mut sandbox = Sandbox::new(&servers, false);
    let mut stream = sandbox.stream();
    write(&mut stream, &query(1, "example.com", A));
    for server in &upstream {
        sandbox.turn();
        drop(server.accept().unwrap());
    }
    while !sandbox.server.exchanges.is_empty() {
        sandbox.turn();
    }
    assert_eq!(code(&read(&mut stream)), 2);
}

#[test]
fn a_server_without_streams_is_asked_by_datagram() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let mut stream = sandbox.stream();
    for (id_asked, truncation, wanted) in [(1, 0, 0), (2, 2, 2)] {
        write(&mut stream, &query(id_asked, "example.com", A));
        sandbox.turn();
        // The connection is refused, which the kernel says.
        sandbox.turn();
        let mut asked = vec![0; 512];
        let (count, from) = upstream.recv_from(&mut asked).unwrap();
        let mut reply = answer(&asked[..count], 0, 0);
        reply[2] |= truncation;
        upstream.send_to(&reply, from).unwrap();
        sandbox.turn();
        let reply = read(&mut stream);
        assert_eq!((id(&reply), code(&reply), is_truncated(&reply)), (id_asked, wanted, false));
    }
}

#[test]
fn a_table_that_is_full_says_so_and_repetitions_do_not_fill_it() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let client = sandbox.client();
    for number in 0..u16::try_from(MOST_EXCHANGES).unwrap() {
        for _ in 0..2 {
            client.send(&query(number, "example.com", A)).unwrap();
            sandbox.turn();
        }
    }
    assert_eq!(sandbox.server.exchanges.len(), MOST_EXCHANGES);
    client.send(&query(999, "example.com", A)).unwrap();
    sandbox.turn();
    let reply = receive(&client);
    assert_eq!((id(&reply), code(&reply)), (999, 2));
    sandbox.wait(4 * SECOND);
    assert!(sandbox.server.exchanges.is_empty());
    sandbox.server.rest();
    assert_eq!(sandbox.server.exchanges.capacity() + sandbox.server.buffer.capacity(), 0);
}

#[test]
fn large_queries_do_not_fill_the_memory() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let client = sandbox.client();
    let plain = with_edns(query(1, "example.com", A), 4096);
    for (size, passed_on) in [(LARGEST_QUERY, 1), (LARGEST_QUERY + 1, 1)] {
        let mut large = plain.clone();
        let padding = u16::try_from(size - plain.len()).unwrap();
        large[plain.len() - 2..].copy_from_slice(&padding.to_be_bytes());
        large.resize(size, 0);
        client.send(&large).unwrap();
        sandbox.turn();
        assert_eq!(sandbox.server.exchanges.len(), passed_on);
    }
    assert_eq!(code(&receive(&client)), 2);
    // And what is larger than any query is not even answered.
    client.send(&vec![0; LARGEST + 1]).unwrap();
    sandbox.turn();
    nothing(&client);
}

#[test]
fn streams_are_few_and_not_for_ever() {
    let mut sandbox = Sandbox::new(&[], false);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let mut streams: Vec<TcpStream> = (0..MOST_CLIENTS).map(|_| sandbox.stream()).collect();
    assert_eq!(sandbox.server.clients.len(), MOST_CLIENTS);
    // One more is connected by the kernel, and waits there.
    let mut late = TcpStream::connect(sandbox.streams).unwrap();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    write(&mut late, &query(5, "web", A));
    sandbox.server.serve(sandbox.now);
    assert_eq!(sandbox.server.clients.len(), MOST_CLIENTS);
    // One of them speaks, and may stay longer than the silent ones.
    sandbox.now += 9 * SECOND;
    write(&mut streams[3], &query(1, "web", A));
    sandbox.turn();
    assert_eq!(code(&read(&mut streams[3])), 0);
    sandbox.wait(SECOND);
    assert_eq!(sandbox.server.clients.len(), 1);
    assert_eq!(streams[0].read(&mut [0; 1]).unwrap(), 0);
    sandbox.turn();
    sandbox.turn();
    assert_eq!(id(&read(&mut late)), 5);
    drop((streams, late));
    sandbox.turn();
    assert!(sandbox.server.clients.is_empty());
}

#[test]
fn a_client_that_leaves_is_forgotten_with_its_query() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let mut stream = sandbox.stream();
    write(&mut stream, &query(1, "example.com", A));
    sandbox.turn();
    assert_eq!((sandbox.server.clients.len(), sandbox.server.exchanges.len()), (1, 1));
    // A connection that is reset, since a half that is closed may still wait for its answer.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
    while !sandbox.server.clients.is_empty() {
        sandbox.turn();
    }
    assert!(sandbox.server.exchanges.is_empty());
}

#[test]
fn nonsense_is_answered_with_a_header_or_not_at_all() {
    let mut sandbox = Sandbox::new(&[], false);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let client = sandbox.client();
    for (message, wanted) in [
        (&b""[..], None),
        (b"hello", None),
        (&answer(&query(1, "web", A), 0, 0), None),
        (&query(1, "web", A)[..20], Some(1)),
        (&[0, 1, 0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0], Some(4)),
    ] {
        client.send(message).unwrap();
        sandbox.turn();
        match wanted {
            Some(wanted) => assert_eq!(code(&receive(&client)), wanted, "{message:?}"),
            None => nothing(&client),
        }
    }
    for message in [&b"\x00\x00"[..], b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = sandbox.stream();
        stream.write_all(message).unwrap();
        sandbox.turn();
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)), "{message:?}");
    }
    client.send(&query(1, "web", A)).unwrap();
    sandbox.turn();
    assert_eq!(code(&receive(&client)), 0);
}

#[test]
fn what_waits_is_taken_up_by_the_next_server() {
    let upstream = socket();
    let mut sandbox = Sandbox::new(&[upstream.local_addr().unwrap()], false);
    let client = sandbox.client();
    client.send(&query(1, "example.com", A)).unwrap();
    sandbox.turn();
    receive(&upstream);
    let pending = sandbox.server.pending();
    let Sandbox { server, now, run_root, datagrams, streams } = sandbox;
    let Server { sockets, config, .. } = server;
    let mut server = Server::new(sockets, config, Path::new("/nonexistent")).unwrap();
    server.servers = Servers::Given(vec![upstream.local_addr().unwrap()]);
    server.take_up(pending, now);
    let mut sandbox = Sandbox { server, now, datagrams, streams, run_root };
    let mut asked = vec![0; 512];
    let (count, from) = upstream.recv_from(&mut asked).unwrap();
    upstream.send_to(&answer(&asked[..count], 0, 0), from).unwrap();
    sandbox.turn();
    assert_eq!(id(&receive(&client)), 1);
}

#[test]
fn a_network_that_is_joined_is_asked_from_then_on() {
    let mut sandbox = Sandbox::new(&[], false);
    sandbox.has("c1", "web", Ipv4Addr::new(10, 200, 0, 2));
    let config = sandbox.server.config.clone();
    sandbox.server.configure(Config { networks: Vec::new(), ..config.clone() });
    let client = sandbox.client();
    for (config, wanted) in [(None, 2), (Some(config), 0)] {
        if let Some(config) = config {
            sandbox.server.configure(config);
        }
        client.send(&query(1, "web", A)).unwrap();
        sandbox.turn();
        assert_eq!(code(&receive(&client)), wanted);
    }
}
