//! Namespaces that are entered after the clone, and the session keyring, which is the one kernel object without any.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use onggi_oci::{Namespace, NamespaceKind};
use onggi_sys::keyring;
use onggi_sys::namespace::{setns, unshare};

use super::problem::{Doing, Outcome, Problem};
use super::procfs::Procfs;
use super::{Part, StartError};
use crate::plan::{Launch, Step, TimeOffset, kind_name, namespace_of_parameter};

/// The container's processes may find the keyring by its name, as exec joins it by that.
const USER_MAY_SEARCH: u32 = 0x0008_0000;
const ALL_OF_POSSESSOR: u32 = 0x3f00_0000;
const USER_MAY_VIEW_AND_READ: u32 = 0x0003_0000;

pub(super) fn join(kind: NamespaceKind, path: &Path) -> Outcome {
    let file = open(kind, path)?;
    setns(file.as_fd(), flag(kind))
        .doing(|| format!("join the {} namespace {}", kind_name(kind), path.display()))
}

/// All that have a path, with a user namespace among them or none: first those that the rights of the caller's suffice for, which end
/// with the entry into the user namespace, then what only its root may enter (runc's order). Opened before, by who may still open them.
pub(super) fn join_all(namespaces: &[Namespace]) -> Outcome {
    let mut files = Vec::new();
    for namespace in namespaces {
        let Some(path) = &namespace.path else { continue };
        files.push((namespace.kind, path, open(namespace.kind, path.as_ref())?));
    }
    let user = files.iter().position(|(kind, ..)| *kind == NamespaceKind::User).map(|at| files.remove(at));
    let enter = |(kind, path, file): &(NamespaceKind, &String, OwnedFd)| {
        setns(file.as_fd(), flag(*kind)).doing(|| format!("join the {} namespace {path}", kind_name(*kind)))
    };
    let Some(user) = user else { return files.iter().try_for_each(enter) };
    files.retain(|namespace| enter(namespace).is_err());
    enter(&user)?;
    super::outside::become_root()?;
    files.iter().try_for_each(enter)
}

fn open(kind: NamespaceKind, path: &Path) -> Outcome<OwnedFd> {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file = file.doing(|| format!("open the {} namespace {}", kind_name(kind), path.display()))?;
    if kind == NamespaceKind::Mount {
        refuse_the_machines(&file, path)?;
    }
    Ok(file)
}

/// Whoever is in a mount namespace that a container joins gets the container's root for its own: pivot_root(2) swaps that of every process
/// there. With runc the caller's namespace and the machine's own go the same way, and with them the machine.
fn refuse_the_machines(namespace: &OwnedFd, path: &Path) -> Outcome {
    let identity = |file: &OwnedFd| {
        let stat = rustix::fs::fstat(file).doing(|| "fstat a mount namespace")?;
        Ok::<_, Problem>((stat.st_dev, stat.st_ino))
    };
    let procfs = Procfs::open().doing(|| "open /proc")?;
    let mut others = vec![procfs.mount_namespace("self").doing(|| "open the caller's mount namespace")?];
    // Who may not look at the first process has no right to its namespace either.
    others.extend(procfs.mount_namespace("1").ok());
    for other in &others {
        if identity(other)? == identity(namespace)? {
            return Err(Problem::new(format!(
                "the mount namespace {} is the caller's or the machine's own, whose processes would all get the container's root: \
                 leave the namespace out to share it, or its path for a new one",
                path.display()
            )));
        }
    }
    Ok(())
}

