//! A started or attached process as a caller holds it: one stream for its input and output, and a way to steer and await it.

use std::os::unix::net::UnixStream;

use crate::error::Error;
use crate::id::ContainerId;
use crate::summary::Exit;

/// A process that was started, or attached to.
#[derive(Debug)]
pub struct Session {
    pub id: ContainerId,
    pub name: String,
    /// Whether the stream is a terminal's: raw bytes in both directions. Without one, output comes in Docker's frames of an
    /// 8-byte header (`[stream, 0, 0, 0, length as big-endian u32]`) and input is raw.
    pub tty: bool,
    /// `None` when nothing was attached. Half-closing it ends the standard input.
    pub stream: Option<UnixStream>,
    /// Nanoseconds that each step took, if that was asked for.
    pub timings: Vec<(String, u64)>,
    controller: Controller,
}

/// Steers a process from any thread; cheap to clone. It connects anew for each act.
#[derive(Debug, Clone)]
pub struct Controller {
    id: ContainerId,
}

impl Session {
    /// The process's first id on the host.
    #[must_use]
    pub fn controller(&self) -> Controller {
        self.controller.clone()
    }

    /// Waits until the process has ended and its output is drained. For a container with `--rm` it also removes it.
    ///
    /// # Errors
    /// The monitor does not answer and the final state is not written either.
    pub fn wait(self) -> Result<Exit, Error> {
        Err(Error::NotBuilt { what: "wait".to_owned() })
    }
}

impl Controller {
    /// Tells the terminal its new size.
    ///
    /// # Errors
    /// The process has ended, or has no terminal.
    pub fn resize(&self, _rows: u16, _columns: u16) -> Result<(), Error> {
        Err(Error::NotBuilt { what: format!("resize of {:?}", self.id) })
    }

    /// Sends a signal to the process.
    ///
    /// # Errors
    /// The process has ended.
    pub fn signal(&self, _signal: i32) -> Result<(), Error> {
        Err(Error::NotBuilt { what: "signal".to_owned() })
    }
}
