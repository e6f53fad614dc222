//! Attaching to a container that runs.

use std::os::fd::AsFd;

use onggi_monitor::protocol::{Condition, Request};

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::request::AttachOptions;
use crate::session::{Session, Target, Timings, stream_pair};
use crate::start::wanted_streams;
use crate::state::Status;

impl Engine {
    /// Attaches to a container that runs.
    ///
    /// # Errors
    /// It does not run.
    pub fn attach(&self, id: &ContainerId, options: &AttachOptions) -> Result<Session, Error> {
        let record = self.record(id)?;
        match status(&self.state(id)?) {
            Status::Restarting => return Err(crate::exec::restarting(id, &record.name)),
            status if status.is_live() => {}
            _ => {
                // In the words of Docker's client.
                let message = "You cannot attach to a stopped container, start it first".to_owned();
                return Err(Error::Refused { id: id.to_string(), message });
            }
        }
        let mut connection = self.connect(id)?;
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let (ours, theirs) = stream_pair()?;
        let streams = wanted_streams(&record, options.streams, options.detach_keys.as_ref());
        let request = Request::Attach { exec: None, streams };
        // Before the attach, so that an end right behind it is heard on this connection with all output before it.
        let wait = connection
            .order(&Request::Wait { condition: Condition::Exited, finish: false }, &[])
            .map_err(fail)?;
        let attach = connection.order(&request, &[theirs.as_fd()]).map_err(fail)?;
        Ok(Session {
            id: id.clone(),
            name: record.name,
            tty: record.request.tty,
            stream: Some(ours),
            timings: Timings::default(),
            warnings: Vec::new(),
            connection,
            wait: Some(wait),
            attach: Some(attach),
            remove: false,
            target: Target { sandbox: self.paths.sandbox(id), id: id.clone(), exec: None },
            engine: self.clone(),
        })
    }
}

/// Detach keys are typed on a terminal. In a pipe the same bytes are data, as for Docker (`copyEscapable` only with a TTY).
pub(crate) fn keys_for(terminal: bool, asked: Option<&Vec<u8>>, default: &[u8]) -> Vec<u8> {
    if terminal { asked.map_or_else(|| default.to_vec(), Clone::clone) } else { Vec::new() }
}
