//! Exec sessions: second processes with streams of their own, which are not logged.

use std::os::fd::{AsFd, OwnedFd};

use onggi_error::Kind;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::Monitor;
use super::isolation::{Refusal, Stdio};
use super::pace::Pace;
use super::poller::Registered;
use super::requests::check_streams;
use super::session::{Input, MAIN, Output, Session, Starting};
use super::streams::null;
use crate::protocol::{Reply, Request};

/// Our ends and those of the process.
type Pipes = ([Option<Output>; 2], Option<Input>, [OwnedFd; 3]);

impl Monitor<'_> {
    pub(super) fn exec(
        &mut self,
        peer: u32,
        question: u32,
        request: Request,
        descriptors: Vec<OwnedFd>,
    ) -> Result<(), Refusal> {
        let Request::Exec { id, terminal, size, detach, command, streams } = request else { return Ok(()) };
        let invalid = |message: String| Refusal::new(Kind::InvalidInput, "exec", message);
        let wanted = if detach { 1 } else { 2 };
        if descriptors.len() != wanted {
            return Err(invalid(format!(
                "`exec` came with {} descriptors in place of {wanted}",
                descriptors.len()
            )));
        }
        if self.sessions.iter().any(|session| session.number != MAIN && session.id == id) {
            return Err(Refusal::new(
                Kind::AlreadyExists,
                "exec",
                format!("there is an exec session {id} already"),
            ));
        }
        if self.watched.as_ref().is_some_and(|watched| watched.state.status == crate::state::Phase::Paused) {
            return Err(Refusal::new(Kind::Conflict, "exec", "the container is paused"));
        }
        let mut descriptors = descriptors.into_iter();
        let (Some(plan), socket) = (descriptors.next(), descriptors.next()) else { return Ok(()) };
        if let Some(socket) = &socket {
            check_streams(&streams, socket)?;
        }
        let (outputs, stdin, theirs) = pipes(!detach, streams.stdin && !detach)?;
        let stdio = if terminal { Stdio::Terminal { size } } else { Stdio::Files(theirs) };
        let Some(main) = self.sessions.iter().find(|session| session.number == MAIN) else { return Ok(()) };
        // The new process begins with the score that the monitor was given, not with its own.
        self.oom_score.restore();
        let joined = self.isolation.join(main.pidfd.as_fd(), plan.as_fd(), stdio);
        self.oom_score.protect();
        let process = joined?;
        onggi_sys::fault::point("monitor.exec.cloned");
        let starting = match Starting::new(process.report, process.terminal, peer, question) {
            Ok(starting) => starting,
            Err(refusal) => {
                // Nobody would look after it.
                let _ = onggi_sys::pidfd::send_signal(process.pidfd.as_fd(), 9);
                return Err(refusal);
            }
        };
        // A terminal's ends come when the program runs.
        let (outputs, stdin) = if terminal { ([None, None], None) } else { (outputs, stdin) };
        let number = self.number();
        self.sessions.push(Session {
            number,
            id: id.clone(),
            command: command.clone(),
            pid: process.pid,
            pidfd: process.pidfd,
            pidfd_registered: Registered::default(),
            has_terminal: terminal,
            outputs,
            pace: Pace::default(),
            stdin,
            stdin_once: true,
            start: Some(starting),
            started_at: String::new(),
        });
        self.watch_process(number);
        self.emit(&format!("exec_create: {command}"), &[("execID", id)]);
        if let Some(socket) = socket {
            self.attach(peer, question, number, streams, socket)?;
        }
        self.update_session(number);
        Ok(())
    }

    /// Its program runs.
    pub(super) fn exec_runs(&mut self, number: u32) {
        onggi_sys::fault::point("monitor.exec.started");
        let Some(session) = self.session(number) else { return };
        let (action, id) = (format!("exec_start: {}", session.command), session.id.clone());
        self.emit(&action, &[("execID", id)]);
    }

    /// Its program could not be run. The session is gone already.
    pub(super) fn exec_failed(&mut self, number: u32, peer: u32, question: u32, refusal: Refusal) {
        self.refuse(peer, question, refusal);
        self.end_clients(number);
    }

    /// Its process has ended.
    pub(super) fn exec_ended(&mut self, number: u32, code: i32) {
        // What the process itself wrote is there by now; what it left behind in the background may write for ever.
        self.drain(number);
        let Some(at) = self.sessions.iter().position(|session| session.number == number) else { return };
        let mut session = self.sessions.remove(at);
        self.unwatch(&mut session);
        let id = std::mem::take(&mut session.id);
        drop(session);
        self.ended_execs.add(&id, code);
        self.emit("exec_die", &[("execID", id), ("exitCode", code.to_string())]);
        onggi_sys::fault::point("monitor.exec.ended");
        self.end_clients(number);
        self.answer_waits();
    }

    pub(super) fn inspect_exec(&self, id: &str) -> Result<Reply, Refusal> {
        if let Some(session) = self.sessions.iter().find(|session| session.number != MAIN && session.id == id)
        {
            return Ok(Reply::Exec { running: session.is_running(), pid: session.pid, code: None });
        }
        match self.ended_execs.code(id) {
            Some(code) => Ok(Reply::Exec { running: false, pid: 0, code: Some(code) }),
            None => Err(Refusal::new(Kind::NotFound, "exec-inspect", format!("no exec session {id}"))),
        }
    }
}

/// Pipes for standard output and error if somebody listens, and for standard input if somebody may write it; else `/dev/null`.
fn pipes(output: bool, input: bool) -> Result<Pipes, Refusal> {
    let fail = |errno: rustix::io::Errno| Refusal::io("monitor.exec", "make a pipe", &errno.into());
    let pipe = || -> Result<(OwnedFd, OwnedFd), Refusal> { pipe_with(PipeFlags::CLOEXEC).map_err(fail) };
    let own = |end: &OwnedFd| rustix::io::ioctl_fionbio(end, true).map_err(fail);
    let mut outputs = [None, None];
    let mut theirs = [None, None];
    for (ours, their) in outputs.iter_mut().zip(&mut theirs) {
        if output {
            let (read, write) = pipe()?;
            own(&read)?;
            (*ours, *their) = (Some(Output::new(read)), Some(write));
        }
    }
    let [stdout, stderr] = theirs;
    let or_null = |end: Option<OwnedFd>| end.map_or_else(|| null(OFlags::WRONLY), Ok);
    let (stdin, their_stdin) = if input {
        let (read, write) = pipe()?;
        own(&write)?;
        (Some(Input::new(write)), read)
    } else {
        (None, null(OFlags::RDONLY)?)
    };
    Ok((outputs, stdin, [their_stdin, or_null(stdout)?, or_null(stderr)?]))
}
