//! What can go wrong with a container, in Docker's words where its clients match on them.
//!
//! The texts come from moby's `daemon/` and are compared by `docker`, compose and testcontainers; the kind is for everything else.

use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};
use onggi_image::Reference;

/// A failed act on a container, a volume or the records.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    #[error("interrupted by signal {signal}")]
    Interrupted { signal: i32 },
    #[error("No such container: {name}")]
    NoSuchContainer { name: String },
    #[error("multiple IDs found with provided prefix: {prefix}")]
    AmbiguousPrefix { prefix: String },
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or rename) that container to be able to reuse that name."
    )]
    NameInUse { name: String, holder: String },
    #[error("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    InvalidName { name: String },
    #[error("Unable to find image '{image}' locally")]
    NoSuchImage { image: String },
    #[error(
        "image with reference {image} was found but its platform ({found}) does not match the specified platform ({asked})"
    )]
    OtherPlatform { image: String, found: String, asked: String },
    #[error(
        "image operating system \"{os}\" cannot be used on this platform: operating system is not supported"
    )]
    OtherSystem { os: String, host: String },
    #[error("the containers of {} live in the run root {}, not in {}", data.display(), known.display(), asked.display())]
    OtherRunRoot { data: PathBuf, known: PathBuf, asked: PathBuf },
    #[error("{what} needs root")]
    NeedsRoot { what: String },
    #[error(
        "port {port} is below {first}, the first that an ordinary user may have (sysctl net.ipv4.ip_unprivileged_port_start)"
    )]
    LowPort { port: u16, first: u16 },
    #[error("no command specified")]
    NoCommand,
    #[error("{what}")]
    Invalid { what: String },
    #[error("{what} is not built yet")]
    NotBuilt { what: String },
    #[error("container {id} is not running")]
    NotRunning { id: String },
    #[error("cannot kill container: {name}: container {id} is not running")]
    KillNotRunning { name: String, id: String },
    #[error("container {id} is already running")]
    AlreadyRunning { id: String },
    #[error(
        "cannot remove container \"{name}\": container is {status}: stop the container before removing or force remove"
    )]
    RemoveRunning { name: String, status: String },
    #[error("removal of container {id} is already in progress")]
    RemovalInProgress { id: String },
    #[error("container {id} is {status}, and cannot become {wanted}")]
    State { id: String, status: &'static str, wanted: &'static str },
    /// The container's first process, or an exec's, did not come to run. `message` has runc's phrases, from which
    /// Docker's clients derive 126 and 127.
    #[error("failed to start container \"{id}\": {step}: {message}")]
    Start { id: String, step: String, errno: i32, message: String },
    #[error("exec in container {id}: {step}: {message}")]
    Exec { id: String, step: String, errno: i32, message: String },
    /// The monitor says no: there is no terminal to resize, say.
    #[error("{message}")]
    Refused { id: String, message: String },
    #[error(
        "can't join IPC of container {name}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
    )]
    NotShareable { name: String },
    #[error("get {name}: no such volume")]
    NoSuchVolume { name: String },
    #[error("remove {name}: volume is in use - [{}]", users.join(", "))]
    VolumeInUse { name: String, users: Vec<String> },
    #[error("network {name} not found")]
    NoSuchNetwork { name: String },
    #[error("network with name {name} already exists")]
    NetworkExists { name: String },
    #[error("error while removing network: network {name} has active endpoints (name:{:?} id:{:?})", endpoints.join(", "), &id[..id.len().min(12)])]
    NetworkInUse { name: String, id: String, endpoints: Vec<String> },
    #[error("endpoint with name {container} already exists in network {network}")]
    AlreadyConnected { container: String, network: String },
    #[error("container {container} is not connected to network {network}")]
    NotConnected { container: String, network: String },
    #[error("{act} {}: {source}", path.display())]
    Io { act: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{act}: {source}")]
    Kernel { act: &'static str, source: std::io::Error },
    #[error("{}: {message}", path.display())]
    Record { path: PathBuf, message: String },
    #[error("{what} has version {found}; this onggi knows up to {known}")]
    TooNew { what: &'static str, found: u32, known: u32 },
    #[error("the monitor of container {id} does not answer: {message}")]
    Monitor { id: String, message: String },
    #[error("container {id} has ended, and the disk does not take how: {why}")]
    EndNotWritten { id: String, why: String },
    #[error("the monitor {}: {message}", program.display())]
    MonitorProgram { program: PathBuf, message: String },
    #[error(transparent)]
    Store { source: Box<onggi_store::Error> },
    #[error(transparent)]
    Registry { source: Box<onggi_registry::Error> },
    /// Of a pull or push, by what cannot name the image itself.
    #[error("{act} {image}: {source}")]
    Transfer { act: &'static str, image: String, source: Box<Error> },
    #[error(transparent)]
    Archive { source: Box<onggi_archive::Error> },
    #[error(transparent)]
    Cgroup { source: Box<onggi_cgroup::Error> },
    #[error(transparent)]
    Network { source: Box<onggi_net::Error> },
    #[error(transparent)]
    Rootless { source: Box<onggi_rootless::Error> },
    #[error(transparent)]
    Plan { source: Box<onggi_runtime::plan::Error> },
}

impl Error {
    /// Wraps an I/O error with what was done to which file.
    pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { act, path, source }
    }

    /// The exit status with which `run`, `start` and `exec` end after this error: 127 for a program that is not there, 126 for
    /// one that cannot be run, 125 for everything else (Docker's `toStatusError`).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if let Error::Interrupted { signal } = self {
            // As a shell says it of a program that died of the signal.
            return u8::try_from(128 + signal).unwrap_or(125);
        }
        let (Error::Start { errno, message, .. } | Error::Exec { errno, message, .. }) = self else {
            return 125;
        };
        const NOT_FOUND: [&str; 2] = ["executable file not found", "no such file or directory"];
        const NOT_RUNNABLE: [&str; 3] = ["permission denied", "is a directory", "exec format error"];
        // A working directory that is a file: Docker's `exec` counts it as not found, its `run` does not.
        let no_directory = *errno == 20 && matches!(self, Error::Exec { .. });
        if NOT_FOUND.iter().any(|text| message.contains(text)) || *errno == 2 || no_directory {
            127
        } else if NOT_RUNNABLE.iter().any(|text| message.contains(text)) || matches!(errno, 13 | 21 | 8) {
            126
        } else {
            125
        }
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Interrupted { .. } => Kind::Interrupted,
            Error::NoSuchContainer { .. } | Error::NoSuchImage { .. } | Error::NoSuchVolume { .. } => {
                Kind::NotFound
            }
            Error::NoSuchNetwork { .. } | Error::NotConnected { .. } => Kind::NotFound,
            Error::NameInUse { .. } | Error::NetworkExists { .. } | Error::AlreadyConnected { .. } => {
                Kind::AlreadyExists
            }
            Error::NeedsRoot { .. } | Error::LowPort { .. } => Kind::PermissionDenied,
            Error::AmbiguousPrefix { .. }
            | Error::InvalidName { .. }
            | Error::NoCommand
            | Error::Invalid { .. } => Kind::InvalidInput,
            Error::NotBuilt { .. }
            | Error::TooNew { .. }
            | Error::OtherPlatform { .. }
            | Error::OtherSystem { .. } => Kind::Unsupported,
            Error::NotRunning { .. }
            | Error::KillNotRunning { .. }
            | Error::AlreadyRunning { .. }
            | Error::RemoveRunning { .. }
            | Error::RemovalInProgress { .. }
            | Error::VolumeInUse { .. }
            | Error::NetworkInUse { .. }
            | Error::Refused { .. }
            | Error::NotShareable { .. }
            | Error::OtherRunRoot { .. }
            | Error::State { .. } => Kind::Conflict,
            Error::Start { errno, .. } | Error::Exec { errno, .. } => match self.exit_code() {
                126 | 127 => Kind::InvalidInput,
                _ => Kind::of_io(&std::io::Error::from_raw_os_error(*errno)),
            },
            Error::Io { source, .. } | Error::Kernel { source, .. } => Kind::of_io(source),
            Error::Record { .. } => Kind::Corrupt,
            Error::Monitor { .. } => Kind::Unavailable,
            Error::EndNotWritten { .. } => Kind::Exhausted,
            Error::MonitorProgram { .. } => Kind::Unsupported,
            Error::Store { source } => source.kind(),
            Error::Registry { source } => source.kind(),
            Error::Transfer { source, .. } => source.kind(),
            Error::Archive { source } => source.kind(),
            Error::Cgroup { source } => source.kind(),
            Error::Network { source } => source.kind(),
            Error::Rootless { source } => source.kind(),
            Error::Plan { source } => source.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NoSuchContainer { .. } => "`onggi ps -a` lists every container".to_owned(),
            Error::NeedsRoot { .. } => {
                "`sudo onggi …`; what an ordinary user has instead is in docs/rootless.md".to_owned()
            }
            Error::OtherRunRoot { known, .. } => {
                let known = known.display();
                format!(
                    "`onggi --run-root {known} ps -a` shows them; another run root can be taken when none of them runs"
                )
            }
            Error::LowPort { port, .. } => {
                format!("sudo sysctl net.ipv4.ip_unprivileged_port_start={port}; or publish on a higher port")
            }
            Error::OtherPlatform { found, .. } => {
                format!("leave --platform out to run it as it is, or say --platform {found}")
            }
            Error::OtherSystem { host, .. } => format!("this host runs images for {host}"),
            Error::NameInUse { name, .. } => format!("`onggi rm -f {name}` removes it, also if it runs"),
            Error::NoSuchImage { image } => {
                format!(
                    "`onggi pull {image}` brings it from its registry; `onggi load -i FILE` takes what `docker save` writes"
                )
            }
            Error::NotRunning { id } | Error::KillNotRunning { id, .. } => {
                format!("`onggi start {}` starts it", &id[..id.len().min(12)])
            }
            Error::InvalidName { name } if name.len() == 1 => "two characters are the least".to_owned(),
            Error::RemoveRunning { name, .. } => format!("`onggi rm -f {name}` kills and removes it"),
            Error::NoCommand => "name the program to run behind the image".to_owned(),
            Error::Record { .. } => "`onggi system check` says what else is damaged".to_owned(),
            Error::TooNew { .. } => "use the onggi that wrote it, or a newer one".to_owned(),
            Error::EndNotWritten { .. } => {
                "make room under the data root; the container's monitor keeps the end and tries again"
                    .to_owned()
            }
            Error::MonitorProgram { .. } => {
                "onggi-monitor belongs beside onggi and must be of the same version; install both again"
                    .to_owned()
            }
            Error::Io { source, .. } | Error::Kernel { source, .. } => {
                return onggi_error::limit_hint(source);
            }
            Error::Start { errno: NO_SUCH_ADDRESS, .. } => {
                "what stands before the host's port is one of the host's own addresses: `ip address` shows them".to_owned()
            }
            Error::Start { errno: NO_SUCH_PROTOCOL, message, .. } if message.contains("/sctp") => {
                "this kernel speaks no SCTP: `modprobe sctp` loads it where it is a module".to_owned()
            }
            Error::Start { errno, .. } | Error::Exec { errno, .. } => {
                return onggi_error::limit_hint(&std::io::Error::from_raw_os_error(*errno));
            }
            Error::Store { source } => return source.hint(),
            Error::Registry { source } => return source.hint(),
            Error::Transfer { source, .. } => return source.hint(),
            Error::Cgroup { source } => return source.hint(),
            Error::Network { source } => return source.hint(),
            Error::NoSuchNetwork { name } => {
                format!("`onggi network ls` lists every network; `onggi network create {name}` makes it")
            }
            Error::NetworkInUse { .. } => {
                "`onggi network disconnect` or `onggi rm -f` takes its containers off".to_owned()
            }
            Error::Rootless { source } => return source.hint(),
            Error::Plan { source } => return source.hint(),
            _ => return None,
        })
    }
}

