//! Who has a published port: so that one whose monitor was killed is asked for before another takes its place, and who is refused a port
//! is told by whom.

use onggi_net::endpoint::{self, Endpoint, Port};
use onggi_net::nftables::Published;

use super::Connections;
use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;

/// In Docker's sentence.
pub(crate) const PORT_TAKEN: &str = "port is already allocated";
/// More ports than these are not asked for one by one.
const FEW: usize = 64;

impl Engine {
    /// Before a start: whoever has the same ports in the table, and no monitor to hold them, gets one if it lives, or goes out of the table.
    /// What cannot be done is met by the start itself, which then fails.
    pub(crate) fn settle_ports(&self, connections: &Connections) {
        let own: Vec<&Endpoint> =
            connections.attachments.iter().map(|attachment| &attachment.endpoint).collect();
        let ports: Vec<Published> = own.iter().copied().flat_map(Endpoint::published).collect();
        if ports.is_empty() || !self.is_led(&ports) {
            return;
        }
        for other in self.others(&own) {
            let Ok(id) = other.container.parse::<ContainerId>() else { continue };
            if self.is_watched(&id) {
                continue;
            }
            // One that lives is adopted by this.
            let _ = self.state(&id);
            if !self.is_watched(&id) {
                let _ = self.clear_endpoint(&other);
            }
        }
    }

    /// Whether one of these ports is in the table, or nobody can tell.
    fn is_led(&self, ports: &[Published]) -> bool {
        let table = self.instance().table();
        let Ok(mut socket) = self.netfilter() else { return true };
        ports.len() > FEW
            || ports.iter().any(|port| !matches!(table.leads_there(&mut socket, port), Ok(None)))
    }

    /// Adds to a refusal of a port which container has it, or that none of Onggi's has.
    pub(crate) fn name_holder(&self, error: Error, connections: &Connections) -> Error {
        let Error::Start { id, step, errno, message } = error else { return error };
        if !message.contains(PORT_TAKEN) {
            return Error::Start { id, step, errno, message };
        }
        let own: Vec<&Endpoint> =
            connections.attachments.iter().map(|attachment| &attachment.endpoint).collect();
        let others = self.others(&own);
        // Others that wanted it may be about to be refused as well.
        let has_it = |other: &&Endpoint| {
            let table = self.instance().table();
            self.netfilter().is_ok_and(|mut socket| {
                other.published().any(|port| matches!(table.leads_there(&mut socket, &port), Ok(Some(true))))
            })
        };
        let holder = others.iter().find(has_it).and_then(|other| other.names.first());
        let who = match (holder, others.as_slice()) {
            (Some(name), _) => format!("container {name} has it"),
            (None, []) => "no container of Onggi's has it: `ss -lnp` shows which program does".to_owned(),
            // Of an ordinary user, where the table has none of it.
            (None, [one]) if !one.names.is_empty() => format!("container {} has it", one.names[0]),
            (None, _) => "another container that starts at this moment has it".to_owned(),
        };
        Error::Start { id, step, errno, message: format!("{message} ({who})") }
    }

    /// The endpoints of others that have ports in common with these.
    fn others(&self, own: &[&Endpoint]) -> Vec<Endpoint> {
        let mut found = Vec::new();
        for network in self.all_networks().unwrap_or_default() {
            for other in endpoint::list(&self.endpoints(&network)).unwrap_or_default() {
                let shares = own.iter().any(|endpoint| {
                    endpoint.container != other.container
                        && endpoint
                            .ports
                            .iter()
                            .any(|port| other.ports.iter().any(|taken| overlap(port, taken)))
                });
                if shares {
                    found.push(other);
                }
            }
        }
        found
    }
}

/// Whether two cannot both be had.
fn overlap(one: &Port, other: &Port) -> bool {
    let (first, second) = (one.host_address, other.host_address);
    let addresses = first.is_ipv4() == second.is_ipv4()
        && (first == second || first.is_unspecified() || second.is_unspecified());
    let end = |port: &Port| u32::from(port.host) + u32::from(port.count);
    one.protocol == other.protocol
        && addresses
        && u32::from(one.host) < end(other)
        && u32::from(other.host) < end(one)
}

#[cfg(test)]
mod tests {
    use onggi_net::endpoint::Protocol;

    use super::*;

    #[test]
    fn ports_that_cannot_both_be_had() {
        let port = |address: &str, host, count, protocol| Port {
            protocol,
            host_address: address.parse().unwrap(),
            host,
            container: 80,
            count,
        };
        let web = port("0.0.0.0", 8080, 3, Protocol::Tcp);
        for (other, overlaps) in [
            (port("0.0.0.0", 8082, 1, Protocol::Tcp), true),
            (port("0.0.0.0", 8083, 1, Protocol::Tcp), false),
            (port("0.0.0.0", 8070, 11, Protocol::Tcp), true),
            (port("0.0.0.0", 8070, 10, Protocol::Tcp), false),
            (port("127.0.0.1", 8080, 1, Protocol::Tcp), true),
            (port("::", 8080, 1, Protocol::Tcp), false),
            (port("0.0.0.0", 8080, 1, Protocol::Udp), false),
        ] {
            assert_eq!((overlap(&web, &other), overlap(&other, &web)), (overlaps, overlaps), "{other:?}");
        }
        let (one, other) = (port("10.0.0.1", 1, 1, Protocol::Tcp), port("10.0.0.2", 1, 1, Protocol::Tcp));
        assert!(!overlap(&one, &other));
    }
}
