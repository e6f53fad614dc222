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

impl Engine {
    /// Stops a container, if it runs, and starts it again from its record.
    ///
    /// Its lock is held all the while, so that nobody else starts it in between or, with `--rm`, takes it away.
    ///
    /// # Errors
    /// As [`Engine::stop`] and [`Engine::start`]. After a failed start it stays ended.
    pub fn restart(&self, id: &ContainerId, options: &StopOptions) -> Result<(), Error> {
        let lock = loop {
            let lock = self.lock(id)?;
            if !status(&self.written_state(id)?).is_live() || self.is_watched(id) {
                break lock;
            }
            // Its monitor died: who brings the state up to date takes the lock.
            drop(lock);
            self.state(id)?;
        };
        let record = self.record(id)?;
        // With `--rm` its monitor would remove it at its end: it leaves that to who says so, and looks when we hang up.
        let stays = if record.request.remove { self.promise_to_finish(id)? } else { None };
        self.stop(id, options)?;
        onggi_sys::fault::point("engine.restart.stopped");
        self.start_locked(id, &StartOptions::default(), lock, 0)?;
        drop(stays);
        self.tell("container", "restart", id.as_str(), record.event_attributes());
        Ok(())
    }

    /// Starts a container by its policy that has ended without its monitor, and answers what became of it. `state`: its end.
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
        if state.stopped || !record.request.restart.wants(state.exit_code, count) {
            return Ok(state);
        }
        // On a full disk the end is not written, and nobody knows yet that it has ended.
        if status(&self.written_state(id)?).is_live() {
            return Ok(state);
        }
        onggi_sys::fault::point("engine.restart.lost");
        let _ = self.start_locked(id, &StartOptions::default(), lock, count.saturating_add(1));
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
