//! What the program `onggi-runtime` does where runc and crun were tried beside it, and engines had noticed a difference.
#![allow(clippy::unwrap_used)]

mod support;

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
