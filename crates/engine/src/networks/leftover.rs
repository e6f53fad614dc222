//! What is there of networks that have no record, and of containers on networks where they do not belong. It is not found by the
//! records, which say nothing of it, but by the aliases of links, the names of live directories and the elements of the table.

use std::collections::BTreeSet;

use onggi_error::{Diagnose, Kind};
use onggi_net::endpoint::{self, Directory, Endpoint};
use onggi_net::nftables::Change;
use onggi_net::{Socket, link, turn};

use super::Network;
use crate::Engine;
use crate::check::{Finding, mend};
use crate::error::Error;
use crate::id::ContainerId;
use crate::request;

impl Engine {
    /// Looks for such things. With `repair` they are taken away.
    ///
    /// # Errors
    /// What is there cannot be listed.
    pub(crate) fn check_networks(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        let live = self.paths.run.join("networks");
        if !live.exists() {
            // No network was ever up since the host is.
            return Ok(());
        }
        // So nothing of what is found is on its way to a record, or from it.
        let _lock = self.lock_networks()?;
        let networks = match self.all_networks() {
            // It has been told already, and what is of no network nobody knows.
            Err(error) if error.kind() == Kind::Corrupt => return Ok(()),
            other => other?,
        };
        for network in &networks {
            self.check_places(network, repair, findings);
        }
        self.check_absence(&networks, findings)?;
        self.check_table(&networks, repair, findings)?;
        let ids: BTreeSet<&str> = networks.iter().map(|network| network.id.as_str()).collect();
        for id in crate::check::names(&live)? {
            if id.parse::<ContainerId>().is_ok() && !ids.contains(id.as_str()) {
                let subject = live.join(&id).display().to_string();
                let action = || self.clear_live_directory(&id).map(|()| REMOVED.to_owned());
                findings.push(mend(&subject, "is of no network", repair, action));
            }
        }
        let instance = self.instance();
        let aliases: BTreeSet<String> = networks.iter().map(|network| instance.alias(&network.id)).collect();
        let (bridges, known) = self.undo_at_home(|| {
            let table = instance.table().bridges(&mut Socket::netfilter()?)?;
            Ok::<_, Error>((self.own_bridges()?, table))
        })??;
        for (name, alias) in &bridges {
            if !aliases.contains(alias) {
                let action = || self.remove_bridge(name).map(|()| REMOVED.to_owned());
                findings.push(mend(name, "is a bridge of no network", repair, action));
            }
        }
        let links: BTreeSet<String> = networks.iter().map(|network| network.bridge(&instance)).collect();
        for name in known {
            if !links.contains(&name) && !bridges.iter().any(|(bridge, _)| *bridge == name) {
                let action = || self.remove_bridge(&name).map(|()| REMOVED.to_owned());
                findings.push(mend(
                    &name,
                    "is in the table of the firewall and of no network",
                    repair,
                    action,
                ));
            }
        }
        Ok(())
    }

    /// Of containers that do not run, or are connected and should not be.
    fn check_places(&self, network: &Network, repair: bool, findings: &mut Vec<Finding>) {
        for endpoint in self.stale_endpoints(network, None) {
            let problem = format!("has a place on network {} and does not run", network.name);
            let action = || self.clear_endpoint(&endpoint).map(|()| "it was given back".to_owned());
            findings.push(mend(&endpoint.container, &problem, repair, action));
        }
        for endpoint in endpoint::list(&self.endpoints(network)).unwrap_or_default() {
            let Ok(id) = endpoint.container.parse::<ContainerId>() else { continue };
            // Who is at work on it knows better.
            let (true, Ok(Some(_lock)), Ok(record)) =
                (self.is_watched(&id), self.try_lock(&id), self.record(&id))
            else {
                continue;
            };
            if self.position(&record, network).is_none() {
                let problem = format!("is connected to network {} and should not be", network.name);
                let action = || self.take_off(&record, &network.id).map(|_| "it was disconnected".to_owned());
                findings.push(mend(&endpoint.container, &problem, repair, action));
            }
        }
    }

