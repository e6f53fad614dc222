//! From a record to the OCI configuration that starts it, and what OCI cannot say beside it. Pure: the same record and facts give
//! the same configuration, which `inspect --oci` prints and the golden tests hold.
//!
//! Defaults are Docker's (moby `daemon/pkg/oci/defaults.go`, `daemon/oci_linux.go`) but for Podman's capabilities and read-only
//! `/proc/asound`, and a cgroup namespace on version 1 too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use onggi_oci as oci;
use onggi_oci::NamespaceKind;
use onggi_runtime::plan;

use crate::error::Error;
use crate::record::Record;
use crate::request::{IpcMode, Isolation, Network, PidMode, SeccompChoice, UtsMode};
use crate::resolve::variable;

pub(crate) mod files;
mod mounts;
pub(crate) mod resources;
mod seccomp;

/// What the host and the other records say, looked up before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// The container's directory: `hosts`, `hostname`, `resolv.conf`, `upper`, `work`.
    pub directory: PathBuf,
    /// The directory of all volumes.
    pub volumes: PathBuf,
    /// Of the container whose namespace is to be joined.
    pub pid_namespace: Option<PathBuf>,
    pub ipc_namespace: Option<PathBuf>,
    /// Of the container whose network is joined, with its directory: they share `hosts`, `hostname` and `resolv.conf`.
    pub network_namespace: Option<PathBuf>,
    pub network_directory: Option<PathBuf>,
    /// What `/dev/shm` is, when it is shared with others: a directory of the host.
    pub shm: Option<PathBuf>,
    /// The host's device nodes, for a privileged container.
    pub devices: Vec<oci::Device>,
    /// Those that were asked for, with the access that is allowed.
    pub asked_devices: Vec<(oci::Device, String)>,
    /// The numbers of the block devices that limits are for, by path.
    pub block_devices: BTreeMap<String, (i64, i64)>,
    /// Whether the host can limit swap. Only looked up when memory is limited.
    pub swap_limit: bool,
    /// Volumes that are empty and may be filled from the image.
    pub empty_volumes: Vec<String>,
    /// Whether root is root of an ordinary user's namespace only.
    pub rootless: bool,
    /// Whether the number of processes can be limited; only looked up with `rootless`.
    pub pids_limit: bool,
    /// Whether the host has its message queues mounted; only looked up with `rootless`.
    pub host_queues: bool,
    /// Capabilities that this process may still give away; `None`: not looked up, since the defaults are asked for.
    pub bounding: Option<u64>,
}

/// The OCI configuration.
pub(crate) fn oci(record: &Record, facts: &Facts) -> oci::Spec {
    let request = &record.request;
    let bare = request.isolation == Isolation::Process;
    let (masked_paths, readonly_paths) = hidden_paths(record);
    oci::Spec {
        oci_version: oci::VERSION.to_owned(),
        process: Some(process(record, facts)),
        root: Some(oci::Root { path: "rootfs".to_owned(), readonly: request.read_only }),
        hostname: (!bare && request.uts == UtsMode::Private).then(|| record.resolved.hostname.clone()),
        domainname: request.domainname.clone().filter(|_| request.uts == UtsMode::Private),
        mounts: if bare { mounts::asked_for(record, facts) } else { mounts::all(record, facts) },
        annotations: request.annotations.clone(),
        linux: Some(oci::Linux {
            sysctl: if bare { BTreeMap::new() } else { sysctls(record, facts) },
            resources: Some(resources::all(record, facts)),
            cgroups_path: Some(record.resolved.cgroup.clone()),
            namespaces: if bare { Vec::new() } else { namespaces(record, facts) },
            // Of two with one path the last counts.
            devices: facts
                .devices
                .iter()
                .chain(facts.asked_devices.iter().map(|(device, _)| device))
                .cloned()
                .collect(),
            masked_paths,
            readonly_paths,
            ..oci::Linux::default()
        }),
        ..oci::Spec::default()
    }
}

/// What goes to the planner beside the configuration.
///
/// # Errors
/// A seccomp profile that cannot be read or compiled.
pub(crate) fn extra(record: &Record, facts: &Facts, timings: bool) -> Result<plan::Extra, Error> {
    let request = &record.request;
    let container = request.isolation == Isolation::Container;
    let populate = mounts::populate(record, facts);
    let (seccomp, seccomp_flags) = filter(record)?;
    Ok(plan::Extra {
        user: Some(record.resolved.user.clone()),
        group_add: request.group_add.clone(),
        home: true,
        populate,
        loopback: container && request.network == Network::None,
        await_network: request.network == Network::Bridge,
        init: request.init,
        seccomp,
        seccomp_flags,
        isolation: request.isolation,
        timings,
        bundle: plan::Bundle::default(),
    })
}

