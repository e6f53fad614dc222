//! Why a user's namespace cannot be entered, one variant for each step.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

use crate::way;

/// Networks that need nothing.
const WITHOUT: &str = "--network none or host";

/// A failed step on the way into a user's namespace.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{} grants {user} {count} ids; containers of an ordinary user need 65536", path.display())]
    NoRanges { path: PathBuf, user: String, count: u64 },
    #[error("run {program}: {source}")]
    Program { program: &'static str, source: io::Error },
    #[error("{program} {arguments}: {message}")]
    Refused { program: &'static str, arguments: String, message: String },
    #[error("{name} is {value}: ordinary users may make no user namespace")]
    Forbidden { name: &'static str, value: String },
    /// `user.max_user_namespaces`, or a security module.
    #[error("make a user namespace: {source}")]
    Make { source: io::Error },
    #[error("enter the user namespace of process {pid}: {source}")]
    Enter { pid: i32, source: io::Error },
    #[error("{act} {}: {source}", path.display())]
    File { act: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a directory of the user's own (its owner is {owner})", path.display())]
    Foreign { path: PathBuf, owner: u32 },
    #[error("{} is in a directory that is not safe: {reason}", path.display())]
    Unsafe { path: PathBuf, reason: String },
    #[error("the process that holds the user namespace ended at once: {} hold", path.display())]
    Holder { path: PathBuf },
    #[error("the host has no network but loopback")]
    NoUplink,
    #[error("there is no network namespace of this user's")]
    NoNetwork,
    #[error("open {path}: {source}")]
    Device { path: &'static str, source: io::Error },
    #[error("{what}: {source}")]
    Kernel { what: &'static str, source: io::Error },
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Refused { program: way::PROGRAM, .. } | Error::NoNetwork => Kind::Unsupported,
            Error::NoUplink => Kind::Unavailable,
            Error::NoRanges { .. } | Error::Foreign { .. } | Error::Unsafe { .. } => Kind::PermissionDenied,
            Error::Refused { .. } | Error::Forbidden { .. } => Kind::PermissionDenied,
            Error::Holder { .. } => Kind::Internal,
            Error::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::Unsupported,
            Error::Program { source, .. }
            | Error::Make { source }
            | Error::Enter { source, .. }
            | Error::File { source, .. }
            | Error::Device { source, .. }
            | Error::Kernel { source, .. } => Kind::of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoRanges { user, .. } => format!(
                "sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user} (a range that no other user has)"
            ),
            Error::Program { program: way::PROGRAM, source } if source.kind() == io::ErrorKind::NotFound => {
                format!("an ordinary user's way out of a network is pasta: sudo apt-get install passt; or {WITHOUT}")
            }
            Error::Refused { program: way::PROGRAM, .. } => {
                format!("these are pasta's own words; pasta(1) tells more; or {WITHOUT}")
            }
            Error::NoUplink => format!("`ip route` shows none; or {WITHOUT}"),
            Error::Unsafe { .. } => "XDG_RUNTIME_DIR, or --run-root, must name a directory that only this user writes to; without either it is /tmp/onggi-run-UID".to_owned(),
            Error::Device { path, source } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("sudo chmod 666 {path}, as it is where udev runs; or {WITHOUT}")
            }
            Error::Device { .. } => format!("sudo modprobe tun; or {WITHOUT}"),
            Error::NoNetwork => format!(
                "look at sysctl user.max_net_namespaces. A namespace of an older Onggi's has none: stop its containers and wait ten \
                 seconds; or {WITHOUT}"
            ),
            Error::Program { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "sudo apt-get install uidmap; or run Onggi as root".to_owned()
            }
            Error::Refused { .. } => {
                "newuidmap and newgidmap must be set-user-id root (Debian's package uidmap), and the ranges in /etc/subuid and \
                 /etc/subgid yours"
                    .to_owned()
            }
            Error::Forbidden { name: name @ "kernel.apparmor_restrict_unprivileged_userns", .. } => {
                format!("sudo sysctl {name}=0, or an AppArmor profile for onggi that allows userns")
            }
            Error::Forbidden { name: name @ "user.max_user_namespaces", .. } => format!("sudo sysctl {name}=10000"),
            Error::Forbidden { name, .. } => format!("sudo sysctl {name}=1"),
            Error::Make { .. } => "look at sysctl user.max_user_namespaces and, on Ubuntu, \
                                   kernel.apparmor_restrict_unprivileged_userns; or run Onggi as root"
                .to_owned(),
            Error::Foreign { path, .. } => {
                format!("take it away, or set XDG_RUNTIME_DIR or --run-root to a directory of yours instead of {}", path.display())
            }
            Error::File { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                format!("{} is another user's: `sudo onggi …` for root's, or leave --root and --run-root out", path.display())
            }
            _ => return None,
        })
    }
}
