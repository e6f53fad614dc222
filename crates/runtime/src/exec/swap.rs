//! The change of root.

use std::os::fd::AsFd;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::UnmountFlags;

use super::child::Child;
use super::mount::propagate;
use super::problem::{Doing, Outcome};
use crate::plan::{Propagation, PropagationKind};

/// `pivot_root(".", ".")`: the old root ends on top of the new one, and is taken away with everything below it.
pub(super) fn pivot(child: &Child<'_>, propagation: Option<Propagation>) -> Outcome {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let old = rustix::fs::openat(CWD, "/", flags, Mode::empty()).doing(|| "open /")?;
    rustix::process::fchdir(child.root()?).doing(|| "fchdir to the root file system")?;
    rustix::process::pivot_root(".", ".").doing(|| "pivot_root")?;
    rustix::process::fchdir(&old).doing(|| "fchdir to the old root")?;
    if propagation.is_some_and(|propagation| propagation.kind == PropagationKind::Shared) {
        // Or the unmounting below would reach the host.
        let slave = Propagation { kind: PropagationKind::Slave, recursive: true };
        propagate(old.as_fd(), slave).doing(|| "part the old root from the host")?;
    }
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "unmount the old root")?;
    rustix::process::chdir("/").doing(|| "chdir /")?;
    if let Some(propagation) = propagation {
        propagate(child.root()?.as_fd(), propagation).doing(|| "set the root's propagation")?;
    }
    Ok(())
}

/// `chroot(2)` into a tree that is attached to nothing: there is nothing above its root to climb to.
pub(super) fn change_root(child: &Child<'_>) -> Outcome {
    rustix::process::fchdir(child.root()?).doing(|| "fchdir to the root file system")?;
    rustix::process::chroot(".").doing(|| "chroot")?;
    rustix::process::chdir("/").doing(|| "chdir /")
}
