//! Changing the limits of a container, whether it runs or not.
//!
//! The kernel is asked first: what it refuses is not written down, and what it has taken already is taken back. The record follows, from
//! which the next start is planned. Docker's rules are those of moby's `daemon/update.go` and `container_unix.go`.

use std::os::fd::{AsFd, BorrowedFd};

use onggi_cgroup::Cgroup;
use onggi_error::{Diagnose, Kind};
use onggi_monitor::protocol::Request;
use onggi_oci as oci;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::id::ContainerId;
use crate::record::Record;
use crate::request::{Limits, Restart, UpdateRequest};
use crate::state::Status;

impl Engine {
    /// Changes what is given of a container's limits, and leaves the rest.
    ///
    /// # Errors
    /// A limit that means nothing or does not go with those that stay; what the kernel refuses.
    pub fn update(&self, id: &ContainerId, request: &UpdateRequest) -> Result<(), Error> {
        self.check_update(&request.limits)?;
        // Brings the state up to date, which takes the lock.
        self.state(id)?;
        let _lock = self.lock(id)?;
        let old = self.record(id)?;
        let state = self.written_state(id)?;
        if matches!(status(&state), Status::Removing | Status::Dead) {
            let what = "container is marked for removal and cannot be \"update\"";
            return Err(cannot_update(id, what));
        }
        let mut new = old.clone();
        let swap = crate::host::can_limit_swap(self.cgroups()?);
        new.request.resources =
            merge(&old.request.resources, &request.limits, swap).map_err(|what| cannot_update(id, what))?;
        if let Some(limit) = request.limits.pids {
            // Docker takes 0 for "no limit" too.
            new.resolved.pids_limit = if limit == 0 { -1 } else { limit };
        }
        if let Some(restart) = request.restart {
            if new.request.remove && restart != Restart::No {
                let what = "Restart policy cannot be updated because AutoRemove is enabled for the container";
                return Err(Error::Invalid { what: what.to_owned() });
            }
            new.request.restart = restart;
            crate::resolve::check_restart(&new.request)?;
        }
        self.check_update(&new.request.resources).map_err(|error| cannot_update(id, error.to_string()))?;
        if status(&state).is_live() {
            self.give_limits(&old, &new).map_err(|error| match error {
                Error::Cgroup { .. } => error,
                error => cannot_update(id, error.to_string()),
            })?;
        }
        onggi_sys::fault::point("engine.update.limited");
        self.write_record(&new)?;
        onggi_sys::fault::point("engine.update.recorded");
        if status(&state).is_live() && self.is_watched(id) {
            self.tell_policy(&new)?;
        }
        self.tell("container", "update", id.as_str(), new.event_attributes());
        Ok(())
    }

    /// What its monitor starts again by policy is planned anew, with the limits that hold now.
    fn tell_policy(&self, record: &Record) -> Result<(), Error> {
        let plan = self.plan_for_restarts(record)?;
        let descriptors: Vec<_> = plan.iter().map(AsFd::as_fd).collect();
        let request = Request::Update { name: None, restart: Some(record.request.restart) };
        // A monitor of the release before has no policies, and nothing is lost where none is asked for.
        self.inform(&record.id, &request, &descriptors, plan.is_none())
    }

