//! Monitors that go on as another program: what makes an upgrade of Onggi reach the containers that run meanwhile.

use std::fs::File;
use std::os::fd::AsFd;

use onggi_monitor::protocol::Request;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;

impl Engine {
    /// Has the monitor of a running container execute the program that is installed now, in its own place: same process, same children,
    /// same streams. Nobody who is attached, waits or stops notices.
    ///
    /// # Errors
    /// It does not run; the program cannot be opened, or cannot go on from where the present one stands, and then nothing has happened.
    pub fn upgrade_monitor(&self, id: &ContainerId) -> Result<(), Error> {
        if !status(&self.state(id)?).is_live() {
            return Err(Error::NotRunning { id: id.to_string() });
        }
        let path = self.monitor_program()?;
        let program = File::open(&path).map_err(Error::io("open", &path))?;
        match self.connect(id)?.call(&Request::Reexec, &[program.as_fd()]) {
            Ok(_) => Ok(()),
            Err(onggi_monitor::Error::Refused { message, .. }) => {
                Err(Error::Refused { id: id.to_string(), message })
            }
            Err(error) => Err(self.monitor_error(id, &error)),
        }
    }
}
