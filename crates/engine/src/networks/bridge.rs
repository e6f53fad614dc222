//! What the host needs for a network before a container can be on it: the bridge, the table, forwarding. And all of it again after
//! somebody has flushed the firewall.

use std::collections::BTreeSet;

use onggi_error::{Diagnose, Kind};
use onggi_net::bridge;
use onggi_net::endpoint::{Endpoint, Protocol};
use onggi_net::nftables::{Change, Published};
use onggi_net::relay::way_back;
use onggi_net::{Socket, conntrack, endpoint, turn};

use super::Network;
use crate::Engine;
use crate::error::Error;

impl Engine {
    /// Makes the bridge of a network and sees that the table is whole and knows it.
    pub(super) fn bring_up(&self, network: &Network) -> Result<(), Error> {
        if self.has_own_network() && !network.internal {
            self.ensure_way_out()?;
        }
        self.home()?.within(|| {
            if self.has_own_network() {
                way_back::prepare(network.ipv6)?;
            }
            self.bring_up_here(network)
        })?
    }

    /// For as long as the host has no network itself containers do without: `warn_of_obstacles` says so.
    fn ensure_way_out(&self) -> Result<(), Error> {
        let run = &self.paths.run;
        match onggi_rootless::ensure_way_out(run, &onggi_rootless::network(run)?) {
            Err(onggi_rootless::Error::NoUplink) => Ok(()),
            other => Ok(other?),
        }
    }

    fn bring_up_here(&self, network: &Network) -> Result<(), Error> {
        let instance = self.instance();
        let wanted = network.link(&instance);
        self.make_live_directory()?;
        let mut links = Socket::route()?;
        if !bridge::is_made(&mut links, &wanted)? {
            let _turn = turn::rebuild(&self.paths.run)?;
            bridge::make(&mut links, &wanted)?;
        }
        bridge::ensure_forwarding(network.ipv6)?;
        let (table, mut socket) = (instance.table(), Socket::netfilter()?);
        if !table.is_whole(&mut socket)? {
            self.rebuild_table()?;
        }
        // One that is known already costs as little as a question would.
        let change = Change::Bridge { name: &wanted.name, internal: network.internal };
        let turn = turn::change(&self.paths.run)?;
        let applied = table.apply(&mut socket, std::slice::from_ref(&change), &[]);
        drop(turn);
        match applied {
            // Somebody has taken the table away since the look at it: whoever flushes, or the removal of what was the last bridge.
            Err(error) if error.kind() == Kind::NotFound => {
                self.rebuild_table()?;
                table.apply(&mut socket, &[change], &[])?;
            }
            other => other?,
        }
        self.admit_bridge(&mut socket, network)
    }

    /// Where the live files of networks are, and the locks of the table.
    fn make_live_directory(&self) -> Result<(), Error> {
        let directory = self.paths.run.join("networks");
        crate::paths::make_directory(&directory).map_err(Error::io("make the directory", &directory))
    }

    /// Makes the table anew from the records and the live files, unless it is whole. One at a time: who comes second finds it made.
    ///
    /// # Errors
    /// What cannot be read or made.
    pub fn network_rebuild(&self) -> Result<(), Error> {
        self.home()?.within(|| {
            self.rebuild_table()?;
            if self.has_own_network() {
                way_back::mend()?;
            }
            let _turn = turn::rebuild(&self.paths.run)?;
            self.admit_bridges(&mut Socket::netfilter()?)
        })?
    }

    /// Makes the table if it lacks anything, or has ports that nobody publishes.
    pub(super) fn rebuild_table(&self) -> Result<(), Error> {
        self.make_live_directory()?;
        let _turn = turn::rebuild(&self.paths.run)?;
        let (instance, mut socket) = (self.instance(), Socket::netfilter()?);
        let table = instance.table();
        let mut links: Vec<(String, bool)> = Vec::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for network in self.all_networks()? {
            links.push((network.bridge(&instance), network.internal));
            let stale = self.stale_endpoints(&network, None);
            let all = endpoint::list(&self.endpoints(&network))?.into_iter();
            endpoints.extend(all.filter(|endpoint| !endpoint.ports.is_empty() && !stale.contains(endpoint)));
        }
        let ports =
            ports(&endpoints, |endpoint| endpoint.container.parse().is_ok_and(|id| self.is_watched(&id)));
        let bridges = links.iter().map(|(name, internal)| Change::Bridge { name, internal: *internal });
        let changes: Vec<Change<'_>> = bridges.chain(Change::of_ports(&ports)).collect();
        if table.is_whole(&mut socket)?
            && table.has(&mut socket, &changes)?
            && table.strays(&mut socket, &changes)?.is_empty()
        {
            return Ok(());
        }
        table.rebuild(&mut socket, &changes)?;
        // Who began to connect meanwhile would else wait in vain.
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            conntrack::forget_early(&mut socket, &ports, protocol)?;
        }
        Ok(())
    }
}

/// What these publish, each port of the host once. One whose monitor was killed has lost its hold on a port, and another may have it by now:
/// that one comes first.
fn ports(endpoints: &[Endpoint], is_watched: impl Fn(&Endpoint) -> bool) -> Vec<Published> {
    let (watched, others): (Vec<&Endpoint>, Vec<&Endpoint>) =
        endpoints.iter().partition(|endpoint| is_watched(endpoint));
    let mut taken = BTreeSet::new();
    let all = watched.into_iter().chain(others).flat_map(Endpoint::published);
    all.filter(|port| taken.insert((port.protocol, port.host))).collect()
}

#[cfg(test)]
mod tests {
    use onggi_net::endpoint::{Port, VERSION};

    use super::*;

    fn endpoint(letter: char, last: u8, host: u16) -> Endpoint {
        Endpoint {
            version: VERSION,
            network: "d".repeat(64),
            network_name: "bridge".to_owned(),
            container: letter.to_string().repeat(64),
            names: Vec::new(),
            ipv4: Some([10, 0, 0, last].into()),
            ipv6: None,
            mac: String::new(),
            interface: String::new(),
            inside: "eth0".to_owned(),
            ports: vec![Port {
                protocol: Protocol::Tcp,
                host_address: [0, 0, 0, 0].into(),
                host,
                container: 80,
                count: 1,
            }],
        }
    }

    #[test]
    fn a_port_that_two_claim_is_the_watched_one_s() {
        let all = [endpoint('a', 2, 80), endpoint('b', 3, 80), endpoint('c', 4, 81)];
        let leads = |watched: &str| {
            let ports = ports(&all, |endpoint| endpoint.container.starts_with(watched));
            ports
                .iter()
                .map(|port| format!("{} {}", port.host.port(), port.container.ip()))
                .collect::<Vec<_>>()
        };
        assert_eq!(leads("b"), ["80 10.0.0.3", "81 10.0.0.4"]);
        assert_eq!(leads("a"), ["80 10.0.0.2", "81 10.0.0.4"]);
    }
}
