//! One query that somebody else has to answer: whom it was sent to, and what came back.
//!
//! Each attempt has a socket of its own, connected and so on a port that the kernel chose, and an id of its own: whoever wants to answer in
//! the server's place has to guess both (RFC 5452).

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{LARGEST, Query, SMALLEST_DATAGRAM, Verdict, is_truncated, judge, set_id};
use super::random::unguessable;
use super::stream::{Incoming, Outgoing};

/// How long (nanoseconds) a server has, as Docker has it.
const PATIENCE: u64 = 4_000_000_000;

/// As many datagrams are looked at in one go; the others' turn must come even while somebody floods this socket.
const DATAGRAMS: usize = 16;

/// The largest query that is passed on: what every server takes. Clients' are of a tenth of this.
pub(super) const LARGEST_QUERY: usize = SMALLEST_DATAGRAM;

/// Who waits for the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// Who sent a datagram from there.
    Datagram(SocketAddrV4),
    /// The stream of this number.
    Stream(u32),
}

/// A query in flight.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Never used again, so that an event can not reach a successor.
    pub(super) number: u32,
    pub(super) asker: Asker,
    /// As it came. In place, since many small blocks would be scattered over the heap and keep it from shrinking.
    query: [u8; LARGEST_QUERY],
    length: usize,
    /// How many attempts there were.
    pub(super) asked: usize,
    pub(super) attempt: Option<Attempt>,
}

impl Exchange {
    /// `None` if the query is too large.
    pub(super) fn new(number: u32, asker: Asker, query: &[u8]) -> Option<Exchange> {
        let mut place = [0; LARGEST_QUERY];
        place.get_mut(..query.len())?.copy_from_slice(query);
        Some(Exchange { number, asker, query: place, length: query.len(), asked: 0, attempt: None })
    }

    /// Whom to ask next, and whether by stream: each server as the client has asked, and then by datagram, since not all have streams.
    pub(super) fn next(&self, servers: &[SocketAddr]) -> Option<(SocketAddr, bool)> {
        let by_stream = matches!(self.asker, Asker::Stream(_));
        match self.asked.checked_sub(servers.len()) {
            None => Some((servers[self.asked], by_stream)),
            Some(again) if by_stream => servers.get(again).map(|&server| (server, false)),
            Some(_) => None,
        }
    }

    /// It is a query, or it would not be here.
    pub(super) fn query(&self) -> &[u8] {
        &self.query[..self.length]
    }

    /// Looks at the socket. An answer is left in `buffer`.
    pub(super) fn look(&mut self, buffer: &mut Vec<u8>) -> Progress {
        let (Ok(query), Some(attempt)) = (Query::parse(&self.query[..self.length]), &mut self.attempt) else {
            return Progress::Broken;
        };
        let progress = attempt.look(&query, buffer);
        let by_stream = matches!(self.asker, Asker::Stream(_));
        match progress {
            // Who asked by stream has no other way to ask for the rest.
            Progress::Answer { cut, .. } if by_stream && (cut || is_truncated(buffer)) => Progress::Broken,
            progress => progress,
        }
    }
}

/// One server's chance.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) socket: OwnedFd,
    /// In monotonic nanoseconds.
    pub(super) deadline: u64,
    id: u16,
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    outgoing: Outgoing,
    incoming: Incoming,
}

/// What a look at an attempt's socket found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Go on waiting for these events.
    Wait(EventFlags),
    /// The answer is in the buffer. It was longer than that if `cut`; the server cannot or will not say if `failed`.
    Answer { cut: bool, failed: bool },
    /// There will be none.
    Broken,
}

impl Attempt {
    /// Sends the query, or begins to.
    ///
    /// # Errors
    /// Of `socket(2)`, `connect(2)`, `send(2)`: mostly that there is no way to the server.
    pub(super) fn begin(server: SocketAddr, by_stream: bool, query: &[u8], now: u64) -> io::Result<Attempt> {
        let id = unguessable()?;
        let mut message = query.to_vec();
        set_id(&mut message, id);
        let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = if by_stream { SocketType::STREAM } else { SocketType::DGRAM };
        let socket = rustix::net::socket_with(family, kind, flags, None)?;
        match rustix::net::connect(&socket, &server) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(errno.into()),
        }
        let stream = if by_stream {
            let outgoing = Outgoing::new(&message).ok_or(io::ErrorKind::InvalidData)?;
            Some(Stream { outgoing, incoming: Incoming::new(usize::from(u16::MAX)) })
        } else {
            rustix::net::send(&socket, &message, SendFlags::DONTWAIT)?;
            None
        };
        Ok(Attempt { socket, deadline: now.saturating_add(PATIENCE), id, stream })
    }

    /// What to wait for at first.
    pub(super) fn wanted(&self) -> EventFlags {
        if self.stream.is_some() { EventFlags::OUT } else { EventFlags::IN }
    }

    fn look(&mut self, query: &Query<'_>, buffer: &mut Vec<u8>) -> Progress {
        match &mut self.stream {
            None => self.receive(query, buffer),
            Some(stream) => match stream.step(&self.socket) {
                Ok(Step::Wait(flags)) => Progress::Wait(flags),
                Ok(Step::Message(message)) => {
                    *buffer = message;
                    match judge(query, self.id, buffer) {
                        // On a connection nobody else can have said this.
                        Verdict::Foreign => Progress::Broken,
                        verdict => Progress::Answer { cut: false, failed: verdict == Verdict::Failed },
                    }
                }
                Err(_) => Progress::Broken,
            },
        }
    }

    fn receive(&self, query: &Query<'_>, buffer: &mut Vec<u8>) -> Progress {
        for _ in 0..DATAGRAMS {
            buffer.resize(LARGEST, 0);
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            match rustix::net::recv(&self.socket, buffer.as_mut_slice(), flags) {
                Ok((count, length)) => {
                    buffer.truncate(count);
                    match judge(query, self.id, buffer) {
                        // Somebody guesses, or a server answers what it was asked before; the right answer may still come.
                        Verdict::Foreign => {}
                        verdict => {
                            let failed = verdict == Verdict::Failed;
                            return Progress::Answer { cut: length > count, failed };
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Progress::Wait(EventFlags::IN),
                // Nobody listens there, say.
                Err(_) => return Progress::Broken,
            }
        }
        Progress::Wait(EventFlags::IN)
    }
}

enum Step {
    Wait(EventFlags),
    Message(Vec<u8>),
}

impl Stream {
    fn step(&mut self, socket: &OwnedFd) -> io::Result<Step> {
        if !self.outgoing.write(socket.as_fd())? {
            return Ok(Step::Wait(EventFlags::OUT));
        }
        Ok(match self.incoming.read(socket.as_fd())? {
            None => Step::Wait(EventFlags::IN),
            Some(message) => Step::Message(message),
        })
    }
}
