//! Exec sessions: streams, terminals, exit codes, and what becomes of them when the container ends.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use common::{Fixture, Running, STOPS_ALL, children, output, read_until, unframe};
use onggi_error::{Diagnose, Kind};
use onggi_monitor::Error;
use onggi_monitor::protocol::{Condition, Reply, Request, Streams};

fn request(id: &str, terminal: bool, streams: Streams) -> Request {
    let command = "sh -c …".to_owned();
    Request::Exec { id: id.into(), terminal, size: Some((20, 70)), detach: false, command, streams }
}

/// Starts a session and returns its stream and the number of its wait.
fn exec(
    fixture: &Fixture,
    running: &mut Running,
    id: &str,
    script: &str,
    terminal: bool,
    streams: Streams,
) -> (UnixStream, u32, u32) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let plan = fixture.exec_plan(script, terminal);
    let number =
        running.monitor.send(&request(id, terminal, streams), &[plan.as_fd(), theirs.as_fd()]).unwrap();
    let wait = Request::Wait { condition: Condition::ExecExited { id: id.into() }, finish: false };
    let wait = running.monitor.order(&wait, &[]).unwrap();
    let reply = running.monitor.reply_to(number).unwrap();
    assert!(matches!(reply, Reply::Started { pid, .. } if pid > 0), "{reply:?}");
    (ours, wait, number)
}

fn code(running: &mut Running, wait: u32) -> i32 {
    match running.monitor.reply_to(wait).unwrap() {
        Reply::Exited { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

fn read_all(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

fn end(running: &mut Running) {
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
}

#[test]
fn three_at_once_each_with_its_own_streams() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let streams = || Streams { stdin: true, ..output() };
    let sessions: Vec<_> = ["a", "b", "c"]
        .into_iter()
        .map(|id| {
            let script = format!("cat; echo {id} >&2; hostname -f > /dev/null 2>&1; exit 3");
            (id, exec(&fixture, &mut running, id, &script, false, streams()))
        })
        .collect();
    let inspect =
        |running: &mut Running| running.monitor.call(&Request::ExecInspect { id: "b".into() }, &[]).unwrap();
    assert!(matches!(inspect(&mut running), Reply::Exec { running: true, code: None, .. }));
    for (id, (mut stream, wait, _)) in sessions {
        stream.write_all(id.repeat(3).as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(unframe(&read_all(stream)), (id.repeat(3).into_bytes(), format!("{id}\n").into_bytes()));
        assert_eq!(code(&mut running, wait), 3);
    }
    assert_eq!(inspect(&mut running), Reply::Exec { running: false, pid: 0, code: Some(3) });
    end(&mut running);
    let events = fixture.events();
    assert_eq!(events.iter().filter(|event| *event == "exec_die 3").count(), 3, "{events:?}");
    assert_eq!(events.iter().filter(|event| event.starts_with("exec_start: sh -c")).count(), 3);
    assert!(fixture.log().is_empty(), "what an exec session says is not the container's output");
    fixture.assert_nothing_left();
}

#[test]
fn a_terminal_of_its_own_and_detaching() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let streams = Streams { stdin: true, stdout: true, detach_keys: vec![16, 17], ..Streams::default() };
    let (mut stream, wait, number) =
        exec(&fixture, &mut running, "t", "tty; stty size; read x; exit 9", true, streams.clone());
    let seen = read_until(&mut stream, "20 70\r\n");
    assert!(seen.starts_with(b"/dev/pts/"), "{seen:?}");
    stream.write_all(b"\x10\x11").unwrap();
    assert_eq!(read_all(stream), b"");
    assert_eq!(running.monitor.reply_to(number).unwrap(), Reply::Detached);
    // It goes on, and can be attached to again.
    let (mut stream, theirs) = UnixStream::pair().unwrap();
    let attach = Request::Attach { exec: Some("t".into()), streams };
    running.monitor.order(&attach, &[theirs.as_fd()]).unwrap();
    drop(theirs);
    stream.write_all(b"y\n").unwrap();
    assert_eq!(read_all(stream), b"y\r\n");
    assert_eq!(code(&mut running, wait), 9);
    end(&mut running);
    fixture.assert_nothing_left();
}

#[test]
fn a_program_that_is_not_there_is_told_in_runcs_words() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut broken = Fixture::new("");
    broken.id.clone_from(&fixture.id);
    broken.spec.process.as_mut().unwrap().env = vec!["PATH=/nowhere".into()];
    let plan = {
        let layout = onggi_cgroup::detect().unwrap();
        let mut spec = fixture.spec.clone();
        spec.linux.as_mut().unwrap().cgroups_path = Some(fixture.cgroup());
        let mut process = spec.process.clone().unwrap();
        process.args = vec!["nonesuch".into()];
        let input = onggi_runtime::plan::JoinInput {
            id: &fixture.id,
            spec: &spec,
            process: &process,
            cgroups: &layout,
            extra: onggi_runtime::plan::Extra::default(),
            privileged: false,
        };
        onggi_runtime::encode(&onggi_runtime::plan::join(&input).unwrap()).unwrap()
    };
    let error =
        running.monitor.call(&request("x", false, output()), &[plan.as_fd(), theirs.as_fd()]).unwrap_err();
    drop(theirs);
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    assert_eq!(read_all(ours), b"");
    let again = running.monitor.call(&Request::ExecInspect { id: "x".into() }, &[]).unwrap_err();
    assert_eq!(again.kind(), Kind::NotFound);
    end(&mut running);
    fixture.assert_nothing_left();
}

#[test]
fn what_is_left_in_the_background_does_not_hold_a_session_open() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let (stream, wait, _) =
        exec(&fixture, &mut running, "bg", "sleep 1000 & yes & echo; exit 2", false, output());
    let reader = std::thread::spawn(move || read_all(stream).len());
    assert_eq!(code(&mut running, wait), 2);
    assert!(reader.join().unwrap() > 0);
    end(&mut running);
    fixture.assert_nothing_left();
}

#[test]
fn a_session_that_dies_with_the_container_is_told_too() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let (mut stream, wait, _) =
        exec(&fixture, &mut running, "e", "echo up; exec sleep 1000", false, output());
    read_until(&mut stream, "up");
    end(&mut running);
    assert_eq!(code(&mut running, wait), 137);
    assert_eq!(fixture.events().last().unwrap(), "die 137");
    assert!(fixture.events().contains(&"exec_die 137".to_owned()), "{:?}", fixture.events());
    fixture.assert_nothing_left();
}

