//! Networks in the kernel: this thread's namespace is the host, others are containers and a machine beyond. Who reaches whom is tried
//! with real connections.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::time::Duration;

use common::{Room, leave_network, output, without_root};
use onggi_net::Socket;
use onggi_net::address::{Mac, Subnet};
use onggi_net::attachment::Attachment;
use onggi_net::bridge::{self, Bridge};
use onggi_net::endpoint::{self, Directory, Endpoint, Port, Protocol};
use onggi_net::instance::{self, Instance};
use onggi_net::nftables::Change;
use onggi_net::wire::{self, Firewall, Namespace};

/// What is dropped is not answered; everything else here is answered in microseconds.
const LONG_ENOUGH: Duration = Duration::from_millis(400);
/// For what does come.
const PATIENCE: Duration = Duration::from_secs(10);

struct Host {
    run: tempfile::TempDir,
    socket: Socket,
}

struct Network {
    id: String,
    bridge: String,
    subnets: Vec<Subnet>,
}

struct Container {
    room: Room,
    attachment: Attachment,
}

impl Host {
    /// In a network namespace of its own.
    fn new() -> Host {
        leave_network();
        let host = Host { run: tempfile::tempdir().unwrap(), socket: Socket::route().unwrap() };
        host.instance().table().rebuild(&mut Socket::netfilter().unwrap(), &[]).unwrap();
        bridge::ensure_forwarding(true).unwrap();
        host
    }

    fn run_root(&self) -> PathBuf {
        self.run.path().to_owned()
    }

    fn instance(&self) -> Instance {
        Instance::new(&self.run_root())
    }

    fn network(&mut self, digit: char, subnets: &[&str], internal: bool) -> Network {
        let id = String::from(digit).repeat(64);
        let subnets: Vec<Subnet> = subnets.iter().map(|text| text.parse().unwrap()).collect();
        let bridge = Bridge {
            name: instance::bridge(&id),
            birth_name: instance::bridge(&id),
            alias: self.instance().alias(&id),
            mac: Mac::of_id(&id),
            mtu: None,
            addresses: subnets.iter().map(|subnet| (subnet.at(1).unwrap(), subnet.prefix())).collect(),
        };
        assert!(!bridge::is_made(&mut self.socket, &bridge).unwrap());
        bridge::make(&mut self.socket, &bridge).unwrap();
        assert!(bridge::is_made(&mut self.socket, &bridge).unwrap());
        let change = Change::Bridge { name: &bridge.name, internal };
        self.instance().table().apply(&mut Socket::netfilter().unwrap(), &[change], &[]).unwrap();
        Network { id, bridge: bridge.name, subnets }
    }

    fn attachment(&self, digit: char, network: &Network, number: u128, ports: &[&str]) -> Attachment {
        let id = String::from(digit).repeat(64);
        let address = |ipv4: bool| {
            let subnet = network.subnets.iter().find(|subnet| subnet.is_ipv4() == ipv4)?;
            Some((subnet.at(number)?, subnet.prefix()))
        };
        let (ipv4, ipv6) = (address(true), address(false));
        Attachment {
            run_root: self.run_root(),
            bridge: network.bridge.clone(),
            mtu: 1500,
            prefix4: ipv4.map_or(0, |(_, prefix)| prefix),
            prefix6: ipv6.map_or(0, |(_, prefix)| prefix),
            gateways: network.subnets.iter().map(|subnet| subnet.at(1).unwrap()).collect(),
            endpoint: Endpoint {
                version: endpoint::VERSION,
                network: network.id.clone(),
                network_name: "net".to_owned(),
                container: id.clone(),
                names: vec![format!("c{digit}")],
                ipv4: ipv4
                    .and_then(|(address, _)| if let IpAddr::V4(it) = address { Some(it) } else { None }),
                ipv6: ipv6
                    .and_then(|(address, _)| if let IpAddr::V6(it) = address { Some(it) } else { None }),
                mac: Mac::of_id(&id).to_string(),
                interface: instance::link(&id, &network.id),
                inside: "eth0".to_owned(),
                ports: ports.iter().map(|text| port(text)).collect(),
            },
        }
    }

    fn container(&mut self, digit: char, network: &Network, number: u128, ports: &[&str]) -> Container {
        let attachment = self.attachment(digit, network, number, ports);
        endpoint::claim(&Directory::new(&self.run_root(), &network.id), &attachment.endpoint).unwrap();
        let room = Room::new();
        let mut namespace = Namespace::of(room.as_fd()).unwrap();
        wire::connect(&mut self.socket, &mut Firewall::default(), &mut namespace, &attachment).unwrap();
        Container { room, attachment }
    }

