//! A full disk under running containers: what they were and how they ended is not lost, and everything can still be taken away.

mod common;

use std::io::Write;

use onggi_testkit::TestEnv;

/// Ends with 7 when it is told to.
const ENDS_WITH_7: &str = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";

fn on_small_disk() -> TestEnv {
    TestEnv::on_small_disk(env!("CARGO_BIN_EXE_onggi"), 48)
}

/// A container that says "ready" when it listens to SIGTERM.
fn start(onggi: &TestEnv, name: &str) {
    onggi.ok(["run", "-d", "--name", name, "busybox", "sh", "-c", ENDS_WITH_7]);
    onggi.spawn(["logs", "-f", name]).expect("ready");
}

#[test]
fn the_exit_code_waits_for_room() {
    let onggi = on_small_disk();
    start(&onggi, "jar");
    let monitor = onggi.monitor("jar");
    onggi.fill_disk();
    onggi.ok(["stop", "jar"]);
    assert_eq!(onggi.ok(["wait", "jar"]), "7");
    assert!(onggi.ok(["ps", "-a", "--format", "{{.Status}}"]).starts_with("Exited (7) "));
    assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.State.ExitCode}}"), "exited 7");
    assert_eq!(
        onggi.inspect("jar", "{{.State.Error}}"),
        "this state is not on the disk yet, which is full or fails"
    );
    let refused = onggi.fails(["start", "jar"]);
    assert!(refused.stderr.contains("the disk does not take how"), "{refused}");

    onggi.empty_disk();
    // The events that waited come with the state, and the monitor goes.
    onggi.events(&["event=die"]).expect("exitCode=7");
    assert!(monitor.ends_within(onggi_testkit::PATIENCE));
    assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}}{{.State.Error}}"), "7");
    assert_eq!(onggi.ok(["wait", "jar"]), "7");
    onggi.ok(["start", "jar"]);
    onggi.ok(["rm", "-f", "jar"]);
    onggi.ok(["system", "check"]);
}

#[test]
fn the_exit_code_outlives_the_monitor_too() {
    let onggi = on_small_disk();
    start(&onggi, "jar");
    let monitor = onggi.monitor("jar");
    onggi.fill_disk();
    onggi.ok(["stop", "jar"]);
    monitor.kill();
    assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}}"), "7");
    onggi.empty_disk();
    assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}}"), "7");
    // Whoever looked has written it: nothing under the run root is needed any more.
    assert!(!onggi.run_root().join("sandboxes").join(onggi.inspect("jar", "{{.Id}}")).exists());
    assert_eq!(onggi.inspect("jar", "{{.State.ExitCode}} {{.State.Error}}"), "7 ");
    onggi.ok(["system", "check"]);
}

#[test]
fn what_runs_and_what_has_ended_can_be_removed() {
    let onggi = on_small_disk();
    for name in ["ended", "killed", "running"] {
        start(&onggi, name);
    }
    let monitors = ["ended", "running"].map(|name| onggi.monitor(name));
    onggi.fill_disk();
    onggi.ok(["stop", "ended", "killed"]);
    assert_eq!(onggi.ok(["ps", "--format", "{{.Names}}"]), "running");
    onggi.ok(["rm", "ended", "killed"]);
    onggi.ok(["rm", "-f", "running"]);
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    for monitor in monitors {
        assert!(monitor.ends_within(onggi_testkit::PATIENCE));
    }
    onggi.ok(["system", "check"]);
    onggi.empty_disk();
    onggi.ok(["system", "check"]);
    onggi.ok(["run", "--rm", "--name", "ended", "busybox", "true"]);
}

#[test]
fn with_rm_nothing_is_left() {
    let onggi = on_small_disk();
    let mut attached = onggi.spawn(["run", "--rm", "--name", "jar", "busybox", "sh", "-c", ENDS_WITH_7]);
    attached.expect("ready");
    onggi.ok(["run", "-d", "--rm", "--name", "alone", "busybox", "sh", "-c", ENDS_WITH_7]);
    onggi.spawn(["logs", "-f", "alone"]).expect("ready");
    let monitor = onggi.monitor("alone");
    onggi.fill_disk();
    onggi.ok(["stop", "jar", "alone"]);
    assert_eq!(attached.wait().code, 7);
    assert!(monitor.ends_within(onggi_testkit::PATIENCE));
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
    onggi.ok(["system", "check"]);
}

