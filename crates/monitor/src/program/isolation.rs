//! What stands between a monitor and whatever runs its processes: start a plan, signal, run a second process, end.
//!
//! Namespaces are one way ([`super::container`]); nothing in the monitor assumes them.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use onggi_error::Kind;

pub use onggi_runtime::exec::{Connected, Terminal};

/// The standard streams of a process to be started.
#[derive(Debug)]
pub enum Stdio {
    /// Standard input, output and error.
    Files([OwnedFd; 3]),
    /// A new terminal of rows and columns.
    Terminal { size: Option<(u16, u16)> },
}

/// A process whose start has begun.
#[derive(Debug)]
pub struct Process {
    /// On the host; a child of ours.
    pub pid: i32,
    pub pidfd: OwnedFd,
    /// Where the terminal's master comes from while it starts.
    pub terminal: Option<Terminal>,
    /// It waits for its network, and goes on when it is told.
    pub network: Option<Connected>,
    /// A pipe that ends when the program runs or the start has failed; its text is for [`Isolation::report`].
    pub report: OwnedFd,
}

/// What the report of a start says.
#[derive(Debug, Default)]
pub struct Report {
    /// The step's index and its nanoseconds.
    pub timings: Vec<(u32, u64)>,
    pub failure: Option<Refusal>,
    /// The failure is that the new process was killed.
    pub was_killed: bool,
}

/// Why something was not done, ready for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub kind: Kind,
    pub step: String,
    /// 0 if no system call failed.
    pub errno: i32,
    pub message: String,
}

impl Refusal {
    pub fn new(kind: Kind, step: &str, message: impl Into<String>) -> Refusal {
        Refusal { kind, step: step.to_owned(), errno: 0, message: message.into() }
    }

    /// Of a failed call; `what` names it with its arguments.
    pub fn io(step: &str, what: impl fmt::Display, error: &std::io::Error) -> Refusal {
        Refusal {
            kind: Kind::of_io(error),
            step: step.to_owned(),
            errno: error.raw_os_error().unwrap_or(0),
            message: format!("{what}: {error}"),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step, self.message)
    }
}

/// One way to run a container.
pub trait Isolation: fmt::Debug {
    /// Starts the first process of a plan.
    fn start(&mut self, plan: BorrowedFd<'_>, stdio: Stdio) -> Result<Process, Refusal>;

    /// Starts another process beside the first, whose pidfd is `first`.
    fn join(&mut self, first: BorrowedFd<'_>, plan: BorrowedFd<'_>, stdio: Stdio)
    -> Result<Process, Refusal>;

    /// Reads a report.
    fn report(&self, text: &str) -> Report;

    /// Signals every process.
    fn signal_all(&mut self, signal: i32) -> Result<(), Refusal>;

    /// Freezes every process, or lets them go on.
    fn freeze(&mut self, frozen: bool) -> Result<(), Refusal>;

    /// A descriptor that becomes readable when the kernel has killed for want of memory; `None` where there is no such thing.
    fn watch_memory(&mut self) -> Option<OwnedFd>;

    /// How many processes the kernel has killed for want of memory.
    fn memory_kills(&mut self) -> u64;

    /// Kills every process that is left and returns when there is none.
    fn kill(&mut self) -> Result<(), Refusal>;

    /// Removes what the kernel holds for it. Every failure is in the answer.
    fn remove(&mut self) -> Result<(), Refusal>;

    /// What [`Isolation::find`] needs to know of what was started. Asked for once.
    fn description(&mut self) -> Vec<u8>;

    /// Finds again what another monitor, or this one as another program, has started.
    fn find(&mut self, description: &[u8]) -> Result<(), Refusal>;
}
