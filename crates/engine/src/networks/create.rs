//! Making a network: its subnets, its record. The bridge comes with the first container.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsFd;

use onggi_monitor::clock::Moment;
use onggi_net::address::Subnet;
use onggi_net::plan::pool;
use onggi_net::{Socket, link};
use onggi_record::Durability;

use super::{BUILT_IN, DEFAULT, Network, RECORD, Range, VERSION};
use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use crate::names;
use crate::paths::make_directory;
use crate::request::NetworkCreate;

/// Docker's options of bridges that are understood here. The others are refused by name.
pub(super) const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
pub(super) const MTU: &str = "com.docker.network.driver.mtu";
/// And those whose usual value is all that there is.
const AS_USUAL: [(&str, &str); 3] = [
    ("com.docker.network.bridge.enable_icc", "true"),
    ("com.docker.network.bridge.enable_ip_masquerade", "true"),
    ("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
];
/// What people write of an id.
const SHORT_ID: usize = 12;
/// IPv6 needs packets of this size (RFC 8200 §5); no link of the kernel's takes larger ones than the other.
const MTUS: std::ops::RangeInclusive<u32> = 1280..=65535;

impl Engine {
    /// Makes a network. Answers its id.
    ///
    /// # Errors
    /// The name is taken or none; a subnet is in use; an option that is not understood.
    pub fn network_create(&self, request: &NetworkCreate) -> Result<String, Error> {
        let name = &request.name;
        if name == DEFAULT || name == "default" || BUILT_IN.contains(&name.as_str()) {
            return Err(invalid(format!("operation is not permitted on predefined {name} network")));
        }
        if !names::is_plain(name) {
            return Err(invalid(format!(
                "invalid network name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-]* are allowed, 255 characters at most"
            )));
        }
        check_options(&request.options)?;
        let network = self.make_network(request)?;
        self.tell_network("create", &network, None);
        Ok(network.id)
    }

    /// The network of containers that name none.
    pub(super) fn make_default_network(&self) -> Result<Network, Error> {
        let request = NetworkCreate { name: DEFAULT.to_owned(), ..NetworkCreate::default() };
        match self.make_network(&request) {
            // Somebody was faster.
            Err(Error::NetworkExists { .. }) => {
                self.read_network(DEFAULT)?.ok_or_else(|| Error::NoSuchNetwork { name: DEFAULT.to_owned() })
            }
            other => other,
        }
    }

    fn make_network(&self, request: &NetworkCreate) -> Result<Network, Error> {
        // Two that look for a subnet at once would find the same.
        let _lock = self.lock_networks()?;
        if self.read_network(&request.name)?.is_some() {
            return Err(Error::NetworkExists { name: request.name.clone() });
        }
        let id = ContainerId::random().map_err(|source| Error::Kernel { act: "getrandom", source })?;
        let mut used: Vec<Subnet> = Vec::new();
        for network in self.all_networks()? {
            let taken = network.subnets.iter().map(|range| range.subnet);
            if let Some(wanted) = request
                .subnets
                .iter()
                .find(|wanted| network.subnets.iter().any(|range| range.subnet.overlaps(**wanted)))
            {
                return Err(invalid(format!(
                    "Pool overlaps with other one on this address space: {wanted} is of network {}",
                    network.name
                )));
            }
            used.extend(taken);
            // One of both would never be found again.
            if request.name.len() >= SHORT_ID && network.id.starts_with(&request.name) {
                return Err(invalid(format!(
                    "invalid network name ({}): it is the id of network {}",
                    request.name, network.name
                )));
            }
        }
        if let Some(bridge) = request.options.get(BRIDGE_NAME) {
            self.check_link_is_free(bridge)?;
        }
        let on = link::connected(&mut Socket::route()?)?;
        if let Some((wanted, host)) = request
            .subnets
            .iter()
            .filter(|wanted| is_for_hosts(**wanted))
            .find_map(|wanted| Some((wanted, on.iter().find(|host| host.overlaps(*wanted))?)))
        {
            return Err(invalid(format!(
                "Pool overlaps with other one on this address space: the host itself is on {host}, and {wanted} would cut it off"
            )));
        }
        let routed = || link::routed(&mut Socket::route()?);
        used.extend(routed()?);
        // An ordinary user's way out has routes of its own.
        used.extend(self.home()?.within(routed)??);
        let network = Network {
            version: VERSION,
            subnets: self.subnets(request, id.as_str(), &used)?,
            id: id.to_string(),
            name: request.name.clone(),
            driver: "bridge".to_owned(),
            created: Moment::now().to_string(),
            internal: request.internal,
            ipv6: request.ipv6 || request.subnets.iter().any(|subnet| !subnet.is_ipv4()),
            labels: request.labels.clone(),
            options: request.options.clone(),
        };
        self.write_network(&network)?;
        Ok(network)
    }

    /// A bridge that was made by somebody else is not Onggi's to change, let alone to delete.
    fn check_link_is_free(&self, name: &str) -> Result<(), Error> {
        let instance = self.instance();
        let of_network = |network: &Network| network.bridge(&instance) == name;
        let is_known = name == instance.default_bridge() || self.all_networks()?.iter().any(of_network);
        if is_known || self.home()?.within(|| link::find(&mut Socket::route()?, name))??.is_some() {
            return Err(onggi_net::Error::LinkTaken { name: name.to_owned() }.into());
        }
        Ok(())
    }

    /// What the user said, and what is free for the rest.
    fn subnets(&self, request: &NetworkCreate, id: &str, used: &[Subnet]) -> Result<Vec<Range>, Error> {
        let mut subnets = request.subnets.clone();
        if let Some(subnet) = subnets.iter().find(|subnet| !is_for_hosts(**subnet)) {
            return Err(invalid(format!(
                "invalid subnet {subnet}: the addresses of a loopback, of one link, of groups and of nobody belong to no network"
            )));
        }
        let has = |subnets: &[Subnet], ipv4: bool| subnets.iter().any(|subnet| subnet.is_ipv4() == ipv4);
        if subnets.iter().filter(|subnet| subnet.is_ipv4()).count() > 1
            || subnets.iter().filter(|subnet| !subnet.is_ipv4()).count() > 1
        {
            return Err(Error::NotBuilt { what: "a network with two subnets of one family".to_owned() });
        }
        if !has(&subnets, true) {
            let pools = pool::parse(&self.settings.network_pools).map_err(invalid)?;
            subnets.insert(0, pool::choose(&pools, used, self.instance().first_choice())?);
        }
        if request.ipv6 && !has(&subnets, false) {
            subnets.extend(pool::local6(id));
        }
        let inside = |subnet: Subnet, address: &IpAddr| subnet.is_usable(*address);
        if let Some(gateway) =
            request.gateways.iter().find(|gateway| !subnets.iter().any(|subnet| inside(*subnet, gateway)))
        {
            return Err(invalid(format!("no matching subnet for gateway {gateway}")));
        }
        if let Some(range) = request.ranges.iter().find(|range| {
            !subnets.iter().any(|subnet| {
                subnet.contains(range.address())
                    && subnet.is_ipv4() == range.is_ipv4()
                    && subnet.prefix() <= range.prefix()
            })
        }) {
            return Err(invalid(format!("no matching subnet for range {range}")));
        }
        let ranges = subnets.into_iter().map(|subnet| {
            let gateway = request.gateways.iter().copied().find(|gateway| subnet.contains(*gateway));
            let first = subnet.at(1).filter(|first| subnet.is_usable(*first));
            let gateway = gateway
                .or(first)
                .ok_or_else(|| invalid(format!("invalid subnet {subnet}: it has no room for a gateway")))?;
            Ok(Range {
                subnet,
                gateway,
                range: request.ranges.iter().copied().find(|range| subnet.contains(range.address())),
                chosen: request.subnets.contains(&subnet),
            })
        });
        ranges.collect()
    }

    /// Made apart and renamed into its place, so that half of one is never seen.
    fn write_network(&self, network: &Network) -> Result<(), Error> {
        // By this form of a name the store knows that its maker lives.
        let unfinished =
            self.paths.temporary().join(format!("network-{}.{}", network.id, std::process::id()));
        make_directory(&unfinished).map_err(Error::io("make the directory", &unfinished))?;
        onggi_record::write(&unfinished.join(RECORD), network, Durability::Synced).inspect_err(|_| {
            // What cannot be removed either, the store's next check does.
            let _ = crate::disk::remove_tree(&unfinished);
        })?;
        onggi_sys::fault::point("engine.network.record-written");
        let networks = self.paths.networks();
        match std::fs::rename(&unfinished, networks.join(&network.name)) {
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
                crate::disk::remove_tree(&unfinished)?;
                return Err(Error::NetworkExists { name: network.name.clone() });
            }
            Err(error) => return Err(Error::io("rename", unfinished)(error)),
            Ok(()) => {}
        }
        onggi_sys::fault::point("engine.network.renamed");
        let synced = std::fs::File::open(&networks).and_then(|directory| directory.sync_all());
        synced.map_err(Error::io("fsync", networks))
    }

    /// Held while networks come and go; a container's lock, if any, is taken before. Ends with the value.
    pub(crate) fn lock_networks(&self) -> Result<std::fs::File, Error> {
        let networks = self.paths.networks();
        make_directory(&networks).map_err(Error::io("make the directory", &networks))?;
        crate::disk::lock(&self.networks_lock())
    }

    /// Keeps a network that was found before from being removed, or answers that it has been. Shared by all who come to be on networks:
    /// a bridge that is made, or a lease that is taken, without this may be of a network that is not there any more. Ends with the value.
    pub(super) fn keep_network(&self, network: &Network) -> Result<std::fs::File, Error> {
        let path = self.networks_lock();
        let file = onggi_sys::ofd::open(&path).map_err(Error::io("open", &path))?;
        onggi_sys::ofd::lock_shared(file.as_fd()).map_err(Error::io("lock", path))?;
        onggi_sys::fault::point("engine.network.kept");
        match self.read_network(&network.name)? {
            Some(now) if now.id == network.id => Ok(file),
            _ => Err(Error::NoSuchNetwork { name: network.name.clone() }),
        }
    }

    fn networks_lock(&self) -> std::path::PathBuf {
        self.paths.data.join("networks.lock")
    }
}

