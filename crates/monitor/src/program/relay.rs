//! Published ports of an ordinary user: `onggi_net`'s relay as one more descriptor of this loop. Root's need none.
//!
//! The listening sockets are those that hold the ports ([`super::networks::Ports`]); the relay has copies.

use std::net::{IpAddr, SocketAddr};

use onggi_net::attachment::Attachment;
use onggi_net::relay::{Place, Relay};
use rustix::event::epoll::EventFlags;

use super::isolation::Refusal;
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
        if watched.home.namespace().is_none() || (self.relay.is_none() && watched.ports.is_empty()) {
            return Ok(());
        }
        let places: Vec<Place> = watched.start.networks.iter().flat_map(places).collect();
        let sockets = watched.ports.descriptors().map(|socket| socket.try_clone_to_owned());
        let sockets: Result<Vec<_>, _> =
            sockets.zip(places).map(|(socket, place)| Ok((socket?, place))).collect();
        let relaying = match &mut self.relay {
            Some(relaying) => relaying,
            empty => {
                let relay = Relay::new(watched.home.clone()).map_err(|error| refuse(&error))?;
                empty.insert(Relaying { relay, registered: Registered::default() })
            }
        };
        let listens = sockets.and_then(|sockets| relaying.relay.listen(sockets));
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

/// Where the ports of one network lead, in the order of their sockets.
fn places(attachment: &Attachment) -> impl Iterator<Item = Place> {
    let endpoint = &attachment.endpoint;
    let address = |host: IpAddr| match (host, endpoint.ipv6) {
        (IpAddr::V6(_), Some(address)) => IpAddr::V6(address),
        // A container without it is reached by clients of the host's own loopback (`::1`), which have no address to keep.
        _ => endpoint.ipv4.map_or(host, IpAddr::V4),
    };
    endpoint.ports.iter().flat_map(move |port| {
        (0..port.count).map(move |offset| Place {
            protocol: port.protocol,
            host: SocketAddr::new(port.host_address, port.host + offset),
            target: SocketAddr::new(address(port.host_address), port.container + offset),
        })
    })
}
