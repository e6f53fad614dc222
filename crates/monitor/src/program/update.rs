//! What may change of a container while it runs.

use std::os::fd::OwnedFd;

use onggi_error::Kind;

use super::Monitor;
use super::isolation::Refusal;
use crate::policy::Restart;
use crate::protocol::Reply;

impl Monitor<'_> {
    /// The file for an adopter is written first: what cannot be kept is not begun.
    pub(super) fn update(
        &mut self,
        name: Option<String>,
        restart: Option<Restart>,
        mut descriptors: Vec<OwnedFd>,
    ) -> Result<Option<Reply>, Refusal> {
        let Some(watched) = &mut self.watched else { return Ok(None) };
        let plan = descriptors.pop().filter(|_| descriptors.is_empty());
        let policy = restart.unwrap_or(watched.start.restart);
        if policy != Restart::No && plan.is_none() && watched.lives.plan.is_none() {
            let message = "a restart policy needs a plan to start from";
            return Err(Refusal::new(Kind::InvalidInput, "update", message));
        }
        let mut start = watched.start.clone();
        start.restart = policy;
        if let Some(name) = name {
            start.name = name;
        }
        if !watched.ended {
            watched.sandbox.write_start(&start)?;
        }
        watched.start = start;
        match policy {
            Restart::No => {
                watched.lives.plan = None;
                if watched.waits_for_restart() {
                    self.cancel_restart(false);
                }
            }
            _ => watched.lives.plan = plan.or(watched.lives.plan.take()),
        }
        Ok(Some(Reply::Ok))
    }
}
