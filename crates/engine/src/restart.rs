//! Stopping a container and starting it again, as one act.

use onggi_monitor::protocol::{Condition, Request};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::request::{StartOptions, StopOptions};

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
        self.start_locked(id, &StartOptions::default(), lock)?;
        drop(stays);
        self.tell("container", "restart", id.as_str(), record.event_attributes());
        Ok(())
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
