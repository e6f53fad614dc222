//! Connecting a container that starts: addresses and names are leased here, before anything of it runs; the monitor makes the links
//! and gives the leases back at the end. What a command or a monitor that was killed has left is swept by whoever meets it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use onggi_net::address::Mac;
use onggi_net::attachment::Attachment;
use onggi_net::endpoint::{self, Directory, Endpoint, Port};
use onggi_net::instance;
use onggi_net::names::resolve;
use onggi_net::names::upstream::{RESOLV_CONF, Servers};
use onggi_net::plan::{pool, wiring};
use onggi_net::wire::{self, Firewall};

use super::ports::{self, Families};
use super::{Network, Range};
use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{self, NetworkRequest};

/// What a container is connected to, with its leases taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    pub attachments: Vec<Attachment>,
    /// From what names are answered, if they are.
    pub names: Option<resolve::Config>,
    /// For a person.
    pub warnings: Vec<String>,
    /// Where the container reaches the host.
    pub host: Vec<IpAddr>,
}

impl Connections {
    /// One sentence a step.
    pub(crate) fn explain(&self) -> impl Iterator<Item = String> {
        self.attachments.iter().flat_map(wiring::plan).map(|step| step.explain())
    }
}

/// Whether addresses are taken, or only looked for (`--explain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leases {
    Taken,
    Looked,
}

/// The kernel's own for links of this kind.
const USUAL_MTU: u32 = 1500;
/// What an ordinary user's way out takes: it passes on what packets carry, and costs by the packet.
const LARGEST_MTU: u32 = 65520;
/// How often an address is looked for that others keep taking.
const MOST_ATTEMPTS: u32 = 100;

impl Engine {
    /// Takes addresses, names and ports for a container that is about to start. If it fails nothing is left.
    pub(crate) fn attach_networks(&self, record: &Record, leases: Leases) -> Result<Connections, Error> {
        if record.request.network != request::Network::Bridge {
            return Ok(Connections::default());
        }
        let mut connections = Connections::default();
        let attached = record.resolved.networks.iter().enumerate().try_for_each(|(at, wanted)| {
            let network = self.find_network(&wanted.name)?;
            let inside = format!("eth{at}");
            let ways: Vec<IpAddr> =
                connections.attachments.iter().flat_map(|other| &other.gateways).copied().collect();
            let attachment = self.attach_network(record, &network, wanted, inside, &ways, leases)?;
            connections.attachments.push(attachment);
            if leases == Leases::Taken {
                connections.warnings.extend(self.warn_of_obstacles(&network)?);
            }
            onggi_sys::fault::point("engine.network.attached");
            Ok(())
        });
        let checked = attached.and_then(|()| self.check_published(record, &connections));
        let names = checked.and_then(|()| self.names_for(record));
        connections.names = names.inspect_err(|_| {
            for attachment in connections.attachments.iter().filter(|_| leases == Leases::Taken) {
                let _ = self.undo_at_home(|| wire::disconnect(&mut Firewall::default(), attachment, false));
            }
        })?;
        connections.host = if self.has_own_network() {
            own_addresses()
        } else {
            connections.attachments.iter().flat_map(|attachment| &attachment.gateways).copied().collect()
        };
        Ok(connections)
    }

    /// What is wrong with the ports of a container, as far as it can be said before there is anything of it.
    pub(crate) fn check_publishing(&self, record: &Record) -> Result<(), Error> {
        if record.request.publish.is_empty() || record.request.network != request::Network::Bridge {
            return Ok(());
        }
        ports::check_once(&record.request.publish)?;
        for wanted in &record.resolved.networks {
            if !self.find_network(&wanted.name)?.internal {
                return Ok(());
            }
        }
        if record.resolved.networks.is_empty() { Ok(()) } else { Err(no_way_out()) }
    }

