//! The facts of a host that containers need, each looked up and judged.
//!
//! What is judged is taken from files of /proc and /sys and from trying harmless calls; parsing is apart
//! from looking, so that other hosts' files can be tests.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use onggi_error::Diagnose;
use onggi_settings::Settings;
use rustix::io::Errno;

use crate::output::human;

/// How one fact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Ok,
    /// Something works less well, or not at all, but containers run.
    Warn,
    /// Containers do not run.
    Fail,
}

/// One fact.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) state: State,
    pub(super) found: String,
    /// The command that mends it.
    pub(super) mend: Option<String>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Ok, found: found.into(), mend: None }
    }

    pub(super) fn warn(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Warn, found: found.into(), mend: Some(mend.into()) }
    }

    pub(super) fn fail(name: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Check {
        Check { name, state: State::Fail, found: found.into(), mend: Some(mend.into()) }
    }
}

/// All of them, in the order in which a person would look.
pub(super) fn all(settings: &Settings) -> Vec<Check> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let mut checks =
        vec![kernel(&release), user(), overlay(&file_systems), erofs(&file_systems), namespaces()];
    checks.push(seccomp(&fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default()));
    checks.extend(cgroups());
    checks.extend(way_out());
    checks.push(memory(&meminfo));
    checks.push(processors(&onggi_engine::emulated()));
    checks.push(data_root(&settings.root));
    checks.push(run_root(&settings.run_root));
    checks.push(monitor(settings));
    checks
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel";
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version < (5, 15) {
        let mend = "apt install -t bookworm-backports linux-image-amd64";
        return Check::fail(NAME, format!("{release}; Onggi needs Linux 5.15 or newer"), mend);
    }
    Check::ok(NAME, release)
}

fn user() -> Check {
    const NAME: &str = "user";
    if rustix::process::geteuid().is_root() {
        return Check::ok(NAME, "root");
    }
    match onggi_rootless::granted(&namespace_settings()) {
        Ok(ids) => Check::ok(NAME, format!("an ordinary user, who may give {ids} ids to containers")),
        Err(error) => {
            let mend = error.hint().unwrap_or_else(|| "sudo onggi …".to_owned());
            Check::fail(NAME, format!("an ordinary user; {error}"), mend)
        }
    }
}

/// What an ordinary user's networks need besides.
fn way_out() -> Option<Check> {
    const NAME: &str = "network";
    if rustix::process::geteuid().is_root() {
        return None;
    }
    Some(match onggi_rootless::can_go_out() {
        Ok(program) => {
            Check::ok(NAME, format!("{} leads out of a network of the user's own", program.display()))
        }
        Err(error) => {
            let found = format!("{error}: only --network none, host and internal networks work");
            Check::warn(NAME, found, error.hint().unwrap_or_default())
        }
    })
}

/// The settings of the kernel that can forbid ordinary users their namespaces, and what each says; those that it has.
fn namespace_settings() -> Vec<(&'static str, String)> {
    const NAMES: [&str; 3] = [
        "user.max_user_namespaces",
        "kernel.unprivileged_userns_clone",
        "kernel.apparmor_restrict_unprivileged_userns",
    ];
    let read = |name: &'static str| {
        let text = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?;
        Some((name, text.trim().to_owned()))
    };
    NAMES.into_iter().filter_map(read).collect()
}

fn overlay(file_systems: &str) -> Check {
    const NAME: &str = "overlayfs";
    if knows(file_systems, "overlay") {
        return Check::ok(NAME, "there");
    }
    Check::fail(NAME, "the kernel does not have it loaded", "modprobe overlay")
}

fn erofs(file_systems: &str) -> Check {
    const NAME: &str = "EROFS";
    if !knows(file_systems, "erofs") {
        let found = "the kernel does not have it loaded: layers are unpacked instead";
        return Check::warn(NAME, found, "modprobe erofs");
    }
    match erofs_from_file() {
        Ok(true) => Check::ok(NAME, "mounts straight from files"),
        Ok(false) => Check::ok(NAME, "there; before Linux 6.12 layers are unpacked instead"),
        Err(_) => Check::ok(NAME, "there; only root can try how it mounts"),
    }
}

