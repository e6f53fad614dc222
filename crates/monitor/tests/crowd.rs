//! Clients beyond what one monitor serves, and monitors that serve nobody.
#![allow(clippy::unwrap_used)] // helpers of tests fail as tests do

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use common::Fixture;
use onggi_error::{Diagnose, Kind};
use onggi_monitor::client::{self, Connection, SOCKET};
use onggi_monitor::protocol::{Reply, Request};
use onggi_monitor::{Error, protocol};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Resource, Rlimit};

/// As many connections as the monitor serves (`program/requests.rs`).
const MOST: usize = 256;

/// A socket with room for one connection, and nobody behind it.
fn hung(sandbox: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::net::bind(&socket, &SocketAddrUnix::new(sandbox.join(SOCKET)).unwrap()).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    socket
}

fn end(mut monitor: Connection) {
    monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert!(matches!(monitor.receive(), Ok(protocol::Answer { reply: Reply::Exited { code: 137, .. }, .. })));
}

#[test]
fn a_monitor_that_never_answers_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let _socket = hung(directory.path());
    let patience = Duration::from_millis(50);
    // The first gets into the queue and no hello; the second not even into the queue, which the first of them still fills.
    let queued = client::ask_within(directory.path(), &Request::Status, patience).unwrap_err();
    let _fills_the_queue = connect_only(directory.path());
    for error in [queued, client::ask_within(directory.path(), &Request::Status, patience).unwrap_err()] {
        assert!(matches!(&error, Error::Silent { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.to_string().ends_with("did not answer within 50ms"), "{error}");
        assert!(error.hint().unwrap().contains("stopped or stuck"));
    }
}

fn connect_only(sandbox: &Path) -> OwnedFd {
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .unwrap();
    rustix::io::ioctl_fionbio(&socket, true).unwrap();
    // EAGAIN: it is full already.
    let _ = rustix::net::connect(&socket, &SocketAddrUnix::new(sandbox.join(SOCKET)).unwrap());
    socket
}

#[test]
fn more_connections_than_a_monitor_serves_are_hung_up_on() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let connect = || client::connect(&fixture.sandbox());
    // The one that has started it counts too.
    let mut clients: Vec<Connection> = (1..MOST).map(|_| connect().unwrap()).collect();
    for _ in 0..3 {
        let refused = connect().unwrap_err();
        assert!(matches!(refused, Error::Gone), "{refused}");
    }
    // Those that are in are served as before.
    assert!(matches!(clients[MOST / 2].call(&Request::Status, &[]).unwrap(), Reply::Status(_)));
    clients.truncate(MOST / 2);
    // By the time that this is answered the monitor knows who has left.
    running.monitor.call(&Request::Status, &[]).unwrap();
    running.monitor.call(&Request::Status, &[]).unwrap();
    connect().unwrap();
    drop(clients);
    end(running.monitor);
    fixture.assert_nothing_left();
}

#[test]
fn without_descriptors_the_listener_rests_and_comes_back() {
    let fixture = Fixture::new("exec sleep 1000");
    let running = fixture.run();
    let pid = Pid::from_raw(running.monitor.pid()).unwrap();
    // The next one that it opens would have this number.
    let open = (0..).find(|number| !Path::new(&format!("/proc/{pid}/fd/{number}")).exists()).unwrap();
    let limit = |current| Rlimit { current: Some(current), maximum: Some(1024) };
    rustix::process::prlimit(Some(pid), Resource::Nofile, limit(open)).unwrap();
    let before = processor_time(pid);
    let patience = Duration::from_millis(700);
    let error = client::ask_within(&fixture.sandbox(), &Request::Status, patience).unwrap_err();
    assert!(matches!(error, Error::Silent { .. }), "{error}");
    // A listener that is asked for ever would have taken all of that time, in hundredths of a second.
    let used = processor_time(pid) - before;
    assert!(used <= 5, "{used}");

    rustix::process::prlimit(Some(pid), Resource::Nofile, limit(1024)).unwrap();
    let asked = Instant::now();
    let mut client = client::connect(&fixture.sandbox()).unwrap();
    assert!(asked.elapsed() < Duration::from_secs(3), "it rests for a fifth of a second");
    assert!(matches!(client.call(&Request::Status, &[]).unwrap(), Reply::Status(_)));
    end(running.monitor);
    fixture.assert_nothing_left();
}

/// What a process has used of the processors, in clock ticks (`proc_pid_stat(5)`: utime and stime).
fn processor_time(pid: Pid) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1;
    fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}
