//! `delete`: takes away what is left of a container.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use onggi_runtime::exec;
use rustix::event::{PollFd, PollFlags, Timespec};

use super::super::arguments::{Flag, Parsed};
use super::super::birth::Known;
use super::super::error::Error;
use super::super::record::Record;
use super::super::resctrl::Group;
use super::super::status::{self, Status};
use super::super::store::Locked;
use super::super::systemd::Kept;
use super::super::{Context, launch};
use super::Command;

pub(crate) const COMMAND: Command = Command {
    name: "delete",
    usage: "<container-id>",
    about: "delete any resources held by a container",
    flags: FLAGS,
    arguments: 1..=1,
    stops_at_first: false,
    failure_code: 1,
    run,
};

const FLAGS: &[Flag] =
    &[Flag::switch("force", "kill it if it still runs; no error if it does not exist").short("f")];

/// As long as runc waits for what it has killed.
const PATIENCE: Duration = Duration::from_secs(10);

fn run(context: &Context, flags: &Parsed) -> Result<u8, Error> {
    let force = flags.has("force");
    let id = &flags.positional[0];
    let locked = match context.store.lock(id) {
        Err(Error::DoesNotExist) if force => return Ok(0),
        other => other?,
    };
    let record = match locked.directory.read() {
        // Half made: a `create` that was killed. Its lock is free, so nobody is still at it.
        Err(Error::DoesNotExist) if force => {
            if let Some(known) = readable_birth(context, &locked)? {
                let is_gone = known.undo()?;
                if let Some(left) = left_of(&known, is_gone) {
                    context.log.warn(&left);
                }
            }
            return locked.remove().map(|()| 0);
        }
        Err(Error::DoesNotExist) if locked.directory.birth()?.is_some() => {
            return Err(Error::State(format!("cannot delete container {id} that is not stopped: creating")));
        }
        Err(error @ Error::Json { .. }) if force => return discard(context, locked, &error).map(|()| 0),
        other => other?,
    };
    match status::of(&locked.directory, &record) {
        Status::Stopped => {}
        Status::Created => kill(&record)?,
        Status::Running | Status::Paused if force => kill(&record)?,
        other => {
            let name = other.name();
            return Err(Error::State(format!("cannot delete container {id} that is not stopped: {name}")));
        }
    }
    clear(context, locked, &record)?;
    Ok(0)
}

/// What is known of it apart from its state. A file that is damaged is for nothing but the warning; one that cannot be read now can be later.
fn readable_birth(context: &Context, locked: &Locked) -> Result<Option<Known>, Error> {
    match locked.directory.birth() {
        Err(error @ Error::Json { .. }) => {
            let what = format!("what is kept of the container is damaged ({error}): its cgroup stays");
            context.log.warn(&what);
            Ok(None)
        }
        other => other,
    }
}

/// What may be left of a container that is taken away by force, for who has to look after it.
fn left_of(known: &Known, is_gone: bool) -> Option<String> {
    if !is_gone {
        return Some(format!(
            "the cgroup {} stays: what is in it is not known to be the container's",
            known.birth.cgroup.path
        ));
    }
    // Without a mark nothing has been born yet.
    (known.birth.cgroup.layout.is_none() && known.made.is_some())
        .then(|| "the container has neither a state nor a cgroup: its processes may still run".to_owned())
}

/// Of a container whose state nobody can read any more. Its first process is killed if the state still says which one that is, and the others by
/// its groups; what else there may be is said, as nobody will come back to it.
fn discard(context: &Context, locked: Locked, error: &Error) -> Result<(), Error> {
    let first = locked.directory.salvage();
    let pidfd = first.and_then(|(pid, start_time)| status::pidfd_of(pid, start_time));
    if let Some(pidfd) = &pidfd {
        // ESRCH only: it has just ended.
        let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), 9);
    }
    let known = readable_birth(context, &locked)?;
    // Before anybody waits: in a frozen group nothing dies.
    let is_gone = known.as_ref().map_or(Ok(false), Known::undo)?;
    let ended = match pidfd {
        Some(pidfd) => {
            await_end(&pidfd)?;
            "its first process was killed"
        }
        None if first.is_some() => "its first process has ended",
        None => "its first process is not known, and may still run",
    };
    let rest = match known {
        Some(known) if is_gone && known.birth.cgroup.layout.is_none() => {
            format!("{ended}; it has no cgroup, by which others of it could be found")
        }
        Some(_) if is_gone => "all in its cgroup was killed".to_owned(),
        _ => format!("{ended}; its cgroup stays"),
    };
    context.log.warn(&format!("the state of the container is damaged ({error}): {rest}"));
    locked.remove()
}

/// The same for who has seen it end.
pub(crate) fn ended(context: &Context, record: &Record) -> Result<(), Error> {
    clear(context, context.store.lock(&record.id)?, record)
}

pub(crate) fn clear(context: &Context, locked: Locked, record: &Record) -> Result<(), Error> {
    // A unit is stopped by who has it, empty or not.
    if record.systemd.is_some() || !record.cgroup.remove_if_empty() {
        end_cgroup(record)?;
    }
    record.resctrl.as_ref().map_or(Ok(()), Group::remove)?;
    onggi_sys::fault::point("runtime.delete.cleared");
    locked.remove()?;
    if record.poststop.is_empty() {
        return Ok(());
    }
    // `runtime.md`: what goes wrong in these hooks is logged, and the rest goes on.
    let state = record.state("stopped");
    if let Err(problem) = exec::run_hooks("poststop", &record.poststop, &state, &launch::environment()) {
        context.log.warn(&problem);
    }
    Ok(())
}

fn end_cgroup(record: &Record) -> Result<(), Error> {
    match record.cgroup() {
        Ok(cgroup) => {
            // What a container without pids of its own, or an exec, has left behind.
            cgroup.kill().map_err(Error::Cgroup)?;
            record.systemd.as_ref().map_or(Ok(()), Kept::stop)?;
            cgroup.remove().map_err(Error::Cgroup)
        }
        // systemd has removed an empty one; a unit that has failed it still remembers.
        Err(onggi_cgroup::Error::Missing { .. }) => record.systemd.as_ref().map_or(Ok(()), Kept::stop),
        Err(error) => Err(Error::Cgroup(error)),
    }
}

fn kill(record: &Record) -> Result<(), Error> {
    let pidfd = match status::pidfd(record) {
        Err(Error::NotRunning) => return Ok(()),
        other => other?,
    };
    // ESRCH only: it has just ended.
    let _ = onggi_sys::pidfd::send_signal(pidfd.as_fd(), 9);
    if let Ok(cgroup) = record.cgroup()
        && cgroup.is_frozen().unwrap_or(false)
    {
        cgroup.freeze(false).map_err(Error::Cgroup)?;
    }
    await_end(&pidfd)
}

fn await_end(pidfd: &OwnedFd) -> Result<(), Error> {
    let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
    let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&limit)));
    match ended.map_err(|error| Error::io("wait for the container's end", error))? {
        0 => Err(Error::State("container init still running".to_owned())),
        _ => Ok(()),
    }
}
