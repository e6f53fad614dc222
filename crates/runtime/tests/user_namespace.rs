//! User and time namespaces of a container's own, and mounts with other owners, on the real kernel.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::{PermissionsExt, chown, lchown};
use std::path::Path;

use serde_json::{Value, json};
use support::Jar;

const USERS: u32 = 100_000;
const GROUPS: u32 = 200_000;

fn ids(inside: u32, outside: u32, size: u32) -> Value {
    json!([{ "containerID": inside, "hostID": outside, "size": size }])
}

/// A container whose root is 100000 on the host, and owns its files.
fn jar(script: &str) -> Jar {
    let mut jar = Jar::new(script);
    let rootfs = jar.rootfs();
    own(&rootfs);
    std::fs::set_permissions(jar.directory.path(), PermissionsExt::from_mode(0o711)).unwrap();
    jar.request["root"] = json!({ "directory": { "path": rootfs } });
    let linux = &mut jar.spec()["linux"];
    linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "user" }));
    linux["uidMappings"] = ids(0, USERS, 65536);
    linux["gidMappings"] = ids(0, GROUPS, 65536);
    jar
}

fn own(path: &Path) {
    lchown(path, Some(USERS), Some(GROUPS)).unwrap();
    if path.is_dir() && !path.is_symlink() {
        for entry in std::fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}

/// A directory with a file of these owners, which only root may enter.
fn source(jar: &Jar, name: &str, uid: u32, gid: u32) -> std::path::PathBuf {
    let directory = jar.path(name);
    std::fs::create_dir_all(directory.join("inner")).unwrap();
    let file = directory.join("inner/file");
    std::fs::write(&file, name).unwrap();
    chown(&file, Some(uid), Some(gid)).unwrap();
    std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700)).unwrap();
    directory.join("inner")
}

#[test]
fn its_root_is_nobody_outside() {
    let mut jar = jar("tail -n +1 /proc/self/uid_map /proc/self/gid_map | grep -o '[0-9].*'; id -u; id -g; \
         stat -c %u:%g / /dev; cat /proc/self/oom_score_adj; cat /proc/1/setgroups; mount -t tmpfs x /tmp && echo mounted; \
         : > /tmp/here; stat -c %u /tmp/here; test -c /dev/null && echo null; hostname");
    jar.process()["oomScoreAdj"] = json!(321);
    let all: Vec<String> = onggi_runtime::plan::capability_names().collect();
    jar.process()["capabilities"] = json!({ "bounding": all, "effective": all, "permitted": all });
    let expected = "0     100000      65536\n0     200000      65536\n0\n0\n0:0\n0:0\n321\nallow\nmounted\n0\nnull\njar\n";
    assert_eq!(jar.output(), expected);
}

#[test]
fn its_cgroup_is_joined_and_its_own_hierarchy_is_shown() {
    let jar = jar(
        "cut -d: -f3 /proc/self/cgroup | sort -u; ls -d /sys/fs/cgroup/memory/cgroup.procs /sys/fs/cgroup/cgroup.procs 2>/dev/null | wc -l",
    );
    assert_eq!(jar.output(), "/\n1\n");
}

#[test]
fn it_sees_what_its_root_has_no_way_to() {
    let mut jar = jar("cat /data/file; echo; cat /again/file; echo; stat -c %u /data/file");
    let source = source(&jar, "secret", 0, 0);
    jar.mount("bind", &source, "/data", &["bind"]);
    // And what lies below what it has mounted before.
    let inside = jar.rootfs().join("data");
    jar.mount("bind", inside, "/again", &["rbind", "ro"]);
    assert_eq!(jar.output(), "secret\nsecret\n65534\n");
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let mut jar = jar("true");
    jar.mount("bind", "/nonexistent/source", "/data", &["bind"]);
    let (step, errno, message) = jar.failure();
    assert_eq!((step.as_str(), errno), ("mount", 2));
    assert_eq!(
        message,
        "bind mount of /nonexistent/source to /data: open /nonexistent/source: no such file or directory"
    );
}

#[test]
fn mounts_show_other_owners() {
    let script = "stat -c %u:%g /own/file /other/file /plain/file";
    for (in_namespace, expected) in [
        (true, "7:8\n1007:2008\n65534:65534\n"),
        // Without a user namespace the owners are the host's: nothing says whose the first would be.
        (false, "101007:202008\n7:8\n"),
    ] {
        let mut jar =
            if in_namespace { jar(script) } else { Jar::new("stat -c %u:%g /other/file /plain/file") };
        let source = source(&jar, "files", 7, 8);
        if in_namespace {
            jar.mount("bind", &source, "/own", &["bind", "idmap"]);
        }
        jar.mount("bind", &source, "/other", &["bind"]);
        let mapped = jar.spec()["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        mapped["uidMappings"] = ids(0, USERS + 1000, 100);
        mapped["gidMappings"] = ids(0, GROUPS + 2000, 100);
        jar.mount("bind", &source, "/plain", &["bind"]);
        assert_eq!(jar.output(), expected, "{in_namespace}");
    }
}

#[test]
fn a_process_that_joins_is_its_root_too() {
    let mut jar = jar("echo > /ready; exec sleep 100");
    let marker = jar.rootfs().join("ready");
    let joined = jar.exec("grep -o '[0-9].*' /proc/self/uid_map; id -u; cat /proc/self/oom_score_adj; \
         for n in user mnt time; do test $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) || echo other $n; done");
    joined["process"]["oomScoreAdj"] = json!(77);
    jar.request["ready"] = json!(marker);
    assert_eq!(jar.output(), "0     100000      65536\n0\n77\n");
}

#[test]
fn a_user_namespace_is_joined_by_path_and_must_be_the_one_that_is_meant() {
    let first = jar("echo > /ready; exec sleep 100");
    let mut runner = first.start();
    while !first.rootfs().join("ready").exists() {
        std::thread::yield_now();
    }
    let children = format!("/proc/{0}/task/{0}/children", runner.id());
    let pid: u32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
    for (groups, expected) in [
        (GROUPS, Ok("0     100000      65536\n")),
        (
            7,
            Err(
                "user namespaces enabled, but both namespace path and non-matching mapping specified -- you may only provide one",
            ),
        ),
    ] {
        let mut second = jar("grep -o '[0-9].*' /proc/self/uid_map");
        let namespace = second.spec()["linux"]["namespaces"].as_array_mut().unwrap().last_mut().unwrap();
        namespace["path"] = json!(format!("/proc/{pid}/ns/user"));
        second.spec()["linux"]["gidMappings"] = ids(0, groups, 65536);
        match expected {
            Ok(output) => assert_eq!(second.output(), output),
            Err(message) => assert_eq!(second.run().error.as_deref(), Some(message)),
        }
    }
    first.stop(pid, &mut runner);
}

#[test]
fn clocks_are_ahead() {
    for in_namespace in [false, true] {
        let script = "cat /proc/self/timens_offsets";
        let mut jar = if in_namespace { jar(script) } else { Jar::new(script) };
        let linux = &mut jar.spec()["linux"];
        linux["namespaces"].as_array_mut().unwrap().push(json!({ "type": "time" }));
        linux["timeOffsets"] = json!({ "monotonic": { "secs": 7881, "nanosecs": 2_718_281 } });
        let words: Vec<_> = jar.output().split_whitespace().map(str::to_owned).collect();
        assert_eq!(words, ["monotonic", "7881", "2718281", "boottime", "0", "0"], "{in_namespace}");
    }
}
