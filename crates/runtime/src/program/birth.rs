//! What is kept of a container from before there is anything of it: `birth.json`, by which `delete --force` finds what a `create` has
//! made that was killed, and what has lost its state.
//!
//! Whoever makes the file has the directory: it is there once, and stays for as long. It has two lines, through one descriptor: first names
//! alone, which may be those of somebody else's cgroup and unit, then what tells ours from those. Only by the second is anything ever killed.
//! One that was cut short counts for none: what it is about comes after it.

use std::fs::File;
use std::io::{self, Write as _};
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
}

/// Both lines.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) birth: Birth,
    /// `None`: nothing has been born yet, and whatever lives under these names is another's.
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

/// Writes a line, behind those that are there.
pub(crate) fn write(mut file: &File, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

impl Known {
    /// `None`: whoever made the directory had made nothing else yet.
    pub(crate) fn read(directory: &Path) -> Result<Option<Known>, Error> {
        let path = directory.join(NAME);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io(format!("read {}", path.display()), error))?,
        };
        let json = |source| Error::Json { path: path.display().to_string(), source };
        let mut whole = bytes.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let Some(birth) = whole.next() else { return Ok(None) };
        let made = whole.next().map(serde_json::from_slice).transpose().map_err(json)?;
        Ok(Some(Known { birth: serde_json::from_slice(birth).map_err(json)?, made }))
    }

    /// Ends whatever lives in its cgroup, and takes all of it away. `false`: what is there under the cgroup's name is not known to be its own, and
    /// stays unless it is empty.
    pub(crate) fn undo(&self) -> Result<bool, Error> {
        let Birth { cgroup: named, systemd, resctrl, .. } = &self.birth;
        let unit = systemd.as_ref().filter(|_| self.made.as_ref().is_some_and(|made| made.unit));
        let is_gone = match named.open() {
            Ok(cgroup) => {
                let there = cgroup.inodes().map_err(Error::Cgroup)?;
                if self.made.as_ref().is_some_and(|made| made.is(&there)) {
                    cgroup.kill().map_err(Error::Cgroup)?;
                    unit.map_or(Ok(()), Kept::stop)?;
                    cgroup.remove().map_err(Error::Cgroup)?;
                    true
                } else {
                    named.remove_if_empty()
                }
            }
            // Not made yet, or gone with its unit, which may still be remembered.
            Err(onggi_cgroup::Error::Missing { .. }) => {
                unit.map_or(Ok(()), Kept::stop)?;
                true
            }
            Err(error) => return Err(Error::Cgroup(error)),
        };
        resctrl.as_ref().map_or(Ok(is_gone), |group| group.remove().map(|()| is_gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_counts_for_none() {
        let directory = tempfile::tempdir().unwrap();
        let birth = Birth {
            id: "jar".into(),
            oci_version: String::new(),
            created: String::new(),
            bundle: PathBuf::new(),
            rootfs: PathBuf::new(),
            cgroup: Plan::naming(&onggi_cgroup::Layout::none(), "/jar"),
            systemd: None,
            resctrl: None,
        };
        let path = directory.path().join(NAME);
        let file = File::create(&path).unwrap();
        write(&file, &birth).unwrap();
        let first = std::fs::metadata(&path).unwrap().len() as usize;
        write(&file, &Made { cgroup: vec![Some(7)], unit: true }).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let known = Known::read(directory.path()).unwrap();
            assert_eq!(known.is_some(), length >= first, "{length}");
            assert_eq!(known.is_some_and(|known| known.made.is_some()), length == whole.len(), "{length}");
        }
        std::fs::write(&path, "{}\n").unwrap();
        assert!(matches!(Known::read(directory.path()), Err(Error::Json { .. })));
    }

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
