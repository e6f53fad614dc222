//! Why a step failed: an errno for machines, and a sentence that names the call's arguments.

use std::fmt::Display;
use std::io;

use rustix::io::Errno;

/// Becomes a [`super::Failure`] once the step's name and place are known.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) errno: i32,
    pub(super) message: String,
}

pub(super) type Outcome<T = ()> = Result<T, Problem>;

impl Problem {
    /// No system call is at fault.
    pub(super) fn new(message: impl Into<String>) -> Problem {
        Problem { errno: 0, message: message.into() }
    }

    /// The same, as part of something larger.
    pub(super) fn below(mut self, what: &str) -> Problem {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// `what: no such file or directory`: the kernel's words in lower case, as clients of other runtimes match on them.
    pub(super) fn of(what: impl Display, error: impl Into<io::Error>) -> Problem {
        let error = error.into();
        Problem { errno: error.raw_os_error().unwrap_or(0), message: format!("{what}: {}", words(&error)) }
    }
}

/// Says what was attempted when it fails.
pub(super) trait Doing<T> {
    fn doing<W: Display>(self, what: impl FnOnce() -> W) -> Outcome<T>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing<W: Display>(self, what: impl FnOnce() -> W) -> Outcome<T> {
        self.map_err(|error| Problem::of(what(), error))
    }
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing<W: Display>(self, what: impl FnOnce() -> W) -> Outcome<T> {
        self.map_err(|error| Problem::of(what(), error))
    }
}

pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error")) {
        (Some(_), Some((words, _))) => words.to_lowercase(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_gos() {
        for (errno, expected) in [
            (Errno::NOENT, "no such file or directory"),
            (Errno::ACCESS, "permission denied"),
            (Errno::PERM, "operation not permitted"),
            (Errno::NOEXEC, "exec format error"),
            (Errno::ISDIR, "is a directory"),
            (Errno::NOTDIR, "not a directory"),
        ] {
            assert_eq!(words(&errno.into()), expected);
        }
    }
}
