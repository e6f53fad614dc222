//! Everything that `run`, `create`, `start`, `exec`, `attach`, `ps`, `logs` and `events` can be asked, as plain data.
//!
//! A [`RunRequest`] is kept word for word in the container's record, so every field has a default and a new one never changes
//! what an old record means. `None` says "the image or the settings decide". The texts of flags become these types in `flags`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use onggi_image::config::Healthcheck;
pub use onggi_monitor::policy::Restart;
pub use onggi_net::address::Subnet;
pub use onggi_net::endpoint::Protocol;
use serde::{Deserialize, Serialize};

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

/// One `--device`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRequest {
    /// A device of the host, or a directory of them.
    pub host: String,
    /// Where it is in the container.
    pub container: String,
    /// Of `r`, `w` and `m`.
    pub access: String,
}

/// One `--device-cgroup-rule`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRuleRequest {
    /// `a`, `b` or `c`.
    pub kind: String,
    /// `None`: all.
    pub major: Option<i64>,
    pub minor: Option<i64>,
    /// Of `r`, `w` and `m`.
    pub access: String,
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

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum MountRequest {
    Bind {
        /// Absolute on the host.
        source: String,
        destination: String,
        #[serde(default)]
        read_only: bool,
        #[serde(default)]
        propagation: Propagation,
        /// `--mount …,bind-recursive=disabled` makes this false: only the mount itself, none below it.
        #[serde(default = "yes")]
        recursive: bool,
        /// `-v` makes a missing source directory, `--mount` refuses (as Docker).
        #[serde(default)]
        create_source: bool,
        /// `:z` or `:Z`: asks for SELinux's label of containers, which matters on hosts with SELinux only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
    },
    Volume {
        /// `None`: an anonymous volume.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        destination: String,
        #[serde(default)]
        read_only: bool,
        /// Do not fill an empty volume with what the image has at the destination.
        #[serde(default)]
        no_copy: bool,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        /// As for a bind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relabel: Option<Relabel>,
    },
    Tmpfs {
        destination: String,
        /// Bytes; `None`: half of the memory, the kernel's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Permission bits; `None`: 1777.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Further mount options as `--tmpfs` takes them (`noexec`, `uid=…`).
        #[serde(default)]
        options: Vec<String>,
    },
}

impl MountRequest {
    /// Where it is in the container.
    #[must_use]
    pub fn destination(&self) -> &str {
        match self {
            MountRequest::Bind { destination, .. }
            | MountRequest::Volume { destination, .. }
            | MountRequest::Tmpfs { destination, .. } => destination,
        }
    }
}

/// `:z` and `:Z` of `-v`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relabel {
    Shared,
    Private,
}

/// One `--volumes-from CONTAINER[:ro|rw]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    pub container: String,
    #[serde(default)]
    pub read_only: bool,
}

fn yes() -> bool {
    true
}

/// Whether mounts made later on one side show on the other. `--mount …,bind-propagation=`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rshared,
    Shared,
    Rslave,
    Slave,
}

impl Propagation {
    /// The mount option's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Propagation::Rprivate => "rprivate",
            Propagation::Private => "private",
            Propagation::Rshared => "rshared",
            Propagation::Shared => "shared",
            Propagation::Rslave => "rslave",
            Propagation::Slave => "slave",
        }
    }
}

/// `--network`. The default is that of records from before there were bridges; commands say [`Network::Bridge`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace with nothing but loopback.
    #[default]
    None,
    /// The host's own.
    Host,
    /// Another container's, by name or id.
    Container(String),
    /// A network namespace that is connected to [`RunRequest::networks`].
    Bridge,
}

impl Network {
    /// Whether the container has a network namespace of its own.
    #[must_use]
    pub fn is_private(&self) -> bool {
        matches!(self, Network::None | Network::Bridge)
    }

    /// As `--network` says it; a bridge's networks have names of their own.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Network::None => "none".to_owned(),
            Network::Host => "host".to_owned(),
            Network::Container(id) => format!("container:{id}"),
            Network::Bridge => "bridge".to_owned(),
        }
    }
}

/// A network that a container is to be on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkRequest {
    /// A name or id.
    pub name: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// `None`: one that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// `--publish`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishRequest {
    pub protocol: Protocol,
    /// Of the host; `None`: all of both families.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// First and last; `None`: one that is free. A range for one port of the container is where a free one is looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<(u16, u16)>,
    /// First and last.
    pub container: (u16, u16),
}

/// What `network create` is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkCreate {
    pub name: String,
    pub subnets: Vec<Subnet>,
    pub gateways: Vec<IpAddr>,
    /// For containers without an address of their choice, inside the subnets.
    pub ranges: Vec<Subnet>,
    pub internal: bool,
    pub ipv6: bool,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

/// `--add-host name:address`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    pub name: String,
    pub address: String,
}

/// `--security-opt`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    pub seccomp: SeccompChoice,
    pub no_new_privileges: bool,
    /// `unmask=PATH[:PATH…]`, `unmask=ALL`: take these off the list of masked and read-only paths.
    pub unmask: Vec<String>,
    /// `systempaths=unconfined`: no masked and no read-only paths at all.
    pub unconfined_paths: bool,
}

