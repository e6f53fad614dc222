//! A container's life under a real monitor: start, output, standard input, exec, signals, end.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use common::{Fixture, output, unframe};
use onggi_error::{Diagnose, Kind};
use onggi_monitor::protocol::{Condition, Reply, Request, Streams, VERSION};
use onggi_monitor::state::Phase;
use onggi_monitor::{Error, client};
use rustix::fs::{Mode, OFlags};
use rustix::net::SendFlags;
use rustix::process::Signal;

#[test]
fn output_is_logged_and_handed_over_before_the_end_is_told() {
    let fixture = Fixture::new("echo out; echo err >&2; exit 7");
    let mut running = fixture.run_attached(Some(output()));
    assert_eq!(running.code(), 7);
    assert_eq!(unframe(&running.read_all()), (b"out\n".to_vec(), b"err\n".to_vec()));
    let mut log = fixture.log();
    log.sort();
    assert_eq!(log, [("stderr".into(), "err\n".into()), ("stdout".into(), "out\n".into())]);
    let state = fixture.state();
    assert_eq!((state.status, state.exit_code, state.pid), (Phase::Exited, 7, 0));
    assert!(state.started_at < state.finished_at);
    assert_eq!(fixture.events(), ["start", "die 7"]);
    fixture.assert_nothing_left();
}

