//! Everything that `run`, `create`, `start`, `exec`, `attach`, `ps`, `logs` and `events` can be asked, as plain data.
//!
//! A [`RunRequest`] is kept word for word in the container's record, so every field has a default and a new one never changes
//! what an old record means. `None` says "the image or the settings decide". The texts of flags become these types in `flags`.

use std::collections::BTreeMap;

use onggi_image::config::Healthcheck;
pub use onggi_monitor::policy::Restart;
use serde::{Deserialize, Serialize};

mod acts;
mod isolation;
mod limits;
mod mounts;
mod network;

pub use acts::{
    AttachOptions, EventOptions, ExecRequest, Filters, Interruption, ListOptions, LogOptions, RemoveOptions,
    StartOptions, StopOptions, UpdateRequest, WaitCondition,
};
pub use isolation::{
    DeviceRequest, DeviceRuleRequest, IpcMode, Isolation, PidMode, SeccompChoice, Security, UtsMode,
};
pub use limits::{BlockLimits, DeviceAmount, Limits, Ulimit};
pub use mounts::{MountRequest, Propagation, Relabel, VolumesFrom};
pub use network::{ExtraHost, Network, NetworkCreate, NetworkRequest, Protocol, PublishRequest, Subnet};

/// What `docker create` and `docker run` are asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRequest {
    /// As typed: a name, `name:tag`, `name@digest` or an id or its beginning.
    pub image: String,
    /// What stands behind the image; empty means the image's CMD.
    pub command: Vec<String>,
    /// `None`: the image's; `Some([])` (`--entrypoint ""`): none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `None`: one is generated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Remove the container and its anonymous volumes when it ends.
    pub remove: bool,
    /// When it is started again after its end.
    #[serde(skip_serializing_if = "Restart::is_no")]
    pub restart: Restart,
    pub pull: Pull,
    /// `os/arch[/variant]`, as typed; `None`: the host's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,

    /// Which streams the caller means to attach; recorded as Docker's `AttachStdin` and so on.
    pub attach: Streams,
    /// `-i`: keep standard input open although nobody is attached.
    pub interactive: bool,
    /// `-i` with an attached caller: standard input ends when the first one leaves (Docker's `StdinOnce`).
    pub stdin_once: bool,
    pub tty: bool,
    /// Keys that detach, as bytes; `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detach_keys: Option<Vec<u8>>,

    /// `NAME=value`, or `NAME=` for an empty one, or `NAME` alone to take the image's away. In order, later ones win.
    pub env: Vec<String>,
    /// Absolute inside the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `user[:group]`, names or numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Names or numbers.
    pub group_add: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,

    /// What takes the place of the image's health check; what is empty or 0 in it is the image's. `["NONE"]` is none at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,

    pub mounts: Vec<MountRequest>,
    /// Containers whose volumes and binds this one has too, each with whether it only reads them. Names or ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<VolumesFrom>,
    pub read_only: bool,
    /// Bytes of `/dev/shm`; `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<u64>,

    pub network: Network,
    /// With [`Network::Bridge`]: which, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<NetworkRequest>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<PublishRequest>,
    /// `-P`: every exposed port, each on a port of the host that is free.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub publish_all: bool,
    /// `80/tcp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    pub add_hosts: Vec<ExtraHost>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    pub dns_options: Vec<String>,

    /// With or without `CAP_`, or `ALL`.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub privileged: bool,
    pub security: Security,
    /// Devices of the host that it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceRequest>,
    /// Devices that it may use should it have or make their nodes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_rules: Vec<DeviceRuleRequest>,
    /// `KEY=value` in the container's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// −1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    pub ulimits: Vec<Ulimit>,
    /// Run a small init as process 1 that reaps and passes signals on.
    pub init: bool,
    pub pid: PidMode,
    pub ipc: IpcMode,
    pub uts: UtsMode,
    /// The host's cgroup namespace in place of one's own: `/proc/self/cgroup` tells of the host's paths.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_cgroup_namespace: bool,
    pub isolation: Isolation,

    pub resources: Limits,
    /// `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,
    /// A signal's name or number; `None`: the image's, or SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Seconds, −1 for ever; `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    pub log: LogRequest,
}

/// When an image that is not here is fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pull {
    #[default]
    Missing,
    Never,
    Always,
}

/// Standard input, output and error.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

impl Streams {
    /// Whether any stream is wanted.
    #[must_use]
    pub fn any(self) -> bool {
        self.stdin || self.stdout || self.stderr
    }
}

/// `--log-driver` and `--log-opt`; `None`: the settings'.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogRequest {
    /// `json-file` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// `max-size`, bytes; 0 is "never rotate".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_file: Option<u32>,
}
