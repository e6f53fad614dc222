//! The planner: from an OCI specification and the facts of the host to a list of typed steps.
//!
//! Pure: it opens nothing, asks the kernel nothing, and what it cannot do it refuses by name. The executor in
//! [`crate::exec`] carries the steps out and decides nothing.

use onggi_oci as oci;
use serde::{Deserialize, Serialize};

mod bare;
mod capabilities;
mod container;
mod devices;
mod error;
mod explain;
mod mounts;
mod others;
mod process;
mod step;
mod sysctl;

pub(crate) use capabilities::capability_name;
pub use container::{JoinInput, container, join};
pub use error::Error;
pub(crate) use explain::kind_name;
pub use mounts::clean;
pub use step::*;

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
    /// The child waits for its network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub await_network: bool,
}
