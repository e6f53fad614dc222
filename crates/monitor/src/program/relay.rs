//! Published ports that the kernel does not pass on, an ordinary user's and those of `::1`: `onggi_net`'s relay as one more descriptor of
//! this loop.
//!
//! The listening sockets are those that hold the ports ([`super::networks::Ports`]); the relay has copies.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use onggi_net::attachment::Attachment;
use onggi_net::home::Home;
use onggi_net::relay::{self, Place, Relay};
use rustix::event::epoll::EventFlags;

use super::isolation::Refusal;
use super::networks::Room;
use super::poller::{Registered, Token};
use super::{Monitor, monotonic};

/// The relay, and what the loop knows of it.
#[derive(Debug)]
pub(super) struct Relaying {
    pub(super) relay: Relay,
    registered: Registered,
}

impl Monitor<'_> {
    /// Has the relay serve the ports that there are now. Connections that it has already go on.
    pub(super) fn change_relay(&mut self) -> Result<(), Refusal> {
        let refuse =
            |error: &std::io::Error| Refusal::io("monitor.relay", "serve the published ports", error);
        let Some(watched) = &self.watched else { return Ok(()) };
        let places = watched.start.networks.iter().flat_map(|attachment| places(&watched.home, attachment));
        let served = watched.ports.descriptors().zip(places);
        let served: Vec<(BorrowedFd<'_>, Place)> =
            served.filter_map(|(socket, place)| Some((socket, place?))).collect();
        if self.relay.is_none() && served.is_empty() {
            return Ok(());
        }
        let relaying = match &mut self.relay {
            Some(relaying) => relaying,
            empty => {
                let relay = Relay::new(watched.home.clone()).map_err(|error| refuse(&error))?;
                empty.insert(Relaying { relay, registered: Registered::default() })
            }
        };
        let copies = copies(&served)?;
        let listens = relaying.relay.listen(copies);
        let Relaying { relay, registered } = relaying;
        self.poller.set(relay.descriptor(), Token::Relay, registered, Some(EventFlags::IN));
        listens.map_err(|error| refuse(&error))
    }

    pub(super) fn serve_relay(&mut self) {
        if let Some(relaying) = &mut self.relay {
            relaying.relay.serve(monotonic());
        }
    }

    /// Breaks off what is still connected.
    pub(super) fn close_relay(&mut self) {
        if let Some(Relaying { relay, registered }) = &mut self.relay {
            self.poller.set(relay.descriptor(), Token::Relay, registered, None);
        }
        self.relay = None;
    }
}

/// The relay's own descriptors of these sockets.
fn copies(served: &[(BorrowedFd<'_>, Place)]) -> Result<Vec<(OwnedFd, Place)>, Refusal> {
    let room = Room::for_sockets(served.len())?;
    let copy = |(socket, place): &(BorrowedFd<'_>, Place)| match &room {
        Some(room) => Ok((room.take_in(socket)?, *place)),
        None => {
            let copied = socket.try_clone_to_owned();
            let copied =
                copied.map_err(|error| Refusal::io("monitor.relay", "serve the published ports", &error));
            Ok((copied?, *place))
        }
    };
    served.iter().map(copy).collect()
}

/// Where the ports of one network lead, in the order of their sockets; `None`: the kernel passes it on.
fn places(home: &Home, attachment: &Attachment) -> impl Iterator<Item = Option<Place>> {
    let endpoint = &attachment.endpoint;
    let address = |host: IpAddr| match (host, endpoint.ipv6) {
        (IpAddr::V6(_), Some(address)) => IpAddr::V6(address),
        // A container without it is reached by clients of the other family without their address.
        _ => endpoint.ipv4.map_or(host, IpAddr::V4),
    };
    endpoint.ports.iter().flat_map(move |port| {
        let served = relay::serves(home, endpoint, port);
        (0..port.count).map(move |offset| {
            served.then(|| Place {
                protocol: port.protocol,
                host: SocketAddr::new(port.host_address, port.host + offset),
                target: SocketAddr::new(address(port.host_address), port.container + offset),
            })
        })
    })
}