/// Tries to mount a file that is no image: a kernel that takes files says so with EINVAL, any other with
/// ENOTBLK before it has looked.
fn erofs_from_file() -> Result<bool, Errno> {
    use rustix::mount::{FsOpenFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsopen};
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_set_string(&context, "source", "/proc/self/exe")?;
    match fsconfig_create(&context) {
        Err(Errno::NOTBLK) => Ok(false),
        Err(Errno::PERM | Errno::ACCESS) => Err(Errno::PERM),
        _ => Ok(true),
    }
}

fn knows(file_systems: &str, name: &str) -> bool {
    file_systems.lines().any(|line| line.split_whitespace().next_back() == Some(name))
}

fn namespaces() -> Check {
    const NAME: &str = "namespaces";
    const WANTED: [&str; 6] = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let missing: Vec<&str> =
        WANTED.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/user/max_{name}_namespaces"));
    let forbidden: Vec<&str> =
        WANTED.into_iter().filter(|name| limit(name).is_ok_and(|text| text.trim() == "0")).collect();
    if !missing.is_empty() {
        let found = format!("this kernel has none of: {}", missing.join(", "));
        return Check::fail(NAME, found, "boot a kernel with CONFIG_NAMESPACES and all below it");
    }
    if let Some(first) = forbidden.first() {
        let found = format!("forbidden: {}", forbidden.join(", "));
        return Check::fail(NAME, found, format!("sysctl user.max_{first}_namespaces=10000"));
    }
    Check::ok(NAME, WANTED.join(" "))
}

fn seccomp(actions: &str) -> Check {
    const NAME: &str = "seccomp";
    if actions.split_whitespace().any(|action| action == "errno") {
        return Check::ok(NAME, "filters");
    }
    let mend = "boot a kernel with CONFIG_SECCOMP_FILTER, or run with --security-opt seccomp=unconfined";
    Check::warn(NAME, "the kernel has no filters", mend)
}

fn cgroups() -> Vec<Check> {
    const NAME: &str = "cgroups";
    let ordinary = !rustix::process::geteuid().is_root();
    let found = if ordinary { onggi_cgroup::detect_delegated() } else { onggi_cgroup::detect() };
    let layout = match found {
        Ok(layout) => layout,
        Err(error) => {
            return vec![Check::fail(NAME, error.to_string(), "mount -t cgroup2 cgroup2 /sys/fs/cgroup")];
        }
    };
    if layout.is_none() {
        let found = "none are delegated to this user: limits, pause, stats and --pid host are refused";
        return vec![Check::warn(NAME, found, onggi_cgroup::how_to_delegate())];
    }
    let version = layout.version();
    let missing: Vec<&str> = ["cpu", "cpuset", "memory", "pids"]
        .into_iter()
        .filter(|controller| !layout.has_controller(controller))
        .collect();
    let mut checks = Vec::new();
    if let Some(first) = missing.first() {
        let found = format!("{version}, without {}; their limits are refused", missing.join(", "));
        let mend = match &layout {
            _ if ordinary => onggi_cgroup::how_to_delegate().to_owned(),
            onggi_cgroup::Layout::V2 { root, .. } => {
                format!("echo +{} > {}/cgroup.subtree_control", missing.join(" +"), root.display())
            }
            onggi_cgroup::Layout::V1 { .. } => {
                format!(
                    "mkdir -p /sys/fs/cgroup/{first} && mount -t cgroup -o {first} {first} /sys/fs/cgroup/{first}"
                )
            }
        };
        checks.push(Check::warn(NAME, found, mend));
    } else {
        checks.push(Check::ok(NAME, format!("{version} with cpu, cpuset, memory, pids")));
    }
    checks.extend(unmounted(&layout, &fs::read_to_string("/proc/self/cgroup").unwrap_or_default()));
    if let onggi_cgroup::Layout::V1 { hierarchies, .. } = &layout {
        let memory = hierarchies.iter().find(|h| h.controllers.iter().any(|c| c == "memory"));
        let swap = memory.is_some_and(|h| h.root.join("memory.memsw.limit_in_bytes").exists());
        if !swap && memory.is_some() {
            let mend = "boot with swapaccount=1 on the kernel's command line";
            checks.push(Check::warn(
                "swap limits",
                "the kernel does not count swap: --memory-swap is refused",
                mend,
            ));
        }
    }
    checks
}