impl Error {
    /// Names the image that was to be pulled or pushed, and so its registry, unless the words do that already: some of them are Docker's, which clients know.
    pub(crate) fn of_transfer(self, act: &'static str, image: &Reference) -> Error {
        let speaks_of_it =
            |text: &str| text.contains(image.path()) || text.contains(&image.familiar_repository());
        // A URL has both, and nobody reads them in it.
        let speaks_of_it = |text: &str| speaks_of_it(text) && !text.contains("://");
        let is_from_there = matches!(self, Error::Registry { .. } | Error::Store { .. });
        if !is_from_there || self.kind() == Kind::Interrupted || speaks_of_it(&self.to_string()) {
            return self;
        }
        Error::Transfer { act, image: image.to_string(), source: Box::new(self) }
    }
}

/// `EADDRNOTAVAIL`
const NO_SUCH_ADDRESS: i32 = 99;
/// `EPROTONOSUPPORT`
const NO_SUCH_PROTOCOL: i32 = 93;

impl From<onggi_record::Error> for Error {
    fn from(source: onggi_record::Error) -> Error {
        onggi_store::Error::from(source).into()
    }
}

impl From<onggi_store::Error> for Error {
    fn from(source: onggi_store::Error) -> Error {
        Error::Store { source: Box::new(source) }
    }
}

