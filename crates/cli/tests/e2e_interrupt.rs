//! Ctrl-C, or another word to end, while a container or an added process begins: it is undone, or the signal is the program's. The command
//! never leaves something that runs without having said so.
//!
//! The steps are not listed here: each act is first run with `ONGGI_FAULT_TRACE`. Then it is run again for each of them; the command sends
//! itself the signal there, or the monitor stops there until the command has it.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use common::{busybox, busybox_of_ordinary_user};
use onggi_testkit::{Child, Output, PATIENCE, Process, TestEnv, processes_mentioning};
use rustix::process::Signal;

const INTERRUPTED: i32 = 128 + 2;

/// Without process ids of its own, so that its first process ends by a signal for which it has no handler.
const FOLLOWED: [&str; 8] = ["run", "--rm", "--name", "jar", "--pid", "host", "busybox", "echo"];

/// The points passed by `words`: the command's own, or the monitor's.
fn points(onggi: &TestEnv, words: &[&str], in_monitor: bool) -> BTreeSet<String> {
    let trace = onggi.write("trace", "");
    onggi.command(words).env("ONGGI_FAULT_TRACE", &trace).output().code(0);
    let text = fs::read_to_string(&trace).expect("a trace");
    // Others are passed by the command as well as by the monitor or a child, and an end is not a beginning.
    let beginning = ["monitor.start.", "monitor.exec.cloned", "monitor.exec.started"];
    let wanted = |name: &&str| match in_monitor {
        true => beginning.iter().any(|start| name.starts_with(start)) && !name.ends_with("undone"),
        false => name.starts_with("engine.") && !name.contains(".remove."),
    };
    text.lines().filter(wanted).map(str::to_owned).collect()
}

/// Runs it, interrupted at the point of its own.
fn interrupted(onggi: &TestEnv, words: &[&str], point: &str) -> Output {
    onggi.command(words).env("ONGGI_FAULT", point).env("ONGGI_FAULT_SIGNAL", "2").output()
}

/// Runs it, interrupted while the monitor is at this point.
fn interrupted_by(onggi: &TestEnv, words: &[&str], point: &str, signal: Signal) -> Child {
    let command = onggi.command(words).env("ONGGI_FAULT", point).env("ONGGI_FAULT_SIGNAL", "19").spawn();
    let monitor = stopped(onggi);
    command.process.signal(signal);
    monitor.signal(Signal::CONT);
    command
}

/// The monitor, once it has stopped.
fn stopped(onggi: &TestEnv) -> Process {
    let deadline = Instant::now() + PATIENCE;
    let directory = onggi.data().parent().expect("the test's directory").to_owned();
    while Instant::now() < deadline {
        let found = processes_mentioning(&directory)
            .into_iter()
            .find(|process| process.read("comm") == "onggi-monitor" && process.read("stat").contains(") T "));
        if let Some(monitor) = found {
            return monitor;
        }
        std::thread::yield_now();
    }
    panic!("no monitor has stopped");
}

