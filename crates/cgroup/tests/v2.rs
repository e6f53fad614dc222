//! On a v2 host with controllers, as root; elsewhere every test says that it was skipped. `v1.rs` has the same for v1.
#![allow(clippy::print_stdout)] // a skipped test says so

mod common;

use common::{Group, becomes_readable, may_run, resources};
use onggi_cgroup::{Cgroup, Error, Layout};

/// The host's layout, if it is v2 with these controllers and the tests may run.
fn v2(controllers: &[&str]) -> Option<Layout> {
    match onggi_cgroup::detect() {
        Ok(layout @ Layout::V2 { .. }) if controllers.iter().all(|name| layout.has_controller(name)) => {
            may_run().then_some(layout)
        }
        _ => {
            println!("skipped: no cgroup v2 here with {controllers:?}");
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
fn a_process_joins() {
    let Some(layout) = v2(&[]) else { return };
    let group = Group::new(&layout, "join", "{}");
    assert_eq!(group.spawn("show").lines(), [format!("0::{}", group.path)]);
}

#[test]
fn memory_beyond_the_limit_is_death_and_counted() {
    let Some(layout) = v2(&["memory"]) else { return };
    let group = Group::new(&layout, "oom", r#"{"memory": {"limit": 33554432, "swap": -1}}"#);
    let watch = group.get().watch_oom().unwrap();
    assert_eq!(group.get().oom_kills().unwrap(), 0);
    let mut inside = group.spawn("eat");
    inside.go_on();
    assert_eq!((inside.signal(), inside.line()), (Some(9), None));
    assert!(becomes_readable(&watch));
    assert_eq!(group.get().oom_kills().unwrap(), 1);
    assert_eq!(group.get().stats().unwrap().memory.limit, Some(33554432));
}

#[test]
fn a_fork_bomb_stops_at_the_limit() {
    let Some(layout) = v2(&["pids"]) else { return };
    let group = Group::new(&layout, "pids", r#"{"pids": {"limit": 8}}"#);
    // The test program has two threads. 11 is EAGAIN.
    assert_eq!(group.spawn("fork").lines(), ["6 Some(11)"]);
    assert_eq!(group.get().stats().unwrap().pids.limit, Some(8));
}

#[test]
fn a_fifth_of_a_processor_is_a_fifth() {
    let Some(layout) = v2(&["cpu"]) else { return };
    let group = Group::new(&layout, "cpu", r#"{"cpu": {"quota": 10000, "period": 50000, "shares": 200000}}"#);
    let lines = group.spawn("burn").lines();
    let milliseconds: u32 = lines[0].parse().unwrap();
    assert!(milliseconds >= 130, "60 ms of work took {milliseconds} ms");
    let cpu = group.get().stats().unwrap().cpu;
    // A kernel in user mode has too coarse a clock for the time spent throttled.
    assert!(cpu.throttled_periods > 0 && cpu.usage >= 50_000_000, "{cpu:?}");
}

#[test]
fn a_delegated_group_keeps_its_limits() {
    let Some(layout) = v2(&["pids"]) else { return };
    let path = format!("/onggi-test-delegate-{}", std::process::id());
    let plan = onggi_cgroup::plan(&layout, &path, &resources(r#"{"pids": {"limit": 8}}"#)).unwrap();
    let cgroup = plan.delegated_to(7).create().unwrap();
    let Layout::V2 { root, .. } = &layout else { unreachable!("v2 says so") };
    let directory = root.join(path.trim_start_matches('/'));
    let owner = |file: &str| {
        std::os::unix::fs::MetadataExt::uid(&std::fs::symlink_metadata(directory.join(file)).unwrap())
    };
    let owners = ["", "cgroup.procs", "cgroup.subtree_control", "pids.max", "cgroup.freeze"].map(owner);
    cgroup.remove().unwrap();
    assert_eq!(owners, [7, 7, 7, 0, 0]);
}

#[test]
fn devices_outside_the_list_cannot_be_opened() {
    let Some(layout) = v2(&[]) else { return };
    let group = Group::new(&layout, "devices", r#"{"devices": [{"allow": false}]}"#);
    // 1 is EPERM.
    let expected = ["/dev/null Ok(())", "/dev/zero Ok(())", "/dev/kmsg Err(Some(1))"];
    assert_eq!(group.spawn("devices").lines(), expected);
    let json = r#"{"devices": [{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"}]}"#;
    let group = Group::new(&layout, "devices-one", json);
    assert_eq!(group.spawn("devices").lines()[2], "/dev/kmsg Ok(())");
}

#[test]
fn everything_in_the_group_is_killed_and_the_group_removed() {
    let Some(layout) = v2(&[]) else { return };
    let group = Group::new(&layout, "kill", "{}");
    let mut inside = group.spawn("family");
    let grandchild: u32 = inside.line().unwrap().parse().unwrap();
    let pids = group.get().pids().unwrap();
    assert!(pids.contains(&inside.child.id()) && pids.contains(&grandchild), "{pids:?}");
    group.get().kill().unwrap();
    assert!(group.get().pids().unwrap().is_empty());
    assert_eq!(inside.signal(), Some(9));
    Cgroup::open(&layout, &group.path).unwrap().remove().unwrap();
    assert!(matches!(Cgroup::open(&layout, &group.path), Err(Error::Missing { .. })));
}

#[test]
fn a_frozen_process_waits_until_it_is_let_go() {
    let Some(layout) = v2(&[]) else { return };
    let group = Group::new(&layout, "freeze", "{}");
    let mut inside = group.spawn("wait");
    assert_eq!(inside.line().as_deref(), Some("ready"));
    group.get().freeze(true).unwrap();
    inside.go_on();
    let before = group.get().stats().unwrap().cpu.usage;
    assert_eq!(group.get().stats().unwrap().cpu.usage, before, "it does not run");
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
    let Some(layout) = v2(&["memory", "pids"]) else { return };
    let group = Group::new(&layout, "update", r#"{"memory": {"limit": 33554432}, "pids": {"limit": 5}}"#);
    for limit in [67108864u64, 16777216, 134217728] {
        let json = format!(r#"{{"memory": {{"limit": {limit}}}, "cpu": {{"shares": 512}}}}"#);
        group.get().update(&resources(&json)).unwrap();
        assert_eq!(group.get().stats().unwrap().memory.limit, Some(limit));
    }
    assert_eq!(group.get().stats().unwrap().pids.limit, Some(5), "what is not named stays");
}

/// The rule of no internal processes: said in words, with the group in the way.
#[test]
fn a_parent_with_processes_is_refused() {
    let Some(layout) = v2(&["memory"]) else { return };
    let parent = format!("/onggi-test-{}-internal", std::process::id());
    let group = Group::new(&layout, "internal", "{}");
    // The group's own leaf gets a process, and then shall be a parent.
    let mut inside = group.spawn("wait");
    assert_eq!(inside.line().as_deref(), Some("ready"));
    let below = format!("{parent}/leaf/below");
    let error = onggi_cgroup::plan(&layout, &below, &resources("{}")).unwrap().create().unwrap_err();
    assert!(matches!(&error, Error::InternalProcesses { path, .. } if path.ends_with("leaf")), "{error}");
    inside.go_on();
    assert!(inside.child.wait().unwrap().success());
}
