//! One client on a stream: a query, its answer, the next query. What it sends meanwhile waits in the kernel.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;

use super::message::LARGEST;
use super::stream::{Incoming, Outgoing};

/// How long (nanoseconds) a client may say nothing, or take nothing (RFC 7766 §6.2.3: a few seconds).
const PATIENCE: u64 = 10_000_000_000;

/// A client's connection.
#[derive(Debug)]
pub(super) struct Client {
    /// Never used again.
    pub(super) number: u32,
    pub(super) socket: OwnedFd,
    /// In monotonic nanoseconds; none while the client waits for us.
    pub(super) deadline: Option<u64>,
    incoming: Incoming,
    outgoing: Option<Outgoing>,
}

/// What a look at a client's socket found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing yet.
    Nothing,
    Query(Vec<u8>),
    /// It has left, or talks nonsense.
    Gone,
}

impl Client {
    pub(super) fn new(number: u32, socket: OwnedFd, now: u64) -> Client {
        let deadline = Some(now.saturating_add(PATIENCE));
        Client { number, socket, deadline, incoming: Incoming::new(LARGEST), outgoing: None }
    }

    /// What to wait for. Nothing while the answer is on its way: the kernel reports hang-ups all the same.
    pub(super) fn wanted(&self) -> EventFlags {
        match (&self.outgoing, self.deadline) {
            (Some(_), _) => EventFlags::OUT,
            (None, Some(_)) => EventFlags::IN,
            (None, None) => EventFlags::empty(),
        }
    }

    /// Goes on with what it is at.
    pub(super) fn look(&mut self, ready: EventFlags, now: u64) -> Heard {
        if self.outgoing.is_some() {
            return self.write(now);
        }
        if self.deadline.is_none() {
            let gone = ready.intersects(EventFlags::HUP | EventFlags::ERR);
            return if gone { Heard::Gone } else { Heard::Nothing };
        }
        match self.incoming.read(self.socket.as_fd()) {
            Ok(Some(query)) => {
                self.deadline = None;
                Heard::Query(query)
            }
            Ok(None) => Heard::Nothing,
            Err(_) => Heard::Gone,
        }
    }

    /// Gives it the answer to its query, or as much as it takes now.
    pub(super) fn answer(&mut self, message: &[u8], now: u64) -> Heard {
        self.deadline = Some(now.saturating_add(PATIENCE));
        self.outgoing = Outgoing::new(message);
        if self.outgoing.is_none() { Heard::Gone } else { self.write(now) }
    }

    fn write(&mut self, now: u64) -> Heard {
        let Some(outgoing) = &mut self.outgoing else { return Heard::Nothing };
        match outgoing.write(self.socket.as_fd()) {
            Ok(true) => {
                self.outgoing = None;
                self.deadline = Some(now.saturating_add(PATIENCE));
                Heard::Nothing
            }
            Ok(false) => Heard::Nothing,
            Err(_) => Heard::Gone,
        }
    }
}