/// Whether hosts may have addresses of it: the whole of it lies outside what RFC 6890 sets apart for other ends.
fn is_for_hosts(subnet: Subnet) -> bool {
    let apart =
        ["0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3", "::/127", "fe80::/10", "ff00::/8"];
    apart.iter().filter_map(|text| text.parse::<Subnet>().ok()).all(|apart| !apart.overlaps(subnet))
}

fn check_options(options: &BTreeMap<String, String>) -> Result<(), Error> {
    for (key, value) in options {
        let wrong = || invalid(format!("invalid value for option {key}: {value}"));
        match key.as_str() {
            BRIDGE_NAME => {
                let sound = (1..16).contains(&value.len())
                    && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
                    && !matches!(value.as_str(), "." | ".." | "all" | "default");
                if !sound {
                    return Err(wrong());
                }
            }
            MTU => {
                value.parse().ok().filter(|mtu| MTUS.contains(mtu)).ok_or_else(wrong)?;
            }
            _ => match AS_USUAL.iter().find(|(name, _)| name == key) {
                Some((_, usual)) if value == usual => {}
                Some((_, usual)) => {
                    return Err(Error::NotBuilt { what: format!("{key} other than {usual}") });
                }
                None => return Err(Error::NotBuilt { what: format!("the network option {key}") }),
            },
        }
    }
    Ok(())
}

fn invalid(what: impl Into<String>) -> Error {
    Error::Invalid { what: what.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_of_hosts() {
        for (text, is) in [
            ("10.0.0.0/8", true),
            ("169.254.0.0/16", false),
            ("fe80::/64", false),
            ("fd00:1::/64", true),
            ("2001:db8::/64", true),
            ("127.0.0.0/8", false),
            ("127.0.0.8/29", false),
            ("224.0.0.0/24", false),
            ("255.255.255.0/24", false),
            ("0.0.0.0/0", false),
            ("::/0", false),
            ("ff02::/64", false),
        ] {
            assert_eq!(is_for_hosts(text.parse().unwrap()), is, "{text}");
        }
    }
}
