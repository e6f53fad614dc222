//! The server of one sandbox: its two sockets, the streams of its clients and the queries that others have to answer, within fixed bounds.
//!
//! It is a state machine for a loop of somebody else's: one descriptor to wait for ([`Server::descriptor`]), one deadline, and
//! [`Server::serve`] when either is due, which never waits. It has no threads, and between queries almost no memory.

use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use serde::{Deserialize, Serialize};

use super::client::{Client, Heard};
use super::directory::Files;
use super::exchange::{Asker, Attempt, Exchange, Progress};
use super::message::{self, Code, Data, LARGEST, Query, Unanswerable};
use super::random::Random;
use super::resolve::{Answer, Config, resolve};
use super::upstream::Servers;

/// As many queries are in flight.
const MOST_EXCHANGES: usize = 128;
/// As many streams are open.
const MOST_CLIENTS: usize = 16;
/// As many events, and as many datagrams, are dealt with before the owner's other descriptors have their turn.
const BATCH: usize = 16;
/// How long (nanoseconds) nobody is let in after descriptors have run out.
const REST: u64 = 200_000_000;

/// The sockets that a sandbox's processes reach.
#[derive(Debug)]
pub struct Sockets {
    pub datagrams: OwnedFd,
    /// Listening.
    pub streams: OwnedFd,
}

/// A query that another server, in this one's place, has to take up again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub from: SocketAddrV4,
    pub query: Vec<u8>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    epoll: OwnedFd,
    sockets: Sockets,
    config: Config,
    resolv_conf: PathBuf,
    servers: Servers,
    exchanges: Vec<Exchange>,
    clients: Vec<Client>,
    /// Of the next exchange or client.
    next_number: u32,
    /// Whether new streams are let in.
    listening: bool,
    /// When (monotonic nanoseconds) to look at the listener again, after descriptors had run out.
    listen_again_at: Option<u64>,
    /// For what comes and what goes; empty in quiet moments.
    buffer: Vec<u8>,
    reply: Vec<u8>,
}

/// Whom an event is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Datagrams,
    Streams,
    Client(u32),
    Exchange(u32),
}

