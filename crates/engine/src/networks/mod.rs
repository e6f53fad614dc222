//! Networks: bridges of the host that containers are connected to. The sealed `network.json` under the network's name is the truth;
//! the bridge and what the kernel's table knows of it follow from it, and are made when a container first needs them.
//!
//! `bridge` is there by itself and made on first use; `none` and `host` are names for what every host has.

mod attach;
mod bridge;
mod connect;
mod create;
mod foreign;
mod holders;
mod inspect;
mod leftover;
mod ports;
mod remove;

pub(crate) use holders::PORT_TAKEN;
pub(crate) use ports::chooses_ports;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use onggi_net::Socket;
use onggi_net::address::{Mac, Subnet};
use onggi_net::bridge::Bridge;
use onggi_net::endpoint::Directory;
use onggi_net::home::Home;
use onggi_net::instance::{self, Instance};
use serde::{Deserialize, Serialize};

pub(crate) use attach::{Connections, Leases};
pub use foreign::FirewallFacts;
pub use inspect::{NetworkSummary, PublishedPorts};

use crate::Engine;
use crate::disk::is_missing;
use crate::error::Error;

/// The network of containers that name none, as Docker's clients expect it.
pub(crate) const DEFAULT: &str = "bridge";
/// Not networks, but said where one is.
pub(crate) const BUILT_IN: [&str; 2] = ["host", "none"];
const RECORD: &str = "network.json";
const VERSION: u32 = 1;

/// `network.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Network {
    pub version: u32,
    /// 64 lower-case hexadecimal digits.
    pub id: String,
    pub name: String,
    /// `bridge`, the only one.
    pub driver: String,
    /// RFC 3339.
    pub created: String,
    /// Nothing goes in or out.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub ipv6: bool,
    /// One of IPv4, and with `ipv6` one of it.
    pub subnets: Vec<Range>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Docker's `com.docker.network.…`, those that are understood.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    pub subnet: Subnet,
    /// The host's address in it.
    pub gateway: IpAddr,
    /// Where free addresses are looked for, if not everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Subnet>,
    /// A user chose it, so that fixed addresses in it will stay what they are.
    #[serde(default)]
    pub chosen: bool,
}

impl Network {
    pub(crate) fn is_default(&self) -> bool {
        self.name == DEFAULT
    }

    /// The link on the host.
    pub(crate) fn bridge(&self, instance: &Instance) -> String {
        match self.options.get(create::BRIDGE_NAME) {
            Some(name) => name.clone(),
            None if self.is_default() => instance.default_bridge(),
            None => instance::bridge(&self.id),
        }
    }

    /// What that link is to be.
    pub(crate) fn link(&self, instance: &Instance) -> Bridge {
        Bridge {
            name: self.bridge(instance),
            birth_name: instance::bridge(&self.id),
            alias: instance.alias(&self.id),
            mac: match self.range(true).map(|range| range.gateway) {
                Some(IpAddr::V4(gateway)) => Mac::of(gateway),
                _ => Mac::of_id(&self.id),
            },
            mtu: self.mtu(),
            addresses: self.subnets.iter().map(|range| (range.gateway, range.subnet.prefix())).collect(),
        }
    }

    /// Bytes in a packet.
    pub(crate) fn mtu(&self) -> Option<u32> {
        self.options.get(create::MTU).and_then(|mtu| mtu.parse().ok())
    }

    /// Of one family.
    pub(crate) fn range(&self, ipv4: bool) -> Option<&Range> {
        self.subnets.iter().find(|range| range.subnet.is_ipv4() == ipv4)
    }
}

impl Engine {
    /// Whether there is a network namespace beside the host's. Root of somebody else's user namespace, a container's say, has the one
    /// that it is in.
    pub(crate) fn has_own_network(&self) -> bool {
        self.is_rootless() && onggi_rootless::is_held(&self.paths.run)
    }

    /// Where bridges and the table are. An ordinary user's are in the user's own network namespace.
    pub(crate) fn home(&self) -> Result<&Home, Error> {
        if let Some(home) = self.home.get() {
            return Ok(home);
        }
        let home = if self.has_own_network() {
            Home::behind(onggi_rootless::network(&self.paths.run)?.into())
        } else {
            Home::here()
        };
        Ok(self.home.get_or_init(|| home))
    }

    /// A socket to the nf_tables of home.
    fn netfilter(&self) -> Result<Socket, Error> {
        Ok(self.home()?.within(Socket::netfilter)??)
    }

    /// Runs at home what undoes things. Where home itself is gone, everything in it is: then it is run where there is nothing.
    pub(crate) fn undo_at_home<T>(&self, act: impl FnOnce() -> T) -> Result<T, Error> {
        match self.home() {
            Err(Error::Rootless { source }) if matches!(*source, onggi_rootless::Error::NoNetwork) => {
                Ok(Home::nowhere()?.within(act)?)
            }
            home => Ok(home?.within(act)?),
        }
    }

    pub(crate) fn instance(&self) -> Instance {
        Instance::new(&self.paths.run)
    }

    /// The live files of a network.
    pub(crate) fn endpoints(&self, network: &Network) -> Directory {
        Directory::new(&self.paths.run, &network.id)
    }

    fn network_record(&self, name: &str) -> PathBuf {
        self.paths.networks().join(name).join(RECORD)
    }

    /// The network of this name; `None` if there is none.
    pub(crate) fn read_network(&self, name: &str) -> Result<Option<Network>, Error> {
        match onggi_record::read::<Network>(&self.network_record(name)) {
            Ok(network) if network.version > VERSION => {
                Err(Error::TooNew { what: "a network's record", found: network.version, known: VERSION })
            }
            Ok(network) => Ok(Some(network)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The network that a name, an id or the unique beginning of an id means. The default one is made if need be.
    pub(crate) fn find_network(&self, name: &str) -> Result<Network, Error> {
        // Docker's `--network default`.
        let name = if name == "default" { DEFAULT } else { name };
        if crate::names::is_plain(name)
            && let Some(network) = self.read_network(name)?
        {
            return Ok(network);
        }
        if name == DEFAULT {
            return self.make_default_network();
        }
        let is_id = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let mut found = if is_id { self.all_networks()? } else { Vec::new() };
        found.retain(|network| network.id.starts_with(name));
        match found.len() {
            0 => Err(Error::NoSuchNetwork { name: name.to_owned() }),
            1 => Ok(found.remove(0)),
            count => Err(Error::Invalid {
                what: format!("network {name} is ambiguous ({count} matches found based on ID prefix)"),
            }),
        }
    }

    /// Every network that has a record, by name.
    pub(crate) fn all_networks(&self) -> Result<Vec<Network>, Error> {
        let mut networks = Vec::new();
        for name in crate::check::names(&self.paths.networks())? {
            // One that is being removed has no record any more.
            networks.extend(self.read_network(&name)?);
        }
        Ok(networks)
    }

    pub(crate) fn tell_network(&self, action: &str, network: &Network, container: Option<&str>) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), network.name.clone()),
            ("type".to_owned(), network.driver.clone()),
        ]);
        attributes.extend(container.map(|id| ("container".to_owned(), id.to_owned())));
        self.tell("network", action, &network.id, attributes);
    }
}
