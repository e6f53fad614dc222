//! Connecting a container that is there to another network, and taking it off one, while it runs or not.
//!
//! Both are done under the container's lock and in one order, in which each step may be the last: connecting leases, writes the record,
//! and then has the monitor make the links; taking off writes the record, and then has the monitor give everything back. The record says
//! where the container belongs; saying the same command again finishes what was cut short, and the other one undoes it.

use onggi_monitor::client::START;
use onggi_monitor::protocol::{Reply, Request, WayOut};
use onggi_net::attachment::Attachment;
use onggi_net::endpoint::{self, Directory, Endpoint};
use serde::Deserialize;

use super::{Leases, Network};
use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{self, NetworkRequest};
use crate::spec::files;

/// As much as is asked here of what a monitor keeps in its sandbox to be adopted by.
#[derive(Debug, Deserialize)]
struct Start {
    #[serde(default)]
    networks: Vec<Attachment>,
}

impl Engine {
    /// Connects a container to a network.
    ///
    /// # Errors
    /// It is on it already, or has no network namespace of its own.
    pub fn network_connect(&self, id: &ContainerId, wanted: &NetworkRequest) -> Result<(), Error> {
        check_joinable(&wanted.name)?;
        self.beside_its_end(id, || self.connect_once(id, wanted))
    }

    /// What fails because the container ends meanwhile is done once more when it has: then it does not run, or is no more.
    fn beside_its_end(&self, id: &ContainerId, act: impl Fn() -> Result<(), Error>) -> Result<(), Error> {
        match act() {
            Err(Error::Monitor { .. } | Error::Refused { .. } | Error::NotRunning { .. })
                if !self.is_at_work(id) =>
            {
                self.await_departure(id)?;
                match act() {
                    // As far as the record, the first time.
                    Err(Error::AlreadyConnected { .. } | Error::NotConnected { .. }) => Ok(()),
                    other => other,
                }
            }
            other => other,
        }
    }

    fn connect_once(&self, id: &ContainerId, wanted: &NetworkRequest) -> Result<(), Error> {
        let network = self.find_network(&wanted.name)?;
        let (before, live, _lock) = self.hold(id)?;
        match &before.request.network {
            request::Network::Bridge => {}
            request::Network::None => return Err(invalid(PRIVATE)),
            request::Network::Host | request::Network::Container(_) => {
                return Err(invalid(
                    "container sharing network namespace with another container or host cannot be connected to any other network",
                ));
            }
        }
        let mut record = before.clone();
        let known = self.position(&record, &network);
        // Whom the record alone has there was cut short on its way.
        let is_there = !live || self.monitored_networks(id)?.iter().any(|other| other.network == network.id);
        if known.is_some() && is_there {
            if let Some(endpoint) = endpoint::find(&self.endpoints(&network), id.as_str()).filter(|_| live) {
                self.add_to_hosts(&record, &endpoint)?;
            }
            return Err(Error::AlreadyConnected { container: record.name, network: network.name });
        }
        if let Some(at) = known {
            record.resolved.networks.remove(at);
        }
        if live {
            self.take_off(&record, &network.id)?;
        }
        record.resolved.networks.push(NetworkRequest { name: network.name.clone(), ..wanted.clone() });
        if !live {
            return self.write_connected(&record);
        }
        let connected = self.connect_running(&record, &network, wanted);
        if connected.is_err() {
            let record = Record { resolved: before.resolved, ..record };
            // The failure is what matters; what stays is undone by `network disconnect`.
            let _ = self.take_off(&record, &network.id).and_then(|_| self.write_connected(&record));
        }
        connected
    }

    /// The record, and the row that shows its networks.
    fn write_connected(&self, record: &Record) -> Result<(), Error> {
        self.write_record(record)?;
        onggi_sys::fault::point("engine.connect.record-written");
        Ok(self.store.insert_container(&crate::create::row(record))?)
    }

