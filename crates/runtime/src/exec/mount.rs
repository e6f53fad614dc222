//! The mounts of the plan, each put onto a descriptor of its target.
//!
//! No target is ever a path: between resolving a path and mounting on it, it could be swapped for a link (CVE-2021-30465).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::{self, Target};
use super::tree::{Tree, copy_of, magic, propagate, set_attributes};
use super::{classic, copy, overlay, sources};
use crate::plan::{Mount, Propagation, PropagationKind, Root, Source};

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
            overlay::overlay(&lower, upper, work, &options)?
        }
        Root::Directory { path } => copy_of(path, true).doing(|| format!("open_tree {}", path.display()))?,
    };
    let mount = match here {
        Some(here) => mount.attach(here.as_fd(), || "mount the root".to_owned())?,
        None => {
            let mount = mount.into_detached().map_err(|problem| problem.below("mount the root nowhere"))?;
            // Or what is mounted inside would be passed on to where it came from.
            let private = Propagation { kind: PropagationKind::Private, recursive: true };
            propagate(mount.as_fd(), private).doing(|| "part the root from the host")?;
            mount
        }
    };
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
                if ids.is_some() {
                    Tree::detached(source)
                } else {
                    Tree::copy(&source, "", *recursive).doing(what)?
                }
            } else {
                copy_of(path, *recursive).doing(what)?
            };
            if destination == "/proc" && !tree.is_of(PROC_SUPER_MAGIC)? {
                let message = "\"/proc\" cannot be mounted because it is not of type proc";
                return Err(Problem::new(message));
            }
            let is_directory = tree.is_directory().doing(|| format!("fstat {}", path.display()))?;
            let kind = if is_directory { Target::Directory } else { Target::File };
            let target = child.root()?.target(destination, kind).doing(|| format!("make {destination}"))?;
            // The kernel would say ENOTDIR as well; this names both. Docker takes "is a directory" and "permission denied" for a program
            // that cannot be executed, wherever they are.
            if is_directory != root::is_directory(&target).doing(|| format!("fstat {destination}"))? {
                let (from, to) = if is_directory { ("directory", "file") } else { ("file", "directory") };
                let message = format!(
                    "mount of the {from} {} onto the {to} {destination}: not a directory",
                    path.display()
                );
                return Err(Problem { errno: Errno::NOTDIR.raw_os_error(), message });
            }
            finish(tree, target.as_fd(), mount).map(drop)
        }
        Source::Again { options } => again(child, mount, options.as_deref()),
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
            let tree = Tree::new(kind, source.as_deref(), &options, mount.attributes)
                .map_err(|problem| problem.below(&format!("mount {kind} at {destination}")))?;
            // Held before it is covered.
            let below = if mount.copy_up {
                let below = child.procfs.reopen(&target, OFlags::RDONLY | OFlags::DIRECTORY);
                Some(below.doing(|| format!("open {destination}"))?)
            } else {
                None
            };
            let mounted = finish(tree, target.as_fd(), mount)?;
            below.map_or(Ok(()), |below| {
                copy::copy_tree(&below, mounted.as_fd()).map_err(|problem| problem.below("tmpcopyup"))
            })
        }
    }
}

fn finish(mut tree: Tree, target: BorrowedFd<'_>, mount: &Mount) -> Outcome<OwnedFd> {
    let destination = &mount.destination;
    if let Source::Bind { path, .. } = &mount.source {
        // runc's words.
        let doing = || format!("error mounting {path:?} to rootfs at {destination:?}: mount_setattr");
        tree.set_leniently(mount.attributes, mount.implied).doing(doing)?;
    }
    tree.set(mount.recursive, true).doing(|| format!("mount_setattr {destination}"))?;
    // The planner has let through only harmless files below /proc; a link that leads there is an attack (CVE-2019-19921).
    if !destination.starts_with("/proc") && magic(target)? == PROC_SUPER_MAGIC {
        return Err(Problem::new(format!("{destination:?} cannot be mounted because it is inside /proc")));
    }
    // Before it is attached: what is mounted on it next must not go where this came from, and in a tree without a namespace only a root
    // can be changed.
    if let Some(propagation) = mount.propagation {
        tree.propagate(propagation).doing(|| format!("set the propagation of {destination}"))?;
    }
    tree.attach(target, || format!("mount at {destination}"))
}

fn again(child: &Child<'_>, mount: &Mount, options: Option<&[String]>) -> Outcome {
    let destination = &mount.destination;
    let there = child.root()?.open(destination, OFlags::PATH).doing(|| format!("open {destination}"))?;
    let doing = || format!("remount {destination}");
    match options {
        // What is no mount's root is refused by the kernel.
        None => set_attributes(there.as_fd(), mount.attributes, false).doing(doing)?,
        Some(options) => classic::remount(there.as_fd(), mount.attributes, options).doing(doing)?,
    }
    set_attributes(there.as_fd(), mount.recursive, true).doing(doing)?;
    mount.propagation.map_or(Ok(()), |propagation| propagate(there.as_fd(), propagation).doing(doing))
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
