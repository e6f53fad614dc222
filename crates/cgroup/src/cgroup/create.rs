//! Making a cgroup by its plan: the directories, then each limit.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;

use super::{Cgroup, ENOENT, collect_pids};
use crate::plan::{IfMissing, Plan, Step};
use crate::{Error, Layout, directory, v1, v2};

impl Plan {
    /// Does every step. What was made stays if one fails: the caller removes it by [`Plan::open`], as after a crash; but not after
    /// an error that [is of another](Error::is_of_another).
    ///
    /// # Errors
    /// The step that failed; [`Error::NotEmpty`] if processes live in a cgroup of this name already.
    pub fn create(&self) -> Result<Cgroup, Error> {
        self.create_as(false)
    }

    /// As [`Plan::create`], for a group that many share: processes may live in it already, and another may be making it just now.
    ///
    /// # Errors
    /// As [`Plan::create`], but never [`Error::NotEmpty`].
    pub fn ensure(&self) -> Result<Cgroup, Error> {
        self.create_as(true)
    }

    fn create_as(&self, shared: bool) -> Result<Cgroup, Error> {
        let roots = self.layout.roots();
        let open = |root: &Path| {
            directory::open_root(root).map_err(|source| Error::OpenDirectory { path: root.into(), source })
        };
        let mut directories: Vec<Option<OwnedFd>> = roots.iter().map(|_| None).collect();
        let mut limits = Vec::new();
        let mut made: Vec<usize> = Vec::new();
        for step in &self.steps {
            match step {
                Step::EnableControllers { controllers, wanted } => {
                    v2::enable_with(&open(roots[0])?, self, controllers, wanted)?;
                }
                Step::MakeDirectory { hierarchy } => {
                    let root = roots.get(*hierarchy).ok_or_else(|| self.misfit())?;
                    let (directory, new) = match self.make(root, *hierarchy, shared) {
                        // Somebody else's: of this one nobody may take anything away but what was made here.
                        Err(error) if error.is_of_another() => {
                            for &made in &made {
                                let _ = directory::remove(CWD, roots[made].join(&self.path));
                            }
                            return Err(error);
                        }
                        other => other?,
                    };
                    directories[*hierarchy] = Some(directory);
                    made.extend(new.then_some(*hierarchy));
                    onggi_sys::fault::point("cgroup.create.made");
                }
                Step::InheritCpuset { hierarchy } => {
                    let root = roots.get(*hierarchy).ok_or_else(|| self.misfit())?;
                    v1::inherit(&open(root)?, &self.path).map_err(|source| Error::Act {
                        act: "inherit the processors and memory nodes of",
                        path: self.directory(*hierarchy).display().to_string(),
                        source,
                    })?;
                }
                other => limits.push(other),
            }
        }
        apply_all(&self.layout, &self.path, &directories, &limits)?;
        onggi_sys::fault::point("cgroup.create.limited");
        Ok(Cgroup { layout: self.layout.clone(), path: self.path.clone(), directories })
    }

    /// The cgroup that an earlier [`Plan::create`] made, whole or not.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is in no hierarchy.
    pub fn open(&self) -> Result<Cgroup, Error> {
        Cgroup::open(&self.layout, &self.path)
    }

    /// And whether it is new.
    fn make(&self, root: &Path, hierarchy: usize, shared: bool) -> Result<(OwnedFd, bool), Error> {
        let path = || self.directory(hierarchy);
        let (opened, new) = directory::make_at(root, &self.path)
            .map_err(|source| Error::MakeDirectory { path: path(), source })?;
        // An empty one of this name is what a crash left between making it and starting the process.
        if !new && !shared {
            // One with groups of others below is theirs as well: what ends the container ends all of it.
            let mut pids = Vec::new();
            collect_pids(&opened, &mut pids).map_err(|source| Error::Unseen { path: path(), source })?;
            pids.retain(|&pid| Some(pid) != self.keeper);
            if !pids.is_empty() {
                return Err(Error::NotEmpty { path: path().display().to_string(), count: pids.len() });
            }
            if is_frozen(&opened) {
                return Err(Error::Frozen { path: path().display().to_string() });
            }
        }
        Ok((opened, new))
    }

