//! The executor: starts a child in its namespaces and cgroup, and carries the plan's steps out in it.
//!
//! Only single-threaded processes may call this: the child goes on with the parent's memory as it was. Nothing here decides
//! what a container is; that is all in the plan.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use onggi_cgroup::Cgroup;
use onggi_error::{Diagnose, Kind};

use crate::plan::Launch;

mod report;

pub use report::{Failure, Report, parse_report, read_report};

/// The standard streams of the new process.
#[derive(Debug)]
pub enum Stdio {
    /// Standard input, output and error.
    Files([OwnedFd; 3]),
    /// A new pseudo-terminal of the container's own devpts; rows and columns.
    Terminal { size: Option<(u16, u16)> },
}

/// A process that was started: its steps may still be going on, or have failed; the report tells.
#[derive(Debug)]
pub struct Running {
    /// In the caller's pid namespace; a child of the caller's.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// The terminal's master.
    pub terminal: Option<OwnedFd>,
    /// A pipe: ends when the program is executed, or after one [`Failure`].
    pub report: OwnedFd,
    pub cgroup: Cgroup,
}

/// Why no child could be started at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cgroup: {0}")]
    Cgroup(#[source] onggi_cgroup::Error),
    #[error("{call}: {error}")]
    System { call: &'static str, #[source] error: io::Error },
    #[error("the plan is of version {found}, newer than {known}, this program's")]
    Version { found: u32, known: u32 },
}

impl Diagnose for StartError {
    fn kind(&self) -> Kind {
        match self {
            StartError::Cgroup(error) => error.kind(),
            StartError::System { error, .. } => Kind::of_io(error),
            StartError::Version { .. } => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StartError::Cgroup(error) => error.hint(),
            StartError::System { .. } => None,
            StartError::Version { .. } => Some("upgrade Onggi on this machine".to_owned()),
        }
    }
}
