//! What can go wrong, in the sentences of runc that engines match on.

use std::io;

use onggi_error::{Diagnose, Kind};
use onggi_runtime::exec::StartError;
use onggi_runtime::plan;

/// One variant for each way in which a command fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("{0} is not supported")]
    Unsupported(String),
    #[error("container with given ID already exists")]
    AlreadyExists,
    #[error("container does not exist")]
    DoesNotExist,
    #[error("container not running")]
    NotRunning,
    /// A container without control groups of its own has nothing to be found, frozen or limited by.
    #[error("cgroups not configured for container")]
    NoCgroups,
    /// The command does not go with the container's state.
    #[error("{0}")]
    State(String),
    #[error("JSON specification file config.json not found")]
    NoConfiguration,
    #[error("{what}: {}", words(source))]
    Io { what: String, source: io::Error },
    #[error("{path}: {source}")]
    Json { path: String, source: serde_json::Error },
    #[error("the state of container {id} is of version {found}, newer than {known}, this program's")]
    Version { id: String, found: u32, known: u32 },
    #[error("{0}")]
    Plan(#[source] plan::Error),
    #[error("{}", start_words(.0))]
    Start(#[from] StartError),
    #[error("{}", cgroup_words(.0))]
    Cgroup(#[source] onggi_cgroup::Error),
    #[error("{0}")]
    Criu(#[from] super::criu::Error),
    #[error("{0}")]
    Systemd(#[source] onggi_systemd::Error),
    /// A step of a start, or a hook; the message is ready.
    #[error("{0}")]
    Failed(String),
    /// The program itself could not be executed: the same words that, with `create`, are the container's own output.
    #[error("{0}")]
    Program(String),
    /// An error with what was going on.
    #[error("{what}: {source}")]
    During { what: &'static str, source: Box<Error> },
}

impl Error {
    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Error::Usage(message.into())
    }

    pub(crate) fn io(what: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::Io { what: what.into(), source: source.into() }
    }

    pub(crate) fn during(self, what: &'static str) -> Error {
        match self {
            Error::Program(_) => self,
            other => Error::During { what, source: Box::new(other) },
        }
    }
}

impl From<onggi_runtime::exec::Failure> for Error {
    fn from(failure: onggi_runtime::exec::Failure) -> Error {
        Error::Failed(failure.message)
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Usage(_) | Error::Json { .. } | Error::NoConfiguration => Kind::InvalidInput,
            Error::Unsupported(_) | Error::Version { .. } => Kind::Unsupported,
            Error::AlreadyExists => Kind::AlreadyExists,
            Error::DoesNotExist => Kind::NotFound,
            Error::NotRunning | Error::NoCgroups | Error::State(_) => Kind::Conflict,
            Error::Io { source, .. } => Kind::of_io(source),
            Error::Plan(error) => error.kind(),
            Error::Start(error) => error.kind(),
            Error::Cgroup(error) => error.kind(),
            Error::Criu(error) => error.kind(),
            Error::Systemd(error) => error.kind(),
            Error::Failed(_) | Error::Program(_) => Kind::Internal,
            Error::During { source, .. } => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Version { .. } => Some("upgrade Onggi on this machine".to_owned()),
            Error::Plan(error) => error.hint(),
            Error::Start(error) => error.hint(),
            Error::Cgroup(error) => error.hint(),
            Error::Systemd(error) => error.hint(),
            Error::During { source, .. } => source.hint(),
            _ => None,
        }
    }
}

fn start_words(error: &StartError) -> String {
    match error {
        StartError::Cgroup(error) => cgroup_words(error),
        other => other.to_string(),
    }
}

fn cgroup_words(error: &onggi_cgroup::Error) -> String {
    match error {
        onggi_cgroup::Error::NotEmpty { count, .. } => {
            format!("container's cgroup is not empty: {count} process(es) found")
        }
        onggi_cgroup::Error::JoinBelow { path, source } => {
            let file = path.join("cgroup.procs");
            let pid = std::process::id();
            format!("error adding pid {pid} to cgroups: open {}: {}", file.display(), words(source))
        }
        onggi_cgroup::Error::MakeDirectory { path, source } => {
            format!("unable to apply cgroup configuration: mkdir {}: {}", path.display(), words(source))
        }
        onggi_cgroup::Error::Frozen { .. } => "container's cgroup unexpectedly frozen".to_owned(),
        other => other.to_string(),
    }
}

/// The kernel's words as Go has them: engines look for `no such file or directory` in lower case.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    match (error.raw_os_error(), text.rsplit_once(" (os error")) {
        (Some(_), Some((words, _))) => words.to_lowercase(),
        _ => text,
    }
}
