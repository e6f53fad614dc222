//! Control groups: what a container may use of the machine, and how much it has used.
//!
//! First a *plan* ([`plan`], pure): which directories to make and which files get which values, from the host's [`Layout`] and the
//! resources of an OCI configuration. Then the act ([`Plan::create`]), through directory descriptors. cgroup v2 is in `v2`, v1
//! beside it in `v1`, which can be deleted one day. Nothing here knows images, namespaces or processes other than by number.

mod cgroup;
mod devices;
mod directory;
mod error;
mod layout;
mod oom;
mod own;
mod plan;
mod stats;
mod v1;
mod v2;

pub use cgroup::{Cgroup, Subgroup};
pub use devices::{DeviceKind, Rule, device_exceptions};
pub use error::{Error, how_to_delegate};
pub use layout::{Hierarchy, Layout, detect, detect_at, detect_beneath, detect_delegated, detect_for};
pub use own::{Own, detect_own, detect_shown};
pub use plan::{IfMissing, Plan, Step, plan};
pub use stats::{
    CPUSET, Counter, CpuStats, Details, DeviceIo, MemoryStats, Operations, PidsStats, Pressure, Stats, Waits,
};
pub use v2::cpu_weight;
