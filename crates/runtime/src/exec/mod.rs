//! The executor: starts a child in its namespaces and cgroup, and carries the plan's steps out in it.
//!
//! Only single-threaded processes may call this: the child goes on with the parent's memory as it was. Nothing here decides
//! what a container is; that is all in the plan.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use onggi_cgroup::Cgroup;
use onggi_error::{Diagnose, Kind};

mod cgroups;
mod child;
mod classic;
mod copy;
mod credentials;
mod devices;
mod hooks;
mod host;
mod ids;
mod init;
mod labels;
mod launch;
mod masks;
mod mount;
mod namespaces;
mod outside;
mod overlay;
mod part;
mod problem;
mod procfs;
mod program;
mod report;
mod restore;
mod root;
mod scheduling;
mod session;
mod sources;
mod swap;
mod terminal;
mod tree;
mod user;
mod view;

pub use hooks::run as run_hooks;
pub use launch::{Connected, Terminal, go_on, join, start, start_noting};
pub use part::Part;
pub use report::{Failure, Report, Request, parse_report, read_report, read_report_with_requests};
pub use restore::{Home, check_mapped_mounts, make_mount_points, mount_mapped_sources, mount_root};
pub use view::{Bind, View, view};

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
    /// The terminal's master, as soon as there is one. `None` without a terminal.
    pub terminal: Option<Terminal>,
    /// A child that waits for its network goes on when it is told so, and fails if this goes away before.
    pub network: Option<Connected>,
    /// The same for a child that waits until its seccomp listener is in good hands.
    pub listener: Option<Connected>,
    /// A pipe, or of a leashed child a socket: ends when the program is executed, or after one [`Failure`].
    pub report: OwnedFd,
    pub cgroup: Cgroup,
}

/// Why no child could be started at all.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cgroup: {0}")]
    Cgroup(#[source] onggi_cgroup::Error),
    #[error("{call}: {error}")]
    System {
        call: &'static str,
        #[source]
        error: io::Error,
    },
    /// Entering the container's namespaces failed.
    #[error("{0}")]
    Entry(#[source] Failure),
    #[error("the plan is of version {found}, newer than {known}, this program's")]
    Version { found: u32, known: u32 },
    #[error("isolation process needs Linux 6.15, and this is {release}")]
    Kernel { release: String },
    #[error("the plan and the caller disagree: {0}")]
    Misfit(&'static str),
    #[error("sysctl {name:?} not allowed in host {kind} namespace")]
    HostParameter { name: String, kind: &'static str },
    #[error("the process that enters the container did not get there within {} s: it is being held", .0.as_secs())]
    Held(Duration),
}

impl Diagnose for StartError {
    fn kind(&self) -> Kind {
        match self {
            StartError::Cgroup(error) => error.kind(),
            StartError::System { error, .. } => Kind::of_io(error),
            StartError::Entry(failure) => failure.kind(),
            StartError::Version { .. } | StartError::Kernel { .. } => Kind::Unsupported,
            StartError::HostParameter { .. } => Kind::InvalidInput,
            StartError::Misfit(_) => Kind::Internal,
            StartError::Held(_) => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StartError::Cgroup(error) => error.hint(),
            StartError::Version { .. } => Some("upgrade Onggi on this machine".to_owned()),
            StartError::Kernel { .. } => {
                Some("leave out `--isolation process`: a container runs on this kernel".to_owned())
            }
            StartError::Held(_) => {
                Some("is the container frozen? `onggi kill` ends it all the same".to_owned())
            }
            StartError::System { .. }
            | StartError::Entry(_)
            | StartError::Misfit(_)
            | StartError::HostParameter { .. } => None,
        }
    }
}

impl Diagnose for Failure {
    fn kind(&self) -> Kind {
        match self.errno {
            0 => Kind::InvalidInput,
            errno => Kind::of_io(&io::Error::from_raw_os_error(errno)),
        }
    }
}
