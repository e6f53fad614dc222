//! The relay of one container: its listening sockets, its connections and its UDP clients, within fixed bounds.
//!
//! A state machine for a loop of somebody else's, as the server of names is: one descriptor to wait for, one deadline, and
//! [`Relay::serve`] when either is due, which never waits.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SocketFlags, SocketType, acceptfrom_with};

use super::numbers::Numbers;
use super::stream::{Connection, Pipe, Progress};
use super::{datagram, plain, towards};
use crate::endpoint::Protocol;
use crate::home::Home;
use datagram::Flow;

/// As many connections are passed on at once; the next wait to be taken in.
const MOST_CONNECTIONS: usize = 1024;
/// As many UDP clients are remembered; the next takes the place of who was silent longest.
const MOST_FLOWS: usize = 256;
/// As many events are taken, and connections taken in, before the owner's other descriptors have their turn.
const BATCH: usize = 16;
/// How long (nanoseconds) nobody is taken in after descriptors have run out.
const REST: u64 = 200_000_000;

/// A published port: the host's side, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub protocol: Protocol,
    pub host: SocketAddr,
    pub target: SocketAddr,
}

/// The relay.
#[derive(Debug)]
pub struct Relay {
    epoll: OwnedFd,
    home: Home,
    numbers: Numbers,
    listeners: Vec<(OwnedFd, Place)>,
    /// Whether new connections are taken in.
    listening: bool,
    /// When (monotonic nanoseconds) to look at the listeners again, after descriptors had run out.
    listen_again_at: Option<u64>,
    connections: Vec<Connection>,
    flows: Vec<Flow>,
    /// Connections whose turns were over while there was more.
    unfinished: Vec<u32>,
    spare: Vec<Pipe>,
    /// Of the next connection or flow.
    next_number: u32,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Listener(u32),
    Connection(u32),
    /// The client's end, and the container's.
    Flow(u32, usize),
}

impl Token {
    fn data(self) -> epoll::EventData {
        let (kind, number) = match self {
            Token::Listener(number) => (0, number),
            Token::Connection(number) => (1, number),
            Token::Flow(number, 0) => (2, number),
            Token::Flow(number, _) => (3, number),
        };
        epoll::EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn of(data: epoll::EventData) -> Token {
        let value = data.u64();
        let number = (value & 0xFFFF_FFFF) as u32;
        match value >> 32 {
            0 => Token::Listener(number),
            1 => Token::Connection(number),
            2 => Token::Flow(number, 0),
            _ => Token::Flow(number, 1),
        }
    }
}

impl Relay {
    /// For ports that lead into the network namespace `home`.
    ///
    /// # Errors
    /// Of `epoll_create1(2)`, `getrlimit(2)`.
    pub fn new(home: Home) -> io::Result<Relay> {
        Ok(Relay {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            home,
            numbers: Numbers::new(MOST_CONNECTIONS)?,
            listeners: Vec::new(),
            listening: true,
            listen_again_at: None,
            connections: Vec::new(),
            flows: Vec::new(),
            unfinished: Vec::new(),
            spare: Vec::new(),
            next_number: 0,
        })
    }

    /// Readable when there is something to [`Relay::serve`].
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When (monotonic nanoseconds) to [`Relay::serve`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        if !self.unfinished.is_empty() {
            return Some(0);
        }
        let oldest = self.flows.iter().map(|flow| flow.last + datagram::MEMORY).min();
        oldest.into_iter().chain(self.listen_again_at).min()
    }

    /// Takes in what comes to these sockets ([`crate::port::open`]) instead of those before. Connections that there are go on.
    ///
    /// # Errors
    /// Of `epoll_ctl(2)`.
    pub fn listen(&mut self, sockets: Vec<(OwnedFd, Place)>) -> io::Result<()> {
        self.set_listening(false);
        self.listeners = sockets;
        // Clients of ports that are no more, or that lead elsewhere now.
        let listeners = &self.listeners;
        self.flows.retain(|flow| listeners.iter().any(|(_, place)| place.host == flow.place));
        self.set_listening(true);
        if self.listening { Ok(()) } else { Err(Errno::NOMEM.into()) }
    }

