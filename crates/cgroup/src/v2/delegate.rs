//! Delegation: a group whose processes somebody else manages. Which files that takes the kernel says itself; all others, and with them the
//! limits, stay whose they are (cgroups(7), "Cgroup delegation").

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Uid};
use rustix::io::Errno;

/// Which files of a group are for whom it is delegated to (cgroups(7)).
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// Where the kernel has no such list (before 4.15).
const OLD_DELEGATE: &str = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";

/// Gives a user the directory, and the files in it that the kernel says are harmless.
pub(crate) fn give(group: &OwnedFd, owner: u32) -> io::Result<()> {
    let list = std::fs::read_to_string(DELEGATE).unwrap_or_else(|_| OLD_DELEGATE.to_owned());
    let owner = Some(Uid::from_raw(owner));
    let give_one = |file: &str, flags| match rustix::fs::chownat(group, file, owner, None, flags) {
        // The list is of all files that some kind of group has.
        Err(Errno::NOENT) => Ok(()),
        // The specification leaves it to us, and an ordinary user can give nothing away.
        Err(Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
        other => other,
    };
    give_one("", AtFlags::EMPTY_PATH)?;
    let files = list.lines().filter(|file| !file.is_empty() && !file.contains('/'));
    Ok(files.into_iter().try_for_each(|file| give_one(file, AtFlags::SYMLINK_NOFOLLOW))?)
}
