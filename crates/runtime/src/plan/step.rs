//! The steps of a start: typed data, in the order in which the child carries them out.
//!
//! A step holds everything that its execution needs, so that a plan can be printed, compared and timed without a kernel. The
//! names here are stable: failures, timings and `--explain` use them.

use std::path::PathBuf;

use onggi_oci::{Hook, IdMapping, NamespaceKind, State};
use serde::{Deserialize, Serialize};

/// One step. What it does in the kernel is in the file of the same name under `exec/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Moves the process into its cgroup in every version 1 hierarchy (version 2 is entered by `clone3` itself).
    JoinCgroups,
    /// Enters a namespace that exists already.
    JoinNamespace {
        kind: NamespaceKind,
        path: PathBuf,
    },
    /// Waits until the parent has mapped ids, or found those of a namespace that was joined, and becomes root there. `time`: in a new time
    /// namespace, whose offsets the parent writes as well.
    AwaitUserNamespace {
        time: bool,
    },
    /// Makes a time namespace and enters it.
    EnterTimeNamespace {
        offsets: Vec<TimeOffset>,
    },
    /// Makes the present cgroup the root of a new cgroup namespace; after the join, or the namespace shows the parent.
    UnshareCgroupNamespace,
    /// Sets the propagation of every mount that was copied from the host.
    SetPropagation {
        propagation: Propagation,
    },
    /// Mounts the root file system, at a directory of the host's or (for a process without a mount namespace) nowhere; everything after
    /// is resolved inside it. `part_from_host`: the mount below it is shared with the host, and must not be for this.
    MountRoot {
        root: Root,
        at: Option<PathBuf>,
        part_from_host: bool,
    },
    /// Copies the image's directory into an empty volume that is about to cover it.
    Populate(Populate),
    /// Mounts one thing inside the root.
    Mount(Mount),
    /// Shows the container its own cgroup.
    MountCgroups(MountCgroups),
    /// Makes device nodes and symbolic links.
    MakeDevices {
        devices: Vec<DeviceNode>,
        links: Vec<Link>,
    },
    /// Opens a pseudo-terminal in the container's devpts and sends its master to the parent.
    OpenTerminal {
        console: bool,
        /// Line ends stay as the program writes them.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        plain_output: bool,
    },
    /// Covers paths so that they look empty.
    MaskPaths {
        paths: Vec<String>,
        /// The SELinux label of the masks.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// Makes paths read-only where they are.
    ReadOnlyPaths {
        paths: Vec<String>,
    },
    /// Makes mounts read-only that had to be written to while they were filled.
    ReadOnlyMounts {
        destinations: Vec<String>,
    },
    /// Makes the working directory if the image has none.
    CreateWorkingDirectory {
        path: String,
    },
    /// Makes the root mount read-only.
    ReadOnlyRoot,
    /// Swaps the root and lets go of the host's mounts.
    PivotRoot {
        propagation: Option<Propagation>,
    },
    /// The same where the root cannot be swapped: the tree is moved over it, and what shows the machine's processes and devices is taken
    /// away.
    MoveRoot {
        at: PathBuf,
        propagation: Option<Propagation>,
    },
    /// `chroot`, for a process without a mount namespace.
    ChangeRoot,
    /// Limits the process to its tree by Landlock.
    Landlock,
    Hostname {
        name: String,
    },
    Domainname {
        name: String,
    },
    Sysctls {
        values: Vec<(String, String)>,
    },
    /// Brings the loopback interface up.
    Loopback,
    /// Waits until the parent has connected the network namespace, which it does while the steps before this one go on.
    AwaitNetwork,
    /// Waits until the parent has run its hooks, for which everything is mounted and the root not yet swapped.
    AwaitHooks,
    /// Runs hooks of the specification, one after another; the first that fails ends the start.
    RunHooks {
        /// The hooks' name in the specification.
        point: String,
        hooks: Vec<Hook>,
        state: State,
    },
    /// −1000 to 1000.
    OomScoreAdjustment {
        value: i32,
    },
    /// Raises the hard limits that are lower, while that is allowed.
    RaiseLimits {
        limits: Vec<ResourceLimit>,
    },
    /// Sets the limits, none of which is raised.
    Rlimits {
        limits: Vec<ResourceLimit>,
    },
    Personality {
        persona: u32,
    },
    IoPriority {
        class: u8,
        level: u8,
    },
    /// `sched_setattr(2)`.
    Scheduler(Scheduling),
    /// `set_mempolicy(2)`: `MPOL_…` with its flags, and node numbers.
    MemoryPolicy {
        mode: u32,
        nodes: Vec<u32>,
    },
    /// On which processors the process may run; `None` is every one that its cgroup has.
    Processors {
        allowed: Option<Vec<u32>>,
    },
    /// Joins (or makes) the container's session keyring; with an SELinux label, if there is one.
    SessionKeyring {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        label: Option<String>,
    },
    /// The AppArmor profile that the program will have.
    AppArmor {
        profile: String,
    },
    /// The SELinux label that the program will have.
    SelinuxLabel {
        label: String,
    },
    /// The SELinux label of a directory whose file system does not take one as an option.
    LabelFile {
        path: String,
        label: String,
    },
    /// Finds out who the process runs as, from the container's own files.
    ResolveUser(User),
    /// Stays behind as process 1, reaping and forwarding; a child goes on with the steps.
    Init,
    /// Becomes a session leader and takes the terminal, if there is one.
    Session,
    WorkingDirectory {
        path: String,
    },
    NoNewPrivileges,
    /// Drops the bounding set, takes the user's ids, sets the other sets. `what_there_is`: of these capabilities those that Onggi has
    /// itself (for "all"); otherwise one that it lacks is an error.
    Credentials {
        capabilities: Capabilities,
        what_there_is: bool,
        umask: u32,
    },
    /// Looks the program up, as the user and in the container, and fixes the environment.
    FindProgram {
        args: Vec<String>,
        env: Vec<String>,
        home: bool,
    },
    /// Says that all is ready, and waits until somebody opens the gate. What fails later goes to the program's standard error.
    AwaitStart,
    /// Closes everything but the standard streams and the report.
    CloseDescriptors,
    /// Loads the plan's seccomp program, and gives up the capability that this took.
    Seccomp {
        flags: u32,
    },
    /// Becomes the program.
    Execute,
}

