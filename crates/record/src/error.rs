//! What can go wrong with a record, with the step and the file.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

/// A record that was not written, or cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{operation} {}: {source}", path.display())]
    Io { operation: &'static str, path: PathBuf, source: io::Error },
    #[error("the record {} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} was written by a newer version of Onggi ({found}; this one knows {known})", path.display())]
    Newer { path: PathBuf, found: u32, known: u32 },
}

impl Error {
    pub(crate) fn io<E: Into<io::Error>>(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(E) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source: source.into() }
    }

    /// The kernel's number, if it was a system call that failed.
    #[must_use]
    pub fn errno_of(&self) -> Option<i32> {
        match self {
            Error::Io { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Io { source, .. } => Kind::of_io(source),
            Error::Damaged { .. } => Kind::Corrupt,
            Error::Newer { .. } => Kind::Unsupported,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Io { .. } => None,
            Error::Damaged { .. } => Some("run 'onggi system check --repair'".to_owned()),
            Error::Newer { .. } => Some("use the newer Onggi, or another --root".to_owned()),
        }
    }
}