fn sleeping(words: &[&'static str]) -> Vec<&'static str> {
    let (_, before) = words.split_last().expect("a program");
    [before, &["sleep", "1000"]].concat()
}

/// At whatever step, the command ends as one that was interrupted, and there is no container.
fn is_undone_or_ended(onggi: &TestEnv) {
    let words = sleeping(&FOLLOWED);
    // The first one makes the default network as well.
    onggi.ok(FOLLOWED);
    let own = points(onggi, &FOLLOWED, false);
    assert!(own.contains("engine.start.sent") && own.contains("engine.create.row-inserted"), "{own:?}");
    for point in own {
        let output = interrupted(onggi, &words, &point);
        assert_eq!(output.code, INTERRUPTED, "at {point}: {output}");
        assert_eq!(onggi.ok(["ps", "-aq"]), "", "after a signal at {point}: {output}");
    }
    for point in points(onggi, &FOLLOWED, true) {
        for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
            let output = interrupted_by(onggi, &words, &point, signal).wait();
            assert_eq!(output.code, 128 + signal.as_raw(), "at {point}: {output}");
            assert_eq!(onggi.ok(["ps", "-aq"]), "", "after a signal at {point}: {output}");
        }
    }
    onggi.ok(["system", "check"]);
}

#[test]
fn a_run_is_undone_or_its_program_is_told() {
    is_undone_or_ended(&busybox());
}

#[test]
fn so_it_is_with_an_ordinary_user_s() {
    let onggi = busybox_of_ordinary_user();
    // `--pid host` needs one.
    onggi.delegate(&["pids", "freezer"]);
    is_undone_or_ended(&onggi);
}

#[test]
fn what_goes_on_in_the_background_has_said_its_id() {
    let onggi = busybox();
    let words = ["run", "-d", "--name", "jar", "busybox", "sleep", "1000"];
    onggi.ok(words);
    onggi.ok(["rm", "-f", "jar"]);
    let own = points(&onggi, &words, false);
    onggi.ok(["rm", "-f", "jar"]);
    let (mut undone, mut done) = (0, 0);
    for point in own {
        let output = interrupted(&onggi, &words, &point);
        assert_eq!(output.code, INTERRUPTED, "at {point}: {output}");
        let running = onggi.ok(["ps", "-q", "--no-trunc"]);
        assert_eq!(output.stdout.trim_end(), running, "at {point}");
        assert_eq!(onggi.ok(["ps", "-aq", "--no-trunc"]), running, "at {point}");
        *(if running.is_empty() { &mut undone } else { &mut done }) += 1;
        onggi.run(["rm", "-f", "jar"]);
    }
    assert!(undone > 5 && done > 0, "{undone} undone, {done} done");
}

#[test]
fn a_container_that_was_there_stays_as_it_was() {
    let onggi = busybox();
    let create = ["create", "--name", "jar", "--pid", "host", "busybox"];
    let words = ["start", "-a", "jar"];
    onggi.ok(create.iter().chain(&["true"]));
    onggi.ok(words);
    let own = points(&onggi, &words, false);
    onggi.ok(["rm", "jar"]);
    onggi.ok(create.iter().chain(&["sleep", "1000"]));
    let before = "created 0 ";
    let shown = || onggi.inspect("jar", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}");
    assert_eq!(shown(), before);
    for point in own {
        let output = interrupted(&onggi, &words, &point);
        assert_eq!(output.code, INTERRUPTED, "at {point}: {output}");
        if point == "engine.start.sent" || point == "engine.start.answered" {
            assert_eq!(shown(), "exited 130 ", "at {point}: {output}");
            onggi.ok(["rm", "jar"]);
            onggi.ok(create.iter().chain(&["sleep", "1000"]));
        }
        assert_eq!(shown(), before, "at {point}: {output}");
    }
}

#[test]
fn an_added_program_is_told() {
    let onggi = busybox();
    let exec = ["exec", "jar", "echo"];
    let run = || onggi.command(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    run().success();
    assert_eq!(interrupted(&onggi, &sleeping(&exec), "engine.exec.sent").code, INTERRUPTED);
    onggi.ok(["rm", "-f", "jar"]);
    for point in ["monitor.exec.cloned", "monitor.exec.started"] {
        // The container's monitor has the switch from its start.
        run().env("ONGGI_FAULT", point).env("ONGGI_FAULT_SIGNAL", "19").success();
        let output = interrupted_by(&onggi, &sleeping(&exec), point, Signal::INT).wait();
        assert_eq!(output.code, INTERRUPTED, "at {point}: {output}");
        assert_eq!(onggi.ok(["top", "jar"]).lines().count(), 2, "at {point}");
        onggi.ok(["rm", "-f", "jar"]);
    }
}

#[test]
fn who_ignores_the_signal_is_not_interrupted() {
    let onggi = busybox();
    let program = env!("CARGO_BIN_EXE_onggi");
    let roots = format!("--root {} --run-root {}", onggi.data().display(), onggi.run_root().display());
    let script = format!("trap '' INT; exec {program} {roots} run --rm busybox echo went on");
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .envs([("ONGGI_FAULT", "engine.create.name-reserved"), ("ONGGI_FAULT_SIGNAL", "2")])
        .output()
        .expect("a shell");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "went on\n", "{output:?}");
}
