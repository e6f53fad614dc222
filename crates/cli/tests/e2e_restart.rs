//! Restart policies: who is started again, how often, and what ends it.

mod common;

use std::time::Duration;

use common::busybox;
use onggi_testkit::TestEnv;

/// Starts `script` in a container "jar" under a policy and follows its starts.
fn jar(onggi: &TestEnv, policy: &str, script: &str) -> onggi_testkit::Child {
    let starts = onggi.events(&["event=start"]);
    onggi.ok(["run", "-d", "--name", "jar", "--restart", policy, "busybox", "sh", "-c", script]);
    starts
}

fn lives(starts: &mut onggi_testkit::Child, count: usize) {
    for _ in 0..count {
        starts.expect("container start");
    }
}

#[test]
fn a_failure_is_tried_again_as_often_as_was_said() {
    let onggi = busybox();
    let mut deaths = onggi.events(&["event=die"]);
    let mut starts = jar(&onggi, "on-failure:2", "echo life; exit 3");
    lives(&mut starts, 3);
    for _ in 0..3 {
        deaths.expect("exitCode=3");
    }
    assert_eq!(onggi.ok(["wait", "jar"]), "3");
    assert_eq!(
        onggi.inspect("jar", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}"),
        "exited 3 2 on-failure 2"
    );
    assert_eq!(onggi.ok(["logs", "jar"]), "life\nlife\nlife");
    // Who starts it begins anew.
    onggi.ok(["start", "jar"]);
    lives(&mut starts, 3);
    for _ in 0..3 {
        deaths.expect("exitCode=3");
    }
    onggi.ok(["run", "--name", "well", "--restart", "on-failure", "busybox", "true"]);
    assert_eq!(onggi.inspect("well", "{{.State.Status}} {{.RestartCount}}"), "exited 0");
}

#[test]
fn a_stop_is_the_last_end() {
    let onggi = busybox();
    let mut starts = jar(&onggi, "always", "exec sleep 1000");
    lives(&mut starts, 1);
    let first = onggi.first_process("jar");
    first.kill();
    lives(&mut starts, 1);
    assert_ne!(onggi.first_process("jar").pid, first.pid);
    assert_eq!(onggi.inspect("jar", "{{.RestartCount}} {{.State.Running}} {{.State.ExitCode}}"), "1 true 0");
    onggi.ok(["exec", "jar", "true"]);
    let mut stops = onggi.events(&["event=stop"]);
    onggi.ok(["stop", "-t", "0", "jar"]);
    stops.expect("stop");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "exited");
    // A signal that does not mean the end does not end the policy; SIGKILL does.
    onggi.ok(["start", "jar"]);
    lives(&mut starts, 1);
    onggi.ok(["kill", "-s", "USR1", "jar"]);
    onggi.first_process("jar").kill();
    lives(&mut starts, 1);
    onggi.ok(["kill", "jar"]);
    assert_eq!(onggi.ok(["wait", "jar"]), "137");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}}"), "exited");
}

#[test]
fn what_waits_for_its_next_life_can_be_stopped_killed_and_removed() {
    let onggi = busybox();
    let hour = ["--restart", "always", "busybox", "false"];
    for (name, act) in [("one", &["stop"] as &[&str]), ("two", &["kill"]), ("three", &["rm", "-f"])] {
        let mut deaths = onggi.events(&["event=die", &format!("container={name}")]);
        onggi.ok(["run", "-d", "--name", name].iter().chain(&hour));
        // By the fifth end the pause is 1.6 s.
        for _ in 0..5 {
            deaths.expect("exitCode=1");
        }
        assert_eq!(
            onggi.inspect(name, "{{.State.Status}} {{.State.Restarting}} {{.State.Running}}"),
            "restarting true true"
        );
        assert!(onggi.ok(["ps", "--format", "{{.Names}} {{.Status}}"]).contains("Restarting (1)"));
        onggi.fails(["exec", name, "true"]).says("is restarting, wait until the container is running");
        onggi.fails(["pause", name]).says("is restarting, wait until the container is running");
        onggi.fails(["attach", name]).says("is restarting, wait until the container is running");
        onggi.ok(act.iter().chain(&[name]));
        if name != "three" {
            assert_eq!(
                onggi.inspect(name, "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}"),
                "exited 1 5"
            );
        }
    }
}

#[test]
fn whoever_waits_or_is_attached_sees_the_end_of_this_life() {
    let onggi = busybox();
    let output = onggi
        .run(["run", "--name", "jar", "--restart", "always", "busybox", "sh", "-c", "echo life; exit 4"])
        .code(4);
    assert_eq!(output.stdout, "life\n");
    onggi.ok(["rm", "-f", "jar"]);
    // With a terminal, which is new for each life.
    let mut starts = onggi.events(&["event=start", "container=tty"]);
    onggi.ok([
        "run",
        "-dt",
        "--name",
        "tty",
        "--restart",
        "unless-stopped",
        "busybox",
        "sh",
        "-c",
        "tty; exec sleep 1000",
    ]);
    lives(&mut starts, 1);
    let waiter = onggi.spawn(["wait", "tty"]);
    // It may come to the monitor only after the first of these ends; the life that it comes in is the one whose end it sees.
    while !waiter.process.ends_within(Duration::ZERO) {
        onggi.first_process("tty").kill();
        lives(&mut starts, 1);
    }
    assert_eq!(waiter.wait().stdout, "137\n");
    let mut log = onggi.spawn(["logs", "-f", "tty"]);
    log.expect("/dev/pts/0");
    log.expect("/dev/pts/0");
}

