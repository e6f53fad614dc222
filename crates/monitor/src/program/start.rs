//! The start of the container.
//!
//! The order is what makes a crash harmless: the lock first, then what an adopter must know, then the process; only when its
//! program runs does the state say so. Before that, whoever comes next finds a cgroup without a monitor and clears it away.

use std::os::fd::{AsFd, OwnedFd};

use onggi_error::Kind;
use onggi_net::home::Home;
use rustix::event::epoll::EventFlags;

use super::backlog::Backlog;
use super::isolation::{Process, Refusal};
use super::log::Log;
use super::networks::{self, Ports};
use super::pace::Pace;
use super::poller::{Registered, Token};
use super::restart::NOBODY;
use super::sandbox::{Sandbox, check_version};
use super::session::{Input, MAIN, Output, Session, Starting};
use super::streams::{Ends, standard_streams, terminal_ends};
use super::{Monitor, Outcome, Watched, monotonic, surroundings};
use crate::clock::Moment;
use crate::events::Writer;
use crate::policy::Restart;
use crate::protocol::{Durability, Reply, Start};
use crate::state::{self, Phase, State};

impl Monitor<'_> {
    pub(super) fn start(&mut self, peer: u32, question: u32, start: Start, descriptors: Vec<OwnedFd>) {
        if self.watched.is_some() {
            let refusal = Refusal::new(Kind::Conflict, "start", "this monitor has a container already");
            return self.refuse(peer, question, refusal);
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next();
        let (Some(plan), Some(directory), Some(sandbox), Some(events), lock) =
            (next(), next(), next(), next(), next())
        else {
            return self.give_up(
                peer,
                question,
                Refusal::new(Kind::InvalidInput, "start", "`start` needs four descriptors"),
            );
        };
        let mut parts = Parts::new();
        let prepared = check_version(&start).and_then(|()| Sandbox::take(sandbox)).and_then(|sandbox| {
            sandbox.write_start(&start)?;
            let log = Log::open(&directory, &start.log).map_err(|error| {
                Refusal::io("monitor.log", "open log/json.log in the container's directory", &error)
            })?;
            Ok((sandbox, log))
        });
        let (sandbox, log) = match prepared {
            Ok(prepared) => prepared,
            Err(refusal) => return self.give_up(peer, question, refusal),
        };
        parts.end("prepare");
        let state =
            State { restart_count: start.restart_count, boot_id: state::boot_id(), ..State::default() };
        let mut watched = Watched::new(start, directory, sandbox, Writer::new(events), log, state);
        watched.start_lock = lock;
        let reserved = networks::home(&watched.start.networks).and_then(|home| {
            watched.home = home;
            Ports::reserve(&watched.home, &watched.start)
        });
        watched.ports = match reserved {
            Ok(ports) => ports,
            Err(refusal) => {
                self.watched = Some(watched);
                return self.abandon(peer, question, refusal);
            }
        };
        let started = self.start_process(&watched, &plan, &mut parts);
        watched.lives.plan = Some(plan).filter(|_| watched.start.restart != Restart::No);
        self.watched = Some(watched);
        let (process, ends) = match started {
            Ok(started) => started,
            Err(refusal) => return self.abandon(peer, question, refusal),
        };
        onggi_sys::fault::point("monitor.start.cloned");
        let has_terminal = process.terminal.is_some();
        let starting = match Starting::new(process.report, process.terminal, peer, question) {
            Ok(starting) => starting,
            Err(refusal) => return self.abandon(peer, question, refusal),
        };
        self.add_main(process.pid, process.pidfd, has_terminal, ends, Some(starting));
        self.watch_firewall();
        // The container's steps run on another processor meanwhile.
        if let Err(refusal) = self.settle() {
            self.reap_failed(MAIN);
            return self.abandon(peer, question, refusal);
        }
        parts.end("settle");
        if let Some(watched) = &mut self.watched {
            watched.parts = parts.parts;
        }
        self.take_already_read(MAIN);
        self.update_session(MAIN);
    }

    pub(super) fn start_process(
        &mut self,
        watched: &Watched,
        plan: &OwnedFd,
        parts: &mut Parts,
    ) -> Result<(Process, Ends), Refusal> {
        let (stdio, ends) = standard_streams(&watched.sandbox, &watched.start)?;
        onggi_sys::fault::point("monitor.start.streams");
        parts.end("streams");
        let mut process = self.isolation.start(plan.as_fd(), stdio)?;
        parts.end("clone");
        watched.sandbox.write_plan(&self.isolation.description())?;
        // The container's steps go on meanwhile, up to the one that waits for this.
        let first = process.pidfd.as_fd();
        networks::connect(&watched.home, &mut self.firewall.calls, first, &watched.start.networks)?;
        self.open_names(&watched.home, first, watched.start.names.clone())?;
        if let Some(network) = process.network.take() {
            network.tell();
            parts.end("network");
        }
        Ok((process, ends))
    }

    /// What the monitor does for itself while the container starts.
    pub(super) fn settle(&mut self) -> Result<(), Refusal> {
        surroundings::join_cgroup()?;
        self.change_relay()?;
        self.oom_score.protect();
        let Some(watched) = &mut self.watched else { return Ok(()) };
        watched.sandbox.write_identity()?;
        watched.listener = Some(watched.sandbox.listen()?);
        watched.memory = self.isolation.watch_memory();
        onggi_sys::fault::point("monitor.start.listening");
        self.watch_sandbox();
        Ok(())
    }

    /// Puts the socket and the memory's descriptor into the epoll set.
    pub(super) fn watch_sandbox(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(listener) = &watched.listener {
            self.poller.set(
                listener,
                Token::Listener,
                &mut watched.listener_registered,
                Some(EventFlags::IN),
            );
        }
        if let Some(memory) = &watched.memory {
            self.poller.set(memory, Token::Memory, &mut watched.memory_registered, Some(EventFlags::IN));
        }
    }

    pub(super) fn add_main(
        &mut self,
        pid: i32,
        pidfd: OwnedFd,
        has_terminal: bool,
        ends: Ends,
        start: Option<Starting>,
    ) {
        let stdin_once = self.watched.as_ref().is_some_and(|watched| watched.start.stdin_once);
        let session = Session {
            number: MAIN,
            id: String::new(),
            command: String::new(),
            pid,
            pidfd,
            pidfd_registered: Registered::default(),
            has_terminal,
            outputs: ends.outputs.map(|end| end.map(Output::new)),
            pace: Pace::default(),
            stdin: ends.stdin.map(Input::new),
            stdin_once,
            start,
            started_at: String::new(),
        };
        self.sessions.push(session);
        self.watch_process(MAIN);
    }

    /// Puts a session's process and report into the epoll set.
    pub(super) fn watch_process(&mut self, number: u32) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else { return };
        let wanted = Some(EventFlags::IN);
        self.poller.set(&session.pidfd, Token::Process(number), &mut session.pidfd_registered, wanted);
        if let Some(start) = &mut session.start {
            self.poller.set(&start.report, Token::Report(number), &mut start.registered, wanted);
        }
    }

    /// Bytes that clients had read before they handed their sockets over go first.
    pub(super) fn take_already_read(&mut self, session: u32) {
        if !self.sessions.iter().any(|known| known.number == session && !known.waits_for_terminal()) {
            return;
        }
        let numbers: Vec<u32> = self
            .attached
            .iter()
            .filter(|client| client.session == session && !client.already_read.is_empty())
            .map(|client| client.number)
            .collect();
        for number in numbers {
            let Some(client) = self.attached.iter_mut().find(|client| client.number == number) else {
                continue;
            };
            let bytes = std::mem::take(&mut client.already_read);
            if client.stdin {
                self.take_input(number, &bytes);
            }
        }
    }

    /// The report of a start has something to say, or has ended.
    pub(super) fn read_report(&mut self, number: u32) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else { return };
        let Some(start) = &mut session.start else { return };
        let mut bytes = [0; 1024];
        loop {
            match rustix::io::read(&start.report, &mut bytes) {
                Ok(0) => break,
                Ok(count) if start.text.len() + count <= LONGEST_REPORT => {
                    start.text.extend_from_slice(&bytes[..count]);
                }
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        self.started(number);
    }

    /// The program runs, or a step has failed.
    pub(super) fn started(&mut self, number: u32) {
        let Some(session) = self.sessions.iter_mut().find(|session| session.number == number) else { return };
        let Some(mut start) = session.start.take() else { return };
        self.poller.set(&start.report, Token::Report(number), &mut start.registered, None);
        let mut report = self.isolation.report(&String::from_utf8_lossy(&start.text));
        let (peer, question) = (start.peer, start.question);
        let is_asked_for =
            self.watched.as_ref().is_some_and(|watched| watched.stop.is_some() || watched.state.stopped);
        if number == MAIN && report.was_killed && is_asked_for {
            // A life that was ended as it began, by who may.
            report.failure = None;
        }
        if let (None, Some(terminal)) = (&report.failure, start.terminal.take()) {
            match terminal_ends(&terminal) {
                Ok(ends) => {
                    session.outputs = ends.outputs.map(|end| end.map(Output::new));
                    session.stdin = ends.stdin.map(Input::new);
                }
                Err(refusal) => report.failure = Some(refusal),
            }
        }
        if let Some(refusal) = report.failure {
            self.reap_failed(number);
            if number == MAIN && peer == NOBODY {
                self.restart_failed(&refusal);
            } else if number == MAIN {
                self.abandon(peer, question, refusal);
            } else {
                self.exec_failed(number, peer, question, refusal);
            }
            return;
        }
        session.started_at = Moment::now().to_string();
        let (pid, started_at) = (session.pid, session.started_at.clone());
        let mut parts = Vec::new();
        if number == MAIN {
            if let Some(watched) = &mut self.watched {
                watched.state.status = Phase::Running;
                watched.state.pid = pid;
                watched.state.pid_start_time = state::process_start_time(pid).unwrap_or(0);
                watched.state.started_at.clone_from(&started_at);
                // Of the last life.
                (watched.state.exit_code, watched.state.oom_killed) = (0, false);
                watched.state.error.clear();
                watched.lives.began = monotonic();
                // This process is the monitor's own child, whatever the one before it was.
                watched.adopted = false;
                parts = std::mem::take(&mut watched.parts);
            }
            // What is running dies with the machine: nobody needs it after a power cut.
            self.write_state(Durability::Volatile);
            onggi_sys::fault::point("monitor.start.recorded");
            if let Some(watched) = &mut self.watched {
                watched.start_lock = None;
            }
            self.tell_networks("connect");
            self.emit("start", &[]);
            self.deliver_held_signals();
        } else {
            self.exec_runs(number);
        }
        self.answer(peer, question, Reply::Started { pid, started_at, timings: report.timings, parts });
        self.take_already_read(number);
        self.update_session(number);
    }

    /// A process whose start has failed is ending by itself.
    pub(super) fn reap_failed(&mut self, number: u32) {
        let Some(at) = self.sessions.iter().position(|session| session.number == number) else { return };
        let mut session = self.sessions.remove(at);
        self.poller.set(&session.pidfd, Token::Process(number), &mut session.pidfd_registered, None);
        if let Some(start) = &mut session.start {
            self.poller.set(&start.report, Token::Report(number), &mut start.registered, None);
        }
        // It is ending by itself, but for a failure of our own.
        let _ = onggi_sys::pidfd::send_signal(session.pidfd.as_fd(), 9);
        let _ = session.reap(true);
    }

    /// A start that failed half way leaves nothing: neither in the kernel nor under `/run`.
    fn abandon(&mut self, peer: u32, question: u32, mut refusal: Refusal) {
        let cleared = self.isolation.kill().and_then(|()| self.isolation.remove());
        if let Err(also) = cleared {
            refusal.message = format!("{}; and then {also}", refusal.message);
        }
        self.close_names();
        self.close_relay();
        onggi_sys::fault::point("monitor.start.undone");
        if let Some(mut watched) = self.watched.take() {
            watched.disconnect(&mut self.firewall.calls);
            watched.sandbox.clear();
        }
        self.give_up(peer, question, refusal);
    }

    pub(super) fn give_up(&mut self, peer: u32, question: u32, refusal: Refusal) {
        self.refuse(peer, question, refusal);
        self.outcome = Some(Outcome::Exit);
    }
}

/// More than any report.
const LONGEST_REPORT: usize = 64 * 1024;

/// How long each part of a start took.
pub(super) struct Parts {
    last: u64,
    parts: Vec<(String, u64)>,
}

impl Parts {
    pub(super) fn new() -> Parts {
        Parts { last: monotonic(), parts: Vec::new() }
    }

    fn end(&mut self, name: &str) {
        let now = monotonic();
        self.parts.push((name.to_owned(), now - self.last));
        self.last = now;
    }
}

impl Watched {
    pub(super) fn new(
        start: Start,
        directory: OwnedFd,
        sandbox: Sandbox,
        events: Writer,
        log: Log,
        state: State,
    ) -> Watched {
        Watched {
            start,
            directory,
            sandbox,
            events,
            log,
            state,
            listener: None,
            listener_registered: Registered::default(),
            memory: None,
            memory_registered: Registered::default(),
            memory_kills: 0,
            stop: None,
            home: Home::here(),
            ports: Ports::default(),
            lives: super::restart::Lives::default(),
            adopted: false,
            ended: false,
            backlog: Backlog::default(),
            start_lock: None,
            problem: None,
            parts: Vec::new(),
        }
    }
}