    /// Tells a monitor what has changed. One that has left meanwhile needs to know nothing; nor, with `optional`, one of the release
    /// before that does not understand it.
    pub(crate) fn inform(
        &self,
        id: &ContainerId,
        request: &Request,
        descriptors: &[BorrowedFd<'_>],
        optional: bool,
    ) -> Result<(), Error> {
        let told = self.connect(id).and_then(|mut connection| match connection.order(request, descriptors) {
            Ok(_) => Ok(()),
            Err(error) if optional && error.kind() == Kind::Unsupported => Ok(()),
            Err(error) => Err(self.monitor_error(id, &error)),
        });
        match told {
            Err(Error::NotRunning { .. }) => Ok(()),
            Err(error) => {
                // It hangs up a moment before it is gone.
                self.await_departure(id)?;
                if status(&self.written_state(id)?).is_live() { Err(error) } else { Ok(()) }
            }
            Ok(()) => Ok(()),
        }
    }

    fn check_update(&self, limits: &Limits) -> Result<(), Error> {
        let processors = crate::create::processors(limits);
        let online = crate::create::online;
        // A swap limit alone belongs to the memory limit that the container has.
        let memory = limits.memory.or(limits.memory_swap.and_then(|swap| u64::try_from(swap).ok()));
        crate::resolve::check_limits(&Limits { memory, ..limits.clone() }, processors)?;
        crate::resolve::check_cpuset(
            limits,
            &online(limits.cpuset_cpus.is_some(), "cpu"),
            &online(limits.cpuset_mems.is_some(), "node"),
        )
    }

    /// Writes the limits of the record `new` into the living cgroup; on failure those of `old` again.
    fn give_limits(&self, old: &Record, new: &Record) -> Result<(), Error> {
        let cgroup = match Cgroup::open(self.cgroups()?, &new.resolved.cgroup) {
            // It has just ended.
            Err(error) if error.kind() == Kind::NotFound => return Ok(()),
            other => other?,
        };
        let (before, after) = (self.resources(old)?, self.resources(new)?);
        cgroup.update(&after).map_err(|error| {
            // The first failure is what matters; the record still says what held before.
            let _ = cgroup.update(&undo(before, &after));
            error.into()
        })
    }

    /// The limits of a record but for devices, which do not change.
    fn resources(&self, record: &Record) -> Result<oci::Resources, Error> {
        let facts = self.facts(record)?;
        Ok(oci::Resources { devices: None, ..crate::spec::resources::all(record, &facts) })
    }
}

/// What takes `after` back: the limits of `before`, and the kernel's own where those said nothing. Pure.
fn undo(before: oci::Resources, after: &oci::Resources) -> oci::Resources {
    const NONE: i64 = -1;
    let mut undo = before;
    if let Some(after) = &after.memory {
        let memory = undo.memory.get_or_insert_default();
        memory.limit = memory.limit.or(after.limit.map(|_| NONE));
        memory.swap = memory.swap.or(after.swap.map(|_| NONE));
        memory.reservation = memory.reservation.or(after.reservation.map(|_| NONE));
    }
    if let Some(after) = &after.cpu {
        let cpu = undo.cpu.get_or_insert_default();
        cpu.shares = cpu.shares.or(after.shares.map(|_| 1024));
        cpu.period = cpu.period.or(after.period.map(|_| crate::spec::resources::PERIOD));
        cpu.quota = cpu.quota.or(after.quota.map(|_| NONE));
    }
    undo
}

fn cannot_update(id: &ContainerId, what: impl AsRef<str>) -> Error {
    Error::Invalid { what: format!("Cannot update container {id}: {}", what.as_ref()) }
}

/// The limits that hold from now on, or Docker's sentence why these do not go together. `swap`: the host can limit it. Pure.
fn merge(old: &Limits, new: &Limits, swap: bool) -> Result<Limits, &'static str> {
    let conflict = |new: bool, old: bool, sentence| if new && old { Err(sentence) } else { Ok(()) };
    conflict(
        new.nano_cpus.is_some(),
        old.cpu_period.is_some(),
        "Conflicting options: Nano CPUs cannot be updated as CPU Period has already been set",
    )?;
    conflict(
        new.nano_cpus.is_some(),
        old.cpu_quota.is_some(),
        "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set",
    )?;
    conflict(
        new.cpu_period.is_some(),
        old.nano_cpus.is_some(),
        "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set",
    )?;
    conflict(
        new.cpu_quota.is_some(),
        old.nano_cpus.is_some(),
        "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set",
    )?;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    // Swap that was not spoken of is as much again as the memory was, and stays when that changes.
    let usual_swap = old.memory.filter(|_| swap).map(|memory| signed(memory.saturating_mul(2)));
    let old_swap = old.memory_swap.or(usual_swap);
    let swap = new.memory_swap.or(if new.memory.is_some() { old_swap } else { old.memory_swap });
    if let (Some(memory), Some(swap), None) = (new.memory, swap, new.memory_swap)
        && swap >= 0
        && signed(memory) > swap
    {
        return Err(
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
        );
    }
    let either = |new: &Option<String>, old: &Option<String>| new.as_ref().or(old.as_ref()).cloned();
    let mut block = old.block.clone();
    block.weight = new.block.weight.or(block.weight);
    Ok(Limits {
        memory: new.memory.or(old.memory),
        memory_swap: swap,
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        nano_cpus: new.nano_cpus.or(old.nano_cpus),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_quota: new.cpu_quota.or(old.cpu_quota),
        cpu_period: new.cpu_period.or(old.cpu_period),
        cpuset_cpus: either(&new.cpuset_cpus, &old.cpuset_cpus),
        cpuset_mems: either(&new.cpuset_mems, &old.cpuset_mems),
        pids: new.pids.or(old.pids),
        block,
        ..old.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_changes_and_the_rest_stays() {
        let old = Limits { memory: Some(64 << 20), cpu_shares: Some(10), ..Limits::default() };
        let new = Limits { memory: Some(100 << 20), pids: Some(7), ..Limits::default() };
        let both = merge(&old, &new, true).unwrap();
        assert_eq!((both.memory, both.cpu_shares, both.pids), (Some(100 << 20), Some(10), Some(7)));
        assert_eq!(both.memory_swap, Some(128 << 20), "what it was");
        let first = merge(&Limits::default(), &new, true).unwrap();
        assert_eq!((first.memory, first.memory_swap), (Some(100 << 20), None));
        assert_eq!(merge(&old, &new, false).unwrap().memory_swap, None, "the host cannot limit swap");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let limits = Limits::default;
        for (old, new, sentence) in [
            (
                Limits { memory: Some(64 << 20), ..limits() },
                Limits { memory: Some(200 << 20), ..limits() },
                "update the memoryswap at the same time",
            ),
            (
                Limits { nano_cpus: Some(1_000_000_000), ..limits() },
                Limits { cpu_period: Some(50_000), ..limits() },
                "CPU Period cannot be updated as NanoCPUs",
            ),
            (
                Limits { nano_cpus: Some(1_000_000_000), ..limits() },
                Limits { cpu_quota: Some(50_000), ..limits() },
                "CPU Quota cannot be updated as NanoCPUs",
            ),
            (
                Limits { cpu_quota: Some(50_000), ..limits() },
                Limits { nano_cpus: Some(1_000_000_000), ..limits() },
                "Nano CPUs cannot be updated as CPU Quota",
            ),
        ] {
            assert!(merge(&old, &new, true).unwrap_err().contains(sentence), "{sentence}");
        }
        let unlimited_swap = Limits { memory: Some(64 << 20), memory_swap: Some(-1), ..limits() };
        assert!(merge(&unlimited_swap, &Limits { memory: Some(1 << 30), ..limits() }, true).is_ok());
    }
}