/// Hierarchies that containers are left out of, since nobody can join what is mounted nowhere.
fn unmounted(layout: &onggi_cgroup::Layout, process_cgroups: &str) -> Option<Check> {
    let unmounted = layout.unmounted(process_cgroups);
    let first = unmounted.first()?;
    let found = format!(
        "{} active, but mounted nowhere: containers are not in {}",
        unmounted.join(" and "),
        if unmounted.len() == 1 { "it" } else { "them" }
    );
    let directory = format!("/sys/fs/cgroup/{}", first.trim_start_matches("name="));
    let options = if first.starts_with("name=") { format!("none,{first}") } else { first.clone() };
    let mend = format!("mkdir -p {directory} && mount -t cgroup -o {options} {first} {directory}");
    Some(Check::warn("hierarchies", found, mend))
}

fn memory(meminfo: &str) -> Check {
    const NAME: &str = "memory";
    const LITTLE: u64 = 128 << 20;
    let amount = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).map(|kib| kib << 10)
    };
    let (Some(total), Some(free)) = (amount("MemTotal"), amount("MemAvailable")) else {
        return Check::warn(NAME, "/proc/meminfo says nothing", "mount -t proc proc /proc");
    };
    let found = format!("{} of {} free", human::binary_size(free), human::binary_size(total));
    if free < LITTLE {
        return Check::warn(NAME, found, "onggi ps, then stop what is not needed");
    }
    Check::ok(NAME, found)
}

const OVERLAYFS: u64 = 0x794c_7630;
const NFS: u64 = 0x6969;
const TMPFS: u64 = 0x0102_1994;

fn processors(emulated: &[&str]) -> Check {
    const NAME: &str = "other processors";
    if emulated.is_empty() {
        let found = "none: images for them need `apt-get install qemu-user-static binfmt-support`";
        return Check::ok(NAME, found);
    }
    Check::ok(NAME, format!("{} by emulation", emulated.join(", ")))
}

fn data_root(root: &Path) -> Check {
    const NAME: &str = "data root";
    const LITTLE: u64 = 1 << 30;
    const TOO_LITTLE: u64 = 64 << 20;
    let Some((place, stat)) = existing(root) else {
        return Check::fail(
            NAME,
            format!("{} cannot be looked at", root.display()),
            "onggi config show --origin",
        );
    };
    let kind = stat.f_type as u64;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize as u64);
    let found = format!("{}: {} free", root.display(), human::size(free, 3));
    let move_it = "set root in /etc/onggi/onggi.toml to a directory on ext4, xfs or btrfs";
    match kind {
        OVERLAYFS => {
            Check::fail(NAME, format!("{found}; on overlayfs, which cannot hold a writable layer"), move_it)
        }
        NFS => Check::fail(NAME, format!("{found}; on NFS, which cannot hold a writable layer"), move_it),
        _ if free < TOO_LITTLE => Check::fail(NAME, found, "onggi images, then onggi rmi what is not needed"),
        _ if free < LITTLE => Check::warn(NAME, found, "onggi images, then onggi rmi what is not needed"),
        _ if place != root => Check::ok(NAME, format!("{found}; made at the first use")),
        _ if is_open(root) => Check::warn(NAME, format!("{found}; {OPEN}"), close(root)),
        _ => Check::ok(NAME, found),
    }
}