    /// A machine at 192.0.2.9 and 2001:db8::9, on a wire to this host, which is .1; it sends everything to this host.
    fn beyond(&self) -> Room {
        let room = Room::new();
        output("ip", &["link", "add", "wire", "type", "veth", "peer", "name", "wire0"]);
        // A child of this one sees the descriptor under the same path.
        let room_path = format!("/proc/{}/fd/{}", std::process::id(), room.as_fd().as_raw_fd());
        output("ip", &["link", "set", "wire0", "netns", &room_path]);
        for (address, link) in [("192.0.2.1/24", "wire"), ("2001:db8::1/64", "wire")] {
            output("ip", &["address", "add", address, "dev", link, "nodad"]);
        }
        output("ip", &["link", "set", "wire", "up"]);
        room.run(|| {
            output("ip", &["address", "add", "192.0.2.9/24", "dev", "wire0"]);
            output("ip", &["address", "add", "2001:db8::9/64", "dev", "wire0", "nodad"]);
            output("ip", &["link", "set", "wire0", "up"]);
            output("ip", &["route", "add", "default", "via", "192.0.2.1"]);
            output("ip", &["route", "add", "default", "via", "2001:db8::1"]);
            output("ip", &["link", "show", "wire0"]);
        });
        // The carrier is there once it has been asked for.
        output("ip", &["link", "show", "wire"]);
        room
    }
}

impl Container {
    /// Answers every connection with the address that it comes from.
    fn serve(&self, port: u16) {
        let listeners: Vec<TcpListener> = self.room.run(|| {
            let any = |text: &str| TcpListener::bind(SocketAddr::new(text.parse().unwrap(), port)).ok();
            // The second takes both families where there are two.
            any("::").or_else(|| any("0.0.0.0")).into_iter().collect()
        });
        for listener in listeners {
            std::thread::spawn(move || {
                while let Ok((mut stream, peer)) = listener.accept() {
                    let address = peer.ip().to_canonical().to_string();
                    let _ = std::io::Write::write_all(&mut stream, address.as_bytes());
                }
            });
        }
    }

    fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.attachment.endpoint.addresses().next().unwrap(), port)
    }

    fn at6(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.attachment.endpoint.ipv6.unwrap().into(), port)
    }
}

/// `address:host:container`
fn port(text: &str) -> Port {
    let (text, protocol) = match text.strip_suffix("/udp") {
        Some(text) => (text, Protocol::Udp),
        None => (text, Protocol::Tcp),
    };
    let (host, container) = text.rsplit_once(':').unwrap();
    let host: SocketAddr = host.parse().unwrap();
    Port {
        protocol,
        host_address: host.ip(),
        host: host.port(),
        container: container.parse().unwrap(),
        count: 1,
    }
}

/// Where the server at this address sees us; `None` if it is not reached.
fn seen_by(address: impl Into<SocketAddr>) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), LONG_ENOUGH).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
    Some(text)
}

fn to(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn containers_reach_those_of_their_network_and_the_world() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24"], false);
    let two = host.network('2', &["10.200.2.0/24"], false);
    let a = host.container('a', &one, 2, &[]);
    let b = host.container('b', &one, 3, &[]);
    let c = host.container('c', &two, 2, &[]);
    a.serve(80);
    assert_eq!(b.room.run(|| seen_by(a.at(80))).as_deref(), Some("10.200.1.3"));
    assert_eq!(c.room.run(|| seen_by(a.at(80))), None, "from another network");
    assert_eq!(seen_by(a.at(80)).as_deref(), Some("10.200.1.1"), "from the host");

    let beyond = host.beyond();
    assert_eq!(beyond.run(|| seen_by(a.at(80))), None, "routed to, but not published");
    let outside = beyond.run(|| TcpListener::bind("192.0.2.9:80").unwrap());
    let server = std::thread::spawn(move || outside.accept().unwrap().1.ip().to_string());
    c.room.run(|| drop(TcpStream::connect_timeout(&to("192.0.2.9:80"), LONG_ENOUGH).unwrap()));
    assert_eq!(server.join().unwrap(), "192.0.2.1", "under the host's address");
}

