//! Connecting a container that is there to another network, and taking it off one: in its record and, if it runs, by its monitor.

use onggi_monitor::protocol::{Reply, Request, WayOut};
use onggi_net::endpoint::{self, Endpoint};
use onggi_net::wire::{self, Firewall};

use super::{Leases, Network};
use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{self, NetworkRequest};
use crate::spec::files;

impl Engine {
    /// Connects a container to a network.
    ///
    /// # Errors
    /// It is on it already, or has no network namespace of its own.
    pub fn network_connect(&self, id: &ContainerId, wanted: &NetworkRequest) -> Result<(), Error> {
        let network = self.find_network(&wanted.name)?;
        let (mut record, live, _lock) = self.hold(id)?;
        match &record.request.network {
            request::Network::Bridge => {}
            request::Network::None => {
                return Err(invalid(
                    "container cannot be connected to multiple networks with one of the networks in private (none) mode",
                ));
            }
            request::Network::Host | request::Network::Container(_) => {
                return Err(invalid(
                    "container sharing network namespace with another container or host cannot be connected to any other network",
                ));
            }
        }
        if self.position(&record, &network).is_some() {
            return Err(Error::AlreadyConnected { container: record.name, network: network.name });
        }
        record.resolved.networks.push(NetworkRequest { name: network.name.clone(), ..wanted.clone() });
        if live {
            self.connect_running(&record, &network, wanted)?;
        }
        self.write_connected(&record)
    }

    /// The record, and the row that shows its networks.
    fn write_connected(&self, record: &Record) -> Result<(), Error> {
        self.write_record(record)?;
        onggi_sys::fault::point("engine.connect.record-written");
        Ok(self.store.insert_container(&crate::create::row(record))?)
    }

    /// The record would name a network that the container is not on if this failed: so it comes before it is written.
    fn connect_running(
        &self,
        record: &Record,
        network: &Network,
        wanted: &NetworkRequest,
    ) -> Result<(), Error> {
        let mut used = Vec::new();
        let mut ways = Vec::new();
        for (known, endpoint) in self.live_endpoints(record)? {
            used.push(endpoint.inside);
            if !known.internal {
                ways.extend(known.subnets.iter().map(|range| range.gateway));
            }
        }
        let inside = (0..).map(|at| format!("eth{at}")).find(|name| !used.contains(name));
        let inside = inside.unwrap_or_default();
        let attachment = self.attach_network(record, network, wanted, inside, &ways, Leases::Taken)?;
        let request = Request::ConnectNetwork {
            attachment: Box::new(attachment.clone()),
            names: self.names_for(record)?,
        };
        onggi_sys::fault::point("engine.connect.leased");
        if let Err(error) = self.order_monitor(&record.id, &request) {
            let _ = self.undo_at_home(|| wire::disconnect(&mut Firewall::default(), &attachment, true));
            return Err(error);
        }
        onggi_sys::fault::point("engine.connect.connected");
        let lines = files::own_addresses(record, [&attachment.endpoint]);
        self.change_hosts(record, |text| format!("{text}{lines}"))
    }

    /// Takes a container off a network.
    ///
    /// # Errors
    /// It is not on it.
    pub fn network_disconnect(&self, id: &ContainerId, network: &str) -> Result<(), Error> {
        let network = self.find_network(network)?;
        let (mut record, live, _lock) = self.hold(id)?;
        let Some(at) = self.position(&record, &network) else {
            return Err(Error::NotConnected { container: record.id.to_string(), network: network.name });
        };
        record.resolved.networks.remove(at);
        if live {
            let endpoints = self.live_endpoints(&record)?;
            let names = self.names_for(&record)?;
            let way_out = self.way_out(&record)?;
            self.order_monitor(
                id,
                &Request::DisconnectNetwork { network: network.id.clone(), names, way_out },
            )?;
            onggi_sys::fault::point("engine.disconnect.disconnected");
            let gone = endpoints.into_iter().filter(|(known, _)| known.id == network.id);
            let gone: Vec<Endpoint> = gone.map(|(_, endpoint)| endpoint).collect();
            let lines = files::own_addresses(&record, &gone);
            self.change_hosts(&record, |text| text.replace(&lines, ""))?;
        }
        self.write_connected(&record)
    }

    /// The first of a container's networks that lead out.
    fn way_out(&self, record: &Record) -> Result<Option<WayOut>, Error> {
        for wanted in &record.resolved.networks {
            let network = self.find_network(&wanted.name)?;
            if !network.internal {
                let gateways = network.subnets.iter().map(|range| range.gateway).collect();
                return Ok(Some(WayOut { network: network.id, gateways }));
            }
        }
        Ok(None)
    }

    /// The container is found by its new name, and no more by the old one.
    pub(crate) fn rename_on_networks(&self, record: &Record) -> Result<(), Error> {
        for (network, mut endpoint) in self.live_endpoints(record)? {
            let wanted =
                record.resolved.networks.iter().find(|wanted| {
                    wanted.name == network.name || network.id.starts_with(wanted.name.as_str())
                });
            endpoint.names = super::attach::names(record, wanted.unwrap_or(&NetworkRequest::default()));
            endpoint::rename(&self.endpoints(&network), &endpoint)?;
        }
        Ok(())
    }

    /// The record, whether the container runs, and its lock.
    fn hold(&self, id: &ContainerId) -> Result<(Record, bool, StateLock), Error> {
        // What is said to run and does not is found out before, as that takes the lock too.
        self.state(id)?;
        let lock = self.lock(id)?;
        let live = status(&self.written_state(id)?).is_live() && self.is_watched(id);
        Ok((self.record(id)?, live, lock))
    }

    /// The container's endpoints that there are, each with its network.
    pub(super) fn live_endpoints(&self, record: &Record) -> Result<Vec<(Network, Endpoint)>, Error> {
        let mut all = Vec::new();
        for network in self.all_networks()? {
            let file = self.endpoints(&network).endpoints().join(record.id.as_str());
            match endpoint::read(&file) {
                Ok(endpoint) => all.push((network, endpoint)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", file)(error)),
            }
        }
        Ok(all)
    }

    /// The file is bound into the container, so it stays the same file.
    fn change_hosts(&self, record: &Record, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
        let path = self.paths.container(&record.id).join("hosts");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        std::fs::write(&path, change(&text)).map_err(Error::io("write", path))
    }

    fn position(&self, record: &Record, network: &Network) -> Option<usize> {
        let is_it = |wanted: &NetworkRequest| {
            wanted.name == network.name
                || self.find_network(&wanted.name).is_ok_and(|known| known.id == network.id)
        };
        record.resolved.networks.iter().position(is_it)
    }

    fn order_monitor(&self, id: &ContainerId, request: &Request) -> Result<(), Error> {
        let mut connection = self.connect(id)?;
        match connection.call(request, &[]) {
            Ok(Reply::Ok) => Ok(()),
            Ok(other) => {
                Err(self.monitor_error(id, &onggi_monitor::client::unexpected(request.name(), &other)))
            }
            Err(onggi_monitor::Error::Refused { message, .. }) => {
                Err(Error::Refused { id: id.to_string(), message })
            }
            Err(error) => Err(self.monitor_error(id, &error)),
        }
    }
}

fn invalid(what: &str) -> Error {
    Error::Invalid { what: what.to_owned() }
}
