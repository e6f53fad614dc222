//! What can go wrong between a client and its monitor, with the arguments of what failed.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use onggi_error::{Diagnose, Kind};

/// An error of the client's side of the protocol, of the event log or of the state record.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("spawn the monitor {program}: {source}")]
    Spawn { program: PathBuf, source: io::Error },
    #[error("connect to the monitor at {socket}: {source}")]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the monitor at {socket} did not answer within {patience:?}")]
    Silent { socket: PathBuf, patience: Duration },
    #[error("send `{op}` to the monitor: {source}")]
    Send { op: &'static str, source: io::Error },
    #[error("receive from the monitor: {source}")]
    Receive { source: io::Error },
    #[error("the monitor hung up before it answered")]
    Gone,
    #[error("the monitor sent what is no message: {source}")]
    Message { source: serde_json::Error },
    #[error("the packet `{op}` has {size} bytes, more than {limit}")]
    TooLarge { op: &'static str, size: usize, limit: usize },
    #[error("the monitor answered `{got}` to `{op}`")]
    Unexpected { op: &'static str, got: String },
    /// What the monitor itself says: its kind, step and words.
    #[error("{message}")]
    Refused { kind: String, step: String, errno: i32, message: String },
    #[error("write the event log: {step}: {source}")]
    EventLog { step: &'static str, source: io::Error },
    #[error(transparent)]
    Record {
        #[from]
        source: onggi_record::Error,
    },
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Spawn { source, .. } | Error::EventLog { source, .. } => Kind::of_io(source),
            Error::Record { source } => source.kind(),
            Error::Silent { .. }
            | Error::Connect { .. }
            | Error::Send { .. }
            | Error::Receive { .. }
            | Error::Gone => Kind::Unavailable,
            Error::Message { .. } | Error::Unexpected { .. } => Kind::Corrupt,
            Error::TooLarge { .. } => Kind::InvalidInput,
            Error::Refused { kind, .. } => Kind::from_name(kind).unwrap_or(Kind::Internal),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Spawn { .. } => Some("`onggi-monitor` must lie beside the program `onggi`.".into()),
            Error::Connect { .. } | Error::Gone => {
                Some("The monitor has ended; `onggi ps -a` shows what became of the container.".into())
            }
            Error::Silent { .. } => {
                Some("The monitor is stopped or stuck; once it is killed, the next command takes the container over.".into())
            }
            Error::TooLarge { .. } => Some("Give the container fewer or shorter labels.".into()),
            _ => None,
        }
    }
}
