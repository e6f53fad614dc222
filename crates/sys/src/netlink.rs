//! Options of netlink sockets (`netlink(7)`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Errors come with the kernel's own words (`NETLINK_EXT_ACK`) and without the request that they are about (`NETLINK_CAP_ACK`).
///
/// # Errors
/// `setsockopt(2)`'s.
pub fn explain_errors(socket: BorrowedFd<'_>) -> io::Result<()> {
    set(socket, libc::NETLINK_EXT_ACK)?;
    set(socket, libc::NETLINK_CAP_ACK)
}

fn set(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes from `on`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_NETLINK, option, (&raw const on).cast(), length)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
