//! On the real v1 hierarchies of this machine, as root: limits that bite, processes that end, nothing left behind.
#![allow(clippy::print_stdout)] // a skipped test says so

mod common;

use common::{Group, becomes_readable, may_run, resources};
use onggi_cgroup::{Cgroup, Error, Layout};

/// The host's layout, if it is v1 and the tests may run.
fn v1() -> Option<Layout> {
    match onggi_cgroup::detect() {
        Ok(layout @ Layout::V1 { .. }) if may_run() => Some(layout),
        Ok(Layout::V1 { .. }) => None,
        _ => {
            println!("skipped: no cgroup v1 here");
            None
        }
    }
}

/// The process inside, when another test has started this program; by itself it is nothing.
#[test]
fn inside() {
    common::inside();
}

#[test]
fn a_process_joins_every_hierarchy() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "join", "{}");
    let lines = group.spawn("show").lines();
    let Layout::V1 { hierarchies, unified } = &layout else { return };
    let (joined, others): (Vec<_>, Vec<_>) = lines.iter().partition(|line| line.ends_with(&group.path));
    assert_eq!(joined.len(), hierarchies.len() + usize::from(unified.is_some()), "{lines:?}");
    let unmounted = layout.unmounted(&lines.join("\n"));
    for line in others {
        let names = line.split(':').nth(1).unwrap();
        assert!(names.is_empty() || unmounted.iter().any(|name| name == names), "{line}");
    }
}

#[test]
fn a_hierarchy_that_is_mounted_nowhere_is_left_out() {
    let Some(Layout::V1 { hierarchies, .. }) = v1() else { return };
    // The kernel keeps it, and every process has a line for it, but nobody in this mount namespace reaches it.
    let status = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", "umount \"$0\" && exec \"$@\""])
        .arg(&hierarchies.last().unwrap().root)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_joins_every_hierarchy"])
        .status();
    assert!(status.unwrap().success());
}

#[test]
fn memory_beyond_the_limit_is_death_and_counted() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "oom", r#"{"memory": {"limit": 33554432, "swap": 33554432}}"#);
    let watch = group.get().watch_oom().unwrap();
    assert_eq!(group.get().oom_kills().unwrap(), 0);
    let mut inside = group.spawn("eat");
    inside.go_on();
    assert_eq!((inside.signal(), inside.line()), (Some(9), None));
    assert!(becomes_readable(&watch));
    assert_eq!(group.get().oom_kills().unwrap(), 1);
    let stats = group.get().stats().unwrap();
    assert_eq!(stats.memory.limit, Some(33554432));
    assert!(stats.memory.peak.unwrap() > 30 << 20, "{stats:?}");
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "pids", r#"{"pids": {"limit": 8}}"#);
    // The test program has two threads. 11 is EAGAIN.
    assert_eq!(group.spawn("fork").lines(), ["6 Some(11)"]);
    assert_eq!(group.get().stats().unwrap().pids.limit, Some(8));
}

#[test]
fn a_fifth_of_a_processor_is_a_fifth() {
    let Some(layout) = v1() else { return };
    // Its shares let it come to its limit also on a machine that others keep busy.
    let group = Group::new(&layout, "cpu", r#"{"cpu": {"quota": 10000, "period": 50000, "shares": 200000}}"#);
    let lines = group.spawn("burn").lines();
    let milliseconds: u32 = lines[0].parse().unwrap();
    assert!(milliseconds >= 130, "60 ms of work took {milliseconds} ms");
    let cpu = group.get().stats().unwrap().cpu;
    assert!(cpu.throttled > 0 && cpu.throttled_periods > 0 && cpu.usage >= 50_000_000, "{cpu:?}");
}

#[test]
fn devices_outside_the_list_cannot_be_opened() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "devices", r#"{"devices": [{"allow": false}]}"#);
    // 1 is EPERM.
    let expected = ["/dev/null Ok(())", "/dev/zero Ok(())", "/dev/kmsg Err(Some(1))"];
    assert_eq!(group.spawn("devices").lines(), expected);
    let group = Group::new(
        &layout,
        "devices-one",
        r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#,
    );
    assert_eq!(group.spawn("devices").lines()[2], "/dev/kmsg Ok(())");
}

#[test]
fn everything_in_the_group_is_killed_and_the_group_removed() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "kill", "{}");
    let mut inside = group.spawn("family");
    let grandchild: u32 = inside.line().unwrap().parse().unwrap();
    let pids = group.get().pids().unwrap();
    assert!(pids.contains(&inside.child.id()) && pids.contains(&grandchild), "{pids:?}");
    // A group of the container's own beneath, with a process in it.
    let beneath = Cgroup::open(&layout, &group.path).unwrap();
    let nested = format!("{}/nested", group.path);
    onggi_cgroup::plan(&layout, &nested, &resources("{}")).unwrap().create().unwrap();
    let mut second = common::spawn(&nested, "wait");
    assert_eq!(second.line().as_deref(), Some("ready"));
    assert!(beneath.pids().unwrap().contains(&second.child.id()));

    group.get().kill().unwrap();
    assert!(group.get().pids().unwrap().is_empty());
    assert_eq!((inside.signal(), second.signal()), (Some(9), Some(9)));
    beneath.remove().unwrap();
    assert!(matches!(Cgroup::open(&layout, &group.path), Err(Error::Missing { .. })));
}

