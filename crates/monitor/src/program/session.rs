//! One process of the container and its standard streams: the container's own first process, or an exec session.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::isolation::{Refusal, Terminal};
use super::log::Stream;
use super::pace::Pace;
use super::poller::Registered;

/// What a pipe holds by default (bytes, `pipe(7)`).
const PIPE: usize = 64 * 1024;
/// What one holds while more passes through it than its reader takes at once (bytes). Each time that it is full or empty somebody waits
/// for a processor, on a busy machine for milliseconds; the larger it is, the fewer times that is. An ordinary user may have a few of
/// this size (`pipe-user-pages-soft`), so it is not for quiet ones; and what is left in it at the end must fit a slow client's rest.
pub(crate) const GROWN_PIPE: usize = 256 * 1024;

/// The number of the container's own session.
pub(crate) const MAIN: u32 = 0;

#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u32,
    /// The client's name for an exec session; empty for the container itself.
    pub(crate) id: String,
    /// As events show it.
    pub(crate) command: String,
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) pidfd_registered: Registered,
    pub(crate) has_terminal: bool,
    /// Standard output, or the terminal, and standard error.
    pub(crate) outputs: [Option<Output>; 2],
    pub(crate) pace: Pace,
    pub(crate) stdin: Option<Input>,
    /// Standard input ends when the first client has closed its side or left.
    pub(crate) stdin_once: bool,
    pub(crate) start: Option<Starting>,
    /// RFC 3339; empty until the program runs.
    pub(crate) started_at: String,
}

/// A start whose report is not read to its end.
#[derive(Debug)]
pub(crate) struct Starting {
    pub(crate) report: OwnedFd,
    pub(crate) registered: Registered,
    pub(crate) text: Vec<u8>,
    /// Has the terminal's master once the report has ended.
    pub(crate) terminal: Option<Terminal>,
    /// The peer and the question to answer.
    pub(crate) peer: u32,
    pub(crate) question: u32,
}

impl Starting {
    /// The report is read as it comes; the steps may take long (a volume is filled).
    pub(crate) fn new(
        report: OwnedFd,
        terminal: Option<Terminal>,
        peer: u32,
        question: u32,
    ) -> Result<Starting, Refusal> {
        rustix::io::ioctl_fionbio(&report, true)
            .map_err(|errno| Refusal::io("monitor.report", "set up the report", &errno.into()))?;
        Ok(Starting { report, registered: Registered::default(), text: Vec::new(), terminal, peer, question })
    }
}

/// A pipe, FIFO or terminal that is read.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) descriptor: OwnedFd,
    pub(crate) registered: Registered,
    pub(crate) room: Room,
}

/// How much a pipe holds. A terminal is never asked for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    Usual,
    Grown,
    /// The kernel does not give more: it is no pipe, or its user has too many.
    Fixed,
}

impl Room {
    /// What is known of one that another monitor had: the next quiet moment makes it usual.
    pub(crate) const UNKNOWN: Room = Room::Grown;

    /// Makes room for a burst. `true`: there is more than before.
    fn grow(&mut self, pipe: &OwnedFd) -> bool {
        if *self != Room::Usual {
            return false;
        }
        let grown = rustix::pipe::fcntl_setpipe_size(pipe, GROWN_PIPE).is_ok();
        *self = if grown { Room::Grown } else { Room::Fixed };
        grown
    }

    /// Gives the room back. A pipe that holds more than that stays as it is until the next quiet moment.
    fn shrink(&mut self, pipe: &OwnedFd) {
        if *self == Room::Grown && rustix::pipe::fcntl_setpipe_size(pipe, PIPE) != Err(Errno::BUSY) {
            *self = Room::Usual;
        }
    }
}

/// What a read of an output found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Got {
    Bytes(usize),
    NothingNow,
    End,
}

impl Output {
    pub(crate) fn new(descriptor: OwnedFd) -> Output {
        Output { descriptor, registered: Registered::default(), room: Room::Usual }
    }

    /// One that another monitor has read until now.
    pub(crate) fn taken_over(descriptor: OwnedFd) -> Output {
        Output { room: Room::UNKNOWN, ..Output::new(descriptor) }
    }

    /// More comes than is taken.
    pub(crate) fn grow(&mut self) {
        self.room.grow(&self.descriptor);
    }