    /// Ports lead to the network with the way out, so there must be one.
    fn check_published(&self, record: &Record, connections: &Connections) -> Result<(), Error> {
        let asked = !record.request.publish.is_empty();
        if asked && connections.attachments.iter().all(|attachment| attachment.gateways.is_empty()) {
            return Err(no_way_out());
        }
        Ok(())
    }

    /// The lease of one endpoint. `ways` are the container's ways out already: the first of each family is the default route, and
    /// ports lead to that network.
    pub(super) fn attach_network(
        &self,
        record: &Record,
        network: &Network,
        wanted: &NetworkRequest,
        inside: String,
        ways: &[IpAddr],
        leases: Leases,
    ) -> Result<Attachment, Error> {
        check(network, wanted)?;
        // Until the lease is taken, which keeps the network.
        let _stays = match leases {
            Leases::Taken => Some(self.keep_network(network)?),
            Leases::Looked => None,
        };
        if leases == Leases::Taken {
            self.bring_up(network)?;
        }
        let has_way = |ipv4: bool| ways.iter().any(|gateway| gateway.is_ipv4() == ipv4);
        let gateways: Vec<IpAddr> = network
            .subnets
            .iter()
            .filter(|range| !network.internal && !has_way(range.subnet.is_ipv4()))
            .map(|range| range.gateway)
            .collect();
        let publishes = gateways.iter().any(IpAddr::is_ipv4);
        let families = Families {
            ipv6: network.range(false).is_some(),
            host_ipv6: Path::new("/proc/net/if_inet6").exists(),
        };
        let ports = if publishes { ports::assign(record, families)? } else { Vec::new() };
        let endpoint = self.lease(record, network, wanted, inside, ports, leases)?;
        let prefix = |ipv4| network.range(ipv4).map_or(0, |range| range.subnet.prefix());
        Ok(Attachment {
            run_root: self.paths.run.clone(),
            bridge: network.bridge(&self.instance()),
            mtu: network.mtu().unwrap_or(if self.has_own_network() { LARGEST_MTU } else { USUAL_MTU }),
            prefix4: prefix(true),
            prefix6: prefix(false),
            gateways,
            endpoint,
        })
    }

    /// Takes addresses, those asked for or free ones.
    fn lease(
        &self,
        record: &Record,
        network: &Network,
        wanted: &NetworkRequest,
        inside: String,
        ports: Vec<Port>,
        leases: Leases,
    ) -> Result<Endpoint, Error> {
        let directory = self.endpoints(network);
        let id = record.id.as_str();
        let mut endpoint = Endpoint {
            version: endpoint::VERSION,
            network: network.id.clone(),
            network_name: network.name.clone(),
            container: id.to_owned(),
            names: names(record, wanted),
            ipv4: None,
            ipv6: None,
            mac: String::new(),
            interface: instance::link(id, &network.id),
            inside,
            ports,
        };
        // Of a try that was cut short, whose lease nobody would know of any more.
        if let Some(before) = endpoint::find(&directory, id).filter(|_| leases == Leases::Taken) {
            self.clear_endpoint(&before)?;
        }
        let mut swept = false;
        for _ in 0..MOST_ATTEMPTS {
            let taken = endpoint::addresses(&directory)?;
            let free =
                |range: &Range| pool::choose_address(range.subnet, range.range, range.gateway, taken.clone());
            let chosen = (|| {
                let ipv4 = match (wanted.ipv4, network.range(true)) {
                    (None, Some(range)) => Some(free(range)?),
                    (address, _) => address.map(IpAddr::V4),
                };
                let ipv6 = match (wanted.ipv6, network.range(false)) {
                    (None, Some(range)) => Some(free(range)?),
                    (address, _) => address.map(IpAddr::V6),
                };
                endpoint.ipv4 = ipv4.and_then(as_ipv4);
                endpoint.ipv6 = ipv6.and_then(as_ipv6);
                endpoint.mac = match &wanted.mac {
                    Some(mac) => mac.clone(),
                    None => endpoint.ipv4.map_or_else(|| Mac::of_id(id), Mac::of).to_string(),
                };
                match leases {
                    Leases::Taken => endpoint::claim(&directory, &endpoint),
                    Leases::Looked => Ok(()),
                }
            })();
            match chosen {
                Ok(()) => return Ok(endpoint),
                // Somebody else was faster, or nobody holds it any more.
                Err(onggi_net::Error::AddressTaken { address }) if !swept || !asked_for(wanted, address) => {}
                Err(onggi_net::Error::NoAddress { .. }) if !swept => {}
                Err(error) => return Err(error.into()),
            }
            if !swept {
                swept = true;
                self.sweep_network(network, Some(&record.id));
            }
        }
        Err(onggi_net::Error::NoAddress { subnet: network.name.clone() }.into())
    }

