//! What containers use, on whichever cgroup version the machine has: `guest/run e2e_stats` runs this file on version 2.

mod common;

use common::busybox;

/// The only row of `stats --no-stream`, as JSON.
fn figures(onggi: &onggi_testkit::TestEnv, name: &str) -> serde_json::Value {
    let text = onggi.ok(["stats", "--no-stream", "--format", "json", name]);
    serde_json::from_str(&text).expect("an object")
}

#[test]
fn figures_are_the_containers() {
    let onggi = busybox();
    onggi.ok([
        "run",
        "-d",
        "--name",
        "busy",
        "--cpus",
        "0.5",
        "-m",
        "64m",
        "--pids-limit",
        "20",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "sleep 1000 & while :; do :; done",
    ]);
    onggi.ok(["run", "-d", "--name", "idle", "busybox", "sleep", "1000"]);
    onggi.ok(["exec", "busy", "sh", "-c", "dd if=/dev/zero of=/dev/shm/some bs=1M count=8 2>/dev/null"]);
    let busy = figures(&onggi, "busy");
    let number = |value: &serde_json::Value| -> f64 {
        value.as_str().expect("text").trim_end_matches('%').parse().expect("a number")
    };
    let share = number(&busy["CPUPerc"]);
    assert!((1.0..100.0).contains(&share), "{busy}");
    let memory = busy["MemUsage"].as_str().expect("text");
    assert!(memory.ends_with(" / 64MiB"), "{busy}");
    assert!(number(&busy["MemPerc"]) > 12.0, "8 of 64 MiB are in /dev/shm: {busy}");
    assert_eq!(busy["PIDs"], "2");
    assert_eq!((&busy["Name"], &busy["Container"]), (&"busy".into(), &"busy".into()));
    assert_eq!(busy["NetIO"], "0B / 0B");
    let idle = figures(&onggi, "idle");
    // A bridge is never quite silent.
    assert!(idle["NetIO"].as_str().is_some_and(|text| text.contains("B / ")), "{idle}");
    assert!(number(&idle["CPUPerc"]) < 50.0, "{idle}");
}

#[test]
fn those_that_run_or_all_or_some() {
    let onggi = busybox();
    assert_eq!(onggi.ok(["stats", "--no-stream"]).lines().count(), 1, "titles only");
    onggi.ok(["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    onggi.ok(["create", "--name", "waits", "busybox", "true"]);
    let names = |flags: &[&str]| {
        onggi.ok(["stats", "--no-stream", "--format", "{{.Name}}"].iter().chain(flags)).replace('\n', " ")
    };
    assert_eq!(names(&[]), "runs");
    assert_eq!(names(&["-a"]), "waits runs");
    assert_eq!(names(&["waits", "runs"]), "waits runs");
    let id = onggi.inspect("waits", "{{.Id}}");
    let text = onggi.ok(["stats", "--no-stream", "waits"]);
    insta::assert_snapshot!(text.replace(&id[..12], "SHORT-ID----"));
    assert!(onggi.ok(["stats", "--no-stream", "--no-trunc", "waits"]).contains(&id));
    onggi.fails(["stats", "--no-stream", "runs", "nothing"]).code(1).says("No such container: nothing");
}

#[test]
fn a_table_is_drawn_until_its_containers_are_gone() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--rm", "--name", "jar", "busybox", "sleep", "1000"]);
    let mut terminal = onggi.terminal(["stats", "jar"]);
    terminal.expect("jar");
    terminal.expect("\x1b[J");
    terminal.expect("\x1b[H");
    // To a pipe the tables come one after the other.
    let mut pipe = onggi.spawn(["stats", "--format", "{{.Name}}", "jar"]);
    assert_eq!((pipe.line(), pipe.line()), (Some("jar".to_owned()), Some("jar".to_owned())));
    onggi.ok(["stop", "-t", "0", "jar"]);
    assert_eq!(pipe.wait().code, 0);
    assert_eq!(terminal.wait().0, 0);
}