#[test]
fn published_ports_are_reached_where_they_were_published_and_nowhere_else() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24"], false);
    let two = host.network('2', &["10.200.2.0/24"], false);
    let web = host.container('a', &one, 2, &["0.0.0.0:8080:80", "127.0.0.1:8081:80", "192.0.2.1:8082:80"]);
    let neighbour = host.container('b', &one, 3, &[]);
    let stranger = host.container('c', &two, 2, &[]);
    let beyond = host.beyond();
    web.serve(80);

    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8080"))).as_deref(), Some("192.0.2.9"), "its own address");
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8082"))).as_deref(), Some("192.0.2.9"));
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8081"))), None, "published on 127.0.0.1");
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:80"))), None, "the container's port");
    assert!(seen_by(to("127.0.0.1:8080")).is_some());
    assert!(seen_by(to("127.0.0.1:8081")).is_some());
    assert!(seen_by(to("127.0.0.1:8082")).is_none(), "published on another address");
    assert!(seen_by(to("192.0.2.1:8080")).is_some());
    assert!(neighbour.room.run(|| seen_by(to("10.200.1.1:8080"))).is_some(), "by the gateway");
    assert!(web.room.run(|| seen_by(to("192.0.2.1:8080"))).is_some(), "itself");
    assert!(stranger.room.run(|| seen_by(to("192.0.2.1:8080"))).is_some(), "from another network");
    // The guard: packets to 127.0.0.1 that come out of a container (CVE-2020-8558).
    let sneak = neighbour.room.run(|| {
        output("ip", &["route", "del", "local", "127.0.0.0/8", "dev", "lo", "table", "local"]);
        output("ip", &["route", "del", "local", "127.0.0.1", "dev", "lo", "table", "local"]);
        output("ip", &["route", "add", "127.0.0.0/8", "via", "10.200.1.1", "dev", "eth0"]);
        std::fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        seen_by(to("127.0.0.1:8081"))
    });
    assert_eq!(sneak, None);
    // And from there under a source address that only the host itself has: what trusts its loopback would answer.
    let ear = UdpSocket::bind("10.200.1.1:0").unwrap();
    ear.set_read_timeout(Some(LONG_ENOUGH)).unwrap();
    let mut bytes = [0; 8];
    let place = ear.local_addr().unwrap();
    neighbour.room.run(|| {
        output("ip", &["address", "add", "127.0.0.2/32", "dev", "eth0"]);
        UdpSocket::bind("127.0.0.2:0").unwrap().send_to(b"false", place).unwrap();
    });
    assert!(ear.recv_from(&mut bytes).is_err(), "a loopback source from a container");
    neighbour.room.run(|| UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"true", place).unwrap());
    ear.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(ear.recv_from(&mut bytes).unwrap().0, 4, "its own");
    // What is published on the host's loopback is not for neighbours on its wire.
    let sneak = beyond.run(|| {
        output("ip", &["route", "add", "127.0.0.0/8", "via", "192.0.2.1", "dev", "wire0"]);
        std::fs::write("/proc/sys/net/ipv4/conf/wire0/route_localnet", "1").unwrap();
        seen_by(to("127.0.0.1:8081"))
    });
    assert_eq!(sneak, None);

    wire::disconnect(&mut Firewall::default(), &web.attachment, true).unwrap();
    assert_eq!(seen_by(to("127.0.0.1:8080")), None);
    wire::disconnect(&mut Firewall::default(), &web.attachment, true).unwrap();
    let directory = Directory::new(&host.run_root(), &one.id);
    assert_eq!(endpoint::list(&directory).unwrap().len(), 1);
}

#[test]
fn a_network_of_two_addresses() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let tiny = host.network('1', &["10.200.1.0/31"], false);
    let one = host.container('a', &tiny, 0, &["0.0.0.0:8080:80"]);
    let beyond = host.beyond();
    one.serve(80);
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8080"))).as_deref(), Some("192.0.2.9"));
    let _listener = beyond.run(|| TcpListener::bind("192.0.2.9:80").unwrap());
    one.room.run(|| drop(TcpStream::connect_timeout(&to("192.0.2.9:80"), LONG_ENOUGH).unwrap()));
}

