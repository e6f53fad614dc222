//! Open file description locks (`fcntl(2)`, `F_OFD_*`): on the whole file, exclusive or shared, or on one byte of it.
//!
//! They belong to the open file, so threads and `dup` share them and they end with its last descriptor; and unlike `flock(2)` a
//! third party can ask who holds one without ever taking it, which is how a monitor is known to be alive.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Waits until the lock is ours.
///
/// # Errors
/// `EBADF` if the descriptor is not open for writing, `ENOLCK`, `EINTR` never (it is retried).
pub fn lock(file: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match call(file, libc::F_OFD_SETLKW, libc::F_WRLCK, WHOLE) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| ()),
        }
    }
}

/// Opens a file that is to be locked, for reading and writing, and makes it if it is not there: never through a link, and for its owner alone, since
/// whoever may read it can share the lock and so keep everybody waiting. One that others may read is narrowed.
///
/// # Errors
/// Those of open(2); `ELOOP` for a link.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.create(true).truncate(false).read(true).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path)?;
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        // Another's file stays as it is.
        let _ = file.set_permissions(Permissions::from_mode(0o600));
    }
    Ok(file)
}

/// Takes the lock if nobody has it; `false` if somebody does.
///
/// # Errors
/// As [`lock`].
pub fn try_lock(file: BorrowedFd<'_>) -> io::Result<bool> {
    take(file, WHOLE)
}

/// As [`try_lock`], for one byte, which need not be there: as many locks as there are offsets, in one file. At most 2^63 - 2.
///
/// # Errors
/// As [`lock`]; `EINVAL`, `EOVERFLOW` for an offset that is none.
pub fn try_lock_byte(file: BorrowedFd<'_>, offset: u64) -> io::Result<bool> {
    let start = libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    take(file, (start, 1))
}

/// Where a range begins, and its length; none is to the end of whatever the file becomes.
type Range = (libc::off_t, libc::off_t);
const WHOLE: Range = (0, 0);

fn take(file: BorrowedFd<'_>, range: Range) -> io::Result<bool> {
    match call(file, libc::F_OFD_SETLK, libc::F_WRLCK, range) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Waits until nobody has the lock for himself, and shares it with whoever else does.
///
/// # Errors
/// As [`lock`]; the descriptor must be open for reading.
pub fn lock_shared(file: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match call(file, libc::F_OFD_SETLKW, libc::F_RDLCK, WHOLE) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|_| ()),
        }
    }
}

/// Gives the lock back before the descriptor is closed.
///
/// # Errors
/// As [`lock`].
pub fn unlock(file: BorrowedFd<'_>) -> io::Result<()> {
    call(file, libc::F_OFD_SETLK, libc::F_UNLCK, WHOLE).map(|_| ())
}

/// Whether another open file description holds the lock. Takes nothing.
///
/// # Errors
/// As [`lock`].
pub fn is_held(file: BorrowedFd<'_>) -> io::Result<bool> {
    call(file, libc::F_OFD_GETLK, libc::F_WRLCK, WHOLE).map(|kind| kind != libc::F_UNLCK)
}

fn call(
    file: BorrowedFd<'_>,
    command: libc::c_int,
    kind: libc::c_int,
    (start, length): Range,
) -> io::Result<libc::c_int> {
    // SAFETY: `flock` is plain data for which all zeroes is valid; `l_pid` must be 0 for OFD locks.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    (lock.l_start, lock.l_len) = (start, length);
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
    fn a_lock_is_its_owners_alone_and_no_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("lock"), directory.path().join("link"));
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        for path in [&path, &directory.path().join("new")] {
            assert_eq!(open(path).unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(open(&link).unwrap_err().raw_os_error(), Some(libc::ELOOP));
    }

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

    #[test]
    fn bytes_are_locked_each_for_itself() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second) = (file.reopen().unwrap(), file.reopen().unwrap());
        let far = u64::MAX >> 4;
        assert!(try_lock_byte(first.as_fd(), far).unwrap());
        assert!(!try_lock_byte(second.as_fd(), far).unwrap());
        assert!(try_lock_byte(second.as_fd(), far + 1).unwrap());
        drop(first);
        assert!(try_lock_byte(second.as_fd(), far).unwrap());
        assert!(try_lock_byte(second.as_fd(), u64::MAX).is_err());
    }

    #[test]
    fn those_who_share_keep_out_one_who_does_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (first, second, third) = (file.reopen().unwrap(), file.reopen().unwrap(), file.reopen().unwrap());
        lock_shared(first.as_fd()).unwrap();
        lock_shared(second.as_fd()).unwrap();
        assert!(!try_lock(third.as_fd()).unwrap());
        drop(first);
        assert!(!try_lock(third.as_fd()).unwrap());
        unlock(second.as_fd()).unwrap();
        assert!(try_lock(third.as_fd()).unwrap());
    }
}
