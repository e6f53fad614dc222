//! From `-p`, `-P` and what an image exposes to the ports of one start. Which ports of the host are free is found out by taking them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use onggi_net::endpoint::{Port, Protocol};
use onggi_net::port::probe;

use super::PublishedPorts;
use crate::error::Error;
use crate::record::Record;
use crate::request::{PublishRequest, RunRequest};

/// Where a published port leads when nothing says which families there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Families {
    /// Of the container.
    pub ipv6: bool,
    /// Of the host.
    pub host_ipv6: bool,
}

/// The ports of a record, each with its place on the host.
pub(super) fn assign(record: &Record, families: Families) -> Result<Vec<Port>, Error> {
    let mut ports = Vec::new();
    for wanted in wanted(record)? {
        check_address(&wanted, families)?;
        let addresses = addresses(&wanted, families);
        let count = wanted.container.1 - wanted.container.0 + 1;
        let host = match wanted.host {
            None => None,
            Some((first, last)) if last - first + 1 == count => Some(first),
            // One port of the container: the first of these that is free.
            Some((first, last)) => {
                Some((first..=last).find(|port| is_free(&wanted, &addresses, *port)).ok_or_else(|| {
                    Error::Invalid {
                        what: format!("all ports are allocated: none of {first}-{last} is free"),
                    }
                })?)
            }
        };
        match host {
            Some(host) => ports.extend(addresses.iter().map(|&host_address| Port {
                protocol: wanted.protocol,
                host_address,
                host,
                container: wanted.container.0,
                count,
            })),
            None => {
                for container in wanted.container.0..=wanted.container.1 {
                    let host = any_free(&wanted, &addresses)?;
                    ports.extend(addresses.iter().map(|&host_address| Port {
                        protocol: wanted.protocol,
                        host_address,
                        host,
                        container,
                        count: 1,
                    }));
                }
            }
        }
    }
    Ok(ports)
}

