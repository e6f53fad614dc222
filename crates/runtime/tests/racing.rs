//! A root file system that changes under a running create, exec and delete: somebody exchanges directories for links and covers them with
//! mounts, again and again. Each act may fail; what lies outside the root may not change.
//!
//! Thirty rounds, and with `ONGGI_TEST_FULL=1` ten thousand.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use onggi_sys::mount::{MountAttributes, mount_setattr};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsmount, fsopen, move_mount, open_tree,
};
use serde_json::json;
use support::Jar;

const NEW_MOUNTS: i32 = 0x0002_0000;
/// What is exchanged, and where in the canary the links lead.
const SWAPPED: [(&str, &str); 7] = [
    ("dev", "dev"),
    ("etc", "etc"),
    ("proc", "proc"),
    ("sys", "sys"),
    ("shared/swapped", "swapped"),
    ("shared/swapped/deep", "swapped/deep"),
    ("shared/work", "work"),
];

#[test]
fn nothing_outside_changes_while_the_root_is_swapped_under_every_act() {
    static STOP: AtomicBool = AtomicBool::new(false);
    let rounds = if std::env::var_os("ONGGI_TEST_FULL").is_some() { 10_000 } else { 30 };
    let outside = tempfile::tempdir().unwrap();
    make_canary(outside.path());
    let jar = jar(outside.path());
    // Mounts of the attacker's are this test's alone, and reach what is started from here.
    onggi_sys::namespace::unshare(NEW_MOUNTS).unwrap();
    let propagation = |flags| rustix::mount::mount_change("/", flags | MountPropagationFlags::REC).unwrap();
    propagation(MountPropagationFlags::PRIVATE);
    propagation(MountPropagationFlags::SHARED);

    let before = (entries(outside.path()), host(&jar), mounts());
    let attackers = {
        let (links, mounts, canary) = (jar.rootfs(), jar.rootfs(), outside.path().to_owned());
        [
            std::thread::spawn(move || swap_links(&links, &STOP)),
            std::thread::spawn(move || swap_mounts(&mounts, &canary, &STOP)),
        ]
    };
    let mut succeeded = [0; 2];
    for round in 0..rounds {
        for (count, success) in succeeded.iter_mut().zip(one(&jar)) {
            *count += u32::from(success);
        }
        if round % 500 == 0 {
            assert_eq!(entries(outside.path()), before.0, "round {round}");
        }
    }
    STOP.store(true, Ordering::Relaxed);
    for attacker in attackers {
        attacker.join().unwrap();
    }
    assert_eq!(entries(outside.path()), before.0);
    assert_eq!(host(&jar), before.1);
    assert_same_mounts(&before.2, &mounts());
    assert_eq!(std::fs::read_dir(jar.path("state")).unwrap().count(), 0, "state is left");
    // Or it has shown only that nothing starts.
    assert!(
        succeeded.iter().all(|&count| count > 0),
        "{succeeded:?} of {rounds} creates and execs succeeded"
    );
}

/// A create, an exec and a delete; whether the first two succeeded.
fn one(jar: &Jar) -> [bool; 2] {
    let id = jar.request["id"].as_str().unwrap();
    let created = call(jar, &["create", id]);
    let started = created && call(jar, &["start", id]);
    let entered = started && call(jar, &["exec", "--cwd", "/shared/swapped", id, "true"]);
    assert!(call(jar, &["delete", "--force", id]), "{}", log(jar));
    [created, entered]
}

