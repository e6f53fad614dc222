//! What outlives what: re-execution, a monitor that is killed, and a kill at every step that writes.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use common::{Fixture, adopt, kill_monitor, output, program, read_until, unframe};
use onggi_error::{Diagnose, Kind};
use onggi_monitor::client::{self, ALIVE};
use onggi_monitor::protocol::{Condition, Reply, Request, Streams};
use onggi_monitor::state::Phase;

fn interactive() -> Streams {
    Streams { stdin: true, ..output() }
}

fn is_alive(fixture: &Fixture) -> bool {
    let alive = File::options().write(true).open(fixture.sandbox().join(ALIVE)).unwrap();
    onggi_sys::ofd::is_held(alive.as_fd()).unwrap()
}

#[test]
fn a_re_execution_loses_nothing() {
    // Output comes all the time, a line is unfinished, an exec session runs, somebody waits, a stop is under way.
    let mut fixture = Fixture::new(
        "trap 'printf \" end\\n\"; exit 3' TERM; printf begun; echo up >&2; while read x; do echo $x; done; echo all >&2; sleep 1000 & wait",
    );
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    let mut running = fixture.run_attached(Some(interactive()));
    let (mut exec_stream, theirs) = UnixStream::pair().unwrap();
    let request = Request::Exec {
        id: "e".into(),
        terminal: true,
        size: None,
        detach: false,
        command: "cat".into(),
        streams: Streams { stdin: true, stdout: true, detach_keys: vec![16, 17], ..Streams::default() },
    };
    let plan = fixture.exec_plan("stty raw -echo; echo ready; exec cat", true);
    let exec = running.monitor.send(&request, &[plan.as_fd(), theirs.as_fd()]).unwrap();
    drop(theirs);
    assert!(matches!(running.monitor.reply_to(exec).unwrap(), Reply::Started { .. }));
    read_until(&mut exec_stream, "ready\n");

    let before = running.monitor.pid();
    let script: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
    let mut writer = running.stream.as_ref().unwrap().try_clone().unwrap();
    let mut reader = running.stream.take().unwrap();
    let writing = std::thread::spawn({
        let script = script.clone();
        move || {
            writer.write_all(script.as_bytes()).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        }
    });
    let (tell, consumed) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let mut bytes = read_until(&mut reader, "all\n");
        tell.send(()).unwrap();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    exec_stream.write_all(b"x\x10").unwrap();
    read_until(&mut exec_stream, "x");
    for _ in 0..5 {
        running.monitor.order(&Request::Reexec, &[]).unwrap();
    }
    let given = OwnedFd::from(File::open(program()).unwrap());
    running.monitor.order(&Request::Reexec, &[given.as_fd()]).unwrap();
    writing.join().unwrap();
    consumed.recv().unwrap();
    let mut newcomer = client::connect(&fixture.sandbox()).unwrap();
    assert_eq!(newcomer.pid(), before, "the same process");
    assert_eq!(std::fs::read_to_string(format!("/proc/{before}/comm")).unwrap(), "onggi-monitor\n");
    assert!(is_alive(&fixture));
    // The first of the detach keys was typed before, the second comes after.
    exec_stream.write_all(b"\x11").unwrap();
    let mut rest = Vec::new();
    exec_stream.read_to_end(&mut rest).unwrap();
    assert_eq!(running.monitor.reply_to(exec).unwrap(), Reply::Detached);
    let stop =
        newcomer.send(&Request::Stop { signal: 0, timeout_ms: None, starts_again: false }, &[]).unwrap();
    assert!(matches!(newcomer.reply_to(stop).unwrap(), Reply::Exited { code: 3, .. }));
    assert_eq!(running.code(), 3);
    let (stdout, stderr) = unframe(&reading.join().unwrap());
    let expected = format!("begun{script} end\n");
    assert_eq!(stderr, b"up\nall\n");
    assert_eq!(stdout.len(), expected.len());
    assert!(stdout == expected.as_bytes(), "not a byte is lost or doubled");
    let log: String =
        fixture.log().into_iter().filter(|(stream, _)| stream == "stdout").map(|(_, text)| text).collect();
    assert!(log == expected, "nor in the log");
    fixture.assert_nothing_left();
}

