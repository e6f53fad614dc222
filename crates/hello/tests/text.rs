//! The pure parts of `hello`, which has no std and so no test harness of its own, and the finished program's size and words.

#![allow(dead_code)]

#[path = "../arguments.rs"]
mod arguments;
#[path = "../src/text.rs"]
mod text;

use std::process::Command;

use text::{Limit, MemoryCgroup, memory_cgroup, memory_limit, namespace_inode, root_type};

#[test]
fn the_topmost_mount_at_the_root_counts() {
    let mountinfo = b"1 1 0:2 / / rw - rootfs rootfs rw\n\
        622 1 0:61 / / rw,relatime master:1 shared:2 - overlay onggi rw,lowerdir=/x - y\n\
        623 622 0:5 / /proc rw - proc proc rw\n";
    assert_eq!(root_type(mountinfo), Some(b"overlay".as_slice()));
    assert_eq!(root_type(b"623 622 0:5 / /proc rw - proc proc rw\n"), None);
    assert_eq!(root_type(b""), None);
}

#[test]
fn the_memory_hierarchy_is_found_on_both_versions() {
    assert_eq!(memory_cgroup(b"0::/onggi/a\n"), Some(MemoryCgroup::Unified(b"/onggi/a")));
    let hybrid = b"8:pids:/x\n4:cpu,memory:/onggi/a:b\n0::/y\n";
    assert_eq!(memory_cgroup(hybrid), Some(MemoryCgroup::Legacy(b"/onggi/a:b")));
    assert_eq!(memory_cgroup(b"nonsense\n"), None);
}

#[test]
fn limits_are_numbers_or_their_absence() {
    assert_eq!(memory_limit(b"max\n"), Some(Limit::None));
    assert_eq!(memory_limit(b"9223372036854771712\n"), Some(Limit::None));
    assert_eq!(memory_limit(b"67108864\n"), Some(Limit::Bytes(64 << 20)));
    assert_eq!(memory_limit(b"-1\n"), None);
}

#[test]
fn namespaces_are_inode_numbers() {
    assert_eq!(namespace_inode(b"net:[4026531840]"), Some(4_026_531_840));
    assert_eq!(namespace_inode(b"net:4026531840"), None);
}

#[test]
fn the_program_is_small_and_says_where_it_runs() {
    let directory = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = directory.join(format!("hello-{}", std::process::id()));
    let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(arguments::ARGUMENTS)
        .arg("-o")
        .arg(&program)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/main.rs"))
        .status()
        .expect("the compiler starts");
    assert!(compiled.success());
    let size = std::fs::metadata(&program).expect("the program is built").len();
    assert!(size <= arguments::LARGEST, "{size} bytes");
    let output = Command::new(&program).env("ONGGI_STARTED_NS", "1").output().expect("the program starts");
    let page = String::from_utf8(output.stdout).expect("plain text");
    assert!(output.status.success(), "{page}");
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a hostname");
    assert!(page.contains(&format!("hostname          {}\n", host.trim_end())), "{page}");
    assert!(page.contains(" ms, from Return to here\n"), "{page}");
    let without = Command::new(&program).env_remove("ONGGI_STARTED_NS").output().expect("the program starts");
    assert!(String::from_utf8_lossy(&without.stdout).contains("ONGGI_STARTED_NS was not set"));
    let full =
        std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device that is always full");
    let failed = Command::new(&program).stdout(full).status().expect("the program starts");
    assert_eq!(failed.code(), Some(1), "a page that cannot be written is a failure");
    std::fs::remove_file(&program).expect("the program is removed");
}
