//! Links, addresses and routes by rtnetlink (`rtnetlink(7)`): one request for each function.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::Error;
use crate::address::{Mac, Subnet};
use crate::netlink::Socket;
use crate::netlink::message::{ACK, Attributes, CREATE, DUMP, EXCLUSIVE, Message, REPLACE};

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const SET_LINK: u16 = 19;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const NEW_RULE: u16 = 32;

/// `IFLA_…`
mod link_attribute {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const MASTER: u16 = 10;
    pub(super) const PROTOCOL_INFO: u16 = 12;
    pub(super) const INFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const NAMESPACE: u16 = 28;
    /// In [`INFO`].
    pub(super) const INFO_KIND: u16 = 1;
    pub(super) const INFO_DATA: u16 = 2;
    /// In [`PROTOCOL_INFO`] of a bridge's port.
    pub(super) const PORT_HAIRPIN: u16 = 4;
    /// In the data of a veth: what the other end is to be.
    pub(super) const VETH_PEER: u16 = 1;
}

/// `IFF_UP`
const UP: u32 = 1;
/// `IFA_F_PERMANENT`, `RT_SCOPE_UNIVERSE`
const PERMANENT: u32 = 0x80;
const EVERYWHERE: u8 = 0;
/// `IFA_F_NODAD`: usable at once. The address is leased, so nobody else can have it.
const NO_DETECTION: u32 = 0x02;
/// The loopback interface's number in every network namespace.
const LOOPBACK: u32 = 1;

/// `RTPROT_KERNEL`
const BY_KERNEL: u8 = 2;
/// `RTPROT_STATIC`, `RTN_UNICAST`, `RT_TABLE_MAIN`
const STATIC: u8 = 4;
const UNICAST: u8 = 1;
const MAIN_TABLE: u8 = 254;
/// `RTN_LOCAL`, `RT_SCOPE_HOST`
const LOCAL: u8 = 2;
const HOST_SCOPE: u8 = 254;

/// A link that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    /// What `ip link set … alias` says: whose it is.
    pub alias: String,
    /// `bridge`, `veth`; empty for hardware.
    pub kind: String,
}

/// A bridge, not up yet, with an address of its own, so that it does not take that of its lowest port and change with it.
pub fn create_bridge(socket: &mut Socket, name: &str, mac: Mac, mtu: Option<u32>) -> Result<(), Error> {
    let mut message = Message::new(NEW_LINK, CREATE | EXCLUSIVE | ACK)
        .raw(&header(0, 0, 0))
        .text(link_attribute::NAME, name)
        .attribute(link_attribute::ADDRESS, &mac.0);
    if let Some(mtu) = mtu {
        message = message.number(link_attribute::MTU, mtu);
    }
    let message =
        message.nest(link_attribute::INFO, |info| info.attribute(link_attribute::INFO_KIND, b"bridge"));
    socket.request(message, || format!("make the bridge {name}"))
}

/// A pair of links in one request: ours at a bridge, the other born in a network namespace. Nothing is moved afterwards, which would
/// take the kernel's one lock on networks twice.
#[derive(Debug)]
pub struct Pair<'a> {
    /// The host's end.
    pub name: &'a str,
    pub bridge: u32,
    pub mtu: u32,
    pub inside: BorrowedFd<'a>,
    /// The end inside.
    pub inside_name: &'a str,
    pub inside_mac: Mac,
}

/// Ours is up; the other cannot be yet.
pub fn create_pair(socket: &mut Socket, pair: &Pair<'_>) -> Result<(), Error> {
    let Pair { name, bridge, mtu, inside, inside_name, inside_mac } = pair;
    let message = Message::new(NEW_LINK, CREATE | EXCLUSIVE | ACK)
        .raw(&header(0, UP, UP))
        .text(link_attribute::NAME, name)
        .number(link_attribute::MASTER, *bridge)
        .number(link_attribute::MTU, *mtu)
        .nest(link_attribute::INFO, |info| {
            info.attribute(link_attribute::INFO_KIND, b"veth").nest(link_attribute::INFO_DATA, |data| {
                data.nest(link_attribute::VETH_PEER, |peer| {
                    // It is not joined to ours yet at this moment and cannot come up (`veth_open`: ENOTCONN).
                    peer.raw(&header(0, 0, 0))
                        .text(link_attribute::NAME, inside_name)
                        .attribute(link_attribute::ADDRESS, &inside_mac.0)
                        .number(link_attribute::MTU, *mtu)
                        .number(link_attribute::NAMESPACE, inside.as_raw_fd().unsigned_abs())
                })
            })
        });
    socket.request(message, || format!("make the links {name} and {inside_name}"))
}

