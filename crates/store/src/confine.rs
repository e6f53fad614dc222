//! What a process gives up before it reads an archive: all but the directory that it fills, the layers below, and the calls that make files.
//!
//! Each measure is whole by itself, so that one may fail. A mount of the directory alone, on which no device can be opened, no program executed and no link
//! followed, is its root directory; the layers below are mounts that cannot be written. It has namespaces of its own, seven capabilities, Landlock's leave
//! to write below the directory and read the layers, and a seccomp filter that lists what unpacking calls. docs/decisions/0016-unpacking.md says why it
//! keeps its user.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use onggi_oci::{Seccomp, Syscall, SyscallArg};
use onggi_seccomp::Arch;
use onggi_sys::mount::{MountAttributes, mount_setattr};
use onggi_sys::{landlock, namespace, process, seccomp};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, OpenTreeFlags, open_tree};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// `CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS`
const NAMESPACES: i32 = 0x0002_0000 | 0x4000_0000 | 0x0800_0000 | 0x0400_0000;
/// `RLIMIT_CORE` and `RLIMIT_AS`, with what each may be. The tree of a layer is in memory while it is read, within its limits.
const RESOURCES: [(u32, u64); 2] = [(4, 0), (9, 4 << 30)];

/// What it takes to give files their owners, permissions, attributes and kinds. SYS_ADMIN is for attributes in `trusted.`, and of what else it would
/// allow the filter lets nothing through.
const CAPABILITIES: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SYS_ADMIN);

/// What unpacking calls, and the C library and the runtime beneath it: for memory, for an end, for a panic's message. Names that a machine does not have
/// are no harm.
const CALLS: [&str; 56] = [
    "brk",
    "clock_gettime",
    "close",
    "exit",
    "exit_group",
    "fchdir",
    "fchmod",
    "fchmodat",
    "fchown",
    "fchownat",
    "fgetxattr",
    "flistxattr",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "ftruncate",
    "futex",
    "getdents64",
    "getpid",
    "getrandom",
    "gettid",
    "lgetxattr",
    "linkat",
    "llistxattr",
    "lseek",
    "lsetxattr",
    "madvise",
    "mkdirat",
    "mknodat",
    "mremap",
    "munmap",
    "newfstatat",
    "openat",
    "poll",
    "ppoll",
    "pread64",
    "pwrite64",
    "read",
    "readlinkat",
    "readv",
    "renameat",
    "renameat2",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_yield",
    "sigaltstack",
    "statx",
    "symlinkat",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
    "rseq",
    "set_robust_list",
];
/// Calls of which one value of an argument is allowed, by its number: memory that is not executable (`PROT_EXEC`), and of `fcntl` a descriptor's copy and
/// flags (`F_GETFD`, `F_GETFL`, `F_DUPFD_CLOEXEC`).
const JUDGED: [(&str, u32, &str, u64, u64); 5] = [
    ("mmap", 2, "SCMP_CMP_MASKED_EQ", 4, 0),
    ("mprotect", 2, "SCMP_CMP_MASKED_EQ", 4, 0),
    ("fcntl", 1, "SCMP_CMP_EQ", 1, 0),
    ("fcntl", 1, "SCMP_CMP_EQ", 3, 0),
    ("fcntl", 1, "SCMP_CMP_EQ", 1030, 0),
];

/// Calls that change a file by its descriptor alone. Standard input is the store's own tar, and no such call is for it or the pipes beside it.
const KEEP_OFF: [&str; 5] = ["fchmod", "fchown", "fchownat", "fsetxattr", "utimensat"];
/// `F_DUPFD` and `F_DUPFD_CLOEXEC`: a copy of one of these would have another number.
const COPIES: [u64; 2] = [0, 1030];
/// All of an argument that is a descriptor or a command: of the rest the kernel takes no notice.
const DESCRIPTOR: u64 = 0xffff_ffff;

/// What is left.
#[derive(Debug)]
pub(crate) struct Confined {
    pub(crate) root: OwnedFd,
    pub(crate) lower: Vec<OwnedFd>,
}

