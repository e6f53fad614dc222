//! The cgroups above a container's own, where `--cgroup-parent` asked for some: those that Onggi made go again when they are empty.
//!
//! A mark under the run root says which were not there before: like cgroups, it is gone after a boot. A lock keeps a removal from
//! taking away what a start is about to use.

use std::fs::File;
use std::path::{Path, PathBuf};

use onggi_image::Digest;

use crate::Engine;
use crate::error::Error;
use crate::paths::make_directory;
use crate::record::Record;
use crate::resolve;

/// Held while parents are made and filled, or removed.
#[derive(Debug)]
pub(crate) struct ParentsLock {
    _file: File,
}

impl Engine {
    /// Marks the parents that are not there yet. The lock is to be held until the container's own cgroup is in them; `None` where nobody
    /// asked for a parent.
    pub(crate) fn mark_parents(&self, record: &Record) -> Result<Option<ParentsLock>, Error> {
        if resolve::cgroup_parent(&record.request).is_none() {
            return Ok(None);
        }
        let lock = self.lock_parents()?;
        let roots = self.cgroup_roots()?;
        // Each hierarchy by itself: somebody may have made a cgroup of that name in one of them.
        for parent in parents(&record.resolved.cgroup) {
            for cgroup in roots.iter().map(|root| root.join(parent)).filter(|cgroup| !cgroup.exists()) {
                let mark = self.parent_mark(&cgroup);
                std::fs::write(&mark, cgroup.as_os_str().as_encoded_bytes())
                    .map_err(Error::io("write", &mark))?;
            }
        }
        Ok(Some(lock))
    }

    /// Removes the parents that Onggi made and that nothing is in any more. What cannot be removed does no harm.
    pub(crate) fn remove_parents(&self, record: &Record) -> Result<(), Error> {
        if resolve::cgroup_parent(&record.request).is_none() {
            return Ok(());
        }
        let _lock = self.lock_parents()?;
        let roots = self.cgroup_roots()?;
        for parent in parents(&record.resolved.cgroup).into_iter().rev() {
            for cgroup in roots.iter().map(|root| root.join(parent)) {
                let mark = self.parent_mark(&cgroup);
                if !mark.exists() {
                    continue;
                }
                // The kernel refuses while there is a process or another cgroup inside.
                let _ = std::fs::remove_dir(&cgroup);
                if !cgroup.exists() {
                    std::fs::remove_file(&mark).map_err(Error::io("remove", mark))?;
                }
            }
        }
        Ok(())
    }

    fn lock_parents(&self) -> Result<ParentsLock, Error> {
        let directory = self.paths.cgroup_parents();
        make_directory(&directory).map_err(Error::io("make the directory", &directory))?;
        Ok(ParentsLock { _file: crate::disk::lock(&directory.join("lock"))? })
    }

    /// A cgroup's path may be longer than a file's name.
    fn parent_mark(&self, cgroup: &Path) -> PathBuf {
        let digest = Digest::of(cgroup.as_os_str().as_encoded_bytes()).to_string();
        self.paths.cgroup_parents().join(digest.replace(':', "-"))
    }

    fn cgroup_roots(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(match self.cgroups()? {
            onggi_cgroup::Layout::V2 { root, .. } => vec![root.clone()],
            onggi_cgroup::Layout::V1 { hierarchies, unified } => {
                hierarchies.iter().map(|hierarchy| hierarchy.root.clone()).chain(unified.clone()).collect()
            }
        })
    }
}

/// What is above a container's cgroup, outermost first, relative to a hierarchy's root.
fn parents(cgroup: &str) -> Vec<&Path> {
    let own = Path::new(cgroup.trim_start_matches('/'));
    let mut parents: Vec<&Path> =
        own.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()).collect();
    parents.reverse();
    parents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_what_is_above() {
        let names =
            |cgroup| parents(cgroup).into_iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(names("/foo/bar/id"), ["foo", "foo/bar"]);
        assert_eq!(names("/id"), Vec::<&str>::new());
    }
}
