//! Devices and kernel parameters, on whichever cgroup version the machine has: `guest/run e2e_devices` runs this file on version 2.

mod common;

use std::fmt::Write as _;

use common::busybox;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

#[test]
fn a_device_of_the_host_is_there_with_the_access_that_was_said() {
    let onggi = busybox();
    // urandom's numbers, by a node of the test's own with another name and mode.
    let node = onggi.file("node");
    mknodat(CWD, &node, FileType::CharacterDevice, Mode::from_raw_mode(0o640), makedev(1, 9))
        .expect("a node");
    let device = |rest: &str| format!("{}:{rest}", node.display());
    let look = "stat -c '%F %t:%T %a' /dev/mine; head -c 1 /dev/mine >/dev/null && echo read";
    let output = onggi.ok(["run", "--rm", "--device", &device("/dev/mine"), "busybox", "sh", "-c", look]);
    assert_eq!(output, "character special file 1:9 640\nread");
    let id = onggi.ok([
        "create",
        "--name",
        "jar",
        "--device",
        &device("/dev/mine:r"),
        "--device-cgroup-rule",
        "c 13:* rm",
        "busybox",
        "true",
    ]);
    assert_eq!(
        onggi.inspect("jar", "{{json .HostConfig.Devices}} {{json .HostConfig.DeviceCgroupRules}}"),
        format!(
            "[{{\"PathOnHost\":\"{}\",\"PathInContainer\":\"/dev/mine\",\"CgroupPermissions\":\"r\"}}] [\"c 13:* rm\"]",
            node.display()
        )
    );
    assert_eq!(id.len(), 64);
    onggi.ok(["start", "-a", "jar"]);
    // A device that has gone keeps it from starting, and from nothing else.
    std::fs::remove_file(&node).expect("it is there");
    onggi.fails(["start", "jar"]).says("error gathering device information while adding custom device");
    onggi.ok(["inspect", "jar"]);
}

#[test]
fn the_cgroup_allows_what_was_said_and_no_more() {
    let onggi = busybox();
    // Loop control: no container has it, and opening it does nothing.
    let numbers = makedev(10, 237);
    let directory = onggi.file("nodes");
    std::fs::create_dir_all(directory.join("below")).expect("directories");
    for name in ["control", "below/control"] {
        mknodat(CWD, directory.join(name), FileType::CharacterDevice, Mode::from_raw_mode(0o666), numbers)
            .expect("a node");
    }
    let open = |flags: &[&str], script: &str| {
        let output = onggi.run(
            ["run", "--rm", "--cap-add", "MKNOD"].iter().chain(flags).chain(&["busybox", "sh", "-c", script]),
        );
        (output.code, output.stdout + &output.stderr)
    };
    let make = "mknod /tmp/control c 10 237 && : </tmp/control";
    let (code, text) = open(&[], make);
    assert_ne!(code, 0, "{text}");
    assert!(text.contains("not permitted") || text.contains("denied"), "{text}");
    let rule = ["--device-cgroup-rule", "c 10:237 rw"];
    let (code, text) = open(&rule, make);
    assert!(code == 0 || text.contains("No such device"), "the cgroup lets it through: {text}");
    // Only to read; and all of a directory.
    let read_only = format!("{}:/dev/nodes:r", directory.display());
    let (code, text) =
        open(&["--device", &read_only], "cd /dev/nodes && ls control below/control && : <below/control");
    assert!(code == 0 || text.contains("No such device"), "{text}");
    assert!(text.contains("below/control"), "{text}");
    let (_, text) = open(&["--device", &read_only], ": >/dev/nodes/control");
    assert!(text.contains("not permitted") || text.contains("denied"), "{text}");
}

#[test]
fn parameters_of_the_containers_namespaces() {
    let onggi = busybox();
    let flags = ["--sysctl", "net.ipv4.ip_unprivileged_port_start=80", "--sysctl", "kernel.shmmax=123456"];
    let cat = ["busybox", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start", "/proc/sys/kernel/shmmax"];
    assert_eq!(onggi.ok(["run", "--rm"].iter().chain(&flags).chain(&cat)), "80\n123456");
}

#[test]
fn what_is_no_device_and_no_parameter() {
    let onggi = busybox();
    let mut text = String::new();
    for flags in [
        ["--device", "/dev/nope"],
        ["--device", "/etc/passwd"],
        ["--device", "/etc/ssl"],
        ["--device", "/dev/null:/dev/x:rz"],
        ["--device", "/dev/null:x:r"],
        ["--device", "rel"],
        ["--device-cgroup-rule", "c 1 r"],
        ["--sysctl", "kernel.hostname=x"],
        ["--sysctl", "vm.swappiness=1"],
    ] {
        let output = onggi.fails(["run", "--rm"].iter().chain(&flags).chain(&["busybox", "true"]));
        let _ = writeln!(text, "$ onggi run {}  # {}\n{}", flags.join(" "), output.code, output.stderr);
    }
    let host = ["run", "--rm", "--network", "host", "--sysctl", "net.ipv4.ip_forward=1", "busybox", "true"];
    let _ = write!(text, "$ onggi {}\n{}", host.join(" "), onggi.fails(host).stderr);
    insta::assert_snapshot!(text);
}
