//! What is kept of a container between one command and the next: `state.json`.
//!
//! The format is ours alone and has a version. It holds what `exec`, `kill` and `delete` need of the configuration, so that they read
//! neither a changed bundle nor a large profile; the compiled seccomp program lies beside it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use onggi_oci as oci;
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::listener::Listener;
use super::resctrl;

/// The version that this program writes; it refuses a newer one.
pub(crate) const VERSION: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    pub(crate) id: String,
    pub(crate) oci_version: String,
    /// Of the first process, on the host.
    pub(crate) pid: i32,
    /// In clock ticks after boot (proc_pid_stat(5), field 22): tells the process from a later one of the same number.
    pub(crate) start_time: u64,
    /// RFC 3339.
    pub(crate) created: String,
    pub(crate) bundle: PathBuf,
    pub(crate) rootfs: PathBuf,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    /// The user who created it.
    pub(crate) owner: u32,
    /// Without steps: how to find it, not how to make it.
    pub(crate) cgroup: onggi_cgroup::Plan,
    /// The unit whose cgroup it is.
    #[serde(default)]
    pub(crate) systemd: Option<super::systemd::Kept>,
    /// Limits that belong together, for who changes one of them: [`super::resources`].
    #[serde(default)]
    pub(crate) limits: oci::Resources,
    /// What a process that joins needs: namespaces, personality and memory policy.
    pub(crate) linux: oci::Linux,
    /// What a process that joins has where it says nothing itself.
    #[serde(default)]
    pub(crate) process: oci::Process,
    #[serde(default)]
    pub(crate) poststart: Vec<oci::Hook>,
    #[serde(default)]
    pub(crate) poststop: Vec<oci::Hook>,
    /// `SECCOMP_FILTER_FLAG_…` of the program beside it, if there is one.
    pub(crate) seccomp: Option<u32>,
    /// While it waits for its start the process has the FIFO open for writing, too: to open it disturbs nobody.
    #[serde(default)]
    pub(crate) gate_is_held: bool,
    #[serde(default)]
    pub(crate) keep_keyring: bool,
    /// Who answers the calls that the seccomp program asks about.
    #[serde(default)]
    pub(crate) listener: Option<Listener>,
    /// The groups of `linux.intelRdt`.
    #[serde(default)]
    pub(crate) resctrl: Option<resctrl::Group>,
    /// Where the service manager listens for `READY=1`, if somebody gave it in `NOTIFY_SOCKET`.
    #[serde(default)]
    pub(crate) notify: Option<PathBuf>,
    /// What `checkpoint` has to leave alone.
    #[serde(default)]
    pub(crate) external: super::criu::External,
    /// What the first process's streams were at its start, as `/proc/PID/fd` shows them; empty for a terminal's.
    #[serde(default)]
    pub(crate) streams: Vec<String>,
}

impl Record {
    /// What hooks are told.
    pub(crate) fn state(&self, status: &str) -> oci::State {
        oci::State {
            oci_version: self.oci_version.clone(),
            id: self.id.clone(),
            status: status.to_owned(),
            pid: if status == "stopped" { 0 } else { self.pid },
            bundle: self.bundle.to_string_lossy().into_owned(),
            annotations: self.annotations.clone(),
        }
    }

    /// Whether its processes end with the first one.
    pub(crate) fn has_own_pids(&self) -> bool {
        self.linux
            .namespaces
            .iter()
            .any(|namespace| namespace.kind == oci::NamespaceKind::Pid && namespace.path.is_none())
    }

    pub(crate) fn cgroup(&self) -> Result<onggi_cgroup::Cgroup, onggi_cgroup::Error> {
        self.cgroup.open()
    }

    /// For a command that is about nothing else: an ordinary user's container may have none.
    pub(crate) fn own_cgroup(&self) -> Result<onggi_cgroup::Cgroup, Error> {
        if self.cgroup.layout.is_none() {
            return Err(Error::NoCgroups);
        }
        self.cgroup().map_err(Error::Cgroup)
    }
}
