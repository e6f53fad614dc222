//! `--systemd-cgroup`: the container's cgroup is a unit of systemd's, which makes it, and removes it with the unit.
//!
//! A scope begins with a process. The container's own is to be born in the scope, so the first is a keeper that does nothing, and ends as soon
//! as the container's process is there; nobody is ever moved from one cgroup to another, which costs the kernel a lock over all forks.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use onggi_cgroup::{Layout, Step};
use onggi_oci as oci;
use onggi_sys::clone::{Clone, Forked, clone3, exit_now};
use onggi_systemd::{Manager, Property, Unit};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::log::Log;

/// What is kept of it: how to find the unit.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) unit: String,
    /// Whether it is the user's own systemd that has it.
    pub(crate) of_user: bool,
}

/// A connection before there is a unit.
#[derive(Debug)]
pub(crate) struct Driver {
    manager: Manager,
    version: u32,
    of_user: bool,
}

/// A unit that is planned.
#[derive(Debug)]
pub(crate) struct Scope<'a> {
    driver: &'a mut Driver,
    unit: Unit,
    properties: Vec<Property>,
    v2: bool,
    keeper: Option<Keeper>,
    /// Whether the unit is one that systemd has begun to make for us, and no slice, which others may be in as well.
    started: bool,
    /// A limit with which there is no room for the keeper beside the container's process.
    one_task: bool,
}

impl Driver {
    pub(crate) fn connect() -> Result<Driver, Error> {
        let of_user = !rustix::process::geteuid().is_root() || onggi_sys::namespace::in_user_namespace();
        let mut manager = connect(of_user)?;
        let version = manager.version().map_err(Error::Systemd)?;
        Ok(Driver { manager, version, of_user })
    }

    /// The host's control groups; an ordinary user's begin where their own systemd begins.
    pub(crate) fn layout(&mut self) -> Result<Layout, Error> {
        if !self.of_user {
            return onggi_cgroup::detect().map_err(Error::Cgroup);
        }
        let own = self.manager.control_group().map_err(Error::Systemd)?;
        let layout = onggi_cgroup::detect_beneath(&own).map_err(Error::Cgroup)?;
        layout.ok_or(Error::Systemd(onggi_systemd::Error::NoUserOnV1))
    }

    /// Plans the unit, and has the specification name its cgroup as the kernel does.
    pub(crate) fn plan(
        &mut self,
        spec: &mut oci::Spec,
        id: &str,
        layout: &Layout,
        log: &Log,
    ) -> Result<Scope<'_>, Error> {
        let linux = spec.linux.get_or_insert_default();
        let unit = Unit::new(linux.cgroups_path.as_deref(), id, self.of_user).map_err(Error::Systemd)?;
        linux.cgroups_path = Some(format!("/{}", unit.path));
        let v2 = matches!(layout, Layout::V2 { .. });
        let mut one_task = false;
        let mut properties = Vec::new();
        if let Some(resources) = &mut linux.resources {
            let planned = onggi_systemd::limits(resources, v2, self.version).map_err(Error::Systemd)?;
            planned.warnings.iter().for_each(|warning| log.warn(warning));
            properties = planned.properties;
            if let (Some(quota), Some(cpu)) = (planned.quota, resources.cpu.as_mut()) {
                cpu.quota = Some(quota);
            }
            one_task = properties.contains(&("TasksMax".to_owned(), 1_u64.into()));
        }
        properties.extend(onggi_systemd::annotated(&spec.annotations).map_err(Error::Systemd)?);
        Ok(Scope { driver: self, unit, properties, v2, keeper: None, started: false, one_task })
    }
}

impl Scope<'_> {
    pub(crate) fn kept(&self) -> Kept {
        Kept { unit: self.unit.name.clone(), of_user: self.driver.of_user }
    }

    /// Has systemd make the cgroup, and the plan expect it.
    pub(crate) fn start(&mut self, id: &str, cgroup: &mut onggi_cgroup::Plan) -> Result<(), Error> {
        if !self.unit.is_slice() {
            self.keeper = Some(Keeper::spawn()?);
        }
        cgroup.keeper = self.keeper.as_ref().map(|keeper| keeper.pid.cast_unsigned());
        let mut properties = onggi_systemd::start(&self.unit, id, self.v2, cgroup.keeper);
        properties.extend(
            self.properties.iter().filter(|property| !(self.one_task && is_tasks(property))).cloned(),
        );
        if self.one_task {
            cgroup.steps.retain(|step| !is_pids(step));
        }
        let outcome = self.driver.manager.start(&self.unit.name, &properties);
        if self.unit.is_slice() {
            // One that is there already is to be used (as with runc), and stays whatever comes of it.
            return match outcome {
                Err(error) if is_there(&error) => Ok(()),
                other => other.map_err(Error::Systemd),
            };
        }
        self.started = is_ours(&outcome);
        outcome.map_err(Error::Systemd)
    }

    /// Whether there is a unit that was made for this container alone.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// The container's process is in its cgroup, or never will be.
    pub(crate) fn settle(mut self, cgroup: Option<&onggi_cgroup::Cgroup>) -> Result<(), Error> {
        drop(self.keeper.take());
        let Some(cgroup) = cgroup else {
            if self.started {
                // What it could not begin with is the error that counts.
                let _ = self.driver.manager.stop(&self.unit.name);
            }
            return Ok(());
        };
        if self.one_task {
            let tasks: Vec<Property> =
                self.properties.iter().filter(|property| is_tasks(property)).cloned().collect();
            self.driver.manager.set(&self.unit.name, &tasks).map_err(Error::Systemd)?;
            let pids = Some(oci::Pids { limit: Some(1) });
            cgroup.update(&oci::Resources { pids, ..oci::Resources::default() }).map_err(Error::Cgroup)?;
        }
        Ok(())
    }
}

