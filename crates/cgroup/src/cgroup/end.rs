//! The end of what is in a cgroup, and of the cgroup: stopping, killing, removing.
//!
//! v2 has a file for each; v1 has them done process by process, with the freezer's help.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::{Cgroup, ENOENT, EOPNOTSUPP, children, collect_pids, open_roots};
use crate::plan::Plan;
use crate::{Error, Layout, directory, v1, v2};

/// How long to wait for processes to stop or die. A process in an uninterruptible sleep (a dead network disk) can make it longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `cgroup.freeze` and `freezer.state` say.
fn says_frozen(text: &str) -> bool {
    matches!(text.trim(), "1" | "FROZEN" | "FREEZING")
}

impl Plan {
    /// As [`Cgroup::is_frozen`], by the one file that says so, where nothing else of the group is wanted. One that is not there is not
    /// frozen.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let (hierarchy, file) = match &self.layout {
            Layout::V2 { .. } => (self.layout.unified_index(), "cgroup.freeze"),
            Layout::V1 { .. } => (self.layout.index_of("freezer"), "freezer.state"),
        };
        let roots = self.layout.roots();
        let Some(root) = hierarchy.and_then(|hierarchy| roots.get(hierarchy)) else { return Ok(false) };
        let path = root.join(&self.path).join(file);
        match onggi_sys::kernel_file::read_text(&path) {
            Ok(text) => Ok(says_frozen(&text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// Removes the group if nothing lives in it, as after most containers' ends: without a look into it, at a call for each hierarchy.
    /// `false`: something is left, and [`Cgroup::kill`] and [`Cgroup::remove`] are needed.
    #[must_use]
    pub fn remove_if_empty(&self) -> bool {
        // First those by which what is left could be stopped and killed, while they are there.
        let first = [self.layout.unified_index(), self.layout.index_of("freezer")];
        let roots = self.layout.roots();
        let others = (0..roots.len()).filter(|index| !first.contains(&Some(*index)));
        first.into_iter().flatten().chain(others).all(|hierarchy| {
            matches!(directory::remove(CWD, roots[hierarchy].join(&self.path)), Ok(()) | Err(Errno::NOENT))
        })
    }
}

impl Cgroup {
    /// Kills every process in the group and beneath, and returns when none is left.
    ///
    /// # Errors
    /// [`Error::TimedOut`] if some are left after ten seconds (in an uninterruptible sleep), else what failed.
    pub fn kill(&self) -> Result<(), Error> {
        let fail = |source| Error::Act { act: "kill the processes of", path: self.path.clone(), source };
        let end = Instant::now() + PATIENCE;
        let killed = match self.v2_directory() {
            Some(unified) => match v2::freezer::kill(unified) {
                Ok(()) => true,
                // ENOENT: before Linux 5.14. EOPNOTSUPP: a threaded group.
                Err(error) if matches!(error.raw_os_error(), Some(ENOENT | EOPNOTSUPP)) => false,
                Err(error) => return Err(fail(error)),
            },
            None => false,
        };
        if let (true, Layout::V2 { .. }, Some(unified)) = (killed, &self.layout, self.v2_directory()) {
            return match v2::freezer::wait_empty(unified, PATIENCE).map_err(fail)? {
                true => Ok(()),
                false => Err(self.timed_out("kill the processes of")),
            };
        }
        if let (true, Some(freezer)) = (killed, self.freezer()) {
            // What v1's freezer holds cannot die.
            v1::freezer::freeze(freezer, false, PATIENCE).map_err(fail)?;
        }
        // Beside v1 the v2 tree may not hold every process: one may have been moved in one hierarchy only.
        loop {
            let pids = self.all_pids()?;
            if pids.is_empty() {
                return Ok(());
            }
            let frozen = match self.freezer() {
                Some(freezer) => {
                    v1::freezer::freeze(freezer, true, Duration::from_millis(200)).unwrap_or(false)
                }
                None => false,
            };
            // Asked again, now that nobody forks.
            let pids = if frozen { self.all_pids()? } else { pids };
            let killed = v1::freezer::kill_each(&pids).map_err(fail);
            if let Some(freezer) = self.freezer() {
                // Even if killing failed: what is frozen cannot die.
                v1::freezer::freeze(freezer, false, PATIENCE).map_err(fail)?;
            }
            if !v1::freezer::wait_each(&killed?, end).map_err(fail)? || Instant::now() > end {
                return Err(self.timed_out("kill the processes of"));
            }
        }
    }

    /// Whether [`Cgroup::freeze`] has stopped it, or is about to.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let (directory, file) = match &self.layout {
            Layout::V2 { .. } => (self.v2_directory(), "cgroup.freeze"),
            Layout::V1 { .. } => (self.freezer(), "freezer.state"),
        };
        let Some(directory) = directory else { return Ok(false) };
        let text =
            directory::read(directory, file).map_err(|source| Error::Read { path: file.into(), source })?;
        Ok(says_frozen(&text))
    }

    /// Stops every process in the group where it stands, or lets them go on; returns when it is so.
    ///
    /// # Errors
    /// [`Error::NoController`] on v1 without `freezer`; [`Error::TimedOut`] if a process does not stop within ten seconds: it is let
    /// go again.
    pub fn freeze(&self, frozen: bool) -> Result<(), Error> {
        let act = if frozen { "freeze" } else { "thaw" };
        let fail = |source| Error::Act { act, path: self.path.clone(), source };
        let set = |frozen: bool| match (&self.layout, self.v2_directory(), self.freezer()) {
            (Layout::V2 { .. }, Some(unified), _) => {
                v2::freezer::freeze(unified, frozen, PATIENCE).map_err(fail)
            }
            (Layout::V1 { .. }, _, Some(freezer)) => {
                v1::freezer::freeze(freezer, frozen, PATIENCE).map_err(fail)
            }
            _ => Err(Error::no_controller("freezing", "freezer")),
        };
        if set(frozen)? {
            return Ok(());
        }
        if frozen {
            set(false)?;
        }
        Err(self.timed_out(act))
    }

    /// Removes the directories in all hierarchies, and the groups that the container made beneath. Goes on after a failure.
    ///
    /// # Errors
    /// [`Error::Remove`] with everything that could not be removed: processes still live there.
    pub fn remove(self) -> Result<(), Error> {
        let end = Instant::now() + PATIENCE;
        let mut failures = Vec::new();
        let roots = open_roots(&self.layout)?;
        for (hierarchy, root) in roots.iter().enumerate() {
            let Some(directory) = self.directory_at(hierarchy) else { continue };
            if let Err(error) = self.remove_one(root, directory, hierarchy, end) {
                failures.push(format!("{}: {error}", self.name(hierarchy)));
            }
            onggi_sys::fault::point("cgroup.remove.one");
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(Error::Remove { path: self.path.clone(), failures: failures.join("; ") })
    }

    /// A process counts as inside until the kernel has finished with it, a moment after its parent was told: EBUSY is waited out.
    fn remove_one(
        &self,
        root: &OwnedFd,
        directory: &OwnedFd,
        hierarchy: usize,
        end: Instant,
    ) -> io::Result<()> {
        let mut pause = Duration::from_micros(100);
        loop {
            match directory::remove(root, &self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) => {}
                Err(error) => return Err(error.into()),
            }
            remove_children(directory)?;
            let left = end.saturating_duration_since(Instant::now());
            if self.layout.unified_index() == Some(hierarchy) {
                if !v2::freezer::wait_empty(directory, left)? {
                    return Err(Errno::BUSY.into());
                }
            } else {
                let mut pids = Vec::new();
                collect_pids(directory, &mut pids)?;
                if !v1::freezer::wait_each(&v1::freezer::pin(&pids)?, end)? {
                    return Err(Errno::BUSY.into());
                }
            }
            // Nobody is listed, and still EBUSY: the last task is between its end and its release. There is no event for that.
            match directory::remove(root, &self.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) if Instant::now() < end => std::thread::sleep(pause),
                Err(error) => return Err(error.into()),
            }
            pause = (pause * 2).min(Duration::from_millis(10));
        }
    }

    fn freezer(&self) -> Option<&OwnedFd> {
        match self.layout {
            Layout::V1 { .. } => self.directory_at(self.layout.index_of("freezer")?),
            Layout::V2 { .. } => None,
        }
    }

    /// Those of every hierarchy, for the killing.
    fn all_pids(&self) -> Result<Vec<u32>, Error> {
        let mut pids = Vec::new();
        for (hierarchy, directory) in self.directories.iter().enumerate() {
            if let Some(directory) = directory {
                collect_pids(directory, &mut pids)
                    .map_err(|source| Error::Read { path: self.name(hierarchy).into(), source })?;
            }
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    fn timed_out(&self, act: &'static str) -> Error {
        Error::TimedOut { act, path: self.path.clone(), seconds: PATIENCE.as_secs() }
    }
}

fn remove_children(directory: &OwnedFd) -> io::Result<()> {
    for name in children(directory)? {
        if let Ok(child) = directory::open_beneath(directory, &name) {
            remove_children(&child)?;
        }
        match directory::remove(directory, &name) {
            // Busy: the caller waits, and comes again.
            Ok(()) | Err(Errno::NOENT | Errno::BUSY) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