fn call(jar: &Jar, arguments: &[&str]) -> bool {
    let output = std::fs::File::create(jar.path("log")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_onggi-runtime"));
    command.arg("--root").arg(jar.path("state")).args(arguments).current_dir(jar.path(""));
    command.env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS").stdin(Stdio::null());
    command.stdout(output.try_clone().unwrap()).stderr(output).status().unwrap().success()
}

fn log(jar: &Jar) -> String {
    std::fs::read_to_string(jar.path("log")).unwrap()
}

/// A bundle that has something to make, to mount, to cover and to enter below everything that is swapped.
fn jar(canary: &Path) -> Jar {
    let mut jar = Jar::new("");
    jar.process()["args"] = json!(["sleep", "1000"]);
    jar.process()["cwd"] = json!("/shared/work/cwd");
    let rootfs = jar.rootfs();
    for (name, target) in SWAPPED {
        std::fs::create_dir_all(rootfs.join(name)).unwrap();
        symlink(canary.join(target), link_of(&rootfs, name)).unwrap();
    }
    std::fs::write(jar.path("file"), "a file to mount").unwrap();
    let file = jar.path("file");
    jar.mount("bind", &file, "/shared/swapped/file", &["bind"]);
    jar.mount("bind", &file, "/shared/swapped/deep/new/file", &["bind", "ro"]);
    jar.mount("tmpfs", "tmpfs", "/shared/swapped/tmpfs", &["size=64k", "tmpcopyup"]);
    let linux = &mut jar.spec()["linux"];
    linux["devices"] = json!([{ "path": "/shared/swapped/zero", "type": "c", "major": 1, "minor": 5 }]);
    linux["maskedPaths"] = json!(["/proc/keys", "/shared/swapped/mask", "/shared/work/mask"]);
    linux["readonlyPaths"] = json!(["/proc/sys", "/shared/swapped/deep", "/shared/work"]);
    jar.spec()["root"]["readonly"] = json!(false);
    std::fs::create_dir(jar.path("state")).unwrap();
    std::fs::write(jar.path("config.json"), jar.request["spec"].to_string()).unwrap();
    jar
}

fn link_of(rootfs: &Path, name: &str) -> PathBuf {
    rootfs.join(format!(".{}", name.replace('/', "-")))
}

/// For each link a directory that must stay as it is, and files of every name that an act would like to make or change.
fn make_canary(canary: &Path) {
    for (_, target) in SWAPPED {
        let directory = canary.join(target);
        std::fs::create_dir_all(directory.join("mask")).unwrap();
        for name in ["null", "ptmx", "passwd", "group", "keys", "file", "self"] {
            std::fs::write(directory.join(name), format!("the host's {name}\n")).unwrap();
        }
    }
}

/// One name at a time, there and back, so that there is always something that works.
fn swap_links(rootfs: &Path, stop: &AtomicBool) {
    let names = SWAPPED.iter().cycle().map(|(name, _)| (rootfs.join(name), link_of(rootfs, name)));
    for (directory, link) in names.take_while(|_| !stop.load(Ordering::Relaxed)) {
        for _ in 0..2 {
            // A name below another that is a link just now, or one on which something is mounted.
            let _ = rustix::fs::renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE);
        }
        // Never left the wrong way round.
        while std::fs::symlink_metadata(&directory).is_ok_and(|found| found.is_symlink()) {
            let _ = rustix::fs::renameat_with(CWD, &directory, CWD, &link, RenameFlags::EXCHANGE);
        }
    }
}

/// An empty file system, and the canary itself, which nobody may write to there.
fn swap_mounts(rootfs: &Path, canary: &Path, stop: &AtomicBool) {
    let names = SWAPPED.iter().cycle().map(|(name, _)| rootfs.join(name));
    for (round, target) in names.enumerate().take_while(|_| !stop.load(Ordering::Relaxed)) {
        // Held, or a link that it has become would lead the mount to the canary.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::DIRECTORY;
        let Ok(target) = rustix::fs::open(&target, flags, Mode::empty()) else { continue };
        let cover = if round % 2 == 0 { empty() } else { read_only(canary) };
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
        if move_mount(&cover, "", &target, "", flags).is_ok() {
            // By its own descriptor: the name may be another's by now.
            let path = format!("/proc/self/fd/{}", cover.as_raw_fd());
            rustix::mount::unmount(path, UnmountFlags::DETACH).unwrap();
        }
    }
}

fn empty() -> OwnedFd {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_create(&context).unwrap();
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap()
}

fn read_only(directory: &Path) -> OwnedFd {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, directory, flags).unwrap();
    let attributes = MountAttributes {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(),
        ..MountAttributes::default()
    };
    mount_setattr(tree.as_fd(), false, attributes).unwrap();
    tree
}

/// Everything about each file that an act could change, times among it.
fn entries(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(path) = waiting.pop() {
        let data = std::fs::symlink_metadata(&path).unwrap();
        let content = if data.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        if data.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        let numbers = [data.mode(), data.uid(), data.gid()];
        let times = [data.mtime(), data.mtime_nsec(), data.ctime(), data.ctime_nsec()];
        found.insert(path, format!("{numbers:?} {times:?} {content:?}"));
    }
    found
}

/// What of the host an act that went astray would reach: its device nodes, its parameters, the groups of the container.
fn host(jar: &Jar) -> Vec<String> {
    let id = jar.request["id"].as_str().unwrap();
    let nodes = ["/dev/null", "/dev/zero", "/dev/ptmx", "/dev/console"].map(|path| {
        std::fs::symlink_metadata(path).map_or_else(
            |error| error.to_string(),
            |data| format!("{path} {:o} {} {} {}", data.mode(), data.uid(), data.gid(), data.rdev()),
        )
    });
    let files = ["/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/self/oom_score_adj"];
    let groups = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(id));
    let left = groups.filter(|path| path.exists()).map(|path| path.display().to_string());
    let files = files.map(|path| std::fs::read_to_string(path).unwrap());
    nodes.into_iter().chain(files).chain(left).collect()
}

/// The mounts that are not below the root file system, in this thread's namespace: the process began in the host's, where others mount as well.
fn mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    table.lines().filter(|line| !line.contains("/rootfs/")).map(str::to_owned).collect()
}

/// None came, and one that went was somebody else's: who removes a directory takes away what is mounted there in every namespace.
fn assert_same_mounts(before: &[String], after: &[String]) {
    let came: Vec<_> = after.iter().filter(|mount| !before.contains(mount)).collect();
    let is_there = |mount: &str| mount.split(' ').nth(4).is_some_and(|place| Path::new(place).exists());
    let went: Vec<_> = before.iter().filter(|mount| !after.contains(mount) && is_there(mount)).collect();
    assert!(came.is_empty() && went.is_empty(), "came: {came:#?}, went: {went:#?}");
}
