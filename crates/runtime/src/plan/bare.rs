//! A process without namespaces (`--isolation process`): its own root, Landlock, a filter and limits. The one exception is System V
//! IPC, where Landlock has no say and root could read every segment of the host's: that has a namespace, which nothing else needs to know.
//!
//! Its tree is put together out of mounts that are attached to nothing but one another, so that the host's mount table never has a
//! line of it, nothing has to be unmounted at the end, and `..` ends at its root even for who may change the root
//! again. Landlock keeps what has leaked in, other processes' `/proc/PID/root` among it, out of reach.

use onggi_cgroup::Layout;
use onggi_oci as oci;

use super::container::{Groups, closing_steps, filter, mount_steps, plan_cgroup, populate_steps};
use super::error::{invalid, unsupported};
use super::mounts::{attribute, clean};
use super::{
    Error, Input, JoinInput, Launch, Plan, Propagation, PropagationKind, Source, Step, others, process,
};
use crate::VERSION;

/// What programs expect to find, if the specification does not say otherwise. This procfs shows processes and nothing of the machine, and
/// only those that the process may look into.
const EXPECTED: [(&str, &str, &[&str]); 4] = [
    ("/proc", "proc", &["nosuid", "noexec", "nodev", "subset=pid", "hidepid=invisible"]),
    ("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
];

pub(super) fn plan(input: &Input<'_>, linux: &oci::Linux, process: &oci::Process) -> Result<Plan, Error> {
    let Input { id, spec, root, cgroups, extra } = input;
    refuse(input, linux)?;
    let cgroup = plan_cgroup(id, linux, cgroups)?;
    let (filter, flags) = filter(linux, extra)?;
    let filter = others::spare(&filter)?;
    let mut steps = Vec::new();
    if matches!(cgroups, Layout::V1 { .. }) {
        steps.push(Step::JoinCgroups);
    }
    steps.push(Step::MountRoot { root: root.clone(), at: None, part_from_host: false });
    steps.extend(populate_steps(extra));
    let groups = Groups { layout: cgroups, plan: &cgroup, shown: None };
    let mounts = mount_steps(&with_expected(spec), linux, &groups, process.terminal, false)?;
    steps.extend(mounts.into_iter().map(apart_from_host).collect::<Result<Vec<_>, _>>()?);
    steps.extend(closing_steps(spec, linux, process));
    steps.push(Step::ChangeRoot);
    steps.extend(confined(process::steps(id, process, linux, extra, false, Some(flags))?));
    let launch = Launch {
        version: VERSION,
        id: (*id).to_owned(),
        namespaces: namespaces(),
        cgroup,
        terminal: process.terminal,
        timings: extra.timings,
        await_network: false,
        gate: None,
        preserved: 0,
        first_processors: None,
        subgroups: Vec::new(),
        patient: false,
        has_listener: false,
        user: None,
        sources: false,
        leashed: false,
    };
    Ok(Plan { launch, steps, filter })
}

/// Another process in the same tree, under a Landlock domain of its own with the same rules.
pub(super) fn join(input: &JoinInput<'_>, linux: &oci::Linux) -> Result<Plan, Error> {
    let JoinInput { id, process, cgroups, extra, privileged, .. } = input;
    if *privileged {
        return Err(unsupported("a privileged exec with isolation process"));
    }
    let (filter, flags) = filter(linux, extra)?;
    let mut steps = Vec::new();
    if process.terminal {
        steps.push(Step::OpenTerminal { console: false, plain_output: false });
    }
    steps.extend(confined(process::steps(id, process, linux, extra, false, Some(flags))?));
    let launch = Launch {
        version: VERSION,
        id: (*id).to_owned(),
        namespaces: namespaces(),
        cgroup: plan_cgroup(id, linux, cgroups)?,
        terminal: process.terminal,
        timings: extra.timings,
        await_network: false,
        gate: None,
        preserved: 0,
        first_processors: None,
        subgroups: Vec::new(),
        patient: false,
        has_listener: false,
        user: None,
        sources: false,
        leashed: false,
    };
    Ok(Plan { launch, steps, filter: others::spare(&filter)? })
}

fn namespaces() -> Vec<oci::Namespace> {
    vec![oci::Namespace { kind: oci::NamespaceKind::Ipc, path: None }]
}

/// Landlock while it may still be done without `no_new_privs`; and before the user's ids, who may own files outside.
fn confined(steps: Vec<Step>) -> Vec<Step> {
    let landlock = |step: &Step| matches!(step, Step::Credentials { .. }).then_some(Step::Landlock);
    steps.into_iter().flat_map(|step| [landlock(&step), Some(step)]).flatten().collect()
}

/// What would change the host, as there is no namespace to change.
fn refuse(input: &Input<'_>, linux: &oci::Linux) -> Result<(), Error> {
    let Input { spec, extra, .. } = input;
    let named = |name: &Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
    for (asked, name) in [
        (!linux.namespaces.is_empty(), "linux.namespaces"),
        (named(&spec.hostname), "hostname"),
        (named(&spec.domainname), "domainname"),
        (!linux.sysctl.is_empty(), "linux.sysctl"),
        (named(&linux.rootfs_propagation), "linux.rootfsPropagation"),
        (extra.init, "init"),
        (extra.loopback, "loopback"),
        (extra.await_network, "await_network"),
        (extra.bundle != super::Bundle::default(), "bundle"),
    ] {
        if asked {
            return Err(invalid(name, "it needs a namespace, and isolation process has none"));
        }
    }
    Ok(())
}

fn with_expected(spec: &oci::Spec) -> oci::Spec {
    let is_given = |path: &str| spec.mounts.iter().any(|mount| clean(&mount.destination) == path);
    let expected =
        EXPECTED.iter().filter(|(path, ..)| !is_given(path)).map(|&(path, kind, options)| oci::Mount {
            destination: path.to_owned(),
            kind: Some(kind.to_owned()),
            source: Some(kind.to_owned()),
            options: options.iter().map(|&option| option.to_owned()).collect(),
            ..oci::Mount::default()
        });
    let mut spec = spec.clone();
    spec.mounts = expected.chain(std::mem::take(&mut spec.mounts)).collect();
    spec
}

/// What is bound from a shared mount of the host's is shared with it: what is mounted on it next would be seen there.
fn apart_from_host(mut step: Step) -> Result<Step, Error> {
    match &mut step {
        Step::Mount(mount) => {
            let slave = Propagation { kind: PropagationKind::Slave, recursive: true };
            let wanted = mount.propagation.get_or_insert(slave);
            if wanted.kind == PropagationKind::Shared {
                return Err(unsupported(format!(
                    "a shared mount at {} with isolation process",
                    mount.destination
                )));
            }
            if matches!(mount.source, Source::Again { .. }) {
                let destination = &mount.destination;
                return Err(unsupported(format!("a remount of {destination} with isolation process")));
            }
            if matches!(&mount.source, Source::Bind { ids: Some(_), .. }) {
                let destination = &mount.destination;
                return Err(unsupported(format!(
                    "an id-mapped mount at {destination} with isolation process"
                )));
            }
            if let Source::New { kind, .. } = &mount.source {
                mount.propagation = None;
                if kind == "proc" {
                    // Else root would write other processes' oom_score_adj; they are the host's.
                    mount.attributes.set |= attribute::READ_ONLY;
                }
            }
        }
        Step::MountCgroups(_) => return Err(unsupported("a view of the cgroups with isolation process")),
        // Flags of a mount inside a tree without a namespace cannot be changed afterwards.
        Step::ReadOnlyMounts { destinations } => {
            return Err(unsupported(format!(
                "a read-only tmpfs at {} with isolation process",
                destinations.join(", ")
            )));
        }
        _ => {}
    }
    Ok(step)
}
