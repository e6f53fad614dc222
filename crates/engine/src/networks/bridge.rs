//! What the host needs for a network before a container can be on it: the bridge, the table, forwarding. And all of it again after
//! somebody has flushed the firewall.

use onggi_net::address::Mac;
use onggi_net::bridge::{self, Bridge};
use onggi_net::nftables::{Change, Published};
use onggi_net::{Socket, endpoint};

use super::Network;
use crate::Engine;
use crate::error::Error;

impl Engine {
    /// Makes the bridge of a network and sees that the table is whole and knows it.
    pub(super) fn bring_up(&self, network: &Network) -> Result<(), Error> {
        let instance = self.instance();
        let wanted = Bridge {
            name: network.bridge(&instance),
            alias: instance.alias(&network.id),
            mac: match network.range(true).map(|range| range.gateway) {
                Some(std::net::IpAddr::V4(gateway)) => Mac::of(gateway),
                _ => Mac::of_id(&network.id),
            },
            mtu: network.mtu(),
            addresses: network.subnets.iter().map(|range| (range.gateway, range.subnet.prefix())).collect(),
        };
        bridge::ensure(&mut Socket::route()?, &wanted)?;
        bridge::ensure_forwarding(network.ipv6)?;
        let (table, mut socket) = (instance.table(), Socket::netfilter()?);
        if !table.is_whole(&mut socket)? {
            self.rebuild_table(false)?;
        }
        // One that is known already costs as little as a question would.
        let change = Change::Bridge { name: &wanted.name, internal: network.internal };
        Ok(table.apply(&mut socket, &[change], &[])?)
    }

    /// Makes the table anew from the records and the live files, unless it is whole. One at a time: who comes second finds it made.
    ///
    /// # Errors
    /// What cannot be read or made.
    pub fn network_rebuild(&self) -> Result<(), Error> {
        self.refuse_bridges("the table of the networks")?;
        self.rebuild_table(false)
    }

    pub(super) fn rebuild_table(&self, always: bool) -> Result<(), Error> {
        let _lock = self.lock_table()?;
        let (instance, mut socket) = (self.instance(), Socket::netfilter()?);
        let table = instance.table();
        if !always && table.is_whole(&mut socket)? {
            return Ok(());
        }
        let mut links: Vec<(String, bool)> = Vec::new();
        let mut ports: Vec<Published> = Vec::new();
        for network in self.all_networks()? {
            links.push((network.bridge(&instance), network.internal));
            for endpoint in endpoint::list(&self.endpoints(&network))? {
                ports.extend(endpoint.published());
            }
        }
        let bridges = links.iter().map(|(name, internal)| Change::Bridge { name, internal: *internal });
        let changes: Vec<Change<'_>> = bridges.chain(Change::of_ports(&ports)).collect();
        Ok(table.rebuild(&mut socket, &changes)?)
    }

    /// Held while the table is made.
    fn lock_table(&self) -> Result<std::fs::File, Error> {
        let directory = self.paths.run.join("networks");
        crate::paths::make_directory(&directory).map_err(Error::io("make the directory", &directory))?;
        let path = directory.join("rebuild.lock");
        crate::disk::lock(&path)
    }
}
