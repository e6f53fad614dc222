//! Paths that are hidden or made read-only.
//!
//! A hidden directory gets an empty read-only tmpfs, the same one for all (each superblock has its price); a hidden file gets the host's
//! /dev/null, opened once and checked, as the container's own might be a link to anything (CVE-2025-31133); and read-only, or the
//! container's root could change the mode and the owner of the host's node.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::root::{is, is_directory};
use super::tree::{Tree, set_attributes};
use crate::plan::Attributes;

const READ_ONLY: Attributes = Attributes { set: 1, clear: 0 };

/// What is not there needs no mask.
pub(super) fn mask(child: &Child<'_>, paths: &[String], label: Option<&str>) -> Outcome {
    let null = null_device()?;
    let mut empty: Option<OwnedFd> = None;
    for path in paths {
        let Some(target) = open_if_there(child, path)? else { continue };
        let cover = if !is_directory(&target).doing(|| format!("fstat {path}"))? {
            // Each from the host's: before Linux 6.15 what is attached nowhere cannot be cloned.
            let mut mask = Tree::copy(&null, "", false).doing(|| "open_tree /dev/null")?;
            mask.set(READ_ONLY, false).doing(|| format!("make the mask of {path} read-only"))?;
            mask
        } else if let Some(empty) = &empty {
            Tree::copy(empty, "", false).doing(|| "open_tree of the empty tmpfs")?
        } else {
            let label = label.map(|label| format!("context={label}"));
            let options = ["nr_inodes=1".to_owned(), "mode=755".to_owned()].into_iter().chain(label);
            Tree::new("tmpfs", None, &options.collect::<Vec<_>>(), READ_ONLY)?
        };
        let is_first = empty.is_none() && cover.is_directory().doing(|| "fstat")?;
        let cover = cover.attach(target.as_fd(), || format!("mask {path}"))?;
        if is_first {
            empty = Some(cover);
        }
    }
    Ok(())
}

/// Binds each path on itself, read-only with everything below.
pub(super) fn make_read_only(child: &Child<'_>, paths: &[String]) -> Outcome {
    for path in paths {
        let Some(target) = open_if_there(child, path)? else { continue };
        let mut tree = Tree::copy(&target, "", true).doing(|| format!("open_tree {path}"))?;
        tree.set(READ_ONLY, true).doing(|| format!("make {path} read-only"))?;
        tree.attach(target.as_fd(), || format!("mount {path} read-only"))?;
    }
    Ok(())
}

/// Makes whole mounts read-only.
pub(super) fn make_mounts_read_only(child: &Child<'_>, destinations: &[String]) -> Outcome {
    for path in destinations {
        let mount = child.root()?.open(path, OFlags::PATH).doing(|| format!("open {path}"))?;
        set_attributes(mount.as_fd(), READ_ONLY, false).doing(|| format!("make {path} read-only"))?;
    }
    Ok(())
}

fn open_if_there(child: &Child<'_>, path: &str) -> Outcome<Option<OwnedFd>> {
    match child.root()?.open(path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(error) if is(&error, Errno::NOENT) || is(&error, Errno::NOTDIR) => Ok(None),
        Err(error) => Err(Problem::of(format_args!("open {path}"), error)),
    }
}

fn null_device() -> Outcome<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let null = rustix::fs::openat(CWD, "/dev/null", flags, Mode::empty()).doing(|| "open /dev/null")?;
    let stat = rustix::fs::statat(&null, "", AtFlags::EMPTY_PATH).doing(|| "fstat /dev/null")?;
    let character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if character && stat.st_rdev == rustix::fs::makedev(1, 3) {
        Ok(null)
    } else {
        Err(Problem::new("the host's /dev/null is not the null device"))
    }
}