    /// Does what there is to do. `now` is the time in monotonic nanoseconds.
    pub fn serve(&mut self, now: u64) {
        if self.listen_again_at.is_some_and(|at| at <= now) {
            self.listen_again_at = None;
            self.set_listening(true);
        }
        for number in std::mem::take(&mut self.unfinished) {
            self.pass(number);
        }
        let mut events: Vec<epoll::Event> = Vec::with_capacity(BATCH);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once));
        for event in events {
            match Token::of(event.data) {
                Token::Listener(number) => self.take_in(number as usize, now),
                Token::Connection(number) => self.pass(number),
                Token::Flow(number, end) => self.pass_datagrams(number, end, now),
            }
        }
        self.flows.retain(|flow| flow.last + datagram::MEMORY > now);
    }

    /// Gives back what is needed in busy moments only.
    pub fn rest(&mut self) {
        if self.connections.is_empty() {
            self.spare = Vec::new();
            self.connections = Vec::new();
            self.unfinished = Vec::new();
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }

    fn set_listening(&mut self, on: bool) {
        if self.listening == on && !on {
            return;
        }
        let mut done = true;
        for (number, (socket, _)) in (0..).zip(&self.listeners) {
            let changed = if on {
                match epoll::add(&self.epoll, socket, Token::Listener(number).data(), EventFlags::IN) {
                    Err(Errno::EXIST) => Ok(()),
                    other => other,
                }
            } else {
                epoll::delete(&self.epoll, socket)
            };
            done &= changed.is_ok();
        }
        self.listening = on && done;
    }

    fn take_in(&mut self, listener: usize, now: u64) {
        let Some((_, place)) = self.listeners.get(listener) else { return };
        if place.protocol == Protocol::Udp {
            return self.take_in_datagrams(listener, now);
        }
        for _ in 0..BATCH {
            if self.connections.len() >= self.numbers.most {
                return self.set_listening(false);
            }
            match self.accept(listener) {
                Ok(Some(ends)) => self.add(ends),
                Ok(None) => {}
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => return self.pause(now),
                // There is none, or it has gone.
                Err(_) => return,
            }
        }
    }

    /// One connection, begun anew to where it leads; `None` if that cannot be, of which the client hears.
    fn accept(&self, listener: usize) -> Result<Option<[OwnedFd; 2]>, Errno> {
        let (socket, place) = &self.listeners[listener];
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        self.numbers.raised(|| {
            let (taken, client) = acceptfrom_with(socket, flags)?;
            let taken = self.numbers.high(taken)?;
            let begun = client.and_then(|client| SocketAddr::try_from(client).ok()).map(|client| {
                io::Result::Ok(self.numbers.high(towards(
                    &self.home,
                    SocketType::STREAM,
                    plain(client),
                    place.target,
                )?)?)
            });
            match begun {
                Some(Ok(begun)) => Ok(Some([taken, begun])),
                _ => {
                    let _ = set_socket_linger(&taken, Some(Duration::ZERO));
                    Ok(None)
                }
            }
        })
    }

    fn pause(&mut self, now: u64) {
        self.set_listening(false);
        self.listen_again_at = Some(now + REST);
    }

    fn add(&mut self, ends: [OwnedFd; 2]) {
        let number = self.number();
        let Ok(connection) = Connection::new(number, ends) else { return };
        // Told once of each change; whoever is told goes on until there is nothing more to do.
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let data = Token::Connection(number).data();
        if connection.ends.iter().all(|end| epoll::add(&self.epoll, end, data, flags).is_ok()) {
            self.connections.push(connection);
        }
    }

    fn pass(&mut self, number: u32) {
        let Some(at) = self.connections.iter().position(|known| known.number == number) else { return };
        match self.connections[at].pass(&mut self.spare, &self.numbers) {
            Progress::Wait => {}
            Progress::More => self.unfinished.push(number),
            Progress::Done => {
                // Closed, they leave the set by themselves.
                self.connections.swap_remove(at);
                if !self.listening && self.listen_again_at.is_none() {
                    self.set_listening(true);
                }
            }
        }
    }

    fn take_in_datagrams(&mut self, listener: usize, now: u64) {
        let mut buffer = vec![0; datagram::LARGEST];
        for _ in 0..BATCH {
            let (socket, place) = &self.listeners[listener];
            let place = *place;
            let Some((count, client)) = datagram::first(socket, &mut buffer) else { return };
            let known = self.flows.iter().find(|flow| (flow.place, flow.client) == (place.host, client));
            if let Some(flow) = known {
                // On its way while the client's own socket was being made.
                flow.begin(&buffer[..count]);
                continue;
            }
            if let Some(flow) = self.open_flow(place, client, now) {
                flow.begin(&buffer[..count]);
            }
        }
    }

    /// `None` if there is no room: datagrams may be lost.
    fn open_flow(&mut self, place: Place, client: SocketAddr, now: u64) -> Option<&Flow> {
        if self.flows.len() >= MOST_FLOWS {
            let oldest = (0..self.flows.len()).min_by_key(|&at| self.flows[at].last)?;
            self.flows.swap_remove(oldest);
        }
        let numbers = &self.numbers;
        let ends = numbers.raised(|| {
            let [outside, inside] = datagram::open(&self.home, place.host, client, place.target)?;
            io::Result::Ok([numbers.high(outside)?, numbers.high(inside)?])
        });
        let ends = ends.ok()?;
        let number = self.number();
        for (end, socket) in ends.iter().enumerate() {
            epoll::add(&self.epoll, socket, Token::Flow(number, end).data(), EventFlags::IN).ok()?;
        }
        self.flows.push(Flow { number, place: place.host, client, ends, last: now });
        self.flows.last()
    }

    fn pass_datagrams(&mut self, number: u32, end: usize, now: u64) {
        let mut buffer = vec![0; datagram::LARGEST];
        if let Some(flow) = self.flows.iter_mut().find(|flow| flow.number == number)
            && flow.pass(end, &mut buffer)
        {
            flow.last = now;
        }
    }
}