#[test]
fn a_frozen_process_waits_until_it_is_let_go() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "freeze", "{}");
    let mut inside = group.spawn("wait");
    assert_eq!(inside.line().as_deref(), Some("ready"));
    group.get().freeze(true).unwrap();
    inside.go_on();
    // `D` would be an uninterruptible sleep: v1's freezer looks like that.
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", inside.child.id())).unwrap();
    assert!(state().contains(") D "), "{}", state());
    group.get().freeze(false).unwrap();
    assert_eq!(inside.line().as_deref(), Some("went on"));

    let mut inside = group.spawn("wait");
    assert_eq!(inside.line().as_deref(), Some("ready"));
    group.get().freeze(true).unwrap();
    group.get().kill().unwrap();
    assert_eq!(inside.signal(), Some(9), "frozen processes can be killed");
}

#[test]
fn limits_are_raised_and_lowered_while_it_lives() {
    let Some(layout) = v1() else { return };
    let group = Group::new(
        &layout,
        "update",
        r#"{"memory": {"limit": 33554432, "swap": 33554432}, "pids": {"limit": 5}}"#,
    );
    for (limit, swap) in [(67108864u64, 134217728u64), (16777216, 16777216), (134217728, 134217728)] {
        let json = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}, "cpu": {{"shares": 512}}}}"#);
        group.get().update(&resources(&json)).unwrap();
        assert_eq!(group.get().stats().unwrap().memory.limit, Some(limit));
    }
    assert_eq!(group.get().stats().unwrap().pids.limit, Some(5), "what is not named stays");
    let error = group.get().update(&resources(r#"{"devices": []}"#)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
}

#[test]
fn creating_again_after_a_crash_is_allowed_and_taking_over_is_not() {
    let Some(layout) = v1() else { return };
    let group = Group::new(&layout, "again", "{}");
    let plan = onggi_cgroup::plan(&layout, &group.path, &resources(r#"{"pids": {"limit": 3}}"#)).unwrap();
    plan.create().unwrap();
    let mut inside = group.spawn("wait");
    assert_eq!(inside.line().as_deref(), Some("ready"));
    let error = plan.create().unwrap_err();
    assert!(matches!(error, Error::NotEmpty { count: 1, .. }), "{error}");
    // A removal that comes while the last process is ending waits for it.
    let removal = plan.open().unwrap();
    let removal = std::thread::spawn(move || removal.remove());
    drop(inside.child.stdin.take());
    removal.join().unwrap().unwrap();
    assert!(inside.child.wait().unwrap().success());
}

#[test]
fn limits_that_hang_together_change_in_whichever_order_they_can() {
    let Some(layout) = v1() else { return };
    let group = Group::new(
        &layout,
        "order",
        r#"{"memory": {"limit": 33554432, "swap": 67108864}, "cpu": {"quota": 500000, "period": 1000000}}"#,
    );
    let read = |controller: &str, file: &str| {
        let Layout::V1 { hierarchies, .. } = &layout else { unreachable!("asked for version 1") };
        let has = |hierarchy: &&onggi_cgroup::Hierarchy| {
            hierarchy.controllers.iter().any(|name| name == controller)
        };
        let root = &hierarchies.iter().find(has).unwrap().root;
        let text = std::fs::read_to_string(root.join(group.path.trim_start_matches('/')).join(file)).unwrap();
        text.trim().parse::<i64>().unwrap()
    };
    // Up past the sum, down below the part, and up again.
    for (limit, swap) in [(134217728, 268435456), (16777216, 33554432), (67108864, 67108864)] {
        let json = format!(r#"{{"memory": {{"limit": {limit}, "swap": {swap}}}}}"#);
        group.get().update(&resources(&json)).unwrap();
        assert_eq!(read("memory", "memory.limit_in_bytes"), limit);
        assert_eq!(read("memory", "memory.memsw.limit_in_bytes"), swap);
    }
    // Half a processor above it: the new period is too short for the old quota.
    let parent = group.path.rsplit_once('/').unwrap().0;
    let pod = Cgroup::open(&layout, parent).unwrap();
    pod.update(&resources(r#"{"cpu": {"quota": 50000, "period": 100000}}"#)).unwrap();
    group.get().update(&resources(r#"{"cpu": {"quota": 3000, "period": 10000}}"#)).unwrap();
    assert_eq!((read("cpu", "cpu.cfs_quota_us"), read("cpu", "cpu.cfs_period_us")), (3000, 10000));
    // What goes in no order is refused.
    let error = group.get().update(&resources(r#"{"cpu": {"quota": 9000, "period": 10000}}"#)).unwrap_err();
    assert!(matches!(error, Error::Write { .. }), "{error}");
}
