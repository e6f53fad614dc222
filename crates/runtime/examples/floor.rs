//! The floor under `run`: makes the kernel objects of `runc spec`'s container by the fewest calls, and judges, reports and checks nothing.
//!
//! `floor ROOTFS NAME HIERARCHY…`: a group in each hierarchy (the version 2 tree last), one clone, the mounts, nodes, masks and capabilities,
//! then `/bin/true` and the groups' end. What `onggi-runtime run` takes beside this is its own; `bench/run` compares the two.
#![allow(clippy::unwrap_used)]

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use onggi_sys::clone::{Clone, Forked, clone3};
use onggi_sys::mount::{MountAttributes, mount_setattr};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// Mount, pid, network, IPC and UTS namespaces.
const NAMESPACES: u64 = 0x0002_0000 | 0x2000_0000 | 0x4000_0000 | 0x0800_0000 | 0x0400_0000;
const CGROUP_NAMESPACE: i32 = 0x0200_0000;
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];
/// `runc spec`'s, as far as kernels have them.
const MASKED: [&str; 6] =
    ["proc/acpi", "proc/kcore", "proc/keys", "proc/timer_list", "proc/scsi", "sys/firmware"];
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];
/// CAP_KILL, CAP_NET_BIND_SERVICE and CAP_AUDIT_WRITE.
const KEPT: u64 = 1 << 5 | 1 << 10 | 1 << 29;

/// The container's group in one hierarchy, and that hierarchy's name.
struct Group {
    path: PathBuf,
    hierarchy: String,
}

impl Group {
    fn new(mount: String, name: &str) -> Group {
        let mount = Path::new(&mount);
        let hierarchy = mount.file_name().unwrap().to_str().unwrap().to_owned();
        Group { path: mount.join(name), hierarchy }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (rootfs, name) = (arguments.next().unwrap(), arguments.next().unwrap());
    let groups: Vec<Group> = arguments.map(|hierarchy| Group::new(hierarchy, &name)).collect();
    for group in &groups {
        std::fs::create_dir(&group.path).unwrap();
    }
    for file in ["cpuset.cpus", "cpuset.mems"] {
        for Group { path, .. } in groups.iter().filter(|group| group.hierarchy == "cpuset") {
            let parent = std::fs::read_to_string(path.parent().unwrap().join(file)).unwrap();
            std::fs::write(path.join(file), parent).unwrap();
        }
    }
    let (unified, others) = groups.split_last().unwrap();
    let unified =
        rustix::fs::open(&unified.path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let unified = unified.unwrap();
    match clone3(&Clone { flags: NAMESPACES, cgroup: Some(unified.as_fd()) }).unwrap() {
        Forked::Child => child(Path::new(&rootfs), others),
        Forked::Parent { pid, .. } => {
            let pid = rustix::process::Pid::from_raw(pid);
            let (_, status) =
                rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0));
            groups.iter().for_each(|group| std::fs::remove_dir(&group.path).unwrap());
        }
    }
}

fn child(rootfs: &Path, groups: &[Group]) {
    for group in groups {
        std::fs::write(group.path.join("tasks"), "0").unwrap();
    }
    onggi_sys::namespace::unshare(CGROUP_NAMESPACE).unwrap();
    rustix::mount::mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC).unwrap();
    rustix::mount::mount_bind(rootfs, rootfs).unwrap();
    std::env::set_current_dir(rootfs).unwrap();
    mounts(groups);
    let (null, empty) =
        (Path::new("/dev/null"), new("tmpfs", "sys/firmware", MountFlags::RDONLY, "nr_inodes=1"));
    for path in MASKED.into_iter().filter(|path| Path::new(path).exists()) {
        let cover = if Path::new(path).is_dir() { empty } else { null };
        // The first directory is what the others are covered with.
        if cover != Path::new(path) {
            rustix::mount::mount_bind(cover, path).unwrap();
        }
    }
    for path in READ_ONLY.into_iter().filter(|path| Path::new(path).exists()) {
        rustix::mount::mount_bind(path, path).unwrap();
        read_only(&open(path));
    }
    let old = open("/");
    rustix::process::pivot_root(".", ".").unwrap();
    rustix::process::fchdir(&old).unwrap();
    rustix::mount::unmount(".", UnmountFlags::DETACH).unwrap();
    rustix::process::chdir("/").unwrap();
    read_only(&open("/"));
    become_the_program();
}

fn mounts(groups: &[Group]) {
    let [nosuid, noexec, nodev] = [MountFlags::NOSUID, MountFlags::NOEXEC, MountFlags::NODEV];
    new("proc", "proc", MountFlags::empty(), "");
    new("tmpfs", "dev", nosuid, "mode=755,size=65536k");
    for name in ["dev/pts", "dev/shm", "dev/mqueue"] {
        std::fs::create_dir(name).unwrap();
    }
    new("devpts", "dev/pts", nosuid | noexec, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    new("tmpfs", "dev/shm", nosuid | noexec | nodev, "mode=1777,size=65536k");
    new("mqueue", "dev/mqueue", nosuid | noexec | nodev, "");
    new("sysfs", "sys", nosuid | noexec | nodev | MountFlags::RDONLY, "");
    new("tmpfs", "sys/fs/cgroup", nosuid | noexec | nodev, "mode=755");
    for group in groups {
        let here = Path::new("sys/fs/cgroup").join(&group.hierarchy);
        std::fs::create_dir(&here).unwrap();
        rustix::mount::mount_bind(&group.path, &here).unwrap();
        read_only(&open(here));
    }
    for (name, major, minor) in NODES {
        let (path, number) = (Path::new("dev").join(name), rustix::fs::makedev(major, minor));
        rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o666), number)
            .unwrap();
    }
    for (target, name) in LINKS {
        symlink(target, Path::new("dev").join(name)).unwrap();
    }
}

fn become_the_program() {
    rustix::system::sethostname(b"runc").unwrap();
    onggi_sys::interface::loopback_up().unwrap();
    onggi_sys::keyring::join_session(c"_ses.floor").unwrap();
    rustix::process::setsid().unwrap();
    rustix::thread::set_no_new_privs(true).unwrap();
    for number in (0..41).filter(|number| KEPT >> number & 1 == 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::remove_capability_from_bounding_set(one).unwrap();
    }
    let kept = CapabilitySet::from_bits_retain(KEPT);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).unwrap();
    onggi_sys::process::set_limit(7, 1024, 1024).unwrap();
    let error = onggi_sys::process::execve(c"/bin/true", &[CString::from(c"true")], &[]);
    panic!("exec: {error}");
}

fn new<'a>(kind: &str, at: &'a str, flags: MountFlags, options: &str) -> &'a Path {
    let options = CString::new(options).unwrap();
    rustix::mount::mount(kind, at, kind, flags, options.as_c_str()).unwrap();
    Path::new(at)
}

fn open(path: impl AsRef<Path>) -> OwnedFd {
    rustix::fs::open(path.as_ref(), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .or_else(|_| rustix::fs::open(path.as_ref(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()))
        .unwrap()
}

fn read_only(mount: &OwnedFd) {
    mount_setattr(mount.as_fd(), false, MountAttributes { set: 1, ..MountAttributes::default() }).unwrap();
}