impl Token {
    fn data(self) -> epoll::EventData {
        let (kind, number) = match self {
            Token::Datagrams => (0, 0),
            Token::Streams => (1, 0),
            Token::Client(number) => (2, number),
            Token::Exchange(number) => (3, number),
        };
        epoll::EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn of(data: epoll::EventData) -> Token {
        let value = data.u64();
        let number = (value & 0xFFFF_FFFF) as u32;
        match value >> 32 {
            0 => Token::Datagrams,
            1 => Token::Streams,
            2 => Token::Client(number),
            _ => Token::Exchange(number),
        }
    }
}

/// What to do about a message.
enum Reaction {
    /// The reply is written.
    Reply,
    Silence,
    Forward,
}

impl Server {
    /// Serves on these sockets. `resolv_conf` is the host's file ([`super::upstream::RESOLV_CONF`]).
    ///
    /// # Errors
    /// Of `epoll_create1(2)` and `epoll_ctl(2)`.
    pub fn new(sockets: Sockets, config: Config, resolv_conf: &Path) -> io::Result<Server> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &sockets.datagrams, Token::Datagrams.data(), EventFlags::IN)?;
        epoll::add(&epoll, &sockets.streams, Token::Streams.data(), EventFlags::IN)?;
        let servers = Servers::new(&config.servers, resolv_conf);
        Ok(Server {
            epoll,
            sockets,
            config,
            resolv_conf: resolv_conf.to_owned(),
            servers,
            exchanges: Vec::new(),
            clients: Vec::new(),
            next_number: 0,
            listening: true,
            listen_again_at: None,
            buffer: Vec::new(),
            reply: Vec::new(),
        })
    }

    /// Readable when there is something to [`Server::serve`].
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When (monotonic nanoseconds) to [`Server::serve`] at the latest.
    #[must_use]
    pub fn deadline(&self) -> Option<u64> {
        let attempts = self.exchanges.iter().filter_map(|exchange| Some(exchange.attempt.as_ref()?.deadline));
        let clients = self.clients.iter().filter_map(|client| client.deadline);
        attempts.chain(clients).chain(self.listen_again_at).min()
    }

    /// The sockets that the sandbox's processes reach, for one who serves after this one.
    #[must_use]
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The sandbox has joined another network, or left one.
    pub fn configure(&mut self, config: Config) {
        self.servers = Servers::new(&config.servers, &self.resolv_conf);
        self.config = config;
    }

    /// The datagrams that are not answered yet. Clients on streams see theirs end, and ask again.
    #[must_use]
    pub fn pending(&self) -> Vec<Pending> {
        let pending = self.exchanges.iter().filter_map(|exchange| match exchange.asker {
            Asker::Datagram(from) => Some(Pending { from, query: exchange.query().to_vec() }),
            Asker::Stream(_) => None,
        });
        pending.collect()
    }

    /// Takes up what another server has left.
    pub fn take_up(&mut self, pending: Vec<Pending>, now: u64) {
        for Pending { from, query } in pending {
            self.hear(Asker::Datagram(from), &query, now);
        }
    }

    /// Gives memory back in a quiet moment.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
        self.reply = Vec::new();
        // All or nothing: the table is one block, which is mapped and unmapped by itself.
        if self.exchanges.is_empty() {
            self.exchanges = Vec::new();
        }
        self.clients.shrink_to_fit();
    }

    /// Does what can be done without waiting. `now` is in monotonic nanoseconds.
    pub fn serve(&mut self, now: u64) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(BATCH);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // It fails only if a signal comes, and then it is called again: the descriptor stays readable.
        let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&at_once));
        for event in events {
            match Token::of(event.data) {
                Token::Datagrams => self.datagrams_ready(now),
                Token::Streams => self.accept(now),
                Token::Client(number) => self.client_ready(number, event.flags, now),
                Token::Exchange(number) => self.exchange_ready(number, now),
            }
        }
        self.keep_deadlines(now);
    }

    fn datagrams_ready(&mut self, now: u64) {
        for _ in 0..BATCH {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(LARGEST, 0);
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let got = rustix::net::recvfrom(&self.sockets.datagrams, buffer.as_mut_slice(), flags);
            if let Ok((count, length, Some(from))) = &got
                // What is larger is no query.
                && length == count
                && let Ok(from) = SocketAddrV4::try_from(from.clone())
            {
                self.hear(Asker::Datagram(from), &buffer[..*count], now);
            }
            self.buffer = buffer;
            if matches!(got, Err(errno) if errno != Errno::INTR) {
                return;
            }
        }
    }

    /// A message has come.
    fn hear(&mut self, asker: Asker, message: &[u8], now: u64) {
        match self.react(asker, message) {
            Reaction::Reply => self.send(asker, now),
            Reaction::Forward => self.forward(asker, message, now),
            Reaction::Silence => {
                if let Asker::Stream(number) = asker {
                    self.drop_client(number);
                }
            }
        }
    }

    fn react(&mut self, asker: Asker, message: &[u8]) -> Reaction {
        let reply = &mut self.reply;
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Unanswerable::Silence) => return Reaction::Silence,
            Err(Unanswerable::Header { id, flags, code }) => {
                message::refuse(id, flags, code, reply);
                return Reaction::Reply;
            }
        };
        let limit = match asker {
            Asker::Datagram(_) => query.datagram_limit(),
            Asker::Stream(_) => usize::from(u16::MAX),
        };
        let only = |code, reply: &mut _| message::answer(&query, code, std::iter::empty(), limit, reply);
        if query.is_too_new() {
            only(Code::BadVersion, reply);
            return Reaction::Reply;
        }
        match resolve(&self.config, &Files(&self.config.run_root), &query, &mut Random::new()) {
            Answer::Forward => return Reaction::Forward,
            Answer::Keep => only(Code::ServerFailure, reply),
            Answer::Refuse => only(Code::Refused, reply),
            Answer::Addresses(addresses) => {
                let data = addresses.into_iter().map(Data::Address);
                message::answer(&query, Code::NoError, data, limit, reply);
            }
            Answer::Pointer(name) => {
                let data = std::iter::once(Data::Pointer(&name));
                message::answer(&query, Code::NoError, data, limit, reply);
            }
        }
        Reaction::Reply
    }

    /// Sends the reply. A client that does not take it has asked for nothing.
    fn send(&mut self, asker: Asker, now: u64) {
        match asker {
            Asker::Datagram(to) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                let _ = rustix::net::sendto(&self.sockets.datagrams, &self.reply, flags, &to);
            }
            Asker::Stream(number) => {
                let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else {
                    return;
                };
                let heard = client.answer(&self.reply, now);
                self.after_client(number, heard, now);
            }
        }
    }

    fn accept(&mut self, now: u64) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.sockets.streams, flags) {
            Ok(socket) => {
                let client = Client::new(self.number(), socket, now);
                let token = Token::Client(client.number);
                // Without an event the client would wait for ever: it is better hung up on.
                if epoll::add(&self.epoll, &client.socket, token.data(), client.wanted()).is_ok() {
                    self.clients.push(client);
                }
                if self.clients.len() >= MOST_CLIENTS {
                    self.listen(false);
                }
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                // The listener stays readable: without a rest this would be asked again at once, for ever.
                self.listen(false);
                self.listen_again_at = Some(now.saturating_add(REST));
            }
            Err(_) => {}
        }
    }

    fn listen(&mut self, listening: bool) {
        if self.listening == listening {
            return;
        }
        let wanted = if listening { EventFlags::IN } else { EventFlags::empty() };
        let done = epoll::modify(&self.epoll, &self.sockets.streams, Token::Streams.data(), wanted);
        if done.is_ok() {
            self.listening = listening;
        }
    }

    fn client_ready(&mut self, number: u32, ready: EventFlags, now: u64) {
        let Some(client) = self.clients.iter_mut().find(|client| client.number == number) else { return };
        let heard = client.look(ready, now);
        self.after_client(number, heard, now);
    }

    fn after_client(&mut self, number: u32, heard: Heard, now: u64) {
        if let Heard::Query(query) = &heard {
            self.hear(Asker::Stream(number), query, now);
        }
        let client = self.clients.iter().find(|client| client.number == number);
        let Some(client) = client.filter(|_| heard != Heard::Gone) else {
            return self.drop_client(number);
        };
        let token = Token::Client(number);
        if epoll::modify(&self.epoll, &client.socket, token.data(), client.wanted()).is_err() {
            self.drop_client(number);
        }
    }

    fn drop_client(&mut self, number: u32) {
        while let Some(at) =
            self.exchanges.iter().position(|exchange| exchange.asker == Asker::Stream(number))
        {
            let mut exchange = self.exchanges.swap_remove(at);
            self.end_attempt(&mut exchange);
        }
        let Some(at) = self.clients.iter().position(|client| client.number == number) else { return };
        let client = self.clients.swap_remove(at);
        // A copy of the descriptor may live on for a moment in a child, and would go on reporting.
        let _ = epoll::delete(&self.epoll, &client.socket);
        if self.listen_again_at.is_none() {
            self.listen(true);
        }
    }

    /// Asks others.
    fn forward(&mut self, asker: Asker, query: &[u8], now: u64) {
        // Clients repeat themselves; the first will be answered.
        if self.exchanges.iter().any(|known| known.asker == asker && known.query() == query) {
            return;
        }
        let number = self.number();
        match Exchange::new(number, asker, query) {
            Some(exchange) if self.exchanges.len() < MOST_EXCHANGES => self.ask_next(exchange, now),
            _ => self.give_up(asker, query, now),
        }
    }

    /// Asks the next server that can be reached.
    fn ask_next(&mut self, mut exchange: Exchange, now: u64) {
        while let Some((server, by_stream)) = exchange.next(self.servers.current()) {
            exchange.asked += 1;
            let Ok(attempt) = Attempt::begin(server, by_stream, exchange.query(), now) else { continue };
            let token = Token::Exchange(exchange.number);
            if epoll::add(&self.epoll, &attempt.socket, token.data(), attempt.wanted()).is_ok() {
                exchange.attempt = Some(attempt);
                self.exchanges.reserve_exact(MOST_EXCHANGES - self.exchanges.len());
                return self.exchanges.push(exchange);
            }
        }
        self.give_up(exchange.asker, exchange.query(), now);
    }

    /// Nobody has answered.
    fn give_up(&mut self, asker: Asker, query: &[u8], now: u64) {
        if let Ok(query) = Query::parse(query) {
            message::answer(&query, Code::ServerFailure, std::iter::empty(), LARGEST, &mut self.reply);
            self.send(asker, now);
        }
    }

    fn exchange_ready(&mut self, number: u32, now: u64) {
        let Some(at) = self.exchanges.iter().position(|exchange| exchange.number == number) else { return };
        let exchange = &mut self.exchanges[at];
        let (cut, failed) = match (exchange.look(&mut self.buffer), &exchange.attempt) {
            (Progress::Wait(flags), Some(attempt)) => {
                let data = Token::Exchange(number).data();
                if epoll::modify(&self.epoll, &attempt.socket, data, flags).is_ok() {
                    return;
                }
                return self.try_next(at, now);
            }
            (Progress::Answer { cut, failed }, _) => (cut, failed),
            _ => return self.try_next(at, now),
        };
        if failed && exchange.next(self.servers.current()).is_some() {
            return self.try_next(at, now);
        }
        let by_datagram = matches!(exchange.asker, Asker::Datagram(_));
        let Ok(query) = Query::parse(exchange.query()) else { return self.try_next(at, now) };
        if cut || by_datagram && self.buffer.len() > query.datagram_limit() {
            message::truncated(&query, &mut self.reply);
        } else {
            message::set_id(&mut self.buffer, query.id);
            std::mem::swap(&mut self.buffer, &mut self.reply);
        }
        let mut exchange = self.exchanges.swap_remove(at);
        self.end_attempt(&mut exchange);
        self.send(exchange.asker, now);
    }

    fn try_next(&mut self, at: usize, now: u64) {
        let mut exchange = self.exchanges.swap_remove(at);
        self.end_attempt(&mut exchange);
        self.ask_next(exchange, now);
    }

    fn end_attempt(&self, exchange: &mut Exchange) {
        if let Some(attempt) = exchange.attempt.take() {
            // As with clients' sockets.
            let _ = epoll::delete(&self.epoll, &attempt.socket);
        }
    }

    fn keep_deadlines(&mut self, now: u64) {
        let is_due =
            |exchange: &Exchange| exchange.attempt.as_ref().is_some_and(|attempt| attempt.deadline <= now);
        // The new attempt's deadline is later, so this ends.
        while let Some(at) = self.exchanges.iter().position(is_due) {
            self.try_next(at, now);
        }
        let is_late = |client: &&Client| client.deadline.is_some_and(|deadline| deadline <= now);
        while let Some(number) = self.clients.iter().find(is_late).map(|client| client.number) {
            self.drop_client(number);
        }
        if self.listen_again_at.is_some_and(|at| at <= now) {
            self.listen_again_at = None;
            self.listen(self.clients.len() < MOST_CLIENTS);
        }
    }

    fn number(&mut self) -> u32 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