#[test]
fn detached_sessions_need_no_client_and_signals_reach_one_alone() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let plan = fixture.exec_plan("exec sleep 1000", false);
    let mut detached = request("d", false, Streams::default());
    if let Request::Exec { detach, .. } = &mut detached {
        *detach = true;
    }
    assert!(matches!(running.monitor.call(&detached, &[plan.as_fd()]).unwrap(), Reply::Started { .. }));
    let twice = running.monitor.call(&detached, &[plan.as_fd()]).unwrap_err();
    assert_eq!(twice.kind(), Kind::AlreadyExists);
    let wait = Request::Wait { condition: Condition::ExecExited { id: "d".into() }, finish: false };
    let wait = running.monitor.order(&wait, &[]).unwrap();
    running.monitor.order(&Request::Signal { signal: 15, exec: Some("d".into()), all: false }, &[]).unwrap();
    assert_eq!(code(&mut running, wait), 143);
    let unknown = running
        .monitor
        .order(&Request::Wait { condition: Condition::ExecExited { id: "z".into() }, finish: false }, &[]);
    assert!(matches!(unknown, Err(Error::Refused { .. })));
    end(&mut running);
    fixture.assert_nothing_left();
}

/// The joining child is in the container's pid namespace before it has become its program.
#[test]
fn a_container_that_stops_whoever_joins_can_be_ended() {
    let fixture = Fixture::new(STOPS_ALL);
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    let mut streams = Vec::new();
    for number in 0..10 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let plan = fixture.exec_plan("true", number % 2 == 0);
        let request = request(&number.to_string(), number % 2 == 0, output());
        running.monitor.send(&request, &[plan.as_fd(), theirs.as_fd()]).unwrap();
        streams.push(ours);
    }
    // Every one of them is in there, or has ended.
    assert!(matches!(running.monitor.call(&Request::Status, &[]).unwrap(), Reply::Status(_)));
    end(&mut running);
}

/// What joins holds nothing of the monitor's that would outlive it.
#[test]
fn the_lock_ends_with_the_monitor_whatever_the_container_stops() {
    let fixture = Fixture::new(STOPS_ALL);
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    for number in 0..4 {
        let (_, theirs) = UnixStream::pair().unwrap();
        let plan = fixture.exec_plan("true", true);
        let request = request(&number.to_string(), true, output());
        running.monitor.send(&request, &[plan.as_fd(), theirs.as_fd()]).unwrap();
    }
    running.monitor.call(&Request::Status, &[]).unwrap();
    let monitor = rustix::process::Pid::from_raw(running.monitor.pid()).unwrap();
    rustix::process::kill_process(monitor, rustix::process::Signal::KILL).unwrap();
    rustix::process::waitpid(Some(monitor), rustix::process::WaitOptions::empty()).unwrap();
    let alive = std::fs::File::options().write(true).open(fixture.sandbox().join("alive")).unwrap();
    assert!(onggi_sys::ofd::try_lock(alive.as_fd()).unwrap(), "somebody holds the dead monitor's lock");
}

#[test]
fn whom_a_freezer_holds_is_reaped_when_it_lets_go() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let group = onggi_cgroup::Cgroup::open(&onggi_cgroup::detect().unwrap(), &fixture.cgroup()).unwrap();
    group.freeze(true).unwrap();
    let (_, theirs) = UnixStream::pair().unwrap();
    let plan = fixture.exec_plan("true", false);
    let request = request("held", false, output());
    let refused = running.monitor.call(&request, &[plan.as_fd(), theirs.as_fd()]).unwrap_err();
    assert!(refused.to_string().contains("it is being held"), "{refused}");
    let held: Vec<i32> =
        children(running.monitor.pid()).into_iter().filter(|&pid| pid != running.pid).collect();
    let held: Vec<_> = held
        .into_iter()
        .map(|pid| rustix::process::Pid::from_raw(pid).unwrap())
        .map(|pid| rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap())
        .collect();
    group.freeze(false).unwrap();
    for pidfd in held {
        let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
    }
    let patience = Instant::now() + Duration::from_secs(20);
    while children(running.monitor.pid()) != [running.pid] {
        assert!(Instant::now() < patience, "the monitor has children {:?}", children(running.monitor.pid()));
        std::thread::yield_now();
    }
    end(&mut running);
    fixture.assert_nothing_left();
}
