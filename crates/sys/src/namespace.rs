//! `setns(2)` and `unshare(2)` with plain flags.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Enters the namespace behind a descriptor of `/proc/PID/ns/…`, or those named by `flags` of the process behind a pidfd
/// (Linux 5.8).
///
/// # Errors
/// The kernel's: `EINVAL` if the descriptor is of another kind than `flags`, `EPERM`.
pub fn setns(descriptor: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::setns(descriptor.as_raw_fd(), flags) })
}

/// Leaves namespaces for new ones. Refuses `CLONE_FILES`, `CLONE_FS` and the like: this is for `CLONE_NEW…`.
///
/// # Errors
/// The kernel's, and `EINVAL` for other flags.
pub fn unshare(flags: i32) -> io::Result<()> {
    let namespaces = libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    if flags & !namespaces != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: no memory is passed, and with these flags no descriptor table is unshared behind a thread's back.
    check(unsafe { libc::unshare(flags) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
