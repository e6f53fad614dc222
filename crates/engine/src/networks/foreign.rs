//! Beside other people's firewalls: rules in the one place that Docker has for others', a warning where somebody else drops what
//! containers send, and what `doctor` shows of both.

use onggi_net::nftables::{self, docker};
use onggi_net::{Socket, link, turn};

use super::Network;
use crate::Engine;
use crate::error::Error;

/// What the host's firewall is to networks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallFacts {
    /// Whether the table is there with all its rules.
    pub is_whole: bool,
    /// Bridges that are there.
    pub bridges: Vec<String>,
    /// Chains that drop what containers send or are sent, each with the commands that mend it.
    pub obstacles: Vec<(String, String)>,
}

impl Engine {
    /// Looks at the firewall, and changes nothing.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or only root may ask.
    pub fn firewall_facts(&self) -> Result<FirewallFacts, Error> {
        self.home()?.within(|| self.firewall_facts_here())?
    }

    fn firewall_facts_here(&self) -> Result<FirewallFacts, Error> {
        let (table, mut socket) = (self.instance().table(), Socket::netfilter()?);
        let is_whole = table.is_whole(&mut socket)?;
        let bridges = self.bridges()?;
        let default = (self.instance().default_bridge(), false);
        let mut obstacles: Vec<(String, String)> = Vec::new();
        // The default network's will be there as soon as somebody needs it.
        let asked = if bridges.is_empty() { std::slice::from_ref(&default) } else { &bridges };
        for (bridge, ipv6) in asked {
            for obstacle in nftables::obstacles(&mut socket, table.name(), bridge, *ipv6)? {
                // Docker's own is answered by rules when there is a bridge.
                if !(bridges.is_empty() && docker::has_place(&mut socket)?) {
                    obstacles.push((obstacle.name(), obstacle.mend(bridge)));
                }
            }
        }
        Ok(FirewallFacts {
            is_whole,
            bridges: bridges.into_iter().map(|(name, _)| name).collect(),
            obstacles,
        })
    }

    /// A sentence for each chain that drops what this network's containers send or are sent, and one if there is no way out at all.
    pub(super) fn warn_of_obstacles(&self, network: &Network) -> Result<Vec<String>, Error> {
        let instance = self.instance();
        let bridge = network.bridge(&instance);
        if network.internal {
            return Ok(Vec::new());
        }
        let found =
            nftables::obstacles(&mut self.netfilter()?, instance.table().name(), &bridge, network.ipv6)?;
        let sentence = |obstacle: &nftables::Obstacle| {
            format!(
                "the firewall ({}) drops what containers on the network {} send to others: {}",
                obstacle.name(),
                network.name,
                obstacle.mend(&bridge)
            )
        };
        let mut warnings: Vec<String> = found.iter().map(sentence).collect();
        if self.has_own_network() && !self.has_way_out()? {
            warnings.push(format!(
                "the host has no network but loopback: containers on the network {} reach nothing outside until it has one",
                network.name
            ));
        }
        Ok(warnings)
    }

    fn has_way_out(&self) -> Result<bool, Error> {
        let found = self.home()?.within(|| link::find(&mut Socket::route()?, onggi_rootless::LINK))??;
        Ok(found.is_some())
    }

    /// Adds the rules for this network's bridge in Docker's place for them, if there is one and they are not there.
    pub(super) fn admit_bridge(&self, socket: &mut Socket, network: &Network) -> Result<(), Error> {
        let instance = self.instance();
        let (table, bridge) = (instance.table(), network.bridge(&instance));
        if docker::is_admitted(socket, table.name(), &bridge, network.ipv6)? {
            return Ok(());
        }
        let _turn = turn::rebuild(&self.paths.run)?;
        self.admit_bridges(socket)
    }

    /// Sees that the rules in Docker's place are those of the bridges that there are. Whoever calls has the table's turn: two at once would
    /// each add theirs.
    pub(super) fn admit_bridges(&self, socket: &mut Socket) -> Result<(), Error> {
        let bridges = self.bridges()?;
        let bridges: Vec<(&str, bool)> = bridges.iter().map(|(name, ipv6)| (name.as_str(), *ipv6)).collect();
        Ok(docker::admit(socket, self.instance().table().name(), &bridges)?)
    }

    /// The bridges of this installation that are there, and whether they have IPv6.
    pub(super) fn bridges(&self) -> Result<Vec<(String, bool)>, Error> {
        let instance = self.instance();
        let mut socket = Socket::route()?;
        let mut all = Vec::new();
        for network in self.all_networks()? {
            let name = network.bridge(&instance);
            if link::find(&mut socket, &name)?.is_some_and(|link| link.alias == instance.alias(&network.id)) {
                all.push((name, network.ipv6));
            }
        }
        Ok(all)
    }
}