/// Which system call filter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompChoice {
    #[default]
    Default,
    Unconfined,
    /// The content of a profile: the OCI object, or Docker's profile with `archMap`, `includes` and `excludes`.
    Profile(serde_json::Value),
}

/// `--ulimit name=soft[:hard]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Lower case without `RLIMIT_`: `nofile`.
    pub name: String,
    /// `u64::MAX` is "no limit".
    pub soft: u64,
    pub hard: u64,
}

/// `--pid`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PidMode {
    #[default]
    Private,
    Host,
    /// A name or id.
    Container(String),
}

/// `--ipc`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    #[default]
    Private,
    /// Private, and others may join it.
    Shareable,
    /// Private, and without `/dev/shm`.
    None,
    Host,
    /// A name or id.
    Container(String),
}

/// `--uts`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UtsMode {
    #[default]
    Private,
    Host,
}

/// How strong the walls are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces.
    #[default]
    Container,
    /// No namespaces: Landlock, seccomp and limits only.
    Process,
}

/// Limits; `None` is "not asked for", and nothing is written then.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory and swap together, bytes; −1 is no limit on swap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation: Option<u64>,
    /// Billionths of a processor: `--cpus 0.5` is 500 000 000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds in each period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota: Option<i64>,
    /// Microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// −1 is no limit; `None`: the settings'.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
    /// 0 to 100; cgroup v1 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Wait for memory where others are killed; cgroup v1 only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    #[serde(skip_serializing_if = "BlockLimits::is_empty")]
    pub block: BlockLimits,
}

/// Shares and rates of block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockLimits {
    /// 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Weights, 10 to 1000.
    pub weight_device: Vec<DeviceAmount>,
    /// Bytes in a second; 0 is no limit.
    pub read_bps: Vec<DeviceAmount>,
    pub write_bps: Vec<DeviceAmount>,
    /// Operations in a second; 0 is no limit.
    pub read_iops: Vec<DeviceAmount>,
    pub write_iops: Vec<DeviceAmount>,
}

impl BlockLimits {
    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == BlockLimits::default()
    }

    /// Every amount for one device.
    pub fn of_devices(&self) -> impl Iterator<Item = &DeviceAmount> {
        [&self.weight_device, &self.read_bps, &self.write_bps, &self.read_iops, &self.write_iops]
            .into_iter()
            .flatten()
    }
}

/// `/dev/sda:1mb`: a block device of the host, and how much of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAmount {
    pub path: String,
    pub amount: u64,
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

/// How a container is started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartOptions {
    /// Streams to attach before the first instruction runs, so that no output is lost.
    pub attach: Streams,
    /// Overrides the container's.
    pub detach_keys: Option<Vec<u8>>,
    /// Rows and columns of the caller's terminal, for a container with one.
    pub size: Option<(u16, u16)>,
    /// Ask for the time that each step took.
    pub timings: bool,
}

/// How to attach to a container that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachOptions {
    pub streams: Streams,
    pub detach_keys: Option<Vec<u8>>,
}

/// What `docker exec` is asked.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExecRequest {
    pub command: Vec<String>,
    pub detach: bool,
    pub interactive: bool,
    pub tty: bool,
    /// `NAME=value`, added to the container's.
    pub env: Vec<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub privileged: bool,
    pub detach_keys: Option<Vec<u8>>,
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
}

/// How a container is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StopOptions {
    /// Name or number; `None`: the container's.
    pub signal: Option<String>,
    /// Seconds, −1 for ever; `None`: the container's.
    pub timeout: Option<i64>,
}

/// What `docker update` is asked; `None` leaves what is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct UpdateRequest {
    pub limits: Limits,
    pub restart: Option<Restart>,
}

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kill it first if it runs.
    pub force: bool,
    /// Its anonymous volumes too.
    pub volumes: bool,
}

/// What a `wait` waits for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WaitCondition {
    /// Answered at once for a container that does not run.
    #[default]
    NotRunning,
    /// The next end, even of a container that is not started yet.
    NextExit,
    /// Until it is gone.
    Removed,
}

/// Which containers `ps` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListOptions {
    /// Those that do not run too.
    pub all: bool,
    /// Only so many of the newest, whether they run or not.
    pub last: Option<usize>,
    /// Measure each container's writable layer.
    pub size: bool,
    pub filters: Filters,
}

/// `--filter key=value`, several of a key meaning "or", several keys "and" (labels: always "and").
pub type Filters = BTreeMap<String, Vec<String>>;

/// Which lines `logs` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogOptions {
    pub follow: bool,
    /// The last so many lines; `None` is all.
    pub tail: Option<u64>,
    /// Nanoseconds since 1970, inclusive.
    pub since: Option<i64>,
    pub until: Option<i64>,
    pub stdout: bool,
    pub stderr: bool,
}

/// Which events are shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventOptions {
    /// Nanoseconds since 1970. `None`: from now on.
    pub since: Option<i64>,
    /// `None`: follow for ever.
    pub until: Option<i64>,
    pub filters: Filters,
}