#[test]
fn a_second_network_takes_the_way_out_and_the_ports_over() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24"], false);
    let two = host.network('2', &["10.200.2.0/24"], false);
    let web = host.container('a', &one, 2, &["0.0.0.0:8080:80"]);
    let beyond = host.beyond();
    web.serve(80);
    // As on a start with two networks: the second has neither routes nor ports.
    let (mut second, gateways) = (host.attachment('a', &two, 2, &[]), vec!["10.200.2.1".parse().unwrap()]);
    second.endpoint.inside = "eth1".to_owned();
    second.gateways.clear();
    endpoint::claim(&Directory::new(&host.run_root(), &two.id), &second.endpoint).unwrap();
    let mut namespace = Namespace::of(web.room.as_fd()).unwrap();
    let mut firewall = Firewall::default();
    wire::connect(&mut host.socket, &mut firewall, &mut namespace, &second).unwrap();
    wire::disconnect(&mut firewall, &web.attachment, true).unwrap();
    assert!(web.room.run(|| TcpStream::connect_timeout(&to("192.0.2.9:1"), LONG_ENOUGH)).is_err());
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8080"))), None);

    second.gateways = gateways;
    second.endpoint.ports = web.attachment.endpoint.ports.clone();
    wire::lead_out(&mut host.socket, &mut firewall, &mut namespace, &second).unwrap();
    let _listener = beyond.run(|| TcpListener::bind("192.0.2.9:80").unwrap());
    web.room.run(|| drop(TcpStream::connect_timeout(&to("192.0.2.9:80"), LONG_ENOUGH).unwrap()));
    assert_eq!(beyond.run(|| seen_by(to("192.0.2.1:8080"))).as_deref(), Some("192.0.2.9"));
    assert!(web.room.run(|| seen_by(to("192.0.2.1:8080"))).is_some(), "itself");
}

#[test]
fn who_goes_on_sending_to_a_udp_port_reaches_who_has_it_now() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24", "fd00:1::/64"], false);
    let beyond = host.beyond();
    let socket = |room: &Room, address: &str| {
        let address: SocketAddr = address.parse().unwrap();
        room.run(|| {
            let socket = UdpSocket::bind(address).unwrap();
            socket.set_read_timeout(Some(LONG_ENOUGH)).unwrap();
            socket
        })
    };
    for (at, place) in [("192.0.2.9:4000", "192.0.2.1:5353"), ("[2001:db8::9]:4000", "[2001:db8::1]:5353")] {
        let client = socket(&beyond, at);
        let say = |word: &str| client.send_to(word.as_bytes(), to(place)).unwrap();
        // Nobody is there yet, and the kernel remembers that.
        say("early");
        for (digit, number) in [('a', 2), ('b', 3)] {
            let any = if at.starts_with('[') { "[::]" } else { "0.0.0.0" };
            let container = host.container(digit, &one, number, &[&format!("{any}:5353:53/udp")]);
            let server = socket(&container.room, &format!("{any}:53"));
            say(&digit.to_string());
            let mut bytes = [0; 8];
            server.set_read_timeout(Some(PATIENCE)).unwrap();
            let received = server.recv_from(&mut bytes);
            let (count, _) = received.unwrap_or_else(|error| panic!("{digit} at {at}: {error}"));
            assert_eq!(&bytes[..count], digit.to_string().as_bytes());
            wire::disconnect(&mut Firewall::default(), &container.attachment, true).unwrap();
        }
    }
}

#[test]
fn both_families_alike() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24", "fd00:1::/64"], false);
    let two = host.network('2', &["10.200.2.0/24", "fd00:2::/64"], false);
    let web = host.container('a', &one, 2, &["[::]:8080:80", "[2001:db8::1]:8082:80"]);
    let neighbour = host.container('b', &one, 3, &[]);
    let stranger = host.container('c', &two, 2, &[]);
    let beyond = host.beyond();
    web.serve(80);
    assert_eq!(neighbour.room.run(|| seen_by(web.at6(80))).as_deref(), Some("fd00:1::3"));
    assert_eq!(stranger.room.run(|| seen_by(web.at6(80))), None);
    assert_eq!(beyond.run(|| seen_by(web.at6(80))), None);
    assert_eq!(beyond.run(|| seen_by(to("[2001:db8::1]:8080"))).as_deref(), Some("2001:db8::9"));
    assert_eq!(beyond.run(|| seen_by(to("[2001:db8::1]:8082"))).as_deref(), Some("2001:db8::9"));
    assert!(seen_by(to("[2001:db8::1]:8080")).is_some());
    assert!(web.room.run(|| seen_by(to("[2001:db8::1]:8080"))).is_some(), "itself");
    assert_eq!(seen_by(to("127.0.0.1:8080")), None, "published on IPv6 alone");
}