/// The environment of the first process: what Onggi adds, then what the record has.
pub(crate) fn environment(record: &Record) -> Vec<String> {
    let mut env = vec![
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("HOSTNAME={}", record.resolved.hostname),
    ];
    if record.request.tty {
        env.push("TERM=xterm".to_owned());
    }
    set_variables(&mut env, &record.resolved.env);
    // `-e HOSTNAME` (a name alone) takes away what Onggi would add, too.
    for entry in record.request.env.iter().filter(|entry| !entry.contains('=')) {
        if !record.resolved.env.iter().any(|known| variable(known) == entry) {
            env.retain(|known| variable(known) != entry);
        }
    }
    env
}

/// Adds variables; one that is there already changes in its place, a name alone takes one away.
pub(crate) fn set_variables(env: &mut Vec<String>, entries: &[String]) {
    for entry in entries {
        if !entry.contains('=') {
            env.retain(|known| variable(known) != entry);
            continue;
        }
        match env.iter_mut().find(|known| variable(known) == variable(entry)) {
            Some(known) => known.clone_from(entry),
            None => env.push(entry.clone()),
        }
    }
}

/// Sets for a process: never inheritable or ambient ones (CVE-2022-24769).
pub(crate) fn capability_sets(names: &[String]) -> oci::Capabilities {
    oci::Capabilities {
        bounding: names.to_vec(),
        effective: names.to_vec(),
        permitted: names.to_vec(),
        ..oci::Capabilities::default()
    }
}

fn process(record: &Record, facts: &Facts) -> oci::Process {
    let request = &record.request;
    let held: Vec<String> = match facts.bounding {
        None => record.resolved.capabilities.clone(),
        Some(bounding) => {
            let all = crate::capabilities::ALL.iter().enumerate();
            let may = |name: &String| {
                all.clone().any(|(bit, known)| name[4..] == **known && bounding & (1 << bit) != 0)
            };
            record.resolved.capabilities.iter().filter(|name| may(name)).cloned().collect()
        }
    };
    oci::Process {
        terminal: request.tty,
        args: record.args(),
        env: environment(record),
        cwd: record.resolved.working_dir.clone(),
        capabilities: Some(capability_sets(&held)),
        rlimits: request
            .ulimits
            .iter()
            .map(|limit| oci::Rlimit {
                kind: format!("RLIMIT_{}", limit.name.to_ascii_uppercase()),
                soft: limit.soft,
                hard: limit.hard,
            })
            .collect(),
        no_new_privileges: request.security.no_new_privileges,
        oom_score_adj: request.oom_score_adj,
        ..oci::Process::default()
    }
}

fn namespaces(record: &Record, facts: &Facts) -> Vec<oci::Namespace> {
    let request = &record.request;
    let own = |kind| oci::Namespace { kind, path: None };
    let other = |kind, path: &Option<PathBuf>| oci::Namespace {
        kind,
        path: path.as_ref().map(|path| path.to_string_lossy().into_owned()),
    };
    let mut namespaces = vec![own(NamespaceKind::Mount)];
    match request.pid {
        PidMode::Private => namespaces.push(own(NamespaceKind::Pid)),
        PidMode::Host => {}
        PidMode::Container(_) => namespaces.push(other(NamespaceKind::Pid, &facts.pid_namespace)),
    }
    match request.ipc {
        IpcMode::Private | IpcMode::Shareable | IpcMode::None => namespaces.push(own(NamespaceKind::Ipc)),
        IpcMode::Host => {}
        IpcMode::Container(_) => namespaces.push(other(NamespaceKind::Ipc, &facts.ipc_namespace)),
    }
    if request.uts == UtsMode::Private {
        namespaces.push(own(NamespaceKind::Uts));
    }
    match request.network {
        Network::None | Network::Bridge => namespaces.push(own(NamespaceKind::Network)),
        Network::Host => {}
        Network::Container(_) => namespaces.push(other(NamespaceKind::Network, &facts.network_namespace)),
    }
    if !request.host_cgroup_namespace {
        namespaces.push(own(NamespaceKind::Cgroup));
    }
    namespaces
}

fn sysctls(record: &Record, facts: &Facts) -> BTreeMap<String, String> {
    let mut values = record.request.sysctls.clone();
    if record.request.network.is_private() {
        // Without NET_RAW this is what lets `ping` work, for every group that there is.
        let groups = if facts.rootless { "0 65535" } else { "0 2147483647" };
        values.entry("net.ipv4.ping_group_range".to_owned()).or_insert_with(|| groups.to_owned());
        // As Docker: a program that is not root may have port 80 of a network that is nobody else's.
        values.entry("net.ipv4.ip_unprivileged_port_start".to_owned()).or_insert_with(|| "0".to_owned());
    }
    values
}

