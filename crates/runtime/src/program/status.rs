//! In which state a container is: asked of the kernel each time, never remembered.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags};

use super::error::Error;
use super::fifo;
use super::record::Record;
use super::store::Directory;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

pub(crate) fn of(directory: &Directory, record: &Record) -> Status {
    if !is_alive(record) {
        return Status::Stopped;
    }
    if record.cgroup.is_frozen().unwrap_or(false) {
        return Status::Paused;
    }
    // Whoever starts the container takes it away, unless somebody has killed whoever it was.
    let fifo = directory.fifo();
    let waits = if record.gate_is_held { fifo::is_waited_at(&fifo) } else { fifo.exists() };
    if waits { Status::Created } else { Status::Running }
}

/// The first process, if it is still that one and has not ended.
pub(crate) fn pidfd(record: &Record) -> Result<OwnedFd, Error> {
    pidfd_of(record.pid, record.start_time).ok_or(Error::NotRunning)
}

/// The same for a process that is known by its number and start alone.
pub(crate) fn pidfd_of(pid: i32, start_time: u64) -> Option<OwnedFd> {
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // Asked after it is held: the number cannot have passed to another one in between.
    lives(pid, start_time).then_some(pidfd)
}

fn is_alive(record: &Record) -> bool {
    lives(record.pid, record.start_time)
}

fn lives(pid: i32, start_time: u64) -> bool {
    matches!(process(pid), Some((state, found)) if found == start_time && !matches!(state, 'Z' | 'X'))
}

/// State and start time of a process (proc_pid_stat(5)).
pub(crate) fn process(pid: i32) -> Option<(char, u64)> {
    parse(&onggi_sys::kernel_file::read_text(format!("/proc/{pid}/stat").as_ref()).ok()?)
}

/// The second field is a name in parentheses that may hold anything, further parentheses too.
fn parse(stat: &str) -> Option<(char, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_fake_the_fields_behind_it() {
        let rest = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse(&format!("7 (x) Z 1) S {rest}")), Some(('S', 4711)));
        assert_eq!(parse("7 (x) S 1"), None);
        assert!(process(std::process::id() as i32).is_some());
    }
}
