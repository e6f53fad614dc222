//! A program that cannot be written to through the processes that run it.
//!
//! A process in a container can open `/proc/PID/exe` of one that has just entered it, and with root's ids write to the host's file
//! once nothing runs it any more (CVE-2019-5736). Copies in sealed memory cost megabytes each; a program executed through a
//! detached read-only mount of its directory costs three system calls, shares its pages, appears in no mount table, and the
//! kernel refuses the open for writing with EROFS. The mount cannot be remounted, as it is in no namespace.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use crate::mount::{MountAttributes, mount_setattr};
use crate::process::execve;

/// How much is copied by one call, in bytes: the kernel takes no count that, with the place in the file, is beyond its numbers.
const LARGEST_PIECE: usize = 1 << 30;

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
        ReadOnlyProgram::at(&path.canonicalize()?)
    }

    /// The same for a path without links.
    fn at(path: &Path) -> io::Result<ReadOnlyProgram> {
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
fn is_read_only() -> io::Result<bool> {
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
    let program = ReadOnlyProgram::at(&std::fs::read_link("/proc/self/exe")?)?;
    execute_again(&program.path())
}

/// The same by a copy in sealed memory, for who may not mount. Only if the file is the caller's own: a container's root is nobody else
/// outside, and to any other file the kernel refuses that one's write as before.
///
/// # Errors
/// The kernel's; then this process goes on as it was.
pub fn ensure_sealed() -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let program = rustix::fs::openat(CWD, "/proc/self/exe", flags, Mode::empty())?;
    let is_own = rustix::fs::fstat(&program)?.st_uid == rustix::process::geteuid().as_raw();
    // Only memory has seals; another file is EINVAL.
    let is_sealed = rustix::fs::fcntl_get_seals(&program).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    if !is_own || is_sealed {
        return Ok(());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = match rustix::fs::memfd_create(c"program", flags | MemfdFlags::EXEC) {
        // Before Linux 6.3 all of it could be executed, and nobody could say so.
        Err(Errno::INVAL) => rustix::fs::memfd_create(c"program", flags)?,
        other => other?,
    };
    while rustix::fs::sendfile(&copy, &program, None, LARGEST_PIECE)? > 0 {}
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    execute_again(&CString::new(format!("/proc/self/fd/{}", copy.as_raw_fd()))?)
}

/// With the same arguments and environment. Returns only if it fails.
fn execute_again(path: &CStr) -> io::Result<()> {
    let c_string = |text: std::ffi::OsString| CString::new(text.as_bytes());
    let arguments = std::env::args_os().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let environment = std::env::vars_os()
        .map(|(name, value)| c_string([name, value].join("=".as_ref())))
        .collect::<Result<Vec<_>, _>>()?;
    Err(execve(path, &arguments, &environment))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::ffi::OsStringExt;
    use std::process::Command;

    const EROFS: i32 = 30;
    const ETXTBSY: i32 = 26;

    /// What opening a program for writing comes to while a process runs it, and, through a descriptor held since then, after that has
    /// ended: the moment of CVE-2019-5736.
    fn attack(program: std::ffi::OsString) -> [Option<i32>; 2] {
        let mut process = Command::new(program).arg("1000").spawn().unwrap();
        let path = format!("/proc/{}/exe", process.id());
        let open =
            |path: &str| OpenOptions::new().write(true).open(path).err().and_then(|e| e.raw_os_error());
        let running = open(&path);
        let held = std::fs::File::open(&path).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        [running, open(&format!("/proc/self/fd/{}", held.as_raw_fd()))]
    }

    #[test]
    fn a_guarded_program_is_never_written_to_through_its_process() {
        assert!(
            rustix::process::geteuid().is_root() || std::env::var_os("ONGGI_TEST_UNPRIVILEGED").is_some(),
            "this test needs root (or ONGGI_TEST_UNPRIVILEGED=1)"
        );
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = std::env::temp_dir().join(format!("onggi-sys-program-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let program = directory.join("sleep");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let guarded = ReadOnlyProgram::open(&program).unwrap();
        let guarded = attack(std::ffi::OsString::from_vec(guarded.path().into_bytes()));
        let bare = attack(program.into());
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(guarded, [Some(ETXTBSY), Some(EROFS)]);
        assert_eq!(bare, [Some(ETXTBSY), None], "without the guard it can be written to afterwards");
    }
}