/// The step that failed.
type Failure = (&'static str, io::Error);

fn failed<E: Into<io::Error>>(step: &'static str) -> impl FnOnce(E) -> Failure {
    move |error| (step, error.into())
}

/// Gives up, for the calling thread and its children and for good, all but a directory and the layers below.
pub(crate) fn confine(directory: &Path, lower: &[PathBuf]) -> Result<Confined, Failure> {
    namespace::unshare(NAMESPACES).map_err(failed("unshare namespaces of"))?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).map_err(failed("make the mounts private of"))?;
    let root = alone(directory, false).map_err(failed("mount the directory of"))?;
    let lower = lower.iter().map(|path| alone(path, true)).collect::<io::Result<Vec<_>>>();
    let lower = lower.map_err(failed("mount the layers below for"))?;
    rustix::process::fchdir(&root).map_err(failed("change the directory of"))?;
    rustix::process::chroot(".").map_err(failed("change the root directory of"))?;
    for (resource, most) in RESOURCES {
        let had = process::limit(resource).map_err(failed("ask for a limit of"))?;
        let most = most.min(had.1);
        process::set_limit(resource, most, most).map_err(failed("limit"))?;
    }
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs of"))?;
    let had = rustix::thread::capabilities(None).map_err(failed("ask for the capabilities of"))?;
    let kept = had.permitted & CAPABILITIES;
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("drop capabilities of"))?;
    let readable: Vec<BorrowedFd<'_>> = lower.iter().map(AsFd::as_fd).collect();
    match landlock::confine(&[root.as_fd()], &readable) {
        // A kernel that was built or booted without it: the rest has to do.
        Err(error) if matches!(error.raw_os_error(), Some(38 | 95)) => {}
        other => other.map_err(failed("restrict by Landlock"))?,
    }
    filter()?;
    Ok(Confined { root, lower })
}

/// A mount of a directory that is nowhere else, so that nothing leads up from it.
fn alone(directory: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(rustix::fs::CWD, directory, flags)?;
    let mut set = MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
    if read_only {
        set |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let attributes = MountAttributes { set: set.bits().into(), ..MountAttributes::default() };
    mount_setattr(tree.as_fd(), false, attributes)?;
    // `tree` says only where it is.
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&tree, ".", open, Mode::empty())?)
}

/// Whatever is not listed fails with EPERM, and so does what would change a file behind one of the first three descriptors, or copy one: that is a filter of its own, since
/// in one list any rule that allows is enough.
fn filter() -> Result<(), Failure> {
    let rule = |action: &str, names: &[&str], args| Syscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.to_owned(),
        errno_ret: None,
        args,
    };
    let (allow, deny) = ("SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO");
    let is = |index, value_two| SyscallArg {
        index,
        value: DESCRIPTOR,
        value_two,
        op: "SCMP_CMP_MASKED_EQ".to_owned(),
    };
    let mut off = Vec::new();
    for descriptor in 0..3 {
        off.push(rule(deny, &KEEP_OFF, vec![is(0, descriptor)]));
        off.extend(COPIES.map(|copy| rule(deny, &["fcntl"], vec![is(0, descriptor), is(1, copy)])));
    }
    load(allow, off)?;
    let mut listed = vec![rule(allow, &CALLS, Vec::new())];
    for (name, index, op, value, value_two) in JUDGED {
        listed.push(rule(allow, &[name], vec![SyscallArg { index, value, value_two, op: op.to_owned() }]));
    }
    load(deny, listed)
}

