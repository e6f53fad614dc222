//! Mounts, made detached and then moved onto descriptors of their targets.
//!
//! No target is ever a path: between resolving a path and mounting on it, it could be swapped for a link (CVE-2021-30465).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    open_tree,
};

use onggi_sys::mount::{MountAttributes, mount_setattr};

use super::child::Child;
use super::copy;
use super::problem::{Doing, Outcome, Problem};
use super::root::{self, Target};
use super::sources;
use crate::plan::{Attributes, Mount, Propagation, PropagationKind, Root, Source};

/// `fsconfig(2)` takes strings up to this long, without the final zero.
const LONGEST_VALUE: usize = 255;
/// In `MOUNT_ATTR_…`.
pub(super) const READ_ONLY: u64 = 1;

/// Copied mounts: what is mounted here is not to reach the host.
pub(super) fn set_propagation(propagation: Propagation) -> Outcome {
    let path = CWD;
    let everything = rustix::fs::openat(path, "/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let everything = everything.doing(|| "open /")?;
    propagate(everything.as_fd(), propagation).doing(|| "set the propagation of all mounts")
}

/// Mounts the root and holds it.
pub(super) fn mount_root(root: &Root, at: Option<&Path>, part_from_host: bool) -> Outcome<root::Root> {
    if let Some(at) = at.filter(|_| part_from_host) {
        make_private_below(at)?;
    }
    let here = match at {
        Some(at) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            Some(
                rustix::fs::openat(CWD, at, flags, Mode::empty())
                    .doing(|| format!("open {}", at.display()))?,
            )
        }
        None => None,
    };
    let mount = match root {
        Root::Overlay { lower, upper, work, volatile, user_attributes } => {
            let lower: Vec<&Path> = lower.iter().map(AsRef::as_ref).collect();
            let options = [(*volatile, "volatile"), (*user_attributes, "userxattr")];
            let options: Vec<&str> =
                options.into_iter().filter(|(wanted, _)| *wanted).map(|(_, name)| name).collect();
            overlay(&lower, upper, work, &options)?
        }
        Root::Directory { path } => {
            clone_tree(CWD, path, true).doing(|| format!("open_tree {}", path.display()))?
        }
    };
    match here {
        Some(here) => attach(mount.as_fd(), here.as_fd()).doing(|| "mount the root")?,
        None => {
            // Or what is mounted inside would be passed on to where it came from.
            let private = Propagation { kind: PropagationKind::Private, recursive: true };
            propagate(mount.as_fd(), private).doing(|| "part the root from the host")?;
        }
    }
    Ok(root::Root::new(mount))
}

