//! A living cgroup: made by a plan, held by one directory descriptor for each hierarchy.
//!
//! Its life: [`Plan::create`] makes the directories and sets the limits; a process joins (born inside by `clone3` where there is a v2
//! directory, and by [`Cgroup::join_self`] for what is left); [`Cgroup::kill`] ends every process; [`Cgroup::remove`] takes the
//! directories away. Creating is safe to repeat after a crash, and whatever is left over can be opened and removed by name alone.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use onggi_oci::Resources;
use rustix::io::Errno;

use crate::plan::{IfMissing, Plan, Step};
use crate::stats::{Details, Stats};
use crate::{Error, Layout, directory, oom, plan, v2};

mod below;
mod create;
mod end;

pub use below::Subgroup;
use create::apply_all;

/// A group of processes in every hierarchy of the host.
#[derive(Debug)]
pub struct Cgroup {
    layout: Layout,
    path: String,
    /// One for each root of the layout; `None` where the directory is not there (after half a creation or removal).
    directories: Vec<Option<OwnedFd>>,
}

impl Cgroup {
    /// The cgroup of this path, whole or what is left of it.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is in no hierarchy.
    pub fn open(layout: &Layout, path: &str) -> Result<Cgroup, Error> {
        let path = plan::clean_path(path)?;
        let mut directories = Vec::new();
        for root in layout.roots() {
            directories.push(match directory::open(root, &path) {
                Ok(directory) => Some(directory),
                Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => None,
                Err(source) => return Err(Error::OpenDirectory { path: root.join(&path), source }),
            });
        }
        if directories.iter().all(Option::is_none) && !layout.is_none() {
            return Err(Error::Missing { path });
        }
        Ok(Cgroup { layout: layout.clone(), path, directories })
    }

    /// Only the v2 directory of this path, for who starts a program in it; `None` on a v1 host without a v2 tree.
    ///
    /// # Errors
    /// [`Error::Missing`] if it is not there.
    pub fn open_v2_dir(layout: &Layout, path: &str) -> Result<Option<OwnedFd>, Error> {
        let path = plan::parse_path(path)?;
        let Some(name) = layout.unified_index().and_then(|index| layout.roots().get(index).copied()) else {
            return Ok(None);
        };
        let fail = |source| Error::OpenDirectory { path: name.join(&path), source };
        match directory::open_beneath(&directory::open_root(name).map_err(fail)?, &path) {
            Ok(directory) => Ok(Some(directory)),
            Err(error) if error.raw_os_error() == Some(ENOENT) => Err(Error::Missing { path }),
            Err(source) => Err(fail(source)),
        }
    }

