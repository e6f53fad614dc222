//! Whether the records of volumes and networks can be read: what `system check` asks of them, and what it does with those that cannot.
//!
//! A volume's data is nobody's but the user's: it stays where it is, and gets a new record, without the labels. A network is nothing but its record: it is set
//! aside, and the default one is made again by its next use.

use onggi_error::{Diagnose, Kind};

use crate::Engine;
use crate::check::{Finding, mend, names};
use crate::error::Error;
use crate::networks;

impl Engine {
    /// Looks at each. With `repair` a damaged one is mended.
    ///
    /// # Errors
    /// The directories cannot be listed.
    pub(crate) fn check_sealed(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for name in names(&self.paths.volumes())? {
            if let Some(problem) = self.volume_fault(&name) {
                let action = || self.mend_volume(&name);
                findings.push(mend(&format!("volume {name}"), &problem, repair, action));
            }
        }
        for name in names(&self.paths.networks())? {
            if let Some(problem) = self.network_fault(&name) {
                let action = || self.set_network_aside(&name);
                findings.push(mend(&format!("network {name}"), &problem, repair, action));
            }
        }
        Ok(())
    }

    /// A volume that a container with `--rm` made for itself may have lost a record that was never synced: empty and unused it is none.
    fn volume_fault(&self, name: &str) -> Option<String> {
        let anonymous = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_one = || !anonymous || self.is_volume_wanted(name);
        match self.volume(name) {
            Err(error) if error.kind() == Kind::Corrupt => Some(error.to_string()),
            Err(Error::NoSuchVolume { .. }) if self.paths.volume(name).is_dir() && is_one() => {
                Some("has no record".to_owned())
            }
            _ => None,
        }
    }

    fn network_fault(&self, name: &str) -> Option<String> {
        match self.read_network(name) {
            Err(error) if error.kind() == Kind::Corrupt => Some(error.to_string()),
            Ok(None) => {
                // Whoever makes or removes one does so under this lock.
                let _lock = self.lock_networks().ok()?;
                let gone = !self.paths.networks().join(name).exists();
                let there = gone || self.read_network(name).is_ok_and(|network| network.is_some());
                (!there).then(|| "has no record".to_owned())
            }
            _ => None,
        }
    }

    fn set_network_aside(&self, name: &str) -> Result<String, Error> {
        let _lock = self.lock_networks()?;
        let place = self.store.set_aside(&self.paths.networks().join(name))?;
        let then =
            if name == networks::DEFAULT { "it is made again by its next use" } else { "create it again" };
        Ok(format!("it is now {}: {then}", place.display()))
    }
}
