//! Steering a container that runs: stop, kill, resize, pause, wait. Each is one question to its monitor.

use std::time::{Duration, Instant};

use onggi_monitor::clock::Moment;
use onggi_monitor::protocol::{Condition, Reply, Request};
use onggi_monitor::state::State;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::flags;
use crate::follow::{Watch, Woken};
use crate::id::ContainerId;
use crate::request::{EventOptions, StopOptions, WaitCondition};
use crate::state::Status;
use crate::summary::Exit;

impl Engine {
    /// Sends the stop signal, waits, kills. `Ok(false)`: it did not run.
    ///
    /// # Errors
    /// A signal that is none, or the monitor does not answer.
    pub fn stop(&self, id: &ContainerId, options: &StopOptions) -> Result<bool, Error> {
        let request = self.stop_request(id, options, false)?;
        if !status(&self.state(id)?).is_live() {
            return Ok(false);
        }
        match self.ask(id, &request) {
            Ok(_) => Ok(true),
            // It ended by itself just now.
            Err(Error::NotRunning { .. }) => Ok(false),
            Err(error) => match self.unless_ended(id, error) {
                // And is removed already, as `--rm` asked for.
                Ok(_) | Err(Error::NoSuchContainer { .. }) => Ok(true),
                Err(error) => Err(error),
            },
        }
    }

    /// What a monitor is told to stop its container. `starts_again`: the caller starts it again; should this process die before, the next
    /// command does.
    pub(crate) fn stop_request(
        &self,
        id: &ContainerId,
        options: &StopOptions,
        starts_again: bool,
    ) -> Result<Request, Error> {
        let signal = match &options.signal {
            Some(text) => flags::signal(text).map_err(|what| Error::Invalid { what })?,
            None => 0,
        };
        let seconds = match options.timeout {
            Some(seconds) => seconds,
            None => self.record(id)?.resolved.stop_timeout,
        };
        let timeout_ms = u64::try_from(seconds).ok().map(|seconds| seconds.saturating_mul(1000));
        Ok(Request::Stop { signal, timeout_ms, starts_again })
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&self, id: &ContainerId, signal: i32) -> Result<(), Error> {
        let not_running = |engine: &Engine| {
            let name = engine.record(id).map_or_else(|_| id.to_string(), |record| record.name);
            Error::KillNotRunning { name, id: id.to_string() }
        };
        if !status(&self.state(id)?).is_live() {
            return Err(not_running(self));
        }
        match self.ask(id, &Request::Signal { signal, exec: None, all: false }) {
            Ok(_) => Ok(()),
            Err(Error::NotRunning { .. }) => Err(not_running(self)),
            Err(error) => Err(error),
        }
    }

    /// Tells the container's terminal its new size.
    ///
    /// # Errors
    /// It does not run, or has no terminal.
    pub fn resize(&self, id: &ContainerId, rows: u16, columns: u16) -> Result<(), Error> {
        self.ask(id, &Request::Resize { exec: None, rows, columns }).map(|_| ())
    }

    /// Freezes every process.
    ///
    /// # Errors
    /// It does not run, or is paused already.
    pub fn pause(&self, id: &ContainerId) -> Result<(), Error> {
        let refuse = |message| Err(Error::Refused { id: id.to_string(), message });
        match status(&self.state(id)?) {
            Status::Paused => return refuse(format!("Container {id} is already paused")),
            Status::Restarting => {
                return Err(crate::exec::restarting(id, &self.record(id)?.name));
            }
            _ => {}
        }
        match self.ask(id, &Request::Pause) {
            // The monitor's words come without what to do.
            Err(Error::Refused { .. } | Error::Monitor { .. }) if self.lacks_freezer()? => {
                Err(onggi_cgroup::Error::NotDelegated { limit: "freezing", controller: "freezer" }.into())
            }
            other => other.map(|_| ()),
        }
    }

    /// Whether an ordinary user was delegated other groups at most. Version 2 freezes without a controller.
    fn lacks_freezer(&self) -> Result<bool, Error> {
        let layout = self.cgroups()?;
        Ok(self.is_rootless()
            && matches!(layout, onggi_cgroup::Layout::V1 { .. })
            && !layout.has_controller("freezer"))
    }

    /// Lets every process go on.
    ///
    /// # Errors
    /// It is not paused.
    pub fn unpause(&self, id: &ContainerId) -> Result<(), Error> {
        if status(&self.state(id)?) != Status::Paused {
            return Err(Error::Refused {
                id: id.to_string(),
                message: format!("Container {id} is not paused"),
            });
        }
        self.ask(id, &Request::Resume).map(|_| ())
    }

