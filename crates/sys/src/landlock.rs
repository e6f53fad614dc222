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

const EXECUTE: u64 = 1;
/// Reading of files and of directories.
const READ: u64 = 1 << 2 | 1 << 3;

/// Denies the calling thread and its children every file that is neither below one of `directories` nor one of `files` (which are open
/// already, and may be opened again by /proc/self/fd), everything else about files staying as it is. Needs `no_new_privs` or CAP_SYS_ADMIN.
///
/// # Errors
/// As [`version`], and the kernel's.
pub fn restrict_to(directories: &[BorrowedFd<'_>], files: &[BorrowedFd<'_>]) -> io::Result<()> {
    let rights = file_rights(version()?);
    let whole = directories.iter().map(|directory| (*directory, rights));
    restrict(whole.chain(files.iter().map(|file| (*file, rights & FILE_ONLY))))
}

/// As [`restrict_to`], for one that works on data and starts nothing: below `writable` everything but executing is allowed, below `readable` reading
/// alone.
///
/// # Errors
/// As [`restrict_to`].
pub fn confine(writable: &[BorrowedFd<'_>], readable: &[BorrowedFd<'_>]) -> io::Result<()> {
    let rights = file_rights(version()?) & !EXECUTE;
    let written = writable.iter().map(|directory| (*directory, rights));
    restrict(written.chain(readable.iter().map(|directory| (*directory, READ))))
}

fn restrict<'f>(rules: impl Iterator<Item = (BorrowedFd<'f>, u64)>) -> io::Result<()> {
    let version = version()?;
    let attributes = RulesetAttributes {
        handled_access_fs: file_rights(version),
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
    for (file, rights) in rules {
        match allow(&ruleset, file, rights) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;

    /// Landlock binds a thread, so that a test can try it in one of its own.
    #[test]
    fn one_that_is_confined_reaches_its_directories_and_nothing_else() {
        if version().is_err() {
            return;
        }
        let (own, shown) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(shown.path().join("file"), "shown").unwrap();
        let other = tempfile::tempdir().unwrap();
        let open = |path: &std::path::Path| fs::File::open(path).unwrap();
        let (writable, readable) = (open(own.path()), open(shown.path()));
        // What the thread borrows is removed by this one, which may.
        let (own, shown, other) = (own.path(), shown.path(), other.path());
        let confined = || {
            rustix::thread::set_no_new_privs(true).unwrap();
            confine(&[writable.as_fd()], &[readable.as_fd()]).unwrap();
            fs::create_dir(own.join("directory")).unwrap();
            fs::write(own.join("directory/file"), "x").unwrap();
            fs::rename(own.join("directory/file"), own.join("moved")).unwrap();
            assert_eq!(fs::read_to_string(shown.join("file")).unwrap(), "shown");
            for denied in [
                fs::write(shown.join("file"), "changed"),
                fs::write(other.join("file"), ""),
                fs::remove_file(shown.join("file")),
                fs::read("/etc/passwd").map(|_| ()),
                fs::read_dir("/").map(|_| ()),
                std::process::Command::new("/bin/true").status().map(|_| ()),
            ] {
                assert_eq!(denied.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            }
        };
        std::thread::scope(|scope| scope.spawn(confined).join()).unwrap();
    }
}
