//! What is kept of a container from before there is anything of it: `birth.json`, by which `delete --force` finds what a `create` has
//! made that was killed, and what has lost its state.
//!
//! Whoever makes the file has the directory: it is there once, and stays for as long. It is written twice: first with names alone, which may
//! be those of somebody else's cgroup and unit, then with what tells ours from those. Only by the second is anything ever killed.

use std::io;
use std::path::{Path, PathBuf};

use onggi_cgroup::{Cgroup, Plan};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::resctrl::Group;
use super::systemd::Kept;

pub(crate) const NAME: &str = "birth.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Birth {
    pub(crate) id: String,
    pub(crate) oci_version: String,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    /// Without steps: how to find it.
    pub(crate) cgroup: Plan,
    /// The unit whose cgroup it is.
    pub(crate) systemd: Option<Kept>,
    pub(crate) resctrl: Option<Group>,
    /// `None`: nothing has been born yet, and whatever lives under these names is another's.
    #[serde(default)]
    pub(crate) made: Option<Made>,
}

/// What was new, or empty, before anything of the container's was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// [`Cgroup::inodes`].
    cgroup: Vec<Option<u64>>,
    /// Whether systemd has made the unit for this container.
    unit: bool,
}

impl Made {
    pub(crate) fn of(cgroup: &Cgroup, unit: bool) -> Result<Made, Error> {
        Ok(Made { cgroup: cgroup.inodes().map_err(Error::Cgroup)?, unit })
    }

    /// Whether what is there under its name is still that group, or what is left of it.
    fn is(&self, there: &[Option<u64>]) -> bool {
        there.len() == self.cgroup.len()
            && there.iter().zip(&self.cgroup).all(|(there, made)| there.is_none() || there == made)
    }
}

impl Birth {
    /// The same, with what is known once the cgroup is there.
    pub(crate) fn with(self, made: Made) -> Birth {
        Birth { made: Some(made), ..self }
    }

    /// `None`: whoever made the directory had made nothing else yet.
    pub(crate) fn read(directory: &Path) -> Result<Option<Birth>, Error> {
        let path = directory.join(NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io(format!("read {}", path.display()), error))?,
        };
        if bytes.is_empty() {
            return Ok(None);
        }
        let json = |source| Error::Json { path: path.display().to_string(), source };
        serde_json::from_slice(&bytes).map(Some).map_err(json)
    }

    /// Ends whatever lives in its cgroup, and takes all of it away. `false`: what is there under the cgroup's name is not known to be its own, and
    /// stays unless it is empty.
    pub(crate) fn undo(&self) -> Result<bool, Error> {
        let unit = self.systemd.as_ref().filter(|_| self.made.as_ref().is_some_and(|made| made.unit));
        let is_gone = match self.cgroup.open() {
            Ok(cgroup) => {
                let there = cgroup.inodes().map_err(Error::Cgroup)?;
                if self.made.as_ref().is_some_and(|made| made.is(&there)) {
                    cgroup.kill().map_err(Error::Cgroup)?;
                    unit.map_or(Ok(()), Kept::stop)?;
                    cgroup.remove().map_err(Error::Cgroup)?;
                    true
                } else {
                    self.cgroup.remove_if_empty()
                }
            }
            // Not made yet, or gone with its unit, which may still be remembered.
            Err(onggi_cgroup::Error::Missing { .. }) => {
                unit.map_or(Ok(()), Kept::stop)?;
                true
            }
            Err(error) => return Err(Error::Cgroup(error)),
        };
        self.resctrl.as_ref().map_or(Ok(is_gone), |group| group.remove().map(|()| is_gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_the_one_that_was_made_or_what_is_left_of_it() {
        let made = Made { cgroup: vec![Some(7), Some(8), None], unit: false };
        for (there, expected) in [
            (vec![Some(7), Some(8), None], true),
            (vec![None, Some(8), None], true),
            (vec![Some(7), Some(9), None], false),
            (vec![Some(7), Some(8), Some(9)], false),
            (vec![Some(7)], false),
        ] {
            assert_eq!(made.is(&there), expected, "{there:?}");
        }
    }
}