    /// Waits for the condition and says how the container ended.
    ///
    /// # Errors
    /// There is no such container.
    pub fn wait(&self, id: &ContainerId, condition: WaitCondition) -> Result<Exit, Error> {
        let mut state = match self.state(id) {
            // With `--rm` another command may have cleared it away first.
            Err(error @ Error::NoSuchContainer { .. }) => return self.told_end(id).ok_or(error),
            other => other?,
        };
        if condition == WaitCondition::NextExit && !status(&state).is_live() {
            state = self.wait_for(id, |state| status(state).is_live())?;
        }
        let mut exit = Exit::of(&state);
        while status(&state).is_live() {
            exit = match self.ask_for_end(id) {
                Ok(exit) => exit,
                Err(error) => match self.unless_ended(id, error) {
                    Err(error @ Error::NoSuchContainer { .. }) => return self.told_end(id).ok_or(error),
                    other => Exit::of(&other?),
                },
            };
            if condition != WaitCondition::Removed {
                return Ok(exit);
            }
            state = match self.written_state(id) {
                Ok(state) => state,
                Err(Error::NoSuchContainer { .. }) => return Ok(exit),
                Err(error) => return Err(error),
            };
        }
        if condition == WaitCondition::Removed {
            match self.wait_for(id, |_| false) {
                Err(Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(exit)
    }

    /// Waits until the monitor of a container that has ended has left its sandbox: it writes the final state a moment before.
    pub(crate) fn await_departure(&self, id: &ContainerId) -> Result<(), Error> {
        /// Longer, something holds it up, and the caller is told.
        const LONGEST: Duration = Duration::from_secs(10);
        /// Milliseconds. A process that dies has its files closed, which wakes us, a moment before their locks go, which does not.
        const AGAIN: i64 = 20;
        let began = Instant::now();
        while self.is_watched(id) {
            let sandbox = self.paths.sandbox(id);
            let Ok(watch) = Watch::new(&sandbox) else { break };
            if !self.is_watched(id) {
                break;
            }
            let woken = watch.wait(None, Some(AGAIN)).map_err(Error::io("watch", &sandbox))?;
            if woken == Woken::TimedOut && began.elapsed() > LONGEST {
                let message = "it has ended and does not leave its sandbox".to_owned();
                return Err(Error::Monitor { id: id.to_string(), message });
            }
        }
        Ok(())
    }

    fn ask_for_end(&self, id: &ContainerId) -> Result<Exit, Error> {
        let fail = |error: onggi_monitor::Error| self.monitor_error(id, &error);
        let mut connection = self.connect(id)?;
        let wait = connection
            .order(&Request::Wait { condition: Condition::Exited, finish: false }, &[])
            .map_err(fail)?;
        match connection.reply_to(wait).map_err(fail)? {
            Reply::Exited { code, oom_killed, finished_at, error } => {
                Ok(Exit { code, oom_killed, finished_at, error, detached: false })
            }
            other => Err(fail(onggi_monitor::client::unexpected("wait", &other))),
        }
    }

    fn ask(&self, id: &ContainerId, request: &Request) -> Result<Reply, Error> {
        let mut connection = self.connect(id)?;
        connection.call(request, &[]).map_err(|error| match error {
            onggi_monitor::Error::Refused { message, .. } => Error::Refused { id: id.to_string(), message },
            // It hangs up on everybody when its container has ended.
            onggi_monitor::Error::Gone => {
                match self.unless_ended(id, self.monitor_error(id, &onggi_monitor::Error::Gone)) {
                    Ok(_) => Error::NotRunning { id: id.to_string() },
                    Err(error) => error,
                }
            }
            error => self.monitor_error(id, &error),
        })
    }

    /// A monitor that stopped answering because its container has ended is no failure.
    fn unless_ended(&self, id: &ContainerId, error: Error) -> Result<State, Error> {
        // It hangs up a moment before it is gone, and may not have been able to write the end.
        if matches!(error, Error::Monitor { .. } | Error::NotRunning { .. }) {
            let _ = self.await_departure(id);
        }
        match self.state(id) {
            Ok(state) if !status(&state).is_live() => Ok(state),
            Err(gone @ Error::NoSuchContainer { .. }) => Err(gone),
            _ => Err(error),
        }
    }

    /// How a container ended that is removed: the event log remembers.
    fn told_end(&self, id: &ContainerId) -> Option<Exit> {
        let values = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let options = EventOptions {
            since: Some(0),
            until: Some(Moment::now().nanoseconds()),
            filters: [
                ("container".to_owned(), values(&[id.as_str()])),
                ("event".to_owned(), values(&["start", "oom", "die"])),
            ]
            .into(),
        };
        let (mut exit, mut oom_killed) = (None, false);
        let read = self.events(&options, &mut |event| {
            match event["Action"].as_str() {
                Some("oom") => oom_killed = true,
                Some("die") => {
                    let code = event["Actor"]["Attributes"]["exitCode"].as_str();
                    let time = event["timeNano"].as_i64().map(Moment::from_nanoseconds);
                    exit = code.and_then(|code| code.parse().ok()).map(|code| Exit {
                        code,
                        oom_killed,
                        finished_at: time.map_or_else(String::new, |time| time.to_string()),
                        error: None,
                        detached: false,
                    });
                }
                _ => (exit, oom_killed) = (None, false),
            }
            Ok(())
        });
        read.ok().and(exit)
    }

    /// Waits until the state is as wanted; woken by the state's renames, and by the directory's end.
    fn wait_for(&self, id: &ContainerId, wanted: impl Fn(&State) -> bool) -> Result<State, Error> {
        /// A container that was never seen to change is looked at again after this long: inotify says nothing about a mount or a
        /// renamed parent.
        const AGAIN: Duration = Duration::from_secs(10);
        let directory = self.paths.container(id);
        loop {
            let watch = match Watch::new(&directory) {
                Ok(watch) => watch,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Err(Error::NoSuchContainer { name: id.to_string() });
                }
                Err(error) => return Err(Error::io("watch", &directory)(error)),
            };
            let state = self.written_state(id)?;
            if wanted(&state) || status(&state) == Status::Dead {
                return Ok(state);
            }
            let milliseconds = i64::try_from(AGAIN.as_millis()).ok();
            watch.wait(None, milliseconds).map_err(Error::io("watch", &directory))?;
        }
    }
}
