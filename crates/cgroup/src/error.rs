//! What can go wrong with control groups, one variant for each step.

use std::io;
use std::path::PathBuf;

use onggi_error::{Diagnose, Kind};

/// A failed step on control groups.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no control group file system is mounted")]
    NotMounted,
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cgroup path {path:?}: {reason}")]
    BadPath { path: String, reason: &'static str },
    #[error("{limit}: {reason}")]
    BadLimit { limit: String, reason: String },
    /// The controller is compiled out, disabled on the kernel's command line, or not delegated to this tree.
    #[error("{limit} cannot be applied: this host has no {controller} cgroup controller")]
    NoController { limit: &'static str, controller: &'static str },
    /// An ordinary user has what was delegated, and nothing else.
    #[error("{limit} cannot be had: no {controller} cgroup controller is delegated to this user")]
    NotDelegated { limit: &'static str, controller: &'static str },
    /// The controller is there, but not this knob of it.
    #[error("{file} = {value:?} cannot be applied: this kernel offers no such file")]
    NoFile { file: String, value: String },
    /// The other version of control groups has it, or nobody has any more.
    #[error("{limit} cannot be applied: {reason}")]
    Unsupported { limit: String, reason: &'static str },
    #[error("mkdir {}: {source}", path.display())]
    MakeDirectory { path: PathBuf, source: io::Error },
    #[error("open cgroup directory {}: {source}", path.display())]
    OpenDirectory { path: PathBuf, source: io::Error },
    #[error("bad sub cgroup path: {path}")]
    BadSubgroup { path: String },
    #[error("unknown controller {name}")]
    UnknownController { name: String },
    #[error("join the cgroup {}: {source}", path.display())]
    JoinBelow { path: PathBuf, source: io::Error },
    #[error("no cgroup {path}")]
    Missing { path: String },
    #[error("cgroup {path} already has {count} process(es)")]
    NotEmpty { path: String, count: usize },
    #[error("see whether cgroup {} has processes already: {source}", path.display())]
    Unseen { path: PathBuf, source: io::Error },
    /// Whatever is born in it does not run, and does not die either.
    #[error("cgroup {path} is there already, and frozen")]
    Frozen { path: String },
    #[error("write {value:?} to {}: {source}", path.display())]
    Write { path: PathBuf, value: String, source: io::Error },
    #[error("enable {controllers} below {}: processes live in that cgroup itself", path.display())]
    InternalProcesses { path: PathBuf, controllers: String },
    #[error("load the device program: {source}")]
    LoadDeviceProgram { source: io::Error },
    #[error("attach the device program to {path}: {source}")]
    AttachDeviceProgram { path: String, source: io::Error },
    #[error("{act} {path}: {source}")]
    Act { act: &'static str, path: String, source: io::Error },
    #[error("{act} {path}: not done within {seconds} s")]
    TimedOut { act: &'static str, path: String, seconds: u64 },
    /// runc's sentence.
    #[error("rejecting {what} limit {limit} <= usage {usage}")]
    BelowUsage { what: &'static str, limit: i64, usage: u64 },
    /// runc's words.
    #[error(
        "{source}; setting back cgroup configs failed, your state.json and actual configs might be inconsistent"
    )]
    Inconsistent { source: Box<Error> },
    #[error("remove cgroup {path}: {failures}")]
    Remove { path: String, failures: String },
}

impl Error {
    /// A controller that this tree does not have: the host's lack, or for an ordinary user the delegation's.
    pub(crate) fn no_controller(limit: &'static str, controller: &'static str) -> Error {
        if onggi_sys::namespace::in_user_namespace() || !rustix::process::geteuid().is_root() {
            Error::NotDelegated { limit, controller }
        } else {
            Error::NoController { limit, controller }
        }
    }
}

/// There while systemd runs the machine (sd_booted(3)).
const SYSTEMD: &str = "/run/systemd/system";

/// How an ordinary user comes to control groups on this machine: a command, or a sentence.
#[must_use]
pub fn how_to_delegate() -> &'static str {
    if std::path::Path::new(SYSTEMD).exists() {
        "systemd-run --user --scope -p Delegate=yes onggi …"
    } else {
        "run Onggi as root, or have root make a cgroup, give it to you (chown) and move your shell into it: docs/rootless.md"
    }
}

impl Error {
    /// Whether it says that the cgroup is somebody else's, or may be: nothing of it is to be removed then.
    #[must_use]
    pub fn is_of_another(&self) -> bool {
        matches!(self, Error::NotEmpty { .. } | Error::Frozen { .. } | Error::Unseen { .. })
    }
}

impl Diagnose for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::NotMounted
            | Error::NoController { .. }
            | Error::NotDelegated { .. }
            | Error::NoFile { .. }
            | Error::Unsupported { .. } => Kind::Unsupported,
            Error::BadPath { .. }
            | Error::BadSubgroup { .. }
            | Error::UnknownController { .. }
            | Error::BadLimit { .. }
            | Error::BelowUsage { .. } => Kind::InvalidInput,
            Error::Missing { .. } => Kind::NotFound,
            Error::NotEmpty { .. }
            | Error::Frozen { .. }
            | Error::InternalProcesses { .. }
            | Error::Remove { .. } => Kind::Conflict,
            Error::TimedOut { .. } => Kind::Unavailable,
            Error::Inconsistent { source } => source.kind(),
            // A value that the kernel refuses came from the user.
            Error::Write { source, .. } if matches!(source.raw_os_error(), Some(ERANGE | ENXIO | ENODEV)) => {
                Kind::InvalidInput
            }
            Error::Read { source, .. }
            | Error::Unseen { source, .. }
            | Error::MakeDirectory { source, .. }
            | Error::OpenDirectory { source, .. }
            | Error::JoinBelow { source, .. }
            | Error::Write { source, .. }
            | Error::LoadDeviceProgram { source }
            | Error::AttachDeviceProgram { source, .. }
            | Error::Act { source, .. } => Kind::of_io(source),
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::NotMounted => "mount -t cgroup2 none /sys/fs/cgroup".into(),
            Error::NoController { controller, .. } => format!(
                "look for {controller:?} in /proc/cgroups and in /sys/fs/cgroup/cgroup.controllers; \
                 the kernel's command line may disable it (cgroup_disable=, cgroup_enable=)"
            ),
            Error::NotDelegated { .. } => how_to_delegate().into(),
            Error::Inconsistent { source } => return source.hint(),
            Error::NoFile { file, .. } if file.contains("memsw") || file.contains("swap") => {
                "swap accounting is off: boot with swapaccount=1, or leave --memory-swap out".into()
            }
            Error::NoFile { file, .. } if file.contains("weight") => {
                "weights of block devices need the BFQ scheduler (modprobe bfq) or io.cost".into()
            }
            Error::InternalProcesses { path, .. } => format!(
                "cgroup v2 allows processes or limited children, not both: move those in {} to a child of it",
                path.join("cgroup.procs").display()
            ),
            Error::NotEmpty { .. } => {
                "another container uses this cgroup; choose another --cgroup-parent or name".into()
            }
            Error::BelowUsage { .. } => {
                "stop something in the container first, or choose a higher limit".into()
            }
            Error::MakeDirectory { source, .. } | Error::Write { source, .. }
                if matches!(Kind::of_io(source), Kind::PermissionDenied) =>
            {
                "cgroups are root's here: run as root, or have a subtree delegated to you".into()
            }
            _ => return None,
        })
    }
}

const ENXIO: i32 = 6;
const ENODEV: i32 = 19;
const ERANGE: i32 = 34;