/// One mount of the specification.
pub(super) fn mount(child: &Child<'_>, mount: &Mount, index: u32) -> Outcome {
    let destination = &mount.destination;
    match &mount.source {
        Source::Bind { path, recursive, outside, ids } => {
            let what = || format!("bind mount of {} to {destination}", path.display());
            let tree = if *outside {
                let socket = child.outside.as_ref();
                let socket = socket.ok_or_else(|| Problem::new("nobody would open the source of a mount"))?;
                let source = sources::ask(socket, index).map_err(|problem| problem.below(&what()))?;
                if ids.is_some() { source } else { clone_tree(&source, "", *recursive).doing(what)? }
            } else {
                clone_tree(CWD, path, *recursive).doing(what)?
            };
            if destination == "/proc" && magic(tree.as_fd())? != PROC_SUPER_MAGIC {
                let message = "\"/proc\" cannot be mounted because it is not of type proc";
                return Err(Problem::new(message));
            }
            let is_directory = root::is_directory(&tree).doing(|| format!("fstat {}", path.display()))?;
            let kind = if is_directory { Target::Directory } else { Target::File };
            let target = child.root()?.target(destination, kind).doing(|| format!("make {destination}"))?;
            // The kernel would say ENOTDIR as well; this names both.
            if is_directory != root::is_directory(&target).doing(|| format!("fstat {destination}"))? {
                let message = format!(
                    "mount of {} to {destination}: not a directory: one is a directory and the other is not",
                    path.display()
                );
                return Err(Problem { errno: Errno::NOTDIR.raw_os_error(), message });
            }
            finish(tree.as_fd(), target.as_fd(), mount)
        }
        Source::New { kind, source, options } => {
            let there =
                if kind == "tmpfs" { child.root()?.open(destination, OFlags::PATH).ok() } else { None };
            let target = new_target(child, kind, destination)?;
            let mut options = options.clone();
            if let Some(there) = there {
                let stat = rustix::fs::statat(&there, "", AtFlags::EMPTY_PATH)
                    .doing(|| format!("fstat {destination}"))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                    let message = format!("mount {kind} at {destination}: not a directory");
                    return Err(Problem { errno: Errno::NOTDIR.raw_os_error(), message });
                }
                // As runc: it takes the mode of what it hides. Where there was nothing the kernel's 1777 stands.
                if !options.iter().any(|option| option.starts_with("mode=")) {
                    options.push(format!("mode={:o}", stat.st_mode & 0o7777));
                }
            }
            let tree = new(kind, source.as_deref(), &options, mount.attributes)
                .map_err(|problem| problem.below(&format!("mount {kind} at {destination}")))?;
            if mount.copy_up {
                let below = child.procfs.reopen(&target, OFlags::RDONLY | OFlags::DIRECTORY);
                let below = below.doing(|| format!("open {destination}"))?;
                copy::copy_tree(&below, tree.as_fd()).map_err(|problem| problem.below("tmpcopyup"))?;
            }
            finish(tree.as_fd(), target.as_fd(), mount)
        }
    }
}

/// A new file system, mounted nowhere yet.
pub(super) fn new(
    kind: &str,
    source: Option<&str>,
    options: &[String],
    attributes: Attributes,
) -> Outcome<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).doing(|| format!("fsopen {kind}"))?;
    configure(&context, "source", Some(source.unwrap_or(kind)))?;
    // The kinds that only show the kernel's state have one state for all: read-only is then the mount's affair alone.
    let on_disk = !matches!(kind, "proc" | "sysfs" | "tmpfs" | "devpts" | "mqueue" | "ramfs" | "devtmpfs");
    if on_disk && attributes.set & READ_ONLY != 0 {
        configure(&context, "ro", None)?;
    }
    for option in options {
        match option.split_once('=') {
            Some((key, value)) => configure(&context, key, Some(value))?,
            None => configure(&context, option, None)?,
        }
    }
    fsconfig_create(&context).map_err(|error| complaint(&context, "fsconfig create", error))?;
    let flags = MountAttrFlags::from_bits_retain(attributes.set as u32);
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, flags).doing(|| "fsmount")
}

/// A copy of what is mounted at a path, mounted nowhere yet.
pub(super) fn clone_tree(
    directory: impl AsFd,
    path: impl rustix::path::Arg,
    recursive: bool,
) -> Result<OwnedFd, Errno> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags |= OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(directory, path, flags)
}

/// Mounts a detached tree on what the target holds.
pub(super) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// Changes the flags of a mount, and of everything below it if `recursive`.
pub(super) fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> std::io::Result<()> {
    if attributes == Attributes::default() {
        return Ok(());
    }
    let Attributes { set, clear } = attributes;
    mount_setattr(mount, recursive, MountAttributes { set, clear, ..MountAttributes::default() })
}

/// Makes a mount shared, slave, private or unbindable.
pub(super) fn propagate(mount: BorrowedFd<'_>, propagation: Propagation) -> std::io::Result<()> {
    let flag = match propagation.kind {
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    };
    mount_setattr(
        mount,
        propagation.recursive,
        MountAttributes { propagation: flag.bits().into(), ..MountAttributes::default() },
    )
}

pub(super) fn magic(descriptor: BorrowedFd<'_>) -> Outcome<rustix::fs::FsWord> {
    Ok(rustix::fs::fstatfs(descriptor).doing(|| "fstatfs")?.f_type)
}

