//! Descriptor numbers for the relay: above those that everything else is limited to, so that many connections leave the monitor room
//! for its own work, and the container, which inherits the limit, has the usual one.

use std::io;
use std::os::fd::OwnedFd;

use onggi_sys::process;
use rustix::io::Errno;

/// `RLIMIT_NOFILE`
const OPEN_FILES: u32 = 7;
/// A connection has two sockets, and while both directions are stopped up two pipes.
const OF_EACH: u64 = 6;

/// From which number on, and how many.
#[derive(Debug)]
pub(super) struct Numbers {
    soft: u64,
    hard: u64,
    first: i32,
    /// As many connections there is room for.
    pub(super) most: usize,
}

impl Numbers {
    /// At most `most` connections.
    pub(super) fn new(most: usize) -> io::Result<Numbers> {
        let (soft, hard) = process::limit(OPEN_FILES)?;
        // Where both limits are the same each gets half.
        let first = soft.min(hard / 2);
        let room = (hard - first) / OF_EACH;
        Ok(Numbers {
            soft,
            hard,
            first: i32::try_from(first).unwrap_or(i32::MAX),
            most: most.min(usize::try_from(room).unwrap_or(most)),
        })
    }

    /// Runs `act` with the limit raised, and so with room for [`Numbers::high`].
    pub(super) fn raised<T>(&self, act: impl FnOnce() -> T) -> T {
        // If it cannot be raised, what follows says so.
        let _ = process::set_limit(OPEN_FILES, self.hard, self.hard);
        let done = act();
        let _ = process::set_limit(OPEN_FILES, self.soft, self.hard);
        done
    }

    /// The same open file under a high number.
    pub(super) fn high(&self, descriptor: OwnedFd) -> Result<OwnedFd, Errno> {
        rustix::io::fcntl_dupfd_cloexec(descriptor, self.first)
    }
}