#[test]
fn standard_input_half_closes() {
    let mut fixture = Fixture::new("cat; echo end");
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    let streams = Streams { stdin: true, ..output() };
    let mut running = fixture.run_attached(Some(streams));
    let stream = running.stream.as_mut().unwrap();
    stream.write_all(b"hello\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(unframe(&running.read_all()).0, b"hello\nend\n");
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

#[test]
fn a_program_that_is_not_there_leaves_nothing() {
    let mut fixture = Fixture::new("");
    fixture.spec.process.as_mut().unwrap().args = vec!["nonesuch".into()];
    let mut monitor = fixture.spawn();
    let number = fixture.send_start(&mut monitor);
    let error = monitor.reply_to(number).unwrap_err();
    let Error::Refused { kind, message, .. } = &error else { panic!("{error}") };
    assert_eq!(kind, "not-found");
    assert!(message.contains("executable file not found in $PATH"), "{message}");
    assert!(matches!(monitor.receive(), Err(Error::Gone)), "the monitor has ended");
    assert!(!fixture.path("container/state.json").exists());
    assert!(fixture.events().is_empty());
    fixture.assert_nothing_left();
}

#[test]
fn a_signal_ends_it_with_128_and_its_number() {
    let fixture = Fixture::new("trap 'exit 5' USR1; echo ready; while :; do sleep 0.01; done");
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    running.monitor.order(&Request::Signal { signal: 10, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 5);

    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
    assert_eq!(fixture.events(), ["start", "kill", "die 137"]);
    fixture.assert_nothing_left();
}

#[test]
fn stop_asks_and_then_kills() {
    let fixture = Fixture::new("trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    let stop = |timeout_ms| Request::Stop { signal: 0, timeout_ms, starts_again: false };
    let reply = running.monitor.call(&stop(None), &[]).unwrap();
    assert!(matches!(reply, Reply::Exited { code: 3, .. }), "{reply:?}");

    // Process 1 of a pid namespace ignores what it has no handler for.
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let reply = running.monitor.call(&stop(Some(50)), &[]).unwrap();
    assert!(matches!(reply, Reply::Exited { code: 137, .. }), "{reply:?}");
    assert_eq!(fixture.events(), ["start", "kill", "kill", "die 137", "stop"]);
    fixture.assert_nothing_left();
}

#[test]
fn a_paused_container_does_nothing_until_it_is_stopped() {
    let fixture = Fixture::new("trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done");
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    running.monitor.order(&Request::Pause, &[]).unwrap();
    assert_eq!(fixture.state().status, Phase::Paused);
    let refused = running.monitor.order(&Request::Pause, &[]).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    let reply = running
        .monitor
        .call(&Request::Stop { signal: 0, timeout_ms: None, starts_again: false }, &[])
        .unwrap();
    assert!(matches!(reply, Reply::Exited { code: 4, .. }), "{reply:?}");
    assert_eq!(fixture.events(), ["start", "pause", "kill", "unpause", "die 4", "stop"]);
    fixture.assert_nothing_left();
}

#[test]
fn sigkill_ends_what_somebody_else_has_frozen() {
    let fixture = Fixture::new("echo ready; exec sleep 1000");
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    let group = onggi_cgroup::Cgroup::open(&onggi_cgroup::detect().unwrap(), &fixture.cgroup()).unwrap();
    group.freeze(true).unwrap();
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
    assert_eq!(fixture.events(), ["start", "kill", "die 137"], "the monitor has paused nothing");
    fixture.assert_nothing_left();
}

/// Stops it while it waits for something to happen, so that nothing is on its list of what may be ready; returns when it has stopped,
/// which is some time after the signal was sent.
fn stop(monitor: rustix::process::Pid) {
    let sleeps = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", monitor.as_raw_nonzero())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('S')
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !sleeps() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
    rustix::process::kill_process(monitor, Signal::STOP).unwrap();
    let (_, status) =
        rustix::process::waitpid(Some(monitor), rustix::process::WaitOptions::UNTRACED).unwrap().unwrap();
    assert!(status.stopped());
}

#[test]
fn the_outputs_are_read_in_the_order_in_which_they_became_ready() {
    let mut fixture = Fixture::new(
        "echo ready; read x; echo one >&2; echo two; read x; echo three; echo four >&2; read x; echo end",
    );
    fixture.start.stdin_open = true;
    let mut running = fixture.run_attached(Some(Streams { stdin: true, ..output() }));
    running.read_until("ready");
    let monitor = rustix::process::Pid::from_raw(running.monitor.pid()).unwrap();
    // The FIFO itself, since the monitor cannot pass anything on while it is stopped.
    let mut input = std::fs::File::options().write(true).open(fixture.sandbox().join("stdin")).unwrap();
    for (last, stream) in [("two", "stdout"), ("four", "stderr")] {
        stop(monitor);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let output = rustix::fs::open(fixture.sandbox().join(stream), flags, Mode::empty()).unwrap();
        input.write_all(b"\n").unwrap();
        becomes_readable(&output);
        rustix::process::kill_process(monitor, Signal::CONT).unwrap();
        running.read_until(last);
    }
    input.write_all(b"\n").unwrap();
    assert_eq!(running.code(), 0);
    let log: Vec<String> = fixture.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(log, ["ready\n", "one\n", "two\n", "three\n", "four\n", "end\n"]);
    fixture.assert_nothing_left();
}

#[test]
fn at_the_end_the_outputs_take_turns() {
    // More than a piece on each, written while the monitor does not look: neither comes as one lump behind the other.
    let script = "echo ready; read x; seq 1 8000 & seq 1 8000 >&2; wait";
    let mut fixture = Fixture::new(script);
    fixture.start.stdin_open = true;
    let mut running = fixture.run_attached(Some(Streams { stdin: true, ..output() }));
    running.read_until("ready");
    let monitor = rustix::process::Pid::from_raw(running.monitor.pid()).unwrap();
    let mut input = std::fs::File::options().write(true).open(fixture.sandbox().join("stdin")).unwrap();
    stop(monitor);
    input.write_all(b"\n").unwrap();
    let process = rustix::process::Pid::from_raw(running.pid).unwrap();
    becomes_readable(&rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty()).unwrap());
    rustix::process::kill_process(monitor, Signal::CONT).unwrap();
    assert_eq!(running.code(), 0);
    let log = fixture.log();
    let changes = log.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(changes >= 4, "{changes}");
    assert_eq!(log.len(), 16_001);
    fixture.assert_nothing_left();
}

#[test]
fn a_terminal_echoes_resizes_and_detaches() {
    let mut fixture = Fixture::new("stty size; read a; stty size; read b; echo bye");
    (fixture.start.terminal, fixture.start.size) = (true, Some((30, 100)));
    let streams = Streams { stdin: true, stdout: true, detach_keys: vec![16, 17], ..Streams::default() };
    let mut running = fixture.run_attached(Some(streams.clone()));
    running.read_until("30 100\r\n");
    running.monitor.order(&Request::Resize { exec: None, rows: 50, columns: 132 }, &[]).unwrap();
    let stream = running.stream.as_mut().unwrap();
    stream.write_all(b"a\n").unwrap();
    running.read_until("50 132\r\n");
    running.stream.as_mut().unwrap().write_all(b"x").unwrap();
    running.read_until("x");
    running.stream.as_mut().unwrap().write_all(b"\x10\x11").unwrap();
    assert_eq!(running.read_all(), b"", "the keys themselves do not go through");
    let attach = running.attach;
    assert_eq!(running.monitor.reply_to(attach).unwrap(), Reply::Detached);

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let request = Request::Attach { exec: None, streams };
    running.monitor.order(&request, &[theirs.as_fd()]).unwrap();
    drop(theirs);
    ours.write_all(b"b\n").unwrap();
    let mut rest = Vec::new();
    ours.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"b\r\nbye\r\n");
    assert_eq!(running.code(), 0);
    assert_eq!(fixture.events(), ["start", "resize", "detach", "attach", "die 0"]);
    let log: String =
        fixture.log().into_iter().map(|(stream, text)| (assert_eq!(stream, "stdout"), text).1).collect();
    assert_eq!(log, "30 100\r\na\r\n50 132\r\nxb\r\nbye\r\n");
    fixture.assert_nothing_left();
}

#[test]
fn what_was_read_before_the_socket_was_handed_over_comes_first() {
    let mut fixture = Fixture::new("cat");
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    let streams = Streams { stdin: true, already_read: b"first ".to_vec(), ..output() };
    let mut running = fixture.run_attached(Some(streams));
    let stream = running.stream.as_mut().unwrap();
    stream.write_all(b"second").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(unframe(&running.read_all()).0, b"first second");
    assert_eq!(running.code(), 0);
}

#[test]
fn standard_input_that_nobody_reads_blocks_nobody() {
    let mut fixture = Fixture::new("exec <&-; echo closed; read -r line < /dev/null; echo still here");
    (fixture.start.stdin_open, fixture.start.stdin_once) = (true, true);
    let mut running = fixture.run_attached(Some(Streams { stdin: true, ..output() }));
    running.read_until("here");
    // More than any buffer between; it ends with EPIPE, not with a wait.
    let stream = running.stream.as_mut().unwrap();
    while stream.write_all(&[0; 65536]).is_ok() {}
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

#[test]
fn what_is_left_in_the_background_holds_nothing_up() {
    // Without a pid namespace it survives its parent and holds the output open.
    let mut fixture = Fixture::new("sleep 1000 & echo left; exit 6");
    let namespaces = &mut fixture.spec.linux.as_mut().unwrap().namespaces;
    namespaces.retain(|namespace| namespace.kind != onggi_oci::NamespaceKind::Pid);
    fixture.spec.mounts.retain(|mount| mount.destination != "/proc");
    let mut running = fixture.run_attached(Some(output()));
    assert_eq!(running.code(), 6);
    assert_eq!(unframe(&running.read_all()).0, b"left\n");
    fixture.assert_nothing_left();
}

#[test]
fn too_much_memory_is_told() {
    let mut fixture = Fixture::new("head -c 100m /dev/zero | tail -c 90m | wc -c");
    let memory = onggi_oci::Memory { limit: Some(16 << 20), ..onggi_oci::Memory::default() };
    let resources = onggi_oci::Resources { memory: Some(memory), ..onggi_oci::Resources::default() };
    fixture.spec.linux.as_mut().unwrap().resources = Some(resources);
    let mut running = fixture.run();
    let (_, oom_killed) = running.exit();
    assert!(oom_killed && fixture.state().oom_killed);
    assert!(fixture.events().contains(&"oom".to_owned()), "{:?}", fixture.events());
    fixture.assert_nothing_left();

    // Where the first process itself is killed, both become known at the same time; the cause is told first.
    let mut first = Fixture::new("exec tail -c 90m /dev/zero");
    first.spec.linux.as_mut().unwrap().resources = fixture.spec.linux.as_ref().unwrap().resources.clone();
    let mut running = first.run();
    assert_eq!(running.exit(), (137, true));
    assert_eq!(first.events(), ["start", "oom", "die 137"]);
    first.assert_nothing_left();
}

#[test]
fn a_slow_client_slows_the_container_and_nothing_else() {
    let fixture = Fixture::new("yes | head -c 8m; echo done >&2");
    let mut running = fixture.run_attached(Some(output()));
    // Nobody reads the stream: the container comes to a stop somewhere, and the monitor still answers.
    let status = running.monitor.call(&Request::Status, &[]).unwrap();
    let Reply::Status(status) = status else { panic!("{status:?}") };
    assert_eq!((status.status.as_str(), status.attached, status.problem), ("running", 1, None));
    let (stdout, stderr) = unframe(&running.read_all());
    assert_eq!((stdout.len(), stderr), (8 << 20, b"done\n".to_vec()));
    assert_eq!(running.code(), 0);
    fixture.assert_nothing_left();
}

#[test]
fn a_client_that_reads_nothing_holds_back_its_own_answer_and_nobody_elses() {
    // Less than a pipe takes, so that it ends by itself, and more than the client's socket does.
    let mut fixture = Fixture::new("read x; seq 1 8000; exit 6");
    fixture.start.stdin_open = true;
    let mut running = fixture.run();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&theirs, 4096).unwrap();
    let streams = Streams { stdin: true, stdout: true, ..Streams::default() };
    running.monitor.order(&Request::Attach { exec: None, streams }, &[theirs.as_fd()]).unwrap();
    drop(theirs);
    let mut other = client::connect(&fixture.sandbox()).unwrap();
    let wait = other.order(&Request::Wait { condition: Condition::Exited, finish: false }, &[]).unwrap();
    ours.write_all(b"\n").unwrap();
    assert!(matches!(other.reply_to(wait).unwrap(), Reply::Exited { code: 6, .. }));
    assert_eq!(fixture.events().last().unwrap(), "die 6");
    fixture.assert_nothing_left();
    // The monitor answers in the order in which it is asked, so by now it would have said it.
    running.monitor.call(&Request::Status, &[]).unwrap();
    assert_eq!(running.monitor.try_receive().unwrap(), None, "the end was told before the output");
    let mut output = String::new();
    ours.read_to_string(&mut output).unwrap();
    assert!(output.ends_with("\n8000\n"), "{} bytes", output.len());
    assert_eq!(running.code(), 6);
}

#[test]
fn a_client_that_dies_is_forgotten() {
    let fixture = Fixture::new("yes | head -c 4m; exit 2");
    let mut running = fixture.run_attached(Some(output()));
    drop(running.stream.take());
    assert_eq!(running.code(), 2);
    fixture.assert_nothing_left();
}

#[test]
fn clients_come_and_go_over_the_socket() {
    let fixture = Fixture::new("exec sleep 1000");
    let running = fixture.run();
    drop(running.monitor);
    let mut client = client::connect(&fixture.sandbox()).unwrap();
    let subscription = client.order(&Request::Subscribe, &[]).unwrap();
    let wait = client.order(&Request::Wait { condition: Condition::Exited, finish: false }, &[]).unwrap();
    let resize = Request::Resize { exec: None, rows: 1, columns: 1 };
    assert_eq!(client.order(&resize, &[]).unwrap_err().kind(), Kind::Conflict);
    client.order(&Request::Signal { signal: 9, exec: None, all: true }, &[]).unwrap();
    let mut actions = Vec::new();
    while actions.last().is_none_or(|action| action != "die") {
        match client.reply_to(subscription).unwrap() {
            Reply::Event { event } => actions.push(event.action),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(actions, ["kill", "die"]);
    assert!(matches!(client.reply_to(wait).unwrap(), Reply::Exited { code: 137, .. }));
    assert!(client::connect(&fixture.sandbox()).is_err());
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let say = |packet: &str| {
        client::send_packet(running.monitor.as_fd(), packet.as_bytes(), &[], SendFlags::empty()).unwrap();
    };
    say(r#"{"number":101,"op":"dance"}"#);
    say("not json");
    say(r#"{"number":102,"op":"hello","version":0}"#);
    say(r#"{"number":103,"op":"hello","version":99}"#);
    let mut refused = |number: u32| match running.monitor.reply_to(number) {
        Err(Error::Refused { kind, message, .. }) => format!("{kind}: {message}"),
        other => panic!("{other:?}"),
    };
    assert!(refused(101).starts_with("unsupported: this monitor (protocol 1) does not understand `dance`"));
    assert!(refused(0).starts_with("invalid-input: not a request"));
    assert!(refused(102).starts_with("unsupported: protocol version 0 is older than 1"));
    assert!(matches!(running.monitor.reply_to(103).unwrap(), Reply::Hello { version: VERSION, .. }));
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
}

#[test]
fn the_monitor_has_left_its_caller() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let pid = running.monitor.pid();
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    // What is mounted nowhere cannot be joined, and so cannot be left.
    let layout = onggi_cgroup::detect().unwrap();
    for line in read("cgroup").lines() {
        let is_there = line.ends_with(":/onggi-monitors") || line.starts_with("0::");
        assert!(is_there || !layout.unmounted(line).is_empty(), "{line}");
    }
    // Lowering it takes CAP_SYS_RESOURCE (24), which root may lack in a container.
    let capable = read("status").lines().find_map(|line| line.strip_prefix("CapEff:\t")).map(str::to_owned);
    let capable = u64::from_str_radix(&capable.unwrap(), 16).unwrap() & (1 << 24) != 0;
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(read("oom_score_adj").trim(), if capable { "-999" } else { own.trim() });
    assert_eq!(read("comm").trim(), "onggi-monitor");
    assert_eq!(std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap().to_str(), Some("/"));
    assert_eq!(
        read("stat").rsplit(") ").next().unwrap().split(' ').nth(3),
        Some(pid.to_string().as_str()),
        "its own session"
    );
    let child = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", running.pid)).unwrap();
    assert_eq!(child.trim(), own.trim());
    assert_eq!(std::fs::metadata(fixture.sandbox().join("socket")).unwrap().mode() & 0o777, 0o600);
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
}

#[test]
fn signals_that_end_a_session_do_not_end_the_monitor() {
    let fixture = Fixture::new(
        "trap 'exit 8' TERM; grep -h ^Sig... /proc/self/status; echo ready; while :; do sleep 0.01; done",
    );
    let mut running = fixture.run_attached(Some(output()));
    let said = String::from_utf8(running.read_until("ready")).unwrap();
    assert!(
        said.contains("SigBlk:\t0000000000000000") && said.contains("SigIgn:\t0000000000000000"),
        "{said}"
    );
    let pid = rustix::process::Pid::from_raw(running.monitor.pid()).unwrap();
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::USR1] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    running.monitor.order(&Request::Signal { signal: 15, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 8);
    fixture.assert_nothing_left();
}

#[test]
fn what_is_no_socket_is_no_stream() {
    let fixture = Fixture::new("exec sleep 1000");
    let mut running = fixture.run();
    let file = std::fs::File::open("/dev/null").unwrap();
    let attach = Request::Attach { exec: None, streams: output() };
    assert!(
        running.monitor.order(&attach, &[file.as_fd()]).unwrap_err().to_string().contains("stream socket")
    );
    assert_eq!(running.monitor.order(&attach, &[]).unwrap_err().kind(), Kind::InvalidInput);
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
}

#[test]
fn the_finisher_runs_unless_a_client_takes_its_place() {
    for client_finishes in [false, true] {
        let mut fixture = Fixture::new("exit 1");
        let script = fixture.path("finisher");
        std::fs::write(&script, format!("#!/bin/sh\necho \"$@\" > {}\n", fixture.path("finished").display()))
            .unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        fixture.start.finish = true;
        fixture.start.finish_program = script;
        fixture.start.finish_args = vec!["--root".into(), "/somewhere".into()];
        let mut monitor = fixture.spawn();
        let wait = Request::Wait { condition: Condition::Exited, finish: client_finishes };
        let wait = monitor.order(&wait, &[]).unwrap();
        let started = fixture.send_start(&mut monitor);
        assert!(matches!(monitor.reply_to(started).unwrap(), Reply::Started { .. }));
        assert!(matches!(monitor.reply_to(wait).unwrap(), Reply::Exited { code: 1, .. }));
        if client_finishes {
            std::fs::remove_dir_all(fixture.path("container")).unwrap();
        }
        let pid = rustix::process::Pid::from_raw(monitor.pid()).unwrap();
        drop(monitor);
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
        let said = std::fs::read_to_string(fixture.path("finished"));
        let expected = format!("--root /somewhere container finish {}\n", fixture.id);
        assert_eq!(said.ok(), (!client_finishes).then_some(expected));
        fixture.assert_nothing_left();
    }
}

fn becomes_readable(descriptor: &std::os::fd::OwnedFd) {
    let mut poll = [rustix::event::PollFd::new(descriptor, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut poll, None).unwrap(), 1);
}