    /// Beneath the mount points, without a leading slash.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The v2 directory, on a v2 host and beside v1 alike: give it to `clone3` as `CLONE_INTO_CGROUP` (Linux 5.7). Entering a v2
    /// cgroup in any other way takes a lock over all forks of the machine, up to 14 ms after an idle moment.
    #[must_use]
    pub fn v2_dir(&self) -> Option<BorrowedFd<'_>> {
        self.directory_at(self.layout.unified_index()?).map(AsFd::as_fd)
    }

    /// The directories' inodes, one for each root of the layout. The kernel gives none of them to another group again: by these a group is told
    /// from a later one of the same path.
    ///
    /// # Errors
    /// [`Error::Act`].
    pub fn inodes(&self) -> Result<Vec<Option<u64>>, Error> {
        let inode = |directory: &OwnedFd| rustix::fs::fstat(directory).map(|data| data.st_ino);
        let inodes = self.directories.iter().map(|directory| directory.as_ref().map(inode).transpose());
        let fail = |source: Errno| Error::Act { act: "stat", path: self.path.clone(), source: source.into() };
        inodes.collect::<Result<_, _>>().map_err(fail)
    }

    /// Everything that is held open, for a child that closes all but what it needs.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.directories.iter().flatten().map(AsFd::as_fd)
    }

    /// Moves the calling process, which must have one thread, into the group: in all v1 hierarchies, and in the v2 one unless it was
    /// born there. To be called in the child after `clone3` with [`Cgroup::v2_dir`]; on a v2 host it then does nothing.
    ///
    /// On v1 it writes `0` to `tasks`: a thread that moves only itself skips the lock over all forks (Linux 5.19,
    /// `cgroup_procs_write_start`), see docs/decisions/0006-cgroup-join.md.
    ///
    /// # Errors
    /// [`Error::Write`], with `ENOSPC` if the cpuset is empty, or [`Error::Missing`].
    pub fn join_self(&self) -> Result<(), Error> {
        self.join_self_beside_v2()?;
        match self.layout.unified_index() {
            Some(hierarchy) if !self.is_born_in_v2() => self.join_by(hierarchy, "cgroup.procs", "0"),
            _ => Ok(()),
        }
    }

    /// The same for a process that is known to have been born in [`Cgroup::v2_dir`], if there is one.
    ///
    /// # Errors
    /// As [`Cgroup::join_self`].
    pub fn join_self_beside_v2(&self) -> Result<(), Error> {
        let unified = self.layout.unified_index();
        (0..self.directories.len())
            .filter(|&index| Some(index) != unified)
            .try_for_each(|hierarchy| self.join_by(hierarchy, "tasks", "0"))
    }

    /// The directory whose processes [`Cgroup::freeze`] stops, by its name on this host; `None` without a freezer.
    #[must_use]
    pub fn freezer_path(&self) -> Option<PathBuf> {
        let index = match self.layout {
            Layout::V2 { .. } => 0,
            Layout::V1 { .. } => self.layout.index_of("freezer")?,
        };
        self.directory_at(index).map(|_| PathBuf::from(self.name(index)))
    }

    /// Moves a child of the caller's that has no right to it itself, because it is in a user namespace. `born_in_v2`: it is in the v2
    /// group already. The slow way, under a lock over all forks.
    ///
    /// # Errors
    /// As [`Cgroup::join_self`].
    pub fn join_child(&self, pid: i32, born_in_v2: bool) -> Result<(), Error> {
        let left_out = self.layout.unified_index().filter(|_| born_in_v2);
        (0..self.directories.len())
            .filter(|&hierarchy| Some(hierarchy) != left_out)
            .try_for_each(|hierarchy| self.join_by(hierarchy, "cgroup.procs", &pid.to_string()))
    }

    fn join_by(&self, hierarchy: usize, file: &str, process: &str) -> Result<(), Error> {
        let directory =
            self.directory_at(hierarchy).ok_or_else(|| Error::Missing { path: self.name(hierarchy) })?;
        directory::write(directory, file, process).map_err(|source| Error::Write {
            path: PathBuf::from(self.name(hierarchy)).join(file),
            value: process.into(),
            source,
        })
    }

    /// Whether the caller is in the v2 directory already. Asked of the host's /proc, which the child of a start still sees; if it
    /// cannot be read, joining again is slow but right.
    fn is_born_in_v2(&self) -> bool {
        let Ok(text) = onggi_sys::kernel_file::read_text("/proc/self/cgroup".as_ref()) else { return false };
        let root = self.layout.unified_index().and_then(|index| self.layout.roots().get(index).copied());
        let own = crate::layout::own_group(&text, &str::is_empty);
        own.zip(root).is_some_and(|(own, root)| is_group(root, &self.path, own))
    }

    /// Every process in the group and in groups beneath it, in no order.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn pids(&self) -> Result<Vec<u32>, Error> {
        let Some(directory) = self.main_directory() else { return Ok(Vec::new()) };
        let mut pids = Vec::new();
        collect_pids(directory, &mut pids)
            .map_err(|source| Error::Read { path: self.name(self.main_index()).into(), source })?;
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// How many processes of the group (v2: and of groups beneath it) the kernel has killed for want of memory.
    ///
    /// # Errors
    /// [`Error::Read`] once the group is removed; [`Error::NoController`] without `memory`.
    pub fn oom_kills(&self) -> Result<u64, Error> {
        oom::kills(&self.layout, self.memory()?)
            .map_err(|source| Error::Read { path: self.path.clone().into(), source })
    }

    /// A descriptor that becomes readable whenever memory may have run out (and when the group is removed). Read it empty (up to 4096
    /// bytes, it does not block) and ask [`Cgroup::oom_kills`]; on v1 the event comes just before the kill is counted, so ask again at
    /// the end of the process.
    ///
    /// # Errors
    /// [`Error::NoController`] without `memory`, else what failed.
    pub fn watch_oom(&self) -> Result<OwnedFd, Error> {
        oom::watch(&self.layout, self.memory()?).map_err(|source| Error::Act {
            act: "watch the memory of",
            path: self.path.clone(),
            source,
        })
    }

    /// What the group has used so far. A figure whose controller is missing is zero or `None`.
    ///
    /// # Errors
    /// [`Error::Read`] if a file that is there cannot be read.
    pub fn stats(&self) -> Result<Stats, Error> {
        let directory =
            |controller: &str| self.layout.index_of(controller).and_then(|index| self.directory_at(index));
        let stats = match &self.layout {
            Layout::V2 { .. } => Stats::read_v2(self.v2_directory()),
            Layout::V1 { .. } => Stats::read_v1(directory),
        };
        stats.map_err(|source| Error::Read { path: self.path.clone().into(), source })
    }

    /// The figures beside [`Cgroup::stats`] that few ask for.
    ///
    /// # Errors
    /// [`Error::Read`] if a file that is there cannot be read.
    pub fn details(&self) -> Result<Details, Error> {
        let directory =
            |controller: &str| self.layout.index_of(controller).and_then(|index| self.directory_at(index));
        let details = match &self.layout {
            Layout::V2 { .. } => Details::read_v2(self.v2_directory()),
            Layout::V1 { .. } => Details::read_v1(directory),
        };
        details.map_err(|source| Error::Read { path: self.path.clone().into(), source })
    }

    /// Changes the limits that are given, and leaves the others. All are checked before the first is written; if the kernel refuses
    /// one, those that were written get their values back. They are written in whatever order the kernel takes them.
    ///
    /// # Errors
    /// As [`crate::plan()`]; [`Error::Unsupported`] for devices, which no runtime changes in a living container; [`Error::BelowUsage`]
    /// if `checkBeforeUpdate` asks for it; [`Error::Inconsistent`] if some could not be set back.
    pub fn update(&self, resources: &Resources) -> Result<(), Error> {
        if resources.devices.is_some() {
            let reason = "the device list of a living container does not change";
            return Err(Error::Unsupported { limit: "a new device list".into(), reason });
        }
        let steps = plan::limits(&self.layout, resources)?;
        self.check_usage(resources)?;
        if let Layout::V2 { .. } = self.layout {
            let controllers = v2::controllers_of(&steps);
            let plan = Plan::naming(&self.layout, &self.path);
            v2::enable(&open_roots(&self.layout)?[0], &plan, &controllers)?;
        }
        let before: Vec<_> = steps.iter().map(|step| self.present(step)).collect();
        let apply = |steps: &[&Step]| apply_all(&self.layout, &self.path, &self.directories, steps);
        let Err(error) = apply(&steps.iter().collect::<Vec<_>>()) else { return Ok(()) };
        // Backwards, as the kernel keeps some below others.
        let known: Vec<&Step> = before.iter().rev().flatten().collect();
        if apply(&known).is_err() || known.len() < before.len() {
            return Err(Error::Inconsistent { source: Box::new(error) });
        }
        Err(error)
    }

    /// A step that writes what there is now; `None` for a file that says more than can be written at once, or nothing.
    fn present(&self, step: &Step) -> Option<Step> {
        let Step::Write { hierarchy, file, if_missing, .. } = step else { return None };
        let value = |file: &str| {
            let text = directory::read(self.directory_at(*hierarchy)?, file).ok()?;
            let value = text.trim();
            (!value.is_empty() && !value.contains('\n')).then(|| value.to_owned())
        };
        let instead = match if_missing {
            IfMissing::Instead { file, .. } => Some(file),
            IfMissing::Refuse | IfMissing::Skip => None,
        };
        let (file, value) =
            [Some(file), instead].into_iter().flatten().find_map(|file| Some((file, value(file)?)))?;
        Some(Step::Write { hierarchy: *hierarchy, file: file.clone(), value, if_missing: IfMissing::Skip })
    }

    /// Whether more is in use than is to be allowed, for who wants to know before it is written (`checkBeforeUpdate`).
    ///
    /// # Errors
    /// [`Error::BelowUsage`].
    pub fn check_usage(&self, resources: &Resources) -> Result<(), Error> {
        if let Some(memory) =
            resources.memory.as_ref().filter(|memory| memory.check_before_update == Some(true))
        {
            let usage = self.stats()?.memory.usage;
            for (what, limit) in [("memory+swap", memory.swap), ("memory", memory.limit)] {
                let limit = limit.filter(|&limit| limit > 0);
                if let Some(limit) = limit.filter(|&limit| limit.cast_unsigned() <= usage) {
                    return Err(Error::BelowUsage { what, limit, usage });
                }
            }
        }
        Ok(())
    }

    fn directory_at(&self, hierarchy: usize) -> Option<&OwnedFd> {
        self.directories.get(hierarchy)?.as_ref()
    }

    fn v2_directory(&self) -> Option<&OwnedFd> {
        self.directory_at(self.layout.unified_index()?)
    }

    fn memory(&self) -> Result<&OwnedFd, Error> {
        let missing = || Error::no_controller("counting kills for want of memory", "memory");
        self.layout.index_of("memory").and_then(|index| self.directory_at(index)).ok_or_else(missing)
    }

    /// Where processes are listed: the freezer's on v1, so that what is listed is what is frozen.
    fn main_index(&self) -> usize {
        let preferred = match self.layout {
            Layout::V2 { .. } => Some(0),
            Layout::V1 { .. } => self.layout.index_of("freezer"),
        };
        preferred
            .filter(|&index| self.directory_at(index).is_some())
            .or_else(|| self.directories.iter().position(Option::is_some))
            .unwrap_or(0)
    }

    fn main_directory(&self) -> Option<&OwnedFd> {
        self.directory_at(self.main_index())
    }

    fn name(&self, hierarchy: usize) -> String {
        self.layout
            .roots()
            .get(hierarchy)
            .map_or_else(String::new, |root| root.join(&self.path).display().to_string())
    }
}

