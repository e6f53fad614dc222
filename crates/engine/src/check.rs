//! Whether records, index, live files and kernel objects agree: what `system check` and `doctor` ask of the engine.
//!
//! The store checks images, layers and its own index; this file the containers. What it finds is what a command left that was
//! killed or lost its power; each finding says what would mend it, and with `repair` it is mended.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use onggi_error::{Diagnose, Kind};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::paths::LOCK;
use crate::request::RemoveOptions;
use crate::state::Status;

/// Something that [`Engine::check`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about: a container's id, a path.
    pub subject: String,
    pub problem: String,
    /// What was done about it, or `None` when nothing could be or was asked for.
    pub repaired: Option<String>,
}

/// What can be wrong with one container.
enum Problem {
    /// Its creation was cut short.
    NoRecord,
    BadRecord(Error),
    NoRow,
    Unwatched,
    WaitingState,
    Removing,
    BadState(Error),
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
            self.check_container(&id, repair, &mut findings);
        }
        for id in rows.difference(&known).filter(|id| self.is_forgotten(id)) {
            let action = || self.clear_unborn(id).map(|_| "the row was removed".to_owned());
            findings.push(mend(id, "is in the index and has no record", repair, action));
        }
        self.check_sandboxes(repair, &mut findings)?;
        // Networks are looked at by their records, which must be readable for that.
        self.check_sealed(repair, &mut findings)?;
        self.check_networks(repair, &mut findings)?;
        Ok(findings)
    }

    /// Looks a second time before anything is said: the first look may have met somebody at work.
    fn check_container(&self, id: &ContainerId, repair: bool, findings: &mut Vec<Finding>) {
        if self.problems(id).is_empty() {
            return;
        }
        let problems = match self.try_lock(id) {
            // Somebody makes, starts or removes it right now.
            Ok(None) => return,
            Ok(Some(_lock)) => self.problems(id),
            // Gone, or without even a lock.
            Err(_) => self.problems(id),
        };
        for problem in problems {
            findings.push(self.mend(id, problem, repair));
        }
    }

    fn problems(&self, id: &ContainerId) -> Vec<Problem> {
        let mut problems = Vec::new();
        match self.record(id) {
            Ok(_) => {}
            Err(Error::NoSuchContainer { .. }) if !self.paths.container(id).exists() => return problems,
            Err(Error::NoSuchContainer { .. }) => return vec![Problem::NoRecord],
            Err(error) => return vec![Problem::BadRecord(error)],
        }
        if self.store.containers_by_prefix(id.as_str()).is_ok_and(|rows| rows.is_empty()) {
            problems.push(Problem::NoRow);
        }
        // First the monitor: the state that it leaves when it goes is its last.
        let watched = self.is_watched(id);
        match self.written_state(id) {
            Ok(state) if status(&state).is_live() && !watched => problems.push(Problem::Unwatched),
            Ok(_) if !watched && self.waiting_state(id).is_some() => problems.push(Problem::WaitingState),
            Ok(state) if status(&state) == Status::Removing => problems.push(Problem::Removing),
            Ok(_) | Err(Error::NoSuchContainer { .. }) => {}
            Err(error) => problems.push(Problem::BadState(error)),
        }
        problems
    }

    fn mend(&self, id: &ContainerId, problem: Problem, repair: bool) -> Finding {
        let name = id.as_str();
        let aside = |place: Option<PathBuf>| match place {
            Some(place) => format!("it is now {}", place.display()),
            None => "it is right again".to_owned(),
        };
        match problem {
            Problem::NoRecord => {
                let action = || self.clear_unborn(name).map(|_| "what was left was removed".to_owned());
                mend(name, "has no record: its creation was cut short", repair, action)
            }
            Problem::NoRow => {
                let action = || {
                    self.record(id)
                        .and_then(|record| self.put_back(&record))
                        .map(|()| "it was put back".to_owned())
                };
                mend(name, "is not in the index", repair, action)
            }
            Problem::Unwatched => {
                let action = || self.reconcile(id).map(|_| "its state was brought up to date".to_owned());
                mend(name, "is said to run and has no monitor", repair, action)
            }
            Problem::WaitingState => {
                let action = || self.reconcile(id).map(|_| "its state was written".to_owned());
                mend(name, "has a state that a full disk did not take", repair, action)
            }
            Problem::Removing => {
                let options = RemoveOptions { force: true, volumes: false };
                let action = || self.remove(id, &options).map(|()| "it was removed".to_owned());
                mend(name, "was being removed", repair, action)
            }
            // What a newer program has written is not damaged.
            Problem::BadRecord(error) | Problem::BadState(error) if error.kind() != Kind::Corrupt => {
                found(name, &error.to_string(), None)
            }
            Problem::BadRecord(error) => {
                let action = || self.remove_damaged(id, true).map(aside);
                mend(name, &error.to_string(), repair, action)
            }
            Problem::BadState(error) => {
                let action = || self.mend_state(id).map(aside);
                mend(name, &error.to_string(), repair, action)
            }
        }
    }

    /// Whether a row's container is gone, after whoever may be removing it right now has done so.
    fn is_forgotten(&self, id: &str) -> bool {
        // It moves the directory away, and holds its lock until the row is gone as well.
        let prefix = format!("container-{id}.");
        let moved = names(&self.paths.temporary()).unwrap_or_default();
        for name in moved.iter().filter(|name| name.starts_with(&prefix)) {
            let lock = self.paths.temporary().join(name).join(LOCK);
            if let Ok(lock) = std::fs::File::options().write(true).open(lock) {
                let _ = onggi_sys::ofd::lock(lock.as_fd());
            }
        }
        let directory = self.paths.containers().join(id);
        !directory.exists() && self.store.containers_by_prefix(id).is_ok_and(|rows| !rows.is_empty())
    }

    fn check_sandboxes(&self, repair: bool, findings: &mut Vec<Finding>) -> Result<(), Error> {
        for name in names(&self.paths.sandboxes())? {
            let path = self.paths.sandboxes().join(&name);
            let Ok(id) = name.parse::<ContainerId>() else {
                findings.push(found(&path.to_string_lossy(), "is none of Onggi's", None));
                continue;
            };
            // A container's directory is there before its sandbox.
            if self.paths.container(&id).exists() {
                continue;
            }
            // A monitor outlives its container by a moment, and takes the sandbox with it.
            let left = self.is_watched(&id) && (self.is_at_work(&id) || self.await_departure(&id).is_err());
            if !path.exists() {
                continue;
            }
            let problem = if left { "has a monitor and no record" } else { "belongs to no container" };
            let action = || self.remove_stray_sandbox(&id);
            let done = if left { "it was ended and removed" } else { "it was removed" };
            let action = || action().map(|()| done.to_owned());
            findings.push(mend(&path.to_string_lossy(), problem, repair, action));
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

pub(crate) fn mend(
    subject: &str,
    problem: &str,
    repair: bool,
    action: impl FnOnce() -> Result<String, Error>,
) -> Finding {
    if !repair {
        return found(subject, problem, None);
    }
    match action() {
        Ok(done) => found(subject, problem, Some(done)),
        Err(error) => {
            found(subject, &format!("{problem}; mending it failed ({}): {error}", error.kind().name()), None)
        }
    }
}
