//! From resources to steps: a pure function, so that a plan can be printed and compared without root.

use std::fmt;
use std::path::PathBuf;

use onggi_oci::Resources;
use serde::{Deserialize, Serialize};

use crate::devices::Rule;
use crate::{Error, Layout, v1, v2};

/// Everything that must be done to have the cgroup, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The host it was made for.
    pub layout: Layout,
    /// Beneath the mount points, without a leading slash: `onggi/<id>`.
    pub path: String,
    pub steps: Vec<Step>,
    /// A process that may be in the group before the first of the container's: whoever had a service manager make the group has to put
    /// one there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keeper: Option<u32>,
}

/// One step. `hierarchy` counts the mount points of the layout (the v2 tree beside v1 last).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// v2: let the children of each directory from the root to the cgroup's parent have these controllers.
    EnableControllers {
        controllers: Vec<String>,
        /// No limit needs these: one that cannot be had is done without.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        wanted: Vec<String>,
    },
    /// Make the directory and what is missing above it.
    MakeDirectory { hierarchy: usize },
    /// v1: take the parent's processors and memory nodes where none are set; before that no process can join.
    InheritCpuset { hierarchy: usize },
    /// Set one limit.
    Write {
        hierarchy: usize,
        file: String,
        value: String,
        #[serde(default, skip_serializing_if = "IfMissing::is_refuse")]
        if_missing: IfMissing,
    },
    /// v1: deny (or allow) every device, then the exceptions, one line each.
    DeviceList { hierarchy: usize, allow_by_default: bool, exceptions: Vec<String> },
    /// v2: load and attach a program that applies these rules.
    DeviceProgram { rules: Vec<Rule> },
    /// v2: let a user of the host's move processes in the group and make groups below it. The limits stay whose they are.
    Delegate { owner: u32 },
}

/// What to do if the kernel does not offer the file of a [`Step::Write`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfMissing {
    /// Fail: a limit that is asked for is applied.
    #[default]
    Refuse,
    /// Nothing: without the file there is nothing to limit.
    Skip,
    /// The other scheduler's file has the same meaning.
    Instead { file: String, value: String },
}

impl IfMissing {
    fn is_refuse(&self) -> bool {
        *self == IfMissing::Refuse
    }
}

/// Which directories to make and which files get which values, in order. `path` is like `/onggi/<id>`.
///
/// # Errors
/// [`Error::BadPath`] for `..`, an empty path or systemd's `slice:prefix:name`; [`Error::NoController`] or [`Error::NotDelegated`], [`Error::Unsupported`]
/// and [`Error::BadLimit`] for limits that cannot be applied here or mean nothing.
pub fn plan(layout: &Layout, path: &str, resources: &Resources) -> Result<Plan, Error> {
    let path = parse_path(path)?;
    let mut steps = match layout {
        Layout::V2 { .. } => v2::begin(layout, resources)?,
        Layout::V1 { .. } => v1::begin(layout),
    };
    steps.extend(limits(layout, resources)?);
    if let Some(list) = &resources.devices {
        let rules = crate::devices::parse(list)?;
        steps.push(match layout {
            Layout::V2 { .. } => Step::DeviceProgram { rules },
            Layout::V1 { .. } => v1::devices::step(layout, &rules)?,
        });
    }
    Ok(Plan { steps, ..Plan::naming(layout, &path) })
}

/// The writes for everything but devices: what an update of a living cgroup changes.
pub(crate) fn limits(layout: &Layout, resources: &Resources) -> Result<Vec<Step>, Error> {
    let mut limits = Limits { layout, steps: Vec::new() };
    match layout {
        Layout::V2 { .. } => v2::limits(&mut limits, resources)?,
        Layout::V1 { .. } => v1::limits(&mut limits, resources)?,
    }
    // The kernel would take what comes before it.
    let has_zero = |step: &&Step| matches!(step, Step::Write { value, .. } if value.contains('\0'));
    match limits.steps.iter().find(has_zero) {
        Some(Step::Write { file, .. }) => {
            Err(Error::BadLimit { limit: file.clone(), reason: "the value holds a zero byte".into() })
        }
        _ => Ok(limits.steps),
    }
}

