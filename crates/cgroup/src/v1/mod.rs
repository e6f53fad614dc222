//! cgroup v1, for hosts that still have it: a directory in every hierarchy, and the older files' names and habits
//! (`Documentation/admin-guide/cgroup-v1/`). Nothing outside this directory depends on how it works.

mod blkio;
mod cpu;
mod cpuset;
pub(crate) mod devices;
pub(crate) mod freezer;
mod hugetlb;
mod memory;
mod network;

pub(crate) use cpuset::inherit;

use onggi_oci::Resources;

use crate::plan::{Limits, Step};
use crate::{Error, Layout};

/// A directory in every hierarchy, also those that limit nothing, so that the container finds itself in a group of its own in each
/// line of `/proc/self/cgroup` and can be found, frozen and killed by any.
pub(crate) fn begin(layout: &Layout) -> Vec<Step> {
    let mut steps = Vec::new();
    for hierarchy in 0..layout.roots().len() {
        steps.push(Step::MakeDirectory { hierarchy });
        if layout.index_of("cpuset") == Some(hierarchy) {
            steps.push(Step::InheritCpuset { hierarchy });
        }
    }
    steps
}

pub(crate) fn limits(limits: &mut Limits<'_>, resources: &Resources) -> Result<(), Error> {
    if let Some(file) = resources.unified.keys().next() {
        let reason = "invalid configuration: cannot use unified on cgroup v1";
        return Err(Error::Unsupported { limit: format!("unified {file:?}"), reason });
    }
    if let Some(cpu) = &resources.cpu {
        cpu::limits(limits, cpu)?;
        cpuset::limits(limits, cpu)?;
    }
    if let Some(memory) = &resources.memory {
        memory::limits(limits, memory)?;
    }
    if let Some(limit) = resources.pids.as_ref().and_then(|pids| pids.limit) {
        limits.write("pids limit", "pids", "pids.max", crate::v2::pids_value(limit))?;
    }
    if let Some(block_io) = &resources.block_io {
        blkio::limits(limits, block_io)?;
    }
    hugetlb::limits(limits, &resources.hugepage_limits)?;
    crate::v2::rdma_limits(limits, &resources.rdma)?;
    match &resources.network {
        Some(network) => network::limits(limits, network),
        None => Ok(()),
    }
}