/// A job that has failed was accepted: systemd makes no unit of a name that is taken.
fn is_ours(outcome: &Result<(), onggi_systemd::Error>) -> bool {
    use onggi_systemd::Error::{Job, TimedOut};
    matches!(outcome, Ok(()) | Err(Job { .. } | TimedOut { .. }))
}

fn is_there(error: &onggi_systemd::Error) -> bool {
    matches!(error, onggi_systemd::Error::Refused { name, .. } if name.ends_with(".UnitExists"))
}

fn is_tasks((name, _): &Property) -> bool {
    name == "TasksMax"
}

fn is_pids(step: &Step) -> bool {
    matches!(step, Step::Write { file, .. } if file == "pids.max")
}

impl Kept {
    /// Tells systemd of limits that change, and gives what is to be written into the cgroup.
    pub(crate) fn update(&self, resources: &mut oci::Resources, v2: bool, log: &Log) -> Result<(), Error> {
        let mut manager = connect(self.of_user)?;
        let version = manager.version().map_err(Error::Systemd)?;
        let planned = onggi_systemd::limits(resources, v2, version).map_err(Error::Systemd)?;
        planned.warnings.iter().for_each(|warning| log.warn(warning));
        if let (Some(quota), Some(cpu)) = (planned.quota, resources.cpu.as_mut()) {
            cpu.quota = Some(quota);
        }
        manager.set(&self.unit, &planned.properties).map_err(Error::Systemd)
    }

    /// Has systemd stop and forget the unit, and remove its cgroup.
    pub(crate) fn stop(&self) -> Result<(), Error> {
        connect(self.of_user)?.stop(&self.unit).map_err(Error::Systemd)
    }

    /// The same after something that counts has gone wrong. A slice stays: it may be others' as well.
    pub(crate) fn give_up(&self) -> Result<(), Error> {
        if self.unit.ends_with(".slice") { Ok(()) } else { self.stop() }
    }
}

fn connect(of_user: bool) -> Result<Manager, Error> {
    if of_user { Manager::of_user() } else { Manager::of_machine() }.map_err(Error::Systemd)
}

/// A process that waits until it is dropped, or until this program has ended.
#[derive(Debug)]
struct Keeper {
    pid: i32,
    _pidfd: OwnedFd,
    leash: Option<UnixStream>,
}

impl Keeper {
    fn spawn() -> Result<Keeper, Error> {
        let (ours, theirs) =
            UnixStream::pair().map_err(|error| Error::io("make a pair of sockets", error))?;
        match clone3(&Clone::default()).map_err(|error| Error::io("clone3", error))? {
            Forked::Child => {
                drop(ours);
                // Nobody writes: it ends when the other end is closed.
                let _ = rustix::io::retry_on_intr(|| rustix::io::read(&theirs, &mut [0_u8; 1]));
                exit_now(0)
            }
            Forked::Parent { pid, pidfd } => Ok(Keeper { pid, _pidfd: pidfd, leash: Some(ours) }),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.leash.take());
        let pid = rustix::process::Pid::from_raw(self.pid);
        // Ours alone, and about to end.
        let _ = rustix::io::retry_on_intr(|| {
            rustix::process::waitpid(pid, rustix::process::WaitOptions::empty())
        });
    }
}

#[cfg(test)]
mod tests {
    use onggi_systemd::Error::{Job, NotRunning, Refused, TimedOut};

    use super::*;

    #[test]
    fn a_unit_is_ours_once_systemd_has_begun_to_make_it() {
        let unit = || "jar.scope".to_owned();
        let refused = |name: &str| {
            Err(Refused {
                method: "StartTransientUnit",
                name: format!("org.freedesktop.systemd1.{name}"),
                message: String::new(),
            })
        };
        for (outcome, ours, there) in [
            (Ok(()), true, false),
            (Err(Job { act: "error creating", unit: unit(), result: "failed".into() }), true, false),
            (Err(TimedOut { act: "create", unit: unit() }), true, false),
            (refused("UnitExists"), false, true),
            (refused("BadUnitSetting"), false, false),
            (Err(NotRunning), false, false),
        ] {
            assert_eq!(is_ours(&outcome), ours, "{outcome:?}");
            assert_eq!(outcome.as_ref().is_err_and(is_there), there, "{outcome:?}");
        }
    }
}
