//! Stopping a container and starting it again, as one act.

use std::os::fd::OwnedFd;

use onggi_monitor::protocol::{Condition, Request};
use onggi_monitor::state::State;

use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{Restart, StartOptions, StopOptions};
use crate::state::Status;

impl Engine {
    /// Stops a container, if it runs, and starts it again from its record.
    ///
    /// Its lock is held all the while, so that nobody else starts it in between or, with `--rm`, takes it away. If this process dies after
    /// the stop, the next command that meets the container starts it ([`Engine::finish_restart`]).
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`]. After a failed start it stays ended.
    pub fn restart(&self, id: &ContainerId, options: &StopOptions) -> Result<(), Error> {
        let record = self.record(id)?;
        // Cut short, one with `--rm` has ended, and is taken away.
        let stop = self.stop_request(id, options, !record.request.remove)?;
        let (lock, stays) = loop {
            let lock = self.lock(id)?;
            let mut stays = None;
            if status(&self.written_state(id)?).is_live() && self.is_watched(id) {
                // With `--rm` its monitor would remove it at its end: it leaves that to who says so, and looks when we hang up.
                if record.request.remove {
                    stays = self.promise_to_finish(id)?;
                }
                match self.connect(id).map(|mut monitor| monitor.call(&stop, &[])) {
                    Ok(Ok(_)) => break (lock, stays),
                    Ok(Err(onggi_monitor::Error::Refused { message, .. })) => {
                        return Err(Error::Refused { id: id.to_string(), message });
                    }
                    // It has ended by itself just now, or its monitor has died.
                    _ => self.await_departure(id)?,
                }
            }
            if !status(&self.written_state(id)?).is_live() {
                break (lock, stays);
            }
            // Its monitor died: who brings the state up to date takes the lock.
            drop(lock);
            self.state(id)?;
        };
        onggi_sys::fault::point("engine.restart.stopped");
        self.start_locked(id, &StartOptions::default(), lock, 0)?;
        drop(stays);
        self.tell("container", "restart", id.as_str(), record.event_attributes());
        Ok(())
    }

    /// Starts a container that a `restart` has stopped and not started again, and answers what became of it. Nothing is done while that
    /// `restart`, or anybody else, is at work on it.
    pub(crate) fn finish_restart(&self, id: &ContainerId) -> Result<State, Error> {
        let Some(lock) = self.try_lock(id)? else { return self.written_state(id) };
        let state = self.written_state(id)?;
        if !is_cut_short(&state) {
            return Ok(state);
        }
        onggi_sys::fault::point("engine.restart.found");
        // A start that fails is in the state, and is not tried again.
        let _ = self.start_locked(id, &StartOptions::default(), lock, 0);
        self.written_state(id)
    }

    /// Starts a container by its policy, or because a `restart` was cut short, that has ended without its monitor, and answers what became of it. `state`: its end.
    ///
    /// # Errors
    /// The state cannot be read. A start that fails is in the state, as a monitor's would be.
    pub(crate) fn restart_lost(
        &self,
        record: &Record,
        state: State,
        lock: StateLock,
    ) -> Result<State, Error> {
        let (id, count) = (&record.id, state.restart_count);
        let by_policy = !state.stopped && record.request.restart.wants(state.exit_code, count);
        if !by_policy && !state.starts_again {
            return Ok(state);
        }
        // On a full disk the end is not written, and nobody knows yet that it has ended.
        if status(&self.written_state(id)?).is_live() {
            return Ok(state);
        }
        onggi_sys::fault::point("engine.restart.lost");
        // What `restart` starts begins to count anew.
        let restarts = if by_policy { count.saturating_add(1) } else { 0 };
        let _ = self.start_locked(id, &StartOptions::default(), lock, restarts);
        self.written_state(id)
    }

    /// The sealed plan for a monitor that is to start the container again by its policy; `None` without one.
    pub(crate) fn plan_for_restarts(&self, record: &Record) -> Result<Option<OwnedFd>, Error> {
        if record.request.restart == Restart::No {
            return Ok(None);
        }
        let plan = self.plan(record, false)?;
        let fail = |source| Error::Kernel { act: "memfd_create", source };
        Ok(Some(onggi_runtime::encode(&plan).map_err(fail)?))
    }

    fn promise_to_finish(
        &self,
        id: &ContainerId,
    ) -> Result<Option<onggi_monitor::client::Connection>, Error> {
        let mut connection = match self.connect(id) {
            Err(Error::NotRunning { .. }) => return Ok(None),
            other => other?,
        };
        match connection.order(&Request::Wait { condition: Condition::Exited, finish: true }, &[]) {
            Ok(_) => Ok(Some(connection)),
            Err(onggi_monitor::Error::Gone) => Ok(None),
            Err(error) => Err(self.monitor_error(id, &error)),
        }
    }
}

/// Whether a `restart` has stopped the container and not started it again.
pub(crate) fn is_cut_short(state: &State) -> bool {
    state.starts_again && status(state) == Status::Exited
}
