//! Sockets that speak from somebody else's address: `IP_TRANSPARENT` (`ip(7)`) and `SO_MARK` (`socket(7)`).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Lets a socket of a network namespace be bound to an address that is not of that namespace, and gives its packets a mark.
///
/// # Errors
/// `EPERM` without `CAP_NET_ADMIN` over the socket's network namespace.
pub fn borrow_addresses(socket: BorrowedFd<'_>, ipv4: bool, mark: u32) -> io::Result<()> {
    let (level, name) =
        if ipv4 { (libc::SOL_IP, libc::IP_TRANSPARENT) } else { (libc::SOL_IPV6, libc::IPV6_TRANSPARENT) };
    set(socket, level, name, 1)?;
    set(socket, libc::SOL_SOCKET, libc::SO_MARK, mark)
}

fn set(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: u32) -> io::Result<()> {
    let size = std::mem::size_of_val(&value) as libc::socklen_t;
    // SAFETY: the kernel reads one number of this size, which outlives the call.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), size) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
