//! Mounts by `mount(2)`, where the calls that make them detached are refused: by Linux before 5.12, and by filters around us.
//!
//! It knows only paths, so it gets those of descriptors (`/proc/self/fd/7`), which cannot be swapped for a link. What it has mounted is
//! opened again by the name that the kernel gives for the target, without links, and must be a mount that was not there before: a
//! name that somebody has moved meanwhile is an error, not another place.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, OFlags, Statx, StatxAttributes, StatxFlags, statx};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change, mount_remount,
};

use super::problem::{Doing, Outcome, Problem};
use super::root::Root;
use crate::plan::{Attributes, Propagation, PropagationKind};

/// `MOUNT_ATTR_…` beside the flag of mount(2), and that of statvfs(3).
const FLAGS: [(u64, MountFlags, u64); 7] = [
    (0x1, MountFlags::RDONLY, 1),
    (0x2, MountFlags::NOSUID, 2),
    (0x4, MountFlags::NODEV, 4),
    (0x8, MountFlags::NOEXEC, 8),
    (0x10, MountFlags::NOATIME, 1024),
    (0x80, MountFlags::NODIRATIME, 2048),
    (0x20_0000, MountFlags::from_bits_retain(256), 0x2000),
];
const STRICT_ACCESS_TIME: u64 = 0x20;
const ACCESS_TIME_MASK: u64 = 0x70;
const STATVFS_RELATIVE: u64 = 4096;

/// A new file system, still to be mounted.
#[derive(Debug)]
pub(super) struct New {
    pub(super) kind: String,
    pub(super) source: String,
    /// `key=value,key`.
    pub(super) data: String,
    pub(super) attributes: Attributes,
    /// What `data` names by number.
    pub(super) held: Vec<OwnedFd>,
}

/// Mounts a file or directory on what the target holds, and gives the new mount.
pub(super) fn bind(source: BorrowedFd<'_>, recursive: bool, target: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let (from, to) = (path(source), path(target));
    let bound = if recursive { mount_bind_recursive(&from, &to) } else { mount_bind(&from, &to) };
    bound.doing(|| "mount")?;
    let (there, wanted) = (reopen(target)?, identity(source)?);
    let found = identity(there.as_fd())?;
    if (found.stx_dev_major, found.stx_dev_minor, found.stx_ino)
        == (wanted.stx_dev_major, wanted.stx_dev_minor, wanted.stx_ino)
    {
        Ok(there)
    } else {
        Err(Problem::new("what was mounted is not what is there now"))
    }
}

/// Mounts a new file system on what the target holds, and gives the new mount.
pub(super) fn new(new: &New, target: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let data =
        std::ffi::CString::new(new.data.as_str()).map_err(|_| Problem::new("an option holds a zero byte"))?;
    let flags = flags(new.attributes.set);
    mount(new.source.as_str(), path(target), new.kind.as_str(), flags, data.as_c_str()).doing(|| "mount")?;
    reopen(target)
}

/// Changes the flags of a mount that is in this mount namespace, and of everything below it if `recursive`.
pub(super) fn set_attributes(
    mount: BorrowedFd<'_>,
    attributes: Attributes,
    recursive: bool,
) -> io::Result<()> {
    set_one(mount, attributes)?;
    if recursive {
        let root = Root::own()?;
        for below in below(&name(mount)?)? {
            set_one(root.open_without_links(&below, OFlags::PATH)?.as_fd(), attributes)?;
        }
    }
    Ok(())
}

/// Changes a file system's own options, and with them the flags of the mount; there is no newer call that does both.
pub(super) fn remount(mount: BorrowedFd<'_>, attributes: Attributes, options: &[String]) -> io::Result<()> {
    let now = from_statvfs(rustix::fs::fstatvfs(mount)?.f_flag.bits());
    let wanted = now & !attributes.clear | attributes.set;
    let data = std::ffi::CString::new(options.join(","))?;
    Ok(mount_remount(path(mount), flags(wanted), data.as_c_str())?)
}

pub(super) fn propagate(mount: BorrowedFd<'_>, propagation: Propagation) -> io::Result<()> {
    let mut flag = propagation_flag(propagation.kind);
    if propagation.recursive {
        flag |= MountPropagationFlags::REC;
    }
    Ok(mount_change(path(mount), flag)?)
}

