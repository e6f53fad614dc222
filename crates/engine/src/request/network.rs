//! The network that a container has, what of it is published, and whom it knows by name; and networks that are to be made.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use onggi_net::address::Subnet;
pub use onggi_net::endpoint::Protocol;
use serde::{Deserialize, Serialize};

/// `--network`. The default is that of records from before there were bridges; commands say [`Network::Bridge`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace with nothing but loopback.
    #[default]
    None,
    /// The host's own.
    Host,
    /// Another container's, by name or id.
    Container(String),
    /// A network namespace that is connected to [`RunRequest::networks`].
    Bridge,
}

impl Network {
    /// Whether the container has a network namespace of its own.
    pub(crate) fn is_private(&self) -> bool {
        matches!(self, Network::None | Network::Bridge)
    }

    /// As `--network` says it; a bridge's networks have names of their own.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Network::None => "none".to_owned(),
            Network::Host => "host".to_owned(),
            Network::Container(id) => format!("container:{id}"),
            Network::Bridge => "bridge".to_owned(),
        }
    }
}

/// A network that a container is to be on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// A name or id.
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `None`: one that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// `--publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    pub protocol: Protocol,
    /// Of the host; `None`: all of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// First and last; `None`: one that is free. A range for one port of the container is where a free one is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<(u16, u16)>,
    /// First and last.
    pub container: (u16, u16),
}

/// What `network create` is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkCreate {
    pub name: String,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<IpAddr>,
    /// For containers without an address of their choice, inside the subnets.
    pub ranges: Vec<Subnet>,
    pub internal: bool,
    pub ipv6: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// `--add-host name:address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    pub name: String,
    pub address: String,
}
