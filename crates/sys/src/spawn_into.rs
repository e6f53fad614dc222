//! Starting a program that leaves its caller, born in a cgroup of its own: `clone3(2)` with `CLONE_INTO_CGROUP`, then exec.
//!
//! [`super::spawn`] is cheaper by some 0.1 ms, because it copies no page tables; but a program that moves into a v2 cgroup by itself pays
//! for a lock over all forks of the machine, 7 ms and more after an idle moment (docs/decisions/0006-cgroup-join.md).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::clone::{Clone, Forked, clone3, exit_now};

/// A child that is about to execute its program.
#[derive(Debug)]
pub struct Begun {
    pid: i32,
    pidfd: OwnedFd,
    /// Closed by the exec, or told why there is none.
    told: OwnedFd,
}

/// As [`super::spawn::detached`], in this directory of the cgroup2 file system. Returns at once: what the child needs to reach its program has to
/// stay until [`Begun::finish`].
///
/// # Errors
/// `EBUSY` if the caller has other threads: then it is `detached` that can be used. `EACCES` and the like if the cgroup may not be
/// entered.
pub fn detached_into(
    cgroup: BorrowedFd<'_>,
    program: &CStr,
    arguments: &[&CStr],
    environment: &[&CStr],
    descriptor: BorrowedFd<'_>,
) -> io::Result<Begun> {
    let owned = |texts: &[&CStr]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<CString>>();
    let (arguments, environment) = (owned(arguments), owned(environment));
    let (told, first) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let tell = above(first.as_fd())?;
    // Or our own end would keep the pipe open.
    drop(first);
    match clone3(&Clone { flags: 0, cgroup: Some(cgroup) })? {
        Forked::Child => {
            let error = arrange(descriptor)
                .err()
                .unwrap_or_else(|| crate::process::execve(program, &arguments, &environment));
            let errno = error.raw_os_error().unwrap_or(libc::EIO);
            // If even this cannot be told, the caller finds a program that has ended.
            let _ = rustix::io::write(&tell, &errno.to_ne_bytes());
            exit_now(127)
        }
        Forked::Parent { pid, pidfd } => Ok(Begun { pid, pidfd, told }),
    }
}

impl Begun {
    /// Waits until the program runs, and answers its process id.
    ///
    /// # Errors
    /// The kernel's word on the exec; then the child has ended.
    pub fn finish(self) -> io::Result<i32> {
        let mut errno = [0; 4];
        // Closed by the exec, and then there is nothing to read.
        if rustix::io::retry_on_intr(|| rustix::io::read(&self.told, &mut errno))? < errno.len() {
            return Ok(self.pid);
        }
        let options = rustix::process::WaitIdOptions::EXITED;
        rustix::io::retry_on_intr(|| {
            rustix::process::waitid(rustix::process::WaitId::PidFd(self.pidfd.as_fd()), options)
        })?;
        Err(io::Error::from_raw_os_error(i32::from_ne_bytes(errno)))
    }
}

/// The session, the signals and the descriptors 0 to 3.
fn arrange(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let descriptor = above(descriptor)?;
    rustix::process::setsid()?;
    crate::process::reset_signals();
    let null = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    let null = above(null.as_fd())?;
    for stream in 0..3 {
        duplicate(&null, stream)?;
    }
    duplicate(&descriptor, 3)
}

/// A copy with a number that none of 0 to 3 is, closed by the exec.
fn above(descriptor: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 4)?)
}

/// `dup2(2)`: the copy stays open over the exec.
fn duplicate(from: &OwnedFd, to: RawFd) -> io::Result<()> {
    // SAFETY: the process has one thread, and whatever had this number is not used again: the program is executed next.
    if unsafe { libc::dup2(from.as_raw_fd(), to) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
