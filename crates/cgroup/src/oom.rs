//! Kills for want of memory: how many there were, and a descriptor that says when to look.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::EventfdFlags;
use rustix::fs::inotify::{CreateFlags, WatchFlags};

use crate::{Layout, directory};

/// `memory` is the group's directory in the hierarchy that has the controller.
pub(crate) fn kills(layout: &Layout, memory: &OwnedFd) -> io::Result<u64> {
    // v1's file has the counter since Linux 4.13, v2's from its beginning.
    let file = match layout {
        Layout::V2 { .. } => "memory.events",
        Layout::V1 { .. } => "memory.oom_control",
    };
    let text = directory::read(memory, file)?;
    Ok(text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0))
}

pub(crate) fn watch(layout: &Layout, memory: &OwnedFd) -> io::Result<OwnedFd> {
    match layout {
        Layout::V2 { .. } => {
            let events = directory::open_read(memory, "memory.events")?;
            let watch = rustix::fs::inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
            // inotify takes only a path; this one leads to the file that is open, whatever its name has become.
            let path = format!("/proc/self/fd/{}", events.as_raw_fd());
            rustix::fs::inotify::add_watch(&watch, path, WatchFlags::MODIFY)?;
            Ok(watch)
        }
        Layout::V1 { .. } => {
            let control = directory::open_read(memory, "memory.oom_control")?;
            let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let registration = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
            directory::write(memory, "cgroup.event_control", &registration)?;
            Ok(event)
        }
    }
}
