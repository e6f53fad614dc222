//! The order of a container's start.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onggi_cgroup::Layout;
use onggi_oci as oci;
use onggi_oci::NamespaceKind;
use onggi_seccomp::{Arch, Program};

use super::error::{invalid, unsupported};
use super::mounts::{self, Planned, attribute, clean};
use super::namespaces::{self, Namespaces};
use super::{
    CgroupView, Error, Extra, Input, Isolation, Launch, Link, Mount, MountCgroups, Plan, Propagation,
    PropagationKind, Root, Source, Step, UserNamespace, bare, devices, process, scheduling, sysctl,
};
use crate::VERSION;

/// Plans a container's first process.
///
/// # Errors
/// [`Error::Unsupported`] and [`Error::Invalid`] by the name of the field.
pub fn container(input: &Input<'_>) -> Result<Plan, Error> {
    let Input { id, spec, root, cgroups, extra } = input;
    let linux = spec.linux.as_ref().ok_or_else(|| invalid("linux", "it is missing"))?;
    let process = spec.process.as_ref().ok_or_else(|| invalid("process", "it is missing"))?;
    refuse(spec, linux, extra)?;
    if extra.isolation == Isolation::Process {
        return bare::plan(input, linux, process);
    }
    let namespaces = Namespaces::of(linux)?;
    namespaces.check(spec, extra)?;
    check_devices(&linux.net_devices, namespaces.has(NamespaceKind::Network))?;
    let cgroup = plan_cgroup(id, linux, cgroups)?;
    let (filter, flags) = filter(linux, extra)?;

    let user = namespaces.user(process)?;
    let mut steps = Vec::new();
    if matches!(cgroups, Layout::V1 { .. }) && user.is_none() {
        steps.push(Step::JoinCgroups);
    }
    // It is for processes that join; what it says must make sense all the same.
    scheduling::affinity(process.exec_cpu_affinity.as_ref())?;
    if extra.bundle.every_processor {
        steps.push(Step::Processors { allowed: None });
    }
    steps.extend(namespaces.steps()?);
    if namespaces.is_new(NamespaceKind::Cgroup) {
        steps.push(Step::UnshareCgroupNamespace);
    }
    let propagation = propagation(linux)?;
    let is_apart = !namespaces.has(NamespaceKind::Mount);
    if is_apart {
        steps.push(Step::MountRoot { root: root.clone(), at: None, part_from_host: false });
    } else {
        steps.push(Step::SetPropagation { propagation: host_propagation(propagation) });
        let part_from_host = propagation.is_some_and(|root| root.kind == PropagationKind::Shared);
        steps.push(Step::MountRoot { root: root.clone(), at: Some(mount_point(root)), part_from_host });
    }
    steps.extend(populate_steps(extra));
    let shown = extra.bundle.shown_cgroups.as_ref().filter(|_| cgroups.is_none());
    let groups = Groups { layout: cgroups, plan: &cgroup, shown };
    let mut mounts = mount_steps(spec, linux, &groups, process.terminal, extra.bundle.plain_output)?;
    if is_apart {
        check_apart(propagation, &mut mounts)?;
    }
    let cgroup = match group_owner(&mounts, &namespaces, process, user.as_ref(), extra) {
        Some(owner) => cgroup.delegated_to(owner),
        None => cgroup,
    };
    check_ids(&mounts, user.is_some(), extra.bundle.unprivileged)?;
    if user.is_some() && !extra.bundle.unprivileged {
        // The user namespace's root may have no way to them.
        mounts.iter_mut().for_each(open_outside);
    }
    let sources = mounts.iter().any(Step::asks_outside);
    steps.extend(mounts);
    steps.extend(closing_steps(spec, linux, process));
    let own = |kind| namespaces.has(kind);
    let hooks = spec.hooks.clone().unwrap_or_default();
    let await_hooks = !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty();
    if await_hooks {
        steps.push(Step::AwaitHooks);
    }
    steps.extend(hook_steps("createContainer", "creating", &hooks.create_container, extra));
    let await_network = extra.await_network || (!linux.net_devices.is_empty() && !await_hooks);
    if await_network {
        // As late as may be, but before the kernel's parameters, which can be those of a link.
        steps.push(Step::AwaitNetwork);
    }
    if !linux.sysctl.is_empty() {
        steps.push(Step::Sysctls { values: sysctl::plan(&linux.sysctl, own)? });
    }
    steps.push(if is_apart {
        Step::ChangeRoot
    } else if extra.bundle.without_pivot {
        Step::MoveRoot { at: mount_point(root), propagation }
    } else {
        Step::PivotRoot { propagation }
    });
    if let Some(name) = spec.hostname.clone().filter(|name| !name.is_empty()) {
        steps.push(Step::Hostname { name });
    }
    if let Some(name) = spec.domainname.clone().filter(|name| !name.is_empty()) {
        steps.push(Step::Domainname { name });
    }
    if extra.loopback {
        steps.push(Step::Loopback);
    }
    let process_steps =
        process::steps(id, process, linux, extra, false, (!filter.is_empty()).then_some(flags))?;
    let process_steps = done_inside(process_steps, user.is_some());
    let start_container = hook_steps("startContainer", "created", &hooks.start_container, extra);
    steps.extend(gated(process_steps, extra, start_container));
    let launch = Launch {
        version: VERSION,
        id: (*id).to_owned(),
        namespaces: linux.namespaces.clone(),
        cgroup,
        terminal: process.terminal,
        timings: extra.timings,
        await_network: await_network || await_hooks,
        gate: extra.bundle.gate.clone(),
        preserved: extra.bundle.preserved,
        first_processors: None,
        subgroups: Vec::new(),
        patient: false,
        has_listener: Program::has_listener(flags),
        user,
        leashed: extra.bundle.leashed,
        sources,
    };
    Ok(Plan { launch, steps, filter })
}