#[test]
fn nothing_goes_in_or_out_of_an_internal_network() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let inner = host.network('1', &["10.200.1.0/24"], true);
    let outer = host.network('2', &["10.200.2.0/24"], false);
    let a = host.container('a', &inner, 2, &[]);
    let b = host.container('b', &inner, 3, &[]);
    let c = host.container('c', &outer, 2, &["0.0.0.0:8080:80"]);
    let beyond = host.beyond();
    a.serve(80);
    c.serve(80);
    assert!(b.room.run(|| seen_by(a.at(80))).is_some(), "inside");
    assert_eq!(c.room.run(|| seen_by(a.at(80))), None);
    assert_eq!(a.room.run(|| seen_by(c.at(80))), None);
    assert_eq!(a.room.run(|| seen_by(to("192.0.2.1:8080"))), None, "not even by a published port");
    let _listener = beyond.run(|| TcpListener::bind("192.0.2.9:80").unwrap());
    assert!(a.room.run(|| TcpStream::connect_timeout(&to("192.0.2.9:80"), LONG_ENOUGH).is_err()));
}

#[test]
fn an_internal_network_reaches_the_host_and_no_port_of_others() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let inner = host.network('1', &["10.200.1.0/24", "fd00:1::/64"], true);
    let outer = host.network('2', &["10.200.2.0/24"], false);
    let ports = ["0.0.0.0:8080:80", "[::]:8080:80", "[fd00:1::1]:8082:80"];
    let web = host.container('a', &outer, 2, &ports);
    web.serve(80);
    let inside = host.container('b', &inner, 2, &[]);
    // What the relay of `web` has, and a service of the host's own.
    let listen = |at: &str| TcpListener::bind(at).unwrap();
    let _relay = [listen("[::]:8080"), listen("[fd00:1::1]:8082")];
    let _own = [listen("[fd00:1::1]:9000"), listen("10.200.1.1:9000")];
    let opens = |room: &Room, at: &str| room.run(|| TcpStream::connect_timeout(&to(at), LONG_ENOUGH).is_ok());
    let show = output("ip", &["-6", "-o", "address", "show", "dev", &inner.bridge, "scope", "link"]);
    let link = show.split_whitespace().find_map(|word| word.strip_suffix("/64")).unwrap();
    let eth0 = inside.room.run(|| output("ip", &["-o", "link", "show", "dev", "eth0"]));
    let scope = eth0.split(':').next().unwrap();
    for at in ["[fd00:1::1]:8080", "[fd00:1::1]:8082", &format!("[{link}%{scope}]:8080"), "10.200.1.1:8080"] {
        assert!(!opens(&inside.room, at), "{at}");
    }
    for at in ["[fd00:1::1]:9000", "10.200.1.1:9000"] {
        assert!(opens(&inside.room, at), "{at}");
    }
    assert!(TcpStream::connect(to("[fd00:1::1]:8080")).is_ok() && seen_by(to("127.0.0.1:8080")).is_some());
}

#[test]
fn nobody_speaks_with_an_address_of_another_network() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let one = host.network('1', &["10.200.1.0/24", "fd00:1::/64"], false);
    let two = host.network('2', &["10.200.2.0/24", "fd00:2::/64"], false);
    let victim = host.container('a', &one, 2, &[]);
    let liar = host.container('b', &two, 2, &[]);
    let beyond = host.beyond();
    let socket = |room: &Room, at: &str| {
        room.run(|| {
            let socket = UdpSocket::bind(to(at)).unwrap();
            socket.set_read_timeout(Some(LONG_ENOUGH)).unwrap();
            socket
        })
    };
    let hear = |socket: &UdpSocket| {
        let mut bytes = [0; 8];
        socket.recv_from(&mut bytes).ok().map(|(count, from)| (bytes[..count].to_vec(), from))
    };
    let speaks_as = |address: &str, does: &dyn Fn()| {
        liar.room.run(|| output("ip", &["address", "add", address, "dev", "lo", "nodad"]));
        does();
        liar.room.run(|| output("ip", &["address", "del", address, "dev", "lo"]));
    };
    for (server, ear, victims, own) in [
        ("192.0.2.9:53", "192.0.2.9:4000", "10.200.1.2", "0.0.0.0:0"),
        ("[2001:db8::9]:53", "[2001:db8::9]:4000", "fd00:1::2", "[::]:0"),
    ] {
        let (asks, answers, ear) = (socket(&victim.room, own), socket(&beyond, server), socket(&beyond, ear));
        answers.set_read_timeout(Some(PATIENCE)).unwrap();
        asks.send_to(b"question", to(server)).unwrap();
        let (_, seen) = hear(&answers).unwrap();
        // In the place of the server, to where the victim's connection is answered.
        speaks_as(&to(server).ip().to_string(), &|| {
            socket(&liar.room, server).send_to(b"lie", seen).unwrap();
            assert_eq!(hear(&asks), None, "{server}");
        });
        // In the place of the victim, to the world.
        let place = ear.local_addr().unwrap();
        speaks_as(victims, &|| {
            let at = SocketAddr::new(victims.parse().unwrap(), 0).to_string();
            socket(&liar.room, &at).send_to(b"lie", place).unwrap();
            assert_eq!(hear(&ear), None, "{victims}");
        });
        for (from, to, hears, word) in
            [(&socket(&liar.room, own), place, &ear, "own"), (&answers, seen, &asks, "answer")]
        {
            from.send_to(word.as_bytes(), to).unwrap();
            hears.set_read_timeout(Some(PATIENCE)).unwrap();
            assert_eq!(hear(hears).unwrap().0, word.as_bytes());
        }
    }
}

