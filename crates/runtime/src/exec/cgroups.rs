//! The container's view of its control groups.
//!
//! Its own directories are bound from the host's mounts, which makes no new superblock in any hierarchy; seen from its cgroup
//! namespace they are the roots. Without such a namespace a container on version 2 sees the host's tree, as with runc, read-only unless it
//! is privileged: writable, it would be a way out (CVE-2023-25809).

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome};
use super::root::{Target, is};
use super::tree::{Tree, copy_of, set_attributes};
use crate::plan::{Attributes, CgroupView, MountCgroups};

/// In `MOUNT_ATTR_…`.
const READ_ONLY: u64 = 1;

pub(super) fn mount(child: &Child<'_>, mount: &MountCgroups) -> Outcome {
    let destination = &mount.destination;
    let target =
        child.root()?.target(destination, Target::Directory).doing(|| format!("make {destination}"))?;
    match &mount.view {
        CgroupView::V2 { directory } | CgroupView::V2Host { directory } => {
            bind(directory, target.as_fd(), mount.attributes)?;
        }
        CgroupView::V1 { hierarchies, links } => {
            let writable = Attributes { set: mount.attributes.set & !READ_ONLY, clear: 0 };
            let top = Tree::new("tmpfs", None, &["mode=755".to_owned()], writable)?;
            let top = top.attach(target.as_fd(), || format!("mount a tmpfs at {destination}"))?;
            for (name, directory) in hierarchies {
                let mode = Mode::from_raw_mode(0o755);
                rustix::fs::mkdirat(&top, name, mode).doing(|| format!("mkdir {destination}/{name}"))?;
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let target = rustix::fs::openat(&top, name, flags, Mode::empty());
                let target = target.doing(|| format!("open {destination}/{name}"))?;
                bind(directory, target.as_fd(), mount.attributes)?;
            }
            for link in links {
                let made = rustix::fs::symlinkat(&link.target, &top, &link.path);
                made.doing(|| format!("symlink {destination}/{}", link.path))?;
            }
            if mount.attributes.set & READ_ONLY != 0 {
                let read_only = Attributes { set: READ_ONLY, clear: 0 };
                match set_attributes(top.as_fd(), read_only, false) {
                    // In a tree that is attached nowhere (Linux 6.15) it cannot be changed any more, and a copy over it can.
                    Err(error) if is(&error, Errno::INVAL) => {
                        let mut copy =
                            Tree::copy(&top, "", true).doing(|| format!("open_tree {destination}"))?;
                        copy.set(read_only, false).doing(|| format!("mount_setattr {destination}"))?;
                        copy.attach(target.as_fd(), || format!("make {destination} read-only"))?;
                    }
                    other => other.doing(|| format!("make {destination} read-only"))?,
                }
            }
        }
    }
    Ok(())
}

fn bind(directory: &std::path::Path, target: std::os::fd::BorrowedFd<'_>, attributes: Attributes) -> Outcome {
    let mut tree = copy_of(directory, false).doing(|| format!("open_tree {}", directory.display()))?;
    tree.set(attributes, false).doing(|| format!("mount_setattr {}", directory.display()))?;
    tree.attach(target, || format!("bind {}", directory.display())).map(drop)
}
