//! Why something could not be planned.

use onggi_error::{Diagnose, Kind};

/// One variant for each way in which a specification can be unplannable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification is right, but Onggi does not do this (yet).
    #[error("{what} is not supported")]
    Unsupported { what: String },
    /// The specification cannot mean anything.
    #[error("{field}: {problem}")]
    Invalid { field: String, problem: String },
    #[error("cgroup: {0}")]
    Cgroup(#[source] onggi_cgroup::Error),
    #[error("seccomp: {0}")]
    Seccomp(#[source] onggi_seccomp::Error),
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Unsupported { .. } => Kind::Unsupported,
            Error::Invalid { .. } => Kind::InvalidInput,
            Error::Cgroup(error) => error.kind(),
            Error::Seccomp(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unsupported { .. } | Error::Invalid { .. } => None,
            Error::Cgroup(error) => error.hint(),
            Error::Seccomp(error) => error.hint(),
        }
    }
}

pub(crate) fn unsupported(what: impl Into<String>) -> Error {
    Error::Unsupported { what: what.into() }
}

pub(crate) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), problem: problem.into() }
}
