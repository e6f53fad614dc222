//! Taking a container away, and doing what is left to do when one has ended.
//!
//! The state says "removing" first; then goes what lies outside the container's directory (kernel objects, anonymous volumes); then the
//! directory is renamed away, which is the moment from which the container does not exist; then its row, its name and its lease; and
//! last the files themselves. Every step can be done again, so whoever meets a removal that was cut short goes on with it.

use std::path::PathBuf;

use onggi_error::{Diagnose as _, Kind};
use onggi_monitor::client::Connection;
use onggi_monitor::protocol::{Condition, Request};
use onggi_monitor::state::{Phase, State};

use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::RemoveOptions;
use crate::state::{Actor, Status};

const SIGKILL: i32 = 9;
/// How often a forced removal kills what somebody else keeps starting.
const MOST_ATTEMPTS: u32 = 20;

impl Engine {
    /// Removes a container.
    ///
    /// # Errors
    /// It runs and `force` is not set; what could not be removed.
    pub fn remove(&self, id: &ContainerId, options: &RemoveOptions) -> Result<(), Error> {
        let mut attempt = 1;
        loop {
            match self.remove_once(id, options) {
                // Somebody has removed it beside us.
                Err(Error::NoSuchContainer { .. }) => return Ok(()),
                // Somebody has started it between our look at its state and our lock.
                Err(Error::RemoveRunning { .. }) if options.force && attempt < MOST_ATTEMPTS => attempt += 1,
                other => return other,
            }
        }
    }

    fn remove_once(&self, id: &ContainerId, options: &RemoveOptions) -> Result<(), Error> {
        let record = match self.record(id) {
            Ok(record) => record,
            // Somebody has removed it since the name was resolved, or died while creating it.
            Err(Error::NoSuchContainer { .. }) if self.clear_unborn(id.as_str())? => return Ok(()),
            Err(error) if options.force && error.kind() == Kind::Corrupt => {
                return self.remove_damaged(id, false).map(|_| ());
            }
            Err(error) => return Err(error),
        };
        if options.force && self.written_state(id).is_err_and(|error| error.kind() == Kind::Corrupt) {
            self.mend_state(id)?;
        }
        let current = status(&self.state(id)?);
        // Until it is gone, or the monitor of a container with `--rm` would take it away beside us.
        let mut held = None;
        if current.is_live() {
            if !options.force {
                return Err(Error::RemoveRunning { name: record.name, status: current.name().to_owned() });
            }
            held = self.end_now(id)?;
            // With `--rm` the monitor's own finish may be faster.
            if !self.has_record(id) {
                return Ok(());
            }
        } else if self.waiting_state(id).is_some() {
            // Its monitor stays because the disk does not take the end, and gives up trying while we are there.
            held = self.await_end(id).ok();
        }
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        let stays = held.is_some() && self.is_watched(id);
        let removed = self.take_away(&record, lock, options.volumes || record.request.remove);
        drop(held);
        if stays && removed.is_ok() {
            self.await_departure(id)?;
        }
        removed
    }