fn run_root(root: &Path) -> Check {
    const NAME: &str = "run root";
    match existing(root) {
        Some(_) if is_open(root) => Check::warn(NAME, format!("{}: {OPEN}", root.display()), close(root)),
        Some((_, stat)) if stat.f_type as u64 == TMPFS => {
            Check::ok(NAME, format!("{}, on a tmpfs", root.display()))
        }
        _ => {
            let found =
                format!("{} is on a disk: sockets and live files stay there after a reboot", root.display());
            let mend = if root.starts_with("/run") {
                // Not on /run itself: that would hide what the running system keeps there.
                format!("mkdir -p {0} && mount -t tmpfs -o mode=700 tmpfs {0}", root.display())
            } else {
                "set run_root to a directory below /run, or mount a tmpfs on this one".to_owned()
            };
            Check::warn(NAME, found, mend)
        }
    }
}

/// A directory that holds something is not narrowed by itself: it may be somebody else's as well.
const OPEN: &str = "others can look inside";

fn is_open(root: &Path) -> bool {
    fs::metadata(root).is_ok_and(|data| data.permissions().mode() & 0o077 != 0)
}

fn close(root: &Path) -> String {
    format!("chmod 700 {}", root.display())
}

/// The directory or the nearest one above it that exists, with its file system.
fn existing(path: &Path) -> Option<(&Path, rustix::fs::StatFs)> {
    path.ancestors().find_map(|place| rustix::fs::statfs(place).ok().map(|stat| (place, stat)))
}

fn monitor(settings: &Settings) -> Check {
    const NAME: &str = "monitor";
    let beside = || Some(std::env::current_exe().ok()?.with_file_name("onggi-monitor"));
    let Some(program) = settings.monitor_program.clone().or_else(beside) else {
        return Check::fail(NAME, "/proc is not mounted", "mount -t proc proc /proc");
    };
    if program.is_file() {
        return Check::ok(NAME, program.display().to_string());
    }
    Check::fail(
        NAME,
        format!("{} is missing", program.display()),
        "install Onggi again: both programs belong together",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels() {
        for (release, state) in [
            ("6.18.0", State::Ok),
            ("5.15.0-91-generic", State::Ok),
            ("5.10.0-28-amd64", State::Fail),
            ("10.1-rc1", State::Ok),
            ("odd", State::Fail),
        ] {
            assert_eq!(kernel(release).state, state, "{release}");
        }
    }

    #[test]
    fn file_systems() {
        let text = "nodev\tproc\nnodev\toverlay\n\text4\n";
        assert!(knows(text, "overlay") && knows(text, "ext4") && !knows(text, "erofs"));
    }

    #[test]
    fn hierarchies_that_are_mounted_nowhere() {
        let mountinfo = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let layout = onggi_cgroup::detect_at(mountinfo, "").unwrap();
        assert!(unmounted(&layout, "1:cpu:/\n0::/\n").is_none());
        let check = unmounted(&layout, "3:name=systemd:/\n2:hugetlb:/\n1:cpu:/\n").unwrap();
        assert!(check.found.starts_with("name=systemd and hugetlb active"), "{}", check.found);
        let mend = "mkdir -p /sys/fs/cgroup/systemd && mount -t cgroup -o none,name=systemd name=systemd /sys/fs/cgroup/systemd";
        assert_eq!((check.state, check.mend.as_deref()), (State::Warn, Some(mend)));
    }

    #[test]
    fn memories() {
        let text = |free| format!("MemTotal:       24000000 kB\nMemFree: 1 kB\nMemAvailable:   {free} kB\n");
        assert_eq!(memory(&text(20_000_000)).state, State::Ok);
        assert_eq!(memory(&text(1000)).state, State::Warn);
        assert_eq!(memory("").state, State::Warn);
        assert!(memory(&text(20_000_000)).found.contains("of 22.89GiB free"));
    }

    #[test]
    fn roots_that_others_can_enter_are_told_of() {
        let root = tempfile::tempdir().unwrap();
        for (mode, told) in [(0o700, false), (0o755, true)] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(mode)).unwrap();
            for check in [data_root(root.path()), run_root(root.path())] {
                assert_eq!(check.found.contains(OPEN), told, "{check:?}");
            }
        }
    }

    #[test]
    fn every_lack_has_a_cure() {
        let settings = Settings::load(&onggi_settings::Flags::default()).unwrap();
        for check in all(&settings) {
            assert_eq!(check.mend.is_none(), check.state == State::Ok, "{}", check.name);
        }
    }
}
