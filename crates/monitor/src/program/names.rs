//! Names for the sandbox's processes: `onggi_net`'s server as one more descriptor of this loop.
//!
//! Its sockets are in the container's network namespace, so they come when that is there; whatever it asks others it asks from here, the
//! host's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use onggi_error::Diagnose;
use onggi_net::home::Home;
use onggi_net::names::listen::listen;
use onggi_net::names::resolve::Config;
use onggi_net::names::server::{Pending, Server, Sockets};
use onggi_net::names::upstream::RESOLV_CONF;
use onggi_sys::descriptor::take_inherited;
use rustix::event::epoll::EventFlags;
use serde::{Deserialize, Serialize};

use super::isolation::Refusal;
use super::poller::{Registered, Token};
use super::session::MAIN;
use super::{Monitor, monotonic};

/// The server, and what the loop knows of it.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) server: Server,
    registered: Registered,
}

/// For a re-execution: descriptors as numbers, and the questions that wait for others' answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct NamesSnapshot {
    datagrams: RawFd,
    streams: RawFd,
    pending: Vec<Pending>,
}

impl Monitor<'_> {
    /// Makes the server, if the sandbox is on a network with names. Its first process is there, and its network namespace with it.
    pub(super) fn open_names(
        &mut self,
        home: &Home,
        first: BorrowedFd<'_>,
        config: Option<Config>,
    ) -> Result<(), Refusal> {
        let Some(config) = config else { return Ok(()) };
        // From home, from where the container's namespace can be entered and left again.
        let sockets = home
            .within(|| listen(first))
            .and_then(|sockets| sockets)
            .map_err(|error| Refusal::new(error.kind(), "monitor.names", error.to_string()))?;
        self.names = Some(Names::new(sockets, config)?);
        self.watch_names();
        Ok(())
    }

    /// The networks have changed.
    pub(super) fn change_names(&mut self, config: Option<Config>) -> Result<(), Refusal> {
        let Some(watched) = &mut self.watched else { return Ok(()) };
        watched.start.names.clone_from(&config);
        watched.sandbox.write_start(&watched.start)?;
        match (&mut self.names, config) {
            (Some(names), Some(config)) => names.server.configure(config),
            (Some(_), None) => self.close_names(),
            (None, config) => {
                let main = self.sessions.iter().find(|session| session.number == MAIN);
                let first = main.and_then(|main| main.pidfd.try_clone().ok());
                if let Some(first) = first {
                    let home = watched.home.clone();
                    self.open_names(&home, first.as_fd(), config)?;
                }
            }
        }
        Ok(())
    }

    /// Puts the server into the epoll set.
    pub(super) fn watch_names(&mut self) {
        if let Some(Names { server, registered }) = &mut self.names {
            self.poller.set(server.descriptor(), Token::Names, registered, Some(EventFlags::IN));
        }
    }

    pub(super) fn serve_names(&mut self) {
        if let Some(names) = &mut self.names {
            names.server.serve(monotonic());
        }
    }

    /// Lets go of the sockets, which would keep the container's network namespace.
    pub(super) fn close_names(&mut self) {
        if let Some(Names { server, registered }) = &mut self.names {
            self.poller.set(server.descriptor(), Token::Names, registered, None);
        }
        self.names = None;
    }
}

impl Names {
    fn new(sockets: Sockets, config: Config) -> Result<Names, Refusal> {
        let server = Server::new(sockets, config, Path::new(RESOLV_CONF))
            .map_err(|error| Refusal::io("monitor.names", "make the server of names", &error))?;
        Ok(Names { server, registered: Registered::default() })
    }

    /// What a program in this one's place takes over.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        let Sockets { datagrams, streams } = self.server.sockets();
        [datagrams.as_fd(), streams.as_fd()]
    }

    pub(super) fn snapshot(&self) -> NamesSnapshot {
        let [datagrams, streams] = self.descriptors().map(|descriptor| descriptor.as_raw_fd());
        NamesSnapshot { datagrams, streams, pending: self.server.pending() }
    }
}

impl NamesSnapshot {
    pub(super) fn restore(self, config: Config) -> Result<Names, Refusal> {
        let take = |number| {
            take_inherited(number)
                .map_err(|error| Refusal::io("monitor.names", "take the sockets over", &error))
        };
        let sockets = Sockets { datagrams: take(self.datagrams)?, streams: take(self.streams)? };
        let mut names = Names::new(sockets, config)?;
        names.server.take_up(self.pending, monotonic());
        Ok(names)
    }
}