pub(super) fn propagation_flag(kind: PropagationKind) -> MountPropagationFlags {
    match kind {
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

/// A remount sets all flags at once: what is not to change is said again.
fn set_one(mount: BorrowedFd<'_>, attributes: Attributes) -> io::Result<()> {
    let now = from_statvfs(rustix::fs::fstatvfs(mount)?.f_flag.bits());
    let wanted = now & !attributes.clear | attributes.set;
    Ok(mount_remount(path(mount), MountFlags::BIND | flags(wanted), "")?)
}

fn from_statvfs(bits: u64) -> u64 {
    let known = FLAGS.iter().filter(|(.., statvfs)| bits & statvfs != 0);
    let set = known.fold(0, |set, (attribute, ..)| set | attribute);
    let is_strict = bits & STATVFS_RELATIVE == 0 && set & ACCESS_TIME_MASK == 0;
    if is_strict { set | STRICT_ACCESS_TIME } else { set }
}

fn flags(attributes: u64) -> MountFlags {
    let known = FLAGS.iter().filter(|(attribute, ..)| attributes & attribute != 0);
    let flags = known.fold(MountFlags::empty(), |flags, (_, flag, _)| flags | *flag);
    match attributes & ACCESS_TIME_MASK {
        0 => flags | MountFlags::RELATIME,
        STRICT_ACCESS_TIME => flags | MountFlags::STRICTATIME,
        _ => flags,
    }
}

/// The mount that covers what the target holds.
fn reopen(target: BorrowedFd<'_>) -> Outcome<OwnedFd> {
    let name = name(target).doing(|| "name the target of a mount")?;
    let root = Root::own().doing(|| "open /")?;
    let there = root.open_without_links(&name, OFlags::PATH).doing(|| format!("open {name} again"))?;
    let (before, now) = (identity(target)?, identity(there.as_fd())?);
    if now.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) && now.stx_mnt_id != before.stx_mnt_id {
        Ok(there)
    } else {
        Err(Problem::new(format!("{name} is not what was mounted on")))
    }
}

fn identity(descriptor: BorrowedFd<'_>) -> Outcome<Statx> {
    statx(descriptor, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::INO).doing(|| "statx")
}

fn path(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// As this process would call it.
fn name(descriptor: BorrowedFd<'_>) -> io::Result<String> {
    let name = rustix::fs::readlinkat(CWD, path(descriptor), Vec::new())?;
    name.into_string().map_err(|_| rustix::io::Errno::ILSEQ.into())
}

/// The places of all mounts below a directory, the outer ones first.
fn below(directory: &str) -> io::Result<Vec<String>> {
    Ok(places_below(&std::fs::read_to_string("/proc/self/mountinfo")?, directory))
}

/// Pure: the fifth column of mountinfo, in which blanks and backslashes are octal.
fn places_below(table: &str, directory: &str) -> Vec<String> {
    let prefix = format!("{}/", directory.trim_end_matches('/'));
    let places = table.lines().filter_map(|line| line.split(' ').nth(4));
    let plain = |place: &str| {
        [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
            .iter()
            .fold(place.to_owned(), |place, (octal, character)| place.replace(octal, character))
    };
    places.map(plain).filter(|place| place.starts_with(&prefix)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_the_attributes_by_other_names() {
        for (attributes, expected) in [
            (0x0, MountFlags::RELATIME),
            (0x1 | 0x2 | 0x20, MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::STRICTATIME),
            (0x8 | 0x10 | 0x80, MountFlags::NOEXEC | MountFlags::NOATIME | MountFlags::NODIRATIME),
        ] {
            assert_eq!(flags(attributes), expected, "{attributes:#x}");
        }
        assert_eq!(from_statvfs(1 | 4 | 4096), 0x1 | 0x4);
        assert_eq!(from_statvfs(2), 0x2 | STRICT_ACCESS_TIME);
        assert_eq!(from_statvfs(1024), 0x10);
    }

    #[test]
    fn mounts_below_are_found_by_whole_names() {
        let table = "1 0 0:1 / / rw - x x rw\n2 1 0:2 / /a rw - x x rw\n3 2 0:3 / /a/b\\040c rw - x x rw\n4 1 0:4 / /ab rw - x x rw\n";
        assert_eq!(places_below(table, "/a"), ["/a/b c"]);
        assert_eq!(places_below(table, "/"), ["/", "/a", "/a/b c", "/ab"]);
    }
}
