//! Removing networks: refused while a container is on one, and by then only a bridge and a record are left.

use onggi_error::{Diagnose, Kind};
use onggi_net::endpoint;
use onggi_net::{Socket, bridge, link, turn};

use super::{BUILT_IN, Network};
use crate::Engine;
use crate::error::Error;
use crate::prune::PruneOptions;

impl Engine {
    /// Removes a network that no container is on; those that are stopped do not count. With `force` a missing one is no error.
    ///
    /// # Errors
    /// It is in use, or predefined.
    pub fn network_remove(&self, name: &str, force: bool) -> Result<(), Error> {
        if BUILT_IN.contains(&name) {
            return Err(predefined(name));
        }
        let network = match self.find_network(name) {
            Err(Error::NoSuchNetwork { .. }) if force => return Ok(()),
            other => other?,
        };
        if network.is_default() {
            return Err(predefined(&network.name));
        }
        self.remove_network(&network)
    }

    /// Removes the networks that no container, running or not, names. Answers their names.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn network_prune(&self, options: &PruneOptions) -> Result<Vec<String>, Error> {
        let mut used = std::collections::BTreeSet::new();
        for name in crate::check::names(&self.paths.containers())? {
            let Ok(id) = name.parse() else { continue };
            let record = match self.record(&id) {
                Err(Error::NoSuchContainer { .. }) => continue,
                other => other?,
            };
            used.extend(record.resolved.networks.into_iter().map(|wanted| wanted.name));
        }
        let mut removed = Vec::new();
        self.put_default_away()?;
        for network in self.all_networks()? {
            let is_used =
                used.iter().any(|name| *name == network.name || network.id.starts_with(name.as_str()));
            if network.is_default() || is_used || !options.wants(&network.created, &network.labels) {
                continue;
            }
            match self.remove_network(&network) {
                Ok(()) => removed.push(network.name),
                // A container has come to be on it, or somebody was faster.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// The default network stays, and its bridge, which is made on first use, goes when nobody is on it.
    fn put_default_away(&self) -> Result<(), Error> {
        let _lock = self.lock_networks()?;
        let Some(network) = self.read_network(super::DEFAULT)? else { return Ok(()) };
        self.sweep_network(&network, None);
        if endpoint::all_traces(&self.endpoints(&network))?.is_empty() {
            self.take_down(&network)
        } else {
            Ok(())
        }
    }

    /// A bridge has gone: its rules in others' chains go, and with the last one the table.
    pub(super) fn leave_firewall(&self) -> Result<(), Error> {
        let mut socket = Socket::netfilter()?;
        // Who brings a bridge up makes the link first and then looks for the table, so one of both is seen.
        let _turn = turn::rebuild(&self.paths.run)?;
        if self.bridges()?.is_empty() {
            self.instance().table().delete(&mut socket)?;
        }
        self.admit_bridges(&mut socket)
    }

    fn remove_network(&self, network: &Network) -> Result<(), Error> {
        let _lock = self.lock_networks()?;
        self.sweep_network(network, None);
        let endpoints = endpoint::all_traces(&self.endpoints(network))?;
        if !endpoints.is_empty() {
            let name = |endpoint: &endpoint::Endpoint| endpoint.names.first().cloned().unwrap_or_default();
            return Err(Error::NetworkInUse {
                name: network.name.clone(),
                id: network.id.clone(),
                endpoints: endpoints.iter().map(name).collect(),
            });
        }
        // From now on nobody can find it.
        let directory = self.paths.networks().join(&network.name);
        let leftover = self.paths.temporary().join(format!("network-{}", network.id));
        crate::disk::remove_tree(&leftover)?;
        match std::fs::rename(&directory, &leftover) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::NoSuchNetwork { name: network.name.clone() });
            }
            other => other.map_err(Error::io("rename", &directory))?,
        }
        onggi_sys::fault::point("engine.network.unnamed");
        self.take_down(network)?;
        self.tell_network("destroy", network, None);
        crate::disk::remove_tree(&leftover)
    }

    /// Takes away what the kernel has for all networks, those that have no record among them: bridges and the table. No container may
    /// run.
    ///
    /// # Errors
    /// The first failure, after everything that could be taken away was.
    pub fn network_reset(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for network in self.all_networks()? {
            result = result.and(self.take_down(&network));
        }
        let table = self.instance().table();
        let deleted = self.undo_at_home(|| {
            let mut links = Socket::route()?;
            let bridges = self.own_bridges()?.into_iter();
            let unlinked = bridges.map(|(name, _)| link::delete(&mut links, &name).map_err(Error::from));
            let unlinked = unlinked.fold(Ok(()), Result::and);
            let mut socket = Socket::netfilter()?;
            let admitted = self.admit_bridges(&mut socket);
            unlinked.and(admitted).and(table.delete(&mut socket).map_err(Error::from))
        });
        if self.has_own_network() {
            onggi_rootless::close_way_out(&self.paths.run);
        }
        result.and(deleted.and_then(|done| done))
    }

    /// What the kernel and the run root have of a network that nobody is on.
    pub(crate) fn take_down(&self, network: &Network) -> Result<(), Error> {
        self.undo_at_home(|| self.take_down_here(network))??;
        crate::disk::remove_tree(self.endpoints(network).path())
    }

    fn take_down_here(&self, network: &Network) -> Result<(), Error> {
        let wanted = network.link(&self.instance());
        // Whether or not there is a link: the table that is made anew has every network's.
        self.forget_bridge(&wanted.name)?;
        if bridge::remove(&mut Socket::route()?, &wanted)? {
            self.leave_firewall()?;
        }
        Ok(())
    }
}

fn predefined(name: &str) -> Error {
    Error::Invalid { what: format!("{name} is a pre-defined network and cannot be removed") }
}
