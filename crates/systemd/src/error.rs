//! What can go wrong between a program and systemd.

use std::io;

use onggi_error::{Diagnose, Kind};

/// One variant for each way in which a unit cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// runc's sentence.
    #[error("systemd cgroup flag passed, but systemd support for managing cgroups is not available")]
    NotRunning,
    #[error("no bus of the user's: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR leads to one")]
    NoUserBus,
    #[error("cannot use rootless systemd cgroups manager on cgroup v1")]
    NoUserOnV1,
    #[error("failed to connect to dbus at {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("the bus at {address} does not take this process for its user: {answer:?}")]
    Authenticate { address: String, answer: String },
    #[error("{act} the bus: {source}")]
    Transport { act: &'static str, source: io::Error },
    /// What came is no D-Bus message, or not the one that was asked for.
    #[error("the bus answered with something else than D-Bus: {what}")]
    Protocol { what: &'static str },
    #[error("{method}: {name}: {message}")]
    Refused { method: &'static str, name: String, message: String },
    #[error("{act} systemd unit `{unit}`: got `{result}`")]
    Job { act: &'static str, unit: String, result: String },
    #[error("timeout waiting for systemd to {act} {unit}")]
    TimedOut { act: &'static str, unit: String },
    #[error("invalid slice name: {name}")]
    BadSlice { name: String },
    #[error("invalid unit name: {name}")]
    BadUnit { name: String },
    /// runc's sentence.
    #[error(
        "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {path:?} instead"
    )]
    BadPath { path: String },
    #[error("annotation {key}={value}: {reason}")]
    BadAnnotation { key: String, value: String, reason: String },
    #[error("{what}: {reason}")]
    BadLimit { what: String, reason: String },
    #[error("{0}")]
    Devices(#[source] onggi_cgroup::Error),
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotRunning | Error::NoUserBus | Error::NoUserOnV1 => Kind::Unsupported,
            Error::Connect { source, .. } | Error::Transport { source, .. } => Kind::of_io(source),
            Error::Authenticate { .. } => Kind::PermissionDenied,
            Error::Protocol { .. } => Kind::Internal,
            Error::Refused { .. } | Error::Job { .. } => Kind::Conflict,
            Error::TimedOut { .. } => Kind::Unavailable,
            Error::BadSlice { .. }
            | Error::BadUnit { .. }
            | Error::BadPath { .. }
            | Error::BadAnnotation { .. }
            | Error::BadLimit { .. } => Kind::InvalidInput,
            Error::Devices(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NotRunning => {
                Some("leave --systemd-cgroup out: this machine was not booted with systemd".into())
            }
            Error::NoUserBus => Some(
                "install dbus-user-session and log in again, or export XDG_RUNTIME_DIR=/run/user/$(id -u)"
                    .into(),
            ),
            Error::Devices(error) => error.hint(),
            _ => None,
        }
    }
}
