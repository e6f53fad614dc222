//! What rustix lacks for process descriptors: signals by number, and the exit status of somebody else's child.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `pidfd_send_signal(2)` (Linux 5.1) with any signal, real-time ones too; 0 only asks whether the process is there.
///
/// # Errors
/// `ESRCH` if it has ended, `EINVAL` for a number that is no signal, `EPERM`.
pub fn send_signal(process: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is borrowed for the call, and a null pointer means "as kill(2) would fill it".
    let code =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, info, 0_u32) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The first 64 bytes of the kernel's `struct pidfd_info`, its first published size.
#[repr(C)]
#[derive(Default)]
struct Info {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const WANT_EXIT: u64 = 1 << 3;
/// `_IOWR(PIDFS_IOCTL_MAGIC, 11, struct pidfd_info)` with the size of [`Info`].
const GET_INFO: libc::c_ulong = (3 << 30) | (64 << 16) | (0xFF << 8) | 11;

/// The wait status of a process that has ended and was reaped, whoever its parent was (`PIDFD_GET_INFO`, Linux 6.15). The
/// descriptor must have been opened while it lived.
///
/// # Errors
/// `ENOTTY` or `EINVAL` on older kernels, `ESRCH` or `ENODATA` while nobody has reaped it.
pub fn exit_status(process: BorrowedFd<'_>) -> io::Result<i32> {
    let mut info = Info { mask: WANT_EXIT, ..Info::default() };
    // SAFETY: the kernel reads and writes at most the size that is coded into the request, which is that of `Info`.
    if unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO, &raw mut info) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if info.mask & WANT_EXIT == 0 {
        return Err(io::Error::from_raw_os_error(libc::ENODATA));
    }
    Ok(info.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn the_structure_has_the_kernels_first_size() {
        assert_eq!(size_of::<Info>(), 64);
    }

    #[test]
    fn an_ended_child_tells_its_status_after_it_was_reaped() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "read x; exit 7"])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
        send_signal(pidfd.as_fd(), 0).unwrap();
        assert_eq!(send_signal(pidfd.as_fd(), 999).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert!(exit_status(pidfd.as_fd()).is_err(), "it still lives");
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(send_signal(pidfd.as_fd(), 0).unwrap_err().raw_os_error(), Some(libc::ESRCH));
        match exit_status(pidfd.as_fd()) {
            Ok(status) => assert_eq!(status, 7 << 8),
            Err(error) => {
                assert!(matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)), "{error}")
            }
        }
    }
}
