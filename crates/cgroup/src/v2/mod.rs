//! cgroup v2: one file for each controller, each turning one part of the resources into writes (kernel documentation:
//! `Documentation/admin-guide/cgroup-v2.rst`).

mod cpu;
pub(crate) mod cpuset;
pub(crate) mod delegate;
pub(crate) mod devices;
pub(crate) mod freezer;
mod hugetlb;
mod io;
mod memory;
mod pids;
mod rdma;
mod unified;

use std::os::fd::OwnedFd;

use onggi_oci::Resources;
use rustix::io::Errno;

use crate::plan::{Limits, Plan, Step};
use crate::{Error, Layout, directory};

// What v1 says in the same way.
pub use cpu::weight as cpu_weight;
pub(crate) use hugetlb::check_page_size;
pub(crate) use io::leaf_weight;
pub(crate) use memory::bad_swap;
pub(crate) use pids::value as pids_value;
pub(crate) use rdma::limits as rdma_limits;

/// Had by every container where the host has them, limited or not: `memory` counts kills for want of memory, `pids` and `io` are
/// what `stats` shows. The others cost at every switch of tasks or fork, and are enabled only for a limit.
const ALWAYS: [&str; 3] = ["io", "memory", "pids"];

/// Where the processes go that were in the root of a delegated tree.
const CALLERS: &str = "onggi-callers";

/// The steps before any limit: controllers on the way down, then the directory.
pub(crate) fn begin(layout: &Layout, resources: &Resources) -> Result<Vec<Step>, Error> {
    let mut controllers: Vec<String> =
        ALWAYS.iter().filter(|name| layout.has_controller(name)).map(|&name| name.to_owned()).collect();
    for controller in controllers_of(&crate::plan::limits(layout, resources)?) {
        if !controllers.contains(&controller) {
            controllers.push(controller);
        }
    }
    controllers.sort_unstable();
    let mut steps = Vec::new();
    if !controllers.is_empty() {
        steps.push(Step::EnableControllers { controllers, wanted: Vec::new() });
    }
    steps.push(Step::MakeDirectory { hierarchy: 0 });
    Ok(steps)
}

pub(crate) fn limits(limits: &mut Limits<'_>, resources: &Resources) -> Result<(), Error> {
    if let Some(cpu) = &resources.cpu {
        cpu::limits(limits, cpu)?;
        cpuset::limits(limits, cpu)?;
    }
    if let Some(memory) = &resources.memory {
        memory::limits(limits, memory)?;
    }
    if let Some(pids) = &resources.pids {
        pids::limits(limits, pids)?;
    }
    if let Some(block_io) = &resources.block_io {
        io::limits(limits, block_io)?;
    }
    hugetlb::limits(limits, &resources.hugepage_limits)?;
    rdma::limits(limits, &resources.rdma)?;
    if let Some(network) = &resources.network
        && (network.class_id.is_some() || !network.priorities.is_empty())
    {
        let reason = "net_cls and net_prio exist in cgroup v1 only; use nftables' `socket cgroupv2`";
        return Err(Error::Unsupported { limit: "network class and priorities".into(), reason });
    }
    // Last, so that what is said in the kernel's own words wins.
    unified::limits(limits, &resources.unified)
}

/// Those whose files the steps write.
pub(crate) fn controllers_of(steps: &[Step]) -> Vec<String> {
    let mut controllers = Vec::new();
    for step in steps {
        if let Step::Write { file, .. } = step
            && let Some((controller, _)) = file.split_once('.')
            && controller != "cgroup"
            && !controllers.iter().any(|known| known == controller)
        {
            controllers.push(controller.to_owned());
        }
    }
    controllers
}

/// The same, and of the controllers that nothing depends on those that can be had: each that some group on the way has not is left out from
/// there on.
pub(crate) fn enable_with(
    root: &OwnedFd,
    plan: &Plan,
    controllers: &[String],
    wanted: &[String],
) -> Result<(), Error> {
    // As a rule all can be had, or are there already: one reading of each group.
    if !wanted.is_empty() && enable(root, plan, &[controllers, wanted].concat()).is_ok() {
        return Ok(());
    }
    enable(root, plan, controllers)?;
    for controller in wanted {
        // Left out on purpose: no limit needs it.
        let _ = enable(root, plan, std::slice::from_ref(controller));
    }
    Ok(())
}

/// Hands the controllers down from the root to the parent of the plan's group, making the directories between.
pub(crate) fn enable(root: &OwnedFd, plan: &Plan, controllers: &[String]) -> Result<(), Error> {
    match enable_in(root, plan, "", controllers) {
        // A scope that systemd made for the caller: the callers themselves are in it.
        Err(Error::InternalProcesses { .. }) if onggi_sys::namespace::in_user_namespace() => {
            move_callers(root, plan)?;
            enable_in(root, plan, "", controllers)?;
        }
        other => other?,
    }
    for (end, _) in plan.path.match_indices('/') {
        let path = &plan.path[..end];
        let full = || plan.layout.roots()[0].join(path);
        let (group, _) =
            directory::make(root, path).map_err(|source| Error::MakeDirectory { path: full(), source })?;
        enable_in(&group, plan, path, controllers)?;
    }
    Ok(())
}

/// Moves the processes of a delegated tree's root into a group of their own, as the kernel allows processes or limited groups
/// beneath, not both. All of them are the user's.
fn move_callers(root: &OwnedFd, plan: &Plan) -> Result<(), Error> {
    let path = || plan.layout.roots()[0].join(CALLERS);
    let (callers, _) =
        directory::make(root, CALLERS).map_err(|source| Error::MakeDirectory { path: path(), source })?;
    let pids = directory::read(root, "cgroup.procs")
        .map_err(|source| Error::Read { path: plan.layout.roots()[0].join("cgroup.procs"), source })?;
    for pid in pids.split_whitespace() {
        match directory::write(&callers, "cgroup.procs", pid) {
            Err(source) if source.raw_os_error() != Some(Errno::SRCH.raw_os_error()) => {
                return Err(Error::Write {
                    path: path().join("cgroup.procs"),
                    value: pid.to_owned(),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads first: a write of what is already there still takes the lock over all cgroups.
fn enable_in(group: &OwnedFd, plan: &Plan, path: &str, controllers: &[String]) -> Result<(), Error> {
    const FILE: &str = "cgroup.subtree_control";
    let full = || plan.layout.roots()[0].join(path);
    let enabled =
        directory::read(group, FILE).map_err(|source| Error::Read { path: full().join(FILE), source })?;
    let missing = |name: &&String| !enabled.split_whitespace().any(|known| known == name.as_str());
    let value =
        controllers.iter().filter(missing).map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
    if value.is_empty() {
        return Ok(());
    }
    directory::write(group, FILE, &value).map_err(|source| {
        if source.raw_os_error() == Some(Errno::BUSY.raw_os_error()) {
            return Error::InternalProcesses { path: full(), controllers: value.clone() };
        }
        Error::Write { path: full().join(FILE), value: value.clone(), source }
    })
}
