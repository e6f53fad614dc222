//! Starting a container: files and facts, the plan, a monitor to carry it out and to be its parent, one message back.
//!
//! The container's lock is held until the monitor has answered, by the command and by the monitor, which is given it with the word to
//! start; from then on the monitor's `alive` lock says that it runs. A command that dies in between leaves a monitor that either never got
//! the word, and ends, or one that runs the container, and nobody can take the container away under it.
//!
//! Here is what may be started and what becomes of a start that fails; [`ready`] prepares, [`launch`] has it done.

mod launch;
mod ready;

pub(crate) use launch::wanted_streams;

use onggi_monitor::client::Spawning;
use onggi_monitor::state::State;

use self::ready::Ready;
use crate::Engine;
use crate::container::{StateLock, Unwritten, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::networks::{PORT_TAKEN, chooses_ports};
use crate::record::Record;
use crate::request::{RemoveOptions, StartOptions};
use crate::session::Session;
use crate::state::{Actor, Status};

/// How often a start is tried with other ports, where it may choose them, when somebody else has come between the choice and the taking.
const OTHER_PORTS: u32 = 3;

/// Whether a start failed for a port that nobody asked for.
fn asks_for_others(record: &Record, error: &Error) -> bool {
    let taken = matches!(error, Error::Start { message, .. } if message.contains(PORT_TAKEN));
    taken && chooses_ports(&record.request)
}

impl Engine {
    /// Starts a container that is created or has ended.
    ///
    /// # Errors
    /// It runs, or a step failed: [`Error::Start`] says which.
    pub fn start(&self, id: &ContainerId, options: &StartOptions) -> Result<Session, Error> {
        match self.take_unwritten(id) {
            // Nobody but this process has had a hand in it.
            Some(unwritten) => self.begin_new(unwritten, options),
            None => self.start_locked(id, options, self.lock(id)?, 0),
        }
    }

    /// Starts a container that was just made: what its creation has to wait for the disk for, and the monitor's own beginning, go on while the
    /// start is prepared. Before the monitor is told to start it the record is where it survives whatever comes.
    fn begin_new(&self, unwritten: Unwritten, options: &StartOptions) -> Result<Session, Error> {
        let record = &unwritten.record;
        // Before there is a second thread, with which it would not be born where it belongs.
        let monitor = self.spawn_monitor();
        let write_first = || {
            let written = self.write_down(&unwritten);
            let ready = written.is_ok().then(|| self.make_ready(record, options));
            (written, ready)
        };
        let makes_volumes = record.volumes().next().is_some();
        let (written, ready) = if makes_volumes || self.is_rootless() {
            // A volume must not be there before the container that it is for; and an ordinary user's networks are reached by a child that shares
            // this process's memory, so nobody else may be at work in it.
            write_first()
        } else {
            std::thread::scope(|scope| {
                let writer = std::thread::Builder::new();
                let Ok(writing) = writer.spawn_scoped(scope, || self.write_down(&unwritten)) else {
                    // The caller may have no more processes.
                    return write_first();
                };
                let ready = self.make_ready(record, options);
                let written = writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (written, Some(ready))
            })
        };
        let Unwritten { record, lock, mark, .. } = unwritten;
        match (written, ready) {
            (Ok(()), Some(ready)) => {
                let begun = self.begin(&record, lock, options, 0, monitor, ready);
                if let Err(Error::Interrupted { .. }) = &begun {
                    // Nobody but this process has had a use for it. Should somebody have started it meanwhile, it stays.
                    let _ = self.remove(&record.id, &RemoveOptions { force: false, volumes: true });
                }
                begun
            }
            (written, _) => {
                self.abandon(&record.id, lock, &mark);
                written.and_then(|()| Err(Error::NoSuchContainer { name: record.id.to_string() }))
            }
        }
    }

    /// As [`Engine::start`], for who has the container's lock already. `restarts`: how often its policy has started it.
    pub(crate) fn start_locked(
        &self,
        id: &ContainerId,
        options: &StartOptions,
        lock: StateLock,
        restarts: u32,
    ) -> Result<Session, Error> {
        let record = self.record(id)?;
        let mut state = self.written_state(id)?;
        if status(&state).is_live() {
            if self.is_watched(id) {
                return Err(Error::AlreadyRunning { id: id.to_string() });
            }
            drop(lock);
            state = self.reconcile(id)?;
            if status(&state).is_live() {
                return Err(Error::AlreadyRunning { id: id.to_string() });
            }
            return self.start(id, options);
        }
        let from = status(&state);
        if !from.may_become(Status::Running, Actor::Monitor) {
            return Err(Error::State { id: id.to_string(), status: from.name(), wanted: "running" });
        }
        self.press_for_end(&record)?;
        self.await_departure(id)?;
        // Its creation was cut short behind the record.
        if self.store.containers_by_prefix(id.as_str())?.is_empty() {
            self.put_back(&record)?;
        }
        // What a monitor that died at its start has left: nobody lives there, since the state says so and we have the lock.
        if self.paths.sandbox(id).exists() {
            self.clear_kernel(&record)?;
        }
        let monitor = self.spawn_monitor();
        let ready = self.make_ready(&record, options);
        self.begin(&record, lock, options, restarts, monitor, ready)
    }

    /// Starts a container that does not run and has left nothing of an earlier life.
    fn begin(
        &self,
        record: &Record,
        lock: StateLock,
        options: &StartOptions,
        restarts: u32,
        monitor: Result<Spawning, Error>,
        ready: Result<Ready, Error>,
    ) -> Result<Session, Error> {
        let mut started = self.attempt(record, &lock, options, restarts, monitor, ready);
        for _ in 0..OTHER_PORTS {
            let Some(error) = started.as_ref().err().filter(|error| asks_for_others(record, error)) else {
                break;
            };
            // What cannot be cleared is met by the next attempt, which then fails.
            let _ = self.clear_failed_start(record, error, false);
            let (monitor, ready) = (self.spawn_monitor(), self.make_ready(record, options));
            started = self.attempt(record, &lock, options, restarts, monitor, ready);
        }
        match started {
            Ok(session) => Ok(session),
            Err(error) => {
                // Why it failed may be that the same signal has come to a program that it takes.
                let undone = options.go_on();
                // The error is what matters; what cannot be written or cleared now is found by the next command.
                let _ = self.clear_failed_start(record, &error, undone.is_ok());
                drop(lock);
                undone?;
                if record.request.remove {
                    let _ = self.finish(&record.id);
                }
                Err(error)
            }
        }
    }

    fn attempt(
        &self,
        record: &Record,
        lock: &StateLock,
        options: &StartOptions,
        restarts: u32,
        monitor: Result<Spawning, Error>,
        ready: Result<Ready, Error>,
    ) -> Result<Session, Error> {
        let (ready, monitor) = (ready?, monitor?);
        let monitor = monitor.finish().map_err(|error| self.not_executed(error))?;
        let _parents = self.mark_parents(record)?;
        self.settle_ports(&ready.connections);
        let claimed = ready.connections.clone();
        self.launch(record, lock, options, restarts, monitor, ready)
            .map_err(|error| self.name_holder(error, &claimed))
    }

    /// As Docker: a container that did not come to run stays as it was, with the error and its exit code beside, unless the caller has
    /// changed its mind.
    fn clear_failed_start(&self, record: &Record, error: &Error, note: bool) -> Result<(), Error> {
        let id = &record.id;
        if matches!(error, Error::Monitor { .. }) {
            // It died over it, and may have left a process that has been born already.
            self.await_departure(id)?;
        }
        let mut state = self.written_state(id)?;
        if !self.is_watched(id) {
            if status(&state).is_live() {
                state = self.write_lost_end(record, state)?;
            } else {
                self.clear_kernel(record)?;
            }
        }
        self.unmount_shared_memory(id)?;
        if status(&state).is_live() || !note {
            return Ok(());
        }
        let state = State {
            exit_code: error.exit_code().into(),
            error: error.to_string(),
            starts_again: false,
            ..state
        };
        self.write_state(record, &state)
    }

    /// The container that this engine has just decided on, once.
    fn take_unwritten(&self, id: &ContainerId) -> Option<Unwritten> {
        let mut kept = self.unwritten.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.take_if(|unwritten| unwritten.record.id == *id)
    }

    pub(crate) fn keep_unwritten(&self, unwritten: Unwritten) {
        *self.unwritten.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(unwritten);
    }
}
