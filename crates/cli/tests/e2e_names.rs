//! Names in containers: who is found under which, when, and who is asked for the rest. No test asks the Internet: the servers beyond are
//! the tests' own.

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};

use common::{busybox, fresh};
use onggi_testkit::TestEnv;

/// An Onggi with networks.
struct Host(TestEnv);

impl Host {
    fn with_network(name: &str) -> Host {
        let host = Host(busybox());
        host.0.ok(["network", "create", name]);
        host
    }

    /// A container that does nothing.
    fn start(&self, name: &str, flags: &[&str]) {
        let run = ["run", "-d", "--name", name, "--init"].into_iter().chain(flags.iter().copied());
        self.0.ok(run.chain(["busybox", "sleep", "1000"]));
    }

    fn address(&self, container: &str, network: &str) -> String {
        let format = format!("{{{{(index .NetworkSettings.Networks {network:?}).IPAddress}}}}");
        self.0.inspect(container, &format)
    }

    /// What `nslookup` in the container says.
    fn look_up(&self, container: &str, arguments: &[&str]) -> String {
        let command = ["exec", container, "nslookup"].into_iter().chain(arguments.iter().copied());
        let output = self.0.run(command);
        format!("{}{}", output.stdout, output.stderr)
    }

    /// The addresses found in a container, in the order in which they came.
    fn addresses(&self, container: &str, name: &str) -> Vec<String> {
        let said = self.look_up(container, &["-type=a", name]);
        let answer = said.split_once("answer:\n").map_or("", |(_, answer)| answer);
        answer.lines().filter_map(|line| line.strip_prefix("Address: ")).map(str::to_owned).collect()
    }
}

/// A server of names beyond, on this host: `far.example` has an address, `long.example` more than fit into a datagram, and nothing else is.
struct Upstream {
    address: IpAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// At an address of this test's own; 127.0.0.0/8 is large.
    fn new(number: u8) -> Upstream {
        let address = Ipv4Addr::new(127, 90, number, (std::process::id() % 250 + 1) as u8);
        let datagrams = UdpSocket::bind((address, 53)).expect("port 53 of an address of the test's own");
        let streams = TcpListener::bind((address, 53)).expect("the same by streams");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        // Both end with the test's process.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok((count, from)) = datagrams.recv_from(&mut bytes) {
                let reply = reply(&bytes[..count], Some(512), &seen);
                let _: Result<usize, std::io::Error> = datagrams.send_to(&reply, from);
            }
        });
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in streams.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 2];
                stream.read_exact(&mut length).expect("a length");
                let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut query).expect("a query");
                let reply = reply(&query, None, &seen);
                let length = u16::try_from(reply.len()).expect("a short reply").to_be_bytes();
                stream.write_all(&[&length, reply.as_slice()].concat()).expect("the reply is taken");
            }
        });
        Upstream { address: address.into(), asked }
    }

    fn flag(&self) -> String {
        format!("--dns={}", self.address)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody has died over it").clone()
    }
}

/// The reply to a query: at most `limit` bytes.
fn reply(query: &[u8], limit: Option<usize>, asked: &Mutex<Vec<String>>) -> Vec<u8> {
    let mut name = String::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..end]).expect("ASCII"));
        name.push('.');
        at = end;
    }
    let is_ipv4 = query[at + 1..at + 3] == [0, 1];
    let mut reply = query[..at + 5].to_vec();
    // No additional records, whatever the query has.
    (reply[2], reply[3], reply[11]) = (0x81, 0x80, 0);
    let count = match name.as_str() {
        "far.example." => 1,
        "long.example." => 100,
        _ => {
            reply[3] |= 3;
            0
        }
    };
    asked.lock().expect("nobody has died over it").push(name);
    for number in (0..count).filter(|_| is_ipv4) {
        let record = [0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 7 + number];
        if limit.is_some_and(|limit| reply.len() + record.len() > limit) {
            reply[2] |= 2;
            break;
        }
        reply.extend(record);
        reply[7] += 1;
    }
    reply
}

