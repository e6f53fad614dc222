//! What the disk did not take: the state and the events of a container on a full or failing disk, kept until it does.
//!
//! The state lies in the sandbox's directory meanwhile, where every command looks, so that the exit code survives the monitor too. The
//! write is tried again with growing pauses, and at once when somebody connects.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Monitor, Watched, monotonic};
use crate::Error;
use crate::protocol::Durability;
use crate::state::Phase;

/// Until the first new attempt (nanoseconds); it doubles each time.
const FIRST_PAUSE: u64 = 100_000_000;
/// No pause is longer (nanoseconds).
const LONGEST_PAUSE: u64 = 10_000_000_000;
/// As many events are kept; of more the oldest are lost, since the monitor's memory is small.
const MOST_EVENTS: usize = 16;

/// What waits to be written.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    state: bool,
    /// Lines of the event log.
    events: VecDeque<Vec<u8>>,
    /// When (monotonic nanoseconds) to try again.
    pub(super) again_at: Option<u64>,
    pause: u64,
}

impl Backlog {
    /// One whose state lies in the sandbox.
    pub(super) fn with_state(state: bool) -> Backlog {
        Backlog { state, again_at: state.then(monotonic), ..Backlog::default() }
    }

    pub(super) fn has_state(&self) -> bool {
        self.state
    }

    fn is_empty(&self) -> bool {
        !self.state && self.events.is_empty()
    }

    /// Sets the time of the next attempt, or none.
    fn schedule(&mut self) {
        if self.is_empty() {
            *self = Backlog::default();
        } else if self.again_at.is_none() {
            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            self.again_at = Some(monotonic() + self.pause);
        }
    }
}

impl Watched {
    /// Writes the state where it is kept, or beside the socket if there it cannot be.
    pub(super) fn write_state(&mut self, durability: Durability) {
        match self.state.write(self.directory.as_fd(), durability) {
            Ok(()) => self.state_is_written(),
            Err(error) if may_pass(&error) => {
                self.problem =
                    Some(match self.state.write(self.sandbox.directory.as_fd(), Durability::Volatile) {
                        Ok(()) => error.to_string(),
                        Err(also) => format!("{error}; and then {also}"),
                    });
                onggi_sys::fault::point("monitor.backlog.kept");
                self.backlog.state = true;
                self.backlog.schedule();
            }
            // The container's directory is gone: there is nothing to keep.
            Err(error) => self.problem = Some(error.to_string()),
        }
    }

    /// Appends a line to the event log, after those that wait.
    pub(super) fn write_event(&mut self, line: Vec<u8>) {
        if self.backlog.events.len() == MOST_EVENTS {
            self.backlog.events.pop_front();
        }
        self.backlog.events.push_back(line);
        self.write_events();
    }

    fn write_events(&mut self) {
        while let Some(line) = self.backlog.events.front() {
            match self.events.append_line(line) {
                Err(error) if may_pass(&error) => {
                    self.problem = Some(error.to_string());
                    break;
                }
                Err(error) => self.problem = Some(error.to_string()),
                Ok(()) => {}
            }
            self.backlog.events.pop_front();
        }
        self.backlog.schedule();
    }

    fn state_is_written(&mut self) {
        if self.backlog.state {
            self.backlog.state = false;
            self.sandbox.forget_state();
            self.backlog.schedule();
        }
    }

    /// Whether the end is held here and nowhere on the disk. With `--rm` nobody is to read it later.
    pub(super) fn must_stay(&self) -> bool {
        self.start.durability == Durability::Synced && !self.backlog.is_empty()
    }
}

impl Monitor<'_> {
    /// The pause is over: whatever waits is tried again.
    pub(super) fn write_backlog(&mut self) {
        // Who takes the container away writes the state itself.
        let being_removed = self.peers.iter().any(|peer| peer.finishes);
        let Some(watched) = &mut self.watched else { return };
        watched.backlog.again_at = None;
        if watched.backlog.state && !being_removed {
            let durability = if watched.state.status == Phase::Exited {
                watched.start.durability
            } else {
                Durability::Volatile
            };
            match watched.state.write(watched.directory.as_fd(), durability) {
                Ok(()) => watched.state_is_written(),
                Err(error) if may_pass(&error) => {}
                Err(_) => watched.state_is_written(),
            }
        }
        watched.write_events();
        if watched.ended {
            watched.log.say_loss();
        }
        watched.backlog.schedule();
        if watched.ended && watched.backlog.is_empty() {
            self.leave_sandbox();
        }
    }
}

/// Whether the same write may succeed later: the disk is full or fails, or the system is short of something.
fn may_pass(error: &Error) -> bool {
    let number = match error {
        Error::Record { source } => source.errno_of(),
        Error::EventLog { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => return true,
        Error::EventLog { source, .. } => source.raw_os_error(),
        _ => None,
    };
    let passing =
        [Errno::NOSPC, Errno::DQUOT, Errno::IO, Errno::ROFS, Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    passing.iter().any(|errno| Some(errno.raw_os_error()) == number)
}
