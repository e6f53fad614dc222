//! Starting the container again after its end, as its policy says; nobody else is needed for it.
//!
//! What is held for it is the sealed plan and nothing else (docs/decisions/0002-monitor.md). The end of a life and the count are written
//! before the next begins. While it waits, the sandbox, its socket and its log stay, and a stop or a kill ends the waiting.

use std::os::fd::OwnedFd;

use onggi_error::Kind;

use super::isolation::Refusal;
use super::requests::KILL;
use super::session::{MAIN, Session, Starting};
use super::{Monitor, Watched, monotonic};
use crate::clock::Moment;
use crate::policy::{self, Restart};
use crate::protocol::Durability;
use crate::state::Phase;

/// What is remembered from one life to the next.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Only with a policy: it is some pages of memory.
    pub(super) plan: Option<OwnedFd>,
    /// The last pause, nanoseconds.
    pub(super) pause: u64,
    /// When (monotonic nanoseconds) the present life has begun.
    pub(super) began: u64,
    /// When (monotonic nanoseconds) the next one begins.
    pub(super) again_at: Option<u64>,
    /// Signals that came after the present life was begun and before its program ran, which alone can take them.
    pub(super) held: Vec<i32>,
}

impl Watched {
    /// Whether it has ended and waits for its next life.
    pub(super) fn waits_for_restart(&self) -> bool {
        self.lives.again_at.is_some()
    }

    /// Whether an end with this code is followed by another life; if so, sets when.
    pub(super) fn plan_next_life(&mut self, code: i32) -> bool {
        let wanted = !self.state.stopped
            && self.lives.plan.is_some()
            && self.start.restart.wants(code, self.state.restart_count);
        if wanted {
            let now = monotonic();
            self.lives.pause = policy::pause(self.lives.pause, now.saturating_sub(self.lives.began));
            self.lives.again_at = Some(now + self.lives.pause);
            self.state.restart_count = self.state.restart_count.saturating_add(1);
        }
        wanted
    }
}

impl Monitor<'_> {
    /// Somebody wants it to end: its policy does not start it again. What waits for its next life has ended by that; says whether it did.
    /// `starts_again`: who wants it does that, and it is written before the first signal, because they may die at any moment and a container
    /// that was up must not stay down for it.
    pub(super) fn cancel_restart(&mut self, starts_again: bool) -> bool {
        let Some(watched) = &mut self.watched else { return false };
        let stopped = watched.state.stopped || watched.start.restart != Restart::No;
        let changes = (stopped, starts_again) != (watched.state.stopped, watched.state.starts_again);
        if changes && !watched.ended {
            (watched.state.stopped, watched.state.starts_again) = (stopped, starts_again);
            // Should the monitor die over it, who comes next knows as well.
            watched.write_state(Durability::Volatile);
            onggi_sys::fault::point("monitor.stop.intended");
        }
        if watched.lives.again_at.take().is_none() {
            return false;
        }
        self.stay_ended();
        true
    }

    /// Whether its next life has begun and the program does not run yet.
    pub(super) fn begins_again(&self) -> bool {
        let begins = |session: &Session| {
            session.number == MAIN && session.start.as_ref().is_some_and(|start| start.peer == NOBODY)
        };
        self.sessions.iter().any(begins)
    }

    /// Keeps a signal for the program; what would kill it need not wait.
    pub(super) fn hold_signal(&mut self, signal: i32) {
        if let Some(watched) = &mut self.watched {
            watched.lives.held.push(signal);
        }
        if signal == KILL {
            // It fails only if the process has ended this very moment.
            let _ = self.send_signal(MAIN, KILL);
        }
    }

    /// The program runs.
    pub(super) fn deliver_held_signals(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        for signal in std::mem::take(&mut watched.lives.held) {
            // As above.
            let _ = self.send_signal(MAIN, signal);
            self.emit("kill", &[("signal", signal.to_string())]);
        }
    }

    /// There is no next life.
    fn stay_ended(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        watched.state.status = Phase::Exited;
        watched.write_state(watched.start.durability);
        onggi_sys::fault::point("monitor.restart.cancelled");
        self.close();
        self.answer_stop();
        self.answer_waits();
    }

    /// The pause is over.
    pub(super) fn start_again(&mut self) {
        let Some(mut watched) = self.watched.take() else { return };
        watched.lives.again_at = None;
        watched.lives.held.clear();
        let Some(plan) = watched.lives.plan.take() else {
            self.watched = Some(watched);
            return;
        };
        let started = self.start_process(&watched, &plan, &mut super::start::Parts::new());
        watched.lives.plan = Some(plan);
        self.watched = Some(watched);
        onggi_sys::fault::point("monitor.restart.cloned");
        let begun = started.and_then(|(process, ends)| {
            let has_terminal = process.terminal.is_some();
            // Nobody has asked, so nobody is answered.
            let starting = Starting::new(process.report, process.terminal, NOBODY, NOBODY)?;
            self.add_main(process.pid, process.pidfd, has_terminal, ends, Some(starting));
            Ok(())
        });
        if let Err(refusal) = begun {
            return self.restart_failed(&refusal);
        }
        if let Some(watched) = &mut self.watched {
            watched.memory = self.isolation.watch_memory();
            watched.memory_kills = 0;
        }
        self.watch_sandbox();
        self.take_already_read(MAIN);
        self.update_session(MAIN);
    }

    /// As Docker: a new start that fails is the last.
    pub(super) fn restart_failed(&mut self, refusal: &Refusal) {
        let cleared = self.isolation.kill().and_then(|()| self.isolation.remove());
        let Some(watched) = &mut self.watched else { return };
        let problem = cleared.err().map(|also| format!("; and then {also}")).unwrap_or_default();
        watched.state.error = format!("{refusal}{problem}");
        watched.state.exit_code = match refusal.kind {
            Kind::NotFound => 127,
            Kind::PermissionDenied | Kind::InvalidInput => 126,
            _ => 125,
        };
        watched.state.finished_at = Moment::now().to_string();
        watched.problem = Some(watched.state.error.clone());
        self.end_clients(MAIN);
        self.stay_ended();
    }
}

/// No peer and no question has this number.
pub(super) const NOBODY: u32 = MAIN;
