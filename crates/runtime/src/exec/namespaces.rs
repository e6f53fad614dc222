//! Namespaces that are entered after the clone, and the session keyring, which is the one kernel object without any.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use onggi_oci::NamespaceKind;
use onggi_sys::keyring;
use onggi_sys::namespace::{setns, unshare};

use super::problem::{Doing, Outcome, Problem};

/// The container's processes may find the keyring by its name, as exec joins it by that.
const USER_MAY_SEARCH: u32 = 0x0008_0000;
const ALL_OF_POSSESSOR: u32 = 0x3f00_0000;
const USER_MAY_VIEW_AND_READ: u32 = 0x0003_0000;

pub(super) fn join(kind: NamespaceKind, path: &Path) -> Outcome {
    let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let file =
        file.doing(|| format!("open the {} namespace {}", crate::plan::kind_name(kind), path.display()))?;
    setns(file.as_fd(), flag(kind))
        .doing(|| format!("join the {} namespace {}", crate::plan::kind_name(kind), path.display()))
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
