//! `start`: lets the first process of a created container go on.

use std::os::fd::AsFd;

use onggi_runtime::exec;

use super::super::arguments::Parsed;
use super::super::error::Error;
use super::super::notify::Notify;
use super::super::record::Record;
use super::super::status::{self, Status};
use super::super::{Context, fifo, launch};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "start",
    usage: "<container-id>",
    about: "execute the program of a created container",
    flags: &[],
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let locked = context.store.lock(&flags.positional[0])?;
    let record = locked.directory.read()?;
    match status::of(&locked.directory, &record) {
        Status::Created => {}
        Status::Stopped => return Err(Error::State("cannot start a container that has stopped".to_owned())),
        Status::Running => {
            return Err(Error::State("cannot start an already running container".to_owned()));
        }
        Status::Paused => {
            return Err(Error::State("cannot start a container in the paused state".to_owned()));
        }
    }
    let pidfd = status::pidfd(&record)?;
    let notify = record.notify.clone().map(|manager| Notify::bind(&locked.directory, manager)).transpose()?;
    fifo::open_gate(&locked.directory.fifo())?;
    if let Err(error) = poststart(&record) {
        let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), 9);
        return Err(error);
    }
    // Readiness may take its time: nobody else has to wait for it.
    drop(locked);
    notify.map_or(Ok(()), |notify| notify.relay(record.pid, pidfd.as_fd()))?;
    Ok(0)
}

/// As runc: a hook that fails ends the container.
pub(crate) fn poststart(record: &Record) -> Result<(), Error> {
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = record.state("running");
    exec::run_hooks("poststart", &record.poststart, &state, &launch::environment()).map_err(Error::Failed)
}
