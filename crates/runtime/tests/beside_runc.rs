//! What the program `onggi-runtime` does where runc and crun were tried beside it, and engines had noticed a difference.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;

use serde_json::json;
use support::bundle::Bundle;

#[test]
fn nodes_of_the_hosts_may_be_mounted_on_those_of_a_container() {
    let mut bundle = Bundle::new("stat -c %F /dev/null /dev/tty; grep -c ' /dev/tty ' /proc/mounts");
    bundle.bind("/dev/null", "/dev/null");
    bundle.bind("/dev/tty", "/dev/tty");
    assert_eq!(bundle.ok("run {}"), "character special file\ncharacter special file\n1\n");
}

/// Docker takes "is a directory" and "permission denied" for a program that cannot be executed, and then says 126 instead of 125.
#[test]
fn a_file_on_a_directory_is_called_that_and_nothing_else() {
    for (source, destination, text) in [
        ("/etc/passwd", "/tmp", "mount of the file /etc/passwd onto the directory /tmp: not a directory"),
        ("/tmp", "/etc/passwd", "mount of the directory /tmp onto the file /etc/passwd: not a directory"),
    ] {
        let mut bundle = Bundle::new("true");
        bundle.bind(source, destination);
        bundle.fails("run {}", 1, text);
        let said = String::from_utf8(bundle.call("run {}").stderr).unwrap();
        assert!(!said.contains("is a directory") && !said.contains("permission denied"), "{said}");
    }
}

#[test]
fn without_cgroups_there_are_no_rules_about_devices() {
    let mut bundle = Bundle::new("cat /proc/self/cgroup");
    bundle.config["linux"]["resources"] = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    bundle.config["linux"]["namespaces"].as_array_mut().unwrap().retain(|each| each["type"] != "cgroup");
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(bundle.ok("--cgroup-manager disabled run {}"), own);
    bundle.config["linux"]["resources"]["pids"] = json!({ "limit": 9 });
    bundle.fails("--cgroup-manager disabled run {}", 1, "pids");
}

/// Who masks the file, or mounts something else there, means that there are no accounts. What it is, is not tried: `hostile.rs`.
#[test]
fn passwd_may_be_no_file() {
    let home = || Bundle::new("echo $HOME");
    let mut masked = home();
    masked.config["linux"]["maskedPaths"] = json!(["/etc/passwd"]);
    assert_eq!(masked.ok("run {}"), "/\n");
    let mut device = home();
    device.bind("/dev/null", "/etc/passwd");
    assert_eq!(device.ok("run {}"), "/\n");
    let directory = home();
    let passwd = directory.jar.rootfs().join("etc/passwd");
    std::fs::remove_file(&passwd).unwrap();
    std::fs::create_dir(&passwd).unwrap();
    assert_eq!(directory.ok("run {}"), "/\n");
}

/// The caller's own group in each hierarchy, by the names that it has there.
fn groups() -> Vec<(String, String)> {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap();
    let line = |line: &str| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        Some((names.to_owned(), path.to_owned()))
    };
    text.lines().filter_map(line).collect()
}

/// What limits the caller limits a container that names no group, or one without a slash before it: its groups are below the caller's, and on
/// version 2 beside it.
#[test]
fn a_container_stays_in_the_groups_of_who_runs_it() {
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    for given in [None, Some("onggi-relative"), Some("onggi:relative:path"), Some("../../onggi-relative")] {
        let mut bundle = Bundle::new("cat /proc/self/cgroup");
        let linux = bundle.config["linux"].as_object_mut().unwrap();
        linux.remove("cgroupsPath");
        if let Some(given) = given {
            linux.insert("cgroupsPath".to_owned(), json!(given));
        }
        linux["namespaces"].as_array_mut().unwrap().retain(|each| each["type"] != "cgroup");
        let name = given.map_or(bundle.id.clone(), |given| given.replace("../", ""));
        let said = bundle.ok("run {}");
        for (names, own) in groups() {
            // A hierarchy that is mounted nowhere nobody can move in.
            let mounted = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
            let is_mounted = names.is_empty() || mounted.contains(&format!(",{names}"));
            let above = if is_v2 { own.rsplit_once('/').unwrap().0 } else { own.trim_end_matches('/') };
            let line = format!(":{names}:{above}/{name}\n");
            assert!(!is_mounted || said.contains(&line), "{line} is not in {said}");
        }
        let left = Path::new("/sys/fs/cgroup/memory/onggi").join(&bundle.id);
        assert!(!left.exists());
    }
}
