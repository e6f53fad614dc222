//! What can go wrong with CRIU: runc's sentences where clients may know them, and behind them what to do.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

use super::protobuf::Malformed;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(
        "CRIU version check failed: exec: {program:?}: executable file not found in $PATH: \
         install the package criu (https://criu.org), or name a program with --criu"
    )]
    NotFound { program: String },
    #[error("CRIU version check failed: {0}")]
    Version(#[source] Box<Error>),
    #[error("CRIU version {found} must be {needed} or higher for {what}: install a newer criu")]
    TooOld { what: &'static str, found: u32, needed: u32 },
    #[error(
        "criu is missing features: [{feature}]: neither this criu nor this kernel may lack it; see `criu check --all`"
    )]
    Missing { feature: &'static str },
    #[error("{act}: {source}")]
    System { act: String, source: io::Error },
    #[error("unable to parse the response of criu: {0}")]
    Malformed(#[from] Malformed),
    #[error("unable to parse the response of criu: {0}")]
    Unexpected(String),
    #[error("criu ended without an answer: {0}")]
    Silent(std::process::ExitStatus),
    #[error("criu failed: type {kind} errno {errno}")]
    Failed { kind: &'static str, errno: i32 },
    #[error("criu failed: {0}")]
    Ended(std::process::ExitStatus),
    #[error("{source}: see {}; `criu check` says whether criu {version} and this kernel, {kernel}, go together", .log.display())]
    Advised { source: Box<Error>, log: PathBuf, version: u32, kernel: String },
    #[error(
        "{}: it is {what}, and in a directory of images there are files only: whoever made it could have criu read or write elsewhere",
        .path.display()
    )]
    Unsafe { path: PathBuf, what: &'static str },
    #[error("{}: {reason}", .path.display())]
    Descriptors { path: PathBuf, reason: String },
}

impl Error {
    pub(crate) fn system(act: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::System { act: act.into(), source: source.into() }
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotFound { .. } | Error::TooOld { .. } | Error::Missing { .. } => Kind::Unsupported,
            Error::Unsafe { .. } | Error::Descriptors { .. } => Kind::InvalidInput,
            Error::System { source, .. } => Kind::of_io(source),
            Error::Version(source) | Error::Advised { source, .. } => source.kind(),
            Error::Malformed(_)
            | Error::Unexpected(_)
            | Error::Silent(_)
            | Error::Failed { .. }
            | Error::Ended(_) => Kind::Internal,
        }
    }
}
