//! The maps of a user namespace, written from outside of it.
//!
//! Root writes them itself. Anybody else may map nothing but the own ids, and for more asks newuidmap(1) and newgidmap(1), which know what
//! /etc/subuid and /etc/subgid allow.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use onggi_oci::IdMapping;
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, getegid, geteuid, waitpid};

use super::namespaces::flag;
use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;

const SIGKILL: i32 = 9;

/// Maps the ids of a process that is alone in a new user namespace.
pub(super) fn map(procfs: &Procfs, pid: i32, users: &[IdMapping], groups: &[IdMapping]) -> Outcome {
    if !geteuid().is_root() && is_only(groups, getegid().as_raw()) {
        // Without privilege a group is mapped only by who can no longer leave one (CVE-2014-8989).
        procfs.write(&format!("{pid}/setgroups"), "deny").doing(|| "write setgroups")?;
    }
    write(procfs, pid, "uid_map", users, "newuidmap")?;
    write(procfs, pid, "gid_map", groups, "newgidmap")
}

/// A user namespace for a mount's owners: one that nobody is in.
pub(super) fn namespace(procfs: &Procfs, users: &[IdMapping], groups: &[IdMapping]) -> Outcome<OwnedFd> {
    let flags = flag(onggi_oci::NamespaceKind::User) as u64;
    match clone3(&Clone { flags, cgroup: None }).doing(|| "clone a user namespace")? {
        Forked::Child => loop {
            // Until it is killed; what wakes it before changes nothing.
            if onggi_sys::process::wait_for_signal().is_err() {
                exit_now(1);
            }
        },
        Forked::Parent { pid, pidfd } => {
            let namespace = map(procfs, pid, users, groups)
                .and_then(|()| procfs.user_namespace(pid).doing(|| "open the user namespace"));
            // It is ours and alive: neither can fail.
            let _ = onggi_sys::pidfd::send_signal(std::os::fd::AsFd::as_fd(&pidfd), SIGKILL);
            let _ = rustix::io::retry_on_intr(|| waitpid(Pid::from_raw(pid), WaitOptions::empty()));
            namespace
        }
    }
}

/// Whether a map that was read from the kernel is the same as one that was given, whatever the order of its ranges.
pub(super) fn is_same(found: &str, given: &[IdMapping]) -> bool {
    let mut found = parse(found);
    let mut given: Vec<_> = given.iter().map(|map| (map.container_id, map.host_id, map.size)).collect();
    found.sort_unstable();
    given.sort_unstable();
    found == given
}

/// Who is 0 inside; `None` if nobody is.
pub(super) fn root_in(map: &str) -> Option<u32> {
    parse(map).into_iter().find(|&(inside, _, size)| inside == 0 && size > 0).map(|(_, outside, _)| outside)
}

/// Inside, outside and count of each range; what is not that is passed over.
fn parse(text: &str) -> Vec<(u32, u32, u32)> {
    let number = |word: Option<&str>| word?.parse().ok();
    let range = |line: &str| {
        let mut words = line.split_whitespace();
        Some((number(words.next())?, number(words.next())?, number(words.next())?))
    };
    text.lines().filter_map(range).collect()
}

fn is_only(mappings: &[IdMapping], own: u32) -> bool {
    matches!(mappings, [IdMapping { host_id, size: 1, .. }] if *host_id == own)
}

fn write(procfs: &Procfs, pid: i32, file: &str, mappings: &[IdMapping], program: &str) -> Outcome {
    match procfs.write(&format!("{pid}/{file}"), &text(mappings)) {
        Err(error) if super::root::is(&error, Errno::PERM) && !geteuid().is_root() => {
            ask(program, pid, mappings)
        }
        other => other.doing(|| format!("write {file} {:?}", text(mappings).trim_end())),
    }
}

/// As the kernel wants it: all ranges in one write.
fn text(mappings: &[IdMapping]) -> String {
    let line = |map: &IdMapping| format!("{} {} {}\n", map.container_id, map.host_id, map.size);
    mappings.iter().map(line).collect()
}

fn ask(program: &str, pid: i32, mappings: &[IdMapping]) -> Outcome {
    let words = text(mappings);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(words.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .doing(|| format!("run {program}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Problem::new(format!("{program} {pid} {}: {}", words.replace('\n', " ").trim_end(), said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn maps_are_compared_without_their_order_and_blanks() {
        let given = [mapping(1, 100_000, 65536), mapping(0, 1000, 1)];
        assert!(is_same("         0       1000          1\n         1     100000      65536\n", &given));
        assert!(!is_same("0 1000 1\n", &given));
        assert!(!is_same("0 1000 1\n1 100000 65535\n", &given));
        assert_eq!(text(&given), "1 100000 65536\n0 1000 1\n");
    }

    #[test]
    fn root_is_found_or_nobody() {
        assert_eq!(root_in("1 100000 10\n0 1000 1\n"), Some(1000));
        assert_eq!(root_in("1 100000 10\n"), None);
        assert_eq!(root_in("0 1000 0\nnonsense\n"), None);
    }

    #[test]
    fn only_the_own_group_denies_setgroups() {
        assert!(is_only(&[mapping(0, 7, 1)], 7));
        assert!(!is_only(&[mapping(0, 7, 2)], 7));
        assert!(!is_only(&[mapping(0, 8, 1)], 7));
        assert!(!is_only(&[mapping(0, 7, 1), mapping(1, 100_000, 9)], 7));
    }
}