const ENOENT: i32 = Errno::NOENT.raw_os_error();
const EOPNOTSUPP: i32 = Errno::OPNOTSUPP.raw_os_error();
const ENODEV: i32 = Errno::NODEV.raw_os_error();

/// Whether `own`, from `/proc/PID/cgroup`, is the group of this path below `root`. A root may be a group itself, which that file then names as
/// well, and the mount point is not known: the whole of `own` has to be the end of both, and must not be the root's own.
fn is_group(root: &Path, path: &str, own: &str) -> bool {
    let own = Path::new(own);
    own.ends_with(path) && root.join(path).ends_with(own) && !root.ends_with(own)
}

fn open_roots(layout: &Layout) -> Result<Vec<OwnedFd>, Error> {
    let open = |path: &std::path::Path| {
        directory::open_root(path).map_err(|source| Error::OpenDirectory { path: path.into(), source })
    };
    layout.roots().into_iter().map(open).collect()
}

fn read_pids(directory: &OwnedFd) -> io::Result<Vec<u32>> {
    // ENODEV: the group is gone. EOPNOTSUPP: a threaded v2 group, whose processes its parent lists.
    let text = match directory::read(directory, "cgroup.procs") {
        Err(error) if matches!(error.raw_os_error(), Some(ENODEV | ENOENT | EOPNOTSUPP)) => {
            return Ok(Vec::new());
        }
        other => other?,
    };
    // 0 is a process outside our pid namespace.
    Ok(text.lines().filter_map(|line| line.parse().ok()).filter(|&pid| pid != 0).collect())
}