fn finish(tree: BorrowedFd<'_>, target: BorrowedFd<'_>, mount: &Mount) -> Outcome {
    let destination = &mount.destination;
    if matches!(mount.source, Source::Bind { .. }) {
        set_attributes(tree, mount.attributes, false).doing(|| format!("mount_setattr {destination}"))?;
    }
    set_attributes(tree, mount.recursive, true).doing(|| format!("mount_setattr {destination}"))?;
    // The planner has let through only harmless files below /proc; a link that leads there is an attack (CVE-2019-19921).
    if !destination.starts_with("/proc") && magic(target)? == PROC_SUPER_MAGIC {
        return Err(Problem::new(format!("{destination:?} cannot be mounted because it is inside /proc")));
    }
    // Before it is attached: what is mounted on it next must not go where this came from, and in a tree without a namespace only a root
    // can be changed.
    if let Some(propagation) = mount.propagation {
        propagate(tree, propagation).doing(|| format!("set the propagation of {destination}"))?;
    }
    attach(tree, target).doing(|| format!("mount at {destination}"))
}

/// /proc and /sys decide about security: they go onto real directories, not where a link of the image's leads (CVE-2019-19921,
/// CVE-2023-27561, CVE-2025-54867).
fn new_target(child: &Child<'_>, kind: &str, destination: &str) -> Outcome<OwnedFd> {
    let root = child.root()?;
    if !matches!(kind, "proc" | "sysfs") {
        return root.target(destination, Target::Directory).doing(|| format!("make {destination}"));
    }
    match root.open_without_links(destination, OFlags::PATH) {
        Ok(target) if root::is_directory(&target).doing(|| "fstat")? => Ok(target),
        Err(error) if root::is(&error, Errno::NOENT) => {
            let made = root.target(destination, Target::Directory).doing(|| format!("make {destination}"))?;
            drop(made);
            root.open_without_links(destination, OFlags::PATH | OFlags::DIRECTORY)
                .doing(|| format!("open {destination}"))
        }
        _ => Err(Problem {
            errno: Errno::NOTDIR.raw_os_error(),
            message: format!("filesystem {kind:?} must be mounted on ordinary directory"),
        }),
    }
}

fn overlay(lower: &[&Path], upper: &Path, work: &Path, options: &[&str]) -> Outcome<OwnedFd> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).doing(|| "fsopen overlay")?;
    configure(&context, "source", Some("overlay"))?;
    let mut held = Vec::new();
    for layer in lower {
        // `lowerdir+` takes one layer at a time (Linux 6.5).
        let path = short_path(layer, &mut held)?;
        match fsconfig_set_string(&context, "lowerdir+", path.as_str()) {
            Ok(()) => {}
            Err(error) => {
                return Err(complaint(&context, &format!("overlay layer {}", layer.display()), error));
            }
        }
    }
    let upper_path = short_path(upper, &mut held)?;
    configure(&context, "upperdir", Some(&upper_path))?;
    let work_path = short_path(work, &mut held)?;
    configure(&context, "workdir", Some(&work_path))?;
    if options.contains(&"volatile") {
        forget_earlier_volatile_mount(work);
    }
    for option in options {
        configure(&context, option, None)?;
    }
    if let Err(error) = fsconfig_create(&context) {
        let problem = complaint(&context, "mount overlay", error);
        // Before Linux 6.5 any option is taken, and refused only here.
        return if error == Errno::INVAL {
            classic_overlay(lower, upper, work, options).map_err(|_| problem)
        } else {
            Err(problem)
        };
    }
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).doing(|| "fsmount overlay")
}

/// overlayfs marks a work directory that was once mounted so, and never mounts it again, as a power cut may have left half of it. Such
/// trees do not outlive the machine's run anyway: a second start in the same run finds what the first wrote.
fn forget_earlier_volatile_mount(work: &Path) {
    let mark = work.join("work/incompat/volatile");
    // Nothing to forget, mostly; if it cannot be removed the mount says so.
    if rustix::fs::unlinkat(CWD, mark.join("dirty"), AtFlags::empty()).is_ok() {
        let _ = rustix::fs::unlinkat(CWD, mark, AtFlags::REMOVEDIR);
    }
}

