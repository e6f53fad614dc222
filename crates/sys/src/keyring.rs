//! `keyctl(2)`: a session keyring of one's own.

use std::ffi::CStr;
use std::io;

/// Joins the session keyring of this name, or makes it, and returns its serial number.
///
/// # Errors
/// The kernel's: `ENOSYS` without keyrings, `EPERM` under a filter, `EDQUOT`, `EACCES` if the name is somebody else's.
pub fn join_session(name: &CStr) -> io::Result<i32> {
    // SAFETY: the kernel reads the terminated name and nothing else.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    if serial < 0 { Err(io::Error::last_os_error()) } else { Ok(serial as i32) }
}

/// Sets who may see, read, search … a key: bits by possessor, user, group, other from the highest byte down.
///
/// # Errors
/// The kernel's.
pub fn set_permissions(serial: i32, permissions: u32) -> io::Result<()> {
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, serial, permissions) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
