//! Open file description locks (`fcntl(2)`, `F_OFD_*`): exclusive, on the whole file.
//!
//! They belong to the open file, so threads and `dup` share them and they end with its last descriptor; and unlike `flock(2)` a
//! third party can ask who holds one without ever taking it, which is how a monitor is known to be alive.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until the lock is ours.
///
/// # Errors
/// `EBADF` if the descriptor is not open for writing, `ENOLCK`, `EINTR` never (it is retried).
pub fn lock(file: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match call(file, libc::F_OFD_SETLKW, libc::F_WRLCK) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| ()),
        }
    }
}

/// Takes the lock if nobody has it; `false` if somebody does.
///
/// # Errors
/// As [`lock`].
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    match call(file, libc::F_OFD_SETLK, libc::F_WRLCK) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether another open file description holds the lock. Takes nothing.
///
/// # Errors
/// As [`lock`].
pub fn is_held(file: BorrowedFd<'_>) -> io::Result<bool> {
    call(file, libc::F_OFD_GETLK, libc::F_WRLCK).map(|kind| kind != libc::F_UNLCK)
}

fn call(file: BorrowedFd<'_>, command: libc::c_int, kind: libc::c_int) -> io::Result<libc::c_int> {
    // SAFETY: `flock` is plain data for which all zeroes is valid: the whole file, and `l_pid` 0 as OFD locks demand.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads and writes only `lock`.
    if unsafe { libc::fcntl(file.as_raw_fd(), command, &raw mut lock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(lock.l_type))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn one_holder_at_a_time_and_asking_takes_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(!is_held(first.as_fd()).unwrap());
        assert!(try_lock(first.as_fd()).unwrap());
        assert!(is_held(second.as_fd()).unwrap());
        assert!(!try_lock(second.as_fd()).unwrap());
        assert!(!is_held(first.as_fd()).unwrap(), "one's own lock is no conflict");
        drop(first);
        assert!(!is_held(second.as_fd()).unwrap());
        assert!(try_lock(second.as_fd()).unwrap());
    }
}
