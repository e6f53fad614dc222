//! What is kept of a container from before there is anything of it: `birth.json`, by which `delete --force` finds what a `create` has
//! made that was killed, and what has lost its state.
//!
//! Whoever makes the file has the directory: it is there once, and stays for as long.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use onggi_cgroup::Plan;
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
}

impl Birth {
    /// Into the new file of that name: all of it in one write.
    pub(crate) fn write(&self, mut file: &File) -> Result<(), Error> {
        let fail = |error| Error::io(format!("write {NAME}"), error);
        file.write_all(&serde_json::to_vec(self).map_err(|error| fail(error.into()))?).map_err(fail)
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

    /// Ends whatever lives in its cgroup, and takes all of it away.
    pub(crate) fn undo(&self) -> Result<(), Error> {
        match self.cgroup.open() {
            Ok(cgroup) => {
                cgroup.kill().map_err(Error::Cgroup)?;
                self.systemd.as_ref().map_or(Ok(()), Kept::stop)?;
                cgroup.remove().map_err(Error::Cgroup)?;
            }
            // Not made yet, or gone with its unit, which may still be remembered.
            Err(onggi_cgroup::Error::Missing { .. }) => self.systemd.as_ref().map_or(Ok(()), Kept::stop)?,
            Err(error) => return Err(Error::Cgroup(error)),
        }
        self.resctrl.as_ref().map_or(Ok(()), Group::remove)
    }
}
