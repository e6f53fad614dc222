//! What the kernel remembers of connections: who goes on sending is led where the first packet was, whatever the table says by now. So what
//! leads to a container that has gone is forgotten (of UDP; TCP's connections end), and what was sent before a port led anywhere.
//!
//! Names and numbers are `linux/netfilter/nfnetlink_conntrack.h`'s.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::Error;
use crate::endpoint::Protocol;
use crate::netlink::message::{Attributes, DUMP, Message};
use crate::netlink::socket::Socket;
use crate::nftables::Published;

/// Forgets those that were led to the UDP ports among these.
///
/// # Errors
/// [`Error::Netlink`]; none where the kernel keeps no connections.
pub(crate) fn forget_led(socket: &mut Socket, ports: &[Published]) -> Result<(), Error> {
    forget(socket, ports, Protocol::Udp, Which::Led)
}

/// Forgets those to these ports of the host, of this protocol, that nobody has led anywhere and nobody has answered: they were begun
/// while the table was missing, or before the port was published.
///
/// # Errors
/// As [`forget_led`].
pub fn forget_early(socket: &mut Socket, ports: &[Published], protocol: Protocol) -> Result<(), Error> {
    forget(socket, ports, protocol, Which::Early)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Led,
    Early,
}

fn forget(socket: &mut Socket, ports: &[Published], protocol: Protocol, which: Which) -> Result<(), Error> {
    for (family, ipv4) in [(AF_INET, true), (AF_INET6, false)] {
        let of_family = |port: &&Published| port.protocol == protocol && port.host.is_ipv4() == ipv4;
        let ports: Vec<&Published> = ports.iter().filter(of_family).collect();
        if !ports.is_empty() {
            forget_family(socket, family, &ports, which)?;
        }
    }
    Ok(())
}

/// Of ports of one protocol.
fn forget_family(socket: &mut Socket, family: u8, ports: &[&Published], which: Which) -> Result<(), Error> {
    let act = || "look for connections that the kernel remembers".to_owned();
    let protocol = ports.first().map_or(Protocol::Udp, |port| port.protocol);
    let mut found: Vec<Message> = Vec::new();
    // The kernel (5.8) shows only those of the protocol.
    let number = [protocol.number()];
    let question = message(family, GET, DUMP)
        .nest(TUPLE_ORIGINAL, |tuple| {
            tuple.nest(TUPLE_PROTOCOL, |part| part.attribute(PROTOCOL_NUMBER, &number))
        })
        .nest(FILTER, |flags| flags.number(FILTER_ORIGINAL, BY_PROTOCOL).number(FILTER_REPLY, 0));
    let asked = socket.query(question, act, |each| {
        let attributes = Attributes(each.body.get(4..).unwrap_or_default());
        let Some(connection) = Connection::parse(&attributes, protocol) else { return };
        if ports.iter().any(|port| connection.is(port, which)) {
            let original = attributes.find(TUPLE_ORIGINAL).unwrap_or_default();
            let mut one = message(family, DELETE, 0).nest(TUPLE_ORIGINAL, |tuple| tuple.raw(original));
            for kind in [ID, ZONE] {
                if let Some(value) = attributes.find(kind) {
                    one = one.attribute(kind, value);
                }
            }
            found.push(one);
        }
    });
    match asked {
        // No module for it, so nothing is remembered that could be seen.
        Err(error) if matches!(error.errno(), Some(EINVAL | EOPNOTSUPP)) => return Ok(()),
        other => other?,
    }
    for one in found {
        match socket.query(
            one.with_flags(crate::netlink::message::ACK),
            || "forget a connection".to_owned(),
            |_| {},
        ) {
            // It has ended meanwhile.
            Err(error) if error.errno() == Some(ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// As much of a connection as matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Connection {
    /// Where its first packet was sent.
    to: SocketAddr,
    /// Who answers.
    answers: SocketAddr,
    status: u32,
}

impl Connection {
    fn parse(attributes: &Attributes<'_>, wanted: Protocol) -> Option<Connection> {
        let original = Attributes(attributes.find(TUPLE_ORIGINAL)?);
        let reply = Attributes(attributes.find(TUPLE_REPLY)?);
        let protocol = Attributes(original.find(TUPLE_PROTOCOL)?).find(PROTOCOL_NUMBER)?;
        let status = u32::from_be_bytes(attributes.find(STATUS)?.try_into().ok()?);
        if protocol != [wanted.number()] {
            return None;
        }
        let to = SocketAddr::new(address(&original, false)?, port(&original, DESTINATION_PORT)?);
        let answers = SocketAddr::new(address(&reply, true)?, port(&reply, SOURCE_PORT)?);
        Some(Connection { to, answers, status })
    }

    fn is(&self, port: &Published, which: Which) -> bool {
        match which {
            Which::Led => self.status & REDIRECTED != 0 && self.answers == port.container,
            Which::Early => {
                self.status & (ANSWERED | MASQUERADED | REDIRECTED) == 0
                    && self.to.port() == port.host.port()
                    && (port.host.ip().is_unspecified() || self.to.ip() == port.host.ip())
            }
        }
    }
}

fn address(tuple: &Attributes<'_>, source: bool) -> Option<IpAddr> {
    let addresses = Attributes(tuple.find(TUPLE_ADDRESSES)?);
    let (four, six) = if source { (1, 3) } else { (2, 4) };
    if let Some(octets) = addresses.find(four) {
        return Some(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?).into());
    }
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(addresses.find(six)?).ok()?).into())
}

