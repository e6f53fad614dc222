//! Who is told how a transfer goes, and who may stop it.

use std::time::{Duration, Instant};

use crate::error::Error;

/// Asked and told from any thread of a transfer.
pub trait Watch: Send + Sync + std::fmt::Debug {
    /// Whether the user wants it to stop. It is asked several times a second; whatever is under way then fails with
    /// [`Error::Interrupted`].
    fn is_interrupted(&self) -> bool {
        false
    }

    /// Something failed in a way that passes, and is tried again after a pause.
    fn retrying(&self, what: &str, pause: Duration, why: &Error) {
        let _ = (what, pause, why);
    }

    /// A program that was asked for credentials says something.
    fn said(&self, program: &str, line: &str) {
        let _ = (program, line);
    }

    /// Whether somebody is there whom such a program may ask. It is given all the time then; otherwise a minute.
    fn may_ask(&self) -> bool {
        false
    }
}

/// For those who neither listen nor interrupt.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// Waits, unless interrupted.
pub(crate) fn pause(watch: &dyn Watch, time: Duration) -> Result<(), Error> {
    const TICK: Duration = Duration::from_millis(100);
    let end = Instant::now() + time;
    loop {
        if watch.is_interrupted() {
            return Err(Error::Interrupted);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}