fn collect_pids(directory: &OwnedFd, pids: &mut Vec<u32>) -> io::Result<()> {
    pids.extend(read_pids(directory)?);
    for name in children(directory)? {
        match directory::open_beneath(directory, &name) {
            Ok(child) => collect_pids(&child, pids)?,
            // Removed since it was listed.
            Err(error) if error.raw_os_error() == Some(ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn children(directory: &OwnedFd) -> io::Result<Vec<String>> {
    match directory::children(directory) {
        Err(error) if matches!(error.raw_os_error(), Some(ENODEV | ENOENT)) => Ok(Vec::new()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_below_any_root() {
        for (root, path, own, expected) in [
            ("/sys/fs/cgroup", "a/b", "a/b", true),
            ("/sys/fs/cgroup", "a/b", "b", false),
            ("/sys/fs/cgroup", "a/b", "x/a/b", false),
            ("/sys/fs/cgroup", "a", "", false),
            ("/sys/fs/cgroup/job", "a/b", "job/a/b", true),
            ("/sys/fs/cgroup/job", "a/b", "job", false),
            // Named like its parent: the caller's own group is not it.
            ("/sys/fs/cgroup/a", "a", "a", false),
            ("/sys/fs/cgroup/a", "a", "a/a", true),
        ] {
            assert_eq!(is_group(Path::new(root), path, own), expected, "{root} {path} {own}");
        }
    }
}