    /// Does what is left to do for a container that has ended: removes it if it was started with `--rm`, unmounts what it shared.
    /// Idempotent: the monitor runs `onggi container finish ID` when nobody waits.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn finish(&self, id: &ContainerId) -> Result<(), Error> {
        let record = match self.record(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        let lock = match self.lock(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        let state = match self.written_state(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?,
        };
        if status(&state).is_live() {
            // Started again, or its monitor died: the next command that meets it reconciles.
            return Ok(());
        }
        if record.request.remove && !(status(&state) == Status::Created && state.error.is_empty()) {
            return self.take_away_from(&record, lock, true, state);
        }
        self.unmount_shared_memory(id)
    }

    /// Kills the container and waits for its end. The monitor stays for as long as the connection is held; `None`: it had gone, or
    /// went while we spoke to it, and the state tells.
    fn end_now(&self, id: &ContainerId) -> Result<Option<Connection>, Error> {
        match self.kill_and_wait(id) {
            Ok(connection) => Ok(Some(connection)),
            // Others may be removing it as well, and its monitor hangs up on everybody at the end.
            Err(Error::NotRunning { .. } | Error::Monitor { .. }) => {
                self.await_departure(id)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn kill_and_wait(&self, id: &ContainerId) -> Result<Connection, Error> {
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let (mut connection, wait) = self.take_over_removal(id)?;
        let kill = Request::Signal { signal: SIGKILL, exec: None, all: false };
        // It may have ended by itself in between; then there is nothing to kill.
        connection.send(&kill, &[]).map_err(fail)?;
        connection.reply_to(wait).map_err(fail)?;
        Ok(connection)
    }

    fn await_end(&self, id: &ContainerId) -> Result<Connection, Error> {
        let (mut connection, wait) = self.take_over_removal(id)?;
        connection.reply_to(wait).map_err(|error| self.monitor_error(id, &error))?;
        Ok(connection)
    }

    /// A connection to the monitor, which leaves the removal to us, and the question that the end answers.
    fn take_over_removal(&self, id: &ContainerId) -> Result<(Connection, u32), Error> {
        let mut connection = self.connect(id)?;
        let wait = connection
            .order(&Request::Wait { condition: Condition::Exited, finish: true }, &[])
            .map_err(|error| self.monitor_error(id, &error))?;
        Ok((connection, wait))
    }

    /// Needs no room on the disk: on a full one, removing is what helps.
    pub(crate) fn take_away(&self, record: &Record, lock: StateLock, volumes: bool) -> Result<(), Error> {
        let state = self.written_state(&record.id)?;
        self.take_away_from(record, lock, volumes, state)
    }

    /// As [`Engine::take_away`], for who has read the state under the lock.
    fn take_away_from(
        &self,
        record: &Record,
        lock: StateLock,
        volumes: bool,
        mut state: State,
    ) -> Result<(), Error> {
        let id = &record.id;
        if status(&state).is_live() && !self.is_watched(id) {
            // Its monitor died, or could not write the end.
            state = self.write_lost_end(record, state)?;
        }
        let from = status(&state);
        if !from.may_become(Status::Removing, Actor::Command) {
            return Err(Error::RemoveRunning { name: record.name.clone(), status: from.name().to_owned() });
        }
        // Nobody looks at a container that goes with the one who waits for it.
        if !record.request.remove {
            // Where nothing can be written it stays what it was until it is renamed away; a removal that is cut short is then begun anew.
            let _ = self.write_state(record, &State { status: Phase::Removing, ..state.clone() });
            onggi_sys::fault::point("engine.remove.state-written");
        }
        match self.take_apart(record, volumes) {
            Ok((leftover, forgotten)) => {
                drop(lock);
                self.tell("container", "destroy", id.as_str(), record.event_attributes());
                // The container is gone; files that stay are found by a check.
                crate::disk::remove_tree(&leftover)?;
                if !forgotten {
                    // Now there is room. Should it fail all the same, the caller is told, and the next command that meets the row,
                    // which without a record is no container, takes it away.
                    self.store.remove_container(id.as_str())?;
                }
                Ok(())
            }
            Err(error) => {
                let state = State { status: Phase::Dead, error: error.to_string(), ..state };
                // The first failure is what matters.
                let _ = self.write_state(record, &state);
                Err(error)
            }
        }
    }

    /// Everything but the deletion of the files, whose new place is answered, and whether the index has forgotten it.
    fn take_apart(&self, record: &Record, volumes: bool) -> Result<(PathBuf, bool), Error> {
        let id = &record.id;
        // A monitor that ended in good order has left nothing.
        if self.paths.sandbox(id).exists() && !self.is_watched(id) {
            self.clear_kernel(record)?;
        } else {
            self.unmount_shared_memory(id)?;
        }
        // Empty directories are no reason to keep a container.
        let _ = self.remove_parents(record);
        onggi_sys::fault::point("engine.remove.kernel-cleared");
        if volumes {
            for (name, _) in record.volumes().filter(|(_, anonymous)| *anonymous) {
                self.release_volume(name, id)?;
            }
            onggi_sys::fault::point("engine.remove.volumes-removed");
        }
        let leftover = self.passing(id);
        crate::disk::remove_tree(&leftover)?;
        let directory = self.paths.container(id);
        std::fs::rename(&directory, &leftover).map_err(Error::io("rename", directory))?;
        onggi_sys::fault::point("engine.remove.renamed");
        // On a full disk the index has no room even for a removal before the files are gone.
        let forgotten = self.store.remove_container(id.as_str()).is_ok();
        onggi_sys::fault::point("engine.remove.row-removed");
        Ok((leftover, forgotten))
    }
}