#[test]
fn containers_of_a_network_find_one_another() {
    let host = Host::with_network("shop");
    host.start("web", &["--network", "shop", "--network-alias", "www", "--hostname", "front"]);
    host.start("asker", &["--network", "shop"]);
    let address = host.address("web", "shop");
    assert!(address.parse::<Ipv4Addr>().is_ok(), "{address:?}");
    let id = host.0.inspect("web", "{{.Id}}");
    for name in ["web", "WEB", "www", "front", &id[..12], "web.shop", "www.shop"] {
        assert_eq!(host.addresses("asker", name), [address.as_str()], "{name}");
    }
    let back = host.look_up("asker", &[&address]);
    assert!(back.contains("name = web.shop\n"), "{back}");
    // No address of the other family, and no error: clients that ask for both go on with what there is.
    let both = host.look_up("asker", &["web"]);
    assert!(both.contains(&address) && !both.contains("can't find"), "{both}");
    let resolv_conf = host.0.ok(["exec", "asker", "cat", "/etc/resolv.conf"]);
    assert!(resolv_conf.starts_with("nameserver 127.0.0.11\n"), "{resolv_conf}");
    assert!(resolv_conf.contains("ndots:"), "{resolv_conf}");
    // And they are reached there.
    host.0.ok(["exec", "web", "httpd", "-p", "80", "-h", "/etc"]);
    assert_eq!(host.0.ok(["exec", "asker", "wget", "-qO-", "http://www/hostname"]), "front");
}

#[test]
fn who_shares_an_alias_takes_turns() {
    let host = Host::with_network("shop");
    for name in ["one", "two", "three"] {
        host.start(name, &["--network", "shop", "--network-alias", "app"]);
    }
    let mut first = HashSet::new();
    for _ in 0..30 {
        let addresses = host.addresses("one", "app");
        assert_eq!(addresses.len(), 3, "{addresses:?}");
        first.insert(addresses[0].clone());
    }
    // That one of three is never the first of thirty happens once in 60,000 times.
    assert_eq!(first.len(), 3, "{first:?}");
    host.0.ok(["stop", "-t", "0", "two"]);
    assert_eq!(host.addresses("one", "app").len(), 2);
}

#[test]
fn an_alias_is_of_its_network_alone() {
    let upstream = Upstream::new(1);
    let host = Host::with_network("front");
    host.0.ok(["network", "create", "back"]);
    host.start("db", &["--network", "back", "--network-alias", "store"]);
    host.0.ok(["network", "connect", "--alias", "till", "front", "db"]);
    host.start("web", &["--network", "front", &upstream.flag()]);
    let (front, back) = (host.address("db", "front"), host.address("db", "back"));
    assert_ne!(front, back);
    for (name, wanted) in [
        ("db", Some(&front)),
        ("till", Some(&front)),
        ("store", None),
        ("db.back", None),
        ("db.front", Some(&front)),
    ] {
        let wanted: Vec<&String> = wanted.into_iter().collect();
        assert_eq!(host.addresses("web", name).iter().collect::<Vec<_>>(), wanted, "{name}");
    }
    // A container that runs already hears of the network that it joins, and forgets the one that it leaves.
    host.0.ok(["network", "connect", "back", "web"]);
    assert_eq!(host.addresses("web", "store"), [back.as_str()]);
    assert_eq!(host.addresses("web", "db.back"), [back.as_str()]);
    host.0.ok(["network", "disconnect", "front", "web"]);
    assert_eq!(host.addresses("web", "till"), [] as [&str; 0]);
    assert_eq!(host.addresses("web", "db"), [back.as_str()]);
}