fn port(tuple: &Attributes<'_>, which: u16) -> Option<u16> {
    let value = Attributes(tuple.find(TUPLE_PROTOCOL)?).find(which)?;
    Some(u16::from_be_bytes(value.try_into().ok()?))
}

fn message(family: u8, kind: u8, flags: u16) -> Message {
    const SUBSYSTEM: u16 = 1;
    // struct nfgenmsg.
    Message::new(SUBSYSTEM << 8 | u16::from(kind), flags).raw(&[family, 0, 0, 0])
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `IPCTNL_MSG_CT_…`
const GET: u8 = 1;
const DELETE: u8 = 2;
/// `CTA_…`
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const STATUS: u16 = 3;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;
/// `CTA_FILTER_F_CTA_PROTO_NUM`
const BY_PROTOCOL: u32 = 1 << 3;
/// `IPS_SEEN_REPLY`, `IPS_SRC_NAT`, `IPS_DST_NAT`
const ANSWERED: u32 = 1 << 1;
const MASQUERADED: u32 = 1 << 4;
const REDIRECTED: u32 = 1 << 5;
const ENOENT: i32 = 2;
const EINVAL: i32 = 22;
const EOPNOTSUPP: i32 = 95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forgotten() {
        let place = |text: &str| text.parse::<SocketAddr>().unwrap();
        let published = |host: &str| Published {
            protocol: Protocol::Udp,
            host: place(host),
            container: place("10.192.0.2:5353"),
        };
        let connection =
            |to: &str, answers: &str, status| Connection { to: place(to), answers: place(answers), status };
        let (all, one) = (published("0.0.0.0:53"), published("127.0.0.1:53"));
        let answers = connection("192.0.2.1:53", "10.192.0.2:5353", REDIRECTED | ANSWERED);
        let elsewhere = connection("192.0.2.1:53", "10.192.0.3:5353", REDIRECTED);
        let early = connection("192.0.2.1:53", "192.0.2.1:53", 0);
        let asks = connection("8.8.8.8:53", "8.8.8.8:53", MASQUERADED);
        let answered = connection("8.8.8.8:53", "8.8.8.8:53", ANSWERED);
        for (connection, led, early) in [
            (answers, true, false),
            (elsewhere, false, false),
            (early, false, true),
            (asks, false, false),
            (answered, false, false),
        ] {
            assert_eq!((connection.is(&all, Which::Led), connection.is(&all, Which::Early)), (led, early));
            assert!(!connection.is(&one, Which::Early));
        }
    }
}
