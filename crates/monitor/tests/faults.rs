//! The monitor killed at every step that writes: what it leaves can be adopted or cleared away by name, and no reader is misled.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail as tests do

mod common;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;

use common::{Fixture, STOPS_ALL, children, output};
use onggi_monitor::client::ALIVE;
use onggi_monitor::protocol::{Condition, Reply, Request};
use onggi_monitor::state::{Phase, State};

/// The switch is read from the environment, which a test program may not change while others of its threads run: each case is a
/// process of its own, this very test program with the name of the case.
const CASE: &str = "ONGGI_TEST_FAULT_CASE";
const ADOPTION: &str = "ONGGI_TEST_ADOPTION";
const JOINING: &str = "ONGGI_TEST_JOINING";
const SANDBOX: &str = "ONGGI_TEST_ADOPTION_SANDBOX";

#[test]
fn killed_anywhere_it_leaves_what_the_next_can_deal_with() {
    if std::env::var_os(CASE).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("trace");
    let this = std::env::current_exe().unwrap();
    let run = |fault: Option<&str>| {
        let mut command = Command::new(&this);
        command.args(["--exact", "one_case", "--nocapture"]).env(CASE, fault.unwrap_or(""));
        match fault {
            Some(fault) => command.env("ONGGI_FAULT", fault),
            None => command.env("ONGGI_FAULT_TRACE", &trace),
        };
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{fault:?}: {said}");
    };
    run(None);
    let mut points: Vec<String> =
        std::fs::read_to_string(&trace).unwrap().lines().map(str::to_owned).collect();
    points.retain(|point| point.starts_with("monitor."));
    points.sort();
    points.dedup();
    for expected in
        ["monitor.start.locked", "monitor.start.recorded", "monitor.exec.cloned", "monitor.end.recorded"]
    {
        assert!(points.iter().any(|point| point == expected), "{expected} is not among {points:?}");
    }
    assert!(points.len() >= 18, "{points:?}");
    for point in &points {
        run(Some(point));
    }
}

/// A whole life with an exec, a rotation, a pause and a stop; the monitor may be killed at any moment of it.
#[test]
fn one_case() {
    let Some(case) = std::env::var_os(CASE) else { return };
    let case = case.into_string().unwrap();
    let mut fixture = Fixture::new("seq 1 2000; echo ready >&2; exec sleep 1000");
    fixture.start.log.max_size = 50_000;
    let told = life(&fixture);
    let state = File::open(fixture.path("container/state.json")).ok().map(|_| fixture.state());
    check(&fixture, &case, told, state.as_ref());
    // What is left in the kernel has names that follow from the id alone; the fixture's end clears it, as the next command would.
}

/// The exit code if it was told one.
fn life(fixture: &Fixture) -> Option<i32> {
    let mut monitor = fixture.spawn();
    let pid = rustix::process::Pid::from_raw(monitor.pid()).unwrap();
    let mut act = || -> Result<i32, onggi_monitor::Error> {
        let started = fixture.send_start(&mut monitor);
        monitor.reply_to(started)?;
        let plan = fixture.exec_plan("exit 3", false);
        let exec = Request::Exec {
            id: "e".into(),
            terminal: false,
            size: None,
            detach: true,
            command: "exit".into(),
            streams: onggi_monitor::protocol::Streams::default(),
        };
        monitor.call(&exec, &[plan.as_fd()])?;
        let wait = Request::Wait { condition: Condition::ExecExited { id: "e".into() }, finish: false };
        let wait = monitor.order(&wait, &[])?;
        monitor.reply_to(wait)?;
        monitor.order(&Request::Pause, &[])?;
        monitor.order(&Request::Resume, &[])?;
        monitor.order(&Request::Reexec, &[])?;
        match monitor.call(&Request::Stop { signal: 0, timeout_ms: Some(1), starts_again: false }, &[])? {
            Reply::Exited { code, .. } => Ok(code),
            other => panic!("{other:?}"),
        }
    };
    let told = act().ok();
    drop(monitor);
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap();
    told
}