    /// The lease comes first: from then on nobody can remove the network.
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
        onggi_sys::fault::point("engine.connect.leased");
        self.write_connected(record)?;
        self.add_to_hosts(record, &attachment.endpoint)?;
        onggi_sys::fault::point("engine.connect.hosts-written");
        let names = self.names_for(record)?;
        self.order_monitor(&record.id, &Request::ConnectNetwork { attachment: Box::new(attachment), names })?;
        onggi_sys::fault::point("engine.connect.connected");
        Ok(())
    }

    /// Takes a container off a network, which need not be there any more.
    ///
    /// # Errors
    /// It is not on it.
    pub fn network_disconnect(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        check_joinable(name)?;
        self.beside_its_end(id, || self.disconnect_once(id, name))
    }

    fn disconnect_once(&self, id: &ContainerId, name: &str) -> Result<(), Error> {
        let network = match self.find_network(name) {
            Err(Error::NoSuchNetwork { .. }) => None,
            other => Some(other?),
        };
        let (mut record, live, _lock) = self.hold(id)?;
        let known = match &network {
            Some(network) => self.position(&record, network),
            None => record.resolved.networks.iter().position(|wanted| wanted.name == name),
        };
        if let Some(at) = known {
            record.resolved.networks.remove(at);
            self.write_connected(&record)?;
        }
        let mut was_there = known.is_some();
        if live {
            let is_it = |endpoint: &Endpoint| endpoint.network == name || endpoint.network_name == name;
            let network_id = match &network {
                Some(network) => Some(network.id.clone()),
                None => self.monitored_networks(id)?.into_iter().find(is_it).map(|endpoint| endpoint.network),
            };
            if let Some(network) = network_id {
                was_there |= self.take_off(&record, &network)?;
            }
        }
        match network {
            _ if was_there => Ok(()),
            Some(network) => {
                Err(Error::NotConnected { container: record.id.to_string(), network: network.name })
            }
            None => Err(Error::NoSuchNetwork { name: name.to_owned() }),
        }
    }

    /// Has a container that runs give back whatever it has on a network that its record does not name any more, half made or whole. Answers
    /// whether it had anything. Whoever calls holds the container's lock.
    pub(super) fn take_off(&self, record: &Record, network: &str) -> Result<bool, Error> {
        let id = &record.id;
        let directory = Directory::new(&self.paths.run, network);
        let endpoint = endpoint::find(&directory, id.as_str());
        let mut was_there = endpoint.is_some();
        if let Some(endpoint) = &endpoint {
            let lines = files::own_addresses(record, [endpoint]);
            self.change_hosts(record, |text| text.replace(&lines, ""))?;
        }
        if self.monitored_networks(id)?.iter().any(|known| known.network == network) {
            was_there = true;
            let (names, way_out) = (self.names_for(record)?, self.way_out(record)?);
            self.order_monitor(
                id,
                &Request::DisconnectNetwork { network: network.to_owned(), names, way_out },
            )?;
            onggi_sys::fault::point("engine.disconnect.disconnected");
        }
        // What the monitor never heard of.
        if let Some(rest) = endpoint::find(&directory, id.as_str()) {
            self.clear_endpoint(&rest)?;
        }
        Ok(was_there)
    }

    /// The networks that a container's monitor has it on, or has begun to.
    fn monitored_networks(&self, id: &ContainerId) -> Result<Vec<Endpoint>, Error> {
        let path = self.paths.sandbox(id).join(START);
        let start = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            // What cannot be read must not pass for a container on no network.
            other => other.and_then(|bytes| Ok(serde_json::from_slice::<Start>(&bytes)?)),
        };
        let networks = start.map_err(Error::io("read", path))?.networks;
        Ok(networks.into_iter().map(|attachment| attachment.endpoint).collect())
    }

    /// The first of a container's networks that lead out.
    fn way_out(&self, record: &Record) -> Result<Option<WayOut>, Error> {
        for network in self.networks_of(record)? {
            if !network.internal {
                let gateways = network.subnets.iter().map(|range| range.gateway).collect();
                return Ok(Some(WayOut { network: network.id, gateways }));
            }
        }
        Ok(None)
    }

    /// The networks that a record names, but for those that have been removed since.
    pub(super) fn networks_of(&self, record: &Record) -> Result<Vec<Network>, Error> {
        let mut networks = Vec::new();
        for wanted in &record.resolved.networks {
            match self.find_network(&wanted.name) {
                Err(Error::NoSuchNetwork { .. }) => {}
                other => networks.push(other?),
            }
        }
        Ok(networks)
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

    /// The container's own addresses, unless they are there.
    fn add_to_hosts(&self, record: &Record, endpoint: &Endpoint) -> Result<(), Error> {
        let lines = files::own_addresses(record, [endpoint]);
        self.change_hosts(record, |text| {
            if text.contains(&lines) { text.to_owned() } else { format!("{text}{lines}") }
        })
    }

    /// The file is bound into the container, so it stays the same file.
    fn change_hosts(&self, record: &Record, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
        let path = self.paths.container(&record.id).join("hosts");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        std::fs::write(&path, change(&text)).map_err(Error::io("write", path))
    }

    pub(super) fn position(&self, record: &Record, network: &Network) -> Option<usize> {
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

/// Docker's words.
const PRIVATE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

/// Those that are no networks are had by `--network` of `run`, from the beginning to the end.
fn check_joinable(name: &str) -> Result<(), Error> {
    match name {
        "host" => {
            Err(invalid("container cannot be disconnected from host network or connected to host network"))
        }
        "none" => Err(invalid(PRIVATE)),
        _ => Ok(()),
    }
}

fn invalid(what: &str) -> Error {
    Error::Invalid { what: what.to_owned() }
}
