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
        "runtime.create.marked",
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

/// Whoever names another's cgroup, and is killed before it is refused, has nothing in there.
#[test]
fn what_is_half_made_takes_nothing_of_whose_cgroup_it_names() {
    let running = Bundle::new("exec sleep 1000");
    running.quietly(&["run", "-d", &running.id]);
    let mut other = Bundle::new("exec sleep 1000");
    other.config["linux"]["cgroupsPath"] = running.config["linux"]["cgroupsPath"].clone();
    for at in ["runtime.create.planned", "runtime.create.known"] {
        killed(&other, &["create", &other.id], at);
        let (code, said) = other.said("delete --force {}");
        assert_eq!(code, Some(0), "{said}");
        assert_eq!(
            said.contains("stays: what is in it is not known"),
            at == "runtime.create.known",
            "{said}"
        );
        assert_eq!(running.status(), "running", "{at}");
    }
    other.fails("create {}", 1, "cgroup is not empty");
    assert_eq!(running.status(), "running");
    running.kill();
}

#[test]
fn what_is_known_of_a_half_made_one_may_be_damaged() {
    let bundle = Bundle::new("exec sleep 1000");
    killed(&bundle, &["create", &bundle.id], "runtime.create.known");
    let path = bundle.jar.path("state").join(&bundle.id).join("birth.json");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..whole.len() / 2], b"\n"].concat()).unwrap();
    let (code, said) = bundle.said("delete --force {}");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("what is kept of the container is damaged"), "{said}");
    bundle.fails("state {}", 1, "container does not exist");
}

#[test]
fn a_name_is_free_again_if_there_is_no_room_for_it() {
    let bundle = Bundle::new("true");
    let own = bundle.jar.path("small");
    std::fs::create_dir(&own).unwrap();
    let id = &bundle.id;
    // One file for the root, and one for the container's directory.
    let script = format!(
        "mount -t tmpfs -o nr_inodes=2 tmpfs {0} && ! {1} --root {0} create {id} && ls -A {0}",
        own.display(),
        env!("CARGO_BIN_EXE_onggi-runtime"),
    );
    std::fs::write(bundle.jar.path("config.json"), bundle.config.to_string()).unwrap();
    let mut command = std::process::Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).current_dir(bundle.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no space left on device"), "{said}");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
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
