//! The FIFO between `create` and `start`: the container's first process waits until somebody writes to it.

use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;

/// The process that waits got the FIFO as a descriptor; by its name only who starts the container writes to it.
const MODE: u32 = 0o644;

pub(crate) fn make(path: &Path) -> Result<(), Error> {
    let fail = |error: Errno| Error::io(format!("mkfifo {}", path.display()), error);
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(MODE), 0).map_err(fail)?;
    // Whatever the umask.
    rustix::fs::chmod(path, Mode::from_raw_mode(MODE)).map_err(fail)
}

/// Whether a process has it open to read from: one that was let go on has closed it.
pub(crate) fn is_waited_at(path: &Path) -> bool {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Who may not ask takes the FIFO's word for it.
    !matches!(rustix::fs::openat(CWD, path, flags, Mode::empty()), Err(Errno::NXIO | Errno::NOENT))
}

/// Lets the process that waits go on, and takes the FIFO away: without it a container counts as started.
pub(crate) fn open_gate(path: &Path) -> Result<(), Error> {
    let fail = |error: Errno| match error {
        // Nobody has it open for reading.
        Errno::NXIO | Errno::PIPE => Error::State("container process is already dead".to_owned()),
        error => Error::io(format!("open {}", path.display()), error),
    };
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let gate = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(fail)?;
    rustix::io::retry_on_intr(|| rustix::io::write(&gate, &[0])).map_err(fail)?;
    onggi_sys::fault::point("runtime.start.opened");
    rustix::fs::unlink(path).map_err(fail)
}
