//! Staying for as long as a process lives: signals go on to it, its terminal is joined to ours, and its end becomes ours.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use onggi_sys::signal_queue::{HIGHEST, SignalQueue};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus};
use rustix::termios::{OptionalActions, OutputModes, Termios};

use super::error::Error;
use super::notify::Notify;

const SIGKILL: i32 = 9;
const SIGPIPE: i32 = 13;
const SIGCHLD: i32 = 17;
const SIGSTOP: i32 = 19;
const SIGURG: i32 = 23;
const SIGWINCH: i32 = 28;
/// The two that the C library keeps for its threads.
const LIBRARY: [i32; 2] = [32, 33];

/// Signals that wait to be passed on: taken before the process starts, so that none is lost.
#[derive(Debug)]
pub(crate) struct Foreground {
    signals: SignalQueue,
}

impl Foreground {
    /// `adopts`: what the process leaves behind becomes ours to reap.
    pub(crate) fn prepare(adopts: bool) -> Result<Foreground, Error> {
        let kept = |signal: &i32| !matches!(*signal, SIGKILL | SIGSTOP) && !LIBRARY.contains(signal);
        let signals: Vec<i32> = (1..=HIGHEST).filter(kept).collect();
        let signals = SignalQueue::block(&signals).map_err(|error| Error::io("take the signals", error))?;
        if adopts {
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .map_err(|error| Error::io("become a subreaper", error))?;
        }
        Ok(Foreground { signals })
    }

    /// Waits for the process, a child of ours, and gives its exit code: 128 + n if signal n ended it.
    pub(crate) fn wait(
        self,
        pid: i32,
        pidfd: BorrowedFd<'_>,
        terminal: Option<OwnedFd>,
        mut notify: Option<Notify>,
    ) -> Result<u8, Error> {
        let mut joined = terminal.map(Joined::new).transpose()?;
        let mut end = None;
        loop {
            // Whatever ended before the signals were taken has left none.
            end = end.or_else(|| reap(pid));
            if let Some(code) = end {
                if let Some(joined) = &mut joined {
                    joined.drain();
                }
                return Ok(code);
            }
            let mut polled = vec![PollFd::new(&self.signals, PollFlags::IN)];
            if let Some(joined) = &joined {
                polled.extend(joined.polled());
            }
            polled.extend(notify.iter().map(|notify| PollFd::new(notify, PollFlags::IN)));
            match rustix::event::poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(Error::io("poll", error)),
            }
            let mut ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
            let is_told = notify.is_some() && ready.pop().is_some_and(|flags| !flags.is_empty());
            if let Some(joined) = &mut joined {
                joined.serve(&ready[1..]);
            }
            if let Some(passed) = notify.as_ref().filter(|_| is_told).map(|notify| notify.pass(pid, false)) {
                // A manager that cannot be told is no reason to leave the container alone.
                notify.take_if(|_| !matches!(passed, Ok(false)));
            }
            while let Some(signal) =
                self.signals.try_next().map_err(|error| Error::io("read a signal", error))?
            {
                match signal {
                    SIGCHLD | SIGURG | SIGPIPE => {}
                    SIGWINCH => joined.iter().for_each(Joined::resize),
                    // ESRCH only: it has just ended, and we are about to hear of it.
                    other => drop(onggi_sys::pidfd::send_signal(pidfd, other)),
                }
            }
        }
    }
}

/// Every child that has ended; the code of ours if it is among them.
fn reap(pid: i32) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((ended, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(ended) == Pid::from_raw(pid) {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

/// The process's terminal between our standard input and output. Ours, if it is one, is raw meanwhile.
#[derive(Debug)]
struct Joined {
    master: OwnedFd,
    before: Option<Termios>,
    /// What was typed and not taken yet.
    input: VecDeque<u8>,
    input_open: bool,
    output_open: bool,
}

impl Joined {
    fn new(master: OwnedFd) -> Result<Joined, Error> {
        rustix::io::ioctl_fionbio(&master, true).map_err(|error| Error::io("set up the terminal", error))?;
        let before = rustix::termios::tcgetattr(rustix::stdio::stdin()).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            raw.make_raw();
            // The container's terminal leaves line ends as they are (`Bundle::plain_output`), so that a pipe gets them so; ours completes
            // them.
            raw.output_modes |= OutputModes::OPOST;
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, &raw)
                .map_err(|error| Error::io("make the terminal raw", error))?;
        }
        let joined = Joined { master, before, input: VecDeque::new(), input_open: true, output_open: true };
        joined.resize();
        Ok(joined)
    }

    fn polled(&self) -> impl Iterator<Item = PollFd<'_>> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.output_open);
        wanted.set(PollFlags::OUT, !self.input.is_empty());
        // Without an ear for either, a hang-up would wake us for ever.
        let master = (self.output_open).then(|| PollFd::new(&self.master, wanted));
        let reads = self.input_open && self.input.is_empty();
        let stdin = reads.then(|| PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
        master.into_iter().chain(stdin)
    }

    /// `ready` is in the order of [`Joined::polled`].
    fn serve(&mut self, ready: &[PollFlags]) {
        let mut ready = ready.iter();
        let reads = self.input_open && self.input.is_empty();
        if self.output_open && ready.next().is_some_and(|flags| !flags.is_empty()) {
            self.pass_output();
            self.pass_input();
        }
        if reads && ready.next().is_some_and(|flags| !flags.is_empty()) {
            let mut bytes = [0; 4096];
            match rustix::io::read(rustix::stdio::stdin(), &mut bytes) {
                Ok(0) => self.input_open = false,
                Ok(count) => self.input.extend(&bytes[..count]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.input_open = false,
            }
            self.pass_input();
        }
    }

    /// One piece; whether there may be more.
    fn pass_output(&mut self) -> bool {
        let mut bytes = [0; 8192];
        match rustix::io::read(&self.master, &mut bytes) {
            Ok(count @ 1..) => {
                write_all(rustix::stdio::stdout(), &bytes[..count]);
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            // EIO: nobody has the other side any more.
            Ok(0) | Err(_) => {
                self.output_open = false;
                false
            }
        }
    }

    fn pass_input(&mut self) {
        while !self.input.is_empty() {
            match rustix::io::write(&self.master, self.input.as_slices().0) {
                Ok(count) => drop(self.input.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.input.clear(),
            }
        }
    }

    /// What the process wrote before it ended.
    fn drain(&mut self) {
        while self.output_open && self.pass_output() {}
    }

    fn resize(&self) {
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            // A terminal that is gone needs no size.
            let _ = rustix::termios::tcsetwinsize(&self.master, size);
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Output that nobody takes any more is dropped.
fn write_all(to: impl AsFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}
