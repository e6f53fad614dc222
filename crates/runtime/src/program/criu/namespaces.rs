//! Namespaces by a path of the configuration: they are somebody else's, and are neither dumped nor made again.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use onggi_oci::{Namespace, NamespaceKind};
use rustix::fs::{CWD, Mode, OFlags};

use super::error::Error;
use super::message::Inherited;
use super::swrk::Criu;

/// Kinds that CRIU can leave alone, their names and keys, and since when.
const EXTERNAL: [(NamespaceKind, &str, &str, u32); 2] = [
    (NamespaceKind::Network, "net", "extRootNetNS", 31_100),
    (NamespaceKind::Pid, "pid", "extRootPidNS", 31_500),
];

/// For a dump: `net[INODE]:KEY` of each.
pub(crate) fn external_namespaces(namespaces: &[Namespace], criu: &Criu) -> Result<Vec<String>, Error> {
    let mut external = Vec::new();
    for (kind, name, key, since) in EXTERNAL {
        let Some(path) = path_of(namespaces, kind) else { continue };
        criu.require(since, "a container in an external namespace")?;
        let data = std::fs::metadata(path).map_err(|error| Error::system(format!("stat {path}"), error))?;
        external.push(format!("{name}[{}]:{key}", data.ino()));
    }
    Ok(external)
}

/// For a restore: the same, held.
pub(crate) fn inherit(namespaces: &[Namespace], criu: &Criu) -> Result<Vec<(Inherited, OwnedFd)>, Error> {
    let mut inherited = Vec::new();
    for (kind, _, key, since) in EXTERNAL {
        let Some(path) = path_of(namespaces, kind) else { continue };
        criu.require(since, "a container in an external namespace")?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let held = rustix::fs::openat(CWD, path, flags, Mode::empty());
        let held = held.map_err(|error| Error::system(format!("open the namespace {path}"), error))?;
        inherited.push((Inherited { key: key.to_owned(), descriptor: held.as_fd().as_raw_fd() }, held));
    }
    Ok(inherited)
}

/// For a restore: kinds and paths of those that CRIU joins by itself.
pub(crate) fn joined(namespaces: &[Namespace]) -> Result<Vec<(&'static str, String)>, String> {
    let mut joined = Vec::new();
    for namespace in namespaces {
        let Some(path) = namespace.path.clone().filter(|path| !path.is_empty()) else { continue };
        let name = match namespace.kind {
            NamespaceKind::Network | NamespaceKind::Pid => continue,
            NamespaceKind::Ipc => "ipc",
            NamespaceKind::Mount => "mnt",
            NamespaceKind::Time => "time",
            NamespaceKind::User => "user",
            NamespaceKind::Uts => "uts",
            NamespaceKind::Cgroup => {
                return Err("CRIU cannot restore into a cgroup namespace by its path".to_owned());
            }
        };
        joined.push((name, path));
    }
    Ok(joined)
}

/// CRIU restores into a time namespace, so that clocks go on where they stood: who joins the container later has to join that too.
pub(crate) fn follow_time(namespaces: &mut Vec<Namespace>, pid: i32) {
    let time = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/time")).ok();
    let is_other = time("self") != time(&pid.to_string());
    if is_other && !namespaces.iter().any(|namespace| namespace.kind == NamespaceKind::Time) {
        namespaces.push(Namespace { kind: NamespaceKind::Time, path: None });
    }
}

fn path_of(namespaces: &[Namespace], kind: NamespaceKind) -> Option<&str> {
    let found = namespaces.iter().find(|namespace| namespace.kind == kind)?;
    found.path.as_deref().filter(|path| !path.is_empty())
}

/// What is passed on to CRIU.
pub(crate) fn held(inherited: &[(Inherited, OwnedFd)]) -> Vec<BorrowedFd<'_>> {
    inherited.iter().map(|(_, held)| held.as_fd()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_criu_joins_by_itself_is_named_as_it_calls_it() {
        let namespace = |kind, path: Option<&str>| Namespace { kind, path: path.map(str::to_owned) };
        let namespaces = [
            namespace(NamespaceKind::Pid, Some("/pid")),
            namespace(NamespaceKind::Mount, None),
            namespace(NamespaceKind::Ipc, Some("/ipc")),
            namespace(NamespaceKind::Uts, Some("")),
        ];
        assert_eq!(joined(&namespaces), Ok(vec![("ipc", "/ipc".to_owned())]));
        assert!(joined(&[namespace(NamespaceKind::Cgroup, Some("/c"))]).is_err());
    }

    #[test]
    fn the_callers_own_time_is_nothing_to_follow() {
        let mut namespaces = Vec::new();
        follow_time(&mut namespaces, std::process::id().cast_signed());
        assert_eq!(namespaces, []);
    }
}
