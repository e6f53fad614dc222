//! A program that cannot be written to through the processes that run it.
//!
//! A process in a container can open `/proc/PID/exe` of one that has just entered it, and with root's ids write to the host's file
//! once nothing runs it any more (CVE-2019-5736). Copies in sealed memory cost megabytes each; a program executed through a
//! detached read-only mount of its directory costs three system calls, shares its pages, appears in no mount table, and the
//! kernel refuses the open for writing with EROFS. The mount cannot be remounted, as it is in no namespace.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::mount::{MountAttributes, mount_setattr};
use crate::process::execve;

/// A program to execute through a read-only mount of its own.
#[derive(Debug)]
pub struct ReadOnlyProgram {
    directory: OwnedFd,
    name: CString,
}

impl ReadOnlyProgram {
    /// Prepares the program at `path` (Linux 5.12). Needs CAP_SYS_ADMIN.
    ///
    /// # Errors
    /// The kernel's, and `InvalidInput` for a path without a file name.
    pub fn open(path: &Path) -> io::Result<ReadOnlyProgram> {
        let path = path.canonicalize()?;
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let directory = rustix::mount::open_tree(CWD, directory, flags)?;
        let attributes = MountAttributes { set: libc::MOUNT_ATTR_RDONLY, ..MountAttributes::default() };
        mount_setattr(directory.as_fd(), false, attributes)?;
        // Out of the way of the numbers that a spawn gives to its child before it executes the path.
        let directory = rustix::io::fcntl_dupfd_cloexec(&directory, 10)?;
        Ok(ReadOnlyProgram { directory, name: CString::new(name.as_bytes())? })
    }

    /// A path that leads to the program in this process and in a child of its own, for as long as `self` lives; the descriptor in it
    /// is close-on-exec.
    #[must_use]
    pub fn path(&self) -> CString {
        let mut path = format!("/proc/self/fd/{}/", self.directory.as_raw_fd()).into_bytes();
        path.extend_from_slice(self.name.as_bytes());
        // Neither part holds a zero byte: one is a number, the other came out of a C string.
        CString::new(path).unwrap_or_default()
    }
}

/// Whether nobody can open the program of this process for writing: it lies on a read-only mount.
///
/// # Errors
/// The kernel's, if `/proc` is not mounted.
pub fn is_read_only() -> io::Result<bool> {
    Ok(rustix::fs::statvfs("/proc/self/exe")?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Executes this process's program again through a read-only mount, with the same arguments and environment, unless it is so
/// already. To be called first thing in `main`; a parent that knows spawns it so and saves the second exec.
///
/// # Errors
/// The kernel's; then this process goes on as it was.
pub fn ensure_read_only() -> io::Result<()> {
    if is_read_only()? {
        return Ok(());
    }
    let program = ReadOnlyProgram::open(&std::fs::read_link("/proc/self/exe")?)?;
    let c_string = |text: std::ffi::OsString| CString::new(text.as_bytes());
    let arguments = std::env::args_os().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os()
        .map(|(name, value)| c_string([name, value].join("=".as_ref())))
        .collect::<Result<Vec<_>, _>>()?;
    Err(execve(&program.path(), &arguments, &environment))
}