fn load(default: &str, syscalls: Vec<Syscall>) -> Result<(), Failure> {
    let profile = Seccomp { default_action: default.to_owned(), syscalls, ..Seccomp::default() };
    let program = onggi_seccomp::compile(&profile, Arch::NATIVE)
        .map_err(|error| ("compile the system calls of", io::Error::other(error)))?;
    seccomp::load(&program.to_bytes(), program.flags).map_err(failed("filter the system calls of"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use rustix::fs::{AtFlags, FileType, mknodat, openat, statat};
    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    /// What somebody would call who has taken over the unpacking code. All of it binds threads, so that a test can try it in one of its own.
    #[test]
    fn one_that_is_confined_can_make_files_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let (own, below) = (place.path().join("own"), place.path().join("below"));
        for directory in [&own, &below] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(below.join("file"), "below").unwrap();
        fs::write(place.path().join("secret"), "secret").unwrap();
        symlink("target", own.join("link")).unwrap();
        fs::write(own.join("target"), "").unwrap();
        let absolute = place.path().join("secret");
        let tried = std::thread::spawn(move || {
            let Confined { root, lower } = confine(&own, &[below]).unwrap();
            let read =
                |from: &OwnedFd, path: &str| openat(from, path, OFlags::RDONLY, Mode::empty()).map(drop);
            let mode = Mode::from_raw_mode(0o666);
            // A memory device: were it opened, nothing would be read.
            let null = rustix::fs::makedev(1, 3);
            mknodat(&root, "device", FileType::CharacterDevice, mode, null).unwrap();
            openat(&root, "made", OFlags::WRONLY | OFlags::CREATE, mode).unwrap();
            read(&lower[0], "file").unwrap();
            let inode = |path: &str| statat(&lower[0], path, AtFlags::empty()).unwrap().st_ino;
            assert_eq!(inode(".."), inode("."), "nothing is above a layer");
            rustix::fs::fchmod(&root, Mode::from_raw_mode(0o700)).unwrap();
            rustix::fs::fchmod(
                rustix::io::fcntl_dupfd_cloexec(&root, 3).unwrap(),
                Mode::from_raw_mode(0o700),
            )
            .unwrap();
            rustix::io::fcntl_getfd(io::stdin()).unwrap();
            rustix::fs::fcntl_getfl(io::stdin()).unwrap();
            let instant = || rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
            let now = rustix::fs::Timestamps { last_access: instant(), last_modification: instant() };
            let code = |result: io::Result<()>| result.err().and_then(|error| error.raw_os_error());
            vec![
                ("open a device", Errno::ACCESS, code(read(&root, "device").map_err(Into::into))),
                ("follow a link", Errno::LOOP, code(read(&root, "link").map_err(Into::into))),
                ("an absolute path", Errno::NOENT, code(fs::metadata(&absolute).map(drop))),
                ("the host's files", Errno::NOENT, code(fs::metadata("/etc/passwd").map(drop))),
                (
                    "change a file below",
                    Errno::ROFS,
                    code(rustix::fs::chmodat(&lower[0], "file", mode, AtFlags::empty()).map_err(Into::into)),
                ),
                // CLONE_NEWUTS: CAP_SYS_ADMIN is enough for that.
                ("unshare", Errno::PERM, code(namespace::unshare(0x0400_0000))),
                (
                    "socket",
                    Errno::PERM,
                    code(
                        rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)
                            .map(drop)
                            .map_err(Into::into),
                    ),
                ),
                ("socketpair", Errno::PERM, code(std::os::unix::net::UnixStream::pair().map(drop))),
                // Newer than all that is listed.
                (
                    "fsopen",
                    Errno::NOSYS,
                    code(
                        rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::empty())
                            .map(drop)
                            .map_err(Into::into),
                    ),
                ),
                (
                    "change standard input",
                    Errno::PERM,
                    code(rustix::fs::fchmod(io::stdin(), mode).map_err(Into::into)),
                ),
                (
                    "give standard input away",
                    Errno::PERM,
                    code(rustix::fs::fchown(io::stdin(), None, None).map_err(Into::into)),
                ),
                (
                    "give it away by its descriptor",
                    Errno::PERM,
                    code(
                        rustix::fs::chownat(io::stdin(), "", None, None, AtFlags::EMPTY_PATH)
                            .map_err(Into::into),
                    ),
                ),
                (
                    "date standard output",
                    Errno::PERM,
                    code(rustix::fs::futimens(io::stdout(), &now).map_err(Into::into)),
                ),
                (
                    "a copy of standard input",
                    Errno::PERM,
                    code(
                        rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3)
                            .and_then(|copy| rustix::fs::fchmod(copy, mode))
                            .map_err(Into::into),
                    ),
                ),
                (
                    "a copy that is left to programs",
                    Errno::PERM,
                    code(rustix::io::dup(io::stdout()).map(drop).map_err(Into::into)),
                ),
                ("bind", Errno::PERM, code(rustix::mount::mount_bind(".", ".").map_err(Into::into))),
                ("chroot", Errno::PERM, code(rustix::process::chroot(".").map_err(Into::into))),
                (
                    "kill",
                    Errno::PERM,
                    code(process::kill(rustix::process::getpid().as_raw_nonzero().get(), 0)),
                ),
                ("a limit", Errno::PERM, code(process::set_limit(4, 0, 0))),
            ]
        });
        for (what, expected, found) in tried.join().unwrap() {
            assert_eq!(found, Some(expected.raw_os_error()), "{what}");
        }
    }
}
