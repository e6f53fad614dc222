//! From `-p`, `-P` and what an image exposes to the ports of one start. Which ports of the host are free is found out by taking them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use onggi_net::endpoint::{Port, Protocol};
use onggi_net::port::probe;

use super::PublishedPorts;
use crate::error::Error;
use crate::record::Record;
use crate::request::PublishRequest;

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
        check_address(wanted.address, families)?;
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

/// An address of the host's that nothing could be passed on from is refused rather than held for nothing.
fn check_address(address: Option<IpAddr>, families: Families) -> Result<(), Error> {
    let what = match address {
        // The kernel does not pass on what goes to ::1 (RFC 4291 §2.5.3): this would take a program in between.
        Some(IpAddr::V6(address)) if address.is_loopback() => {
            "ports on [::1] are not built yet: publish on 127.0.0.1".to_owned()
        }
        Some(IpAddr::V6(address)) if !families.ipv6 => format!(
            "a port on [{address}] leads to an IPv6 address of the container, and its network has none: make one with \
             `onggi network create --ipv6`"
        ),
        _ => return Ok(()),
    };
    Err(Error::Invalid { what })
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
            let ipv6 = families.host_ipv6 && families.ipv6;
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
    fn addresses_that_lead_nowhere_are_refused() {
        for (address, ipv6, refused) in [
            (None, false, None),
            (Some("127.0.0.1"), false, None),
            (Some("::1"), true, Some("[::1] are not built yet")),
            (Some("::1"), false, Some("[::1] are not built yet")),
            (Some("::"), false, Some("its network has none")),
            (Some("fd00::1"), false, Some("a port on [fd00::1]")),
            (Some("fd00::1"), true, None),
            (Some("::"), true, None),
        ] {
            let families = Families { ipv6, host_ipv6: true };
            let checked = check_address(address.map(|text| text.parse().unwrap()), families);
            let said = checked.err().map(|error| error.to_string());
            match refused {
                Some(words) => assert!(said.as_ref().is_some_and(|said| said.contains(words)), "{said:?}"),
                None => assert_eq!(said, None),
            }
        }
    }
}