/// One port of the host leads to one place.
///
/// # Errors
/// Docker's sentence, and which two want it.
pub(super) fn check_once(all: &[PublishRequest]) -> Result<(), Error> {
    for (at, one) in all.iter().enumerate() {
        for other in &all[..at] {
            let (Some(mine), Some(theirs)) = (fixed(one), fixed(other)) else { continue };
            let shared = mine.0.max(theirs.0);
            if one.protocol == other.protocol
                && meet(one.address, other.address)
                && shared <= mine.1.min(theirs.1)
            {
                let address = one.address.or(other.address).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
                let leads_to =
                    |request: &PublishRequest, host: (u16, u16)| request.container.0 + (shared - host.0);
                return Err(Error::Invalid {
                    what: format!(
                        "Bind for {} failed: port is already allocated: this command publishes ports {} and {} on it",
                        SocketAddr::new(address, shared),
                        leads_to(other, theirs),
                        leads_to(one, mine)
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Whether some of a container's ports on the host are for Onggi to choose.
pub(crate) fn chooses_ports(request: &RunRequest) -> bool {
    request.publish_all || request.publish.iter().any(|wanted| fixed(wanted).is_none())
}

/// The ports of the host that are taken whatever comes: not one of a range, or any.
fn fixed(wanted: &PublishRequest) -> Option<(u16, u16)> {
    let length = |range: (u16, u16)| range.1 - range.0;
    wanted.host.filter(|host| length(*host) == length(wanted.container))
}

/// Whether there is an address of the host that both stand for.
fn meet(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return true };
    one == other || (one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified()))
}

/// SCTP goes from one family to the other with nobody's help (the relay's is for TCP and UDP), and so is refused rather than held for
/// nothing.
fn check_address(wanted: &PublishRequest, families: Families) -> Result<(), Error> {
    let needs_relay =
        wanted.address.is_some_and(|address| address.is_ipv6() && (!families.ipv6 || address.is_loopback()));
    match wanted.address {
        Some(address) if needs_relay && wanted.protocol == Protocol::Sctp => Err(Error::Invalid {
            what: format!(
                "an sctp port on [{address}] leads to an IPv6 address of the container, and cannot: publish on an address that is not ::1, \
                 of a network made with `onggi network create --ipv6`"
            ),
        }),
        _ => Ok(()),
    }
}

/// What was asked for, and with `-P` what is exposed and was not.
fn wanted(record: &Record) -> Result<Vec<PublishRequest>, Error> {
    let mut all = record.request.publish.clone();
    if record.request.publish_all {
        for exposed in &record.resolved.exposed_ports {
            let port = crate::flags::exposed(exposed).map_err(|what| Error::Invalid { what })?;
            let asked = |request: &PublishRequest| {
                request.protocol == port.protocol
                    && (request.container.0..=request.container.1).contains(&port.container.0)
            };
            if !all.iter().any(asked) {
                all.push(port);
            }
        }
    }
    Ok(all)
}

/// On which addresses of the host a port is to be reached.
fn addresses(wanted: &PublishRequest, families: Families) -> Vec<IpAddr> {
    match wanted.address {
        Some(address) => vec![address],
        None => {
            // As Docker, also where the container has only IPv4.
            let ipv6 = families.host_ipv6 && (families.ipv6 || wanted.protocol != Protocol::Sctp);
            let second = ipv6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(second).collect()
        }
    }
}

fn is_free(wanted: &PublishRequest, addresses: &[IpAddr], port: u16) -> bool {
    addresses.iter().all(|&address| probe(wanted.protocol, SocketAddr::new(address, port)).is_ok())
}

/// One that the kernel chooses, and that is free on all of the addresses. Between this and the monitor's taking it somebody else may
/// come: then the start says so.
fn any_free(wanted: &PublishRequest, addresses: &[IpAddr]) -> Result<u16, Error> {
    let Some((&first, rest)) = addresses.split_first() else { return Ok(0) };
    let mut last = None;
    for _ in 0..MOST_TRIED {
        let (_socket, port) = probe(wanted.protocol, SocketAddr::new(first, 0))?;
        match rest
            .iter()
            .try_for_each(|&address| probe(wanted.protocol, SocketAddr::new(address, port)).map(drop))
        {
            Ok(()) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or_else(|| Error::Invalid { what: "no free port was found".to_owned() }, Error::from))
}

/// Of ports that are free in one family and not in the other.
const MOST_TRIED: u32 = 50;

/// Docker's map: `80/tcp` with the places on the host that lead there.
pub(crate) fn by_container_port(ports: &[Port]) -> PublishedPorts {
    let mut all: BTreeMap<(u16, Protocol), Vec<(IpAddr, u16)>> = BTreeMap::new();
    for port in ports {
        for offset in 0..port.count {
            let key = (port.container + offset, port.protocol);
            let place = (port.host_address, port.host + offset);
            all.entry(key).or_default().push(place);
        }
    }
    all.into_iter()
        .map(|((port, protocol), places)| (format!("{port}/{}", protocol.name()), places))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_the_host_is_given_once() {
        let check = |texts: &[&str]| {
            let all: Vec<PublishRequest> =
                texts.iter().map(|text| crate::flags::publish(text).unwrap()).collect();
            check_once(&all).err().map(|error| error.to_string())
        };
        for alright in [
            &["7620:80", "7621:80"][..],
            &["7620:80", "7620:80/udp"],
            &["80", "81", ":82"],
            &["127.0.0.1:7620:80", "127.0.0.2:7620:81"],
            &["127.0.0.1:7620:80", "[::]:7620:81"],
            &["7620-7629:80", "7620:81"],
        ] {
            assert_eq!(check(alright), None, "{alright:?}");
        }
        let said = check(&["7620:80", "7620:81"]).unwrap();
        assert_eq!(
            said,
            "Bind for 0.0.0.0:7620 failed: port is already allocated: this command publishes ports 80 and 81 on it"
        );
        for twice in [
            &["127.0.0.1:7620:80", "7620:81"][..],
            &["0.0.0.0:7620:80", "127.0.0.1:7620:81"],
            &["7620:80", "7620:80"],
        ] {
            assert!(check(twice).unwrap().contains(":7620 failed"), "{twice:?}");
        }
        let said = check(&["8000-8009:9000-9009", "8005:80"]).unwrap();
        assert!(said.contains(":8005 failed") && said.contains("9005 and 80"), "{said}");
    }

    #[test]
    fn addresses_of_both_families() {
        let wanted = |address: Option<&str>, protocol| PublishRequest {
            address: address.map(|text| text.parse().unwrap()),
            host: None,
            container: (80, 80),
            protocol,
        };
        let both = |ipv6| Families { ipv6, host_ipv6: true };
        let count = |protocol, families| addresses(&wanted(None, protocol), families).len();
        assert_eq!((count(Protocol::Tcp, both(false)), count(Protocol::Tcp, both(true))), (2, 2));
        assert_eq!((count(Protocol::Sctp, both(false)), count(Protocol::Sctp, both(true))), (1, 2));
        assert_eq!(count(Protocol::Tcp, Families { ipv6: true, host_ipv6: false }), 1);
        for (address, protocol, ipv6, refused) in [
            (None, Protocol::Sctp, false, false),
            (Some("::1"), Protocol::Tcp, false, false),
            (Some("fd00::1"), Protocol::Udp, false, false),
            (Some("::1"), Protocol::Sctp, true, true),
            (Some("fd00::1"), Protocol::Sctp, false, true),
            (Some("fd00::1"), Protocol::Sctp, true, false),
            (Some("127.0.0.1"), Protocol::Sctp, false, false),
        ] {
            let checked = check_address(&wanted(address, protocol), both(ipv6));
            assert_eq!(checked.is_err(), refused, "{address:?} {protocol:?} {ipv6}");
        }
    }
}
