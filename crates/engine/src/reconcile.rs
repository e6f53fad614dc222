//! When a state says that a container runs and no monitor stands behind it: find out, and make it true or write the truth.
//!
//! A monitor can be killed and a machine can lose its power. If the container's first process still lives, a new monitor adopts it; else
//! how it ended is lost, and it ended with 255. Nobody waits for this: the next command that meets the container does it.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use onggi_monitor::client;
use onggi_monitor::clock::Moment;
use onggi_monitor::protocol::{Reply, Request};
use onggi_monitor::state::{Phase, State, boot_id, process_start_time};
use rustix::process::{Pid, PidfdFlags};

use crate::Engine;
use crate::container::{StateLock, status};
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::state::Status;

/// What Docker reports for a process whose end nobody saw.
pub(crate) const EXIT_LOST: i32 = 255;

impl Engine {
    /// Brings the state of a container without a monitor up to date and answers it.
    pub(crate) fn reconcile(&self, id: &ContainerId) -> Result<State, Error> {
        let lock = self.lock(id)?;
        // Between our look at the state and at the lock the monitor may have ended in good order, or somebody was faster.
        let state = self.written_state(id)?;
        if self.is_watched(id) {
            return Ok(state);
        }
        if !status(&state).is_live() {
            return self.keep_waiting_end(id, lock);
        }
        let record = self.record(id)?;
        if let Some(process) = first_process(&state) {
            // The other side of its terminal went with the monitor: nobody can speak to it any more.
            if !record.request.tty && self.adopt(&record, &state).is_ok() {
                return self.written_state(id);
            }
            // It cannot be watched, so it must not go on.
            let _ = rustix::process::pidfd_send_signal(&process, rustix::process::Signal::KILL);
        }
        let state = self.write_lost_end(&record, state)?;
        if record.request.remove {
            self.take_away(&record, lock, true)?;
            return Ok(state);
        }
        self.restart_lost(&record, state, lock)
    }

    /// Writes the end that a monitor left in the sandbox because the disk had no room for it. Where there is still none it stays there.
    fn keep_waiting_end(&self, id: &ContainerId, lock: StateLock) -> Result<State, Error> {
        let Some(state) = self.waiting_state(id) else { return self.written_state(id) };
        let record = self.record(id)?;
        if record.request.remove {
            self.take_away(&record, lock, true)?;
            return Ok(state);
        }
        if self.write_state(&record, &state).is_ok() {
            onggi_sys::fault::point("engine.reconcile.end-kept");
            self.clear_kernel(&record)?;
        }
        Ok(state)
    }

    /// The monitor of a container that has ended stays while the disk does not take the end. Whoever connects has it try again.
    ///
    /// # Errors
    /// There is no room still.
    pub(crate) fn press_for_end(&self, record: &Record) -> Result<(), Error> {
        let id = &record.id;
        let waits = || self.waiting_state(id).filter(|state| !status(state).is_live());
        let Some(state) = waits() else { return Ok(()) };
        if !self.is_watched(id) {
            return self.write_state(record, &state);
        }
        match self.connect(id).map(|mut monitor| monitor.call(&Request::Status, &[])) {
            Ok(Ok(Reply::Status(status))) if waits().is_some() => {
                Err(Error::EndNotWritten { id: id.to_string(), why: status.problem.unwrap_or_default() })
            }
            // It has written the end and gone.
            _ => Ok(()),
        }
    }

    /// Takes away a container with `--rm` that nobody else will: it has ended, or was not started by the `run` that made it, and
    /// neither a monitor nor a command is at work on it any more. Answers whether it did.
    pub(crate) fn clear_ended(&self, id: &ContainerId) -> Result<bool, Error> {
        if self.is_watched(id) {
            return Ok(false);
        }
        let record = match self.record(id) {
            Ok(record) if record.request.remove => record,
            _ => return Ok(false),
        };
        let Ok(Some(lock)) = self.try_lock(id) else { return Ok(false) };
        let Ok(state) = self.written_state(id) else { return Ok(false) };
        let over = match status(&state) {
            // Who makes one to start it at once holds its lock until then.
            Status::Created => record.run || !state.error.is_empty(),
            Status::Running | Status::Paused | Status::Restarting => false,
            Status::Exited | Status::Removing | Status::Dead => true,
        };
        if !over || self.is_watched(id) {
            return Ok(false);
        }
        self.take_away(&record, lock, true).map(|()| true)
    }