#[test]
fn a_program_that_cannot_go_on_is_not_executed() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let stranger = OwnedFd::from(File::open("/bin/false").unwrap());
    let error = running.monitor.order(&Request::Reexec, &[stranger.as_fd()]).unwrap_err();
    assert_eq!(error.kind(), Kind::Unsupported, "{error}");
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
    fixture.assert_nothing_left();
}

#[test]
fn a_container_whose_monitor_dies_lives_on_and_is_adopted() {
    let fixture = Fixture::new("trap 'echo bye; exit 4' TERM; while :; do echo still here; sleep 0.01; done");
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("still here");
    assert!(is_alive(&fixture));
    kill_monitor(running.monitor.pid());
    assert!(!is_alive(&fixture));
    let process = std::fs::read_to_string(format!("/proc/{}/comm", running.pid)).unwrap();
    assert_eq!(process, "sh\n");
    assert!(client::connect(&fixture.sandbox()).is_err());

    let (mut monitor, adopted) = adopt(&fixture);
    let wait = adopted.unwrap();
    let (mut stream, theirs) = UnixStream::pair().unwrap();
    monitor.order(&Request::Attach { exec: None, streams: output() }, &[theirs.as_fd()]).unwrap();
    drop(theirs);
    read_until(&mut stream, "still here");
    let Reply::Status(status) = monitor.call(&Request::Status, &[]).unwrap() else { panic!() };
    assert!(status.adopted && status.pid == running.pid);
    // No second monitor.
    assert_eq!(adopt(&fixture).1.unwrap_err().kind(), Kind::Conflict);
    let stop = monitor
        .send(&Request::Stop { signal: 0, timeout_ms: Some(30_000), starts_again: false }, &[])
        .unwrap();
    let Reply::Exited { code, .. } = monitor.reply_to(stop).unwrap() else { panic!() };
    // Since Linux 6.15 the kernel tells even who is not the parent; before, nobody knows.
    assert!(code == 4 || code == 255, "{code}");
    assert!(matches!(monitor.reply_to(wait).unwrap(), Reply::Exited { .. }));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("bye"));
    assert_eq!(fixture.state().status, Phase::Exited);
    fixture.assert_nothing_left();
}

#[test]
fn a_terminal_ends_with_its_monitor() {
    let mut fixture = Fixture::new("trap '' HUP; while :; do sleep 0.01; done");
    fixture.start.terminal = true;
    let running = fixture.run();
    kill_monitor(running.monitor.pid());
    // It ignores the hang-up, so the adopter has to end it.
    let (mut monitor, adopted) = adopt(&fixture);
    let Reply::Exited { code, .. } = monitor.reply_to(adopted.unwrap()).unwrap() else { panic!() };
    assert!(code == 137 || code == 255, "{code}");
    assert_eq!(fixture.state().status, Phase::Exited);
    fixture.assert_nothing_left();
}

#[test]
fn another_process_of_the_same_number_is_not_adopted() {
    let fixture = Fixture::new("exec sleep 1000");
    let running = fixture.run();
    kill_monitor(running.monitor.pid());
    let mut state = fixture.state();
    state.pid_start_time += 1;
    state.write(File::open(fixture.path("container")).unwrap().as_fd(), fixture.start.durability).unwrap();
    let (_, adopted) = adopt(&fixture);
    assert_eq!(adopted.unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn the_container_s_lock_is_held_until_it_runs() {
    let fixture = Fixture::new("exec sleep 1000");
    let path = fixture.path("lock");
    let lock = File::options().write(true).create_new(true).open(&path).unwrap();
    assert!(onggi_sys::ofd::try_lock(lock.as_fd()).unwrap());
    let look = File::open(&path).unwrap();
    let is_held = || onggi_sys::ofd::is_held(look.as_fd()).unwrap();

    let mut monitor = fixture.spawn();
    let pid = rustix::process::Pid::from_raw(monitor.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let started = fixture.send_start_with(&mut monitor, Some(lock.as_fd()));
    // As if the command had been killed.
    drop(lock);
    assert!(is_held(), "it is on its way to the monitor");
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert!(matches!(monitor.reply_to(started).unwrap(), Reply::Started { .. }));
    assert!(!is_held(), "the state says that it runs");
    let wait = monitor.order(&Request::Wait { condition: Condition::Exited, finish: false }, &[]).unwrap();
    monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert!(matches!(monitor.reply_to(wait).unwrap(), Reply::Exited { code: 137, .. }));
    fixture.assert_nothing_left();
}
