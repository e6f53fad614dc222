//! The monitor's budget of memory: one is there for every container, for as long as it lives (docs/decisions/0002-monitor.md).
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Fixture, output};
use onggi_monitor::protocol::{Condition, LogDriver, Reply, Request, Streams};

/// Private dirty memory after an exec, an attach and a log rotation (KiB).
const PRIVATE_DIRTY: u64 = 128;
/// The same while output passes, in a program that is not optimised: of megabytes that wait, none may wait here.
const BUSY: u64 = PRIVATE_DIRTY + 64;

/// Pages of a program that the linker has just written count as dirty until they are on the disk.
fn write_out_the_program() {
    File::open(common::program()).unwrap().sync_all().unwrap();
}

fn field(pid: i32, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn a_monitor_stays_within_its_budget() {
    write_out_the_program();
    let mut fixture = Fixture::new("read line; seq 1 20000; read line");
    (fixture.start.stdin_open, fixture.start.log.max_size) = (true, 100_000);
    let mut running = fixture.run_attached(Some(Streams { stdin: true, ..output() }));
    let monitor = running.monitor.pid();
    let report = |when: &str| {
        let [dirty, pss] = ["Private_Dirty", "Pss"].map(|name| field(monitor, name));
        println!("{when}: {dirty} KiB private dirty, {pss} KiB proportional");
        dirty
    };
    report("started");

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let request = Request::Exec {
        id: "e1".into(),
        terminal: false,
        size: None,
        detach: false,
        command: "sh -c echo".into(),
        streams: output(),
    };
    let plan = fixture.exec_plan("echo hello", false);
    let reply = running.monitor.call(&request, &[plan.as_fd(), theirs.as_fd()]).unwrap();
    drop(theirs);
    assert!(matches!(reply, Reply::Started { .. }), "{reply:?}");
    let wait = Request::Wait { condition: Condition::ExecExited { id: "e1".into() }, finish: false };
    let wait = running.monitor.order(&wait, &[]).unwrap();
    assert!(matches!(running.monitor.reply_to(wait).unwrap(), Reply::Exited { code: 0, .. }));
    ours.read_to_end(&mut Vec::new()).unwrap();
    report("after an exec");

    std::io::Write::write_all(running.stream.as_mut().unwrap(), b"\n").unwrap();
    running.read_until("20000");
    assert!(fixture.path("container/log/json.log.1").exists(), "the log has rotated");
    assert!(report("after a rotation") <= BUSY);

    // In the first quiet moment it gives back what it does not need; until then a poll is all that can be done from outside.
    let deadline = Instant::now() + Duration::from_secs(10);
    while field(monitor, "Private_Dirty") > PRIVATE_DIRTY && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(report("quiet") <= PRIVATE_DIRTY);
    std::io::Write::write_all(running.stream.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

/// What a pipe holds by default, and what the monitor makes of it (bytes).
const PIPE: usize = 64 * 1024;
const GROWN_PIPE: usize = 256 * 1024;

#[test]
fn a_burst_for_a_client_that_does_not_read_waits_in_the_kernel() {
    const BYTES: usize = 8_000_000;
    write_out_the_program();
    let mut fixture = Fixture::new(&format!("head -c {BYTES} /dev/zero; read line"));
    (fixture.start.stdin_open, fixture.start.log.driver) = (true, LogDriver::None);
    let streams = Streams { stdin: true, stdout: true, ..Streams::default() };
    let mut running = fixture.run_attached(Some(streams));
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let pipe =
        File::options().read(true).custom_flags(nonblock).open(fixture.sandbox().join("stdout")).unwrap();
    let room = || rustix::pipe::fcntl_getpipe_size(&pipe).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while rustix::io::ioctl_fionread(&pipe).unwrap() < 3 * PIPE as u64 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(room(), GROWN_PIPE, "it has more to take than it takes at once");
    let dirty = field(running.monitor.pid(), "Private_Dirty");
    println!("{dirty} KiB private dirty while a client does not read");
    assert!(dirty <= BUSY);

    running.stream.as_mut().unwrap().read_exact(&mut vec![0; BYTES]).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while room() != PIPE && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert_eq!(room(), PIPE, "what a burst has taken is given back");
    std::io::Write::write_all(running.stream.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

/// What one monitor costs when there are a hundred (KiB, proportional): they share their program's pages.
const PROPORTIONAL: u64 = 250;

#[test]
fn a_hundred_share_their_program() {
    let count = if onggi_testkit::full() { 100 } else { 12 };
    write_out_the_program();
    let fixtures: Vec<Fixture> = (0..count).map(|_| Fixture::new("exec sleep 1000")).collect();
    let mut running: Vec<_> = fixtures.iter().map(Fixture::run).collect();
    let sum: u64 = running.iter().map(|running| field(running.monitor.pid(), "Pss")).sum();
    let dirty: u64 = running.iter().map(|running| field(running.monitor.pid(), "Private_Dirty")).sum();
    println!("{count} monitors: {} KiB proportional each, {} KiB private dirty", sum / count, dirty / count);
    for running in &mut running {
        running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
        assert_eq!(running.code(), 137);
    }
    // With fewer, each bears more of the pages that all share.
    assert!(sum / count <= if count == 100 { PROPORTIONAL } else { 3 * PROPORTIONAL });
    fixtures.iter().for_each(Fixture::assert_nothing_left);
}