    /// Puts a new monitor behind a container whose first process lives.
    fn adopt(&self, record: &Record, state: &State) -> Result<(), Error> {
        let id = &record.id;
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let (container, sandbox, events) = self.directories(id)?;
        let mut connection = client::spawn(&self.monitor_program()?, self.cgroups().ok()).map_err(fail)?;
        let request = Request::Adopt { pid: state.pid, pid_start_time: state.pid_start_time };
        let mut descriptors = vec![container.as_fd(), sandbox.as_fd(), events.as_fd()];
        // Without a plan it is watched all the same, and its end is the last.
        let plan = self.plan_for_restarts(record).ok().flatten();
        descriptors.extend(plan.as_ref().map(AsFd::as_fd));
        match connection.call(&request, &descriptors).map_err(fail)? {
            Reply::Started { .. } => Ok(()),
            other => Err(fail(client::unexpected("adopt", &other))),
        }
    }

    /// The directories that a monitor is given.
    pub(crate) fn directories(&self, id: &ContainerId) -> Result<(File, File, File), Error> {
        let open = |path: std::path::PathBuf| File::open(&path).map_err(Error::io("open", path));
        Ok((open(self.paths.container(id))?, open(self.paths.sandbox(id))?, open(self.paths.events())?))
    }

    /// Ends what is left of a container whose monitor died, and writes the end. On a full or failing disk the end is only answered:
    /// whoever looks next finds it out again.
    pub(crate) fn write_lost_end(&self, record: &Record, state: State) -> Result<State, Error> {
        self.clear_kernel(record)?;
        onggi_sys::fault::point("engine.reconcile.kernel-cleared");
        if status(&state) == Status::Restarting {
            // How it ended is known and told; what was lost is only who was to start it again, which is counted already.
            let restart_count = state.restart_count.saturating_sub(1);
            let state = State { status: Phase::Exited, restart_count, ..state };
            let _ = self.write_state(record, &state);
            return Ok(state);
        }
        let state = State {
            status: Phase::Exited,
            pid: 0,
            pid_start_time: 0,
            finished_at: Moment::now().to_string(),
            exit_code: EXIT_LOST,
            error: "its monitor ended before it, and nobody saw how it ended: 255 stands for its exit code"
                .to_owned(),
            boot_id: boot_id(),
            ..state
        };
        if let Err(error) = self.write_state(record, &state) {
            return Ok(State {
                error: format!("{}; the end cannot be written: {error}", state.error),
                ..state
            });
        }
        onggi_sys::fault::point("engine.reconcile.state-written");
        let mut attributes = record.event_attributes();
        attributes.insert("exitCode".to_owned(), EXIT_LOST.to_string());
        self.tell("container", "die", record.id.as_str(), attributes);
        Ok(state)
    }

    /// Removes what the kernel and the run root hold for a container that is not watched: its processes, cgroups, live files.
    pub(crate) fn clear_kernel(&self, record: &Record) -> Result<(), Error> {
        self.clear_kernel_of(&record.id, &record.resolved.cgroup)
    }

    pub(crate) fn clear_kernel_of(&self, id: &ContainerId, cgroup: &str) -> Result<(), Error> {
        let layout = match self.cgroups() {
            // Where this command sees none, it has made none; what another command has started is there to be ended by one that sees them.
            Err(Error::Cgroup { source }) if matches!(*source, onggi_cgroup::Error::NotMounted) => {
                if self.written_state(id).is_ok_and(|state| status(&state).is_live()) {
                    return Err(Error::Cgroup { source });
                }
                return self.clear_preparations(id);
            }
            layout => layout?,
        };
        match onggi_cgroup::Cgroup::open(layout, cgroup) {
            Ok(cgroup) => {
                cgroup.kill()?;
                cgroup.remove()?;
            }
            Err(error) if onggi_error::Diagnose::kind(&error) == onggi_error::Kind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        self.clear_preparations(id)
    }

    /// What a start has prepared before anything of the container ran.
    pub(crate) fn clear_preparations(&self, id: &ContainerId) -> Result<(), Error> {
        self.detach_networks(id)?;
        self.unmount_shared_memory(id)?;
        crate::disk::remove_tree(&self.paths.sandbox(id))
    }
}

/// The container's first process, if it is still the one that the state means: by this boot's id, number and start time.
pub(crate) fn first_process(state: &State) -> Option<OwnedFd> {
    if state.boot_id != boot_id() || state.pid <= 0 {
        return None;
    }
    // The descriptor first: afterwards the number cannot come to mean another process.
    let pidfd = rustix::process::pidfd_open(Pid::from_raw(state.pid)?, PidfdFlags::empty()).ok()?;
    let same = process_start_time(state.pid).is_ok_and(|time| time == state.pid_start_time);
    // One that has ended but was not reaped is readable.
    let mut poll = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let ended = rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0);
    (same && !ended).then_some(pidfd)
}
