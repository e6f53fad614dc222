//! The freezer and the waits, which the v2 core itself has: `cgroup.freeze`, `cgroup.kill`, `cgroup.events`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::directory;

const NOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const NODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

/// Freezes or thaws, and waits until it is so.
pub(crate) fn freeze(cgroup: &OwnedFd, frozen: bool, limit: Duration) -> std::io::Result<bool> {
    directory::write(cgroup, "cgroup.freeze", if frozen { "1" } else { "0" })?;
    wait(cgroup, "frozen", frozen, limit)
}

/// Kills every process beneath, forks in flight included (Linux 5.14).
pub(crate) fn kill(cgroup: &OwnedFd) -> std::io::Result<()> {
    directory::write(cgroup, "cgroup.kill", "1")
}

/// Waits until no process is left beneath.
pub(crate) fn wait_empty(cgroup: &OwnedFd, limit: Duration) -> std::io::Result<bool> {
    match wait(cgroup, "populated", false, limit) {
        // Who manages the group has removed it, which nobody can before it is empty.
        Err(error) if matches!(error.raw_os_error(), Some(NOENT | NODEV)) => Ok(true),
        other => other,
    }
}

/// Waits for a line of `cgroup.events`; the kernel says by POLLPRI that the file has changed since it was last read.
fn wait(cgroup: &OwnedFd, key: &str, value: bool, limit: Duration) -> std::io::Result<bool> {
    let end = std::time::Instant::now() + limit;
    let file = directory::open_read(cgroup, "cgroup.events")?;
    loop {
        let text = directory::read_again(&file)?;
        let wanted = if value { "1" } else { "0" };
        if text.lines().any(|line| line.split_once(' ') == Some((key, wanted))) {
            return Ok(true);
        }
        let left = end.saturating_duration_since(std::time::Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = rustix::event::Timespec::try_from(left).unwrap_or_default();
        let mut poll = [PollFd::new(&file, PollFlags::PRI)];
        match rustix::event::poll(&mut poll, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
