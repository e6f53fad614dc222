//! Device nodes and links in the container's /dev.
//!
//! Made in directories that are held, before the root is swapped: an image whose /dev is a link somewhere gets them there,
//! inside its own root (CVE-2026-41579, CVE-2026-47766).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome, Problem};
use super::tree::Tree;
use crate::plan::{DeviceKind, DeviceNode, Link};

pub(super) fn make(child: &Child<'_>, devices: &[DeviceNode], links: &[Link]) -> Outcome {
    let mut held = Held(None);
    for device in devices {
        node(held.parent(child, &device.path)?, device)?;
    }
    for link in links {
        self::link(held.parent(child, &link.path)?, link)?;
    }
    Ok(())
}

/// The directory that was used last, and its path: nearly all are in one.
struct Held<'a>(Option<(&'a str, OwnedFd)>);

impl<'a> Held<'a> {
    /// The directory that a path's last name is to be made in, and that name.
    fn parent(&mut self, child: &Child<'_>, path: &'a str) -> Outcome<(BorrowedFd<'_>, &'a str)> {
        let (directory, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_name = !matches!(name, "" | "." | "..");
        let held = match self.0.take() {
            Some((held, parent)) if held == directory && is_name => parent,
            _ => child.root()?.parent(path).doing(|| format!("make the directory of {path}"))?.0,
        };
        Ok((self.0.insert((directory, held)).1.as_fd(), name))
    }
}

fn node((parent, name): (BorrowedFd<'_>, &str), device: &DeviceNode) -> Outcome {
    let path = &device.path;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    // The umask is 0 while a container is put together.
    let mode = Mode::from_raw_mode(device.mode);
    let mut made = rustix::fs::mknodat(parent, name, kind, mode, number);
    if made == Err(Errno::EXIST) {
        // An image that brings its own nodes, with no tmpfs over them: they are replaced, whatever they are.
        rustix::fs::unlinkat(parent, name, AtFlags::empty()).doing(|| format!("unlink {path}"))?;
        made = rustix::fs::mknodat(parent, name, kind, mode, number);
    }
    match made {
        // Nobody in a user namespace makes devices: what the host has at this path stands for it, with the host's permissions.
        Err(Errno::PERM) => return bind(parent, name, device, kind),
        other => other.doing(|| format!("mknod {path} {}:{}", device.major, device.minor))?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .doing(|| format!("chown {path}"))?;
    }
    Ok(())
}

/// Mounts the host's node on an empty file. The host's tree is still this process's root.
fn bind(parent: BorrowedFd<'_>, name: &str, device: &DeviceNode, kind: FileType) -> Outcome {
    let path = &device.path;
    let host = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let host = host.doing(|| format!("open the host's {path}"))?;
    let found =
        rustix::fs::statat(&host, "", AtFlags::EMPTY_PATH).doing(|| format!("stat the host's {path}"))?;
    let wanted = rustix::fs::makedev(device.major, device.minor);
    if FileType::from_raw_mode(found.st_mode) != kind || found.st_rdev != wanted {
        let numbers = format!("{}:{}", device.major, device.minor);
        return Err(Problem::new(format!(
            "the host's {path} is not the device {numbers}, and none can be made here"
        )));
    }
    let empty = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(parent, name, FileType::RegularFile, empty, 0).doing(|| format!("make {path}"))?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::empty()).doing(|| format!("open {path}"))?;
    let tree = Tree::copy(&host, "", false).doing(|| format!("open_tree the host's {path}"))?;
    tree.attach(target.as_fd(), || format!("bind {path}")).map(drop)
}

fn link((parent, name): (BorrowedFd<'_>, &str), link: &Link) -> Outcome {
    let path = &link.path;
    match rustix::fs::symlinkat(&link.target, parent, name) {
        // The container's own terminals must not be the image's idea of them; any other link may stay.
        Err(Errno::EXIST) if path == "/dev/ptmx" => {
            rustix::fs::unlinkat(parent, name, AtFlags::empty()).doing(|| format!("unlink {path}"))?;
            rustix::fs::symlinkat(&link.target, parent, name).doing(|| format!("symlink {path}"))
        }
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).doing(|| format!("symlink {path}")),
    }
}