/// Lets a bridge send packets out by the port that they came in by: where bridged packets pass the firewall (br_netfilter, which Docker
/// and Kubernetes load), a container that comes back to itself by a published port never leaves the bridge.
pub fn set_hairpin(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let message = Message::new(SET_LINK, ACK)
        .raw(&bridge_header(index))
        .nest(link_attribute::PROTOCOL_INFO, |info| info.attribute(link_attribute::PORT_HAIRPIN, &[1]));
    socket.request(message, || format!("set hairpin mode of link {index}"))
}

/// Removes a link; the other end of a pair goes with it. One that is not there is fine.
pub fn delete(socket: &mut Socket, name: &str) -> Result<(), Error> {
    let message = Message::new(DELETE_LINK, ACK).raw(&header(0, 0, 0)).text(link_attribute::NAME, name);
    match socket.request(message, || format!("delete the link {name}")) {
        Err(error) if error.errno() == Some(ENODEV) => Ok(()),
        other => other,
    }
}

/// The link of this name, if there is one.
pub fn find(socket: &mut Socket, name: &str) -> Result<Option<Link>, Error> {
    let mut found = None;
    let message = Message::new(GET_LINK, 0).raw(&header(0, 0, 0)).text(link_attribute::NAME, name);
    match socket.query(message, || format!("look for the link {name}"), |each| found = read(each.body)) {
        Err(error) if error.errno() == Some(ENODEV) => Ok(None),
        other => other.map(|()| found),
    }
}

/// Every link in the socket's network namespace.
pub fn list(socket: &mut Socket) -> Result<Vec<Link>, Error> {
    let mut links = Vec::new();
    let message = Message::new(GET_LINK, DUMP).raw(&header(0, 0, 0));
    socket.query(message, || "list the links".to_owned(), |each| links.extend(read(each.body)))?;
    Ok(links)
}

/// Gives a link that is down another name. One that another link has is refused (`EEXIST`).
pub fn rename(socket: &mut Socket, index: u32, name: &str) -> Result<(), Error> {
    let message = Message::new(NEW_LINK, ACK).raw(&header(index, 0, 0)).text(link_attribute::NAME, name);
    socket.request(message, || format!("rename link {index} to {name}"))
}

/// Says whose a link is.
pub fn set_alias(socket: &mut Socket, index: u32, alias: &str) -> Result<(), Error> {
    let message = Message::new(NEW_LINK, ACK)
        .raw(&header(index, 0, 0))
        .attribute(link_attribute::ALIAS, alias.as_bytes());
    socket.request(message, || format!("name the owner of link {index}"))
}

/// Brings a link up.
pub fn set_up(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let message = Message::new(NEW_LINK, ACK).raw(&header(index, UP, UP));
    socket.request(message, || format!("bring link {index} up"))
}

/// Takes a link down.
pub fn set_down(socket: &mut Socket, index: u32) -> Result<(), Error> {
    let message = Message::new(NEW_LINK, ACK).raw(&header(index, 0, UP));
    socket.request(message, || format!("take link {index} down"))
}

/// Moves a link to another network namespace, under a new name there.
pub fn hand_over(
    socket: &mut Socket,
    index: u32,
    name: &str,
    namespace: BorrowedFd<'_>,
) -> Result<(), Error> {
    let message = Message::new(NEW_LINK, ACK)
        .raw(&header(index, 0, 0))
        .text(link_attribute::NAME, name)
        .number(link_attribute::NAMESPACE, namespace.as_raw_fd().unsigned_abs());
    socket.request(message, || format!("move link {index} to the network namespace as {name}"))
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    pub address: IpAddr,
    pub prefix: u8,
    /// `IFA_F_…`
    flags: u32,
    /// `RT_SCOPE_…`
    scope: u8,
}

