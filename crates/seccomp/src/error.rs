//! What can be wrong with a profile.

use onggi_error::{Diagnose, Kind};

/// A profile that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("unknown seccomp action {0:?}")]
    UnknownAction(String),
    #[error("errno {errno} for {action}: wanted 0 to {most}")]
    BadErrno { action: String, errno: u32, most: u32 },
    #[error("{0} takes no errno")]
    ErrnoNotTaken(String),
    #[error("unknown seccomp architecture {0:?}")]
    UnknownArchitecture(String),
    #[error("unknown seccomp flag {0:?}")]
    UnknownFlag(String),
    #[error("unknown comparison {0:?}")]
    UnknownComparison(String),
    #[error("system call {call}: argument {index}: there are only 0 to 5")]
    BadArgument { call: String, index: u32 },
    #[error("a rule of the seccomp profile names an empty system call")]
    EmptyName,
    /// The descriptor of the listener has to be sent before anybody can answer, and sending writes.
    #[error("SCMP_ACT_NOTIFY cannot be used {0}")]
    NotifyNotAllowed(&'static str),
    #[error("the seccomp profile compiles to {0} instructions; the kernel takes 4096")]
    TooLong(usize),
    #[error("a seccomp program of {0} bytes is no whole number of instructions")]
    BadLength(usize),
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::TooLong(_) => Kind::Exhausted,
            Error::BadLength(_) => Kind::Corrupt,
            _ => Kind::InvalidInput,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::TooLong(_) => Some("use fewer rules with arguments".into()),
            Error::UnknownAction(_) => Some(
                "actions are SCMP_ACT_ALLOW, ERRNO, KILL_PROCESS, KILL_THREAD, TRAP, TRACE, LOG and NOTIFY"
                    .into(),
            ),
            _ => None,
        }
    }
}
