//! `setns(2)` and `unshare(2)` with plain flags, and whether root is root.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicU8, Ordering};

/// What [`in_user_namespace`] found last: it is asked many times on the way to a start, and changes only through this file.
static FOUND: AtomicU8 = AtomicU8::new(NOT_ASKED);
const NOT_ASKED: u8 = 0;
const FIRST: u8 = 1;
const INSIDE: u8 = 2;

/// Enters the namespace behind a descriptor of `/proc/PID/ns/…`, or those named by `flags` of the process behind a pidfd
/// (Linux 5.8).
///
/// # Errors
/// The kernel's: `EINVAL` if the descriptor is of another kind than `flags`, `EPERM`.
pub fn setns(descriptor: BorrowedFd<'_>, flags: i32) -> io::Result<()> {
    forget();
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
        | libc::CLONE_NEWTIME
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWUTS;
    if flags & !namespaces != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    forget();
    // SAFETY: no memory is passed, and with these flags no descriptor table is unshared behind a thread's back.
    check(unsafe { libc::unshare(flags) })
}

/// Whether this process is in a user namespace other than the host's first: root here is not root of the machine.
#[must_use]
pub fn in_user_namespace() -> bool {
    match FOUND.load(Ordering::Relaxed) {
        FIRST => false,
        INSIDE => true,
        _ => {
            let inside = !is_known_first() && {
                // Without /proc nothing of Onggi works; root is then taken for root.
                let map = crate::kernel_file::read_text("/proc/self/uid_map".as_ref());
                map.is_ok_and(|map| !is_whole(&map))
            };
            FOUND.store(if inside { INSIDE } else { FIRST }, Ordering::Relaxed);
            inside
        }
    }
}

/// For who is in another one now.
pub(crate) fn forget() {
    FOUND.store(NOT_ASKED, Ordering::Relaxed);
}

/// Whether it is the one whose number is part of the kernel's interface (`PROC_USER_INIT_INO`, linux/proc_ns.h): one call in place of four.
fn is_known_first() -> bool {
    const FIRST_NUMBER: u64 = 0xEFFF_FFFD;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == FIRST_NUMBER)
}

/// Whether a map is that of the first user namespace: every id is itself.
fn is_whole(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_first_user_namespace_maps_every_id_to_itself() {
        assert!(super::is_whole("         0          0 4294967295\n"));
        assert!(!super::is_whole("         0       1000          1\n         1     100000      65536\n"));
        assert!(!super::is_whole(""));
    }
}
