//! What clients ask: who may, what is answered at once, and what is passed on to the file of its act.

use std::os::fd::{AsFd, OwnedFd};

use onggi_error::Kind;
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::attached::Attached;
use super::detach::DetachKeys;
use super::isolation::Refusal;
use super::peer::{Packet, Peer, Waiting, is_allowed};
use super::poller::{Ready, Token};
use super::session::MAIN;
use super::{Monitor, monotonic};
use crate::protocol::{
    Condition, Durability, MAX_ALREADY_READ, MAX_DETACH_KEYS, OLDEST_VERSION, Question, Reply, Request,
    Status, Streams, VERSION,
};
use crate::state::{Phase, State};

/// As many connections as are served at once.
const MOST_PEERS: usize = 256;
/// How long (nanoseconds) nobody is let in after descriptors have run out.
const REST: u64 = 200_000_000;

/// What a request leads to.
type Outcome = Result<Option<Reply>, Refusal>;

impl Monitor<'_> {
    pub(super) fn accept(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        let Some(listener) = &watched.listener else { return };
        let socket = match rustix::net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => {
                // The listener stays readable: without a rest this would be asked again at once, for ever.
                self.poller.set(listener, Token::Listener, &mut watched.listener_registered, None);
                self.listen_again_at = Some(monotonic() + REST);
                return;
            }
            Err(_) => return,
        };
        // One client that never closes must not use up what the others and the container need.
        if self.peers.len() >= MOST_PEERS {
            return;
        }
        // The socket's mode keeps others out already; a descriptor may have been handed on.
        if !is_allowed(&socket) {
            return;
        }
        // Whoever comes may have made room on the disk, or wants the container to be started again.
        if let Some(again_at) = &mut watched.backlog.again_at {
            *again_at = monotonic();
        }
        let number = self.number();
        self.peers.push(Peer::new(number, socket));
        self.update_peer(number);
    }

    /// Whether it has said something.
    pub(super) fn hear(&mut self, number: u32, ready: Ready) -> bool {
        let Some(peer) = self.peer(number) else { return false };
        if ready.contains(Ready::OUT) {
            peer.flush();
        }
        let mut heard = false;
        if ready.intersects(Ready::IN | Ready::HUP | Ready::ERR)
            && let Some(packet) = peer.receive()
        {
            heard = true;
            self.understand(number, packet);
        }
        self.update_peer(number);
        heard
    }

    fn understand(&mut self, peer: u32, packet: Packet) {
        let Question { number, request } = match serde_json::from_slice(&packet.bytes) {
            Ok(question) => question,
            Err(error) => {
                let (number, refusal) = misunderstood(&packet.bytes, &error);
                self.refuse(peer, number, refusal);
                return;
            }
        };
        match self.obey(peer, number, request, packet.descriptors) {
            Ok(Some(reply)) => self.answer(peer, number, reply),
            Ok(None) => {}
            Err(refusal) => self.refuse(peer, number, refusal),
        }
    }

    /// `Ok(None)`: the answer comes later, or was sent.
    fn obey(&mut self, peer: u32, question: u32, request: Request, descriptors: Vec<OwnedFd>) -> Outcome {
        match request {
            Request::Hello { version } => return hello(version),
            Request::Start { container } => {
                self.start(peer, question, *container, descriptors);
                return Ok(None);
            }
            Request::Adopt { pid, pid_start_time } => {
                self.adopt(peer, question, pid, pid_start_time, descriptors);
                return Ok(None);
            }
            // May come before the start, so that no output is lost and no end missed.
            Request::Attach { exec, streams } => {
                let session = self.find_session(exec.as_deref())?;
                self.attach(peer, question, session, streams, one(descriptors, "attach")?)?;
                return Ok(Some(Reply::Ok));
            }
            Request::Wait { condition, finish } => return self.wait(peer, question, condition, finish),
            Request::Subscribe => {
                if let Some(peer) = self.peer(peer) {
                    peer.subscription = Some(question);
                }
                return Ok(Some(Reply::Ok));
            }
            _ => {}
        }
        if self.watched.is_none() {
            let message = format!("`{}` before `start`", request.name());
            return Err(Refusal::new(Kind::Conflict, "request", message));
        }
        match request {
            Request::Status => {
                // Who finds it lost or damaged asks us.
                if let Some(watched) = &mut self.watched
                    && State::read(watched.directory.as_fd()).is_err()
                {
                    watched.write_state(watched.start.durability);
                }
                Ok(Some(self.status()))
            }
            Request::ExecInspect { id } => self.inspect_exec(&id).map(Some),
            Request::ReopenLogs => self.reopen_logs(),
            Request::Exec { .. } => {
                self.must_run()?;
                self.exec(peer, question, request, descriptors)?;
                Ok(None)
            }
            Request::Resize { exec, rows, columns } => self.resize(exec.as_deref(), rows, columns),
            Request::Signal { signal, exec, all } => self.signal(signal, exec.as_deref(), all),
            Request::Stop { signal, timeout_ms, starts_again } => {
                self.stop(peer, question, signal, timeout_ms, starts_again)
            }
            Request::Update { name, restart } => self.update(name, restart, descriptors),
            Request::ConnectNetwork { attachment, names } => {
                self.must_run()?;
                self.connect_network(*attachment, names)
            }
            Request::DisconnectNetwork { network, names, way_out } => {
                self.disconnect_network(&network, names, way_out)
            }
            Request::Pause => self.pause(true),
            Request::Resume => self.pause(false),
            Request::Reexec => self.reexec(peer, question, descriptors),
            _ => Err(Refusal::new(Kind::Internal, "request", "not dealt with")),
        }
    }

    fn must_run(&self) -> Result<(), Refusal> {
        if self.begins_again() || self.watched.as_ref().is_some_and(super::Watched::waits_for_restart) {
            let message = "the container is restarting, wait until the container is running";
            return Err(Refusal::new(Kind::Conflict, "request", message));
        }
        let running = self.sessions.iter().any(|session| session.number == MAIN && session.is_running());
        if running {
            Ok(())
        } else {
            Err(Refusal::new(Kind::Conflict, "request", "the container is not running"))
        }
    }

    fn find_session(&self, exec: Option<&str>) -> Result<u32, Refusal> {
        match exec {
            None if self.watched.as_ref().is_some_and(|watched| watched.ended) => {
                Err(Refusal::new(Kind::Conflict, "request", "the container has ended"))
            }
            None => Ok(MAIN),
            Some(id) => self
                .sessions
                .iter()
                .find(|session| session.number != MAIN && session.id == id)
                .map(|session| session.number)
                .ok_or_else(|| Refusal::new(Kind::NotFound, "request", format!("no exec session {id}"))),
        }
    }

    pub(super) fn attach(
        &mut self,
        peer: u32,
        question: u32,
        session: u32,
        streams: Streams,
        socket: OwnedFd,
    ) -> Result<(), Refusal> {
        let keys = check_streams(&streams, &socket)?;
        let Streams { stdin, stdout, stderr, framed, already_read, .. } = streams;
        let number = self.number();
        self.attached.push(Attached {
            number,
            socket,
            session,
            peer,
            question,
            stdin,
            feeds_stdin: stdin,
            listening: true,
            stdout,
            stderr,
            framed,
            keys,
            pending: Vec::new(),
            already_read,
            closing: false,
            registered: super::Registered::default(),
        });
        self.take_already_read(session);
        if session == MAIN && self.watched.is_some() {
            self.emit("attach", &[]);
        }
        self.update_session(session);
        Ok(())
    }

    fn wait(&mut self, peer: u32, question: u32, condition: Condition, finish: bool) -> Outcome {
        let exec = match condition {
            Condition::Exited => None,
            Condition::ExecExited { id } => {
                let known = self.sessions.iter().any(|session| session.number != MAIN && session.id == id)
                    || self.ended_execs.code(&id).is_some();
                if !known {
                    return Err(Refusal::new(Kind::NotFound, "wait", format!("no exec session {id}")));
                }
                Some(id)
            }
        };
        if let Some(peer) = self.peer(peer) {
            peer.finishes |= finish;
            peer.waits.push(Waiting { question, exec, end: None });
        }
        self.answer(peer, question, Reply::Ok);
        self.answer_waits();
        Ok(None)
    }

    fn status(&self) -> Reply {
        let Some(watched) = &self.watched else { return Reply::Ok };
        let execs =
            self.sessions.iter().filter(|session| session.number != MAIN).map(|session| session.id.clone());
        Reply::Status(Box::new(Status {
            id: watched.start.id.clone(),
            status: watched.state.status.name().to_owned(),
            pid: watched.state.pid,
            started_at: watched.state.started_at.clone(),
            monitor_pid: std::process::id().cast_signed(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            adopted: watched.adopted,
            execs: execs.collect(),
            attached: u32::try_from(self.attached.len()).unwrap_or(u32::MAX),
            problem: watched.problem.clone().or_else(|| watched.log.loss()),
        }))
    }

    fn reopen_logs(&mut self) -> Outcome {
        let Some(watched) = &mut self.watched else { return Ok(None) };
        watched.log.reopen().map_err(|error| Refusal::io("reopen-logs", "open log/json.log", &error))?;
        Ok(Some(Reply::Ok))
    }

    fn resize(&mut self, exec: Option<&str>, rows: u16, columns: u16) -> Outcome {
        let number = self.find_session(exec)?;
        let session =
            self.session(number).ok_or_else(|| Refusal::new(Kind::Conflict, "resize", "not running"))?;
        let terminal = session.outputs[0].as_ref().filter(|_| session.has_terminal);
        let Some(terminal) = terminal else {
            return Err(Refusal::new(Kind::Conflict, "resize", "it has no terminal"));
        };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&terminal.descriptor, size).map_err(|errno| {
            Refusal::io("resize", format!("set the size {rows}x{columns}"), &errno.into())
        })?;
        if number == MAIN {
            self.emit("resize", &[("height", rows.to_string()), ("width", columns.to_string())]);
        }
        Ok(Some(Reply::Ok))
    }

    fn signal(&mut self, signal: i32, exec: Option<&str>, all: bool) -> Outcome {
        let number = self.find_session(exec)?;
        if exec.is_none() && self.ends_life(signal) && self.cancel_restart(false) {
            return Ok(Some(Reply::Ok));
        }
        if exec.is_none() && signal != 0 && self.begins_again() {
            self.hold_signal(signal);
            return Ok(Some(Reply::Ok));
        }
        if all {
            self.must_run()?;
            self.isolation.signal_all(signal)?;
        } else {
            self.send_signal(number, signal)?;
        }
        if exec.is_none() && signal != 0 {
            self.emit("kill", &[("signal", signal.to_string())]);
        }
        if signal == KILL {
            self.thaw()?;
        }
        Ok(Some(Reply::Ok))
    }

    /// Whether who sends this signal means the container to end: SIGKILL, or what `stop` sends.
    fn ends_life(&self, signal: i32) -> bool {
        let own = self.watched.as_ref().map_or(0, |watched| watched.start.stop_signal);
        signal == KILL || signal == if own == 0 { TERM } else { own }
    }

    pub(super) fn send_signal(&mut self, number: u32, signal: i32) -> Result<(), Refusal> {
        let session =
            self.session(number).ok_or_else(|| Refusal::new(Kind::Conflict, "signal", "not running"))?;
        let pid = session.pid;
        onggi_sys::pidfd::send_signal(session.pidfd.as_fd(), signal)
            .map_err(|error| Refusal::io("signal", format!("send signal {signal} to process {pid}"), &error))
    }

    fn stop(
        &mut self,
        peer: u32,
        question: u32,
        signal: i32,
        timeout_ms: Option<u64>,
        starts_again: bool,
    ) -> Outcome {
        if let Some(watched) = self.watched.as_ref().filter(|watched| watched.ended) {
            return Ok(Some(super::end::exited(watched)));
        }
        if self.cancel_restart(starts_again) {
            self.emit("stop", &[]);
            return Ok(self.watched.as_ref().map(super::end::exited));
        }
        let own = self.watched.as_ref().map_or(0, |watched| watched.start.stop_signal);
        let signal = [signal, own, TERM].into_iter().find(|&signal| signal != 0).unwrap_or(TERM);
        let begins = self.begins_again();
        if begins {
            self.hold_signal(signal);
        } else {
            self.must_run()?;
            match self.send_signal(MAIN, signal) {
                Ok(()) => {
                    onggi_sys::fault::point("monitor.stop.signalled");
                    self.emit("kill", &[("signal", signal.to_string())]);
                }
                // It is ending this very moment.
                Err(refusal) if refusal.errno == rustix::io::Errno::SRCH.raw_os_error() => {}
                Err(refusal) => return Err(refusal),
            }
        }
        let deadline =
            timeout_ms.map(|timeout| monotonic().saturating_add(timeout.saturating_mul(1_000_000)));
        if let Some(watched) = &mut self.watched {
            let stop = watched.stop.get_or_insert_default();
            stop.asked.push((peer, question));
            stop.deadline = [stop.deadline, deadline].into_iter().flatten().min();
        }
        if !begins {
            self.thaw()?;
        }
        Ok(None)
    }

    /// The time of a stop is over.
    pub(super) fn kill_for_stop(&mut self) {
        // It fails only if the process has ended this very moment, which is what was asked for.
        if self.send_signal(MAIN, KILL).is_ok() {
            onggi_sys::fault::point("monitor.stop.killed");
            self.emit("kill", &[("signal", KILL.to_string())]);
        }
        if let (Err(refusal), Some(watched)) = (self.thaw(), &mut self.watched) {
            watched.problem = Some(refusal.to_string());
        }
    }

    fn pause(&mut self, pause: bool) -> Outcome {
        self.must_run()?;
        let Some(watched) = &mut self.watched else { return Ok(None) };
        let wanted = if pause { Phase::Paused } else { Phase::Running };
        if watched.state.status == wanted {
            let message =
                if pause { "the container is paused already" } else { "the container is not paused" };
            return Err(Refusal::new(Kind::Conflict, "pause", message));
        }
        self.isolation.freeze(pause)?;
        onggi_sys::fault::point("monitor.pause.frozen");
        watched.state.status = wanted;
        self.write_state(Durability::Volatile);
        self.emit(if pause { "pause" } else { "unpause" }, &[]);
        Ok(Some(Reply::Ok))
    }

    /// Lets a container go on that is to end: what is frozen does not even die.
    fn thaw(&mut self) -> Result<(), Refusal> {
        let paused = self.watched.as_ref().is_some_and(|watched| watched.state.status == Phase::Paused);
        if paused {
            return self.pause(false).map(|_| ());
        }
        // Somebody else may have frozen it, past the monitor; a host without a freezer freezes nothing.
        let _ = self.isolation.freeze(false);
        Ok(())
    }

    pub(super) fn refuse(&mut self, peer: u32, question: u32, refusal: Refusal) {
        if let Some(peer) = self.peer(peer) {
            peer.refuse(question, refusal);
        }
        self.update_peer(peer);
    }

    pub(super) fn update_peer(&mut self, number: u32) {
        let Some(peer) = self.peers.iter_mut().find(|peer| peer.number == number) else { return };
        let wanted = if peer.queue.is_empty() { Ready::IN } else { Ready::IN | Ready::OUT };
        let wanted = (!peer.gone).then_some(wanted);
        self.poller.set(&peer.socket, Token::Peer(number), &mut peer.registered, wanted);
    }

    /// A client's streams stay when its control connection ends: it may have been a door that only handed a socket over.
    pub(super) fn forget_gone_peers(&mut self) {
        self.peers.retain(|peer| !peer.gone);
        if self.peers.is_empty() && self.watched.is_none() {
            // The spawner is gone and has started nothing.
            self.outcome.get_or_insert(super::Outcome::Exit);
        }
    }
}

