//! `freezer`, and killing without `cgroup.kill`: stop everything, signal each, let go, until nobody is left.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::directory;

/// Freezes or thaws, and waits until it is so; `false` if it took longer than `limit`.
///
/// The kernel has no event for it. A freeze meets tasks in the middle of a fork and then needs to be asked again, hence the repeated
/// write (as runc does since its issue 2774).
pub(crate) fn freeze(cgroup: &OwnedFd, frozen: bool, limit: Duration) -> io::Result<bool> {
    let wanted = if frozen { "FROZEN" } else { "THAWED" };
    let end = Instant::now() + limit;
    let mut pause = Duration::from_micros(50);
    loop {
        directory::write(cgroup, "freezer.state", wanted)?;
        if directory::read(cgroup, "freezer.state")?.trim() == wanted {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// SIGKILL to each of these; what was killed, to wait for.
pub(crate) fn kill_each(pids: &[u32]) -> io::Result<Vec<OwnedFd>> {
    let mut killed = pin(pids)?;
    let mut failure = None;
    killed.retain(|process| match pidfd_send_signal(process, Signal::KILL) {
        Ok(()) => true,
        Err(rustix::io::Errno::SRCH) => false,
        Err(error) => {
            failure = Some(error);
            false
        }
    });
    failure.map_or(Ok(killed), |error| Err(error.into()))
}

/// Descriptors of those that are still there.
pub(crate) fn pin(pids: &[u32]) -> io::Result<Vec<OwnedFd>> {
    let mut pinned = Vec::new();
    for &pid in pids {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { continue };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => pinned.push(process),
            // Gone, or (EINVAL, ENOENT) a thread whose process's first thread lives in another group.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pinned)
}

/// Waits for the ends of all; `false` if some live at `end`.
pub(crate) fn wait_each(processes: &[OwnedFd], end: Instant) -> io::Result<bool> {
    for process in processes {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = Timespec::try_from(left).unwrap_or_default();
            match rustix::event::poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
                Ok(0) => return Ok(false),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(true)
}