#[test]
fn a_bridge_of_another_is_left_alone_and_a_half_made_one_completed() {
    if without_root() {
        return;
    }
    let mut host = Host::new();
    let id = "7".repeat(64);
    let birth_name = instance::bridge(&id);
    let wanted = |name: &str| Bridge {
        name: name.to_owned(),
        birth_name: birth_name.clone(),
        alias: host.instance().alias(&id),
        mac: Mac::of_id(&id),
        mtu: Some(1400),
        addresses: vec![("10.200.7.1".parse().unwrap(), 24), ("fd00:7::1".parse().unwrap(), 64)],
    };
    let (plain, named) = (wanted(&birth_name), wanted("shop0"));
    let shown = |name: &str| output("ip", &["-o", "address", "show", "dev", name]);
    for bridge in [&plain, &named] {
        // Killed at any step: before the alias, before its own name, before it is up.
        for words in [&[][..], &["alias", &bridge.alias], &["alias", &bridge.alias, "name", &bridge.name]] {
            output("ip", &["link", "add", &birth_name, "type", "bridge"]);
            if !words.is_empty() {
                output("ip", &[&["link", "set", &birth_name], words].concat());
            }
            assert!(!bridge::is_made(&mut host.socket, bridge).unwrap(), "{words:?}");
            bridge::make(&mut host.socket, bridge).unwrap();
            assert!(bridge::is_made(&mut host.socket, bridge).unwrap());
            let shown = shown(&bridge.name);
            assert!(shown.contains("10.200.7.1/24") && shown.contains("fd00:7::1/64"), "{shown}");
            assert!(shown.contains("fd00:7::1/64 scope global nodad \\"), "{shown}");
            assert!(output("ip", &["-6", "route"]).contains(&format!("fd00:7::/64 dev {}", bridge.name)));
            assert!(bridge::remove(&mut host.socket, bridge).unwrap());
            assert!(!bridge::remove(&mut host.socket, bridge).unwrap(), "it has gone");
        }
    }
    let foreign = |host: &mut Host, bridge: &Bridge| {
        let before = shown(&bridge.name);
        for made in
            [bridge::is_made(&mut host.socket, bridge).map(drop), bridge::make(&mut host.socket, bridge)]
        {
            assert!(made.unwrap_err().to_string().contains("is not of this network"));
        }
        assert!(!bridge::remove(&mut host.socket, bridge).unwrap());
        assert_eq!(shown(&bridge.name), before);
        let route_localnet = format!("/proc/sys/net/ipv4/conf/{}/route_localnet", bridge.name);
        assert_eq!(std::fs::read_to_string(route_localnet).unwrap(), "0\n");
        output("ip", &["link", "del", &bridge.name]);
    };
    // As Docker's, and many a virtual machine's: nothing says whose it is.
    output("ip", &["link", "add", "shop0", "up", "type", "bridge"]);
    foreign(&mut host, &named);
    output("ip", &["link", "add", "shop0", "type", "ifb"]);
    foreign(&mut host, &named);
    output("ip", &["link", "add", &birth_name, "type", "bridge"]);
    output("ip", &["link", "set", &birth_name, "alias", "onggi network 7 of /elsewhere"]);
    foreign(&mut host, &plain);
}
