//! Limits that bite, on whichever cgroup version the machine has: `guest/run e2e_limits` runs this file on version 2.

mod common;

use std::fs;

use common::busybox;
use onggi_testkit::TestEnv;

/// Reads 100 MB into one buffer.
const HUNGRY: [&str; 4] = ["dd", "if=/dev/zero", "of=/dev/null", "bs=100M"];

fn hungry(onggi: &TestEnv, flags: &[&str]) -> i32 {
    onggi.run(["run"].iter().chain(flags).chain(&["busybox"]).chain(&HUNGRY).chain(&["count=1"])).code
}

#[test]
fn a_program_that_takes_too_much_memory_is_killed_and_it_is_said_why() {
    let onggi = busybox();
    let mut events = onggi.events(&["event=oom"]);
    assert_eq!(hungry(&onggi, &["--name", "hungry", "-m", "64m"]), 137);
    assert_eq!(onggi.inspect("hungry", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    events.expect("oom");
    assert_eq!(hungry(&onggi, &["--name", "fed", "-m", "256m"]), 0);
    assert_eq!(onggi.inspect("fed", "{{.State.OOMKilled}}"), "false");
}

#[test]
fn a_child_that_is_killed_for_memory_counts_too() {
    let onggi = busybox();
    let script = format!("{} count=1; echo survived", HUNGRY.join(" "));
    let output = onggi.run(["run", "--name", "parent", "-m", "64m", "busybox", "sh", "-c", &script]).code(0);
    assert_eq!(output.stdout, "survived\n");
    assert_eq!(onggi.inspect("parent", "{{.State.OOMKilled}}"), "true");
}

#[test]
fn half_a_processor_is_half_a_processor_measured() {
    let onggi = busybox();
    let script = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
    let run = ["run", "--rm", "--cpus", "0.5", "busybox", "time", "-p", "sh", "-c", script];
    let times = onggi.run(run).code(0).stderr;
    let seconds = |name: &str| -> f64 {
        let line = times
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("no {name}: {times}"));
        line.trim().parse().expect("seconds")
    };
    let share = (seconds("user") + seconds("sys")) / seconds("real");
    // A busy machine may give less, never more; a period at each end may be whole.
    assert!((0.1..0.65).contains(&share), "{share:.2} of a processor: {times}");
}

#[test]
fn a_fork_bomb_meets_the_limit() {
    let onggi = busybox();
    let bomb = "bomb() { bomb | bomb & }; bomb; exec sleep 1000";
    onggi.ok(["run", "-d", "--name", "bomb", "--pids-limit", "20", "busybox", "sh", "-c", bomb]);
    let mut log = onggi.spawn(["logs", "-f", "bomb"]);
    log.expect_error("can't fork");
    let first = onggi.first_process("bomb");
    let directory = hierarchies(&first.read("cgroup"))
        .into_iter()
        .find(|(names, _)| names.contains("pids") || names.is_empty());
    let (names, path) = directory.expect("a pids controller");
    let root = if names.is_empty() { v2_root() } else { "/sys/fs/cgroup/pids".to_owned() };
    let number: u32 = fs::read_to_string(format!("{root}{path}/pids.current"))
        .expect("pids.current")
        .trim()
        .parse()
        .expect("a number");
    assert!(number <= 20, "{number} processes");
    onggi.ok(["rm", "-f", "bomb"]);
    log.wait();
}

#[test]
fn each_hierarchy_has_a_cgroup_of_the_container_s_own() {
    let onggi = busybox();
    let id = onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let first = onggi.first_process("jar");
    let layout = onggi_cgroup::detect().expect("cgroups");
    for (names, path) in hierarchies(&first.read("cgroup")) {
        if !layout.unmounted(&format!("1:{names}:{path}")).is_empty() {
            continue;
        }
        assert!(path.ends_with(&format!("/onggi/{id}")), "hierarchy {names:?}: {path}");
    }
    // From inside it is the root: the container does not learn where it stands on the host.
    for (names, path) in hierarchies(&onggi.ok(["exec", "jar", "cat", "/proc/self/cgroup"])) {
        assert_eq!(path, "/", "hierarchy {names:?}");
    }
    for (names, path) in hierarchies(&onggi.monitor("jar").read("cgroup")) {
        assert!(!path.contains(&id), "the monitor is not in the container's cgroup: {names} {path}");
    }
}

#[test]
fn limits_can_be_read_where_they_were_written() {
    let onggi = busybox();
    let flags = ["-m", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "33"];
    onggi.ok(["run", "-d", "--name", "jar"].iter().chain(&flags).chain(&["busybox", "sleep", "1000"]));
    let format =
        "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}} {{.HostConfig.PidsLimit}}";
    assert_eq!(onggi.inspect("jar", format), "67108864 500000000 512 33");
    let read = |v2: &str, v1: &str| {
        let script = format!("cat /sys/fs/cgroup/{v2} 2>/dev/null || cat /sys/fs/cgroup/{v1}");
        onggi.ok(["exec", "jar", "sh", "-c", &script])
    };
    assert_eq!(read("memory.max", "memory/memory.limit_in_bytes"), "67108864");
    assert_eq!(read("pids.max", "pids/pids.max"), "33");
    let quota = read("cpu.max", "cpu/cpu.cfs_quota_us");
    assert!(quota == "50000 100000" || quota == "50000", "{quota}");
}

#[test]
fn processors_can_be_chosen_where_the_kernel_can() {
    let onggi = busybox();
    let controllers = fs::read_to_string("/proc/cgroups").expect("/proc/cgroups");
    let run = ["run", "--rm", "--cpuset-cpus", "0", "busybox", "nproc"];
    if controllers.lines().any(|line| line.starts_with("cpuset")) {
        assert_eq!(onggi.ok(run), "1");
    } else {
        // A limit that the host cannot apply is refused by name, never dropped.
        onggi.run(run).code(125).says("cpuset");
        assert_eq!(onggi.ok(["ps", "-aq"]), "", "--rm takes what could not start");
    }
}

#[test]
fn impossible_limits_are_refused() {
    let onggi = busybox();
    onggi.run(["run", "--rm", "-m", "1k", "busybox", "true"]).code(125);
    onggi.run(["run", "--rm", "--cpuset-cpus", "4000", "busybox", "true"]).code(125);
    onggi.run(["run", "--rm", "--cpus", "4000", "busybox", "true"]).code(125);
    assert_eq!(onggi.ok(["ps", "-aq"]), "");
}

/// The lines of a /proc/PID/cgroup: controllers and path.
fn hierarchies(text: &str) -> Vec<(String, String)> {
    let fields = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    fields.map(|(names, path)| (names.to_owned(), path.to_owned())).collect()
}

fn v2_root() -> String {
    let root =
        if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default() { "" } else { "/unified" };
    format!("/sys/fs/cgroup{root}")
}

#[test]
fn a_parent_that_is_somebody_else_s_stays_and_no_other() {
    let onggi = busybox();
    let roots: Vec<std::path::PathBuf> = match onggi_cgroup::detect().expect("cgroups") {
        onggi_cgroup::Layout::V2 { root, .. } => vec![root],
        onggi_cgroup::Layout::V1 { hierarchies, unified } => {
            hierarchies.into_iter().map(|hierarchy| hierarchy.root).chain(unified).collect()
        }
    };
    let name = format!("onggi-test-{}", std::process::id());
    let theirs = roots[0].join(&name);
    std::fs::create_dir(&theirs).expect("a cgroup");
    let parent = format!("/{name}/inner");
    onggi.ok(["run", "--rm", "--cgroup-parent", &parent, "busybox", "true"]);
    let left: Vec<_> = roots.iter().map(|root| root.join(&name)).filter(|cgroup| cgroup.exists()).collect();
    std::fs::remove_dir(&theirs).expect("an empty cgroup");
    assert_eq!(left, [theirs]);
}
