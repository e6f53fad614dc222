//! The same plans where system calls are missing: behind filters that refuse them, and as on older kernels.

mod support;

use std::path::Path;

use serde_json::json;
use support::Jar;

const DETACHED: [&str; 5] = ["open_tree", "move_mount", "fsopen", "fsconfig", "fsmount"];

/// What is refused, in the order of the kernels that have it: Linux 5.12, 5.2 and 5.6.
fn refusals() -> [Vec<&'static str>; 4] {
    let classic = [&DETACHED[..], &["mount_setattr"]].concat();
    [vec!["mount_setattr"], classic.clone(), vec!["openat2"], [classic, vec!["openat2"]].concat()]
}

/// A file system of the host's with another one in it.
struct Nested(tempfile::TempDir);

impl Nested {
    fn new() -> Nested {
        let nested = Nested(tempfile::tempdir().expect("a directory"));
        for path in [nested.0.path().to_owned(), nested.0.path().join("below")] {
            std::fs::create_dir_all(&path).expect("made");
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("outer", &path, "tmpfs", flags, c"size=1m").expect("mounted");
        }
        std::fs::write(nested.0.path().join("below/file"), "below").expect("written");
        nested
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Nested {
    fn drop(&mut self) {
        for path in [self.path().join("below"), self.path().to_owned()] {
            let _ = rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

/// Everything that a plan of mounts can hold.
fn jar(nested: &Nested, script: &str) -> Jar {
    let mut jar = Jar::new(script);
    let rootfs = jar.rootfs();
    std::fs::create_dir_all(rootfs.join("kept/inner")).expect("made");
    std::fs::write(rootfs.join("kept/inner/file"), "kept").expect("written");
    std::fs::write(jar.path("file"), "one file").expect("written");
    std::os::unix::fs::symlink("/kept", rootfs.join("link")).expect("linked");
    let file = jar.path("file");
    jar.mount("bind", nested.path(), "/plain", &["bind", "nosuid", "noatime"]);
    jar.mount("bind", nested.path(), "/tree", &["rbind", "ro", "rslave"]);
    jar.mount("bind", nested.path(), "/all", &["rbind", "rro", "rnodev", "rprivate"]);
    jar.mount("bind", file, "/made/by/the/mount", &["bind", "ro"]);
    jar.mount("tmpfs", "tmpfs", "/link", &["tmpcopyup", "noexec", "size=64k"]);
    jar.mount("tmpfs", "tmpfs", "/locked", &["ro", "nodev", "mode=700", "strictatime"]);
    jar.spec()["root"]["readonly"] = json!(true);
    jar.spec()["process"]["cwd"] = json!("/kept/inner");
    jar
}

#[test]
fn the_mounts_are_the_same() {
    // Place, flags, kind and its options; what a group of peers is numbered is chance.
    let script = "cut -d' ' -f 5- /proc/self/mountinfo | grep -o '^[^ ]* [^ ]*\\|- .*' ; cat file ../../all/below/file /made/by/the/mount; \
        grep -o 'master\\|shared' /proc/self/mountinfo | wc -l; cat /proc/kcore | wc -c; ls /sys/firmware";
    let nested = Nested::new();
    let expected = jar(&nested, script).output();
    assert!(expected.contains("keptbelowone file"), "{expected}");
    for refused in refusals() {
        let mut jar = jar(&nested, script);
        let (old, new) = (temporary(&expected), |text: &str| temporary(text));
        jar.request["refused"] = json!(refused);
        assert_eq!(new(&jar.output()), old, "{refused:?}");
    }
}

/// Without what names this test's own directories, and the time that an overlay's options depend on how they were given.
fn temporary(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once("lowerdir") {
        Some((before, _)) => before,
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn nothing_of_the_host_can_be_written_to() {
    let nested = Nested::new();
    for refused in refusals() {
        let script = "for f in /tree/x /all/x /all/below/x /made/by/the/mount /locked/x /x /proc/sysrq-trigger; do \
             (echo > $f) 2>/dev/null && echo wrote $f; done; echo > /tree/below/x && echo below";
        let mut jar = jar(&nested, script);
        jar.request["refused"] = json!(refused);
        assert_eq!(jar.output(), "below\n", "{refused:?}");
    }
}

#[test]
fn a_link_leads_nowhere_else() {
    let outside = tempfile::tempdir().expect("a directory");
    for refused in refusals() {
        let mut jar = Jar::new("echo in > /away/into/file; ls /away");
        let target = format!("../../../../../..{}", outside.path().display());
        std::os::unix::fs::symlink(&target, jar.rootfs().join("away")).expect("linked");
        jar.mount("tmpfs", "tmpfs", "/away/into", &[]);
        jar.request["refused"] = json!(refused);
        assert_eq!(jar.output(), "into\n", "{refused:?}");
        assert_eq!(std::fs::read_dir(outside.path()).expect("read").count(), 0, "{refused:?}");
    }
}

#[test]
fn a_procfs_is_mounted_on_a_directory_only() {
    for refused in refusals() {
        let mut jar = Jar::new("true");
        std::os::unix::fs::symlink("/tmp", jar.rootfs().join("proc")).expect("linked");
        jar.request["refused"] = json!(refused);
        let (step, _, message) = jar.failure();
        assert_eq!(
            (step.as_str(), message.as_str()),
            ("mount", "filesystem \"proc\" must be mounted on ordinary directory"),
            "{refused:?}"
        );
    }
}

#[test]
fn what_has_no_older_way_is_refused() {
    for refused in refusals() {
        let mut jar = Jar::new("stat -c %u /data");
        let source = jar.rootfs();
        jar.mount("bind", source, "/data", &["bind"]);
        let map = json!([{ "containerID": 0, "hostID": 7, "size": 1 }]);
        let mount =
            jar.spec()["mounts"].as_array_mut().and_then(|mounts| mounts.last_mut()).expect("a mount");
        mount["uidMappings"] = map.clone();
        mount["gidMappings"] = map;
        jar.request["refused"] = json!(refused);
        if refused.contains(&"mount_setattr") {
            let (step, errno, message) = jar.failure();
            assert_eq!((step.as_str(), errno), ("mount", 38), "{message}");
        } else {
            assert_eq!(jar.output(), "7\n");
        }
    }
}
