//! Whether records, index, live files and kernel objects agree: what `system check` and `doctor` ask of the engine.
//!
//! The store checks images, layers and its own index; this file the containers. What it finds is what a command left that was
//! killed or lost its power; each finding says what would mend it, and with `repair` it is mended.

use std::collections::BTreeSet;
use std::path::Path;

use onggi_error::Diagnose;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;

/// Something that [`Engine::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a container's id, a path.
    pub subject: String,
    pub problem: String,
    /// What was done about it, or `None` when nothing could be or was asked for.
    pub repaired: Option<String>,
}

impl Engine {
    /// Compares records, index and live files. With `repair` it mends what it can.
    ///
    /// # Errors
    /// The roots cannot be read at all.
    pub fn check(&self, repair: bool) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        let rows: BTreeSet<String> = self.store.containers()?.into_iter().map(|row| row.id).collect();
        let mut known = BTreeSet::new();
        for name in names(&self.paths.containers())? {
            known.insert(name.clone());
            let Ok(id) = name.parse::<ContainerId>() else {
                findings.push(found(&name, "is in the directory of containers and is none", None));
                continue;
            };
            self.check_container(&id, rows.contains(&name), repair, &mut findings);
        }
        for id in rows.difference(&known) {
            let action = || self.clear_unborn(id).map(|_| "the row was removed");
            findings.push(mend(id, "is in the index and has no record", repair, action));
        }
        self.check_sandboxes(&known, repair, &mut findings)?;
        self.check_networks(repair, &mut findings)?;
        Ok(findings)
    }

    fn check_container(&self, id: &ContainerId, has_row: bool, repair: bool, findings: &mut Vec<Finding>) {
        let name = id.as_str();
        let record = match self.record(id) {
            Ok(record) => record,
            Err(Error::NoSuchContainer { .. }) => {
                // Somebody may be creating it right now.
                if matches!(self.try_lock(id), Ok(None)) {
                    return;
                }
                let action = || self.clear_unborn(name).map(|_| "what was left was removed");
                findings.push(mend(name, "has no record: its creation was cut short", repair, action));
                return;
            }
            Err(error) => {
                findings.push(found(name, &error.to_string(), None));
                return;
            }
        };
        if !has_row {
            let action = || self.put_back(&record).map(|()| "it was put back");
            findings.push(mend(name, "is not in the index", repair, action));
        }
        match self.written_state(id) {
            Ok(state) if status(&state).is_live() && !self.is_watched(id) => {
                let action = || self.reconcile(id).map(|_| "its state was brought up to date");
                findings.push(mend(name, "is said to run and has no monitor", repair, action));
            }
            Ok(_) if self.waiting_state(id).is_some() && !self.is_watched(id) => {
                let action = || self.reconcile(id).map(|_| "its state was written");
                findings.push(mend(name, "has a state that a full disk did not take", repair, action));
            }
            Ok(state)
                if status(&state) == crate::state::Status::Removing
                    && self.try_lock(id).is_ok_and(|lock| lock.is_some()) =>
            {
                let options = crate::request::RemoveOptions { force: true, volumes: false };
                let action = || self.remove(id, &options).map(|()| "it was removed");
                findings.push(mend(name, "was being removed", repair, action));
            }
            Ok(_) => {}
            Err(error) => findings.push(found(name, &error.to_string(), None)),
        }
    }

    fn check_networks(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for network in self.all_networks()? {
            for endpoint in self.stale_endpoints(&network, None) {
                let subject = format!("{} on network {}", endpoint.container, network.name);
                let action =
                    || self.clear_endpoint(&endpoint).map(|()| "its addresses and names were given back");
                findings.push(mend(&subject, "has an endpoint and does not run", repair, action));
            }
        }
        Ok(())
    }

    fn check_sandboxes(
        &self,
        known: &BTreeSet<String>,
        repair: bool,
        findings: &mut Vec<Finding>,
    ) -> Result<(), Error> {
        for name in names(&self.paths.sandboxes())? {
            if known.contains(&name) {
                continue;
            }
            let path = self.paths.sandboxes().join(&name);
            let watched = name.parse().is_ok_and(|id| self.is_watched(&id));
            if watched {
                findings.push(found(&name, "has a monitor and no record", None));
            } else {
                let action = || crate::disk::remove_tree(&path).map(|()| "it was removed");
                findings.push(mend(&path.to_string_lossy(), "belongs to no container", repair, action));
            }
        }
        Ok(())
    }
}

pub(crate) fn names(directory: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", directory)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(Error::io("read", directory))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn found(subject: &str, problem: &str, repaired: Option<String>) -> Finding {
    Finding { subject: subject.to_owned(), problem: problem.to_owned(), repaired }
}

fn mend(
    subject: &str,
    problem: &str,
    repair: bool,
    action: impl FnOnce() -> Result<&'static str, Error>,
) -> Finding {
    if !repair {
        return found(subject, problem, None);
    }
    match action() {
        Ok(done) => found(subject, problem, Some(done.to_owned())),
        Err(error) => {
            found(subject, &format!("{problem}; mending it failed ({}): {error}", error.kind().name()), None)
        }
    }
}
