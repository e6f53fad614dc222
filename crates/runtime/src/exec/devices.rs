//! Device nodes and links in the container's /dev.
//!
//! Made in directories that are held, before the root is swapped: an image whose /dev is a link somewhere gets them there,
//! inside its own root (CVE-2026-41579, CVE-2026-47766).

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::child::Child;
use super::problem::{Doing, Outcome};
use crate::plan::{DeviceKind, DeviceNode, Link};

pub(super) fn make(child: &Child<'_>, devices: &[DeviceNode], links: &[Link]) -> Outcome {
    for device in devices {
        node(child, device)?;
    }
    for link in links {
        self::link(child, link)?;
    }
    Ok(())
}

fn node(child: &Child<'_>, device: &DeviceNode) -> Outcome {
    let path = &device.path;
    let (parent, name) = child.root()?.parent(path).doing(|| format!("make the directory of {path}"))?;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    // The umask is 0 while a container is put together.
    let mode = Mode::from_raw_mode(device.mode);
    match rustix::fs::mknodat(&parent, name, kind, mode, number) {
        // An image that brings its own nodes, with no tmpfs over them: they are replaced, whatever they are.
        Err(Errno::EXIST) => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).doing(|| format!("unlink {path}"))?;
            rustix::fs::mknodat(&parent, name, kind, mode, number).doing(|| format!("mknod {path}"))?;
        }
        other => other.doing(|| format!("mknod {path} {}:{}", device.major, device.minor))?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .doing(|| format!("chown {path}"))?;
    }
    Ok(())
}

fn link(child: &Child<'_>, link: &Link) -> Outcome {
    let path = &link.path;
    let (parent, name) = child.root()?.parent(path).doing(|| format!("make the directory of {path}"))?;
    match rustix::fs::symlinkat(&link.target, &parent, name) {
        // The container's own terminals must not be the image's idea of them; any other link may stay.
        Err(Errno::EXIST) if path == "/dev/ptmx" => {
            rustix::fs::unlinkat(&parent, name, AtFlags::empty()).doing(|| format!("unlink {path}"))?;
            rustix::fs::symlinkat(&link.target, &parent, name).doing(|| format!("symlink {path}"))
        }
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).doing(|| format!("symlink {path}")),
    }
}
