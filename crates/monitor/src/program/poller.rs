//! epoll, and who is meant by an event.
//!
//! A descriptor that nothing is wanted from is taken out altogether, since the kernel reports hang-ups whether they are wanted or not.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

pub(crate) use rustix::event::epoll::EventFlags as Ready;

/// How many events are taken at once.
const BATCH: usize = 16;

/// Whom an event is for. The numbers are those of sessions, attached streams and peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Listener,
    Memory,
    Names,
    Relay,
    Endings,
    Firewall,
    Peer(u32),
    Process(u32),
    Report(u32),
    Stdout(u32),
    Stderr(u32),
    Stdin(u32),
    Attached(u32),
}

impl Token {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Token::Listener => (0, 0),
            Token::Memory => (1, 0),
            Token::Peer(number) => (2, number),
            Token::Process(number) => (3, number),
            Token::Report(number) => (4, number),
            Token::Stdout(number) => (5, number),
            Token::Stderr(number) => (6, number),
            Token::Stdin(number) => (7, number),
            Token::Attached(number) => (8, number),
            Token::Names => (9, 0),
            Token::Endings => (10, 0),
            Token::Firewall => (11, 0),
            Token::Relay => (12, 0),
        };
        kind << 32 | u64::from(number)
    }

    fn decode(value: u64) -> Token {
        let number = (value & 0xFFFF_FFFF) as u32;
        match value >> 32 {
            0 => Token::Listener,
            1 => Token::Memory,
            2 => Token::Peer(number),
            3 => Token::Process(number),
            4 => Token::Report(number),
            5 => Token::Stdout(number),
            6 => Token::Stderr(number),
            7 => Token::Stdin(number),
            8 => Token::Attached(number),
            9 => Token::Names,
            10 => Token::Endings,
            11 => Token::Firewall,
            _ => Token::Relay,
        }
    }
}

/// What is registered of one descriptor; `None`: it is not in the set.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registered(Option<Ready>);

pub(crate) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    /// How many the last wait found.
    found: usize,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("epoll", &self.epoll).field("events", &self.events.len()).finish()
    }
}

impl Poller {
    pub(crate) fn new() -> Result<Poller, Errno> {
        Ok(Poller {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(BATCH),
            found: 0,
        })
    }

    /// Makes the set want this of the descriptor, and no call if it does already.
    pub(crate) fn set(
        &self,
        descriptor: impl AsFd,
        token: Token,
        registered: &mut Registered,
        wanted: Option<Ready>,
    ) {
        if registered.0 == wanted {
            return;
        }
        let data = epoll::EventData::new_u64(token.encode());
        // These fail for want of kernel memory, or for a plain file, which is refused before it gets here. Without the event the
        // descriptor is silent; a hang is worse than an end, so the next look at it finds it unregistered and tries again.
        let done = match (registered.0, wanted) {
            (None, Some(flags)) => epoll::add(&self.epoll, descriptor, data, flags),
            (Some(_), Some(flags)) => epoll::modify(&self.epoll, descriptor, data, flags),
            (_, None) => epoll::delete(&self.epoll, descriptor),
        };
        if done.is_ok() {
            registered.0 = wanted;
        }
    }

    /// Waits until something is ready, at most `timeout` nanoseconds.
    pub(crate) fn wait(&mut self, timeout: Option<u64>) -> Result<(), Errno> {
        self.events.clear();
        let timeout = timeout.map(|nanoseconds| Timespec {
            tv_sec: (nanoseconds / 1_000_000_000) as i64,
            tv_nsec: (nanoseconds % 1_000_000_000) as i64,
        });
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        // The kernel tells first what was ready first, and [`Poller::next`] takes from the end.
        self.events.reverse();
        self.found = self.events.len();
        Ok(())
    }

    /// Whether nothing else was ready at the last wait.
    pub(crate) fn found_one(&self) -> bool {
        self.found == 1
    }

    /// The events of the last wait, one after the other, in the order in which the descriptors became ready.
    pub(crate) fn next(&mut self) -> Option<(Token, Ready)> {
        let event = self.events.pop()?;
        Some((Token::decode(event.data.u64()), event.flags))
    }
}