/// A container in the host's mount namespace: its tree is attached nowhere, so that the host's table has no line of it and nothing stays
/// mounted after it, as it does with runc. Nothing may be passed on there, and a mount's flags cannot be changed later.
fn check_apart(propagation: Option<Propagation>, mounts: &mut [Step]) -> Result<(), Error> {
    let refuse = |what: &str| Err(unsupported(format!("{what} without a mount namespace")));
    if propagation.is_some() {
        return refuse("linux.rootfsPropagation");
    }
    for step in mounts {
        match step {
            Step::Mount(Mount { source: Source::New { .. }, propagation, .. }) => *propagation = None,
            Step::Mount(mount) => {
                let slave = Propagation { kind: PropagationKind::Slave, recursive: true };
                if mount.propagation.get_or_insert(slave).kind == PropagationKind::Shared {
                    return refuse(&format!("a shared mount at {}", mount.destination));
                }
            }
            Step::ReadOnlyMounts { destinations } => {
                return refuse(&format!("a read-only tmpfs at {}", destinations.join(", ")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whose ids an id-mapped mount is to show must be known, and only root can make one.
fn check_ids(steps: &[Step], in_user_namespace: bool, unprivileged: bool) -> Result<(), Error> {
    for step in steps {
        let Step::Mount(Mount { destination, source: Source::Bind { ids: Some(ids), .. }, .. }) = step else {
            continue;
        };
        let field = || format!("mount of {destination}");
        if unprivileged {
            return Err(invalid(field(), "id-mapped mounts are not supported for rootless containers"));
        }
        if ids.users.is_empty() && !in_user_namespace {
            let problem = "id-mapped mounts must have both uid and gid mappings specified";
            return Err(invalid(field(), problem));
        }
    }
    Ok(())
}

fn open_outside(step: &mut Step) {
    if let Step::Mount(Mount { source: Source::Bind { outside, .. }, .. }) = step {
        *outside = true;
    }
}

/// In a user namespace the parent has raised the limits and set the score: here there are no rights for it.
fn done_inside(mut steps: Vec<Step>, in_user_namespace: bool) -> Vec<Step> {
    let is_outside = |step: &Step| matches!(step, Step::OomScoreAdjustment { .. } | Step::RaiseLimits { .. });
    steps.retain(|step| !in_user_namespace || !is_outside(step));
    steps
}

/// The gate, with the hooks between it and the program, as runc has them.
///
/// Before it comes everything that makes the process a container's, the filter too: while it waits, others of the container can get at it.
/// The profile then has to allow, or its agent to continue, what the gate takes: `close` and `read`. Who holds a listener passes it on before,
/// and is gone afterwards.
fn gated(mut steps: Vec<Step>, extra: &Extra, hooks: Option<Step>) -> Vec<Step> {
    let gate = extra.bundle.gate.as_ref().map(|_| Step::AwaitStart);
    if let Some(at) = steps.iter().position(|step| matches!(step, Step::Execute)) {
        steps.splice(at..at, gate.into_iter().chain(hooks));
    }
    steps
}

fn hook_steps(point: &str, status: &str, hooks: &[oci::Hook], extra: &Extra) -> Option<Step> {
    let mut state = extra.bundle.state.clone().filter(|_| !hooks.is_empty())?;
    state.status = status.to_owned();
    Some(Step::RunHooks { point: point.to_owned(), hooks: hooks.to_vec(), state })
}

/// What is planned from for `exec`.
#[derive(Debug)]
pub struct JoinInput<'a> {
    /// The container's.
    pub id: &'a str,
    /// The container's.
    pub spec: &'a oci::Spec,
    /// The new process.
    pub process: &'a oci::Process,
    pub cgroups: &'a Layout,
    pub extra: Extra,
    /// Every capability, and no seccomp program.
    pub privileged: bool,
}

/// Plans another process in a container that runs.
///
/// # Errors
/// As [`container`].
pub fn join(input: &JoinInput<'_>) -> Result<Plan, Error> {
    let JoinInput { id, spec, process, cgroups, extra, privileged } = input;
    let linux = spec.linux.as_ref().ok_or_else(|| invalid("linux", "it is missing"))?;
    for (set, name) in [
        (extra.init, "init in exec"),
        (!extra.populate.is_empty(), "populating volumes in exec"),
        (extra.loopback, "loopback in exec"),
        (extra.await_network, "waiting for a network in exec"),
        (extra.bundle.gate.is_some(), "a gate in exec"),
    ] {
        if set {
            return Err(unsupported(name));
        }
    }
    if extra.isolation == Isolation::Process {
        return bare::join(input, linux);
    }
    let (filter, flags) = if *privileged { (Vec::new(), 0) } else { filter(linux, extra)? };
    let mut steps = Vec::new();
    let (first, then) = scheduling::affinity(process.exec_cpu_affinity.as_ref())?;
    if then.is_some() || (first.is_none() && extra.bundle.every_processor) {
        steps.push(Step::Processors { allowed: then });
    }
    if process.terminal {
        steps.push(Step::OpenTerminal { console: false, plain_output: extra.bundle.plain_output });
    }
    let filtered = (!filter.is_empty()).then_some(flags);
    let user = namespaces::user_of_joining(linux, process)?;
    let process_steps = process::steps(id, process, linux, extra, *privileged, filtered)?;
    steps.extend(done_inside(process_steps, user.is_some()));
    let launch = Launch {
        version: VERSION,
        id: (*id).to_owned(),
        namespaces: linux.namespaces.clone(),
        cgroup: plan_cgroup(id, linux, cgroups)?,
        terminal: process.terminal,
        timings: extra.timings,
        await_network: false,
        gate: None,
        preserved: extra.bundle.preserved,
        first_processors: first,
        subgroups: extra.bundle.subgroups.clone(),
        patient: extra.bundle.patient,
        has_listener: Program::has_listener(flags),
        user,
        leashed: false,
        sources: false,
    };
    Ok(Plan { launch, steps, filter })
}

/// What an OCI specification may ask for and Onggi does not do: by name, never ignored.
fn refuse(spec: &oci::Spec, linux: &oci::Linux, extra: &Extra) -> Result<(), Error> {
    let version = spec.oci_version.split('.').next().unwrap_or_default();
    if version != "1" {
        return Err(unsupported(format!("ociVersion {:?}", spec.oci_version)));
    }
    for (field, text) in texts(spec) {
        if text.contains('\0') {
            return Err(invalid(field, format!("{text:?} holds a zero byte")));
        }
    }
    let has_hooks = spec.hooks.as_ref().is_some_and(|hooks| *hooks != oci::Hooks::default());
    for (asked, name) in [
        (extra.bundle.state.is_none() && has_hooks, "hooks"),
        (spec.vm.is_some(), "vm"),
        (!linux.net_devices.is_empty() && !extra.bundle.moves_devices, "linux.netDevices"),
        (linux.intel_rdt.is_some() && !extra.bundle.joins_resctrl, "linux.intelRdt"),
    ] {
        if asked {
            return Err(unsupported(name));
        }
    }
    Ok(())
}

/// Those that are checked nowhere else. The kernel, and whoever is told of them, would take one for as long as its first zero byte.
fn texts(spec: &oci::Spec) -> impl Iterator<Item = (&'static str, &str)> {
    let names = [("hostname", &spec.hostname), ("domainname", &spec.domainname)];
    let names = names.into_iter().filter_map(|(field, text)| Some((field, text.as_deref()?)));
    let annotations = spec.annotations.iter().flat_map(|(key, value)| [key, value]);
    let hooks = spec.hooks.iter().flat_map(|hooks| {
        let lists = [&hooks.prestart, &hooks.create_runtime, &hooks.create_container, &hooks.start_container];
        lists.into_iter().chain([&hooks.poststart, &hooks.poststop]).flatten()
    });
    let hooks = hooks.flat_map(|hook| {
        let path = std::iter::once(hook.path.as_str());
        path.chain(hook.args.iter().chain(&hook.env).map(String::as_str))
    });
    let values =
        spec.linux.iter().flat_map(|linux| linux.sysctl.iter().flat_map(|(name, value)| [name, value]));
    names
        .chain(annotations.map(|text| ("annotations", text.as_str())))
        .chain(hooks.map(|text| ("hooks", text)))
        .chain(values.map(|text| ("linux.sysctl", text.as_str())))
}

/// In runc's words. Which devices there are is known when they are moved.
fn check_devices(devices: &BTreeMap<String, oci::NetDevice>, has_namespace: bool) -> Result<(), Error> {
    let bad = |problem: String| invalid("linux.netDevices", problem);
    if !devices.is_empty() && !has_namespace {
        return Err(bad("unable to move network devices without a NET namespace".to_owned()));
    }
    let renamed = devices.values().filter_map(|device| device.name.as_ref()).filter(|name| !name.is_empty());
    match devices.keys().chain(renamed).find(|name| !is_device_name(name)) {
        Some(name) => Err(bad(format!("invalid network device name {name:?}"))),
        None => Ok(()),
    }
}

/// The kernel's `dev_valid_name`.
fn is_device_name(name: &str) -> bool {
    const LONGEST: usize = 15;
    !matches!(name, "" | "." | "..")
        && name.len() <= LONGEST
        && !name.contains(|c: char| matches!(c, '/' | ':' | '\0' | '\x0b') || c.is_ascii_whitespace())
}

pub(super) fn plan_cgroup(
    id: &str,
    linux: &oci::Linux,
    layout: &Layout,
) -> Result<onggi_cgroup::Plan, Error> {
    let path = linux.cgroups_path.clone().unwrap_or_else(|| format!("/onggi/{id}"));
    let none = oci::Resources::default();
    onggi_cgroup::plan(layout, &path, linux.resources.as_ref().unwrap_or(&none)).map_err(Error::Cgroup)
}

/// Whom the container's group is for, on the host: where it has a cgroup namespace of its own and can write to /sys/fs/cgroup, its user
/// (`config-linux.md`, "Cgroup ownership"). `None` if that is root of the host, whose it is anyway.
fn group_owner(
    mounts: &[Step],
    namespaces: &Namespaces<'_>,
    process: &oci::Process,
    user: Option<&UserNamespace>,
    extra: &Extra,
) -> Option<u32> {
    let is_writable = |step: &Step| {
        matches!(step, Step::MountCgroups(MountCgroups { destination, view: CgroupView::V2 { .. }, attributes })
            if destination == "/sys/fs/cgroup" && attributes.set & attribute::READ_ONLY == 0)
    };
    if !namespaces.is_new(NamespaceKind::Cgroup) || !mounts.iter().any(is_writable) {
        return None;
    }
    let inside = match extra.user.as_deref() {
        None => process.user.uid,
        Some("" | "0" | "root") => 0,
        // Known only in the container.
        Some(_) => return None,
    };
    let outside = match user {
        None => Some(inside),
        Some(user) => user.users.iter().find_map(|map| {
            let offset = inside.checked_sub(map.container_id).filter(|&offset| offset < map.size)?;
            map.host_id.checked_add(offset)
        }),
    };
    outside.filter(|&owner| owner != 0)
}

/// The seccomp program and its flags: the ready one, or the specification's profile compiled.
pub(super) fn filter(linux: &oci::Linux, extra: &Extra) -> Result<(Vec<u8>, u32), Error> {
    match (&extra.seccomp, &linux.seccomp) {
        (Some(program), _) => Ok((program.clone(), extra.seccomp_flags)),
        (None, None) => Ok((Vec::new(), 0)),
        (None, Some(profile)) => {
            let program = onggi_seccomp::compile(profile, Arch::NATIVE).map_err(Error::Seccomp)?;
            if Program::has_listener(program.flags) {
                check_listener(profile, extra)?;
            }
            Ok((program.to_bytes(), program.flags))
        }
    }
}

/// The path counts only if there is something to listen to, as with runc.
fn check_listener(profile: &oci::Seccomp, extra: &Extra) -> Result<(), Error> {
    if !extra.bundle.passes_listener {
        return Err(unsupported("SCMP_ACT_NOTIFY (linux.seccomp.listenerPath)"));
    }
    if profile.listener_path.as_deref().is_none_or(str::is_empty) {
        return Err(invalid("linux.seccomp", "seccomp listenerPath is not set"));
    }
    Ok(())
}

fn propagation(linux: &oci::Linux) -> Result<Option<Propagation>, Error> {
    let Some(word) = linux.rootfs_propagation.as_deref().filter(|word| !word.is_empty()) else {
        return Ok(None);
    };
    let parsed = Propagation::parse(word);
    parsed.map(Some).ok_or_else(|| invalid("linux.rootfsPropagation", format!("there is no {word:?}")))
}

/// The copied host mounts stop passing on what is mounted here; what the host mounts still arrives, until the root is swapped. A
/// shared root needs shared sources: then the copies stay as they are, and only the mount below the root is cut off.
fn host_propagation(root: Option<Propagation>) -> Propagation {
    match root.map(|root| root.kind) {
        Some(kind @ (PropagationKind::Shared | PropagationKind::Private)) => {
            Propagation { kind, recursive: true }
        }
        _ => Propagation { kind: PropagationKind::Slave, recursive: true },
    }
}

/// Where the root is put together, in the container's own mount namespace: any directory of the host's that this container has for
/// itself will do, as nobody else sees it.
fn mount_point(root: &Root) -> PathBuf {
    match root {
        Root::Overlay { upper, .. } => upper.clone(),
        Root::Directory { path } => path.clone(),
    }
}

/// What a container may see of control groups.
pub(super) struct Groups<'a> {
    pub(super) layout: &'a Layout,
    pub(super) plan: &'a onggi_cgroup::Plan,
    /// [`super::Bundle::shown_cgroups`], for one that has none.
    pub(super) shown: Option<&'a Layout>,
}

pub(super) fn mount_steps(
    spec: &oci::Spec,
    linux: &oci::Linux,
    cgroups: &Groups<'_>,
    terminal: bool,
    plain_output: bool,
) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let mut read_only_later = Vec::new();
    let mut own_dev = true;
    let label = linux.mount_label.as_deref().filter(|label| !label.is_empty());
    for mount in &spec.mounts {
        match mounts::plan(mount)? {
            Planned::Cgroups { destination, mut attributes } => {
                let own =
                    linux.namespaces.iter().any(|namespace| namespace.kind == oci::NamespaceKind::Cgroup);
                let view = match cgroups.shown {
                    Some(shown) => {
                        // They are not its own (CVE-2023-25809).
                        attributes.set |= attribute::READ_ONLY;
                        attributes.clear &= !attribute::READ_ONLY;
                        cgroup_view(shown, "", own)
                    }
                    None => cgroup_view(cgroups.layout, &cgroups.plan.path, own),
                };
                steps.push(Step::MountCgroups(MountCgroups { destination, view, attributes }));
            }
            Planned::Mount(mut mount) => {
                if mount.destination == "/dev" {
                    own_dev = matches!(mount.source, Source::New { .. });
                }
                if is_filled_later(&mount) && mount.attributes.set & attribute::READ_ONLY != 0 {
                    mount.attributes.set &= !attribute::READ_ONLY;
                    read_only_later.push(mount.destination.clone());
                }
                let labelled = label.and_then(|label| label_mount(&mut mount, label));
                steps.push(Step::Mount(mount));
                steps.extend(labelled);
            }
        }
    }
    if own_dev {
        let mounts = steps.iter().filter_map(|step| match step {
            Step::Mount(mount) => Some(mount.destination.as_str()),
            _ => None,
        });
        // What is mounted before the container's /dev lies hidden below it.
        let mut mounted = Vec::new();
        for destination in mounts {
            if destination == "/dev" {
                mounted.clear();
            }
            mounted.push(destination);
        }
        steps.push(devices::plan(&linux.devices, &mounted)?);
    }
    if terminal {
        steps.push(Step::OpenTerminal { console: own_dev, plain_output });
    }
    if !read_only_later.is_empty() {
        steps.push(Step::ReadOnlyMounts { destinations: read_only_later });
    }
    Ok(steps)
}

/// A new file system's SELinux label: an option of its own, or where it takes none (message queues) a step after it. What shows the
/// kernel's state has the host's labels, as with runc.
fn label_mount(mount: &mut Mount, label: &str) -> Option<Step> {
    let Source::New { kind, options, .. } = &mut mount.source else { return None };
    match kind.as_str() {
        "proc" | "sysfs" | "cgroup" | "cgroup2" => None,
        "mqueue" => Some(Step::LabelFile { path: mount.destination.clone(), label: label.to_owned() }),
        _ => {
            options.push(format!("context={label}"));
            None
        }
    }
}

/// Other mounts and device nodes may have to be made in a new tmpfs.
fn is_filled_later(mount: &Mount) -> bool {
    matches!(&mount.source, Source::New { kind, .. } if kind == "tmpfs")
}

/// The container's own directory in each hierarchy, under the name that the hierarchy has by custom: the host's directory may be a group
/// that was delegated, which is called the same in all of them.
///
/// Without a cgroup namespace on version 2 it is the host's whole tree, as with runc: `/proc/self/cgroup` then names a path in that tree. On
/// version 1 runc shows the container's own directories there as well.
fn cgroup_view(layout: &Layout, path: &str, namespace: bool) -> CgroupView {
    let own = |root: &Path| if path.is_empty() { root.to_owned() } else { root.join(path) };
    match layout {
        Layout::V2 { root, .. } if !namespace => CgroupView::V2Host { directory: root.clone() },
        Layout::V2 { root, .. } => CgroupView::V2 { directory: own(root) },
        Layout::V1 { hierarchies, .. } => {
            let mut directories = Vec::new();
            let mut links = Vec::new();
            for hierarchy in hierarchies {
                let name = hierarchy.name();
                for controller in hierarchy.controllers.iter().filter(|&controller| *controller != name) {
                    if !controller.starts_with("name=") {
                        links.push(Link { path: controller.clone(), target: name.clone() });
                    }
                }
                directories.push((name, own(&hierarchy.root)));
            }
            CgroupView::V1 { hierarchies: directories, links }
        }
    }
}

/// An empty volume is filled before it covers what it is filled with.
pub(super) fn populate_steps(extra: &Extra) -> impl Iterator<Item = Step> {
    extra.populate.iter().cloned().map(|mut populate| {
        populate.destination = clean(&populate.destination);
        Step::Populate(populate)
    })
}

/// What is done to the tree once all its mounts are in their places.
pub(super) fn closing_steps(spec: &oci::Spec, linux: &oci::Linux, process: &oci::Process) -> Vec<Step> {
    let mut steps = Vec::new();
    let cwd = clean(&process.cwd);
    if cwd != "/" {
        steps.push(Step::CreateWorkingDirectory { path: cwd });
    }
    if !linux.masked_paths.is_empty() {
        let label = linux.mount_label.clone().filter(|label| !label.is_empty());
        steps.push(Step::MaskPaths { paths: cleaned(&linux.masked_paths), label });
    }
    if !linux.readonly_paths.is_empty() {
        steps.push(Step::ReadOnlyPaths { paths: cleaned(&linux.readonly_paths) });
    }
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        steps.push(Step::ReadOnlyRoot);
    }
    steps
}

/// Each once, however often it is given.
fn cleaned(paths: &[String]) -> Vec<String> {
    let mut cleaned: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths.iter().map(|path| clean(path)) {
        if !cleaned.contains(&path) {
            cleaned.push(path);
        }
    }
    cleaned
}
