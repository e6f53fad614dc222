//! The end of a process: the container's own, for which nobody types anything, and what it takes with it.
//!
//! In this order: whoever is left is killed, the output is read to its end, the cgroup goes, the final state is written, the event, the
//! sandbox's directory; then those who wait are told, each after the streams that it attached were given all. If the disk does not take
//! the state, those who wait are told all the same, and the monitor stays in its sandbox until it does ([`super::backlog`]).

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::log::Stream;
use super::poller::Token;
use super::session::{LOST, MAIN, Session};
use super::{Monitor, Watched};
use crate::clock::Moment;
use crate::protocol::Reply;
use crate::state::Phase;

/// What the state says of an end that nobody saw.
const LOST_WHY: &str = "its monitor was killed and another one took over, to which the kernel (before Linux 6.15) does not tell the exit code: 255 stands for it";

impl Monitor<'_> {
    /// A process descriptor has become readable.
    pub(super) fn process_ended(&mut self, number: u32) {
        let Some(session) = self.session(number) else { return };
        if session.start.is_some() {
            // A short program ends before its start was noticed. With the process its report has ended as well.
            self.read_report(number);
            self.started(number);
        }
        let Some(session) = self.session(number) else { return };
        let Some(code) = session.reap(false) else { return };
        if number == MAIN {
            self.container_ended(code);
        } else {
            self.exec_ended(number, code);
        }
    }

    /// SIGCHLD. That of a session is told by its own descriptor as well.
    pub(super) fn some_child_ended(&mut self) {
        while let Ok(Some(_)) = self.endings.try_next() {}
        self.strays_due = true;
    }

    /// Reaps children that have no session: a start that was given up while a freezer held its process leaves it to die later. In the
    /// container's pid namespace it would, unreaped, keep the first process from ending for ever (`pid_namespaces(7)`).
    pub(super) fn reap_strays(&mut self) {
        while self.strays_due {
            let ended = onggi_sys::clone::ended_child();
            // A session's comes with its own event; whoever may be behind it is looked for after that.
            if ended.is_some_and(|pid| self.sessions.iter().any(|session| session.pid == pid)) {
                return;
            }
            let stray = ended.and_then(Pid::from_raw);
            let reaped = stray.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
            if let (Some(pid), Some(Ok(Some(_)))) = (stray, &reaped) {
                self.rebuild_ended(pid);
            }
            self.strays_due = matches!(reaped, Some(Ok(Some(_))));
        }
    }

    fn container_ended(&mut self, code: i32) {
        let finished_at = Moment::now().to_string();
        onggi_sys::fault::point("monitor.end.reaped");
        // With a pid namespace all are dead already; without one, these are what the first process has left behind.
        let mut problems: Vec<String> = self.isolation.kill().err().iter().map(ToString::to_string).collect();
        let is_adopted = self.watched.as_ref().is_some_and(|watched| watched.adopted);
        if code == LOST && is_adopted && self.session(MAIN).is_some_and(|session| session.is_code_hidden()) {
            problems.push(LOST_WHY.to_owned());
        }
        let others: Vec<u32> =
            self.sessions.iter().map(|session| session.number).filter(|&n| n != MAIN).collect();
        for number in others {
            let code = self.session(number).and_then(|session| session.reap(true)).unwrap_or(LOST);
            if self.session(number).is_some_and(|session| session.start.is_some()) {
                self.read_report(number);
                self.started(number);
            }
            self.exec_ended(number, code);
        }
        self.drain(MAIN);
        self.close_names();
        let oom_killed = self.count_memory_kills();
        problems.extend(self.isolation.remove().err().iter().map(ToString::to_string));
        onggi_sys::fault::point("monitor.end.removed");
        if let Some(at) = self.sessions.iter().position(|session| session.number == MAIN) {
            let mut session = self.sessions.remove(at);
            self.unwatch(&mut session);
        }
        self.record_end(code, oom_killed, finished_at, &problems);
        // Those of this life take its rest and get nothing of the next.
        let life = self.number();
        for client in self.attached.iter_mut().filter(|client| client.session == MAIN) {
            client.session = life;
        }
        self.end_clients(life);
        if self.watched.as_ref().is_some_and(|watched| watched.ended) {
            self.answer_stop();
        }
        self.answer_waits();
    }

    fn record_end(&mut self, code: i32, oom_killed: bool, finished_at: String, problems: &[String]) {
        let Some(watched) = &mut self.watched else { return };
        watched.log.finish(Moment::now());
        let lost = watched.log.say_loss();
        let again = watched.plan_next_life(code);
        watched.state.status = if again { Phase::Restarting } else { Phase::Exited };
        watched.state.pid = 0;
        watched.state.pid_start_time = 0;
        watched.state.exit_code = code;
        watched.state.oom_killed = oom_killed;
        watched.state.finished_at = finished_at;
        let problems: Vec<String> = problems.iter().cloned().chain(lost).collect();
        if !problems.is_empty() {
            watched.state.error = problems.join("; ");
            watched.problem = Some(watched.state.error.clone());
        }
        let durability = watched.start.durability;
        self.write_state(durability);
        onggi_sys::fault::point("monitor.end.recorded");
        self.emit("die", &[("exitCode", code.to_string())]);
        if self.watched.as_ref().is_some_and(|watched| watched.stop.is_some()) {
            self.emit("stop", &[]);
        }
        onggi_sys::fault::point("monitor.end.told");
        self.note_end();
        let Some(watched) = &mut self.watched else { return };
        if let Some(memory) = watched.memory.take() {
            self.poller.set(&memory, Token::Memory, &mut watched.memory_registered, None);
        }
        if !again {
            self.close();
        }
    }

    /// It has ended for good.
    pub(super) fn close(&mut self) {
        self.tell_networks("disconnect");
        self.leave_firewall();
        let Some(watched) = &mut self.watched else { return };
        watched.disconnect(&mut self.firewall.calls);
        self.close_relay();
        let Some(watched) = &mut self.watched else { return };
        onggi_sys::fault::point("monitor.end.disconnected");
        watched.ended = true;
        if !watched.must_stay() && !watched.backlog.has_state() {
            self.leave_sandbox();
        }
        onggi_sys::fault::point("monitor.end.cleared");
    }

    /// Who waits for an end has seen this one, whatever becomes of the container before the answer can go.
    fn note_end(&mut self) {
        let Some(watched) = &self.watched else { return };
        let waits = self.peers.iter_mut().flat_map(|peer| &mut peer.waits);
        for wait in waits.filter(|wait| wait.exec.is_none() && wait.end.is_none()) {
            wait.end = Some(exited(watched));
        }
    }

    /// From here on nobody lives here: who comes next reads the final state.
    pub(super) fn leave_sandbox(&mut self) {
        let Some(watched) = &mut self.watched else { return };
        if let Some(listener) = watched.listener.take() {
            self.poller.set(&listener, Token::Listener, &mut watched.listener_registered, None);
            watched.sandbox.clear();
        }
    }

    /// The kernel has killed for want of memory, or the cgroup was removed.
    pub(super) fn memory_ran_out(&mut self) {
        if let Some(memory) = self.watched.as_ref().and_then(|watched| watched.memory.as_ref()) {
            // An eventfd's counter or inotify's events: only that there were some counts.
            let mut seen = [0; 512];
            let _ = rustix::io::read(memory, &mut seen);
        }
        self.count_memory_kills();
    }

    /// Whether the kernel has killed in this container, ever. New kills become an event.
    fn count_memory_kills(&mut self) -> bool {
        let kills = self.isolation.memory_kills();
        let Some(watched) = &mut self.watched else { return false };
        let new = kills > watched.memory_kills;
        watched.memory_kills = kills;
        if new {
            self.emit("oom", &[]);
        }
        kills > 0
    }

    /// Takes a session's descriptors out of the epoll set.
    pub(super) fn unwatch(&self, session: &mut Session) {
        let number = session.number;
        self.poller.set(&session.pidfd, Token::Process(number), &mut session.pidfd_registered, None);
        for (stream, token) in
            [(Stream::Stdout, Token::Stdout(number)), (Stream::Stderr, Token::Stderr(number))]
        {
            if let Some(output) = &mut session.outputs[stream as usize] {
                self.poller.set(&output.descriptor, token, &mut output.registered, None);
            }
        }
        if let Some(input) = &mut session.stdin {
            self.poller.set(&input.descriptor, Token::Stdin(number), &mut input.registered, None);
        }
    }

    /// The streams of a session end, each as soon as its client has taken the rest.
    pub(super) fn end_clients(&mut self, session: u32) {
        for client in self.attached.iter_mut().filter(|client| client.session == session) {
            client.closing = true;
        }
        self.update_session(session);
    }

    pub(super) fn answer_stop(&mut self) {
        let asked = self.watched.as_mut().and_then(|watched| watched.stop.take()).map(|stop| stop.asked);
        let Some(reply) = self.watched.as_ref().map(exited) else { return };
        for (peer, question) in asked.unwrap_or_default() {
            self.answer(peer, question, reply.clone());
        }
    }

    /// Tells those whose wait is over and whose streams were given everything.
    pub(super) fn answer_waits(&mut self) {
        let mut answers = Vec::new();
        for peer in &mut self.peers {
            let (attached, sessions) = (&self.attached, &self.sessions);
            let (ended, watched) = (&self.ended_execs, self.watched.as_ref());
            let number = peer.number;
            // A client's stream that still has something to take, of this peer.
            let busy = attached.iter().any(|client| client.peer == number && client.closing);
            peer.waits.retain(|wait| {
                let reply = match &wait.exec {
                    None => wait.end.clone().or_else(|| watched.filter(|watched| watched.ended).map(exited)),
                    Some(id)
                        if sessions.iter().any(|session| session.number != MAIN && session.id == *id) =>
                    {
                        None
                    }
                    Some(id) => {
                        let code = ended.code(id).unwrap_or(LOST);
                        let finished_at = Moment::now().to_string();
                        Some(Reply::Exited { code, oom_killed: false, finished_at, error: None })
                    }
                };
                match reply {
                    Some(reply) if !busy => {
                        answers.push((number, wait.question, reply));
                        false
                    }
                    _ => true,
                }
            });
        }
        for (peer, question, reply) in answers {
            self.answer(peer, question, reply);
        }
    }

    /// Becomes the program that removes the container: by now the monitor has nothing left to do, so no second process is needed.
    pub(super) fn finish(&mut self) -> u8 {
        let Some(watched) = &self.watched else { return 125 };
        onggi_sys::fault::point("monitor.end.finish");
        self.oom_score.restore();
        onggi_sys::process::unblock_signals();
        let start = &watched.start;
        let text = |text: &OsStr| CString::new(text.as_bytes()).unwrap_or_default();
        let program = text(start.finish_program.as_os_str());
        let mut arguments = vec![program.clone()];
        arguments.extend(start.finish_args.iter().map(|argument| text(OsStr::new(argument))));
        arguments.extend([c"container", c"finish"].map(ToOwned::to_owned));
        arguments.push(text(OsStr::new(&start.id)));
        let environment: Vec<CString> = std::env::vars_os()
            .map(|(name, value)| text(OsStr::from_bytes(&[name.as_bytes(), b"=", value.as_bytes()].concat())))
            .collect();
        // It returns only if it failed. The next command finds the container ended and not removed, and removes it.
        let _ = onggi_sys::process::execve(&program, &arguments, &environment);
        125
    }
}

pub(super) fn exited(watched: &Watched) -> Reply {
    let state = &watched.state;
    Reply::Exited {
        code: state.exit_code,
        oom_killed: state.oom_killed,
        finished_at: state.finished_at.clone(),
        error: (!state.error.is_empty()).then(|| state.error.clone()),
    }
}