/// Collects writes; the controllers' files in `v1` and `v2` fill it.
pub(crate) struct Limits<'a> {
    layout: &'a Layout,
    steps: Vec<Step>,
}

impl Limits<'_> {
    /// `limit` is what the user calls it.
    pub(crate) fn write(
        &mut self,
        limit: &'static str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
    ) -> Result<(), Error> {
        self.write_or(limit, controller, file, value, IfMissing::Refuse)
    }

    pub(crate) fn write_or(
        &mut self,
        limit: &'static str,
        controller: &'static str,
        file: &str,
        value: impl ToString,
        if_missing: IfMissing,
    ) -> Result<(), Error> {
        let hierarchy =
            self.layout.index_of(controller).ok_or_else(|| Error::no_controller(limit, controller))?;
        self.steps.push(Step::Write { hierarchy, file: file.into(), value: value.to_string(), if_missing });
        Ok(())
    }

    /// A file that the cgroup core itself has, or whose controller the caller has looked for.
    pub(crate) fn write_raw(&mut self, hierarchy: usize, file: &str, value: &str) {
        let (file, value) = (file.into(), value.into());
        self.steps.push(Step::Write { hierarchy, file, value, if_missing: IfMissing::Refuse });
    }

    pub(crate) fn layout(&self) -> &Layout {
        self.layout
    }
}

/// Refuses what would leave the tree, name the root itself, or is meant for systemd.
pub(crate) fn parse_path(path: &str) -> Result<String, Error> {
    let bad = |reason| Err(Error::BadPath { path: path.into(), reason });
    if !path.starts_with('/') && path.split(':').count() == 3 {
        return bad("this is the form that the systemd driver takes (slice:prefix:name)");
    }
    clean_path(path)
}

/// The same for a path that is known to be none of systemd's.
pub(crate) fn clean_path(path: &str) -> Result<String, Error> {
    let bad = |reason| Err(Error::BadPath { path: path.into(), reason });
    if path.contains(['\0', '\n']) {
        return bad("it contains a control character");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return bad("it contains `..`");
    }
    if parts.is_empty() {
        return bad("it names the root of the hierarchy");
    }
    Ok(parts.join("/"))
}

impl Plan {
    /// Without steps: how to find a group, not how to make it. `path` has no leading slash.
    #[must_use]
    pub fn naming(layout: &Layout, path: &str) -> Plan {
        Plan { layout: layout.clone(), path: path.to_owned(), steps: Vec::new(), keeper: None }
    }

    /// Has the group see every controller that the host has (v2), so that what runs in it can limit parts of itself; without this only those
    /// that a limit or a figure needs are handed down. Those that only figures need are done without where they cannot be had.
    #[must_use]
    pub fn with_every_controller(mut self) -> Plan {
        let Layout::V2 { controllers: all, .. } = &self.layout else { return self };
        let needed = v2::controllers_of(&self.steps);
        for step in &mut self.steps {
            if let Step::EnableControllers { controllers, wanted } = step {
                controllers.retain(|name| needed.contains(name));
                *wanted = all.iter().filter(|name| !controllers.contains(name)).cloned().collect();
            }
        }
        self
    }

    /// Gives the group to whom its processes are to be managed by (`config-linux.md`, "Cgroup ownership"): v2 only, v1 has no safe delegation.
    #[must_use]
    pub fn delegated_to(mut self, owner: u32) -> Plan {
        if matches!(self.layout, Layout::V2 { .. }) {
            self.steps.push(Step::Delegate { owner });
        }
        self
    }

    /// The cgroup's directory in one hierarchy, for messages.
    pub(crate) fn directory(&self, hierarchy: usize) -> PathBuf {
        self.layout.roots().get(hierarchy).map_or_else(PathBuf::new, |root| root.join(&self.path))
    }

    /// As [`Plan::explain`] for a person who asks what holds, not where it is written: one sentence for the directories, then the limits.
    #[must_use]
    pub fn summary(&self) -> Vec<String> {
        let directories = self.steps.iter().filter(|step| matches!(step, Step::MakeDirectory { .. })).count();
        let place = if directories == 1 { String::new() } else { format!(" in {directories} hierarchies") };
        let mut sentences = vec![format!("make the cgroup {}{place}", self.path)];
        for step in &self.steps {
            match step {
                Step::MakeDirectory { .. } | Step::InheritCpuset { .. } | Step::EnableControllers { .. } => {}
                Step::Write { file, value, .. } => {
                    sentences.push(format!("set {file} to {value}: {}", reason(file)));
                }
                Step::DeviceList { .. } | Step::DeviceProgram { .. } | Step::Delegate { .. } => {
                    sentences.push(step.to_string());
                }
            }
        }
        sentences
    }

