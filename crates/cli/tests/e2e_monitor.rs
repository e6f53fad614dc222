//! The monitor: apart from its caller, and what is left when it, or its caller, is killed.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::busybox;
use rustix::process::Signal;

/// The session (sixth field of stat, after the name in brackets).
fn session(stat: &str) -> String {
    let fields = stat.rsplit_once(") ").expect("a stat line").1;
    fields.split(' ').nth(3).expect("a session").to_owned()
}

#[test]
fn it_leaves_its_caller_s_session_and_cgroup() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let monitor = onggi.monitor("jar");
    let own = fs::read_to_string("/proc/self/stat").expect("/proc");
    assert_ne!(session(&monitor.read("stat")), session(&own));
    // What is mounted nowhere cannot be joined, and so cannot be left.
    let layout = onggi_cgroup::detect().expect("cgroups");
    for line in monitor.read("cgroup").lines() {
        assert!(line.ends_with(":/onggi-monitors") || !layout.unmounted(line).is_empty(), "{line}");
    }
    // Lowering it takes CAP_SYS_RESOURCE, which even root lacks on some virtual machines.
    let lowered = fs::write("/proc/self/oom_score_adj", "-1").is_ok();
    assert_eq!(monitor.read("oom_score_adj"), if lowered { "-999" } else { "0" });
}

#[test]
fn its_program_cannot_be_written_to() {
    // CVE-2019-5736: a process that looks at the monitor through /proc finds a program on a read-only mount.
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let path = format!("/proc/{}/exe", onggi.monitor("jar").pid);
    let flags = rustix::fs::statvfs(path).expect("the monitor's program").f_flag;
    assert!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{flags:?}");
}

#[test]
fn a_kill_ends_what_was_frozen_past_it() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let layout = onggi_cgroup::detect().expect("cgroups");
    let path = format!("/onggi/{}", onggi.inspect("jar", "{{.Id}}"));
    onggi_cgroup::Cgroup::open(&layout, &path).expect("its cgroup").freeze(true).expect("a freezer");
    onggi.ok(["kill", "jar"]);
    assert_eq!(onggi.ok(["wait", "jar"]), "137");
}

#[test]
fn a_container_outlives_the_process_group_that_started_it() {
    let onggi = busybox();
    let script = "\"$0\" run -d --name jar busybox sleep 1000; echo started; exec sleep 1000";
    let mut shell = std::process::Command::new("setsid");
    shell.args(["sh", "-c", script, env!("CARGO_BIN_EXE_onggi")]);
    shell.env("ONGGI_ROOT", onggi.data()).env("ONGGI_RUN_ROOT", onggi.run_root());
    let mut shell = shell.stdout(std::process::Stdio::piped()).spawn().expect("a shell");
    let mut said = String::new();
    let mut output = std::io::BufReader::new(shell.stdout.take().expect("a pipe"));
    while !said.ends_with("started\n") {
        assert_ne!(std::io::BufRead::read_line(&mut output, &mut said).expect("output"), 0, "{said}");
    }
    let group = rustix::process::Pid::from_raw(shell.id().cast_signed()).expect("a number");
    rustix::process::kill_process_group(group, Signal::HUP).expect("a signal");
    rustix::process::kill_process_group(group, Signal::KILL).expect("a signal");
    shell.wait().expect("an end");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "running");
    // Whatever the caller's output was, nobody holds it open any more.
    assert_eq!(std::io::Read::read(&mut output, &mut [0]).expect("the end"), 0);
}

#[test]
fn the_command_may_be_killed_at_any_time() {
    let onggi = busybox();
    let mut running = onggi.spawn([
        "run",
        "--name",
        "jar",
        "busybox",
        "sh",
        "-c",
        "echo ready; sleep 0.3; echo later; exit 6",
    ]);
    running.expect("ready");
    running.process.kill();
    assert_eq!(onggi.ok(["wait", "jar"]), "6");
    assert_eq!(onggi.run(["logs", "jar"]).code(0).stdout, "ready\nlater\n");
}

#[test]
fn with_rm_the_container_goes_although_nobody_waits() {
    let onggi = busybox();
    let mut events = onggi.events(&["event=destroy"]);
    let mut running =
        onggi.spawn(["run", "--rm", "--name", "jar", "busybox", "sh", "-c", "echo ready; sleep 0.3"]);
    running.expect("ready");
    running.process.kill();
    events.expect("destroy");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    onggi.ok(["run", "-d", "--rm", "busybox", "true"]);
    events.expect("destroy");
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
}

#[test]
fn a_container_with_pipes_outlives_its_monitor() {
    let onggi = busybox();
    let script = "while :; do echo tick; sleep 0.05; [ ! -e /stop ] || exit 7; done";
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", script]);
    let mut log = onggi.spawn(["logs", "-f", "jar"]);
    log.expect("tick");
    drop(log);
    let first = onggi.first_process("jar");
    onggi.monitor("jar").kill();
    // The next command takes it over under a new monitor.
    assert_eq!(onggi.ok(["ps", "--format", "{{.Names}} {{.State}}"]), "jar running");
    assert_eq!(onggi.inspect("jar", "{{.State.Pid}}"), first.pid.to_string(), "the same process goes on");
    onggi.ok(["exec", "jar", "touch", "/stop"]);
    let code = onggi.ok(["wait", "jar"]);
    assert!(code == "7" || code == "255", "its own code, or 255 if that is lost: {code}");
    assert_eq!(onggi.inspect("jar", "{{.State.Running}}"), "false");
    let why = onggi.inspect("jar", "{{.State.Error}}");
    assert_eq!(why.contains("255 stands for it"), code == "255", "{why}");
    onggi.ok(["start", "jar"]);
    onggi.ok(["rm", "-f", "jar"]);
}

