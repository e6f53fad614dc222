//! Names in a container: served by its monitor as long as it lives, by the next one after that, and within its budget of memory.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use common::{Fixture, Running, adopt, kill_monitor, output, read_until};
use onggi_monitor::protocol::{Reply, Request, Streams};
use onggi_net::endpoint::{self, Directory, Endpoint};
use onggi_net::names::resolve::{Config, Network};

/// A container on a network that has another one, which is found as `web`, and a server of the host's for all other names.
fn fixture(script: &str, upstream: IpAddr) -> Fixture {
    let mut fixture = Fixture::new(script);
    let network = Network { id: "1".repeat(64), name: "shop".into(), internal: false };
    let endpoint = Endpoint {
        version: endpoint::VERSION,
        network: network.id.clone(),
        network_name: network.name.clone(),
        container: "c".repeat(64),
        names: vec!["web".into()],
        ipv4: Some(Ipv4Addr::new(10, 200, 0, 2)),
        ipv6: None,
        mac: "02:42:0a:c8:00:02".into(),
        interface: "og0".into(),
        inside: "eth0".to_owned(),
        ports: Vec::new(),
    };
    let run_root = fixture.path("run");
    endpoint::claim(&Directory::new(&run_root, &network.id), &endpoint).unwrap();
    fixture.start.names = Some(Config {
        run_root,
        networks: vec![network],
        servers: vec![upstream],
        dotted_only: false,
        asks_others: false,
    });
    fixture
}

fn say(running: &mut Running, line: &str) {
    running.stream.as_mut().unwrap().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn shell() -> Streams {
    Streams { stdin: true, ..output() }
}

fn nowhere() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

#[test]
fn a_container_is_answered_at_the_address_that_docker_has_too() {
    let mut fixture = fixture("exec sh -i 2>&1", nowhere());
    fixture.start.stdin_open = true;
    let mut running = fixture.run_attached(Some(shell()));
    say(
        &mut running,
        "nslookup web 127.0.0.11; nslookup web.shop 127.0.0.11; nslookup 10.200.0.2 127.0.0.11; echo do''ne",
    );
    let said = String::from_utf8_lossy(&running.read_until("done")).into_owned();
    assert_eq!(said.matches("10.200.0.2\n").count(), 2, "{said}");
    assert!(said.contains("name = web.shop"), "{said}");
    say(&mut running, "exit 7");
    assert_eq!(running.code(), 7);
    fixture.assert_nothing_left();
}

#[test]
fn names_go_on_under_the_next_monitor() {
    let script = "while :; do nslookup web 127.0.0.11 | grep -A1 web; sleep 0.05; done";
    let fixture = fixture(script, nowhere());
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("10.200.0.2");
    kill_monitor(running.monitor.pid());
    let (mut monitor, adopted) = adopt(&fixture);
    adopted.unwrap();
    let (mut stream, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let request = Request::Attach { exec: None, streams: output() };
    monitor.order(&request, &[std::os::fd::AsFd::as_fd(&theirs)]).unwrap();
    drop(theirs);
    // Whatever the dead one has answered is read by now: the pipe was emptied by the new one's log.
    for _ in 0..20 {
        read_until(&mut stream, "10.200.0.2");
    }
    let Reply::Status(status) = monitor.call(&Request::Status, &[]).unwrap() else { panic!() };
    assert_eq!(status.problem, None);
    let stop =
        monitor.send(&Request::Stop { signal: 9, timeout_ms: None, starts_again: false }, &[]).unwrap();
    assert!(matches!(monitor.reply_to(stop).unwrap(), Reply::Exited { .. }));
    fixture.assert_nothing_left();
}

#[test]
fn a_question_on_its_way_survives_a_re_execution() {
    // An address of this test's own, at which nobody else of this host has a server.
    let upstream = UdpSocket::bind(("127.82.11.53", 53)).unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut fixture = fixture("exec sh -i 2>&1", upstream.local_addr().unwrap().ip());
    fixture.start.stdin_open = true;
    let mut running = fixture.run_attached(Some(shell()));
    say(&mut running, "nslookup -type=a far.example 127.0.0.11; echo do''ne");
    let mut query = vec![0; 512];
    upstream.recv(&mut query).unwrap();
    running.monitor.order(&Request::Reexec, &[]).unwrap();
    let (count, from) = upstream.recv_from(&mut query).unwrap();
    query.truncate(count);
    (query[2], query[3], query[7]) = (0x81, 0x80, 1);
    query.extend([0xC0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 9]);
    upstream.send_to(&query, from).unwrap();
    let said = String::from_utf8_lossy(&running.read_until("done")).into_owned();
    assert!(said.contains("192.0.2.9"), "{said}");
    say(&mut running, "exit");
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

/// As in `memory.rs` (KiB). A program that was not optimised has larger relocated tables and stacks; the budget is the release build's.
const PRIVATE_DIRTY: u64 = if cfg!(debug_assertions) { 144 } else { 128 };

#[test]
fn a_thousand_questions_leave_the_monitor_within_its_budget() {
    // Pages of a program that the linker has just written count as dirty until they are on the disk.
    std::fs::File::open(common::program()).unwrap().sync_all().unwrap();
    let upstream = UdpSocket::bind(("127.82.11.54", 53)).unwrap();
    let mut fixture = fixture("exec sh -i 2>&1", upstream.local_addr().unwrap().ip());
    fixture.start.stdin_open = true;
    let mut running = fixture.run_attached(Some(shell()));
    let pid = running.pid;
    let asked = std::thread::spawn(move || {
        let target = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
        onggi_sys::namespace::setns(std::os::fd::AsFd::as_fd(&target), 0x4000_0000).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.connect("127.0.0.11:53").unwrap();
        let mut reply = [0; 512];
        for number in 0..1000_u16 {
            let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, b'w', b'e', b'b', 0, 0, 1, 0, 1];
            query[..2].copy_from_slice(&number.to_be_bytes());
            client.send(&query).unwrap();
            client.recv(&mut reply).unwrap();
            // As many of others' names as there is room for, and more.
            query[13] = b'x';
            client.send(&query).unwrap();
        }
    });
    asked.join().unwrap();
    let monitor = running.monitor.pid();
    let dirty = || {
        let text = std::fs::read_to_string(format!("/proc/{monitor}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    println!("full: {} KiB private dirty", dirty());
    // In the first quiet moment it gives back what it does not need; until then a poll is all that can be done from outside.
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while dirty() > PRIVATE_DIRTY && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    println!("quiet: {} KiB private dirty", dirty());
    assert!(dirty() <= PRIVATE_DIRTY);
    say(&mut running, "exit");
    assert_eq!(running.code(), 0);
}