fn check(fixture: &Fixture, case: &str, told: Option<i32>, state: Option<&State>) {
    let Some(state) = state else {
        // Not one record: the container was never said to run.
        assert!(case.starts_with("monitor.start.") || case == "monitor.state.written", "{case}");
        assert_eq!(told, None);
        return;
    };
    match state.status {
        Phase::Exited => {
            assert_eq!((state.exit_code, state.pid), (137, 0), "{case}");
            if let Some(told) = told {
                assert_eq!(told, 137);
            }
        }
        Phase::Running | Phase::Paused => {
            assert_eq!(told, None, "{case}: an end was told that no record has");
            assert!(!is_alive(fixture), "{case}");
            adopt_and_end(fixture, case, state);
        }
        other => panic!("{case}: {other:?}"),
    }
}

fn is_alive(fixture: &Fixture) -> bool {
    let alive = File::options().write(true).open(fixture.sandbox().join(ALIVE)).unwrap();
    onggi_sys::ofd::is_held(alive.as_fd()).unwrap()
}

/// The next command, without the switch: it adopts the container if its process lives, and the record is true again.
fn adopt_and_end(fixture: &Fixture, case: &str, state: &State) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "one_adoption", "--nocapture"])
        .env_remove("ONGGI_FAULT")
        .env_remove("ONGGI_FAULT_TRACE");
    let output = command.env(ADOPTION, fixture.path("")).env(SANDBOX, fixture.sandbox()).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{case}: {said}");
    // It may wait for whoever inherited it to reap it.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", state.pid)).unwrap_or_default();
    let alive =
        stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']));
    assert!(!alive, "{case}: the process outlived its stop: {stat}");
    if said.contains("adopted") {
        assert_eq!(fixture.state().status, Phase::Exited, "{case}");
        fixture.assert_nothing_left();
    }
}

#[test]
fn one_adoption() {
    let (Some(base), Some(sandbox)) = (std::env::var_os(ADOPTION), std::env::var_os(SANDBOX)) else { return };
    let base = std::path::PathBuf::from(base);
    let open = |path: std::path::PathBuf| OwnedFd::from(File::open(path).unwrap());
    let descriptors = [open(base.join("container")), open(sandbox.into()), open(base.join("events"))];
    let descriptors = descriptors.each_ref().map(AsFd::as_fd);
    let state = State::read(descriptors[0]).unwrap();
    let mut monitor = onggi_monitor::client::spawn(&common::program(), None).unwrap();
    let adopt = Request::Adopt { pid: state.pid, pid_start_time: state.pid_start_time };
    match monitor.call(&adopt, &descriptors) {
        Ok(Reply::Started { .. }) => {
            match monitor.call(&Request::Stop { signal: 9, timeout_ms: None, starts_again: false }, &[]) {
                Ok(reply) => assert!(matches!(reply, Reply::Exited { code: 137 | 255, .. }), "{reply:?}"),
                // It was ending already, and the monitor with it.
                Err(error) => assert!(matches!(error, onggi_monitor::Error::Gone), "{error}"),
            }
            println!("adopted");
        }
        Ok(other) => panic!("{other:?}"),
        // It had ended already; nothing was touched, and it is the engine that writes 255 into the record.
        Err(onggi_monitor::Error::Refused { kind, .. }) => assert_eq!(kind, "not-found"),
        Err(other) => panic!("{other}"),
    }
}

/// The process through which another enters the container is in the container's cgroup, where the kernel may kill it for want of memory.
#[test]
fn who_enters_through_a_process_that_is_killed_is_not_left_behind() {
    for script in ["echo ready; exec sleep 1000", STOPS_ALL] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "one_entry", "--nocapture"]);
        command.env(JOINING, script).env("ONGGI_FAULT", "runtime.enter.born");
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
    }
}

#[test]
fn one_entry() {
    let Ok(script) = std::env::var(JOINING) else { return };
    let fixture = Fixture::new(&script);
    let mut running = fixture.run_attached(Some(output()));
    running.read_until("ready");
    for terminal in [false, true] {
        let plan = fixture.exec_plan("exec sleep 1000", terminal);
        let exec = Request::Exec {
            id: "e".into(),
            terminal,
            size: None,
            detach: true,
            command: "sleep".into(),
            streams: onggi_monitor::protocol::Streams::default(),
        };
        let refused = running.monitor.call(&exec, &[plan.as_fd()]).unwrap_err();
        assert!(refused.to_string().contains("ended without a word"), "{refused}");
        assert_eq!(children(running.monitor.pid()), [running.pid], "somebody is left behind");
    }
    running.monitor.order(&Request::Signal { signal: 9, exec: None, all: false }, &[]).unwrap();
    assert_eq!(running.code(), 137);
    fixture.assert_nothing_left();
}