/// Where the root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// `lower` has the topmost layer first. `volatile`: nothing is synced, ever (for trees that are thrown away). `user_attributes`:
    /// what is hidden is marked as root of a user namespace can.
    Overlay {
        lower: Vec<PathBuf>,
        upper: PathBuf,
        work: PathBuf,
        volatile: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        user_attributes: bool,
    },
    /// A directory as it is.
    Directory { path: PathBuf },
}

/// An empty volume to be filled from the directory of the image that it covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Populate {
    /// In the container.
    pub destination: String,
    /// The volume's directory on the host.
    pub volume: PathBuf,
}

/// `mount(8)`'s propagation words; `recursive` is the `r` in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub recursive: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PropagationKind {
    Shared,
    Slave,
    Private,
    Unbindable,
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute and clean (no `.`, `..` or double slash).
    pub destination: String,
    pub source: Source,
    /// For this mount alone.
    pub attributes: Attributes,
    /// Those of `attributes.clear` that nobody has asked for: a flag that the kernel has locked stays.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub implied: u64,
    /// For it and everything mounted below it.
    pub recursive: Attributes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
    /// Copies what the destination held into the new mount (`tmpcopyup`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy_up: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A new file system. Options are `key` or `key=value`, as `fsconfig(2)` takes them.
    New { kind: String, source: Option<String>, options: Vec<String> },
    /// A file or directory of the host. `outside`: the parent opens it, in the child's mount namespace and with its own rights. `ids`: for
    /// an id-mapped mount, which the parent always makes.
    Bind {
        path: PathBuf,
        recursive: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        outside: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ids: Option<MountIds>,
    },
    /// What is mounted there already, with other flags; with `options`, which are its file system's, for all who have it mounted.
    Again {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        options: Option<Vec<String>>,
    },
}

/// The owners that a mount shows. Without ranges they are those of the container's user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountIds {
    pub users: Vec<IdMapping>,
    pub groups: Vec<IdMapping>,
    /// For everything mounted below it as well.
    pub recursive: bool,
}

/// How far a clock (`monotonic` or `boottime`) is ahead of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffset {
    pub clock: String,
    pub seconds: i64,
    /// Less than a second.
    pub nanoseconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Step {
    /// The child cannot do it alone.
    pub(crate) fn asks_outside(&self) -> bool {
        matches!(
            self,
            Step::AwaitUserNamespace { .. }
                | Step::Mount(Mount { source: Source::Bind { outside: true, .. }, .. })
        )
    }
}

/// `mount_setattr(2)`'s `attr_set` and `attr_clr`, as bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub set: u64,
    pub clear: u64,
}

/// The container's view of `/sys/fs/cgroup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountCgroups {
    pub destination: String,
    pub view: CgroupView,
    pub attributes: Attributes,
}

/// Directories are those on the host: the container's own cgroups, unless it is said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupView {
    V2 {
        directory: PathBuf,
    },
    /// The host's whole tree, for a container without a cgroup namespace.
    V2Host {
        directory: PathBuf,
    },
    /// A tmpfs with one directory for each hierarchy, and links for controllers that share one.
    V1 {
        hierarchies: Vec<(String, PathBuf)>,
        links: Vec<Link>,
    },
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    pub path: String,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    Character,
    Block,
    Fifo,
}

/// A symbolic link to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub path: String,
    pub target: String,
}

/// How a process is scheduled, in the kernel's numbers; times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    /// `SCHED_…`.
    pub policy: u32,
    /// `SCHED_FLAG_…` as bits.
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

/// One `RLIMIT_…` by its number in the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimit {
    pub name: String,
    pub resource: u32,
    pub soft: u64,
    pub hard: u64,
}

/// Who the process is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum User {
    /// As the specification gives them.
    Ids { uid: u32, gid: u32, groups: Vec<u32> },
    /// Docker's `USER`: `name|uid[:group|gid]`, and `--group-add`. Empty is root with root's groups.
    Named { user: String, group_add: Vec<String> },
}

/// Capability sets as bits, lowest number first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}
