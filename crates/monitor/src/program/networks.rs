//! The container's networks: connecting its namespace while its steps go on, holding its ports, giving everything back at the end.
//!
//! What to connect is in the record that the monitor was started with; addresses and names were leased before. The leases and the
//! elements live as long as the container does, its pauses between two lives included; the links live as long as a namespace.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use onggi_error::{Diagnose, Kind};
use onggi_net::attachment::Attachment;
use onggi_net::names::resolve::Config;
use onggi_net::wire::{self, Namespace};
use onggi_net::{Socket, port};

use super::isolation::Refusal;
use super::session::MAIN;
use super::{Monitor, Watched};
use crate::protocol::{Reply, Start};

/// Sockets that hold the published ports.
#[derive(Debug, Default)]
pub(super) struct Ports {
    reserved: Vec<OwnedFd>,
}

impl Ports {
    /// Takes every port that the networks publish.
    pub(super) fn reserve(start: &Start) -> Result<Ports, Refusal> {
        let mut ports = Ports::default();
        for attachment in &start.networks {
            ports.add(attachment, &start.name)?;
        }
        Ok(ports)
    }

    fn add(&mut self, attachment: &Attachment, container: &str) -> Result<(), Refusal> {
        for wanted in &attachment.endpoint.ports {
            for offset in 0..wanted.count {
                let address = SocketAddr::new(wanted.host_address, wanted.host + offset);
                let (socket, _) = port::reserve(wanted.protocol, address).map_err(|error| {
                    // Docker's sentence, on which its clients match.
                    let message = format!(
                        "driver failed programming external connectivity on endpoint {container} ({}): {error}",
                        attachment.endpoint.container
                    );
                    Refusal { message, ..refusal(&error) }
                })?;
                self.reserved.push(socket);
            }
        }
        Ok(())
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.reserved.iter().map(AsFd::as_fd)
    }

    /// For a re-execution.
    pub(super) fn numbers(&self) -> Vec<RawFd> {
        self.reserved.iter().map(AsRawFd::as_raw_fd).collect()
    }

    pub(super) fn restore(numbers: Vec<RawFd>) -> std::io::Result<Ports> {
        let reserved = numbers.into_iter().map(onggi_sys::descriptor::take_inherited);
        Ok(Ports { reserved: reserved.collect::<Result<_, _>>()? })
    }
}

/// Connects the network namespace of a process to all the networks of its container.
pub(super) fn connect(process: BorrowedFd<'_>, networks: &[Attachment]) -> Result<(), Refusal> {
    if networks.is_empty() {
        return Ok(());
    }
    let mut namespace = match Namespace::of(process) {
        // It has ended already, and its report says why.
        Err(error) if error.errno() == Some(NO_PROCESS) => return Ok(()),
        other => other.map_err(|error| refusal(&error))?,
    };
    let mut host = Socket::route().map_err(|error| refusal(&error))?;
    for attachment in networks {
        wire::connect(&mut host, &mut namespace, attachment).map_err(|error| refusal(&error))?;
    }
    onggi_sys::fault::point("monitor.network.connected");
    Ok(())
}

/// `ESRCH`
const NO_PROCESS: i32 = 3;

fn refusal(error: &onggi_net::Error) -> Refusal {
    Refusal {
        kind: error.kind(),
        step: "network".to_owned(),
        errno: error.errno().unwrap_or(0),
        message: error.to_string(),
    }
}

impl Watched {
    /// Gives up addresses, names and ports, for good. The links go with the namespace.
    pub(super) fn disconnect(&mut self) {
        self.ports = Ports::default();
        for attachment in std::mem::take(&mut self.start.networks) {
            if let Err(error) = wire::disconnect(&attachment, false) {
                self.problem = Some(error.to_string());
            }
        }
    }
}

impl Monitor<'_> {
    /// A network more, while the container runs.
    pub(super) fn connect_network(
        &mut self,
        attachment: Attachment,
        names: Option<Config>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(main) = self.sessions.iter().find(|session| session.number == MAIN) else {
            return Err(Refusal::new(Kind::Conflict, "connect-network", "the container does not run"));
        };
        let Some(watched) = &mut self.watched else { return Ok(None) };
        if watched.start.networks.iter().any(|known| known.endpoint.network == attachment.endpoint.network) {
            return Err(Refusal::new(
                Kind::AlreadyExists,
                "connect-network",
                "the container is on this network",
            ));
        }
        watched.ports.add(&attachment, &watched.start.name)?;
        connect(main.pidfd.as_fd(), std::slice::from_ref(&attachment))?;
        let extra = network_event(&attachment);
        watched.start.networks.push(attachment);
        watched.sandbox.write_start(&watched.start)?;
        self.emit_network("connect", extra);
        self.change_names(names)?;
        Ok(Some(Reply::Ok))
    }

    /// A network less.
    pub(super) fn disconnect_network(
        &mut self,
        network: &str,
        names: Option<Config>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(watched) = &mut self.watched else { return Ok(None) };
        let networks = &mut watched.start.networks;
        let Some(at) = networks.iter().position(|known| known.endpoint.network == network) else {
            return Err(Refusal::new(
                Kind::NotFound,
                "disconnect-network",
                "the container is not on this network",
            ));
        };
        wire::disconnect(&networks[at], true).map_err(|error| refusal(&error))?;
        let gone = networks.remove(at);
        watched.ports = Ports::default();
        let kept = Ports::reserve(&watched.start);
        watched.sandbox.write_start(&watched.start)?;
        self.emit_network("disconnect", network_event(&gone));
        self.change_names(names)?;
        if let (Ok(kept), Some(watched)) = (kept, &mut self.watched) {
            watched.ports = kept;
        }
        Ok(Some(Reply::Ok))
    }

    /// An event for each network, of the kind that Docker's clients follow.
    pub(super) fn tell_networks(&mut self, action: &str) {
        let networks = self.watched.as_ref().map(|watched| &watched.start.networks);
        let events: Vec<[(String, String); 2]> = networks.into_iter().flatten().map(network_event).collect();
        for event in events {
            self.emit_network(action, event);
        }
    }
}

/// The id and the name.
fn network_event(attachment: &Attachment) -> [(String, String); 2] {
    let Attachment { endpoint, .. } = attachment;
    [("id".to_owned(), endpoint.network.clone()), ("name".to_owned(), endpoint.network_name.clone())]
}
