//! What kind of failure it is and what to do about it: the words every crate's errors share.
//!
//! Each crate has its own error enum, with one variant for each step that can fail. What they have in
//! common is here, so that the programs can sort any of them (exit code, HTTP status) and print it the
//! same way. This crate knows nothing else.

use std::error::Error;

/// What a caller can do about a failure. Stable: programs match on [`Kind::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The name, reference or id does not exist.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The thing exists but is not in a state that allows the act (starting what runs, say).
    Conflict,
    /// What the user gave cannot mean anything: a flag, a reference, a file.
    InvalidInput,
    /// The kernel or the host's policy denies it to this user.
    PermissionDenied,
    /// This Onggi or this kernel cannot do it.
    Unsupported,
    /// A limit is reached: disk, processes, addresses.
    Exhausted,
    /// What is kept on disk, or was received, is damaged or was tampered with.
    Corrupt,
    /// Something outside does not answer (a monitor, a registry).
    Unavailable,
    /// Ended by the user or a signal.
    Interrupted,
    /// Anything else: a bug, or a kernel call that should not fail.
    Internal,
}

impl Kind {
    const ALL: [Kind; 11] = [
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::Conflict,
        Kind::InvalidInput,
        Kind::PermissionDenied,
        Kind::Unsupported,
        Kind::Exhausted,
        Kind::Corrupt,
        Kind::Unavailable,
        Kind::Interrupted,
        Kind::Internal,
    ];

    /// The stable word for machines, `not-found` and so on.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::NotFound => "not-found",
            Kind::AlreadyExists => "already-exists",
            Kind::Conflict => "conflict",
            Kind::InvalidInput => "invalid-input",
            Kind::PermissionDenied => "permission-denied",
            Kind::Unsupported => "unsupported",
            Kind::Exhausted => "exhausted",
            Kind::Corrupt => "corrupt",
            Kind::Unavailable => "unavailable",
            Kind::Interrupted => "interrupted",
            Kind::Internal => "internal",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The kind that an I/O error is when nothing more is known about it.
    #[must_use]
    pub fn of_io(error: &std::io::Error) -> Kind {
        use std::io::ErrorKind as E;
        match error.kind() {
            E::NotFound => Kind::NotFound,
            E::PermissionDenied | E::ReadOnlyFilesystem => Kind::PermissionDenied,
            E::AlreadyExists => Kind::AlreadyExists,
            E::StorageFull | E::QuotaExceeded | E::OutOfMemory | E::FileTooLarge => Kind::Exhausted,
            E::Interrupted => Kind::Interrupted,
            E::InvalidInput | E::InvalidFilename => Kind::InvalidInput,
            E::Unsupported => Kind::Unsupported,
            E::ConnectionRefused | E::ConnectionReset | E::TimedOut => Kind::Unavailable,
            _ => Kind::Internal,
        }
    }
}

/// What to do about an I/O error that a limit of the caller's shell has made.
#[must_use]
pub fn limit_hint(error: &std::io::Error) -> Option<String> {
    const EMFILE: i32 = 24;
    const EFBIG: i32 = 27;
    match error.raw_os_error()? {
        EMFILE => Some("`ulimit -n 1024` lets more files be open at once".to_owned()),
        EFBIG => Some("`ulimit -f unlimited` lets files grow".to_owned()),
        _ => None,
    }
}

/// An error that can say what kind it is and what to do next.
pub trait Diagnose: Error {
    /// What a caller can do about it.
    fn kind(&self) -> Kind;

    /// One sentence for a person, without the word "hint": the next command to type, the limit to raise.
    fn hint(&self) -> Option<String> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_are_sorted() {
        let of = |errno| Kind::of_io(&std::io::Error::from_raw_os_error(errno));
        assert_eq!(of(2), Kind::NotFound);
        assert_eq!(of(28), Kind::Exhausted);
        assert_eq!(of(13), Kind::PermissionDenied);
        assert_eq!(of(17), Kind::AlreadyExists);
    }

    #[test]
    fn limits_of_the_shell_have_a_hint() {
        let of = |errno| limit_hint(&std::io::Error::from_raw_os_error(errno)).unwrap_or_default();
        assert!(of(24).contains("ulimit -n") && of(27).contains("ulimit -f") && of(2).is_empty());
    }
}
