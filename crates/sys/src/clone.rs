//! `clone3(2)`: a child in new namespaces and straight in its cgroup, held by a pidfd.
//!
//! The child goes on where the parent was, with a copy of its memory. Locks held by the parent's other threads would stay
//! held in it for ever, so these are for single-threaded callers only, and they say so with an error.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of the two processes returned.
#[derive(Debug)]
pub enum Forked {
    Child,
    Parent { pid: i32, pidfd: OwnedFd },
}

/// What the child gets for itself.
#[derive(Debug, Default)]
pub struct Clone<'a> {
    /// `CLONE_NEW…` and other flags that leave memory and descriptors copied. `CLONE_PIDFD` is always added.
    pub flags: u64,
    /// A directory of the cgroup2 file system to start in (Linux 5.7).
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Set in a child: it has been single-threaded since its birth, and is spared the question, which it might have to put to a /proc of
/// somebody else's.
static BORN_HERE: AtomicBool = AtomicBool::new(false);

/// `CLONE_INTO_CGROUP`, which libc has as a type too small for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Starts the child.
///
/// # Errors
/// The kernel's; `EBUSY` if the calling process has other threads; `EINVAL` if a flag would share memory.
pub fn clone3(options: &Clone<'_>) -> io::Result<Forked> {
    refuse_threads()?;
    let shared = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_THREAD | libc::CLONE_SETTLS;
    if options.flags & (shared as u64) != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut pidfd: libc::c_int = -1;
    // SAFETY: `clone_args` is plain integers; all zeroes is the documented "nothing asked for".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = options.flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    // With CLONE_PARENT the signal is that of the caller, and the kernel wants 0 here.
    arguments.exit_signal =
        if options.flags & libc::CLONE_PARENT as u64 == 0 { libc::SIGCHLD as u64 } else { 0 };
    if let Some(cgroup) = options.cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM this is fork(2): the child has its own copy of the stack and memory, and as there are no other
    // threads no lock can be left held in it. The kernel writes only `pidfd`.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, std::mem::size_of_val(&arguments)) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            BORN_HERE.store(true, Ordering::Relaxed);
            crate::namespace::forget();
            Ok(Forked::Child)
        }
        pid => {
            // SAFETY: the kernel has just opened it for us (with O_CLOEXEC), and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent { pid: pid as i32, pidfd })
        }
    }
}

/// A child of this process that has ended; it stays to be reaped. `None`: there is none now.
#[must_use]
pub fn ended_child() -> Option<i32> {
    // SAFETY: `siginfo_t` is plain integers, and all zeroes is what the kernel leaves of it when there is nothing to tell.
    let mut information: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the kernel writes only `information`, which outlives the call.
    let failed = unsafe { libc::waitid(libc::P_ALL, 0, &raw mut information, options) } != 0;
    // SAFETY: after waitid(2) the member is the one that is filled.
    let pid = unsafe { information.si_pid() };
    (!failed && pid != 0).then_some(pid)
}

/// `fork(2)` with a pidfd.
///
/// # Errors
/// As [`clone3`].
pub fn fork() -> io::Result<Forked> {
    clone3(&Clone::default())
}

/// Ends the process at once: no destructors, no handlers, no flushing of what belongs to the parent.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: never returns and touches no memory.
    unsafe { libc::_exit(code) }
}

/// The number of links of the task directory is 2 and one for each thread: one call.
fn refuse_threads() -> io::Result<()> {
    if BORN_HERE.load(Ordering::Relaxed) || rustix::fs::stat("/proc/self/task")?.st_nlink <= 3 {
        return Ok(());
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_process_is_refused() {
        // The test harness runs this in a thread beside its main one.
        let error = fork().map(|_| ()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
    }

    #[test]
    fn shared_memory_is_refused() {
        let error = clone3(&Clone { flags: libc::CLONE_VM as u64, cgroup: None }).map(|_| ()).unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EBUSY)));
    }
}