/// A namespace that is given by a path may be the caller's or the machine's own, whose parameters are nobody's to set (runc's rule, there for
/// the network alone).
pub(super) fn refuse_the_hosts_parameters(launch: &Launch, plan: Part<'_>) -> Result<(), StartError> {
    const KINDS: [(NamespaceKind, &str); 3] =
        [(NamespaceKind::Network, "net"), (NamespaceKind::Ipc, "ipc"), (NamespaceKind::Uts, "uts")];
    for (kind, name) in KINDS {
        let path =
            launch.namespaces.iter().find(|each| each.kind == kind).and_then(|each| each.path.as_ref());
        let Some(path) = path else { continue };
        let steps = plan.steps().map_err(|error| StartError::System { call: "read the plan", error })?;
        let values = steps.iter().filter_map(|step| match step {
            Step::Sysctls { values } => Some(values),
            _ => None,
        });
        let mut concerned = values.flatten().filter(|(path, _)| namespace_of_parameter(path) == Some(kind));
        let Some((parameter, _)) = concerned.next() else { continue };
        let identity = |path: &str| rustix::fs::stat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let joined = identity(path);
        // Who may not look at the first process has no right to its namespaces either. One that is not there is told of when it is joined.
        let is_the_hosts = ["self", "1"]
            .iter()
            .any(|process| joined.is_some() && joined == identity(&format!("/proc/{process}/ns/{name}")));
        if is_the_hosts {
            let name = parameter.replace('/', ".");
            return Err(StartError::HostParameter { name, kind: kind_name(kind) });
        }
    }
    Ok(())
}

/// The namespaces of a container's first process. Those that another user namespace owns are for the caller's rights, too.
pub(super) fn join_those_of(process: BorrowedFd<'_>, flags: i32) -> Outcome {
    let user = flags & flag(NamespaceKind::User);
    let others = flags & !user;
    let doing = || "enter the container's namespaces";
    if user == 0 {
        return if flags == 0 { Ok(()) } else { setns(process, flags).doing(doing) };
    }
    match setns(process, others) {
        Ok(()) => setns(process, user).doing(doing)?,
        Err(_) => setns(process, flags).doing(doing)?,
    }
    super::outside::become_root()
}

/// Makes a time namespace, sets its clocks, which only a namespace without processes allows, and enters it.
pub(super) fn new_time(procfs: &Procfs, offsets: &[TimeOffset]) -> Outcome {
    unshare(flag(NamespaceKind::Time)).doing(|| "unshare the time namespace")?;
    if !offsets.is_empty() {
        procfs.write("self/timens_offsets", &offsets_text(offsets)).doing(|| "write timens_offsets")?;
    }
    enter_time(procfs)
}

/// The one that was made for children: what is single-threaded may enter it itself, and needs no other process for that.
pub(super) fn enter_time(procfs: &Procfs) -> Outcome {
    let namespace = procfs.time_for_children().doing(|| "open the time namespace")?;
    setns(namespace.as_fd(), flag(NamespaceKind::Time)).doing(|| "enter the time namespace")
}

/// As `timens_offsets` takes them, in one write.
pub(super) fn offsets_text(offsets: &[TimeOffset]) -> String {
    let line = |offset: &TimeOffset| format!("{} {} {}\n", offset.clock, offset.seconds, offset.nanoseconds);
    offsets.iter().map(line).collect()
}

pub(super) fn unshare_cgroup() -> Outcome {
    unshare(flag(NamespaceKind::Cgroup)).doing(|| "unshare the cgroup namespace")
}

/// Without it the container would share the caller's keys. A kernel without keyrings, or a filter around us, has none to share.
pub(super) fn join_keyring(name: &str) -> Outcome {
    let c_name = CString::new(name).map_err(|_| Problem::new("the keyring's name holds a zero byte"))?;
    match keyring::join_session(&c_name) {
        Ok(serial) => {
            keyring::set_permissions(serial, ALL_OF_POSSESSOR | USER_MAY_SEARCH | USER_MAY_VIEW_AND_READ)
                .doing(|| format!("set the permissions of keyring {name}"))
        }
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::Unsupported | std::io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(())
        }
        Err(error) => Err(Problem::of(format_args!("join session keyring {name}"), error)),
    }
}

/// `CLONE_NEW…`.
pub(super) fn flag(kind: NamespaceKind) -> i32 {
    match kind {
        NamespaceKind::Cgroup => 0x0200_0000,
        NamespaceKind::Ipc => 0x0800_0000,
        NamespaceKind::Mount => 0x0002_0000,
        NamespaceKind::Network => 0x4000_0000,
        NamespaceKind::Pid => 0x2000_0000,
        NamespaceKind::Time => 0x0000_0080,
        NamespaceKind::User => 0x1000_0000,
        NamespaceKind::Uts => 0x0400_0000,
    }
}
