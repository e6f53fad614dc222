//! `seccomp(2)`: loads a ready filter program.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The most instructions that the kernel takes (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;
const INSTRUCTION: usize = 8;

/// Loads the program: instructions of 8 bytes (code u16, jt u8, jf u8, k u32, in this machine's byte order).
/// Needs `no_new_privs` or CAP_SYS_ADMIN. `flags` are `SECCOMP_FILTER_FLAG_…` but for those that return a descriptor.
///
/// # Errors
/// `EINVAL` if the length is no multiple of 8, too long, or the kernel's checker refuses the program; `EACCES` without privilege.
pub fn load(program: &[u8], flags: u32) -> io::Result<()> {
    if flags & NEW_LISTENER != 0 {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    set(program, flags).map(drop)
}

/// As [`load`] with `SECCOMP_FILTER_FLAG_NEW_LISTENER`, which is added: calls of the action NOTIFY are answered over the descriptor
/// that comes back (Linux 5.0), which is close-on-exec.
///
/// # Errors
/// As [`load`]; `EBUSY` if a filter of this process has a listener already.
pub fn load_with_listener(program: &[u8], flags: u32) -> io::Result<OwnedFd> {
    let descriptor = set(program, flags | NEW_LISTENER)?;
    // SAFETY: the kernel has just made this descriptor for the caller, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Whether the kernel knows these flags. Nothing is loaded.
#[must_use]
pub fn knows(flags: u32) -> bool {
    // SAFETY: with a null pointer for the program, the kernel looks at the flags and then fails with EFAULT (seccomp(2), and
    // libseccomp's way of asking).
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::null::<libc::sock_fprog>(),
        )
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

const NEW_LISTENER: u32 = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32;

fn set(program: &[u8], flags: u32) -> io::Result<i32> {
    let count = program.len() / INSTRUCTION;
    if !program.len().is_multiple_of(INSTRUCTION) || count == 0 || count > MOST_INSTRUCTIONS {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut filters = Vec::with_capacity(count);
    for bytes in program.chunks_exact(INSTRUCTION) {
        filters.push(libc::sock_filter {
            code: u16::from_ne_bytes([bytes[0], bytes[1]]),
            jt: bytes[2],
            jf: bytes[3],
            k: u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
        });
    }
    let program = libc::sock_fprog { len: count as u16, filter: filters.as_mut_ptr() };
    // SAFETY: `program` and the instructions live until the call returns, and the kernel only reads and copies them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_asked_about_flags_without_loading_anything() {
        assert!(knows(libc::SECCOMP_FILTER_FLAG_LOG as u32));
        assert!(!knows(1 << 30));
        let mode = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(mode.contains("Seccomp:\t0"), "nothing was loaded");
    }
}
