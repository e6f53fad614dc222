//! Descriptors that a process finds open when it begins: given by whoever spawned it, or by itself before it executed another program.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;

/// Takes ownership of an inherited descriptor and marks it close-on-exec. The number must have been agreed on with the parent, and
/// each may be taken once: nothing else in the program may own it.
///
/// # Errors
/// `EBADF` if it is not open; `EINVAL` for a negative number.
pub fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: borrowed only for the next call, which fails harmlessly if it is not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    rustix::io::fcntl_setfd(borrowed, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, as the call above has shown, and by the contract above nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