const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Masked and read-only paths.
pub(crate) fn hidden_paths(record: &Record) -> (Vec<String>, Vec<String>) {
    let (request, security) = (&record.request, &record.request.security);
    let everything = security.unmask.iter().any(|path| path.eq_ignore_ascii_case("all"));
    if request.privileged
        || security.unconfined_paths
        || everything
        || request.isolation == Isolation::Process
    {
        return (Vec::new(), Vec::new());
    }
    // `/proc/*` stands for everything below, as in Podman.
    let spared = |path: &str| {
        security.unmask.iter().any(|pattern| match pattern.strip_suffix("/*") {
            Some(parent) => path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/')),
            None => pattern.trim_end_matches('/') == path,
        })
    };
    let keep =
        |paths: &[&str]| paths.iter().filter(|path| !spared(path)).map(|path| (*path).to_owned()).collect();
    (keep(&MASKED), keep(&READ_ONLY))
}

/// The compiled system call filter with its flags; `None` for none at all.
fn filter(record: &Record) -> Result<(Option<Vec<u8>>, u32), Error> {
    match &record.request.security.seccomp {
        SeccompChoice::Unconfined => Ok((None, 0)),
        SeccompChoice::Default if record.request.privileged => Ok((None, 0)),
        SeccompChoice::Default => {
            let program = onggi_seccomp::default_program(&record.resolved.capabilities);
            Ok((Some(program.into_owned()), onggi_seccomp::DEFAULT_FLAGS))
        }
        SeccompChoice::Profile(profile) => {
            let wrong = |message: String| Error::Invalid { what: format!("seccomp profile: {message}") };
            let release = rustix::system::uname().release().to_string_lossy().into_owned();
            let (go_arch, scmp_arch) = match onggi_seccomp::Arch::NATIVE {
                onggi_seccomp::Arch::Aarch64 => ("arm64", "SCMP_ARCH_AARCH64"),
                _ => ("amd64", "SCMP_ARCH_X86_64"),
            };
            let machine = seccomp::Machine {
                go_arch,
                scmp_arch,
                kernel: seccomp::version(&release).unwrap_or_default(),
                capabilities: &record.resolved.capabilities,
            };
            let profile = seccomp::resolve(profile, machine).map_err(wrong)?;
            let program = onggi_seccomp::compile(&profile, onggi_seccomp::Arch::NATIVE)
                .map_err(|error| wrong(error.to_string()))?;
            Ok((Some(program.to_bytes()), program.flags))
        }
    }
}

/// What stands in a container's directory for the layers of an image that has none: overlayfs wants one at least.
pub(crate) const NO_LAYERS: &str = "no-layers";