    /// A plan that was edited, or made for another host.
    fn misfit(&self) -> Error {
        Error::BadPath {
            path: self.path.clone(),
            reason: "the plan names a hierarchy that its layout does not have",
        }
    }
}

/// Of either version; a hierarchy without a freezer has neither file.
fn is_frozen(group: &OwnedFd) -> bool {
    let says = |file: &str, words: &[&str]| {
        directory::read(group, file).is_ok_and(|text| words.contains(&text.trim()))
    };
    says("cgroup.freeze", &["1"]) || says("freezer.state", &["FROZEN", "FREEZING"])
}

/// All limits. Some depend on one another, and on those of the group above: a quota on its period, memory on memory with swap, real time
/// on its period. In which order they can be changed follows from what is there. So what the kernel refuses as impossible (EINVAL) is
/// tried again once the others are written, for as long as that brings anything further.
pub(super) fn apply_all(
    layout: &Layout,
    path: &str,
    directories: &[Option<OwnedFd>],
    steps: &[&Step],
) -> Result<(), Error> {
    let mut pending = steps.to_vec();
    loop {
        let before = pending.len();
        let mut refused = None;
        let mut rest = Vec::new();
        for step in pending {
            match apply(layout, path, directories, step) {
                Ok(()) => {}
                Err(error @ Error::Write { .. }) if is_impossible(&error) => {
                    refused.get_or_insert(error);
                    rest.push(step);
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            None => return Ok(()),
            Some(error) if rest.len() == before => return Err(error),
            Some(_) => pending = rest,
        }
    }
}

fn is_impossible(error: &Error) -> bool {
    matches!(error, Error::Write { source, .. } if source.raw_os_error() == Some(Errno::INVAL.raw_os_error()))
}

/// One limit.
fn apply(layout: &Layout, path: &str, directories: &[Option<OwnedFd>], step: &Step) -> Result<(), Error> {
    let at = |hierarchy: usize| {
        directories
            .get(hierarchy)
            .and_then(Option::as_ref)
            .ok_or_else(|| Error::Missing { path: path.into() })
    };
    let full = |hierarchy: usize, file: &str| layout.roots()[hierarchy].join(path).join(file);
    let write = |hierarchy: usize, file: &str, value: &str| {
        directory::write(at(hierarchy)?, file, value).map_err(|source| match source.raw_os_error() {
            Some(ENOENT) => Error::NoFile { file: file.into(), value: value.into() },
            _ => Error::Write { path: full(hierarchy, file), value: value.into(), source },
        })
    };
    match step {
        Step::Write { hierarchy, file, value, if_missing } => {
            match (write(*hierarchy, file, value), if_missing) {
                (Err(Error::NoFile { .. }), IfMissing::Skip) => Ok(()),
                (Err(Error::NoFile { .. }), IfMissing::Instead { file, value }) => {
                    write(*hierarchy, file, value)
                }
                (result, _) => result,
            }
        }
        Step::DeviceList { hierarchy, allow_by_default, exceptions } => {
            let (all, each) = if *allow_by_default {
                ("devices.allow", "devices.deny")
            } else {
                ("devices.deny", "devices.allow")
            };
            write(*hierarchy, all, "a")?;
            let fail = |value: &str, source| Error::Write {
                path: full(*hierarchy, each),
                value: value.into(),
                source,
            };
            let file = directory::open_write(at(*hierarchy)?, each).map_err(|source| fail("", source))?;
            exceptions
                .iter()
                .try_for_each(|line| directory::write_open(&file, line).map_err(|source| fail(line, source)))
        }
        Step::DeviceProgram { rules } => v2::devices::attach(at(0)?, path, rules),
        Step::Delegate { owner } => v2::delegate::give(at(0)?, *owner).map_err(|source| Error::Act {
            act: "change the owner of",
            path: layout.roots()[0].join(path).display().to_string(),
            source,
        }),
        Step::EnableControllers { .. } | Step::MakeDirectory { .. } | Step::InheritCpuset { .. } => {
            Err(Error::BadPath { path: path.into(), reason: "a step that makes the group is out of place" })
        }
    }
}
