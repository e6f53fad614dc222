//! What each step is called, and what it does in plain words, for `--explain` and for errors.

use super::{CgroupView, Plan, ResourceLimit, Root, Source, Step, User};

impl Plan {
    /// All that a start does, one plain sentence each: the cgroup with its limits, the new process, then what it does itself.
    #[must_use]
    pub fn explain(&self) -> Vec<String> {
        let mut sentences = self.launch.cgroup.summary();
        // Those that are joined have steps of their own.
        let new = self.launch.namespaces.iter().filter(|namespace| namespace.path.is_none());
        let names: Vec<_> = new.map(|namespace| kind_name(namespace.kind)).collect();
        sentences.push(match names.as_slice() {
            [] => "start a process in the host's own namespaces".to_owned(),
            names => format!("start a process with new namespaces: {}", names.join(", ")),
        });
        sentences.extend(self.steps.iter().map(Step::explain));
        sentences
    }
}

impl Step {
    /// Stable: failures and timings carry it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Step::JoinCgroups => "join-cgroups",
            Step::JoinNamespace { .. } => "join-namespace",
            Step::AwaitUserNamespace { .. } => "await-user-namespace",
            Step::EnterTimeNamespace { .. } => "enter-time-namespace",
            Step::UnshareCgroupNamespace => "unshare-cgroup-namespace",
            Step::SetPropagation { .. } => "set-propagation",
            Step::MountRoot { .. } => "mount-root",
            Step::Populate(_) => "populate",
            Step::Mount(_) => "mount",
            Step::MountCgroups(_) => "mount-cgroups",
            Step::MakeDevices { .. } => "make-devices",
            Step::OpenTerminal { .. } => "open-terminal",
            Step::MaskPaths { .. } => "mask-paths",
            Step::ReadOnlyPaths { .. } => "read-only-paths",
            Step::ReadOnlyMounts { .. } => "read-only-mounts",
            Step::CreateWorkingDirectory { .. } => "create-working-directory",
            Step::ReadOnlyRoot => "read-only-root",
            Step::PivotRoot { .. } => "pivot-root",
            Step::MoveRoot { .. } => "move-root",
            Step::ChangeRoot => "change-root",
            Step::Landlock => "landlock",
            Step::Hostname { .. } => "hostname",
            Step::Domainname { .. } => "domainname",
            Step::Sysctls { .. } => "sysctls",
            Step::Loopback => "loopback",
            Step::AwaitNetwork => "await-network",
            Step::AwaitHooks => "await-hooks",
            Step::RunHooks { .. } => "run-hooks",
            Step::AwaitStart => "await-start",
            Step::OomScoreAdjustment { .. } => "oom-score-adjustment",
            Step::RaiseLimits { .. } => "raise-limits",
            Step::Rlimits { .. } => "rlimits",
            Step::Personality { .. } => "personality",
            Step::IoPriority { .. } => "io-priority",
            Step::Scheduler(_) => "scheduler",
            Step::MemoryPolicy { .. } => "memory-policy",
            Step::Processors { .. } => "processors",
            Step::SessionKeyring { .. } => "session-keyring",
            Step::AppArmor { .. } => "app-armor",
            Step::SelinuxLabel { .. } => "selinux-label",
            Step::LabelFile { .. } => "label-file",
            Step::ResolveUser(_) => "resolve-user",
            Step::Init => "init",
            Step::Session => "session",
            Step::WorkingDirectory { .. } => "working-directory",
            Step::NoNewPrivileges => "no-new-privileges",
            Step::Credentials { .. } => "credentials",
            Step::Seccomp { .. } => "seccomp",
            Step::FindProgram { .. } => "find-program",
            Step::CloseDescriptors => "close-descriptors",
            Step::Execute => "execute",
        }
    }

    /// One plain sentence, without a full stop.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Step::JoinCgroups => {
                "enter the container's cgroup in every hierarchy, so that its limits apply".into()
            }
            Step::JoinNamespace { kind, path } => {
                format!("enter the {} namespace at {}", kind_name(*kind), path.display())
            }
            Step::AwaitUserNamespace { time } => format!(
                "wait for the ids of the user namespace, and become root there{}",
                if *time { ", with clocks of its own" } else { "" }
            ),
            Step::EnterTimeNamespace { .. } => "enter a time namespace of its own".into(),
            Step::UnshareCgroupNamespace => "see this cgroup as the root of all cgroups".into(),
            Step::SetPropagation { propagation } => format!(
                "make the copied mounts {:?}, so that nothing mounted here reaches the host",
                propagation.kind
            )
            .to_lowercase(),
            Step::MountRoot { root: Root::Overlay { lower, volatile, .. }, .. } => format!(
                "stack {} and a writable one into the root file system{}",
                count(lower.len(), "read-only layer"),
                if *volatile { ", without ever syncing it" } else { "" }
            ),
            Step::MountRoot { root: Root::Directory { path }, .. } => {
                format!("take the directory {} as the root file system", path.display())
            }
            Step::Populate(populate) => format!(
                "fill the empty volume {} from the image's {}",
                populate.volume.display(),
                populate.destination
            ),
            Step::Mount(mount) => match &mount.source {
                Source::New { kind, .. } => format!("mount a new {kind} at {}", mount.destination),
                Source::Bind { path, ids, .. } => {
                    let owners = if ids.is_some() { ", with other owners" } else { "" };
                    format!("show the host's {} at {}{owners}", path.display(), mount.destination)
                }
                Source::Again { .. } => format!("change what is mounted at {}", mount.destination),
            },
            Step::MountCgroups(mount) => match &mount.view {
                CgroupView::V2 { .. } => {
                    format!("show the container its own cgroup at {}", mount.destination)
                }
                CgroupView::V2Host { .. } => {
                    format!("show the container the host's whole tree of cgroups at {}", mount.destination)
                }
                CgroupView::V1 { hierarchies, .. } => format!(
                    "show the container its own cgroup in {} hierarchies at {}",
                    hierarchies.len(),
                    mount.destination
                ),
            },
            Step::MakeDevices { devices, links } => {
                format!(
                    "make {} and {} in /dev",
                    count(devices.len(), "device node"),
                    count(links.len(), "link")
                )
            }
            Step::OpenTerminal { .. } => {
                "open a terminal in the container and hand its other end to the monitor".into()
            }
            Step::MaskPaths { paths, .. } => {
                format!("hide {} that would tell of the host", count(paths.len(), "path"))
            }
            Step::ReadOnlyPaths { paths } => format!("make {} read-only", count(paths.len(), "path")),
            Step::ReadOnlyMounts { destinations } => format!("make {} read-only", destinations.join(", ")),
            Step::CreateWorkingDirectory { path } => format!("make the directory {path} if it is missing"),
            Step::ReadOnlyRoot => "make the root file system read-only".into(),
            Step::PivotRoot { .. } => "make this tree the root, and let go of the host's".into(),
            Step::MoveRoot { .. } => "move this tree over the root, and change the root to it".into(),
            Step::ChangeRoot => "change the root directory".into(),
            Step::Landlock => "limit the process to files below its root by Landlock".into(),
            Step::Hostname { name } => format!("name the host {name}"),
            Step::Domainname { name } => format!("name the domain {name}"),
            Step::Sysctls { values } => {
                let names: Vec<_> = values.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("set {}", names.join(", "))
            }
            Step::Loopback => "bring the loopback interface up".into(),
            Step::AwaitNetwork => "wait until the network namespace is connected to its networks".into(),
            Step::AwaitHooks => "wait until the caller has run its hooks".into(),
            Step::RunHooks { point, hooks, .. } => {
                format!("run {}", count(hooks.len(), &format!("{point} hook")))
            }
            Step::AwaitStart => "wait for the word to start".into(),
            Step::OomScoreAdjustment { value } => {
                format!("set the out-of-memory score adjustment to {value}")
            }
            Step::RaiseLimits { limits } => {
                let names: Vec<_> = limits.iter().map(short_name).collect();
                format!("make room for the limits {}", names.join(", "))
            }
            Step::Rlimits { limits } => {
                let amount =
                    |limit: u64| if limit == u64::MAX { "no limit".to_owned() } else { limit.to_string() };
                let shown = |limit: &ResourceLimit| {
                    let (name, soft, hard) = (short_name(limit), amount(limit.soft), amount(limit.hard));
                    if soft == hard {
                        format!("{name} to {soft}")
                    } else {
                        format!("{name} to {soft}, and {hard} at most")
                    }
                };
                format!("limit {}", limits.iter().map(shown).collect::<Vec<_>>().join("; "))
            }
            Step::Personality { persona } => format!("run as on personality {persona:#x}"),
            Step::IoPriority { class, level } => {
                format!("set the I/O priority to class {class}, level {level}")
            }
            Step::Scheduler(scheduling) => format!("be scheduled by policy {}", scheduling.policy),
            Step::MemoryPolicy { mode, nodes } => {
                format!("take memory by policy {mode:#x} from the nodes {nodes:?}")
            }
            Step::Processors { allowed: None } => "run on every processor that the cgroup has".into(),
            Step::Processors { allowed: Some(allowed) } => format!("run on the processors {allowed:?}"),
            Step::SessionKeyring { name, .. } => format!("use the session keyring {name}, not the caller's"),
            Step::AppArmor { profile } => format!("run under the AppArmor profile {profile}"),
            Step::SelinuxLabel { label } => format!("run with the SELinux label {label}"),
            Step::LabelFile { path, label } => format!("give {path} the SELinux label {label}"),
            Step::ResolveUser(User::Ids { uid, gid, .. }) => format!("run as user {uid} and group {gid}"),
            Step::ResolveUser(User::Named { user, .. }) => {
                let user = if user.is_empty() { "root" } else { user };
                format!("look {user} up in the container's own /etc/passwd and /etc/group")
            }
            Step::Init => "stay behind as process 1, to reap orphans and to forward signals".into(),
            Step::Session => "start a session, with the terminal if there is one".into(),
            Step::WorkingDirectory { path } => format!("go to {path}"),
            Step::NoNewPrivileges => "give up gaining privileges by executing".into(),
            Step::Credentials { capabilities, .. } => {
                format!("become that user, with {} of the capabilities", capabilities.effective.count_ones())
            }
            Step::Seccomp { .. } => "load the system call filter".into(),
            Step::FindProgram { args, .. } => format!("find the program of: {}", args.join(" ")),
            Step::CloseDescriptors => "close every file but the standard streams".into(),
            Step::Execute => "become the program".into(),
        }
    }
}

/// As `--ulimit` names it.
fn short_name(limit: &ResourceLimit) -> String {
    limit.name.trim_start_matches("RLIMIT_").to_ascii_lowercase()
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

pub(crate) fn kind_name(kind: onggi_oci::NamespaceKind) -> &'static str {
    use onggi_oci::NamespaceKind as K;
    match kind {
        K::Cgroup => "cgroup",
        K::Ipc => "ipc",
        K::Mount => "mount",
        K::Network => "network",
        K::Pid => "pid",
        K::Time => "time",
        K::User => "user",
        K::Uts => "uts",
    }
}
