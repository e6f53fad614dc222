//! What may change of a container while it runs.

use super::Monitor;
use super::isolation::Refusal;
use crate::protocol::Reply;

impl Monitor<'_> {
    /// The file for an adopter is written first: what cannot be kept is not begun.
    pub(super) fn update(&mut self, name: Option<String>) -> Result<Option<Reply>, Refusal> {
        let Some(watched) = &mut self.watched else { return Ok(None) };
        let mut start = watched.start.clone();
        if let Some(name) = name {
            start.name = name;
        }
        if !watched.ended {
            watched.sandbox.write_start(&start)?;
        }
        watched.start = start;
        Ok(Some(Reply::Ok))
    }
}