    pub(crate) fn read(&self, buffer: &mut [u8]) -> Got {
        match rustix::io::read(&self.descriptor, buffer) {
            Ok(0) => Got::End,
            Ok(count) => Got::Bytes(count),
            Err(Errno::AGAIN | Errno::INTR) => Got::NothingNow,
            // A terminal whose other side is closed says EIO.
            Err(_) => Got::End,
        }
    }
}

/// The end of standard input that is written.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) descriptor: OwnedFd,
    pub(crate) registered: Registered,
    /// At most one piece that the pipe did not take yet.
    pub(crate) pending: Vec<u8>,
    pub(crate) close_when_empty: bool,
    pub(crate) room: Room,
}

impl Input {
    pub(crate) fn new(descriptor: OwnedFd) -> Input {
        Input {
            descriptor,
            registered: Registered::default(),
            pending: Vec::new(),
            close_when_empty: false,
            room: Room::Usual,
        }
    }

    /// Writes as much as the pipe takes and keeps the rest. `false`: nobody reads any more.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return true;
        }
        let Ok(mut written) = write_some(self.descriptor.as_fd(), bytes) else { return false };
        if written < bytes.len() && self.room.grow(&self.descriptor) {
            match write_some(self.descriptor.as_fd(), &bytes[written..]) {
                Ok(more) => written += more,
                Err(_) => return false,
            }
        }
        self.pending.extend_from_slice(&bytes[written..]);
        true
    }

    /// Writes what waits. `false`: nobody reads any more.
    pub(crate) fn flush(&mut self) -> bool {
        match write_some(self.descriptor.as_fd(), &self.pending) {
            Ok(written) => {
                self.pending.drain(..written);
                if self.pending.is_empty() {
                    self.pending = Vec::new();
                }
                true
            }
            Err(_) => false,
        }
    }
}

fn write_some(descriptor: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::write(descriptor, &bytes[written..]) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(written)
}

impl Session {
    /// Gives back what a burst has taken in the kernel.
    pub(crate) fn rest(&mut self) {
        for output in self.outputs.iter_mut().flatten() {
            output.room.shrink(&output.descriptor);
        }
        if let Some(input) = &mut self.stdin {
            input.room.shrink(&input.descriptor);
        }
    }

    /// The descriptor of one of its streams.
    pub(crate) fn output(&self, stream: Stream) -> Option<&Output> {
        self.outputs[stream as usize].as_ref()
    }

    /// Whether standard input takes more now.
    pub(crate) fn takes_input(&mut self) -> bool {
        self.stdin.as_ref().is_some_and(|input| input.pending.is_empty())
    }

    /// Whether its program runs, as far as is known.
    pub(crate) fn is_running(&self) -> bool {
        self.start.is_none()
    }

    /// Whether its terminal has not come yet.
    pub(crate) fn waits_for_terminal(&self) -> bool {
        self.start.as_ref().is_some_and(|start| start.terminal.is_some())
    }

    /// Reaps the process and tells its exit code; `None` while it lives. With `wait` it waits for the end.
    pub(crate) fn reap(&self, wait: bool) -> Option<i32> {
        let mut options = WaitIdOptions::EXITED;
        if !wait {
            options |= WaitIdOptions::NOHANG;
        }
        loop {
            return match rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options) {
                Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => LOST,
                }),
                Ok(None) => None,
                Err(Errno::INTR) => continue,
                // An adopted one is no child of ours; newer kernels tell all the same (Linux 6.15).
                Err(_) => self.adopted_status(wait),
            };
        }
    }

    /// Whether the kernel tells nobody but the parent how the process has ended; it does since Linux 6.15.
    pub(crate) fn is_code_hidden(&self) -> bool {
        onggi_sys::pidfd::exit_status(self.pidfd.as_fd()).is_err()
    }

    fn adopted_status(&self, wait: bool) -> Option<i32> {
        let mut poll = [rustix::event::PollFd::new(&self.pidfd, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = if wait { None } else { Some(&now) };
        match rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, timeout)) {
            Ok(0) => None,
            _ => Some(match onggi_sys::pidfd::exit_status(self.pidfd.as_fd()) {
                Ok(status) if status & 0x7F == 0 => (status >> 8) & 0xFF,
                Ok(status) => 128 + (status & 0x7F),
                Err(_) => LOST,
            }),
        }
    }
}

/// The exit code when nobody knows the real one, as Docker has it.
pub(crate) const LOST: i32 = 255;