impl Address {
    /// Given by somebody, and for everywhere: not found out from this network, and not for this host or link alone.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.flags & PERMANENT != 0 && self.scope == EVERYWHERE
    }
}

/// The addresses of a link.
pub fn addresses(socket: &mut Socket, index: u32) -> Result<Vec<Address>, Error> {
    let mut found = Vec::new();
    let message = Message::new(GET_ADDRESS, DUMP).raw(&[0; 8]);
    let act = || format!("list the addresses of link {index}");
    socket.query(message, act, |each| {
        found.extend(read_address(each.body).filter(|(link, _)| *link == index).map(|(_, address)| address));
    })?;
    Ok(found)
}

/// The link's number and the address.
fn read_address(body: &[u8]) -> Option<(u32, Address)> {
    let (&[family, prefix, flags, scope, index @ ..], rest) = body.split_first_chunk::<8>()?;
    let attributes = Attributes(rest);
    // Of a point-to-point link the other is the peer's.
    let bytes =
        attributes.find(address_attribute::LOCAL).or_else(|| attributes.find(address_attribute::ADDRESS))?;
    let more = attributes.find(address_attribute::FLAGS).and_then(|bytes| bytes.try_into().ok());
    let flags = more.map_or(u32::from(flags), u32::from_ne_bytes);
    Some((u32::from_ne_bytes(index), Address { address: address(family, bytes)?, prefix, flags, scope }))
}

/// Brings `lo` up; the kernel adds 127.0.0.1 and ::1 itself.
pub fn loopback_up(socket: &mut Socket) -> Result<(), Error> {
    set_up(socket, LOOPBACK)
}