    /// Takes away the endpoints of a network whose containers do not run: their sandbox is nobody's, and nobody is at work on them.
    /// `own` is the caller's, whose lock it holds.
    pub(crate) fn sweep_network(&self, network: &Network, own: Option<&ContainerId>) {
        for endpoint in self.stale_endpoints(network, own) {
            // What stays is in the way of nobody but those who want the same address, and they say so.
            let _ = self.clear_endpoint(&endpoint);
        }
    }

    pub(crate) fn clear_endpoint(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let bare = self.bare_attachment(endpoint);
        Ok(self.undo_at_home(|| wire::disconnect(&mut Firewall::default(), &bare, true))??)
    }

    /// The endpoints of a network whose containers do not run.
    pub(crate) fn stale_endpoints(&self, network: &Network, own: Option<&ContainerId>) -> Vec<Endpoint> {
        let traces = || endpoint::all_traces(&self.endpoints(network)).unwrap_or_default();
        // One that ended since the list was made has given its place back.
        let is_there =
            |endpoint: &Endpoint| traces().iter().any(|other| other.container == endpoint.container);
        let stale = |endpoint: &Endpoint| {
            let Ok(id) = endpoint.container.parse::<ContainerId>() else { return true };
            if own == Some(&id) || self.is_watched(&id) {
                return false;
            }
            match self.try_lock(&id) {
                // It may have been started between the two looks.
                Ok(Some(_lock)) => !self.is_watched(&id) && !self.is_said_to_run(&id) && is_there(endpoint),
                Err(Error::NoSuchContainer { .. }) => is_there(endpoint),
                Ok(None) | Err(_) => false,
            }
        };
        traces().into_iter().filter(stale).collect()
    }

    /// A container whose monitor died and whose processes live on: it will be adopted.
    fn is_said_to_run(&self, id: &ContainerId) -> bool {
        self.written_state(id).is_ok_and(|state| crate::container::status(&state).is_live())
    }

    /// Takes away whatever a container that is not watched has on any network.
    pub(crate) fn detach_networks(&self, id: &ContainerId) -> Result<(), Error> {
        let mut result = Ok(());
        // Live files, also of networks whose record has gone.
        for network in crate::check::names(&self.paths.run.join("networks"))? {
            let directory = Directory::new(&self.paths.run, &network);
            if let Some(endpoint) = endpoint::find(&directory, id.as_str()) {
                result = result.and(self.clear_endpoint(&endpoint));
            }
        }
        result
    }

    /// As much of an attachment as its undoing needs.
    fn bare_attachment(&self, endpoint: &Endpoint) -> Attachment {
        Attachment {
            run_root: self.paths.run.clone(),
            bridge: String::new(),
            mtu: 0,
            prefix4: 0,
            prefix6: 0,
            gateways: Vec::new(),
            endpoint: endpoint.clone(),
        }
    }