/// The runtime's name for where the root comes from.
pub(crate) fn root(record: &Record, directory: &Path, mut lower: Vec<PathBuf>, rootless: bool) -> plan::Root {
    if lower.is_empty() {
        lower.push(directory.join(NO_LAYERS));
    }
    plan::Root::Overlay {
        lower,
        upper: directory.join("upper"),
        work: directory.join("work"),
        // Unmounting an overlay otherwise syncs the whole file system under it, for a tree that is thrown away.
        volatile: record.request.remove,
        user_attributes: rootless,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RunRequest;
    use crate::resolve::samples::{full_request, record, tmpfs};
    use onggi_image::config::RunConfig;

    fn facts() -> Facts {
        Facts { directory: "/data/containers/ID".into(), volumes: "/data/volumes".into(), ..Facts::default() }
    }

    fn image() -> RunConfig {
        RunConfig {
            cmd: Some(vec!["sh".into()]),
            env: vec!["PATH=/bin".into(), "LANG=C".into()],
            ..RunConfig::default()
        }
    }

    fn spec(request: &RunRequest, facts: &Facts) -> oci::Spec {
        oci(&record(request, &image()).unwrap(), facts)
    }

    fn golden(spec: &oci::Spec) -> String {
        serde_json::to_string_pretty(spec).unwrap()
    }

    fn destinations(request: &RunRequest) -> Vec<String> {
        spec(request, &facts()).mounts.into_iter().map(|mount| mount.destination).collect()
    }

    #[test]
    fn defaults() {
        let request = RunRequest { image: "busybox".into(), ..RunRequest::default() };
        insta::assert_snapshot!(golden(&spec(&request, &facts())));
    }

    #[test]
    fn everything_asked_for() {
        let facts = Facts { swap_limit: true, empty_volumes: vec!["box".into()], ..facts() };
        insta::assert_snapshot!(golden(&spec(&full_request(), &facts)));
        let extra = extra(&record(&full_request(), &image()).unwrap(), &facts, false).unwrap();
        assert_eq!(extra.populate.len(), 1);
        assert_eq!((extra.user.as_deref(), extra.group_add.len(), extra.home), (Some("www-data"), 1, true));
        assert!(extra.seccomp.is_some_and(|program| !program.is_empty()) && extra.loopback);
    }

    #[test]
    fn privileged_is_without_masks_filter_and_lists() {
        let device = oci::Device {
            kind: "c".into(),
            path: "/dev/kvm".into(),
            major: 10,
            minor: 232,
            ..oci::Device::default()
        };
        let facts = Facts { devices: vec![device], bounding: Some(0b101), ..facts() };
        let request = RunRequest { privileged: true, ..RunRequest::default() };
        let spec = spec(&request, &facts);
        let linux = spec.linux.unwrap();
        assert!(linux.masked_paths.is_empty() && linux.readonly_paths.is_empty());
        assert_eq!(linux.devices.len(), 1);
        assert_eq!(linux.resources.unwrap().devices.unwrap().len(), 1);
        assert_eq!(
            spec.process.unwrap().capabilities.unwrap().bounding,
            ["CAP_CHOWN", "CAP_DAC_READ_SEARCH"]
        );
        for destination in ["/sys", "/sys/fs/cgroup"] {
            let mount = spec.mounts.iter().find(|mount| mount.destination == destination).unwrap();
            assert!(mount.options.contains(&"rw".to_owned()), "{destination}");
        }
        assert!(extra(&record(&request, &image()).unwrap(), &facts, false).unwrap().seccomp.is_none());
    }

    #[test]
    fn namespaces_are_ones_own_the_hosts_or_anothers() {
        let kinds = |request: &RunRequest, facts: &Facts| -> Vec<String> {
            let namespaces = spec(request, facts).linux.unwrap().namespaces;
            namespaces
                .iter()
                .map(|namespace| {
                    format!("{:?}{}", namespace.kind, namespace.path.as_deref().unwrap_or_default())
                })
                .collect()
        };
        let host = RunRequest {
            network: Network::Host,
            pid: PidMode::Host,
            ipc: IpcMode::Host,
            uts: UtsMode::Host,
            ..RunRequest::default()
        };
        assert_eq!(
            kinds(&RunRequest::default(), &facts()),
            ["Mount", "Pid", "Ipc", "Uts", "Network", "Cgroup"]
        );
        assert_eq!(kinds(&host, &facts()), ["Mount", "Cgroup"]);
        let spec = spec(&host, &facts());
        assert_eq!(spec.hostname, None);
        assert!(spec.linux.unwrap().sysctl.is_empty(), "nothing of the host's network is changed");
        let joined = Facts {
            pid_namespace: Some("/proc/7/ns/pid".into()),
            ipc_namespace: Some("/proc/7/ns/ipc".into()),
            ..facts()
        };
        let request = RunRequest {
            pid: PidMode::Container("x".into()),
            ipc: IpcMode::Container("x".into()),
            ..RunRequest::default()
        };
        assert_eq!(
            kinds(&request, &joined),
            ["Mount", "Pid/proc/7/ns/pid", "Ipc/proc/7/ns/ipc", "Uts", "Network", "Cgroup"]
        );
    }

    #[test]
    fn mounts_of_the_user_take_the_place_of_defaults() {
        let with = |destination: &str| {
            destinations(&RunRequest { mounts: vec![tmpfs(destination)], ..RunRequest::default() })
        };
        let count =
            |all: &[String], destination: &str| all.iter().filter(|each| *each == destination).count();
        assert_eq!(count(&with("/dev/shm"), "/dev/shm"), 1);
        assert_eq!(count(&with("/etc/hosts"), "/etc/hosts"), 1);
        let own_dev = with("/dev");
        assert!(!own_dev.iter().any(|destination| destination.starts_with("/dev/")), "{own_dev:?}");
        let none = destinations(&RunRequest { ipc: IpcMode::None, ..RunRequest::default() });
        assert_eq!(count(&none, "/dev/shm"), 0);
    }

    #[test]
    fn environments() {
        let request =
            RunRequest { env: vec!["HOSTNAME".into(), "PATH=/x".into()], tty: true, ..RunRequest::default() };
        assert_eq!(environment(&record(&request, &image()).unwrap()), ["PATH=/x", "TERM=xterm", "LANG=C"]);
        let record = record(&RunRequest::default(), &image()).unwrap();
        assert_eq!(environment(&record), ["PATH=/bin", "HOSTNAME=c0ffeec0ffee", "LANG=C"]);
    }
}