#[test]
fn names_come_and_go_with_their_containers() {
    let upstream = Upstream::new(2);
    let host = Host::with_network("shop");
    host.start("asker", &["--network", "shop", &upstream.flag()]);
    assert!(host.look_up("asker", &["web"]).contains("NXDOMAIN"));
    host.start("web", &["--network", "shop", "--network-alias", "www"]);
    assert_eq!(host.addresses("asker", "www").len(), 1);
    host.0.ok(["stop", "-t", "0", "web"]);
    for name in ["web", "www"] {
        assert!(host.look_up("asker", &[name]).contains("NXDOMAIN"), "{name}");
    }
    host.0.ok(["start", "web"]);
    assert_eq!(host.addresses("asker", "www"), [host.address("web", "shop")]);
    host.0.ok(["rename", "web", "shopfront"]);
    assert_eq!(host.addresses("asker", "shopfront"), [host.address("shopfront", "shop")]);
    assert!(host.look_up("asker", &["web"]).contains("NXDOMAIN"));
    assert!(upstream.asked().iter().all(|name| name == "web." || name == "www."), "{:?}", upstream.asked());
}

#[test]
fn an_internal_network_tells_the_world_nothing() {
    let upstream = Upstream::new(3);
    let host = Host(busybox());
    host.0.ok(["network", "create", "--internal", "vault"]);
    host.start("db", &["--network", "vault"]);
    host.start("asker", &["--network", "vault", &upstream.flag()]);
    assert_eq!(host.addresses("asker", "db").len(), 1);
    for name in ["far.example", "secret.far.example", "nobody"] {
        assert!(host.look_up("asker", &[name]).contains("SERVFAIL"), "{name}");
    }
    assert_eq!(upstream.asked(), [] as [&str; 0]);
}

#[test]
fn the_c_library_finds_what_is_near_and_what_is_far() {
    let upstream = Upstream::new(4);
    let host = Host(fresh());
    for image in ["busybox", "debian"] {
        host.0.import(image);
    }
    host.0.ok(["network", "create", "shop"]);
    host.start("web", &["--network", "shop"]);
    let address = host.address("web", "shop");
    let script = "getent ahosts web; getent hosts ADDRESS; getent ahosts far.example; getent ahostsv4 long.example | grep -c STREAM; \
                  getent ahosts nobody.example || echo none";
    let script = script.replace("ADDRESS", &address);
    let run = ["run", "--rm", "--network", "shop", &upstream.flag(), "debian", "sh", "-c", &script];
    let said = host.0.ok(run);
    let words: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words[0], [&address, "STREAM", "web"]);
    assert_eq!(words[3], [&address, "web.shop"]);
    assert_eq!(words[4], ["192.0.2.7", "STREAM", "far.example"]);
    // More than a datagram holds, so it came by a stream.
    assert_eq!(words[7..], [["100"], ["none"]]);
}

#[test]
fn names_outlive_their_server() {
    let host = Host::with_network("shop");
    host.start("web", &["--network", "shop"]);
    host.start("asker", &["--network", "shop"]);
    let address = host.address("web", "shop");
    for name in ["asker", "web"] {
        let monitor = host.0.monitor(name);
        monitor.kill();
        assert!(monitor.ends_within(onggi_testkit::PATIENCE));
    }
    // The next command adopts both, whichever it is.
    host.0.ok(["ps"]);
    assert_eq!(host.addresses("asker", "web"), [address.as_str()]);
    assert_eq!(host.addresses("web", "asker"), [host.address("asker", "shop")]);
}

#[test]
fn a_container_may_serve_names_itself() {
    let host = Host::with_network("shop");
    host.start("web", &["--network", "shop"]);
    let script = "nc -u -l -p 53 </dev/null >/tmp/heard & nc -l -p 53 </dev/null >/tmp/heard2 & nslookup -type=a web && cat /tmp/heard*";
    let said = host.0.ok(["run", "--rm", "--network", "shop", "busybox", "sh", "-c", script]);
    assert!(said.trim_end().ends_with(&host.address("web", "shop")), "{said}");
}

#[test]
fn the_default_network_has_no_names() {
    let upstream = Upstream::new(5);
    let host = Host(busybox());
    host.start("web", &[]);
    let flag = upstream.flag();
    let said = host.0.ok(["run", "--rm", &flag, "busybox", "cat", "/etc/resolv.conf"]);
    assert_eq!(said, format!("nameserver {}", upstream.address));
    let address: SocketAddr = (upstream.address, 53).into();
    assert!(address.ip().is_loopback());
}