#[test]
fn a_policy_goes_on_without_the_disk() {
    let onggi = on_small_disk();
    let script = "echo life; until [ -e /dev/shm/end ]; do sleep 0.05; done; exit 7";
    onggi.ok(["run", "-d", "--name", "jar", "--restart", "on-failure:2", "busybox", "sh", "-c", script]);
    let end_life = || {
        let first = onggi.first_process("jar");
        onggi.ok(["exec", "jar", "touch", "/dev/shm/end"]);
        assert!(first.ends_within(onggi_testkit::PATIENCE));
    };
    let becomes = |expected: &str| {
        let format = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{.State.Error}}";
        let deadline = std::time::Instant::now() + onggi_testkit::PATIENCE;
        while onggi.inspect("jar", format) != expected {
            assert!(std::time::Instant::now() < deadline, "{}", onggi.inspect("jar", format));
        }
    };
    let waits = "this state is not on the disk yet, which is full or fails";
    onggi.fill_disk();
    end_life();
    // Neither `restarting` nor the next life's `running` can be written; the count that comes with them is not lost.
    becomes(&format!("running 0 1 {waits}"));
    onggi.ok(["exec", "jar", "true"]);
    onggi.empty_disk();
    onggi.events(&["event=die"]).expect("exitCode=7");
    becomes("running 0 1 ");

    // The monitor dies over a life that the disk took no record of.
    onggi.fill_disk();
    end_life();
    becomes(&format!("running 0 2 {waits}"));
    onggi.monitor("jar").kill();
    assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.RestartCount}}"), "running 2");
    onggi.empty_disk();
    onggi.ok(["stop", "-t", "0", "jar"]);
    assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.RestartCount}}"), "exited 2");
    onggi.ok(["rm", "jar"]);
    onggi.ok(["system", "check"]);
}

#[test]
fn a_torn_log_does_not_stand_against_adoption() {
    let onggi = on_small_disk();
    let script = "echo before; until [ -e /dev/shm/go ]; do sleep 0.05; done; echo after; exit 7";
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", script]);
    onggi.spawn(["logs", "-f", "jar"]).expect("before");
    let log = onggi.data().join("containers").join(onggi.inspect("jar", "{{.Id}}")).join("log/json.log");
    onggi.monitor("jar").kill();
    onggi.fill_disk();
    // As if it had been killed in the middle of the record.
    let file = std::fs::File::options().write(true).open(&log).expect("the log");
    let whole = file.metadata().expect("its size").len();
    file.set_len(whole - 9).expect("a cut");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "running");
    onggi.ok(["exec", "jar", "true"]);
    onggi.empty_disk();
    onggi.ok(["exec", "jar", "touch", "/dev/shm/go"]);
    onggi.ok(["wait", "jar"]);
    let text = std::fs::read_to_string(&log).expect("the log");
    let [torn, after] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
    assert_eq!(torn.len() as u64, whole - 9);
    assert!(after.starts_with("{\"log\":\"after\\n\","), "{text}");
    assert_eq!(onggi.ok(["logs", "jar"]), "after");
    onggi.ok(["system", "check"]);
}

#[test]
fn the_log_says_what_it_has_lost() {
    let onggi = on_small_disk();
    let script = "echo before; read line; seq 1 5000; echo told >&2; read line; echo after; exit 7";
    let mut running =
        onggi.command(["run", "-i", "--name", "jar", "busybox", "sh", "-c", script]).piped().spawn();
    let mut input = running.stdin();
    running.expect("before");
    onggi.fill_disk();
    input.write_all(b"\n").expect("it reads");
    running.expect_error("told");
    onggi.empty_disk();
    input.write_all(b"\n").expect("it reads");
    running.expect("after");
    assert_eq!(running.wait().code, 7);
    let logs = onggi.run(["logs", "jar"]).code(0);
    assert!(logs.stdout.starts_with("before\n") && logs.stdout.ends_with("after\n"), "{logs}");
    let lost = "records of the log could not be written and are lost: No space left on device";
    assert!(logs.stderr.contains("onggi: ") && logs.stderr.contains(lost), "{logs}");
}

#[test]
fn networks_are_listed_and_what_is_full_is_named() {
    let onggi = on_small_disk();
    onggi.fill_disk();
    let listed = onggi.ok(["network", "ls", "--format", "{{.Name}} {{.Driver}}"]);
    assert_eq!(listed, "bridge bridge\nhost host\nnone null");
    let place = format!("{}/tmp/network-", onggi.data().display());
    let said = onggi.run(["run", "--rm", "busybox", "true"]).code(125).stderr;
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains(&place) || said.contains(&format!("{}/", onggi.data().display())), "{said}");
    let said = onggi.fails(["network", "create", "more"]).stderr;
    assert!(said.contains("No space left on device") && said.contains(&place), "{said}");
    onggi.empty_disk();
    assert_eq!(onggi.ok(["run", "--rm", "busybox", "echo", "well"]), "well");
    assert_eq!(onggi.ok(["network", "ls", "-q", "--no-trunc"]).split_whitespace().count(), 3);
}
