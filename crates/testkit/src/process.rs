//! Processes seen from outside: alive or not, what they say of themselves in /proc, and waiting for their end without polling.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process pinned by a pidfd: a number that is used again cannot be mistaken for it.
#[derive(Debug)]
pub struct Process {
    /// Its number, for looking at /proc.
    pub pid: i32,
    descriptor: OwnedFd,
}

impl Process {
    /// Pins the process `pid`; `None` if there is none.
    #[must_use]
    pub fn open(pid: i32) -> Option<Process> {
        let descriptor = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Process { pid, descriptor })
    }

    /// Waits for its end; false if it still runs after `patience`.
    #[must_use]
    pub fn ends_within(&self, patience: Duration) -> bool {
        let mut waiting = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: i64::from(patience.subsec_nanos()),
        };
        loop {
            match poll(&mut waiting, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(ready) => return ready > 0,
                Err(errno) => panic!("poll of a pidfd: {errno}"),
            }
        }
    }

    /// Sends `signal`; one that has ended is left alone.
    pub fn signal(&self, signal: Signal) {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(errno) => panic!("signal {signal:?} to process {}: {errno}", self.pid),
        }
    }

    /// Kills it and waits for its end.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        assert!(self.ends_within(crate::PATIENCE), "process {} outlives SIGKILL", self.pid);
    }

    /// A file of its /proc directory, empty if it has ended.
    #[must_use]
    pub fn read(&self, file: &str) -> String {
        fs::read(format!("/proc/{}/{file}", self.pid))
            .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned())
            .unwrap_or_default()
    }
}

/// The processes that have `path` in their arguments, their environment, or as their working or root directory, but for this
/// one: whatever a test's Onggi started can be told by the test's own directory.
#[must_use]
pub fn processes_mentioning(path: &Path) -> Vec<Process> {
    let needle = path.to_string_lossy().into_owned();
    let own = std::process::id().cast_signed();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| pid != own)
        .filter_map(Process::open)
        .filter(|process| {
            let links = ["cwd", "root"].map(|link| fs::read_link(format!("/proc/{}/{link}", process.pid)));
            process.read("cmdline").contains(&needle)
                || process.read("environ").contains(&needle)
                || links.into_iter().flatten().any(|target| target.starts_with(path))
        })
        .filter(|process| !process.read("stat").contains(") Z "))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_by_a_path_and_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .env("KIT", directory.path())
            .spawn()
            .expect("sleep");
        // A spawn comes back when the child has its new memory, a moment before its arguments and environment can be read there.
        let began = std::time::Instant::now();
        let found = loop {
            let found = processes_mentioning(directory.path());
            if !found.is_empty() || began.elapsed() > crate::PATIENCE {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [child.id().cast_signed()]);
        assert!(!found[0].ends_within(Duration::ZERO));
        assert_eq!(found[0].read("comm"), "sleep");
        found[0].kill();
        child.wait().expect("an end");
        assert!(processes_mentioning(directory.path()).is_empty());
    }
}