const TERM: i32 = 15;
pub(super) const KILL: i32 = 9;

fn hello(version: u32) -> Outcome {
    if version < OLDEST_VERSION {
        let message = format!(
            "protocol version {version} is older than {OLDEST_VERSION}, the oldest that this monitor speaks"
        );
        return Err(Refusal::new(Kind::Unsupported, "hello", message));
    }
    Ok(Some(Reply::Hello {
        version: version.min(VERSION),
        pid: std::process::id().cast_signed(),
        program: env!("CARGO_PKG_VERSION").to_owned(),
    }))
}

/// Whether a client's stream is one that can be served.
pub(super) fn check_streams(streams: &Streams, socket: &OwnedFd) -> Result<DetachKeys, Refusal> {
    let invalid = |message: String| Refusal::new(Kind::InvalidInput, "attach", message);
    if streams.already_read.len() > MAX_ALREADY_READ {
        return Err(invalid(format!("more than {MAX_ALREADY_READ} bytes were read already")));
    }
    // epoll takes no plain file, and what is no socket knows no MSG_DONTWAIT.
    rustix::net::sockopt::socket_type(socket)
        .map_err(|errno| Refusal::io("attach", "use the descriptor as a stream socket", &errno.into()))?;
    DetachKeys::new(streams.detach_keys.clone())
        .ok_or_else(|| invalid(format!("more than {MAX_DETACH_KEYS} detach keys")))
}

/// The descriptor that must come with a request.
pub(super) fn one(descriptors: Vec<OwnedFd>, op: &'static str) -> Result<OwnedFd, Refusal> {
    let count = descriptors.len();
    match <[OwnedFd; 1]>::try_from(descriptors) {
        Ok([descriptor]) => Ok(descriptor),
        Err(_) => Err(Refusal::new(
            Kind::InvalidInput,
            op,
            format!("`{op}` came with {count} descriptors in place of one"),
        )),
    }
}

/// Why a packet means nothing, and the number of its question as far as it can be told.
fn misunderstood(packet: &[u8], error: &serde_json::Error) -> (u32, Refusal) {
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        number: u32,
        #[serde(default)]
        op: String,
    }
    match serde_json::from_slice::<Head>(packet) {
        Ok(head) => {
            let message =
                format!("this monitor (protocol {VERSION}) does not understand `{}`: {error}", head.op);
            (head.number, Refusal::new(Kind::Unsupported, "request", message))
        }
        Err(_) => (0, Refusal::new(Kind::InvalidInput, "request", format!("not a request: {error}"))),
    }
}
