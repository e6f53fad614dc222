//! Groups that a container has made below its own, for a process that is to join one of those.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Cgroup;
use crate::{Error, directory};

/// A path below a container's own cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subgroup {
    /// A version 1 controller; `None` is every hierarchy.
    pub controller: Option<String>,
    /// `/` is the container's own.
    pub path: String,
}

impl Cgroup {
    /// This group with other directories in the place of its own: what joins it joins those.
    ///
    /// # Errors
    /// [`Error::BadSubgroup`] for a path that leads out, [`Error::UnknownController`], and [`Error::JoinBelow`] if one is not there.
    pub fn below(mut self, subgroups: &[Subgroup]) -> Result<Cgroup, Error> {
        for Subgroup { controller, path } in subgroups {
            let inside = inside(path)?;
            let indices = match controller {
                None => 0..self.directories.len(),
                Some(name) => {
                    let index = self.layout.index_of(name).filter(|_| !self.layout.is_version_2());
                    let index = index.ok_or_else(|| Error::UnknownController { name: name.clone() })?;
                    index..index + 1
                }
            };
            for index in indices.filter(|_| !inside.is_empty()) {
                let fail =
                    |source| Error::JoinBelow { path: Path::new(&self.name(index)).join(&inside), source };
                let own = self.directories[index].as_ref();
                let own = own.ok_or_else(|| Error::Missing { path: self.name(index) })?;
                let opened = directory::open_beneath(own, &inside).map_err(fail)?;
                self.directories[index] = Some(opened);
            }
        }
        Ok(self)
    }
}

/// The path without slashes at its ends and dots; empty for the group itself.
fn inside(path: &str) -> Result<String, Error> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") || path.contains('\0') {
        return Err(Error::BadSubgroup { path: path.to_owned() });
    }
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hierarchy, Layout};

    #[test]
    fn paths_stay_below() {
        assert_eq!(inside("/").unwrap(), "");
        assert_eq!(inside("a//./b/").unwrap(), "a/b");
        for path in ["..", "a/..", "/a/../../b", "a\0b"] {
            assert!(matches!(inside(path), Err(Error::BadSubgroup { .. })), "{path:?}");
        }
    }

    #[test]
    fn each_controller_has_its_own() {
        let tree = tempfile::tempdir().unwrap();
        let hierarchy =
            |name: &str| Hierarchy { controllers: vec![name.into()], root: tree.path().join(name) };
        for path in ["cpu/jar/fast", "memory/jar"] {
            std::fs::create_dir_all(tree.path().join(path)).unwrap();
        }
        let layout = Layout::V1 { hierarchies: vec![hierarchy("cpu"), hierarchy("memory")], unified: None };
        let below = |controller: Option<&str>, path: &str| {
            let subgroup = Subgroup { controller: controller.map(str::to_owned), path: path.into() };
            Cgroup::open(&layout, "jar").unwrap().below(&[subgroup])
        };
        assert!(below(Some("cpu"), "fast").is_ok());
        assert!(below(None, "/").is_ok());
        assert!(matches!(below(None, "fast"), Err(Error::JoinBelow { .. })), "memory has none");
        assert!(matches!(below(Some("pids"), "fast"), Err(Error::UnknownController { .. })));
    }
}