/// Before Linux 6.5 all layers are one string, which `fsconfig(2)` would cut at 255 bytes; `mount(2)` takes a page. Descriptors as paths
/// keep even a hundred layers below that. It is mounted on the upper directory, which nobody else sees, and taken up again from there.
fn classic_overlay(lower: &[&Path], upper: &Path, work: &Path, options: &[&str]) -> Outcome<OwnedFd> {
    let mut held = Vec::new();
    let mut by_descriptor = |path: &Path| descriptor_path(path, &mut held);
    let layers = lower.iter().map(|path| by_descriptor(path)).collect::<Outcome<Vec<_>>>()?.join(":");
    let (upper_path, work_path) = (by_descriptor(upper)?, by_descriptor(work)?);
    let options = options.iter().fold(String::new(), |text, option| text + "," + option);
    let data = format!("lowerdir={layers},upperdir={upper_path},workdir={work_path}{options}");
    let data = std::ffi::CString::new(data).map_err(|_| Problem::new("overlay: a path holds a zero byte"))?;
    rustix::mount::mount("overlay", upper, "overlay", MountFlags::empty(), data.as_c_str())
        .doing(|| "mount overlay")?;
    let tree = clone_tree(CWD, upper, false).doing(|| "open_tree overlay")?;
    rustix::mount::unmount(upper, rustix::mount::UnmountFlags::DETACH)
        .doing(|| "unmount the first overlay")?;
    Ok(tree)
}

/// The path, or one through a descriptor if it is too long for `fsconfig(2)`.
fn short_path(path: &Path, held: &mut Vec<OwnedFd>) -> Outcome<String> {
    match path.to_str() {
        Some(text) if text.len() <= LONGEST_VALUE => Ok(text.to_owned()),
        _ => descriptor_path(path, held),
    }
}

fn descriptor_path(path: &Path, held: &mut Vec<OwnedFd>) -> Outcome<String> {
    use std::os::fd::AsRawFd;
    let directory =
        rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let directory = directory.doing(|| format!("open {}", path.display()))?;
    let text = format!("/proc/self/fd/{}", directory.as_raw_fd());
    held.push(directory);
    Ok(text)
}

fn configure(context: &OwnedFd, key: &str, value: Option<&str>) -> Outcome {
    let result = match value {
        Some(value) => fsconfig_set_string(context, key, value),
        None => fsconfig_set_flag(context, key),
    };
    result.map_err(|error| {
        let value = value.map(|value| format!("={value}")).unwrap_or_default();
        complaint(context, &format!("option {key}{value}"), error)
    })
}

/// The file system's own words, which it leaves in its context: "e overlay: …".
fn complaint(context: &OwnedFd, what: &str, error: Errno) -> Problem {
    let mut text = [0_u8; 512];
    let mut problem = Problem::of(what, error);
    while let Ok(length @ 1..) = rustix::io::read(context, &mut text) {
        let line = String::from_utf8_lossy(&text[..length]);
        let line = line.trim();
        problem.message.push_str(&format!(" ({})", line.strip_prefix("e ").unwrap_or(line)));
    }
    problem
}

/// The mount that holds `at` must not pass on what is mounted on it.
fn make_private_below(at: &Path) -> Outcome {
    use rustix::fs::{StatxAttributes, StatxFlags, statx};
    for path in at.ancestors() {
        let stat = statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE)
            .doing(|| format!("statx {}", path.display()))?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            let mount = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
            let mount = mount.doing(|| format!("open {}", path.display()))?;
            let private = Propagation { kind: PropagationKind::Private, recursive: false };
            return propagate(mount.as_fd(), private).doing(|| format!("make {} private", path.display()));
        }
    }
    Err(Problem::new(format!("{}: on no mount", at.display())))
}