/// Gives a link an address; one that it has already is fine.
pub fn add_address(socket: &mut Socket, index: u32, address: IpAddr, prefix: u8) -> Result<(), Error> {
    let family = family(address);
    let bytes = octets(address);
    let mut body = vec![family, prefix, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(NEW_ADDRESS, CREATE | EXCLUSIVE | ACK)
        .raw(&body)
        .attribute(address_attribute::LOCAL, &bytes)
        .attribute(address_attribute::ADDRESS, &bytes);
    match address {
        IpAddr::V4(address) => {
            let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
            // A network of two has no address but theirs (RFC 3021).
            if host_bits > 1 {
                let broadcast = Ipv4Addr::from_bits(address.to_bits() | host_bits);
                message = message.attribute(address_attribute::BROADCAST, &broadcast.octets());
            }
        }
        IpAddr::V6(_) => message = message.number(address_attribute::FLAGS, NO_DETECTION),
    }
    match socket.request(message, || format!("add the address {address}/{prefix} to link {index}")) {
        Err(error) if error.errno() == Some(EEXIST) => Ok(()),
        other => other,
    }
}

/// The way to everywhere, in the place of one that is there.
pub fn add_default_route(socket: &mut Socket, index: u32, gateway: IpAddr) -> Result<(), Error> {
    let message = Message::new(NEW_ROUTE, CREATE | REPLACE | ACK)
        .raw(&route_header(family(gateway)))
        .attribute(route_attribute::GATEWAY, &octets(gateway))
        .number(route_attribute::OUT, index);
    socket.request(message, || format!("add the default route by {gateway}"))
}

/// A routing table by which everything is of this machine, for packets with this mark; what is there already is fine.
pub fn add_local_table(socket: &mut Socket, ipv4: bool, mark: u32, table: u32) -> Result<(), Error> {
    let act = || format!("lead what has mark {mark} to this machine itself");
    let family = if ipv4 { INET } else { INET6 };
    let mut rule = [0; 12];
    (rule[0], rule[7]) = (family, rule_attribute::TO_TABLE);
    let rule = Message::new(NEW_RULE, CREATE | EXCLUSIVE | ACK)
        .raw(&rule)
        .number(rule_attribute::MARK, mark)
        .number(rule_attribute::TABLE, table);
    let mut header = route_header(family);
    // The table's number is in an attribute.
    (header[4], header[6], header[7]) = (0, HOST_SCOPE, LOCAL);
    let route = Message::new(NEW_ROUTE, CREATE | EXCLUSIVE | ACK)
        .raw(&header)
        .number(route_attribute::OUT, LOOPBACK)
        .number(route_attribute::TABLE, table);
    for message in [rule, route] {
        match socket.request(message, act) {
            Err(error) if error.errno() == Some(EEXIST) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Where the host's routes of both families lead, but for those of the default: what no new network may overlap.
pub fn routed(socket: &mut Socket) -> Result<Vec<Subnet>, Error> {
    Ok(routes(socket)?.into_iter().map(|(subnet, _)| subnet).collect())
}

/// The networks that the host itself is on: those where the kernel has made a route because of an address of a link.
pub fn connected(socket: &mut Socket) -> Result<Vec<Subnet>, Error> {
    let own = routes(socket)?.into_iter().filter(|(_, maker)| *maker == BY_KERNEL);
    Ok(own.map(|(subnet, _)| subnet).collect())
}

/// Each route's destination, and who has made it (`RTPROT_…`).
fn routes(socket: &mut Socket) -> Result<Vec<(Subnet, u8)>, Error> {
    let mut subnets = Vec::new();
    for family in [INET, INET6] {
        let message = Message::new(GET_ROUTE, DUMP).raw(&route_header(family));
        let asked = socket.query(
            message,
            || "list the routes".to_owned(),
            |each| {
                let Some((&[family, prefix, _, _, _, maker, ..], rest)) = each.body.split_first_chunk::<12>()
                else {
                    return;
                };
                let Some(bytes) = Attributes(rest).find(route_attribute::DESTINATION) else { return };
                let subnet = address(family, bytes).and_then(|address| Subnet::new(address, prefix));
                subnets.extend(subnet.map(|subnet| (subnet, maker)));
            },
        );
        match asked {
            // A kernel without IPv6.
            Err(error) if family == INET6 && error.errno() == Some(EOPNOTSUPP) => {}
            other => other?,
        }
    }
    Ok(subnets)
}

fn read(body: &[u8]) -> Option<Link> {
    let (header, rest) = body.split_first_chunk::<16>()?;
    let attributes = Attributes(rest);
    let word = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let text = |kind| attributes.find_text(kind).unwrap_or_default().to_owned();
    let kind = attributes
        .find(link_attribute::INFO)
        .and_then(|info| Attributes(info).find_text(link_attribute::INFO_KIND));
    Some(Link {
        index: word(4),
        name: text(link_attribute::NAME),
        up: word(8) & UP != 0,
        alias: text(link_attribute::ALIAS),
        kind: kind.unwrap_or_default().to_owned(),
    })
}

/// `IFA_…`
mod address_attribute {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const LOCAL: u16 = 2;
    pub(super) const BROADCAST: u16 = 4;
    pub(super) const FLAGS: u16 = 8;
}

/// `FRA_…`
mod rule_attribute {
    pub(super) const MARK: u16 = 10;
    pub(super) const TABLE: u16 = 15;
    /// `FR_ACT_TO_TBL`
    pub(super) const TO_TABLE: u8 = 1;
}

/// `RTA_…`
mod route_attribute {
    pub(super) const DESTINATION: u16 = 1;
    pub(super) const OUT: u16 = 4;
    pub(super) const TABLE: u16 = 15;
    pub(super) const GATEWAY: u16 = 5;
}

/// `AF_INET`, `AF_INET6`
const INET: u8 = 2;
const INET6: u8 = 10;

const ENODEV: i32 = 19;
const EEXIST: i32 = 17;
const EOPNOTSUPP: i32 = 95;

/// `struct ifinfomsg`
fn header(index: u32, flags: u32, change: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&change.to_ne_bytes());
    bytes
}

/// For what is the bridge's business: of family `AF_BRIDGE`.
fn bridge_header(index: u32) -> [u8; 16] {
    const BRIDGE: u8 = 7;
    let mut bytes = header(index, 0, 0);
    bytes[0] = BRIDGE;
    bytes
}

/// `struct rtmsg`
fn route_header(family: u8) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = family;
    bytes[4] = MAIN_TABLE;
    bytes[5] = STATIC;
    bytes[7] = UNICAST;
    bytes
}

fn family(address: IpAddr) -> u8 {
    if address.is_ipv4() { INET } else { INET6 }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        INET => bytes.try_into().ok().map(|bytes: [u8; 4]| bytes.into()),
        INET6 => bytes.try_into().ok().map(|bytes: [u8; 16]| bytes.into()),
        _ => None,
    }
}