#[test]
fn a_policy_outlives_the_monitor() {
    let onggi = busybox();
    let mut starts = jar(&onggi, "always", "exec sleep 1000");
    lives(&mut starts, 1);
    // The container lives on: the next command adopts it, and its new monitor knows the policy.
    onggi.monitor("jar").kill();
    let first = onggi.first_process("jar");
    onggi.ok(["exec", "jar", "true"]);
    first.kill();
    lives(&mut starts, 1);
    assert_eq!(onggi.inspect("jar", "{{.RestartCount}}"), "1");
    // Both gone at once, as after a power cut: the next command starts it.
    let (monitor, first) = (onggi.monitor("jar"), onggi.first_process("jar"));
    monitor.kill();
    first.kill();
    assert!(onggi.ok(["ps", "--format", "{{.Names}} {{.Status}}"]).starts_with("jar Up"));
    lives(&mut starts, 1);
    assert_eq!(onggi.inspect("jar", "{{.RestartCount}} {{.State.Running}}"), "2 true");
    // The monitor gone between two lives.
    onggi.ok(["rm", "-f", "jar"]);
    let mut deaths = onggi.events(&["event=die"]);
    onggi.ok(["run", "-d", "--name", "pot", "--restart", "on-failure:4", "busybox", "false"]);
    let monitor = std::fs::read_to_string(
        onggi.run_root().join("sandboxes").join(onggi.inspect("pot", "{{.Id}}")).join("monitor.json"),
    );
    for _ in 0..4 {
        deaths.expect("exitCode=1");
    }
    let monitor: serde_json::Value = serde_json::from_str(&monitor.expect("it runs")).expect("JSON");
    let pid = monitor["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a number");
    onggi_testkit::Process::open(pid).expect("it waits 0.8 s").kill();
    onggi.ok(["ps"]);
    deaths.expect("exitCode=1");
    onggi.ok(["wait", "pot"]);
    assert_eq!(onggi.inspect("pot", "{{.State.Status}} {{.RestartCount}}"), "exited 4");
}

#[test]
fn a_policy_changes_while_it_runs() {
    let onggi = busybox();
    let mut starts = jar(&onggi, "no", "exec sleep 1000");
    lives(&mut starts, 1);
    onggi.ok(["update", "--restart", "always", "-m", "64m", "--memory-swap", "64m", "jar"]);
    onggi.first_process("jar").kill();
    lives(&mut starts, 1);
    let usage = onggi.ok(["stats", "--no-stream", "--format", "{{.MemUsage}}", "jar"]);
    assert!(usage.ends_with(" / 64MiB"), "the new limit holds in the new life: {usage}");
    onggi.ok(["update", "--restart", "no", "jar"]);
    onggi.first_process("jar").kill();
    assert_eq!(onggi.ok(["wait", "jar"]), "137");
    assert_eq!(onggi.inspect("jar", "{{.State.Status}} {{.RestartCount}}"), "exited 1");
}

#[test]
fn a_new_start_that_fails_is_the_last() {
    let onggi = busybox();
    let directory = onggi.file("bind");
    std::fs::create_dir_all(&directory).expect("a directory");
    let bind = format!("{}:/mnt", directory.display());
    let mut deaths = onggi.events(&["event=die"]);
    onggi.ok([
        "run",
        "-d",
        "--name",
        "jar",
        "--restart",
        "always",
        "-v",
        &bind,
        "busybox",
        "sh",
        "-c",
        "read line </mnt/fifo",
    ]);
    deaths.expect("exitCode=1");
    std::fs::remove_dir(&directory).expect("it is empty");
    assert!(!onggi.ok(["wait", "jar"]).is_empty());
    let mut state = String::new();
    for _ in 0..3 {
        state = onggi.inspect("jar", "{{.State.Status}}");
        if state == "exited" {
            break;
        }
        onggi.ok(["wait", "jar"]);
    }
    assert_eq!(state, "exited");
    assert!(
        onggi.inspect("jar", "{{.State.Error}}").contains("bind"),
        "{}",
        onggi.inspect("jar", "{{.State.Error}}")
    );
}

#[test]
fn what_cannot_go_together() {
    let onggi = busybox();
    let mut text = String::new();
    onggi.ok(["create", "--name", "other", "busybox", "true"]);
    for flags in [
        &["--rm", "--restart", "always"] as &[&str],
        &["--restart", "foo"],
        &["--restart", "always:3"],
        &["--restart", "on-failure:x"],
        &["--pid", "container:other", "--restart", "always"],
    ] {
        let output = onggi.fails(["run"].iter().chain(flags).chain(&["busybox", "true"]));
        text += &format!("$ onggi run {}  # {}\n{}", flags.join(" "), output.code, output.stderr);
    }
    onggi.ok(["create", "--rm", "--name", "goes", "busybox", "true"]);
    let output = onggi.fails(["update", "--restart", "always", "goes"]);
    text += &format!("$ onggi update --restart always goes  # {}\n{}", output.code, output.stderr);
    insta::assert_snapshot!(text);
}
