//! Kernel parameters: only those of a namespace that the container has for itself, or joins. That it joins none of the host's is seen where
//! it is started ([`crate::exec`]).

use std::collections::BTreeMap;

use onggi_oci::NamespaceKind;

use super::Error;
use super::error::invalid;

/// Those of System V IPC; the rest of `kernel.` is the whole machine's.
const IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Paths below `/proc/sys` and values, in the order of the names. `own` tells whether the container has such a namespace.
pub(crate) fn plan(
    sysctls: &BTreeMap<String, String>,
    own: impl Fn(NamespaceKind) -> bool,
) -> Result<Vec<(String, String)>, Error> {
    sysctls.iter().map(|(name, value)| Ok((path(name, &own)?, value.clone()))).collect()
}

fn path(name: &str, own: impl Fn(NamespaceKind) -> bool) -> Result<String, Error> {
    let field = || format!("sysctl {name:?}");
    let path = with_slashes(name);
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err(invalid(field(), "it is no name of a kernel parameter"));
    }
    let namespace = if let Some(namespace) = namespace_of(&path) {
        namespace
    } else if path == "kernel/hostname" {
        return Err(invalid(field(), "the host name has a field of its own"));
    } else {
        return Err(invalid(field(), "it is not in a separate kernel namespace"));
    };
    if own(namespace) {
        Ok(path)
    } else {
        let kind = super::explain::kind_name(namespace);
        Err(invalid(field(), format!("it is not allowed in the host's {kind} namespace")))
    }
}

/// Whose parameter it is, by its path below `/proc/sys`; `None` for the machine's.
pub(crate) fn namespace_of(path: &str) -> Option<NamespaceKind> {
    if path.starts_with("net/") {
        Some(NamespaceKind::Network)
    } else if IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        Some(NamespaceKind::Ipc)
    } else {
        (path == "kernel/domainname").then_some(NamespaceKind::Uts)
    }
}

/// As sysctl(8): whichever of `.` and `/` comes first separates; the other is part of a name (`net.ipv4.conf.eth0/1.mtu`).
fn with_slashes(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name.as_bytes()[at] == b'.' => name
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                c => c,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths() {
        for (name, expected) in [
            ("net.ipv4.ping_group_range", "net/ipv4/ping_group_range"),
            ("net/ipv4/conf/eth0.1/mtu", "net/ipv4/conf/eth0.1/mtu"),
            ("net.ipv4.conf.eth0/1.mtu", "net/ipv4/conf/eth0.1/mtu"),
            ("kernel.shmmax", "kernel/shmmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ] {
            assert_eq!(path(name, |_| true).unwrap(), expected);
        }
    }

    #[test]
    fn the_machines_own_are_refused() {
        for name in ["kernel.panic", "vm.overcommit_memory", "kernel.core_pattern", "kernel.hostname"] {
            assert!(path(name, |_| true).is_err(), "{name}");
        }
        // CVE-2025-52881's cousin: a name that climbs out of /proc/sys.
        for name in ["net/../sysrq-trigger", "net..x", "net/./x", "net/"] {
            assert!(path(name, |_| true).is_err(), "{name}");
        }
        let error = path("net.ipv4.ip_forward", |kind| kind != NamespaceKind::Network).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sysctl \"net.ipv4.ip_forward\": it is not allowed in the host's network namespace"
        );
    }
}
