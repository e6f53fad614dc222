//! The planner: from an OCI specification and the facts of the host to a list of typed steps.
//!
//! Pure: it opens nothing, asks the kernel nothing, and what it cannot do it refuses by name. The executor in
//! [`crate::exec`] carries the steps out and decides nothing.

use std::path::PathBuf;

use onggi_oci as oci;
use serde::{Deserialize, Serialize};

mod bare;
mod capabilities;
mod container;
mod devices;
mod error;
mod explain;
mod mounts;
mod namespaces;
mod others;
mod process;
mod scheduling;
mod step;
mod sysctl;

pub(crate) use capabilities::capability_name;
pub use capabilities::{capability_names, is_capability};
pub use container::{JoinInput, container, join};
pub use error::Error;
pub(crate) use explain::kind_name;
pub use mounts::{OPTIONS as MOUNT_OPTIONS, clean};
pub use scheduling::memory_policy_names;
pub use step::*;
pub(crate) use sysctl::namespace_of as namespace_of_parameter;

/// What a container is planned from.
#[derive(Debug)]
pub struct Input<'a> {
    /// The container's id; the name of its session keyring is made of it.
    pub id: &'a str,
    pub spec: &'a oci::Spec,
    pub root: Root,
    pub cgroups: &'a onggi_cgroup::Layout,
    pub extra: Extra,
}

/// What Onggi does for a container and an OCI specification cannot say.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Extra {
    /// Docker's `USER` and `-u`: `name|uid[:group|gid]`, resolved inside the container, instead of `process.user`. Some("") is
    /// root with root's groups from the image.
    pub user: Option<String>,
    /// Group names or ids for `user` (which is then taken as "" if absent).
    pub group_add: Vec<String>,
    /// Set HOME from the container's passwd unless the environment has it.
    pub home: bool,
    /// Empty volumes to be filled from the image.
    pub populate: Vec<Populate>,
    /// Bring `lo` up. Only with a network namespace of its own.
    pub loopback: bool,
    /// Wait until the parent has connected the network namespace: it gets the word by [`crate::exec::Running::network`]. Only with a
    /// network namespace of its own.
    #[serde(default)]
    pub await_network: bool,
    /// Stay behind as a small process 1 that reaps and forwards signals. Needs a pid namespace of its own.
    pub init: bool,
    /// A ready seccomp program (`onggi_seccomp::Program::to_bytes`) instead of compiling `linux.seccomp`.
    pub seccomp: Option<Vec<u8>>,
    /// `SECCOMP_FILTER_FLAG_…` for `seccomp`.
    pub seccomp_flags: u32,
    pub isolation: Isolation,
    /// Report how long each step took.
    pub timings: bool,
    #[serde(default)]
    pub bundle: Bundle,
}

/// What a caller of the program `onggi-runtime` may ask for; nothing by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Bundle {
    /// The caller runs the hooks that are the parent's, and this is what the others are told. Without it hooks are refused.
    pub state: Option<oci::State>,
    /// A FIFO: before it executes the program, the child waits until somebody writes to it.
    pub gate: Option<PathBuf>,
    /// So many descriptors from 3 on stay open in the program.
    pub preserved: u32,
    /// A terminal does not complete line ends: whoever shows its output does.
    pub plain_output: bool,
    /// The caller's session keyring stays.
    pub keep_keyring: bool,
    /// `chroot(2)` instead of pivot_root(2), where the root file system of the machine is an initial ramdisk, which cannot be swapped.
    #[serde(default)]
    pub without_pivot: bool,
    /// The caller moves `linux.netDevices`. Without it they are refused.
    #[serde(default)]
    pub moves_devices: bool,
    /// A process that joins goes to these groups below the container's.
    #[serde(default)]
    pub subgroups: Vec<onggi_cgroup::Subgroup>,
    /// A process that joins may be held in a frozen cgroup for as long as that takes.
    #[serde(default)]
    pub patient: bool,
    /// The caller puts the process into its group of `linux.intelRdt`. Without it that is refused.
    #[serde(default)]
    pub joins_resctrl: bool,
    /// The caller passes the listener of a seccomp program on. Without it a profile that wants one is refused.
    #[serde(default)]
    pub passes_listener: bool,
    /// The process may run on every processor that its cgroup has, whatever the caller was limited to.
    #[serde(default)]
    pub every_processor: bool,
    /// The caller is no root: what it opens itself, a mapped root can open as well, and no mount can have ids of its own.
    #[serde(default)]
    pub unprivileged: bool,
    /// What a container without a cgroup is shown in the place of its own, read-only: groups of the caller's.
    #[serde(default)]
    pub shown_cgroups: Option<onggi_cgroup::Layout>,
    /// The child runs nothing of the container's before the caller says that it has written down who that is ([`crate::exec::go_on`]), and
    /// ends if the caller does before.
    #[serde(default)]
    pub leashed: bool,
    /// Of the capabilities those that Onggi has itself, as `config.md` wants it; otherwise one that it lacks is an error.
    pub what_there_is: bool,
}

/// What stands between the process and the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Namespaces.
    #[default]
    Container,
    /// None: a changed root, Landlock, seccomp and limits.
    Process,
}

/// What a start needs, in two parts: what the parent keeps, and what the child does.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub launch: Launch,
    pub steps: Vec<Step>,
    /// The seccomp program, as the kernel takes it; empty for none.
    pub filter: Vec<u8>,
}

/// The parent's part: small, and kept for as long as the container lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Launch {
    /// [`crate::VERSION`] when it was written.
    pub version: u32,
    pub id: String,
    /// New ones, and with a path those to be joined. Those that are not named are the host's.
    pub namespaces: Vec<oci::Namespace>,
    pub cgroup: onggi_cgroup::Plan,
    pub terminal: bool,
    pub timings: bool,
    /// The child waits for its network, or for the end of its parent's hooks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub await_network: bool,
    /// [`Bundle::gate`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<PathBuf>,
    /// [`Bundle::preserved`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub preserved: u32,
    /// A process that joins is born on these processors, and goes to others once it is in the container's cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_processors: Option<Vec<u32>>,
    /// [`Bundle::subgroups`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subgroups: Vec<onggi_cgroup::Subgroup>,
    /// [`Bundle::patient`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub patient: bool,
    /// The child's seccomp program makes a listener, and the child waits until the parent has it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_listener: bool,
    /// With a user namespace, new or joined: what the child cannot do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserNamespace>,
    /// [`Bundle::leashed`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leashed: bool,
    /// The child asks for sources of mounts, which the parent opens in the child's mount namespace.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sources: bool,
}

/// What the parent does for a child whose rights end at its user namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespace {
    /// It exists already, and must have these mappings, if there are any. Otherwise they are written.
    pub joined: bool,
    pub users: Vec<oci::IdMapping>,
    pub groups: Vec<oci::IdMapping>,
    /// For a new time namespace, which belongs to the user namespace.
    pub time_offsets: Vec<TimeOffset>,
    /// −1000 to 1000.
    pub oom_score_adjustment: Option<i32>,
    /// The hard ones are raised to these.
    pub limits: Vec<ResourceLimit>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