    /// The steps in plain words, one line each.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        self.steps.iter().map(|step| step.explain(self)).collect()
    }
}

impl Step {
    fn explain(&self, plan: &Plan) -> String {
        let directory = |hierarchy: usize| plan.directory(hierarchy).display().to_string();
        match self {
            Step::MakeDirectory { hierarchy } => format!("make the control group {}", directory(*hierarchy)),
            Step::InheritCpuset { hierarchy } => {
                format!("give {} its parent's processors and memory nodes", directory(*hierarchy))
            }
            Step::Write { hierarchy, file, value, .. } => {
                format!("write {value:?} to {}/{file}: {}", directory(*hierarchy), reason(file))
            }
            other => format!("{other} ({})", plan.path),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::EnableControllers { controllers, wanted } => {
                let (needed, wanted) = (controllers.join(", "), wanted.join(", "));
                match (needed.is_empty(), wanted.is_empty()) {
                    (_, true) => write!(f, "enable {needed} on the way down"),
                    (true, false) => write!(f, "enable {wanted} on the way down where that can be"),
                    (false, false) => {
                        write!(f, "enable {needed} on the way down, and {wanted} where that can be")
                    }
                }
            }
            Step::MakeDirectory { hierarchy } => write!(f, "make the control group in hierarchy {hierarchy}"),
            Step::InheritCpuset { .. } => f.write_str("inherit the parent's processors and memory nodes"),
            Step::Write { file, value, .. } => write!(f, "write {value:?} to {file}: {}", reason(file)),
            Step::DeviceList { allow_by_default, exceptions, .. } => {
                let (rest, these) = if *allow_by_default { ("allow", "deny") } else { ("deny", "allow") };
                write!(f, "{rest} all devices, {these}: {}", exceptions.join(", "))
            }
            Step::Delegate { owner } => {
                write!(f, "let user {owner} make groups below it")
            }
            Step::DeviceProgram { rules } => {
                f.write_str("attach a program that decides on devices, the last matching rule wins:")?;
                for rule in rules {
                    write!(f, " {} {};", if rule.allow { "allow" } else { "deny" }, rule.line())?;
                }
                Ok(())
            }
        }
    }
}

/// Why a file is written, for people who read a plan.
fn reason(file: &str) -> &'static str {
    match file {
        "memory.limit_in_bytes" | "memory.max" => {
            "the kernel kills inside the group rather than give it more memory"
        }
        "memory.memsw.limit_in_bytes" => "the limit of memory and swap together",
        "memory.swap.max" => "the limit of swap alone",
        "memory.soft_limit_in_bytes" | "memory.low" => "memory to leave it when the machine runs short",
        "memory.swappiness" => "how readily its memory is swapped out, 0 to 100",
        "memory.oom_control" => "processes wait instead of being killed when memory runs out",
        "cpu.shares" | "cpu.weight" => "its part of the processors when others want them too",
        "cpu.cfs_quota_us" => "microseconds of processor time in each period",
        "cpu.cfs_period_us" => "the length of the period",
        "cpu.max" => "microseconds of processor time, in each period of so many",
        "cpu.cfs_burst_us" | "cpu.max.burst" => "unused time it may save up",
        "cpu.idle" => "run only when nobody else wants the processor",
        "cpu.rt_runtime_us" | "cpu.rt_period_us" => "real-time scheduling",
        "cpuset.cpus" => "the processors it may run on",
        "cpuset.mems" => "the memory nodes it may use",
        "pids.max" => "no more processes and threads than this",
        _ if file.starts_with("blkio.") || file.starts_with("io.") => "its part of the disks",
        _ if file.starts_with("hugetlb.") => "the limit of huge pages",
        _ if file.starts_with("rdma.") => "the limit of RDMA handles and objects",
        _ if file.starts_with("net_") => "a mark on its network traffic",
        _ => "as the configuration says",
    }
}