#[test]
fn a_monitor_that_is_stopped_keeps_nobody_from_looking() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let monitor = onggi.monitor("jar");
    monitor.signal(Signal::STOP);
    let before = Instant::now();
    assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.ExecIDs}}"), "running []");
    let took = before.elapsed();
    monitor.signal(Signal::CONT);
    assert!(took < Duration::from_secs(4), "it took {took:?}");
}

#[test]
fn a_container_that_ended_meanwhile_is_found_ended() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let (monitor, first) = (onggi.monitor("jar"), onggi.first_process("jar"));
    monitor.kill();
    first.kill();
    assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.State}}"]), "exited");
    assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}}"), "255");
    assert_eq!(onggi.ok(["wait", "jar"]), "255");
    let why = onggi.inspect("jar", "{{.State.Error}}");
    assert!(why.contains("255 stands for its exit code"), "{why}");
}

#[test]
fn a_container_with_a_terminal_ends_with_its_monitor() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "-t", "--name", "jar", "busybox", "sleep", "1000"]);
    let first = onggi.first_process("jar");
    onggi.monitor("jar").kill();
    // A first process may ignore that its terminal has hung up: the next command ends it.
    assert_eq!(onggi.ok(["ps", "-a", "--format", "{{.State}}"]), "exited");
    assert!(first.ends_within(onggi_testkit::PATIENCE), "nobody is left to speak to it");
}

#[test]
fn stop_asks_first_and_kills_later() {
    let onggi = busybox();
    let polite = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
    onggi.ok(["run", "-d", "--name", "polite", "busybox", "sh", "-c", polite]);
    onggi.spawn(["logs", "-f", "polite"]).expect("ready");
    onggi.ok(["stop", "polite"]);
    assert_eq!(onggi.inspect("polite", "{{.State.ExitCode}}"), "3");
    onggi.ok(["run", "-d", "--name", "deaf", "busybox", "sleep", "1000"]);
    onggi.ok(["stop", "-t", "1", "deaf"]);
    assert_eq!(onggi.inspect("deaf", "{{.State.ExitCode}} {{.State.OOMKilled}}"), "137 false");
    onggi.ok(["stop", "deaf"]);
    let usr1 = "trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done";
    onggi.ok(["run", "-d", "--name", "chosen", "--stop-signal", "SIGUSR1", "busybox", "sh", "-c", usr1]);
    onggi.spawn(["logs", "-f", "chosen"]).expect("ready");
    onggi.ok(["stop", "chosen"]);
    assert_eq!(onggi.inspect("chosen", "{{.State.ExitCode}}"), "4");
}

#[test]
fn another_program_goes_on_in_its_place() {
    let onggi = busybox();
    let installed = std::path::Path::new(env!("CARGO_BIN_EXE_onggi")).with_file_name("onggi-monitor");
    let older = onggi.file("older");
    fs::copy(&installed, &older).expect("a copy");
    let script = "echo ready; while read x; do echo $x; done; exit 6";
    let words = ["run", "-i", "--name", "jar", "busybox", "sh", "-c", script];
    let mut run = onggi.command(words).env("ONGGI_MONITOR", &older).piped().spawn();
    run.expect("ready");
    let program = || {
        let link = fs::read_link(format!("/proc/{}/exe", onggi.monitor("jar").pid)).expect("a program");
        link.file_name().expect("a name").to_os_string()
    };
    let before = onggi.monitor("jar").pid;
    assert_eq!(program(), "older");
    let mut input = run.stdin();
    let lines: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    let half = lines.len() / 2;
    std::io::Write::write_all(&mut input, &lines.as_bytes()[..half]).expect("a pipe");
    assert_eq!(onggi.ok(["system", "upgrade"]), "jar");
    assert_eq!(
        (program(), onggi.monitor("jar").pid),
        (installed.file_name().expect("a name").into(), before)
    );
    std::io::Write::write_all(&mut input, &lines.as_bytes()[half..]).expect("a pipe");
    drop(input);
    let output = run.wait().code(6);
    assert_eq!(output.stdout, format!("ready\n{lines}"));
    assert_eq!(onggi.ok(["logs", "jar"]).lines().count(), 20_001);
    onggi.fails(["system", "upgrade", "jar"]).code(1).says("is not running");
    // There would be no way back from a program that is none.
    onggi.ok(["run", "-d", "--name", "next", "busybox", "sleep", "1000"]);
    for (stranger, words) in [("/bin/true", "is no monitor"), ("/bin/false", "cannot go on from")] {
        let upgrade = onggi.command(["system", "upgrade", "next"]).env("ONGGI_MONITOR", stranger);
        upgrade.output().code(1).says(words);
    }
    assert_eq!(onggi.inspect("next", "{{.State.Running}}"), "true");
    onggi.ok(["rm", "-f", "next"]);
    assert_eq!(onggi.ok(["system", "upgrade"]), "");
}
