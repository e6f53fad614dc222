//! What changes in the table while containers come and go: elements of its sets and maps, as bytes.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::batch::{Batch, INTERFACE, Type};
use crate::endpoint::{Endpoint, Protocol};

/// Interfaces of networks.
pub(super) const BRIDGES: &str = "bridges";
/// Those of them that nothing goes in or out of.
pub(super) const INTERNAL: &str = "internal";
/// Each bridge with itself: two containers of one network.
pub(super) const INSIDE: &str = "inside";
/// Published ports: on every address of the host, and on one.
pub(super) const PORTS4: &str = "ports4";
pub(super) const PORTS4_AT: &str = "ports4_at";
pub(super) const PORTS6: &str = "ports6";
pub(super) const PORTS6_AT: &str = "ports6_at";
/// Published ports of IPv6 that lead to an address of IPv4, which the relay passes on: on every address of the host, and on one.
pub(super) const RELAYED6: &str = "relayed6";
pub(super) const RELAYED6_AT: &str = "relayed6_at";
/// The address of each container that publishes something, twice: from itself to itself.
pub(super) const ITSELF4: &str = "itself4";
pub(super) const ITSELF6: &str = "itself6";

/// nft's numbers of its types (`enum datatypes` in its `datatype.h`), and bytes. Each part of several takes whole registers of four.
const ADDRESS4: Type = Type { number: 7, length: 4 };
const ADDRESS6: Type = Type { number: 8, length: 16 };
const PROTOCOL: Type = Type { number: 12, length: 4 };
const SERVICE: Type = Type { number: 13, length: 4 };

/// Several types as one.
const fn joined(types: &[Type]) -> Type {
    let mut all = Type { number: 0, length: 0 };
    let mut at = 0;
    while at < types.len() {
        all = Type { number: all.number << 6 | types[at].number, length: all.length + types[at].length };
        at += 1;
    }
    all
}

/// The sets and maps: name, key, value.
pub(super) const SETS: [(&str, Type, Option<Type>); 11] = [
    (BRIDGES, INTERFACE, None),
    (INTERNAL, INTERFACE, None),
    (INSIDE, joined(&[INTERFACE, INTERFACE]), None),
    (PORTS4, joined(&[PROTOCOL, SERVICE]), Some(joined(&[ADDRESS4, SERVICE]))),
    (PORTS4_AT, joined(&[ADDRESS4, PROTOCOL, SERVICE]), Some(joined(&[ADDRESS4, SERVICE]))),
    (PORTS6, joined(&[PROTOCOL, SERVICE]), Some(joined(&[ADDRESS6, SERVICE]))),
    (PORTS6_AT, joined(&[ADDRESS6, PROTOCOL, SERVICE]), Some(joined(&[ADDRESS6, SERVICE]))),
    (RELAYED6, joined(&[PROTOCOL, SERVICE]), None),
    (RELAYED6_AT, joined(&[ADDRESS6, PROTOCOL, SERVICE]), None),
    (ITSELF4, joined(&[ADDRESS4, ADDRESS4]), None),
    (ITSELF6, joined(&[ADDRESS6, ADDRESS6]), None),
];

/// A published port: connections to `host` go to `container`. Where the two are not of one family it is not the kernel that passes them on but
/// the relay, and the table only knows that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub protocol: Protocol,
    /// With an unspecified address: every address of the host.
    pub host: SocketAddr,
    pub container: SocketAddr,
}

/// Something that is added or taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    Bridge {
        name: &'a str,
        internal: bool,
    },
    Port(Published),
    /// The address of a container that has published ports.
    Itself(IpAddr),
}

impl Published {
    /// Whether the kernel passes it on, and not the relay.
    #[must_use]
    pub fn is_kernel_s(&self) -> bool {
        self.host.is_ipv4() == self.container.is_ipv4()
    }
}

impl Change<'_> {
    /// What some ports of a container come to.
    #[must_use]
    pub fn of_ports(ports: &[Published]) -> Vec<Change<'static>> {
        let mut changes: Vec<Change<'static>> = Vec::with_capacity(ports.len() + 2);
        for port in ports {
            let itself = Change::Itself(port.container.ip());
            if !changes.contains(&itself) {
                changes.insert(0, itself);
            }
            changes.push(Change::Port(*port));
        }
        changes
    }
}

impl Endpoint {
    /// What of this endpoint the table knows. A port on an IPv6 address of a container without one leads to its other address.
    pub fn published(&self) -> impl Iterator<Item = Published> {
        self.ports.iter().flat_map(|port| {
            let address = match port.host_address {
                IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
                // Nothing that goes to ::1 can be sent elsewhere (RFC 4291 §2.5.3).
                IpAddr::V6(address) if address.is_loopback() => None,
                IpAddr::V6(_) => self.ipv6.map(IpAddr::V6).or(self.ipv4.map(IpAddr::V4)),
            };
            address.into_iter().flat_map(move |address| {
                (0..port.count).map(move |offset| Published {
                    protocol: port.protocol,
                    host: SocketAddr::new(port.host_address, port.host + offset),
                    container: SocketAddr::new(address, port.container + offset),
                })
            })
        })
    }
}

/// Elements by their set.
type Elements = Vec<(&'static str, Vec<(Vec<u8>, Option<Vec<u8>>)>)>;

/// Adds the changes to a batch, those of one set in one message.
pub(super) fn add(batch: &mut Batch<'_>, changes: &[Change<'_>]) {
    for (set, elements) in sorted(changes) {
        batch.add_elements(set, &elements);
    }
}

