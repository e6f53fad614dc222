//! Landlock (Linux 5.13): limits the calling process, for good, to what lies below some directories.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// `struct landlock_ruleset_attr`.
#[repr(C)]
struct RulesetAttributes {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`, packed as the kernel has it.
#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

const CREATE_RULESET_VERSION: u32 = 1;
const RULE_PATH_BENEATH: u32 = 1;
/// Abstract unix sockets and signals stay inside (version 6, Linux 6.12).
const SCOPE_ALL: u64 = 3;

/// What the kernel speaks: 1 for Linux 5.13, 6 for 6.12.
///
/// # Errors
/// `ENOSYS` if it was built without Landlock, `EOPNOTSUPP` if it was booted without.
pub fn version() -> io::Result<u32> {
    // SAFETY: with this flag the kernel takes no memory and returns a number.
    let version = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0, CREATE_RULESET_VERSION)
    };
    if version < 0 { Err(io::Error::last_os_error()) } else { Ok(version as u32) }
}

/// What a rule about a single file may grant: execute, write, read, truncate, device ioctls.
const FILE_ONLY: u64 = 1 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15;

/// Denies the calling thread and its children every file that is neither below one of `directories` nor one of `files` (which are open
/// already, and may be opened again by /proc/self/fd), everything else about files staying as it is. Needs `no_new_privs` or CAP_SYS_ADMIN.
///
/// # Errors
/// As [`version`], and the kernel's.
pub fn restrict_to(directories: &[BorrowedFd<'_>], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let version = version()?;
    let rights = file_rights(version);
    let attributes = RulesetAttributes {
        handled_access_fs: rights,
        handled_access_net: 0,
        scoped: if version >= 6 { SCOPE_ALL } else { 0 },
    };
    // An older kernel refuses a structure that is longer than it knows, unless the rest is zero, which it is.
    // SAFETY: the kernel reads `attributes`, whose layout is that of `struct landlock_ruleset_attr`.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            std::mem::size_of_val(&attributes),
            0,
        )
    };
    if ruleset < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just opened it for us (with O_CLOEXEC), and nobody else knows of it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as i32) };
    for directory in directories {
        allow(&ruleset, *directory, rights)?;
    }
    for file in files {
        match allow(&ruleset, *file, rights & FILE_ONLY) {
            // A pipe or socket is in no directory tree, and nobody is denied one that he holds.
            Err(error) if error.raw_os_error() == Some(libc::EBADFD) => {}
            other => other?,
        }
    }
    // SAFETY: no memory is passed.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn allow(ruleset: &OwnedFd, below: BorrowedFd<'_>, rights: u64) -> io::Result<()> {
    let rule = PathBeneath { allowed_access: rights, parent_fd: below.as_raw_fd() };
    // SAFETY: the kernel reads `rule`, whose layout is that of `struct landlock_path_beneath_attr`.
    let result = unsafe {
        libc::syscall(libc::SYS_landlock_add_rule, ruleset.as_raw_fd(), RULE_PATH_BENEATH, &raw const rule, 0)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Every right about files that this version has a bit for.
fn file_rights(version: u32) -> u64 {
    let count = match version {
        0 | 1 => 13,
        2 => 14,     // REFER
        3 | 4 => 15, // TRUNCATE
        _ => 16,     // IOCTL_DEV
    };
    (1 << count) - 1
}
