//! `pause` and `resume`: the cgroup's freezer.

use super::super::Context;
use super::super::arguments::Parsed;
use super::super::error::Error;
use super::super::status::{self, Status};
use super::Command;

pub(crate) const PAUSE: Command = Command {
    name: "pause",
    usage: "<container-id>",
    about: "suspend all processes inside the container",
    flags: &[],
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run: |context, flags| set(context, flags, true),
};

pub(crate) const RESUME: Command = Command {
    name: "resume",
    usage: "<container-id>",
    about: "resume all processes that have been paused",
    flags: &[],
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run: |context, flags| set(context, flags, false),
};

fn set(context: &Context, flags: &Parsed, frozen: bool) -> Result<u8, Error> {
    let locked = context.store.lock(&flags.positional[0])?;
    let record = locked.directory.read()?;
    match (status::of(&locked.directory, &record), frozen) {
        (Status::Created | Status::Running, true) | (Status::Paused, false) => {}
        (Status::Stopped | Status::Paused, true) => return Err(Error::NotRunning),
        (_, false) => return Err(Error::State("container not paused".to_owned())),
    }
    record.own_cgroup()?.freeze(frozen).map_err(Error::Cgroup)?;
    Ok(0)
}
