//! The change of root.

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::tree::propagate;
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

/// Moves the tree over the root and changes to it, for a root that cannot be swapped. The machine's own mounts stay below, and a process
/// that may mount could make a procfs of its own as long as a whole one is there for it to be found (`mount_too_revealing`): so those,
/// and sysfs, go first (runc's `msMoveRoot`).
pub(super) fn move_over(child: &Child<'_>, at: &Path, propagation: Option<Propagation>) -> Outcome {
    let table = child.procfs.read("self/mountinfo").doing(|| "read the table of mounts")?;
    for place in revealing(&table, at) {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mount = match rustix::fs::openat(CWD, &place, flags, Mode::empty()) {
            // Below one that has gone already.
            Err(Errno::NOENT) => continue,
            other => other.doing(|| format!("open {}", place.display()))?,
        };
        let slave = Propagation { kind: PropagationKind::Slave, recursive: true };
        propagate(mount.as_fd(), slave).doing(|| format!("part {} from the host", place.display()))?;
        drop(mount);
        match rustix::mount::unmount(&place, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // One that came with the namespace and may not be uncovered.
            Err(Errno::INVAL | Errno::PERM) => {
                rustix::mount::mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None)
                    .doing(|| format!("cover {}", place.display()))?;
            }
            other => other.doing(|| format!("unmount {}", place.display()))?,
        }
    }
    rustix::process::fchdir(child.root()?).doing(|| "fchdir to the root file system")?;
    rustix::mount::mount_move(".", "/").doing(|| "move the root file system over /")?;
    rustix::process::chroot(".").doing(|| "chroot")?;
    rustix::process::chdir("/").doing(|| "chdir /")?;
    propagation.map_or(Ok(()), |propagation| {
        propagate(child.root()?.as_fd(), propagation).doing(|| "set the root's propagation")
    })
}

/// Where whole file systems of processes and devices are mounted, outside of this directory.
fn revealing(table: &str, except: &Path) -> Vec<PathBuf> {
    let place = |line: &str| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, place) = (fields.next()?, PathBuf::from(unescape(fields.next()?)));
        let is_whole = root == "/" && matches!(kind.split(' ').next(), Some("proc" | "sysfs"));
        (is_whole && !place.starts_with(except)).then_some(place)
    };
    table.lines().filter_map(place).collect()
}

/// The kernel writes space, tab, line end and backslash as three octal digits (proc_pid_mountinfo(5)).
pub(super) fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let code = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match behind.get(..3).filter(|_| byte == b'\\').and_then(code) {
            Some(code) => (bytes, rest) = ([bytes, vec![code]].concat(), &behind[3..]),
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    OsString::from_vec(bytes)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reveals_the_machine_is_found() {
        let table = "22 28 0:21 / /proc rw,nosuid - proc proc rw\n\
                     23 28 0:22 / /sys rw - sysfs sysfs rw\n\
                     24 28 0:21 /sys /partly rw - proc proc rw\n\
                     25 28 0:23 / /with\\040space rw shared:3 - proc proc rw\n\
                     26 28 0:23 / /bundle/rootfs/proc rw - proc proc rw\n\
                     27 28 8:1 / / rw - ext4 /dev/sda1 rw\n";
        let places = revealing(table, Path::new("/bundle/rootfs"));
        assert_eq!(places, ["/proc", "/sys", "/with space"].map(PathBuf::from));
    }
}
