//! A program that is born in a v2 cgroup (`onggi_sys::spawn_into`), on v2 hosts and beside v1 alike. Without the test harness, because
//! its threads forbid the clone.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test without the harness

use std::io::Read;
use std::os::fd::AsFd;

use onggi_cgroup::{Cgroup, plan};
use onggi_oci::Resources;
use onggi_sys::spawn_into::{Begun, detached_into};

fn main() {
    // What a test runner asks a program without the harness: `--list --format terse`, once more with `--ignored`.
    let asked: Vec<String> = std::env::args().collect();
    if asked.iter().any(|word| word == "--list") {
        if !asked.iter().any(|word| word == "--ignored") {
            println!("born_inside: test");
        }
        return;
    }
    if !rustix::process::geteuid().is_root() {
        assert!(
            std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some(),
            "this test needs root (or ONGGI_TEST_UNPRIVILEGED=1)"
        );
        println!("skipped: not root");
        return;
    }
    let layout = onggi_cgroup::detect().unwrap();
    let path = format!("/onggi-test-{}-born", std::process::id());
    let missing = Cgroup::open_v2_dir(&layout, &path);
    let cgroup = plan(&layout, &path, &Resources::default()).unwrap().create().unwrap();
    if cgroup.v2_dir().is_none() {
        println!("skipped: no v2 tree here");
        return cgroup.remove().unwrap();
    }
    assert!(missing.is_err());
    let result = std::panic::catch_unwind(|| check(&layout, &path));
    cgroup.kill().unwrap();
    cgroup.remove().unwrap();
    result.unwrap();
    println!("test born_inside ... ok");
}

fn check(layout: &onggi_cgroup::Layout, path: &str) {
    let directory = Cgroup::open_v2_dir(layout, path).unwrap().unwrap();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let script =
        c"{ cut -d' ' -f6 /proc/self/stat; readlink /proc/self/fd/0; grep ^0:: /proc/self/cgroup; } >&3";
    let environment = [c"PATH=/usr/bin:/bin"];
    let pid =
        detached_into(directory.as_fd(), c"/bin/sh", &[c"sh", c"-c", script], &environment, theirs.as_fd())
            .and_then(Begun::finish)
            .unwrap();
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    let typed = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::waitpid(Some(typed), rustix::process::WaitOptions::empty()).unwrap();
    // Its session is its own.
    assert_eq!(said, format!("{pid}\n/dev/null\n0::{path}\n"));

    let error = detached_into(directory.as_fd(), c"/nonexistent", &[c"x"], &[], directory.as_fd())
        .and_then(Begun::finish)
        .unwrap_err();
    assert_eq!(error.raw_os_error(), Some(2));
}
