//! Limits that change, on whichever cgroup version the machine has: `guest/run e2e_update` runs this file on version 2.

mod common;

use std::fmt::Write as _;

use common::busybox;

/// Reads 50 MB into one buffer.
const HUNGRY: [&str; 5] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=50M", "count=1"];

#[test]
fn a_container_that_runs_gets_other_limits() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "-m", "32m", "--pids-limit", "5", "busybox", "sleep", "1000"]);
    let mut events = onggi.events(&["event=update"]);
    let dd = || onggi.run(["exec", "jar"].iter().chain(&HUNGRY)).code;
    assert_ne!(dd(), 0, "32 MiB are too few");
    assert_eq!(onggi.ok(["update", "-m", "128m", "--memory-swap", "128m", "jar"]), "jar");
    events.expect("update");
    assert_eq!(dd(), 0, "128 MiB are enough");
    let limit = || onggi.ok(["stats", "--no-stream", "--format", "{{.MemUsage}}", "jar"]);
    assert!(limit().ends_with(" / 128MiB"), "{}", limit());
    // Six processes at once.
    let forks = "for i in 1 2 3 4 5; do sleep 5 & done; kill -9 $(jobs -p)";
    onggi.fails(["exec", "jar", "sh", "-c", forks]);
    onggi.ok(["update", "--pids-limit", "-1", "--cpus", "0.5", "--cpu-shares", "100", "jar"]);
    onggi.ok(["exec", "jar", "sh", "-c", forks]);
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}";
    assert_eq!(onggi.inspect("jar", format), "134217728 134217728 500000000 100 <no value>");
    // The next start is made of the same.
    onggi.ok(["restart", "-t", "0", "jar"]);
    assert!(limit().ends_with(" / 128MiB"), "{}", limit());
}

#[test]
fn one_that_does_not_run_and_many_at_once() {
    let onggi = busybox();
    onggi.ok([
        "create",
        "--name",
        "new",
        "busybox",
        "cat",
        "/sys/fs/cgroup/pids/pids.max",
        "/sys/fs/cgroup/pids.max",
    ]);
    onggi.ok(["run", "-d", "--name", "runs", "busybox", "sleep", "1000"]);
    assert_eq!(onggi.ok(["update", "--pids-limit", "12", "new", "runs"]), "new\nruns");
    assert_eq!(onggi.run(["start", "-a", "new"]).stdout, "12\n");
    let output =
        onggi.fails(["update", "--pids-limit", "13", "nothing", "runs"]).code(1).says("No such container");
    assert_eq!(output.stdout, "runs\n");
}

#[test]
fn what_does_not_go_together_is_refused() {
    let onggi = busybox();
    let lines: [&[&str]; 9] = [
        &["--memory", "128m", "jar"],
        &["--memory", "1m", "jar"],
        &["--cpu-period", "50000", "jar"],
        &["--cpus", "1000", "jar"],
        &["--memory-swap", "16m", "jar"],
        &["--blkio-weight", "5", "jar"],
        &["--kernel-memory", "16m", "jar"],
        &["jar"],
        &[],
    ];
    onggi.ok(["run", "-d", "--name", "jar", "-m", "32m", "--cpus", "0.5", "busybox", "sleep", "1000"]);
    let before = onggi.ok(["inspect", "-f", "{{json .HostConfig}}", "jar"]);
    let mut text = String::new();
    for words in lines {
        let output = onggi.fails(["update"].iter().chain(words));
        let _ = writeln!(text, "$ onggi update {}  # {}\n{}", words.join(" "), output.code, output.stderr);
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let (range, count) = (format!("0.01 to {processors}.00"), format!("only {processors} CPUs"));
    let id = onggi.inspect("jar", "{{.Id}}");
    insta::assert_snapshot!(
        text.replace(&id[..12], "ID").replace(&range, "0.01 to N.00").replace(&count, "only N CPUs")
    );
    assert_eq!(onggi.ok(["inspect", "-f", "{{json .HostConfig}}", "jar"]), before);
}

#[test]
fn what_the_kernel_refuses_is_taken_back() {
    let onggi = busybox();
    let fill = "dd if=/dev/zero of=/dev/shm/some bs=1M count=32 2>/dev/null; echo full; exec sleep 1000";
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sh", "-c", fill]);
    onggi.spawn(["logs", "-f", "jar"]).expect("full");
    let output = onggi.run(["update", "--pids-limit", "9", "-m", "8m", "--memory-swap", "8m", "jar"]);
    let is_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if output.code == 0 || is_v2 {
        // Version 2 takes a limit below the use, and kills: perhaps before the update has been answered.
        assert_eq!(onggi.ok(["wait", "jar"]), "137");
        assert_eq!(onggi.inspect("jar", "{{.State.OOMKilled}}"), "true");
        return;
    }
    let usage = onggi.ok(["stats", "--no-stream", "--format", "{{.MemUsage}}", "jar"]);
    assert!(!usage.ends_with("/ 8MiB"), "{usage}");
    assert_eq!(onggi.inspect("jar", "{{.HostConfig.Memory}}"), "0");
    onggi.ok([
        "exec",
        "jar",
        "sh",
        "-c",
        "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done; kill -9 $(jobs -p)",
    ]);
}
