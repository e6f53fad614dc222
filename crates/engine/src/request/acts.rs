//! What is asked of a container that is there, or of all of them. None of it is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use onggi_monitor::policy::Restart;

use super::{Limits, Streams};
use crate::error::Error;

/// Asks whether the caller wants a start undone, as long as it can be: up to the word to the monitor.
#[derive(Clone)]
pub struct Interruption(Arc<dyn Fn() -> Option<i32> + Send + Sync>);

impl Interruption {
    /// `asked` answers the signal because of which it is to be undone.
    #[must_use]
    pub fn new(asked: impl Fn() -> Option<i32> + Send + Sync + 'static) -> Interruption {
        Interruption(Arc::new(asked))
    }

    /// # Errors
    /// [`Error::Interrupted`] if it is to be undone.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        (self.0)().map_or(Ok(()), |signal| Err(Error::Interrupted { signal }))
    }
}

impl std::fmt::Debug for Interruption {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Interruption")
    }
}

/// How a container is started.
#[derive(Debug, Clone, Default)]
pub struct StartOptions {
    /// Streams to attach before the first instruction runs, so that no output is lost.
    pub attach: Streams,
    /// Overrides the container's.
    pub detach_keys: Option<Vec<u8>>,
    /// Rows and columns of the caller's terminal, for a container with one.
    pub size: Option<(u16, u16)>,
    /// Ask for the time that each step took.
    pub timings: bool,
    /// `None`: nobody is there who could want it undone.
    pub interruption: Option<Interruption>,
}

impl StartOptions {
    /// # Errors
    /// [`Error::Interrupted`] if the start is to be undone.
    pub(crate) fn go_on(&self) -> Result<(), Error> {
        self.interruption.as_ref().map_or(Ok(()), Interruption::go_on)
    }
}

/// How to attach to a container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachOptions {
    pub streams: Streams,
    pub detach_keys: Option<Vec<u8>>,
}

/// What `docker exec` is asked.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub detach: bool,
    pub interactive: bool,
    pub tty: bool,
    /// `NAME=value`, added to the container's.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
    pub detach_keys: Option<Vec<u8>>,
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    /// As [`StartOptions::interruption`].
    pub interruption: Option<Interruption>,
}

/// How a container is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Name or number; `None`: the container's.
    pub signal: Option<String>,
    /// Seconds, −1 for ever; `None`: the container's.
    pub timeout: Option<i64>,
}

/// What `docker update` is asked; `None` leaves what is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateRequest {
    pub limits: Limits,
    pub restart: Option<Restart>,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// What a `wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Answered at once for a container that does not run.
    #[default]
    NotRunning,
    /// The next end, even of a container that is not started yet.
    NextExit,
    /// Until it is gone.
    Removed,
}

/// Which containers `ps` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// Only so many of the newest, whether they run or not.
    pub last: Option<usize>,
    /// Measure each container's writable layer.
    pub size: bool,
    pub filters: Filters,
}

/// `--filter key=value`, several of a key meaning "or", several keys "and" (labels: always "and").
pub type Filters = BTreeMap<String, Vec<String>>;

/// Which lines `logs` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
    /// Nanoseconds since 1970, inclusive.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub stdout: bool,
    pub stderr: bool,
}

/// Which events are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventOptions {
    /// Nanoseconds since 1970. `None`: from now on.
    pub since: Option<i64>,
    /// `None`: follow for ever.
    pub until: Option<i64>,
    pub filters: Filters,
}
