//! Taking over a container whose monitor died: the process by its descriptor, the streams by their names in the sandbox.
//!
//! Nothing is begun before it is sure that this is the process of the record, and nothing is taken away if it is not.

use std::os::fd::{AsFd, OwnedFd};

use onggi_error::Kind;
use rustix::process::{Pid, PidfdFlags};

use super::backlog::Backlog;
use super::isolation::Refusal;
use super::log::Log;
use super::networks::{self, Ports};
use super::sandbox::Sandbox;
use super::session::MAIN;
use super::streams::Ends;
use super::{Monitor, Watched, monotonic};
use crate::events::Writer;
use crate::protocol::Reply;
use crate::state::{self, Phase, State};

impl Monitor<'_> {
    pub(super) fn adopt(
        &mut self,
        peer: u32,
        question: u32,
        pid: i32,
        start_time: u64,
        descriptors: Vec<OwnedFd>,
    ) {
        match self.try_adopt(pid, start_time, descriptors) {
            Ok(()) => {
                let started_at = self.watched.as_ref().map(|watched| watched.state.started_at.clone());
                let started_at = started_at.unwrap_or_default();
                self.answer(
                    peer,
                    question,
                    Reply::Started { pid, started_at, timings: Vec::new(), parts: Vec::new() },
                );
                self.update_session(MAIN);
            }
            // Nothing was begun and nothing is taken away: the record and the process stay as they are.
            Err(refusal) => self.give_up(peer, question, refusal),
        }
    }

    fn try_adopt(&mut self, pid: i32, start_time: u64, descriptors: Vec<OwnedFd>) -> Result<(), Refusal> {
        let refuse = |kind, message: &str| Refusal::new(kind, "monitor.adopt", message);
        if self.watched.is_some() {
            return Err(refuse(Kind::Conflict, "this monitor has a container already"));
        }
        let mut descriptors = descriptors;
        let plan = if descriptors.len() > 3 { descriptors.pop() } else { None };
        let Ok([directory, sandbox, events]) = <[OwnedFd; 3]>::try_from(descriptors) else {
            return Err(refuse(Kind::InvalidInput, "`adopt` needs three descriptors or four"));
        };
        let sandbox = Sandbox::take(sandbox)?;
        let start = sandbox.read_start()?;
        let ended = || refuse(Kind::NotFound, "the container's first process has ended");
        let pidfd = Pid::from_raw(pid)
            .ok_or_else(ended)
            .and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| ended()))?;
        // The descriptor holds the process fast; only now is it sure that the number was not given to another.
        if state::process_start_time(pid).map_err(|_| ended())? != start_time {
            return Err(ended());
        }
        self.isolation.find(&sandbox.read_plan()?)?;
        let waiting = sandbox.waiting_state();
        let backlog = Backlog::with_state(waiting.is_some());
        let state = match waiting {
            Some(state) => state,
            None => {
                State::read(directory.as_fd()).map_err(|error| refuse(Kind::Corrupt, &error.to_string()))?
            }
        };
        // The old monitor may have died between freezing and saying so, and what is frozen cannot even be killed.
        let frozen = self.isolation.freeze(state.status == Phase::Paused);
        let log = Log::open(&directory, &start.log).map_err(|error| {
            Refusal::io("monitor.log", "open log/json.log in the container's directory", &error)
        })?;
        let mut ends = Ends::default();
        let has_terminal = start.terminal;
        if !has_terminal {
            ends.outputs = [Some(sandbox.reopen_output(0)?), Some(sandbox.reopen_output(1)?)];
            ends.stdin = if start.stdin_open { sandbox.reopen_input() } else { None };
        }
        let mut watched = Watched::new(start, directory, sandbox, Writer::new(events), log, state);
        watched.adopted = true;
        watched.lives.plan = plan;
        watched.lives.began = monotonic();
        watched.backlog = backlog;
        // The old monitor's sockets died with it.
        let found = networks::home(&watched.start.networks).map(|home| watched.home = home);
        let named = self.open_names(&watched.home, pidfd.as_fd(), watched.start.names.clone());
        let reserved = Ports::reserve(&watched.home, &watched.start).map(|ports| watched.ports = ports);
        // A host without a freezer freezes nothing, and a container goes on without names and with ports that somebody else has.
        watched.problem = found.and(named).and(reserved).and(frozen).err().map(|refusal| refusal.to_string());
        watched.memory_kills = self.isolation.memory_kills();
        self.watched = Some(watched);
        self.add_main(pid, pidfd, has_terminal, ends, None);
        self.watch_firewall();
        if let Err(refusal) = self.settle() {
            // The container goes on without; the next command tries again.
            self.close_names();
            self.watched = None;
            return Err(refusal);
        }
        if has_terminal {
            // Its terminal died with the old monitor; the kernel has sent SIGHUP, and this is for those who ignored it.
            let _ = self.send_signal(MAIN, 9);
        }
        Ok(())
    }
}
