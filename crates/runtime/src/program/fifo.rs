//! The FIFO between `create` and `start`: the container's first process waits until somebody reads from it.

use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::error::Error;

/// Anybody may write: the process that waits is the container's user by then. It got the FIFO as a descriptor, and nobody else can
/// reach the directory.
const MODE: u32 = 0o622;

pub(crate) fn make(path: &Path) -> Result<(), Error> {
    let fail = |error: Errno| Error::io(format!("mkfifo {}", path.display()), error);
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(MODE), 0).map_err(fail)?;
    // Whatever the umask.
    rustix::fs::chmod(path, Mode::from_raw_mode(MODE)).map_err(fail)
}

/// Lets the process behind `pidfd` go on, and takes the FIFO away: without it a container counts as started.
pub(crate) fn open_gate(path: &Path, pidfd: BorrowedFd<'_>) -> Result<(), Error> {
    let fail = |error: Errno| Error::io(format!("open {}", path.display()), error);
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let gate = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(fail)?;
    loop {
        let mut polled = [PollFd::new(&gate, PollFlags::IN), PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut polled, None) {
            Err(Errno::INTR) => continue,
            other => other.map_err(fail)?,
        };
        // A writer that has ended right after it wrote is a container that was started.
        match rustix::io::read(&gate, &mut [0_u8; 1]) {
            Ok(1) => break,
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(fail(error)),
        }
        if !polled[1].revents().is_empty() {
            return Err(Error::State("container process is already dead".to_owned()));
        }
    }
    rustix::fs::unlink(path).map_err(fail)
}
