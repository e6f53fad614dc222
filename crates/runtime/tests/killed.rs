//! `onggi-runtime` is killed at one of its steps, or somebody is quicker than it: nothing lives on unknown, and everything can be taken away.
#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, WaitOptions};
use serde_json::Value;
use support::bundle::Bundle;

/// The container's groups, in whichever hierarchies they are.
fn groups(bundle: &Bundle) -> Vec<PathBuf> {
    let mounts = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path());
    let mut groups: Vec<PathBuf> = mounts.map(|mount| mount.join(&bundle.id)).collect();
    groups.push(PathBuf::from("/sys/fs/cgroup").join(&bundle.id));
    groups.retain(|group| group.exists());
    groups
}

fn is_empty(group: &Path) -> bool {
    std::fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty()
}

#[track_caller]
fn killed(bundle: &Bundle, arguments: &[&str], at: &str) {
    let mut command = bundle.command(arguments);
    let status = command.env("ONGGI_FAULT", at).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.signal(), Some(9), "{at} was not passed");
}

#[test]
fn a_creation_that_is_killed_leaves_no_process_and_can_be_deleted() {
    for at in [
        "runtime.create.directory",
        "runtime.create.known",
        "cgroup.create.made",
        "cgroup.create.limited",
        "runtime.create.cloned",
        "runtime.state.written",
    ] {
        for arguments in [&["create"][..], &["run", "-d"]] {
            let bundle = Bundle::new("exec sleep 1000");
            killed(&bundle, &[arguments, &[&bundle.id]].concat(), at);
            // The child has nobody to hear from.
            while !groups(&bundle).iter().all(|group| is_empty(group)) {}
            let has_groups = !groups(&bundle).is_empty();
            assert_eq!(
                has_groups,
                !matches!(at, "runtime.create.directory" | "runtime.create.known"),
                "{at}"
            );
            if at != "runtime.create.directory" {
                assert_eq!(bundle.status(), "creating", "{at}");
                bundle.fails("delete {}", 1, "that is not stopped: creating");
            }
            bundle.ok("delete --force {}");
            assert_eq!(groups(&bundle), Vec::<PathBuf>::new(), "{at}");
            bundle.create();
        }
    }
}

#[test]
fn what_has_lost_its_state_is_ended_by_its_groups() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.quietly(&["run", "-d", &bundle.id]);
    assert!(!groups(&bundle).iter().all(|group| is_empty(group)));
    std::fs::remove_file(bundle.jar.path("state").join(&bundle.id).join("state.json")).unwrap();
    bundle.ok("delete --force {}");
    assert_eq!(groups(&bundle), Vec::<PathBuf>::new());
}

#[test]
fn a_start_that_is_killed_has_started_it() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    killed(&bundle, &["start", &bundle.id], "runtime.start.opened");
    while bundle.status() != "running" {}
    bundle.fails("start {}", 1, "cannot start an already running container");
    bundle.fails("delete {}", 1, "that is not stopped: running");
}

/// Asking in what state it is does not wake it.
#[test]
fn a_created_container_stays_so_however_often_it_is_asked() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.create();
    let state: Value = serde_json::from_str(&bundle.ok("state {}")).unwrap();
    for _ in 0..20 {
        assert_eq!(bundle.status(), "created");
    }
    let name = std::fs::read_to_string(format!("/proc/{}/comm", state["pid"])).unwrap();
    assert_ne!(name, "sleep\n");
}

#[test]
fn a_creation_that_is_overtaken_takes_nothing_of_the_other_s() {
    let bundle = Bundle::new("exec sleep 1000");
    let mut command = bundle.command(&["create", &bundle.id]);
    // It stops when its directory is there and not locked yet.
    command.env("ONGGI_FAULT", "runtime.create.directory").env("ONGGI_FAULT_SIGNAL", "19");
    let slow = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&slow);
    assert!(rustix::process::waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap().1.stopped());
    bundle.ok("delete --force {}");
    bundle.create();
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    let output = slow.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("container with given ID already exists"), "{said}");
    assert_eq!(bundle.status(), "created");
    bundle.ok("start {}");
}
