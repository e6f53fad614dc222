//! Checkpoint and restore by CRIU (<https://criu.org>): what is said to it ([`message`]) and how ([`swrk`]), which directories it works in
//! ([`images`]), and what of a container is not for it to restore ([`external`]). The commands put these together.

mod error;
mod external;
mod images;
mod message;
mod namespaces;
mod options;
mod protobuf;
mod swrk;

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

pub(crate) use error::Error;
pub(crate) use external::{External, for_dump, for_restore, places};
pub(crate) use images::Directory;
pub(crate) use message::{Feature, Inherited, Kind, Notification, Options, request};
pub(crate) use namespaces::{external_namespaces, follow_time, held, inherit, joined};
pub(crate) use options::*;
pub(crate) use swrk::{Criu, Talk, cgroup_roots};

/// The oldest that says its version (3.0).
pub(crate) const OLDEST: u32 = 30_000;
/// Freezes by the freezer of cgroup version 2 (3.14).
pub(crate) const FREEZES_V2: u32 = 31_400;
/// Says `status-ready` (3.15); before that it writes to a descriptor itself.
pub(crate) const TELLS_STATUS: u32 = 31_500;
/// Takes another LSM profile than the dump's (3.16).
pub(crate) const CHANGES_LSM: u32 = 31_600;

/// An error of a dump or restore, with where to read more.
pub(crate) fn advise(
    error: super::error::Error,
    criu: &Criu,
    log: std::path::PathBuf,
) -> super::error::Error {
    match error {
        super::error::Error::Criu(source @ (Error::Failed { .. } | Error::Ended(_) | Error::Silent(_))) => {
            let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
            Error::Advised { source: Box::new(source), log, version: criu.version, kernel }.into()
        }
        other => other,
    }
}

/// CRIU wants to be root of the machine for almost everything.
pub(crate) fn warn_if_rootless(log: &super::log::Log) {
    if !rustix::process::geteuid().is_root() || onggi_sys::namespace::in_user_namespace() {
        log.warn("checkpoint and restore are untested with rootless containers");
    }
}

/// The descriptor of ours that gets a byte once pages can be fetched; it must be open for writing.
pub(crate) fn take_status(number: &str) -> Result<OwnedFd, super::error::Error> {
    let invalid = |reason: String| {
        super::error::Error::usage(format!("invalid --status-fd argument {number}: {reason}"))
    };
    // The three streams are never it: whoever sends a byte there would mean something else.
    let parsed = number.parse().ok().filter(|&number: &i32| number > 2);
    let parsed = parsed.ok_or_else(|| invalid("not a descriptor above 2".to_owned()))?;
    let taken = onggi_sys::descriptor::take_inherited(parsed).map_err(|error| invalid(error.to_string()))?;
    let flags = rustix::fs::fcntl_getfl(&taken).map_err(|error| invalid(error.to_string()))?;
    if (flags & OFlags::ACCMODE) == OFlags::RDONLY {
        return Err(invalid("not writable".to_owned()));
    }
    Ok(taken)
}

/// What this process's streams are, as `/proc` shows them: which of them are pipes counts when what inherits them is restored.
pub(crate) fn streams() -> Vec<String> {
    let shown = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    // One that may not be looked at is no pipe of ours.
    (0..3).map(|number| shown(number).map_or_else(|_| String::new(), text)).collect()
}
