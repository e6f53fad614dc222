//! `mount_setattr(2)` (Linux 5.12): flags and propagation of a mount by its descriptor, of it alone or with all below it.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `struct mount_attr`: bits to set and to clear, and a propagation (`MS_SHARED` and so on) or 0.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct MountAttributes {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    pub user_namespace: u64,
}

/// Changes the mount that the descriptor is in; it must be the mount's root.
///
/// # Errors
/// The kernel's: `EINVAL` if the descriptor is not a mount's root, or for contradicting bits.
pub fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attributes: MountAttributes) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a constant, and the kernel only reads `attributes`, whose layout is that of `struct mount_attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of_val(&attributes),
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