/// As [`add`].
pub(super) fn delete(batch: &mut Batch<'_>, changes: &[Change<'_>]) {
    for (set, elements) in sorted(changes) {
        batch.delete_elements(set, &elements);
    }
}

/// Each element that a change is about: the set or map, the key, the value of a map.
pub(super) fn each(changes: &[Change<'_>]) -> impl Iterator<Item = (&'static str, Vec<u8>, Option<Vec<u8>>)> {
    let sorted = sorted(changes).into_iter();
    sorted.flat_map(|(set, elements)| elements.into_iter().map(move |(key, data)| (set, key, data)))
}

/// The sets and maps of published ports.
pub(super) const PORTS: [&str; 6] = [PORTS4, PORTS4_AT, PORTS6, PORTS6_AT, RELAYED6, RELAYED6_AT];

/// The port of the host's that a key of one of these means, for people: `8080/tcp`, `127.0.0.1:8080/tcp`. What is none is shown as it is.
pub(super) fn describe(key: &[u8]) -> String {
    let described = || {
        let (at, rest) = key.split_at_checked(key.len().checked_sub(8)?)?;
        let protocol = match rest[0] {
            6 => "tcp",
            17 => "udp",
            132 => "sctp",
            _ => return None,
        };
        let port = u16::from_be_bytes([rest[4], rest[5]]);
        let at = match at.len() {
            0 => String::new(),
            4 => format!("{}:", IpAddr::from(*at.first_chunk::<4>()?)),
            _ => format!("[{}]:", IpAddr::from(*at.first_chunk::<16>()?)),
        };
        Some(format!("{at}{port}/{protocol}"))
    };
    described().unwrap_or_else(|| format!("{key:02x?}"))
}

fn sorted(changes: &[Change<'_>]) -> Elements {
    let mut all: Elements = SETS.iter().map(|(name, ..)| (*name, Vec::new())).collect();
    let mut put = |set: &str, key: Vec<u8>, data: Option<Vec<u8>>| {
        if let Some((_, elements)) = all.iter_mut().find(|(name, _)| *name == set) {
            elements.push((key, data));
        }
    };
    for change in changes {
        match change {
            Change::Bridge { name, internal } => {
                let key = interface(name);
                put(INSIDE, [key.clone(), key.clone()].concat(), None);
                if *internal {
                    put(INTERNAL, key.clone(), None);
                }
                put(BRIDGES, key, None);
            }
            Change::Itself(itself) => {
                let set = if itself.is_ipv4() { ITSELF4 } else { ITSELF6 };
                put(set, [address(*itself), address(*itself)].concat(), None);
            }
            Change::Port(port) => {
                let (any, at) = match (port.host.is_ipv4(), port.container.is_ipv4()) {
                    (true, _) => (PORTS4, PORTS4_AT),
                    (false, false) => (PORTS6, PORTS6_AT),
                    (false, true) => (RELAYED6, RELAYED6_AT),
                };
                let set = if port.host.ip().is_unspecified() { any } else { at };
                let value = || [address(port.container.ip()), service(port.container.port())].concat();
                put(set, key(port), port.is_kernel_s().then(value));
            }
        }
    }
    all.retain(|(_, elements)| !elements.is_empty());
    all
}

fn key(port: &Published) -> Vec<u8> {
    let at = if port.host.ip().is_unspecified() { Vec::new() } else { address(port.host.ip()) };
    let protocol = vec![port.protocol.number(), 0, 0, 0];
    [at, protocol, service(port.host.port())].concat()
}

/// As the kernel has it in `IFNAMSIZ` bytes.
fn interface(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn service(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![high, low, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::{Port, VERSION};

    #[test]
    fn what_the_table_knows_of_a_container_with_one_family_or_two() {
        let port = |address: &str, host| Port {
            protocol: Protocol::Tcp,
            host_address: address.parse().unwrap(),
            host,
            container: 80,
            count: 1,
        };
        let mut endpoint = Endpoint {
            version: VERSION,
            network: String::new(),
            network_name: String::new(),
            container: String::new(),
            names: Vec::new(),
            ipv4: Some([10, 192, 0, 2].into()),
            ipv6: None,
            mac: String::new(),
            interface: String::new(),
            inside: String::new(),
            ports: vec![port("0.0.0.0", 80), port("::", 80), port("::1", 81), port("2001:db8::1", 82)],
        };
        let sets = |endpoint: &Endpoint| {
            let ports: Vec<Change<'_>> = endpoint.published().map(Change::Port).collect();
            each(&ports).map(|(set, ..)| set).collect::<Vec<_>>()
        };
        assert_eq!(sets(&endpoint), [PORTS4, RELAYED6, RELAYED6_AT]);
        endpoint.ipv6 = Some("fd00::2".parse().unwrap());
        assert_eq!(sets(&endpoint), [PORTS4, PORTS6, PORTS6_AT]);
    }

    #[test]
    fn a_port_is_described_as_people_write_it() {
        for (host, shown) in [
            ("0.0.0.0:8080", "8080/tcp"),
            ("127.0.0.1:80", "127.0.0.1:80/tcp"),
            ("[::]:443", "443/tcp"),
            ("[2001:db8::1]:53", "[2001:db8::1]:53/tcp"),
        ] {
            let host: SocketAddr = host.parse().unwrap();
            let port = Published { protocol: Protocol::Tcp, host, container: host };
            let (_, key, _) = each(&[Change::Port(port)]).next().unwrap();
            assert_eq!(describe(&key), shown);
        }
        assert_eq!(describe(&[1, 2]), "[01, 02]");
    }
}
