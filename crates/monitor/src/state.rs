//! `state.json` in a container's directory: what became of it. Written by the monitor while it lives, by the engine otherwise.

use std::io::Read;
use std::os::fd::BorrowedFd;

use onggi_record::Prepared;
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::clock::NEVER;
use crate::protocol::Durability;

/// The file's name.
pub const FILE: &str = "state.json";
/// The newest version of [`State`] that is understood here. What is written has the oldest that says it all ([`State::needs`]), so
/// that a program of the release before still reads what it can.
pub const VERSION: u32 = 2;
/// The first version with [`Phase::Restarting`].
const RESTARTING: u32 = 2;

/// The state of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub status: Phase,
    /// On the host; 0 unless it runs.
    #[serde(default)]
    pub pid: i32,
    /// When the process `pid` began, in clock ticks since boot (field 22 of `/proc/PID/stat`): pid and this name a process for good.
    #[serde(default)]
    pub pid_start_time: u64,
    /// RFC 3339 with nanoseconds; [`NEVER`] if it was not.
    pub started_at: String,
    pub finished_at: String,
    /// 0 to 255; 128 + n for the signal n.
    pub exit_code: i32,
    #[serde(default)]
    pub oom_killed: bool,
    #[serde(default)]
    pub error: String,
    /// `/proc/sys/kernel/random/boot_id` when this was written.
    #[serde(default)]
    pub boot_id: String,
    #[serde(default)]
    pub restart_count: u32,
    /// Somebody has asked for its end, so that its restart policy does not hold until somebody starts it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// Who asked for its end means to start it again at once (`restart`). In a state that has ended: nobody has come to it, and whoever
    /// meets the container does it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub starts_again: bool,
}

/// Docker's words for what a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    Created,
    Running,
    Paused,
    /// Ended, and its monitor waits to start it again.
    Restarting,
    Exited,
    /// A command is taking the container away.
    Removing,
    /// It could not be taken away whole.
    Dead,
}

impl Phase {
    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Phase::Created => "created",
            Phase::Running => "running",
            Phase::Paused => "paused",
            Phase::Restarting => "restarting",
            Phase::Exited => "exited",
            Phase::Removing => "removing",
            Phase::Dead => "dead",
        }
    }
}

impl Default for State {
    /// Created, and never started.
    fn default() -> State {
        State {
            version: 1,
            status: Phase::Created,
            pid: 0,
            pid_start_time: 0,
            started_at: NEVER.to_owned(),
            finished_at: NEVER.to_owned(),
            exit_code: 0,
            oom_killed: false,
            error: String::new(),
            boot_id: String::new(),
            restart_count: 0,
            stopped: false,
            starts_again: false,
        }
    }
}

impl State {
    /// Writes the record into a directory.
    ///
    /// # Errors
    /// [`Error::Record`]: the old record, if any, is then still there.
    pub fn write(&self, directory: BorrowedFd<'_>, durability: Durability) -> Result<(), Error> {
        let state = State { version: self.needs(), ..self.clone() };
        let prepared = Prepared::new(directory, FILE, &state, durability)?;
        onggi_sys::fault::point("monitor.state.written");
        prepared.publish()?;
        if durability == Durability::Synced {
            onggi_record::sync_directory(directory, FILE)?;
        }
        Ok(())
    }

    /// Reads the record.
    ///
    /// # Errors
    /// [`Error::Record`]: it cannot be read, or is damaged.
    pub fn read(directory: BorrowedFd<'_>) -> Result<State, Error> {
        Ok(onggi_record::read_at(directory, FILE, VERSION)?)
    }

    /// The oldest version that has a word for this.
    fn needs(&self) -> u32 {
        if self.status == Phase::Restarting { RESTARTING } else { 1 }
    }
}

/// The id of this boot; empty where there is no /proc.
#[must_use]
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// When a process began, in clock ticks since boot.
///
/// # Errors
/// `NotFound` if it has been reaped.
pub fn process_start_time(pid: i32) -> std::io::Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 1024];
    let length = std::fs::File::from(file).read(&mut text)?;
    parse_start_time(&text[..length]).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// The name in the second field may hold spaces and parentheses, so fields are counted from the last one.
fn parse_start_time(stat: &[u8]) -> Option<u64> {
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    std::str::from_utf8(&stat[after_name..]).ok()?.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_state_is_written_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let handle = std::fs::File::open(directory.path()).unwrap();
        let state = State { status: Phase::Exited, exit_code: 137, oom_killed: true, ..State::default() };
        let restarting = State { status: Phase::Restarting, ..state.clone() };
        restarting.write(handle.as_fd(), Durability::Volatile).unwrap();
        let read = State::read(handle.as_fd()).unwrap();
        assert_eq!((read.version, read.status), (2, Phase::Restarting));
        // Back in a phase that the release before knows, whatever version it was read with.
        let state = State { status: Phase::Exited, ..read };
        state.write(handle.as_fd(), Durability::Synced).unwrap();
        let state = State { version: 1, ..state };
        assert_eq!(State::read(handle.as_fd()).unwrap(), state);
        let text = std::fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(text.contains(r#""version":1,"status":"exited","pid":0"#), "{text}");
        assert!(State::read(std::fs::File::open("/proc").unwrap().as_fd()).is_err());
        std::fs::write(directory.path().join(FILE), text.replace("137", "0")).unwrap();
        assert!(matches!(
            State::read(handle.as_fd()),
            Err(Error::Record { source: onggi_record::Error::Damaged { .. } })
        ));
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        for name in ["(sh)", "(a b)", "(x) 1 2 (y)"] {
            assert_eq!(parse_start_time(format!("77 {name} {fields}").as_bytes()), Some(4711));
        }
        assert!(process_start_time(std::process::id() as i32).unwrap() > 0);
    }
}