impl From<onggi_registry::Error> for Error {
    fn from(source: onggi_registry::Error) -> Error {
        Error::Registry { source: Box::new(source) }
    }
}

impl From<onggi_archive::Error> for Error {
    fn from(source: onggi_archive::Error) -> Error {
        Error::Archive { source: Box::new(source) }
    }
}

impl From<onggi_cgroup::Error> for Error {
    fn from(source: onggi_cgroup::Error) -> Error {
        Error::Cgroup { source: Box::new(source) }
    }
}

impl From<onggi_net::Error> for Error {
    fn from(source: onggi_net::Error) -> Error {
        Error::Network { source: Box::new(source) }
    }
}

impl From<onggi_rootless::Error> for Error {
    fn from(source: onggi_rootless::Error) -> Error {
        Error::Rootless { source: Box::new(source) }
    }
}

impl From<onggi_runtime::plan::Error> for Error {
    fn from(source: onggi_runtime::plan::Error) -> Error {
        Error::Plan { source: Box::new(source) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_dockers_texts() {
        let start = |errno, message: &str| {
            Error::Start { id: "x".into(), step: "exec".into(), errno, message: message.into() }.exit_code()
        };
        assert_eq!(start(2, "exec: \"x\": executable file not found in $PATH"), 127);
        assert_eq!(start(2, "exec /x: no such file or directory"), 127);
        assert_eq!(start(13, "exec: \"/etc\": permission denied"), 126);
        assert_eq!(start(21, "exec: \"/\": is a directory"), 126);
        assert_eq!(start(12, "clone3: cannot allocate memory"), 125);
        assert_eq!(Error::NoCommand.exit_code(), 125);
        let step = || {
            ("x".to_owned(), "chdir".to_owned(), "chdir to cwd (\"/etc/passwd\"): not a directory".to_owned())
        };
        let (id, step_name, message) = step();
        assert_eq!(Error::Exec { id, step: step_name, errno: 20, message }.exit_code(), 127);
        assert_eq!(start(20, &step().2), 125);
    }

    #[test]
    fn a_start_that_meets_a_limit_says_which() {
        let (id, step) = ("x".to_owned(), "monitor.fifo".to_owned());
        let message = "open the FIFO stdout: too many open files".to_owned();
        let hint = Error::Start { id, step, errno: 24, message }.hint().unwrap_or_default();
        assert!(hint.contains("ulimit -n"), "{hint}");
    }
}