    /// Of containers that run and are not where their records say. Whoever wants them there connects them: for that the monitor makes links, and the
    /// lock that is held here is in its way.
    fn check_absence(&self, networks: &[Network], findings: &mut Vec<Finding>) -> Result<(), Error> {
        for name in crate::check::names(&self.paths.containers())? {
            let Ok(id) = name.parse::<ContainerId>() else { continue };
            // Who is at work on it knows better.
            let (true, Ok(Some(_lock)), Ok(record)) =
                (self.is_watched(&id), self.try_lock(&id), self.record(&id))
            else {
                continue;
            };
            if record.request.network != request::Network::Bridge {
                continue;
            }
            for network in networks {
                let belongs = self.position(&record, network).is_some();
                let is_there = || endpoint::find(&self.endpoints(network), id.as_str()).is_some();
                // A monitor gives its places back at the end of its container, and a moment later is no more.
                if belongs && !is_there() && self.is_at_work(&id) {
                    let (network, container) = (&network.name, &record.name);
                    let problem = format!(
                        "should be on network {network} and is not: onggi network connect {network} {container}"
                    );
                    findings.push(Finding { subject: name.clone(), problem, repaired: None });
                }
            }
        }
        Ok(())
    }

    /// The table, and ports in it that no container publishes, or whose container's files are lost.
    fn check_table(
        &self,
        networks: &[Network],
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        let rebuild =
            || self.undo_at_home(|| self.rebuild_table())?.map(|()| "the table was made anew".to_owned());
        let (is_whole, strays) = self.undo_at_home(|| {
            // The files of ports that come and go now go with them.
            let _turn = turn::rebuild(&self.paths.run)?;
            let table = self.instance().table();
            // Without a bridge there need not be one.
            let is_whole = self.bridges()?.is_empty() || table.is_whole(&mut Socket::netfilter()?)?;
            let mut ports = Vec::new();
            for network in networks {
                let endpoints = endpoint::list(&self.endpoints(network))?;
                ports.extend(endpoints.iter().flat_map(Endpoint::published).map(Change::Port));
            }
            Ok::<_, Error>((is_whole, table.strays(&mut Socket::netfilter()?, &ports)?))
        })??;
        if !is_whole {
            let subject = format!("table inet {}", self.instance().table().name());
            let problem = "is missing from the firewall, or its rules are not as Onggi made them";
            findings.push(mend(&subject, problem, repair, rebuild));
        }
        for port in strays {
            let problem = "is a port in the table of the firewall and of no container";
            findings.push(mend(&port, problem, repair, rebuild));
        }
        Ok(())
    }

    /// Everything in a live directory, and the directory.
    fn clear_live_directory(&self, network: &str) -> Result<(), Error> {
        let directory = Directory::new(&self.paths.run, network);
        for endpoint in endpoint::all_traces(&directory)? {
            let watched = endpoint.container.parse::<ContainerId>().ok().filter(|id| self.is_watched(id));
            match watched.and_then(|id| self.record(&id).ok()) {
                Some(record) => drop(self.take_off(&record, network)?),
                None => self.clear_endpoint(&endpoint)?,
            }
        }
        crate::disk::remove_tree(directory.path())
    }

    /// The bridges here that say that they are this installation's, each with what it says.
    pub(super) fn own_bridges(&self) -> Result<Vec<(String, String)>, Error> {
        let instance = self.instance();
        let links = link::list(&mut Socket::route()?)?.into_iter();
        let own = links.filter(|link| link.kind == "bridge" && instance.owns(&link.alias));
        Ok(own.map(|link| (link.name, link.alias)).collect())
    }

    fn remove_bridge(&self, name: &str) -> Result<(), Error> {
        self.undo_at_home(|| {
            self.forget_bridge(name)?;
            link::delete(&mut Socket::route()?, name)?;
            self.leave_firewall()
        })?
    }

    /// Takes a bridge out of the table, if it is there.
    pub(super) fn forget_bridge(&self, name: &str) -> Result<(), Error> {
        if !self.paths.run.join("networks").exists() {
            return Ok(());
        }
        let (table, mut socket) = (self.instance().table(), Socket::netfilter()?);
        let _turn = turn::change(&self.paths.run)?;
        // An internal one is in one set more, and a batch that takes out what is not there takes out nothing.
        for internal in [true, false] {
            match table.apply(&mut socket, &[], &[Change::Bridge { name, internal }]) {
                Err(error) if error.kind() == Kind::NotFound => {}
                other => return Ok(other?),
            }
        }
        Ok(())
    }
}

const REMOVED: &str = "it was removed";
