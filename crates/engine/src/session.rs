//! A started or attached process as a caller holds it: one stream for its input and output, and a way to steer and await it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use onggi_monitor::client::{self, Connection};
use onggi_monitor::protocol::{Reply, Request};
use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::Engine;
use crate::error::Error;
use crate::id::ContainerId;
use crate::request::WaitCondition;
use crate::summary::Exit;

/// A process that was started, or attached to.
#[derive(Debug)]
pub struct Session {
    pub id: ContainerId,
    pub name: String,
    /// Whether the stream is a terminal's: raw bytes in both directions. Without one, output comes in Docker's frames of an
    /// 8-byte header (`[stream, 0, 0, 0, length as big-endian u32]`) and input is raw.
    pub tty: bool,
    /// `None` when nothing was attached. Half-closing it ends the standard input; it ends when the output is drained or the client's
    /// detach keys were typed.
    pub stream: Option<UnixStream>,
    /// If they were asked for.
    pub timings: Timings,
    /// What a person should know of this start.
    pub warnings: Vec<String>,
    pub(crate) connection: Connection,
    /// The question whose answer is the end.
    pub(crate) wait: Option<u32>,
    /// The question whose second answer says that the detach keys were typed.
    pub(crate) attach: Option<u32>,
    /// This session takes the container away at its end.
    pub(crate) remove: bool,
    pub(crate) target: Target,
    pub(crate) engine: Engine,
}

/// How much of a stream waits in each direction for who is slower (bytes; the kernel doubles it for what it keeps beside them). A
/// quarter of it by default, and on a busy machine each time that it is full is a wait of milliseconds.
const STREAM_ROOM: usize = 512 * 1024;

/// The two ends of a stream: ours, and the one to hand over.
pub(crate) fn stream_pair() -> Result<(UnixStream, UnixStream), Error> {
    let (ours, theirs) = UnixStream::pair().map_err(|source| Error::Kernel { act: "socketpair", source })?;
    for end in [&ours, &theirs] {
        // More than the host allows becomes what it allows (`net.core.wmem_max`).
        set_socket_send_buffer_size(end, STREAM_ROOM)
            .map_err(|errno| Error::Kernel { act: "setsockopt(SO_SNDBUF)", source: errno.into() })?;
    }
    Ok((ours, theirs))
}

/// Which process of which container.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub sandbox: PathBuf,
    pub id: ContainerId,
    pub exec: Option<String>,
}

/// Steers a process from any thread; cheap to clone. It connects anew for each act.
#[derive(Debug, Clone)]
pub struct Controller {
    target: Target,
}

/// Nanoseconds that each part of a start took. The process's steps begin while the monitor clones it, and run beside what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timings {
    pub monitor: Vec<(String, u64)>,
    pub process: Vec<(String, u64)>,
}

impl Session {
    /// For other threads than the one that waits.
    #[must_use]
    pub fn controller(&self) -> Controller {
        Controller { target: self.target.clone() }
    }

    /// Waits until the process has ended and its output is drained, or its client has typed the detach keys. A container with
    /// `--rm` that this session started attached is removed before this returns.
    ///
    /// # Errors
    /// The monitor does not answer and the final state is not written either.
    pub fn wait(mut self) -> Result<Exit, Error> {
        let Some(wait) = self.wait else { return self.engine.wait(&self.id, WaitCondition::NotRunning) };
        loop {
            let answer = match self.connection.receive() {
                Ok(answer) => answer,
                // The monitor was killed. What became of the container is the reconciler's to find out.
                Err(_) if self.target.exec.is_none() => {
                    let exit = self.engine.wait(&self.id, WaitCondition::NotRunning)?;
                    if self.remove {
                        self.engine.finish(&self.id)?;
                    }
                    return Ok(exit);
                }
                Err(error) => return Err(self.engine.monitor_error(&self.id, &error)),
            };
            match answer.reply {
                Reply::Exited { code, oom_killed, finished_at, error } if answer.number == wait => {
                    if self.remove {
                        self.engine.finish(&self.id)?;
                    }
                    return Ok(Exit { code, oom_killed, finished_at, error, detached: false });
                }
                Reply::Detached if Some(answer.number) == self.attach => {
                    return Ok(Exit {
                        code: 0,
                        oom_killed: false,
                        finished_at: String::new(),
                        error: None,
                        detached: true,
                    });
                }
                Reply::Error { step, errno, message, .. } if answer.number == wait => {
                    let id = self.id.to_string();
                    return Err(match self.target.exec {
                        Some(_) => Error::Exec { id, step, errno, message },
                        None => Error::Start { id, step, errno, message },
                    });
                }
                _ => {}
            }
        }
    }
}

impl Controller {
    /// Tells the terminal its new size.
    ///
    /// # Errors
    /// The process has ended, or has no terminal.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Error> {
        self.order(&Request::Resize { exec: self.target.exec.clone(), rows, columns })
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        self.order(&Request::Signal { signal, exec: self.target.exec.clone(), all: false })
    }

    fn order(&self, request: &Request) -> Result<(), Error> {
        let fail = |error: onggi_monitor::Error| Error::Monitor {
            id: self.target.id.to_string(),
            message: error.to_string(),
        };
        let mut connection = client::connect(&self.target.sandbox).map_err(fail)?;
        connection.order(request, &[]).map_err(fail)?;
        Ok(())
    }
}