    /// From what the names of a container's networks are answered; `None` on the default network alone, which has none in Docker. But if
    /// the host's server of names is on the host's loopback (systemd-resolved), who can ask it has to ask it for the container.
    pub(super) fn names_for(&self, record: &Record) -> Result<Option<resolve::Config>, Error> {
        let mut networks = Vec::new();
        for network in self.networks_of(record)? {
            if !network.is_default() {
                let Network { id, name, internal, .. } = network;
                networks.push(resolve::Network { id, name, internal });
            }
        }
        let alone = networks.is_empty() && !record.resolved.networks.is_empty();
        let asks_others = alone && record.request.dns.is_empty() && asks_itself();
        if networks.is_empty() && !asks_others {
            return Ok(None);
        }
        let mut dots = record.request.dns_options.iter().filter_map(|option| option.strip_prefix("ndots:"));
        Ok(Some(resolve::Config {
            run_root: self.paths.run.clone(),
            networks,
            servers: record.request.dns.iter().filter_map(|address| address.parse().ok()).collect(),
            asks_others,
            dotted_only: dots
                .next_back()
                .and_then(|dots| dots.parse::<u32>().ok())
                .is_some_and(|dots| dots > 0),
        }))
    }
}

fn no_way_out() -> Error {
    Error::Invalid { what: "ports can only be published by a network that is not internal".to_owned() }
}

/// Whether the host asks nobody but servers on its own loopback.
fn asks_itself() -> bool {
    let mut servers = Servers::new(&[], Path::new(RESOLV_CONF));
    let servers = servers.current();
    !servers.is_empty() && servers.iter().all(|server| server.ip().is_loopback())
}

/// The addresses that the host itself goes out with. Nothing is sent: the kernel is asked for the way.
fn own_addresses() -> Vec<IpAddr> {
    // Of ranges that nobody has (RFC 5737, RFC 3849).
    let towards = |here: &str, there: &str| {
        let socket = UdpSocket::bind(here).ok()?;
        socket.connect(there).ok()?;
        Some(socket.local_addr().ok()?.ip())
    };
    let all = [towards("0.0.0.0:0", "192.0.2.1:9"), towards("[::]:0", "[2001:db8::1]:9")];
    all.into_iter().flatten().collect()
}

/// Docker's refusals.
fn check(network: &Network, wanted: &NetworkRequest) -> Result<(), Error> {
    let invalid = |what: String| Err(Error::Invalid { what });
    if network.is_default() && !wanted.aliases.is_empty() {
        return invalid("network-scoped aliases are only supported for user-defined networks".to_owned());
    }
    for address in [wanted.ipv4.map(IpAddr::V4), wanted.ipv6.map(IpAddr::V6)].into_iter().flatten() {
        if network.is_default() {
            return invalid(
                "user specified IP address is supported on user defined networks only".to_owned(),
            );
        }
        let Some(range) = network.range(address.is_ipv4()).filter(|range| range.chosen) else {
            return invalid(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
                    .to_owned(),
            );
        };
        if !range.subnet.is_usable(address) {
            return invalid(format!("no configured subnet contains IP address {address}"));
        }
        if range.gateway == address {
            return invalid(format!(
                "Address already in use: {address} is the gateway of network {}",
                network.name
            ));
        }
    }
    Ok(())
}

fn asked_for(wanted: &NetworkRequest, address: IpAddr) -> bool {
    wanted.ipv4.map(IpAddr::V4) == Some(address) || wanted.ipv6.map(IpAddr::V6) == Some(address)
}

/// What the container is found by: its name, its aliases, its short id, its host name.
pub(super) fn names(record: &Record, wanted: &NetworkRequest) -> Vec<String> {
    let own = [record.name.as_str()].into_iter();
    let rest = [record.id.short(), record.resolved.hostname.as_str()];
    let mut names: Vec<String> = Vec::new();
    for name in own.chain(wanted.aliases.iter().map(String::as_str)).chain(rest) {
        if let Some(name) = endpoint::file_name(name).filter(|name| !names.contains(name)) {
            names.push(name);
        }
    }
    names
}

fn as_ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn as_ipv6(address: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(address) } else { None }
}
