//! The change of root.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::mount::UnmountFlags;

use super::child::Child;
use super::mount::propagate;
use super::problem::{Doing, Outcome, Problem};
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
    enter(child.root()?)
}

/// Makes a directory the root.
pub(super) fn enter(root: impl AsFd) -> Outcome {
    rustix::process::fchdir(root).doing(|| "fchdir to the root file system")?;
    rustix::process::chroot(".").doing(|| "chroot")?;
    rustix::process::chdir("/").doing(|| "chdir /")
}

/// The root of the process behind a pidfd, if it is still the tree that was made for it.
///
/// That process may have changed its root since, to any directory that it holds; one of the host's, got through a socket, must not become what Landlock
/// opens to the next process. A tree that is attached nowhere is in nobody's table of mounts, and its root is a mount's.
pub(super) fn root_of(process: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let ended = || Problem::new("the container's first process has ended");
    let path = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let text = std::fs::read_to_string(&path).doing(|| format!("read {path}"))?;
    let number = text.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    let number = number.filter(|&number| number > 0).ok_or_else(ended)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{number}/root"), flags, Mode::empty())
        .doing(|| "open the container's root")?;
    // The number is that of the process as long as it has not ended.
    onggi_sys::pidfd::send_signal(process, 0).map_err(|_| ended())?;
    let stat = statx(&root, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).doing(|| "statx")?;
    let table = std::fs::read_to_string("/proc/self/mountinfo").doing(|| "read /proc/self/mountinfo")?;
    let id = stat.stx_mnt_id.to_string();
    let is_attached = table.lines().any(|line| line.split(' ').next() == Some(id.as_str()));
    if is_attached || !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Problem::new(
            "the container's first process has changed its root, so nobody can join it",
        ));
    }
    Ok(root)
}
